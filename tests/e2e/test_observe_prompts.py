"""The prompt log: only of models that opt in, redacted, in a file of its own that is turned over by size; nothing of it anywhere else."""

import contextlib
import json
import stat

import pytest

from machine import wait_for

STACK = {"models": ("name: logged, primary: {provider: alpha, model: gpt-4o-mini}, max_output: 1024, log_prompts: true",)}
MAX = 4096
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"
PERSONAL = (
    f"Write to ann.smith@example.com or +49 30 12345678,\ncard 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, token {JWT},"
    ' key sk-proj-abcdefghijklmnop1234, password="hunter22-hunter" \U0001f4b8 m\xfcller "quoted" \\ end'
)
CLEAN = (
    "Write to [email] or [phone],\ncard [card], IBAN [iban], token [jwt], key [key], [key]\" \U0001f4b8 m\xfcller \"quoted\" \\ end"
)


@pytest.fixture(scope="module")
def log(stack):
    """The agent with a small prompt log; its lines, files included that were turned over."""
    text = stack.config.read_text()
    stack.config.write_text(text + f"prompts: {{max_bytes: {MAX}, keep: 3}}\n")
    assert stack.agent.stop() == 0
    stack.restart_agent()
    path = stack.ledger_folder / "prompts.log"

    def lines():
        """Whole lines: it may be written, and turned over, just now."""
        found = []
        for file in [path.with_name(f"prompts.log.{i}") for i in (3, 2, 1)] + [path]:
            with contextlib.suppress(FileNotFoundError):
                found += [json.loads(line) for line in file.read_text(encoding="ascii").splitlines(keepends=True) if line.endswith("\n")]
        return found

    lines.path = path
    return lines


def ask(stack, token, model, content, **more):
    status, headers, _ = stack.post(token, {"model": model, "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": content}], **more})
    assert status == 200
    return headers["x-tollgate-request-id"]


def line_of(log, request):
    return wait_for(lambda: next((line for line in log() if line["request_id"] == request), None), "the prompt's line")


def test_only_with_consent(stack, log, sub, settled):
    token = stack.person(sub, team="openly")
    other = ask(stack, token, "solo", "not for any log " + PERSONAL)
    request = ask(stack, token, "logged", PERSONAL)
    settled(sub, 2)
    line = line_of(log, request)
    assert (line["team"], line["user"], line["alias"], line["cut"]) == ("openly", sub, "logged", False)
    texts = {(p["place"], p.get("message")): p["text"] for p in line["parts"]}
    assert texts["content", 1] == CLEAN and "be brief" in texts.values()
    assert not any(line["request_id"] == other for line in log())
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    # Neither prompt is anywhere else, nor is what was redacted in the prompt log.
    everywhere = [p for p in stack.folder.rglob("*") if p.is_file() and "provider" not in p.name and p.suffix not in (".so", ".cfg", ".lua")]
    found = [p.name for p in everywhere for secret in (b"not for any log", b"ann.smith@example.com", b"hunter22") if secret in p.read_bytes()]
    assert found == [] and log.path in everywhere


def test_what_was_refused_is_not_kept(stack, log, sub):
    token = stack.person(sub)
    before = len(log())
    status, _, _ = stack.post(token, {"model": "logged", "messages": [{"role": "user", "content": "x"}], "max_tokens": -5})
    assert status == 400
    request = ask(stack, token, "logged", "marker")
    line_of(log, request)
    assert len(log()) <= before + 1


def test_hostile_text_stays_one_line(stack, log, sub):
    token = stack.person(sub)
    hostile = 'x"}]}\n{"request_id":"forged"}\x1b[2J\u2028\u009b\x00'
    line = line_of(log, ask(stack, token, "logged", hostile))
    assert hostile in [p["text"] for p in line["parts"]]
    assert not any(line["request_id"] == "forged" for line in log())


def test_long_prompts_are_cut_at_a_word(stack, log, sub):
    token = stack.person(sub)
    words = " ".join(f"word{i} ann{i}@example.com" for i in range(6000))
    line = line_of(log, ask(stack, token, "logged", words))
    kept = max((p["text"] for p in line["parts"]), key=len)
    assert line["cut"] and 30_000 < len(kept) <= 65536 and "@" not in kept and "example" not in kept
    assert kept.split()[-1] == "[email]" or kept.split()[-1].startswith("word")


def test_the_file_is_turned_over(stack, log, sub):
    token = stack.person(sub)
    requests = [ask(stack, token, "logged", f"{i} " + "lorem ipsum " * 100) for i in range(20)]
    line_of(log, requests[-1])
    wait_for(lambda: log.path.with_name("prompts.log.3").exists(), "three older files")
    assert not log.path.with_name("prompts.log.4").exists()
    kept = [line["request_id"] for line in log()]
    assert kept[-1] == requests[-1] and [r for r in requests if r in kept] == requests[-sum(r in kept for r in requests) :]  # in order, the newest
    for i in (1, 2, 3):
        file = log.path.with_name(f"prompts.log.{i}")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_stops_nobody(stack, log, sub, settled):
    token = stack.person(sub)
    aside = log.path.with_suffix(".aside")
    assert stack.agent.stop() == 0
    if log.path.exists():
        log.path.rename(aside)
    log.path.symlink_to("/dev/full")  # a link is not followed
    try:
        stack.restart_agent()
        ask(stack, token, "logged", "hello")
        assert settled(sub)["outcome"] == "ok"
        wait_for(lambda: "prompts_not_written" in stack.agent.log.read_text(), "the log to tell")
    finally:
        log.path.unlink()
    request = ask(stack, token, "logged", "and again")
    assert line_of(log, request)["parts"]
    assert log.path.is_file() and not log.path.is_symlink()
