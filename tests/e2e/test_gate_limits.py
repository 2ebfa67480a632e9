"""Limits of every level, what soft ones and those on concurrency do, and that a request is counted everywhere or nowhere."""

import json
import threading
import time

import pytest

import ledger
from machine import PATIENCE, wait_for

# The level's own limit lets two requests pass; `within` keeps it to the team of its test.
LEVELS = {
    "global": "level: global",
    "organization": "level: organization, match: [levels-org]",
    "team": "level: team, match: [levels-team]",
    "user": "level: user",
    "application": "level: application",
    "cost_center": 'level: cost_center, match: ["levels-*"]',
    "model": "level: model, match: [gpt-4o-mini]",
    "provider": "level: provider, match: [openai]",
    "alias": "level: alias, match: [solo]",
}


def within(level):
    return f"within: [{{level: team, match: [levels-{level}]}}]" if level != "team" else ""


STACK = {
    "limits": (
        *(
            f'name: levels-{level}, {scope}, {within(level)}{", " if within(level) else ""}amount: "2 requests", window: total'
            for level, scope in LEVELS.items()
        ),
        'name: gentle, level: team, match: [gentle], amount: "4 requests", window: total, action: soft',
        'name: few, level: team, match: [few], unit: concurrent, amount: "3"',
        'name: outer, level: organization, match: [nested-org], amount: "100000 tokens", window: total',
        'name: middle, level: team, match: [nested], amount: "100 requests", window: total',
        'name: inner, level: user, within: [{level: team, match: [nested]}], amount: "$0.0002", window: total',
    )
}


def ask(text, **more):
    return {"model": "solo", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_counts_and_refuses(stack, settled, level):
    sub = f"levels-{level}"
    token = stack.person(sub, team=sub, organization="levels-org", cost_center="levels-cc")
    for number in range(2):
        assert stack.post(token, ask(f"{sub} {number}"))[0] == 200
        settled(sub, number + 1)  # what is held may come back: a throttle, not a quota
    status, headers, answer = stack.post(token, ask(f"{sub} 2"))
    error = json.loads(answer)["error"]
    assert (status, error["code"]) == (429, "insufficient_quota") and f'"levels-{level}"' in error["message"], error
    assert headers["x-should-retry"] == "false"
    assert len(stack.received("alpha", sub)) == 2
    account = ledger.accounts(stack, f"levels-{level}")
    assert [(a["used"], a["amount"]) for a in account] == [(2, 2)]


def test_a_soft_limit_tells_and_refuses_nothing(stack, sub, settled):
    token, told = stack.person(sub, team="gentle"), []
    for number in range(6):
        status, headers, _ = stack.post(token, ask(f"{sub} {number}"))
        assert status == 200
        settled(sub, number + 1)
        told.append(headers["x-tollgate-notice"])
    # Before its own use is known: by what was used until then.
    assert told == [None, None, *(f"limit gentle is used to {percent} %" for percent in (50, 50, 100, 100))], told


def test_no_more_than_three_at_once_and_all_in_the_end(stack, sub):
    token, taken, done = stack.person(sub, team="few"), [], threading.Event()
    end = time.monotonic() + PATIENCE
    statuses, refused = [], []

    def client(number, more=""):
        while time.monotonic() < end:
            status, headers, answer = stack.post(token, ask(f"{sub} {number} [[accept_delay=0.3 {more}]]"))
            if status == 200:
                statuses.append(status)
                return
            refused.append((status, json.loads(answer)["error"]["code"], headers["x-should-retry"]))
            time.sleep(0.1)

    def watch():
        while not done.is_set():
            taken.extend(a["held"] for a in ledger.accounts(stack, "few"))
            time.sleep(0.02)

    with stack.gate() as gate:
        clients = [threading.Thread(target=client, args=(number, gate)) for number in range(3)]
        for thread in clients:
            thread.start()
        wait_for(lambda: len(stack.received("alpha", sub)) == 3, "three to be at work")
        assert [a["held"] for a in ledger.accounts(stack, "few")] == [3]
        clients += [threading.Thread(target=client, args=(number,)) for number in range(3, 12)]
        watcher = threading.Thread(target=watch)
        for thread in (watcher, *clients[3:]):
            thread.start()
        wait_for(lambda: len(refused) >= 9, "the others to be refused")
        assert len(stack.received("alpha", sub)) == 3
    for thread in clients:
        thread.join()
    done.set()
    watcher.join()
    assert statuses == [200] * 12 and len(stack.received("alpha", sub)) == 12
    assert {(status, code) for status, code, _ in refused} == {(429, "rate_limit_exceeded")}
    assert all(again != "false" for _, _, again in refused)
    assert max(taken, default=0) <= 3
    wait_for(lambda: not any(a["held"] for a in ledger.accounts(stack, "few")), "every hold to end")  # an idle account is forgotten


def test_what_one_level_refuses_is_counted_nowhere(stack, sub, settled):
    token = stack.person(sub, team="nested", organization="nested-org")

    def counted():
        return {a["limit"]: (a["used"], a["held"]) for a in ledger.budgets(stack) if a["limit"] in ("outer", "middle", "inner")}

    served = 0
    while stack.post(token, ask(f"{sub} [[completion_tokens=100]]"))[0] == 200:
        served += 1
        settled(sub, served)
        assert served < 10
    before = counted()
    assert served == 3 and before["middle"] == (3, 0)
    for _ in range(5):
        status, _, answer = stack.post(token, ask(sub))
        assert status == 429 and '"inner"' in json.loads(answer)["error"]["message"]
    assert counted() == before
    assert stack.post(token, ask(sub, max_tokens=1))[0] == 200, "what fits is served: nothing was lost"
