"""kill -9 at any instant under load, again and again; then with the tail of the write-ahead log damaged.

TOLLGATE_KILL_ROUNDS=200 makes a long run of it."""

import os
import random
import sqlite3
import time

import pytest

import ledger
from machine import QUIET_ZONE, wait_for
from test_gate_crash import Load, request_id

ROUNDS = int(os.environ.get("TOLLGATE_KILL_ROUNDS", "10"))
STACK = {
    "limits": (f'name: load-day, level: team, match: ["load"], amount: "$40", window: day, time_zone: {QUIET_ZONE}',),
    "hold_timeout": "3s",
    "decision": "2s",  # how long requests hang that the agent's end came into: their clients are told 503
}


def used_of(stack, team):
    accounts = ledger.accounts(stack, "load-day")
    return {a["subject"]: (a["used"], a["held"]) for a in accounts}["team=" + team]


def balances_are_sums(stack, subjects):
    """Every hold has ended, and what came after its end is booked; then the agent's account, the view and the rows say the same."""

    def closed():
        return not [row for sub in subjects for row in ledger.requests(stack, sub) if ledger.is_open(row)]

    def agreed():
        """Records of holds that have expired may still come, and correct them."""
        total = sum(row["cost"] for sub in subjects for row in ledger.requests(stack, sub))
        return closed() and total > 0 and ledger.spend_of_team(stack, "load") == total and used_of(stack, "load") == (total, 0)

    wait_for(agreed, "every hold to end, and rows, view and account to agree")
    stack.kill_agent()
    stack.restart_agent()
    wait_for(agreed, "the same after one more restart")


def integrity(stack):
    return stack.query("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


def lost(stack, subjects):
    """Requests a provider has seen that the ledger does not know as allowed; how many were seen."""
    seen, missing = 0, []
    for sub in subjects:
        rows = {row["request_id"]: row for row in ledger.requests(stack, sub)}
        for record in stack.received("alpha", sub + "."):
            seen += 1
            row = rows.get(request_id(record))
            if row is None or not ledger.was_allowed(row):
                missing.append(request_id(record))
    return missing, seen


@pytest.mark.timeout(900 + 10 * ROUNDS)
def test_kill_at_random_instants(stack):
    seed = int(os.environ.get("TOLLGATE_KILL_SEED", time.time_ns() % 10**6))
    chance = random.Random(seed)
    print("TOLLGATE_KILL_SEED", seed)
    load = Load(stack, "kill")
    try:
        for _ in range(ROUNDS):
            served = load.served()
            wait_for(lambda: load.served() > served, "load to flow")
            time.sleep(chance.random() * 0.4)
            stack.kill_agent()
            stack.restart_agent()
    finally:
        load.stop()
    missing, seen = lost(stack, load.subjects)
    assert missing == [] and seen >= load.served() >= ROUNDS, f"{len(missing)} of {seen} are not in the ledger"
    assert integrity(stack)
    balances_are_sums(stack, load.subjects)


def append_noise(wal, chance):
    with open(wal, "ab") as file:
        file.write(chance.randbytes(chance.randrange(1, 20000)))


def append_old_frame(wal, chance):
    """A frame of this very log, once more: its salt is right, its checksum is not."""
    data = wal.read_bytes()
    with open(wal, "ab") as file:
        file.write(data[32 : 32 + 4120])


def cut_off(wal, chance):
    os.truncate(wal, max(0, wal.stat().st_size - chance.randrange(1, 9000)))


def garble_the_end(wal, chance):
    with open(wal, "r+b") as file:
        file.seek(max(0, wal.stat().st_size - 3000))
        file.write(chance.randbytes(2000))


def garble_the_head(wal, chance):
    with open(wal, "r+b") as file:
        file.write(chance.randbytes(32))


@pytest.mark.parametrize(
    "damage, committed_lost",
    [(append_noise, False), (append_old_frame, False), (cut_off, True), (garble_the_end, True), (garble_the_head, True)],
)
def test_a_damaged_log_is_no_obstacle(make_stack, damage, committed_lost):
    """What was never committed may be torn: nothing is missing then. When the disk loses what it said was safe, rows are
    missing, but what is left is whole, and the agent works with it."""
    stack = make_stack(**STACK)
    load = Load(stack, "torn", clients=3)
    try:
        wait_for(lambda: load.served() >= 20, "load to flow")
        stack.kill_agent()
    finally:
        load.stop()
    wal = stack.ledger_file.with_name("ledger.db-wal")
    assert wal.stat().st_size > 32
    damage(wal, random.Random(7))
    stack.restart_agent()
    assert integrity(stack)
    missing, _ = lost(stack, load.subjects)
    if not committed_lost:
        assert missing == []
    token = load.tokens[load.subjects[0]]
    ask = {"model": "solo", "messages": [{"role": "user", "content": "torn-0. again"}]}
    assert stack.post(token, ask)[0] == 200
    balances_are_sums(stack, load.subjects)


def test_a_damaged_file_is_refused_with_a_reason(make_stack):
    stack = make_stack(**STACK)
    token = stack.person("file")
    assert stack.post(token, {"model": "solo", "messages": [{"role": "user", "content": "file"}]})[0] == 200
    assert stack.agent.stop() == 0
    whole = stack.ledger_file.read_bytes()
    stack.ledger_file.write_bytes(b"not a database at all" * 100)
    with pytest.raises(RuntimeError):
        stack.start_agent()
    assert "cannot_start" in stack.agent.tail() and "ledger.db" in stack.agent.tail()
    with pytest.raises(sqlite3.DatabaseError):
        stack.query("SELECT 1 FROM request")
    stack.ledger_file.write_bytes(whole)
    stack.restart_agent()
    assert len(ledger.requests(stack, "file")) == 1
