"""The wall clock is set while requests run: windows move forward only, holds stay what they are, no duration is negative."""

import json
import os
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

import ledger
from machine import PATIENCE, QUIET_ZONE, wait_for
from stack import PRICES

IN, OUT = PRICES["openai", "gpt-4o-mini"]
DAY, HOUR = 86400, 3600
STACK = {
    "limits": (
        f'name: clock-day, level: team, match: ["clock-*"], amount: "$0.002", window: day, time_zone: {QUIET_ZONE}',
        'name: clock-rolling, level: team, match: ["rolling-*"], amount: "$0.002", window: "rolling 2h"',
    ),
    "hold_timeout": "10m",
}


class Clock:
    def __init__(self, stack):
        self.file = stack.folder / "clock-shift"
        self.set(0)
        library = stack.folder / "clock_shift.so"
        source = Path(__file__).with_name("clock_shift.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True, timeout=PATIENCE)
        stack.agent_env = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(self.file)}
        # The sanitizer's library would insist on being the first.
        stack.agent_env["ASAN_OPTIONS"] = stack.agent_environment()["ASAN_OPTIONS"] + ":verify_asan_link_order=0"

    def set(self, seconds):
        with open(self.file, "r+b" if self.file.exists() else "wb") as out:
            out.write(struct.pack("=q", seconds))
            out.flush()
            os.fsync(out.fileno())


@pytest.fixture(scope="module")
def clock(stack):
    clock = Clock(stack)
    assert stack.agent.stop() == 0
    stack.restart_agent()
    return clock


@pytest.fixture(autouse=True)
def right_again(clock, stack):
    yield
    clock.set(0)
    assert stack.agent.stop() == 0
    stack.restart_agent()


def body(text, **more):
    return {"model": "solo", "max_tokens": 1000, "messages": [{"role": "user", "content": text}], **more}


def spend(stack, token, sub):
    """Requests until the quota is used up; how many were served."""
    served, end = 0, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        status, _, answer = stack.post(token, body(f"{sub}. [[completion_tokens=1000]]"))
        if status == 200:
            served += 1
        elif json.loads(answer)["error"]["code"] == "insufficient_quota":
            return served
        else:
            assert json.loads(answer)["error"]["code"] == "rate_limit_exceeded", answer
            time.sleep(0.05)
    raise AssertionError("the quota never ended")


def check_rows(stack, sub, count):
    def closed():
        rows = ledger.requests(stack, sub)
        return len(rows) >= count and not any(ledger.is_open(row) for row in rows)

    wait_for(closed, "rows to be settled")
    for row in stack.query("SELECT * FROM request WHERE subject = ?", sub):
        if row["settled_us"] is not None:
            assert row["settled_us"] >= row["started_us"], row
        for name, value in row.items():
            if name.endswith("_us") and name not in ("started_us", "settled_us") and value is not None:
                assert -1 <= value < 10 * 60 * 10**6, (name, row)
    negative = stack.query("SELECT * FROM attempt WHERE first_byte_us < -1 OR total_us < -1")
    assert negative == []


@pytest.mark.parametrize("team", ["clock", "rolling"])
def test_a_window_opens_once_however_the_clock_is_set(stack, clock, sub, team):
    token = stack.person(sub, team=f"{team}-{sub}", ttl=30 * DAY)
    assert spend(stack, token, sub) == 3
    clock.set(DAY)  # tomorrow: a new window
    assert spend(stack, token, sub) == 3
    clock.set(DAY - HOUR)  # an hour back: it is used up all the same, and the old one does not come back
    assert spend(stack, token, sub) == 0
    clock.set(0)
    assert spend(stack, token, sub) == 0
    check_rows(stack, sub, 6)


@pytest.mark.parametrize("jump", [DAY, -HOUR], ids=["a day ahead", "an hour back"])
def test_what_runs_over_a_jump_is_settled_by_its_usage(stack, clock, sub, jump, settled):
    sub = sub.replace(" ", "-")
    token = stack.person(sub, team="research", ttl=30 * DAY)
    clock.set(HOUR)  # from here an hour back is no time before the token's
    done = []
    with stack.gate() as gate:
        ask = body(f"{sub} [[prompt_tokens=9 completion_tokens=5 {gate}]]")
        thread = threading.Thread(target=lambda: done.append(stack.post(token, ask)))
        thread.start()
        wait_for(lambda: stack.received("alpha", sub), "the request to reach the provider")
        clock.set(HOUR + jump)
    thread.join(PATIENCE)
    assert done[0][0] == 200
    row = settled(sub)
    assert (row["known_by"], row["cost"]) == ("reported", 9 * IN + 5 * OUT)
    assert "hold_expired" not in stack.agent.log.read_text()
    status, _, answer = stack.post(token, ask)
    assert status == 200, answer
    check_rows(stack, sub, 2)


def test_an_orphan_ends_by_time_passed_not_by_the_clock(make_stack):
    """Nothing will ever settle this hold. The clock set back must not keep it for ever, nor may a restart."""
    stack = make_stack(hold_timeout="3s")
    clock = Clock(stack)
    assert stack.agent.stop() == 0
    stack.restart_agent()
    token = stack.person("orphan", ttl=30 * DAY)
    stack.orphan(token, "orphan", max_tokens=1000)
    clock.set(-HOUR)
    stack.kill_agent()
    stack.start_agent()
    row = wait_for(lambda: [r for r in ledger.requests(stack, "orphan") if not ledger.is_open(r)], "the hold to end")[0]
    assert row["known_by"] == "bounded" and row["cost"] == row["hold"] > 0
