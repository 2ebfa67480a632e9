"""Introspection: the issuer itself is asked whether a token is still active, and nothing passes that it does not vouch for."""

import json
from concurrent.futures import ThreadPoolExecutor

from machine import wait_for

STACK = {"introspection": "cache: 1s, stale: 2s"}


def body(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


def decided(stack, token, text="introspection"):
    status, _, answer = stack.post(token, body(text))
    return 200 if status == 200 else (status, json.loads(answer)["error"]["code"])


def passes(stack, token):
    """It is active. An issuer that is slow to say so is not waited for."""

    def look():
        answer = decided(stack, token)
        assert answer in (200, (503, "auth_provider_unavailable")), answer
        return answer == 200

    wait_for(look, "an active token to pass")


def asked(stack):
    return stack.idp_admin("GET", "/counts").get("/check", 0)


def secret(stack):
    return (stack.folder / "introspector.key").read_text().strip()


def test_a_token_that_is_no_longer_active(stack, sub):
    token, other = (stack.mint(claims={"sub": sub, "jti": f"{sub}-{n}", "team": "research"}) for n in (1, 2))
    for one in (token, other):
        passes(stack, one)
    stack.idp_admin("POST", "/deactivate", {"jti": f"{sub}-1"})
    wait_for(lambda: decided(stack, token) == (401, "invalid_api_key"), "the end of the cached answer")
    passes(stack, other)
    query = "SELECT 1 FROM request WHERE subject = ? AND state = 'denied' AND deny_reason = 'token_inactive'"
    wait_for(lambda: stack.query(query, sub), "the refusal's row")


def test_all_who_wait_share_one_question(make_stack, sub):
    """The answer is kept for long, so that who comes too late to wait asks no second one."""
    stack = make_stack(introspection="cache: 1h, stale: 1h")
    stack.idp_admin("PUT", "/introspector", {"secret": secret(stack), "delay": 1000})
    token = stack.mint(claims={"sub": sub, "team": "research"})
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: decided(stack, token, sub), range(16)))
    assert set(answers) == {200} and asked(stack) == 1


def test_silence_refuses(stack, sub):
    """The endpoint away: unknown tokens are 503 at once, known ones for as long as `stale` allows; others are served meanwhile."""
    token = stack.mint(claims={"sub": sub, "team": "research"})
    passes(stack, token)
    stack.idp_admin("POST", "/outage", {"mode": "refuse"})
    try:
        fresh = stack.mint(claims={"sub": sub, "team": "research", "jti": sub})
        assert decided(stack, fresh) == (503, "auth_provider_unavailable")
        wait_for(lambda: decided(stack, token) == (503, "auth_provider_unavailable"), "the end of the stale answer")
    finally:
        stack.idp_admin("POST", "/outage", {"mode": "none"})
    wait_for(lambda: decided(stack, token) == 200, "recovery")
    passes(stack, fresh)


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
