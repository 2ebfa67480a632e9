"""The agent dies, is away, comes back: nothing that reached a provider is lost, and clients are told."""

import json
import threading
import time

import httpx2 as httpx
import openai
import pytest

import ledger
from machine import PATIENCE, QUIET_ZONE, wait_for

STACK = {"hold_timeout": "5s"}


def body(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


def request_id(record):
    """The gateway's name for a request, as the provider was told it."""
    return next(value for name, value in record["headers"] if name.lower() == "x-client-request-id")


class Load:
    """Clients that ask one after another, each with a subject of its own."""

    def __init__(self, stack, name, clients=6):
        self.stack, self.stopping = stack, threading.Event()
        self.subjects = [f"{name}-{i}" for i in range(clients)]
        self.tokens = {sub: stack.person(sub, team="load") for sub in self.subjects}
        self.statuses = {sub: [] for sub in self.subjects}
        self.threads = [threading.Thread(target=self.run, args=(sub,)) for sub in self.subjects]
        for thread in self.threads:
            thread.start()

    def run(self, sub):
        with httpx.Client(timeout=PATIENCE, headers={"Authorization": "Bearer " + self.tokens[sub]}) as client:
            while not self.stopping.is_set():
                try:
                    answer = client.post(
                        self.stack.gateway + "/v1/chat/completions", json=body(f"{sub}. [[accept_delay=0.02]]")
                    )
                    self.statuses[sub].append(answer.status_code)
                except httpx.HTTPError:
                    self.statuses[sub].append(0)
                if self.statuses[sub][-1] != 200:
                    time.sleep(0.05)

    def served(self):
        return sum(statuses.count(200) for statuses in self.statuses.values())

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(PATIENCE * 2)
        assert not any(thread.is_alive() for thread in self.threads)


def test_agent_down_is_503_in_openai_shape(stack, sdk, sub):
    token = stack.person(sub)
    stack.kill_agent()
    try:
        with pytest.raises(openai.InternalServerError) as caught:
            sdk(token).chat.completions.create(**body(sub))
        assert caught.value.status_code == 503
        assert caught.value.code and caught.value.body["message"] and caught.value.type == "server_error"
        assert stack.received("alpha", sub) == []
    finally:
        stack.restart_agent()
    assert sdk(token).chat.completions.create(**body(sub)).choices


def test_kill_9_under_load_loses_nothing(stack, sub):
    load = Load(stack, sub)
    try:
        for round_number in range(1, 4):
            target = load.served() + 60
            wait_for(lambda: load.served() >= target, "load to flow")
            stack.kill_agent()
            wait_for(lambda: any(s and s[-1] == 503 for s in load.statuses.values()), "clients to notice")
            stack.restart_agent()
        target = load.served() + 60
        wait_for(lambda: load.served() >= target, "load to flow after the last restart")
    finally:
        load.stop()
    for subject in load.subjects:
        rows = {row["request_id"]: row for row in ledger.requests(stack, subject)}
        sent = [request_id(record) for record in stack.received("alpha", subject + ".")]
        assert sent and len(sent) >= load.statuses[subject].count(200)
        missing = [
            identifier for identifier in sent if identifier not in rows or not ledger.was_allowed(rows[identifier])
        ]
        assert missing == [], (
            f"{subject}: {len(missing)} of {len(sent)} that reached the provider are not in the ledger"
        )

    # Every hold ends: settled by its record, by the log line, or at its bound once it is too old.
    def all_closed():
        return not [row for subject in load.subjects for row in ledger.requests(stack, subject) if ledger.is_open(row)]

    wait_for(all_closed, "holds to end")
    for subject in load.subjects:
        for row in ledger.requests(stack, subject):
            assert row["cost"] <= row["hold"]
            if row["known_by"] == "bounded":
                assert row["cost"] == row["hold"]


def test_restart_keeps_spend(make_stack):
    """A budget does not start afresh with the agent."""
    stack = make_stack(
        limits=(f'name: small, level: team, match: ["small"], amount: "$0.002", window: day, time_zone: {QUIET_ZONE}',)
    )
    token = stack.person("saver", team="small")
    ask = {**body("save [[completion_tokens=1000]]"), "max_tokens": 1000}
    while stack.post(token, ask)[0] == 200:
        pass
    served = len(stack.received("alpha", "save"))
    assert served == 3
    stack.kill_agent()
    stack.restart_agent()

    # Until what was under way is settled, the refusal may still be a throttle: open holds could end cheaper than they were taken.
    def exhausted():
        status, _, answer = stack.post(token, ask)
        assert status == 429
        return json.loads(answer)["error"]["code"] == "insufficient_quota"

    wait_for(exhausted, "the settlements after the restart")
    assert len(stack.received("alpha", "save")) == served


def test_settlement_arrives_when_the_agent_was_away_at_the_end(stack, sub, settled):
    """The agent dies after it allowed a request, and the answer comes while it is away: the record waits in HAProxy."""
    token = stack.person(sub)
    done = []
    with stack.gate() as gate:
        ask = body(f"{sub} [[prompt_tokens=9 completion_tokens=5 {gate}]]")
        thread = threading.Thread(target=lambda: done.append(stack.post(token, ask)))
        thread.start()
        wait_for(lambda: stack.received("alpha", sub), "the request to reach the provider")
        stack.kill_agent()
    thread.join(PATIENCE)
    assert done[0][0] == 200
    stack.restart_agent()
    # Where all that took longer than a hold lives, the row has ended at its bound and is corrected.
    wait_for(lambda: ledger.requests(stack, sub)[0]["known_by"] == "reported", "the record")
    row = settled(sub)
    assert row["known_by"] == "reported" and row["cost"] == 9 * 150 + 5 * 600


def test_an_orphaned_hold_ends_at_its_bound(make_stack):
    """HAProxy dies with the record: nothing will ever settle the hold but time."""
    stack = make_stack(hold_timeout="2s")
    token = stack.person("orphan")
    stack.orphan(token, "orphan")
    row = wait_for(lambda: [r for r in ledger.requests(stack, "orphan") if not ledger.is_open(r)], "the hold to end")[0]
    assert row["known_by"] == "bounded" and row["cost"] == row["hold"] > 0


def test_a_stopped_agent_ends_cleanly_and_comes_back(stack, sub, settled):
    token = stack.person(sub)
    assert stack.post(token, body(sub))[0] == 200
    assert stack.agent.stop() == 0
    stack.restart_agent()
    assert stack.post(token, body(sub))[0] == 200
    settled(sub, 2)
