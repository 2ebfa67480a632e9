"""The primary fails in every way; the client gets the fallback's answer and the ledger says so."""

import json

import openai
import pytest

import ledger
from stack import PRICES

STACK = {"first_byte": "12s"}  # met only by an answer that never comes

BETA_IN, BETA_OUT = PRICES["azure", "gpt-4o"]

FAULTS = {
    "500": {"status": 500},
    "502": {"status": 502},
    "503": {"status": 503},
    "429": {"status": 429, "retry_after": "7"},
    "refused": {"refuse": True},
    "dropped": {"drop": True},
    "reset": {"reset": True},
    "half a head": {"partial_head": True},
    "slow": {"accept_delay": 600.0},
}


def ask(sdk, token, text, **more):
    return sdk(token).chat.completions.create(
        model="chat-default", messages=[{"role": "user", "content": text}], **more
    )


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("fault", FAULTS)
def test_fallback_answers(stack, sdk, sub, settled, fault, stream):
    marker = sub.replace(" ", "-")
    token = stack.person(marker)
    stack.behave("alpha", **FAULTS[fault])
    answer = ask(sdk, token, f"{marker} [[prompt_tokens=11 completion_tokens=4]]", stream=stream)
    text = (
        "".join(c.choices[0].delta.content or "" for c in answer if c.choices)
        if stream
        else answer.choices[0].message.content
    )
    assert text == "the river runs past"
    (record,) = stack.received("beta", marker)
    assert record["path"] == "/openai/deployments/gpt-4o/chat/completions"
    assert record["query"] == "api-version=2024-10-21"
    fields = {key.lower(): value for key, value in record["headers"]}
    assert fields["api-key"] == stack.keys["beta"] and "authorization" not in fields
    assert json.loads(record["body"])["model"] == "gpt-4o"
    row = settled(marker)
    assert row["fallback"] and (row["provider"], row["model_served"], row["status"]) == ("beta", "gpt-4o", 200)
    assert row["cost"] == 11 * BETA_IN + 4 * BETA_OUT and row["known_by"] == "reported"
    attempts = ledger.attempts(stack, row, 2)
    assert [a["provider"] for a in attempts] == ["alpha", "beta"]
    assert attempts[1]["status"] == 200 and attempts[0]["status"] != 200
    assert len(stack.received("alpha", marker)) == (0 if fault == "refused" else 1)


def test_a_client_error_is_passed_on_and_not_tried_again(stack, sdk, sub, settled):
    stack.behave("alpha", status=400, error_code="content_filter")
    with pytest.raises(openai.BadRequestError) as caught:
        ask(sdk, stack.person(sub), sub)
    assert caught.value.code == "content_filter"
    assert stack.received("beta", sub) == []
    row = settled(sub)
    assert row["status"] == 400 and row["cost"] == 0


def test_both_down_is_an_error_the_sdk_understands_and_costs_nothing(stack, sdk, sub, settled):
    stack.behave("alpha", status=503)
    stack.behave("beta", status=500)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(sdk, stack.person(sub), sub)
    assert caught.value.body["message"]
    row = settled(sub)
    assert row["cost"] == 0 and row["status"] == 500
    assert len(ledger.attempts(stack, row, 2)) == 2


def test_both_refused(stack, sdk, sub, settled):
    stack.behave("alpha", refuse=True)
    stack.behave("beta", refuse=True)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(sdk, stack.person(sub), sub)
    assert caught.value.status_code in (502, 503) and caught.value.body["message"]
    assert settled(sub)["cost"] == 0


def test_429_from_both_keeps_its_status_and_retry_after(stack, sdk, sub, settled):
    for name in ("alpha", "beta"):
        stack.behave(name, status=429, retry_after="7")
    with pytest.raises(openai.RateLimitError) as caught:
        ask(sdk, stack.person(sub), sub)
    assert caught.value.response.headers["retry-after"] == "7"
    assert settled(sub)["cost"] == 0


def test_without_a_fallback_the_primarys_error_reaches_the_client(stack, sdk, sub, settled):
    stack.behave("alpha", status=500)
    with pytest.raises(openai.InternalServerError):
        sdk(stack.person(sub)).chat.completions.create(model="solo", messages=[{"role": "user", "content": sub}])
    assert len(stack.received("alpha", sub)) == 1 and stack.received("beta", sub) == []
    assert settled(sub)["cost"] == 0


def test_one_bad_moment_of_the_primary(stack, sdk, sub, settled):
    stack.behave("alpha", status=500, times=1)
    token = stack.person(sub)
    ask(sdk, token, sub)
    ask(sdk, token, sub)
    first, second = settled(sub, 2)
    assert (bool(first["fallback"]), bool(second["fallback"])) == (True, False)
