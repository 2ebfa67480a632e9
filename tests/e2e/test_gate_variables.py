"""Without the Lua files: the agent decides, injects and falls back; bodies pass as they came; the log ring settles."""

import json

import openai
import pytest

from machine import QUIET_ZONE

STACK = {
    "lua": False,
    "limits": (f'name: poor-day, level: team, match: ["poor"], amount: "$0.002", window: day, time_zone: {QUIET_ZONE}',),
}


def body(text, **more):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


def test_no_lua_is_loaded(stack):
    text = "".join(path.read_text() for path in (stack.folder / "haproxy").rglob("*") if path.is_file())
    assert "lua-load" not in text and "lua." not in text


def test_allowed_with_the_key_and_the_body_as_it_came(stack, sub):
    token = stack.person(sub)
    sent = json.dumps(body(sub, max_tokens=50)).encode()
    status, _, _ = stack.post(token, sent)
    assert status == 200
    (record,) = stack.received("alpha", sub)
    assert record["body"].encode() == sent
    fields = {key.lower(): value for key, value in record["headers"]}
    assert fields["authorization"] == "Bearer " + stack.keys["alpha"]
    assert token not in json.dumps(record)


def test_row_is_settled_from_the_ring(stack, sub, settled):
    stack.post(stack.person(sub), body(sub, max_tokens=50))
    row = settled(sub)
    assert row["status"] == 200 and row["known_by"] == "bounded"
    assert row["cost"] == row["hold"] > 0


def test_refused_costs_nothing_and_does_not_pass(stack, sub):
    status, _, _ = stack.post(stack.mint(key="stray"), body(sub))
    assert status == 401 and stack.received("alpha", sub) == []


def test_fallback(stack, sub, settled):
    stack.behave("alpha", status=500)
    status, _, answer = stack.post(stack.person(sub), body(sub, max_tokens=50))
    assert status == 200, answer
    (record,) = stack.received("beta", sub)
    assert {k.lower(): v for k, v in record["headers"]}["api-key"] == stack.keys["beta"]
    row = settled(sub)
    assert row["fallback"] and row["provider"] == "beta"


def test_budget(stack, sdk, sub, settled):
    token = stack.person(sub, team="poor")
    with pytest.raises(openai.RateLimitError) as caught:
        for _ in range(10):
            sdk(token).chat.completions.create(**body(sub, max_tokens=1000))
            settled(sub, len(stack.received("alpha", sub)))
    assert caught.value.code == "insufficient_quota"
    assert len(stack.received("alpha", sub)) == 3


def test_a_failed_request_is_not_charged(stack, sub, settled):
    stack.behave("alpha", refuse=True)
    stack.behave("beta", refuse=True)
    status, _, _ = stack.post(stack.person(sub), body(sub, max_tokens=50))
    assert status in (502, 503)
    assert settled(sub)["cost"] == 0
