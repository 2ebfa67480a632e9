"""What every answer tells a known caller of his limits, its cost and the gateway's own time; and a stranger nothing of it but the time."""

import json
import re
import threading
from decimal import Decimal

import httpx2 as httpx
import pytest
from machine import PATIENCE, QUIET_ZONE, wait_for

STACK = {
    "limits": (
        'name: purse, level: team, match: [told, held, poor], amount: "$5", window: day, time_zone: ' + QUIET_ZONE,
        'name: empty, level: team, match: [poor], amount: "$0.000000001", window: day, time_zone: ' + QUIET_ZONE,
        'name: pace, level: team, match: [told, held, fast], amount: "1000000 tokens per minute"',
        'name: calls, level: team, match: [told, held], amount: "600 requests per minute"',
        'name: one, level: team, match: [fast], amount: "1 requests per hour"',
    ),
    "access": [
        "name: held, teams: [held], models: [solo, chat-default]",
        "name: others, teams: [told, poor, fast, free]",
    ],
}
CHAT = "/v1/chat/completions"
RATES = [f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining", "reset") for unit in ("tokens", "requests")]
DOLLARS = re.compile(r"\d+\.\d\d\d*")


def ask(stack, token, body=None, path=CHAT, method="POST"):
    content = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
    headers = {"content-type": "application/json"} | ({"authorization": "Bearer " + token} if token else {})
    return httpx.request(method, stack.gateway + path, headers=headers, content=content, timeout=PATIENCE)


def chat(text, **more):
    return {"model": "solo", "messages": [{"role": "user", "content": text}], "max_tokens": 20, **more}


def own_time(answer):
    assert int(answer.headers["x-tollgate-overhead-us"]) > 0
    stages = re.findall(r"(\w+);dur=(\d+\.\d{3})", answer.headers["server-timing"])
    assert {"tollgate", "identity"} <= {name for name, _ in stages}


def told(answer, rates=tuple(RATES)):
    """The account is in the answer; it may be read as numbers."""
    own_time(answer)
    assert {name for name in RATES if name in answer.headers} == set(rates)
    for name in rates:
        assert re.fullmatch(r"(\d+h)?(\d+m)?\d+s" if "reset" in name else r"\d+", answer.headers[name]), name
    for unit in ("tokens", "requests"):
        if f"x-ratelimit-limit-{unit}" in rates:
            assert int(answer.headers[f"x-ratelimit-remaining-{unit}"]) <= int(answer.headers[f"x-ratelimit-limit-{unit}"])
    assert DOLLARS.fullmatch(answer.headers["x-tollgate-budget-left"])
    assert float(answer.headers["x-tollgate-budget-left"]) <= 5


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_an_answer_of_a_provider(stack, sub, stream):
    answer = ask(stack, stack.person(sub, team="told"), chat(sub, stream=stream))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    told(answer)
    assert float(answer.headers["x-tollgate-hold-usd"]) > 0
    assert "x-tollgate-cost-usd" not in answer.headers  # not known before the last byte
    assert "retry-after" not in answer.headers


OWN = {
    "models": ("GET", "/v1/models", None),
    "one model": ("GET", "/v1/models/solo", None),
    "budget": ("GET", "/tollgate/v1/budget", None),
    "count": ("POST", "/v1/messages/count_tokens", chat("count me")),
}


@pytest.mark.parametrize("name", OWN)
def test_the_gateway_s_own_answers(stack, sub, name):
    method, path, body = OWN[name]
    answer = ask(stack, stack.person(sub, team="told"), body, path, method)
    assert answer.status_code == 200, answer.text
    told(answer)
    assert answer.headers["x-tollgate-cost-usd"] == "0.00"
    assert "x-tollgate-hold-usd" not in answer.headers and "retry-after" not in answer.headers


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_the_cost_of_a_request_by_its_id(stack, sub, stream):
    """As soon as it is settled; the ledger's row says the same. Nobody else is told that it exists."""
    token = stack.person(sub, team="told")
    answer = ask(stack, token, chat(sub, stream=stream))
    path = "/tollgate/v1/requests/" + answer.headers["x-tollgate-request-id"]

    def settled():
        told_now = ask(stack, token, None, path, "GET")
        assert told_now.status_code == 200, told_now.text
        assert told_now.json()["hold_usd"] == answer.headers["x-tollgate-hold-usd"]
        return told_now.json()["state"] == "settled" and told_now

    found = wait_for(settled, "the settlement")
    told(found)
    row = wait_for(lambda: stack.query("SELECT cost_usd, known_by FROM request WHERE request_id = ? AND state = 'settled'",
                                       answer.headers["x-tollgate-request-id"]), "the row")[0]
    assert Decimal(found.json()["cost_usd"]) == Decimal(row["cost_usd"]) > 0
    assert (found.json()["known_by"], found.json()["model"]) == (row["known_by"], "solo") == ("reported", "solo")
    other = ask(stack, stack.person(sub + "-other", team="told"), None, path, "GET")
    assert other.status_code == 404 and other.json()["error"]["code"] == "request_not_found"
    assert ask(stack, None, None, path, "GET").status_code == 401
    assert ask(stack, token, {}, path, "POST").status_code == 405


def test_a_request_under_way_has_no_cost_yet(stack, sub):
    token = stack.person(sub, team="told")
    done = []
    with stack.gate() as gate:
        thread = threading.Thread(target=lambda: done.append(ask(stack, token, chat(f"{sub} [[{gate}]]"))))
        thread.start()
        sent = wait_for(lambda: stack.received("alpha", sub), "the request to reach the provider")[0]
        identifier = {name.lower(): value for name, value in sent["headers"]}["x-client-request-id"]
        answer = ask(stack, token, None, "/tollgate/v1/requests/" + identifier, "GET").json()
    thread.join()
    assert (answer["state"], answer["cost_usd"], answer["known_by"]) == ("open", None, "open") and float(answer["hold_usd"]) > 0
    assert done[0].status_code == 200


def test_of_an_unknown_request_nothing_is_told(stack, sub):
    for identifier in ("no-such-id", "", "a/b", "%2e%2e"):
        answer = ask(stack, stack.person(sub, team="told"), None, "/tollgate/v1/requests/" + identifier, "GET")
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "request_not_found"
        told(answer)


REFUSED = {
    "not JSON": (400, CHAT, b'{"model": "solo", '),
    "no model named": (400, CHAT, {"messages": [{"role": "user", "content": "x"}]}),
    "unknown model": (404, CHAT, chat("x", model="no-such-model")),
    "unknown path": (404, "/v1/no/such/path", {}),
    "model not allowed": (403, CHAT, chat("x", model="gpt-4o-mini")),
    "of one model": (404, "/v1/models/no-such-model", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(stack, sub, name):
    status, path, body = REFUSED[name]
    answer = ask(stack, stack.person(sub, team="held" if status == 403 else "told"), body, path, "GET" if body is None else "POST")
    assert answer.status_code == status, answer.text
    told(answer)
    assert answer.headers["x-tollgate-cost-usd"] == "0.00"
    assert "retry-after" not in answer.headers


def test_a_refusal_costs_the_account_nothing(stack, sub):
    token = stack.person(sub, team="told")
    held = stack.person(sub, team="held")

    def left():
        return ask(stack, token, path="/tollgate/v1/budget", method="GET").json()["limits"]

    wait_for(lambda: stack.query("SELECT count(*) AS n FROM open_holds")[0]["n"] == 0, "the requests before to be settled")
    before = {limit["limit"]: limit["used"] for limit in left() if limit["window"] != "bucket"}
    for status, path, body in REFUSED.values():
        answer = ask(stack, held if status == 403 else token, body, path, "GET" if body is None else "POST")
        assert answer.status_code == status
    after = {limit["limit"]: limit["used"] for limit in left() if limit["window"] != "bucket"}
    assert before == after and before


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_budget_that_is_used_up(stack, sub, stream):
    answer = ask(stack, stack.person(sub, team="poor"), chat(sub, stream=stream))
    assert answer.status_code == 429 and answer.json()["error"]["code"] == "insufficient_quota"
    told(answer, rates=())
    assert answer.headers["x-tollgate-budget-left"] == "0.000000001"
    assert answer.headers["x-tollgate-cost-usd"] == "0.00"
    assert answer.headers["x-should-retry"] == "false"


def test_a_rate_that_is_used_up(stack, sub):
    token = stack.person(sub, team="fast")
    answers = [ask(stack, token, chat(sub)) for _ in range(2)]
    answer = answers[-1]
    assert answer.status_code == 429 and answer.json()["error"]["code"] == "rate_limit_exceeded"
    own_time(answer)
    assert (answer.headers["x-ratelimit-limit-requests"], answer.headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    assert answer.headers["x-ratelimit-limit-tokens"] == "1000000"
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert answer.headers["x-tollgate-cost-usd"] == "0.00"


def test_without_limits_on_rates_there_is_nothing_to_tell(stack, sub):
    for path, body in ((CHAT, chat(sub)), (CHAT, chat(sub, model="no-such-model")), ("/v1/models", None)):
        answer = ask(stack, stack.person(sub, team="free"), body, path, "GET" if body is None else "POST")
        own_time(answer)
        assert not [name for name in answer.headers if name.startswith("x-ratelimit-")]
        assert DOLLARS.fullmatch(answer.headers["x-tollgate-budget-left"])  # every team has a limit on its day


@pytest.mark.parametrize("who", ["nobody", "expired", "forged"])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/tollgate/v1/budget"])
def test_strangers_learn_nothing(stack, sub, who, path):
    token = None if who == "nobody" else stack.person(sub, team="told", ttl=-4000 if who == "expired" else 3600)
    if who == "forged":
        head, body, signature = token.split(".")
        token = ".".join((head, body, signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]))
    answer = ask(stack, token, chat(sub) if path == CHAT else None, path, "POST" if path == CHAT else "GET")
    assert answer.status_code == 401, answer.text
    named = ("x-ratelimit-", "x-tollgate-budget", "x-tollgate-cost", "x-tollgate-hold")
    assert not [name for name in answer.headers if name.startswith(named)]
    assert "server-timing" in answer.headers and "retry-after" not in answer.headers
