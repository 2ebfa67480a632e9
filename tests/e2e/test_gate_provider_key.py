"""Which of the provider's keys served: the ledger's rows know it by its name, after retries and restarts too; the key itself is nowhere."""

import secrets
import threading

import pytest
from machine import PATIENCE, wait_for

KEYS = {f"key-{i}": "sk-" + secrets.token_hex(16) for i in range(4)}
ROWS = "SELECT provider_key, known_by, state FROM request WHERE user_name = ? AND state <> 'open' ORDER BY id"


@pytest.fixture(scope="module")
def stack(make_stack):
    def extend(s):
        def part(name, credential):
            return f'name: {name}, url: "http://127.0.0.1:{s.ports["alpha"]}/v1", price_as: openai, {credential}'

        for name, value in KEYS.items():
            s.write_secret(name, value)
        files = [f"file: {s.folder}/key-{i}" for i in range(4)]
        parts = [
            part("named", f"credentials: [{{name: blue, {files[0]}}}, {{name: green, {files[1]}}}]"),
            part("unnamed", f"credentials: [{{{files[2]}}}, {{{files[3]}}}]"),
        ]
        models = [f"name: {name}, primary: {{provider: {name}, model: gpt-4o-mini}}, max_output: 64" for name in ("named", "unnamed")]
        return parts, models

    return make_stack(extend=extend)


def ask(stack, token, model, text="hello"):
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 20}
    return stack.post(token, body)[0]


def keys_of(stack, user, count):
    rows = wait_for(lambda: len(found := stack.query(ROWS, user)) == count and found, f"{count} settled rows")
    return [row["provider_key"] for row in rows]


def user_of(stack, sub):
    return stack.person(sub, team="keys"), sub


def test_each_row_names_its_key(stack, sub):
    for model, names in (("named", ["blue", "green"]), ("unnamed", ["unnamed-1", "unnamed-2"]), ("solo", ["alpha"])):
        token, user = user_of(stack, f"{sub}-{model}")
        for _ in range(4):
            assert ask(stack, token, model) == 200
        found = keys_of(stack, user, 4)
        assert sorted(found) == sorted(names * (4 // len(names)))


def test_the_key_that_a_second_try_was_made_with(stack, sub):
    """The first key is refused, the request goes on with the other at once: that is the one the provider bills."""
    token, user = user_of(stack, sub)
    stack.behave("alpha", accept=["Bearer " + KEYS["key-1"]])
    try:
        for _ in range(3):
            assert ask(stack, token, "named") == 200
        assert keys_of(stack, user, 3) == ["green"] * 3
        tries = "SELECT DISTINCT a.provider_key, a.http_status FROM attempt a JOIN request r ON r.id = a.request WHERE r.user_name = ?"
        wait_for(lambda: ("blue", 401) in [tuple(row.values()) for row in stack.query(tries, user)], "the try that was refused")
    finally:
        stack.behave("alpha")


def test_a_request_that_a_restart_came_into(stack, sub):
    """The agent dies while the provider works on it: it is settled by what the ledger says of it, its key included."""
    token, user = user_of(stack, sub)
    done = []
    with stack.gate() as gate:
        thread = threading.Thread(target=lambda: done.append(ask(stack, token, "named", f"{sub} [[{gate}]]")))
        thread.start()
        wait_for(lambda: stack.received("alpha", sub), "the request to reach the provider")
        stack.kill_agent()
    sent = dict((k.lower(), v) for k, v in stack.received("alpha", sub)[0]["headers"])["authorization"].removeprefix("Bearer ")
    thread.join(PATIENCE)
    assert done == [200]
    stack.restart_agent()
    assert keys_of(stack, user, 1) == [{KEYS["key-0"]: "blue", KEYS["key-1"]: "green"}[sent]]
    assert stack.query("SELECT * FROM rollup_mismatch") == []


def test_refused_requests_name_no_key(stack, sub):
    token, user = user_of(stack, sub)
    assert ask(stack, token, "no-such-model") == 404
    assert keys_of(stack, user, 1) == [None]


def test_the_keys_themselves_are_not_in_the_ledger(stack):
    content = b"".join(file.read_bytes() for file in stack.folder.glob("ledger.db*"))
    assert b"blue" in content
    for value in KEYS.values():
        assert value.encode() not in content
