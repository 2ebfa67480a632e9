"""What the gateway answers by itself: the caller's budget, the models there are; and the cheaper model a limit asks for."""

import json

import httpx2 as httpx
from machine import PATIENCE, QUIET_ZONE, wait_for


def body(text):
    return {"model": "chat-default", "messages": [{"role": "user", "content": text}]}


def get(stack, path, token=None):
    headers = {"Authorization": "Bearer " + token} if token else {}
    return httpx.get(stack.gateway + path, headers=headers, timeout=PATIENCE)


def test_budget_shows_what_is_left(make_stack, sub="own-budget"):
    stack = make_stack(
        limits=(
            f'name: own, level: team, match: ["own"], amount: "$5", window: day, time_zone: {QUIET_ZONE}',
            'name: pace, level: user, amount: "100000 tokens per minute"',
        )
    )
    token = stack.person(sub, team="own")
    before = get(stack, "/tollgate/v1/budget", token)
    assert before.status_code == 200 and before.headers["content-type"].startswith("application/json")
    limits = {limit["limit"]: limit for limit in before.json()["limits"]}
    assert before.json()["subject"]["team"] == "own"
    assert limits["own"]["amount"] == "5.00" and limits["own"]["used"] == "0.00" and limits["own"]["resets_at"].endswith(":00:00Z")
    assert limits["pace"]["unit"] == "tokens" and limits["pace"]["amount"] == 100000

    assert stack.post(token, {**body(sub + " [[completion_tokens=1000]]"), "max_tokens": 1000})[0] == 200

    def spent():
        own = {limit["limit"]: limit for limit in get(stack, "/tollgate/v1/budget", token).json()["limits"]}["own"]
        return own["held"] == "0.00" and own["used"] != "0.00" and own

    own = wait_for(spent, "the settlement")
    dollars, _, fraction = own["used"].partition(".")

    def booked():  # the account is right at once, its row with the next commit
        row = stack.query("SELECT sum(cost_nano) AS cost FROM request WHERE team = 'own'")[0]
        return int(dollars) * 10**9 + int(fraction.ljust(9, "0")) == row["cost"]

    wait_for(booked, "the row of the same cost")


def test_budget_needs_a_token(stack):
    answer = get(stack, "/tollgate/v1/budget")
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"


def test_models_are_the_aliases(stack):
    answer = get(stack, "/v1/models", stack.person("lister"))
    assert answer.status_code == 200
    assert {model["id"] for model in answer.json()["data"]} >= {"chat-default", "solo"}
    assert get(stack, "/v1/models").status_code == 401


def test_a_nearly_spent_limit_lowers_the_model(make_stack):
    stack = make_stack(
        limits=(
            f'name: thrift, level: team, match: ["thrift"], amount: "$0.001", window: day, time_zone: {QUIET_ZONE}, action: downgrade, '
            "downgrade_to: solo, thresholds: [50]",
        )
    )
    token = stack.person("thrifty", team="thrift")
    ask = {**body("thrift [[completion_tokens=1000]]"), "max_tokens": 1000}

    def lowered():
        answer = httpx.post(
            stack.gateway + "/v1/chat/completions", json=ask, headers={"Authorization": "Bearer " + token}, timeout=PATIENCE
        )
        assert answer.status_code == 200
        return "lowered to solo" in answer.headers.get("x-tollgate-notice", "")

    wait_for(lowered, "the downgrade")
    rows = stack.query("SELECT alias, model FROM request WHERE team = 'thrift' ORDER BY id")
    assert rows[0]["alias"] == "chat-default"
    assert json.loads(stack.received("alpha", "thrift")[-1]["body"])["model"] == "gpt-4o-mini"
