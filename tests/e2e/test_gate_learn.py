"""What providers report teaches the counts, and survives restarts; long bodies are counted in slices like short ones."""

import json
import subprocess

from stack import PATIENCE, build_folder, wait_for

STACK = {"max_body": 1300000}

TOOLS = [
    {
        "type": "function",
        "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
]


def ctl(*arguments):
    done = subprocess.run(
        [build_folder() / "tollgatectl", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def classes(stack, shape):
    return [c for c in json.loads(ctl("--socket", stack.admin_socket, "--json", "tokens")) if c["shape"] == shape]


def observed(stack, shape, wanted):
    def look():
        found = classes(stack, shape)
        return found if sum(c["observations"] for c in found) == wanted else None

    return wait_for(look, f"{wanted} observations of {shape}")


def ask(stack, token, text, **fields):
    status, _, answer = stack.post(token, {"model": "solo", "messages": [{"role": "user", "content": text}], **fields})
    assert status == 200, answer


def test_reported_tokens_are_learned_kept_and_used(stack, sub, settled):
    token = stack.person(sub)
    before = sum(c["observations"] for c in classes(stack, "tools"))
    ask(stack, token, f"{sub} what is the weather", tools=TOOLS, max_tokens=50)
    first = settled(sub)
    assert first["exactness"] == "estimated"
    # A provider that needs twice what we count.
    stack.behave("alpha", prompt_tokens=2 * first["input_counted"])
    for _ in range(40):
        ask(stack, token, f"{sub} what is the weather", tools=TOOLS, max_tokens=50)
    settled(sub, 41)
    (row,) = observed(stack, "tools", before + 41)
    assert (row["provider"], row["model"], row["from_tokens"]) == ("openai", "gpt-4o-mini", 0)
    assert 1.95e6 < row["median_ppm"] < 2.05e6 and row["p01_ppm"] <= row["median_ppm"] <= row["p99_ppm"]
    assert row["bound_by"] == "learned" and row["bound_ppm"] > row["p99_ppm"]
    # The next one is counted, and held, as what such requests need.
    ask(stack, token, f"{sub} what is the weather", tools=TOOLS, max_tokens=50)
    last = settled(sub, 42)[-1]
    assert abs(last["input_counted"] - last["input"]) <= 0.05 * last["input"] + 1
    assert last["hold"] >= first["hold"] and last["hold"] >= last["cost"]
    observed(stack, "tools", before + 42)

    def kept():
        rows = stack.query("SELECT observations FROM token_learned WHERE shape = 1")
        return rows and rows[0]["observations"] == before + 42

    wait_for(kept, "the ledger to have it")
    stack.kill_agent()
    stack.restart_agent()
    assert sum(c["observations"] for c in classes(stack, "tools")) == before + 42
    assert "gpt-4o-mini" in ctl("--socket", stack.admin_socket, "tokens")


def test_exact_counts_stay_and_their_agreement_is_told(stack, sub, settled):
    token = stack.person(sub)
    before = sum(c["observations"] for c in classes(stack, "exact"))
    ask(stack, token, sub, max_tokens=20)
    first = settled(sub)
    assert first["exactness"] == "documented"
    stack.behave("alpha", prompt_tokens=first["input_counted"])
    ask(stack, token, sub, max_tokens=20)
    stack.behave("alpha", prompt_tokens=first["input_counted"] * 3)
    for _ in range(10):
        ask(stack, token, sub, max_tokens=20)
    assert {row["input_counted"] for row in settled(sub, 12)} == {first["input_counted"]}
    rows = observed(stack, "exact", before + 12)
    assert any(row["agreed_ppm"] > 0 for row in rows) and all(row["bound_by"] == "exact" for row in rows)


def test_a_megabyte_is_counted_in_slices_as_at_once(stack, sub, settled):
    """tollgatectl counts in one go, the agent in slices: input and hold must be the same to the token."""
    token = stack.person(sub)
    # Long pieces, so that a megabyte fits the model's window; escapes and other scripts at changing places of the slices.
    # A sanitized agent counts so slowly that HAProxy would give up on a whole megabyte: a quarter of it takes as many paths.
    scale = 4 if "asan" in build_folder().name else 1
    text = sub + "".join(f" {i} größe 漢字 \\ " + "-" * (150 + i % 97) + "\n" for i in range(4500 // scale))
    messages = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": "- " * (9000 // scale)},
        {"role": "user", "content": "?"},
    ]
    body = json.dumps({"model": "solo", "max_tokens": 16, "messages": messages}, ensure_ascii=False).encode()
    assert 1_000_000 < len(body) * scale < 1_300_000
    status, _, answer = stack.post(token, body)
    assert status == 200, answer
    row = settled(sub)
    file = stack.folder / "body.json"
    file.write_bytes(body)
    told = json.loads(ctl("--json", "count", "--config", str(stack.config), str(file)))
    assert row["input_counted"] == told["input"] > 50_000 // scale
    assert row["hold"] == told["hold_nano"]
