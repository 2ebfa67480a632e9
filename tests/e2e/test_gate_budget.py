"""Money and tokens run out: exactly at the limit, at any concurrency, with an error that clients understand."""

import asyncio
import json
import re
import time

import httpx2 as httpx
import openai
import pytest

import ledger
from machine import PATIENCE, QUIET_ZONE, wait_for
from stack import PRICES

IN, OUT = PRICES["openai", "gpt-4o-mini"]
# One request of the crowd: 1000 output tokens at most and a short prompt.
CROWD_OUTPUT = 1000
# Room for twenty holds and a little, not for twenty-one.
CROWD_BUDGET = 20 * (CROWD_OUTPUT * OUT + 60 * IN) + CROWD_OUTPUT * OUT // 3

STACK = {
    "limits": (
        f'name: crowd-day, level: team, match: ["crowd-*"], amount: "${CROWD_BUDGET / 1e9:.9f}", window: day, time_zone: {QUIET_ZONE}',
        f'name: poor-day, level: team, match: ["poor"], amount: "$0.002", window: day, time_zone: {QUIET_ZONE}',
        'name: client-tpm, level: user, match: ["hasty-*"], unit: tokens, amount: "3000/hour", window: bucket, burst: "3000"',
        'name: team-tokens, level: team, match: ["bucket-*"], unit: tokens, amount: "10/hour", window: bucket, burst: "10000"',
    )
}


def request(text, **more):
    return {"model": "solo", "messages": [{"role": "user", "content": text}], **more}


def spend_until_refused(sdk, token, sub, code="insufficient_quota"):
    """The first refusal with this code. While earlier requests are not settled, a milder one may come first."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            sdk(token).chat.completions.create(**request(sub + " [[completion_tokens=1000]]", max_tokens=1000))
        except openai.APIStatusError as error:
            if error.code == code:
                return error
            assert error.code == "rate_limit_exceeded", error
    raise AssertionError(f"never refused with {code}")


def test_exhausted_budget_is_insufficient_quota_to_the_sdk(stack, sdk, sub):
    token = stack.person(sub, team="poor")
    error = spend_until_refused(sdk, token, sub)
    assert isinstance(error, openai.RateLimitError)
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    assert "poor-day" in error.body["message"] or "poor" in error.body["message"]
    assert error.response.headers["x-should-retry"] == "false"
    assert 0 < int(error.response.headers["retry-after"]) <= 86400
    assert error.response.headers["content-type"].startswith("application/json")
    left = float(error.response.headers["x-tollgate-budget-left"])
    assert 0 <= left < 0.0006 + 0.0001  # what is left does not hold one more
    served = len(stack.received("alpha", sub))
    assert served == 3  # three holds of 0.0006 USD fit into 0.002, a fourth does not


def test_the_sdk_does_not_hammer(stack, sdk, sub):
    token = stack.person(sub, team="poor")
    spend_until_refused(sdk, token, sub)
    sent = []
    client = openai.OpenAI(
        base_url=stack.gateway + "/v1",
        api_key=token,
        max_retries=5,
        http_client=openai.DefaultHttpxClient(event_hooks={"request": [sent.append]}),
    )
    with client, pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**request(sub, max_tokens=1000))
    assert len(sent) == 1


def test_a_refusal_is_a_row_that_costs_nothing(stack, sdk, sub):
    token = stack.person(sub, team="poor")
    spend_until_refused(sdk, token, sub)

    def refused():
        return [row for row in ledger.requests(stack, sub) if row["status"] == 429]

    # The refusal does not wait for its row.
    rows = wait_for(refused, "the refusal's row")
    assert all(row["cost"] == 0 for row in rows)


def test_a_refused_stream_is_plain_json(stack, sdk, sub):
    token = stack.person(sub, team="poor")
    spend_until_refused(sdk, token, sub)
    with pytest.raises(openai.RateLimitError) as caught:
        sdk(token).chat.completions.create(**request(sub, max_tokens=1000, stream=True))
    assert caught.value.code == "insufficient_quota"


async def crowd(stack, token, marker, count, behaviour, stream=False):
    limits = httpx.Limits(max_connections=count)
    body = request(f"{marker} [[{behaviour}]]", max_tokens=CROWD_OUTPUT, stream=stream)
    async with httpx.AsyncClient(limits=limits, timeout=PATIENCE * 3) as client:

        async def one():
            answer = await client.post(
                stack.gateway + "/v1/chat/completions", json=body, headers={"Authorization": "Bearer " + token}
            )
            return answer.status_code, None if stream and answer.status_code == 200 else answer.json()

        return await asyncio.gather(*(one() for _ in range(count)))


@pytest.mark.parametrize(
    "behaviour,cheap",
    [("completion_tokens=1000 accept_delay=0.3", False), ("completion_tokens=700 accept_delay=0.1", True)],
    ids=["full price", "cheaper than held"],
)
def test_200_at_once_on_a_budget_for_20(stack, sub, behaviour, cheap):
    marker = sub.replace(" ", "-")
    team = "crowd-" + marker
    token = stack.person(marker, team=team)
    answers = asyncio.run(crowd(stack, token, marker, 200, behaviour))
    statuses = [status for status, _ in answers]
    served = statuses.count(200)
    assert served + statuses.count(429) == 200, statuses
    assert {body["error"]["code"] for status, body in answers if status == 429} <= {
        "insufficient_quota",
        "rate_limit_exceeded",
    }
    assert len(stack.received("alpha", marker)) == served
    rows = ledger.requests(stack, marker)
    spent = sum(row["hold"] if ledger.is_open(row) else row["cost"] for row in rows)
    assert spent <= CROWD_BUDGET
    if cheap:  # what settles below its hold makes room again, never more than there is
        assert 20 <= served <= CROWD_BUDGET // (700 * OUT)
    else:
        assert served == 20


def test_100_streams_at_once_on_a_bucket_of_tokens(stack, sub, settled_all):
    """Tokens are taken before the provider is asked, and those of a stream count once."""
    token = stack.person(sub, team="bucket-" + sub)
    answers = asyncio.run(crowd(stack, token, sub, 100, "completion_tokens=1000 accept_delay=0.2", stream=True))
    served = sum(status == 200 for status, _ in answers)
    assert {body["error"]["code"] for status, body in answers if status != 200} == {"rate_limit_exceeded"}
    assert len(stack.received("alpha", sub)) == served
    used = [row["input"] + row["output"] for row in settled_all(sub, served)]
    assert served == 10_000 // (used[0]) == 9 and all(one == used[0] > 1000 for one in used)
    account = next(a for a in ledger.accounts(stack, "team-tokens") if a["subject"] == "team=bucket-" + sub)
    assert sum(used) - 10 <= account["used"] <= sum(used) and account["held"] == 0  # it fills again, slowly


@pytest.fixture
def settled_all(stack):
    def rows(sub, count):
        found = lambda: [row for row in ledger.requests(stack, sub) if row["state"] == "settled"]  # noqa: E731
        return wait_for(lambda: len(r := found()) == count and r, f"{count} settlements")

    return rows


@pytest.mark.parametrize("tier", ["priority", "scale", "PRIORITY", ""])
def test_a_service_tier_without_a_price_is_refused(stack, sub, tier):
    """It costs more than the price table says: a hold would not cover it."""
    status, _, answer = stack.post(stack.person(sub), request(sub, service_tier=tier or "flex"))
    if tier:
        error = json.loads(answer)["error"]
        assert (status, error["param"], error["code"]) == (400, "service_tier", "option_not_priced")
        row = wait_for(lambda: ledger.requests(stack, sub), "the refusal's row")[-1]
        assert (row["state"], row["deny_reason"], row["cost"], row["hold"]) == ("denied", "unpriced", 0, 0)
    else:
        assert status == 200, answer
    assert len(stack.received("alpha", sub)) == (0 if tier else 1)


@pytest.mark.parametrize(
    "member, value, status", [("inference_geo", "us", 400), ("inference_geo", "global", 200), ("speed", "fast", 400), ("speed", "standard", 200)]
)
def test_what_costs_more_at_anthropic_is_refused(stack, sub, member, value, status):
    body = {"model": "solo", "max_tokens": 20, "messages": [{"role": "user", "content": sub}], member: value}
    got, _, answer = stack.post(stack.person(sub), body, path="/v1/messages")
    assert got == status, answer
    assert len(stack.received("alpha", sub)) == (1 if status == 200 else 0)
    if status == 400:
        assert member in json.loads(answer)["error"]["message"]


def test_limits_are_per_team(stack, sdk, sub):
    poor = stack.person(sub + "-a", team="poor")
    spend_until_refused(sdk, poor, sub + "-a")
    rich = stack.person(sub + "-b", team="research")
    answer = sdk(rich).chat.completions.create(**request(sub))
    assert answer.choices


def test_token_bucket_is_a_rate_limit_not_a_quota(stack, sdk, sub):
    token = stack.person("hasty-" + sub)
    error = spend_until_refused(sdk, token, sub, "rate_limit_exceeded")
    assert isinstance(error, openai.RateLimitError)
    assert error.code == "rate_limit_exceeded"
    assert 0 < int(error.response.headers["retry-after"]) <= 3600
    assert error.response.headers.get("x-should-retry") != "false"
    assert error.response.headers["x-ratelimit-limit-tokens"] == "3000"
    assert 0 <= int(error.response.headers["x-ratelimit-remaining-tokens"]) < 3000
    assert re.fullmatch(r"(\d+h)?(\d+m)?\d+s", error.response.headers["x-ratelimit-reset-tokens"])
    assert 1 <= len(stack.received("alpha", sub)) <= 3


def test_a_request_that_can_never_fit_is_refused(stack, sdk, sub):
    token = stack.person("hasty-" + sub)
    with pytest.raises(openai.APIStatusError) as caught:
        sdk(token).chat.completions.create(**request(sub + " word" * 5000, max_tokens=10))
    assert caught.value.status_code in (400, 429)
    assert stack.received("alpha", sub) == []


def test_spend_view_equals_the_rows(stack, sdk, sub, settled):
    team = "view-" + sub
    token = stack.person(sub, team=team)
    for _ in range(4):
        sdk(token).chat.completions.create(**request(sub))
    total = sum(row["cost"] for row in settled(sub, 4))
    assert total > 0
    assert ledger.spend_of_team(stack, team) == total


def test_error_body_is_openai_shaped(stack, sub):
    token = stack.person(sub, team="poor")
    for _ in range(10):
        status, headers, body = stack.post(token, request(sub + " [[completion_tokens=1000]]", max_tokens=1000))
        if status != 200:
            break
    assert status == 429 and headers["content-type"].startswith("application/json")
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
