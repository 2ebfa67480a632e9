"""What providers report teaches the counts, and survives restarts; long bodies are counted in slices like short ones."""

import json
import subprocess

import pytest

import ledger
from machine import PATIENCE, build_folder, wait_for

STACK = {
    "max_body": 1300000,
    # The fallback is dearer and allows more output than the price table knows of the primary; the last one is dearer still.
    "models": [
        "name: chain, max_output: 100000, targets: [{provider: alpha, model: gpt-4o-mini}, {provider: beta, model: gpt-4o}, "
        "{provider: beta, model: gpt-4}]",
        "name: by-team, max_output: 50, targets: [{provider: alpha, model: gpt-4o-mini, when: {team: [other]}}, "
        "{provider: beta, model: gpt-4o, when: {team: [nobody]}}]",
        "name: shared, max_output: 50, order: weight, targets: [{provider: alpha, model: gpt-4o-mini, weight: 99}, "
        "{provider: alpha, model: gpt-3.5-turbo, weight: 1}, {provider: beta, model: gpt-4o, weight: 1}]",
    ],
}

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


def foretold(stack, body):
    """What tollgatectl count says of a body, with this stack's configuration and ledger."""
    file = stack.folder / "body.json"
    file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    return json.loads(ctl("--json", "count", "--config", str(stack.config), str(file)))


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
    body = {
        "model": "solo",
        "messages": [{"role": "user", "content": f"{sub} what is the weather"}],
        "tools": TOOLS,
        "max_tokens": 50,
    }
    told = foretold(stack, body)
    assert told["input"] > 1.5 * told["input_built_in"]
    stack.kill_agent()
    stack.restart_agent()
    assert sum(c["observations"] for c in classes(stack, "tools")) == before + 42
    assert "gpt-4o-mini" in ctl("--socket", stack.admin_socket, "tokens")
    # What the next one is held for was told before.
    assert stack.post(token, body)[0] == 200
    row = settled(sub, 43)[-1]
    assert (row["hold"], row["input_counted"]) == (told["hold_nano"], told["input"])


@pytest.mark.parametrize("limit", [{"max_tokens": 40}, {}], ids=["said", "not-said"])
@pytest.mark.parametrize("model", ["solo", "chat-default", "chain"])
def test_what_is_told_is_what_is_held(stack, sub, settled, model, limit):
    body = {"model": model, "messages": [{"role": "user", "content": f"{sub} tell me"}], **limit}
    told = foretold(stack, body)
    status, _, answer = stack.post(stack.person(sub), body)
    assert status == 200, answer
    row = settled(sub)
    assert (row["hold"], row["input_counted"]) == (told["hold_nano"], told["input"])
    assert told["primary"] == {"provider": "alpha", "model": "gpt-4o-mini"}
    if model == "solo":
        assert told["fallback"] is None and told["hold_most_nano"] == told["hold_nano"]
    else:
        # The fallback's price decides: gpt-4o costs 2,500 and 10,000 nano-dollars a token.
        assert told["fallback"] == {"provider": "beta", "model": "gpt-4o"}
        assert told["hold_nano"] == told["input_held"] * 2500 + told["output_ceiling"] * 10000
    if model == "chain":
        assert told["hold_most_nano"] > told["hold_nano"]


@pytest.mark.parametrize("model", ["by-team", "shared"])
def test_the_dearest_is_told_where_the_caller_decides(stack, sub, model):
    told = foretold(stack, {"model": model, "messages": [{"role": "user", "content": sub}]})
    assert told["hold_nano"] == told["hold_most_nano"] == told["input_held"] * 2500 + 50 * 10000


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


def test_a_megabyte_is_counted_in_slices_as_at_once(stack, sub):
    """tollgatectl counts in one go, the agent in slices: input and hold must be the same to the token."""
    token = stack.person(sub)
    # Long pieces, so that a megabyte fits the model's window; escapes and other scripts at changing places of the slices.
    # A sanitized agent counts so slowly that HAProxy would give up on a whole megabyte: a quarter of it takes as many paths.
    scale = 4 if "asan" in build_folder().name else 1
    # Few rows of dashes, the slowest there is: on a busy machine the whole has to be counted before HAProxy gives up.
    text = sub + "".join(f" {i} größe 漢字 \\ " + ("-" if i % 10 == 0 else " ") * (150 + i % 97) + "\n" for i in range(4500 // scale))
    messages = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": "- " * (9000 // scale)},
        {"role": "user", "content": "?"},
    ]
    body = json.dumps({"model": "solo", "max_tokens": 16, "messages": messages}, ensure_ascii=False).encode()
    assert 1_000_000 < len(body) * scale < 1_300_000

    def sent():
        """HAProxy gives up on an agent that takes half a second, as on a machine that is busy with other things it may."""
        status, _, answer = stack.post(token, body)
        assert status == 200 or b"policy_unavailable" in answer, answer
        return status == 200

    wait_for(sent, "a megabyte to be counted in time")
    row = wait_for(lambda: next((r for r in ledger.requests(stack, sub) if r["state"] == "settled"), None), "its row")
    told = foretold(stack, body)
    assert row["input_counted"] == told["input"] > 50_000 // scale
    assert row["hold"] == told["hold_nano"]
