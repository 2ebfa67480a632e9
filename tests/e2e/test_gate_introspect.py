"""Introspection: the issuer itself is asked whether a token is still active, and nothing passes that it does not vouch for."""

import json
from concurrent.futures import ThreadPoolExecutor

from stack import wait_for

STACK = {"introspection": "cache: 1s, stale: 2s"}


def body(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


def decided(stack, token, text="introspection"):
    status, _, answer = stack.post(token, body(text))
    return 200 if status == 200 else (status, json.loads(answer)["error"]["code"])


def asked(stack):
    return stack.idp_admin("GET", "/counts").get("/check", 0)


def secret(stack):
    return (stack.folder / "introspector.key").read_text().strip()


def test_a_token_that_is_no_longer_active(stack, sub):
    token, other = (stack.mint(claims={"sub": sub, "jti": f"{sub}-{n}", "team": "research"}) for n in (1, 2))
    assert (decided(stack, token), decided(stack, other)) == (200, 200)
    stack.idp_admin("POST", "/deactivate", {"jti": f"{sub}-1"})
    wait_for(lambda: decided(stack, token) == (401, "invalid_api_key"), "the end of the cached answer")
    assert decided(stack, other) == 200
    assert stack.query("SELECT DISTINCT deny_reason FROM request WHERE subject = ? AND state = 'denied'", sub) == [
        {"deny_reason": "token_inactive"}
    ]


def test_all_who_wait_share_one_question(stack, sub):
    stack.idp_admin("PUT", "/introspector", {"secret": secret(stack), "delay": 200})
    try:
        token, before = stack.mint(claims={"sub": sub, "team": "research"}), asked(stack)
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: decided(stack, token, sub), range(16)))
        assert set(answers) == {200} and asked(stack) - before == 1
    finally:
        stack.idp_admin("PUT", "/introspector", {"secret": secret(stack), "delay": 0})


def test_silence_refuses(stack, sub):
    """The endpoint away: unknown tokens are 503 at once, known ones for as long as `stale` allows; others are served meanwhile."""
    token = stack.mint(claims={"sub": sub, "team": "research"})
    assert decided(stack, token) == 200
    stack.idp_admin("POST", "/outage", {"mode": "refuse"})
    try:
        fresh = stack.mint(claims={"sub": sub, "team": "research", "jti": sub})
        assert decided(stack, fresh) == (503, "auth_provider_unavailable")
        wait_for(lambda: decided(stack, token) == (503, "auth_provider_unavailable"), "the end of the stale answer")
    finally:
        stack.idp_admin("POST", "/outage", {"mode": "none"})
    wait_for(lambda: decided(stack, token) == 200, "recovery")
    assert decided(stack, fresh) == 200


def test_the_gateway_must_be_known_there(stack, sub):
    token = stack.mint(claims={"sub": sub, "team": "research"})
    stack.idp_admin("PUT", "/introspector", {"secret": "another", "delay": 0})
    try:
        assert decided(stack, token) == (503, "auth_provider_unavailable")
    finally:
        stack.idp_admin("PUT", "/introspector", {"secret": secret(stack), "delay": 0})
    wait_for(lambda: decided(stack, token) == 200, "recovery")
    log = stack.agent.log.read_text()
    assert "introspection_failed" in log and secret(stack) not in log and token not in log
