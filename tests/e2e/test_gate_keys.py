"""Gateway keys: made once, kept as a hash, in force on every worker at once, scoped, budgeted, rotated, revoked; and the SDKs that use them."""

import json
import os
import re
import sqlite3
import subprocess
import zlib

import anthropic
import openai
import pytest

import ledger
from machine import PATIENCE, QUIET_ZONE, away_from_month_end, build_folder, wait_for

KEY = re.compile(r"tg_[0-9A-Za-z]{49}")
ENDPOINT_LIMIT = f'name: each-key, level: key, amount: "1000 requests", window: day, time_zone: {QUIET_ZONE}, match: ["*"]'
STACK = {"limits": [ENDPOINT_LIMIT]}


def body(text, model="solo"):
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def ctl(stack, *words, check=True):
    done = subprocess.run(
        [build_folder() / "tollgatectl", *words, "--socket", stack.admin_socket], capture_output=True, text=True, timeout=PATIENCE
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def create(stack, name, *words, team="machines"):
    made = json.loads(ctl(stack, "key", "create", name, "--team", team, "--json", *words).stdout)
    assert KEY.fullmatch(made["key"]) and made["id"].startswith("key_")
    return made["id"], made["key"]


def keys(stack):
    return {row["id"]: row for row in json.loads(ctl(stack, "key", "list", "--json").stdout)["rows"]}


def decided(stack, key, text="key", model="solo", **more):
    """200, or status, code and message."""
    status, _, answer = stack.post(key, body(text, model), **more)
    error = json.loads(answer).get("error") if status != 200 else None
    return 200 if status == 200 else (status, error["code"], error["message"])


def test_a_key_is_in_force_and_kept_as_a_hash_only(stack, sub):
    id, key = create(stack, sub, "--user", "robot", "--application", "nightly", "--cost-center", "4711", "--organization", "acme")
    for _ in range(8):  # both workers
        assert decided(stack, key, sub) == 200
    row = wait_for(lambda: ledger.requests(stack, id), "rows")[0]
    assert (row["team"], row["cost_center"], row["organization"]) == ("machines", "4711", "acme")
    who = stack.query("SELECT user_name, application, issuer FROM who WHERE subject = ?", id)
    assert who == [{"user_name": "robot", "application": "nightly", "issuer": "gateway-key"}]
    # The provider never saw it, and no file has it: not the ledger, not the logs, not the audit log.
    assert all(key not in json.dumps(record) for record in stack.received("alpha", sub))
    for path in stack.folder.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path
    assert stack.query("SELECT length(hash) AS n FROM gateway_key WHERE id = ?", id) == [{"n": 32}]
    assert (stack.folder / "keys.secret").stat().st_mode & 0o777 == 0o600
    listed = keys(stack)[id]
    assert (listed["state"], listed["name"], listed["actor"]) == ("active", sub, f"uid {os.getuid()}")
    assert listed["expires"] > listed["created"]
    events = stack.query("SELECT actor, action FROM access_event WHERE object = ?", f"key {id}")
    assert events == [{"actor": f"uid {os.getuid()}", "action": "key_create"}]
    audit = (stack.folder / "audit.log").read_text()
    assert f"(digest) {sub} " in audit and "digest:" not in audit


def test_the_real_sdks(stack, sub):
    id, key = create(stack, sub)
    talk = [{"role": "user", "content": sub}]
    for client in (
        anthropic.Anthropic(base_url=stack.gateway, api_key=key, max_retries=0),  # x-api-key
        anthropic.Anthropic(base_url=stack.gateway, auth_token=key, max_retries=0),  # Authorization
    ):
        with client:
            answer = client.messages.create(model="solo", max_tokens=60, messages=talk)
            assert answer.content[0].text and answer.usage.output_tokens > 0
            with client.messages.stream(model="solo", max_tokens=60, messages=talk) as stream:
                assert stream.get_final_message().stop_reason
    with openai.OpenAI(base_url=stack.gateway + "/v1", api_key=key, max_retries=0) as client:
        assert client.chat.completions.create(model="solo", messages=talk).choices[0].message.content
        assert "solo" in {model.id for model in client.models.list()}
    wait_for(lambda: sum(row["state"] == "settled" for row in ledger.requests(stack, id)) == 5, "five settlements")
    # A company token in x-api-key is good as well, and a wrong key is the error that the SDK knows.
    with anthropic.Anthropic(base_url=stack.gateway, api_key=stack.person(sub), max_retries=0) as client:
        assert client.messages.create(model="solo", max_tokens=60, messages=talk).content
    typo = key[:10] + ("a" if key[10] != "a" else "b") + key[11:]
    with anthropic.Anthropic(base_url=stack.gateway, api_key=typo, max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError, match="there is a typo in it"):
            client.messages.create(model="solo", max_tokens=60, messages=talk)


def test_what_is_no_key(stack):
    foreign = "tg_0000000000000000000000000000000000000000000"
    assert "52 characters" in decided(stack, foreign)[2]
    assert "52 characters" in decided(stack, foreign + "0000000")[2]
    assert "a character that no key has" in decided(stack, foreign + "00-000")[2]
    assert "typo" in decided(stack, foreign + "000000")[2]
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    check = zlib.crc32(foreign[3:].encode())
    whole = foreign + "".join(digits[check // 62**i % 62] for i in range(5, -1, -1))
    assert decided(stack, whole)[:2] == (401, "invalid_api_key") and "not known here" in decided(stack, whole)[2]


def test_scopes(stack, sub):
    id, key = create(stack, sub, "--models", "solo, chat-n*", "--endpoints", "chat,responses")
    assert decided(stack, key, sub) == 200
    status, code, message = decided(stack, key, sub, model="chat-default")
    assert (status, code) == (403, "access_denied") and message.endswith("it may use: solo, chat-n*.")
    assert decided(stack, key, sub, model="no-such")[:2] == (403, "access_denied")
    status, _, answer = stack.post(key, {"model": "solo", "prompt": "x"}, path="/v1/completions")
    assert status == 403 and "it may use: /v1/chat/completions, /v1/responses." in json.loads(answer)["error"]["message"]
    with openai.OpenAI(base_url=stack.gateway + "/v1", api_key=key, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["solo"]

    def denied():
        return {row["deny_reason"] for row in ledger.requests(stack, id)} >= {"access_model", "access_endpoint"}

    wait_for(denied, "rows of refusals")


def test_a_budget_of_its_own_over_a_restart(stack, sub):
    away_from_month_end()
    id, key = create(stack, sub, "--budget", "3 requests per month")
    other, second = create(stack, sub + "-2", "--budget", "3 requests/month")  # an account of its own
    for _ in range(3):
        assert decided(stack, key, sub) == 200
    wait_for(lambda: sum(row["state"] == "settled" for row in ledger.requests(stack, id)) == 3, "settlements")
    status, code, message = decided(stack, key, sub)
    assert (status, code) == (429, "insufficient_quota") and "key-3-requests-month" in message
    assert decided(stack, second, sub) == 200
    stack.kill_agent()
    stack.restart_agent()
    assert decided(stack, key, sub)[:2] == (429, "insufficient_quota")
    assert decided(stack, second, sub) == 200
    before = stack.agent.text().count(" info reloaded file=")
    stack.reload()
    wait_for(lambda: stack.agent.text().count(" info reloaded file=") > before, "the reload")
    assert decided(stack, key, sub)[:2] == (429, "insufficient_quota")
    accounts = json.loads(ctl(stack, "budget", "--json").stdout)
    ours = [a for a in accounts if a["limit"] == "key-3-requests-month" and id in a["subject"]]
    assert len(ours) == 1 and ours[0]["used"] == 3
    assert keys(stack)[other]["budget"] == "3 requests month"


@pytest.mark.parametrize("number", [9, 15])
def test_rotation_with_overlap_survives_a_restart(stack, sub, number):
    id, old = create(stack, sub)
    new = json.loads(ctl(stack, "key", "rotate", id, "--overlap", "1h", "--json").stdout)["key"]
    assert new != old and (decided(stack, old), decided(stack, new)) == (200, 200)
    assert keys(stack)[id]["state"] == "rotating"
    if number == 9:
        stack.kill_agent()
    else:
        stack.agent.stop()
    stack.restart_agent()
    assert (decided(stack, old), decided(stack, new)) == (200, 200)
    newest = json.loads(ctl(stack, "key", "rotate", id, "--overlap", "0s", "--json").stdout)["key"]
    status, code, message = decided(stack, new)
    assert (status, code) == (401, "invalid_api_key") and "was rotated" in message
    assert decided(stack, old)[0] == 401  # two rotations ago: forgotten
    assert decided(stack, newest) == 200


def test_expiry_and_revocation(stack, sub):
    for life in (6, 30, 120):  # long enough to be used once, however busy the machine is
        id, key = create(stack, sub, "--for", f"{life}s")
        if decided(stack, key) == 200:
            break
    else:
        raise AssertionError("expired before it could be used")
    wait_for(lambda: decided(stack, key) != 200, "the key's end", life + PATIENCE)
    assert "has expired" in decided(stack, key)[2] and keys(stack)[id]["state"] == "expired"
    new = json.loads(ctl(stack, "key", "rotate", id, "--for", "never", "--overlap", "24h", "--json").stdout)["key"]
    assert decided(stack, new) == 200
    assert decided(stack, key)[0] == 401  # an expired key does not come back because it has a successor
    ctl(stack, "key", "revoke", id, "--note", "leaked")
    status, _, message = decided(stack, new)
    assert status == 401 and "revoked (key)" in message
    assert keys(stack)[id]["state"] == "revoked"
    assert "is revoked" in ctl(stack, "key", "rotate", id, check=False).stderr
    stack.kill_agent()
    stack.restart_agent()
    assert decided(stack, new)[0] == 401
    ctl(stack, "unrevoke", "key", id)
    assert decided(stack, new) == 200
    ctl(stack, "revoke", "team", f"team-{sub}")
    _, teamed = create(stack, sub, team=f"team-{sub}")
    assert decided(stack, teamed)[0] == 401  # of a team that is revoked


def test_what_is_refused(stack, sub):
    id, _ = create(stack, sub)
    for words, says in (
        (("create", sub), "needs a team"),
        (("create", sub, "--team", "t", "--models", "nonesuch"), 'no model "nonesuch"'),
        (("create", sub, "--team", "t", "--models", "so*lo"), 'no model "so*lo"'),
        (("create", sub, "--team", "t", "--endpoints", "images"), "allowed: chat, responses"),
        (("create", sub, "--team", "t", "--budget", "plenty"), "says no window"),
        (("create", sub, "--team", "t", "--for", "soon"), "no duration"),
        (("create", "a\nb", "--team", "t"), "control character"),
        (("create", "x" * 600, "--team", "t"), "longer than 511"),
        (("rotate", "key_none"), "no such key"),
        (("revoke", "key_none"), "no such key"),
        (("rotate", id, "--overlap", "9999d"), "longer than a year"),
        (("create",), "usage: tollgatectl key"),
        (("melt", id), "usage: tollgatectl key"),
    ):
        done = ctl(stack, "key", *words, check=False)
        assert done.returncode != 0 and says in done.stderr and not done.stdout, (words, done.stderr, done.stdout)
    before = len(keys(stack))
    other = sqlite3.connect(stack.ledger_file, isolation_level=None, timeout=PATIENCE)
    other.execute("BEGIN IMMEDIATE")
    done = ctl(stack, "key", "create", sub, "--team", "t", check=False)
    other.execute("ROLLBACK")
    other.close()
    assert done.returncode == 1 and "ledger cannot be written" in done.stderr and not done.stdout
    assert len(keys(stack)) == before
    wait_for(lambda: ctl(stack, "key", "create", sub, "--team", "t", check=False).returncode == 0, "recovery of the ledger")


def test_without_its_secret_the_agent_does_not_start(stack, sub):
    _, key = create(stack, sub)
    secret = stack.folder / "keys.secret"
    kept = secret.read_text()
    stack.agent.stop()
    for change, says in (
        (secret.unlink, "is missing"),
        (lambda: stack.write_secret("keys.secret", "0" * 64 + "\n"), "not the one that the gateway keys"),
        (lambda: stack.write_secret("keys.secret", "short\n"), "less than 32 bytes"),
        (lambda: secret.chmod(0o644), "others may read it"),
    ):
        change()
        stack.agent.start()
        assert stack.agent.popen.wait(PATIENCE) == 1 and says in stack.agent.tail()
    secret.chmod(0o600)
    secret.write_text(kept)
    stack.restart_agent()
    assert decided(stack, key) == 200
