"""Every row of the table, asked as a plain answer and as a stream through one running gateway. What was seen goes into the results file; score.py
makes the table of it."""

import dataclasses
import json
import subprocess

import pytest

import ledger
from faults.observe import ask, text_of
from faults.places import extend, prepare
from faults.table import FAULTS, Sees, Step
from machine import PATIENCE, wait_for
from stack import PRICES

# The limits are met only by answers that never come.
STACK = {"first_byte": "8s", "stall": "8s", "extend": extend, "prepare": prepare}

PRICE = {"alpha": PRICES["openai", "gpt-4o-mini"], "beta": PRICES["azure", "gpt-4o"]}

CASES = [
    pytest.param(fault, way, id=f"{fault.name}-{way}") for fault in FAULTS for way in ("plain", "stream") if getattr(fault, way)
]


def ctl(stack, *argv):
    done = subprocess.run(
        [stack.tollgate.parent / "tollgatectl", "--socket", stack.admin_socket, "--json", "route", *argv],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return json.loads(done.stdout)


def breaker(stack, provider):
    return ctl(stack, "status", provider)[0]["state"]


def told(seen):
    """How it ended for the client: in exactly one of these ways."""
    return "error" if seen.error else "whole" if seen.finished else "open_end"


def matches(seen, row, asked, sees):
    """What differs from what must be seen; empty: nothing."""
    must = "error" if sees.error else "whole" if sees.whole else "open_end"
    pairs = {
        "end": (told(seen), must),
        "error": (seen.error, sees.error),
        "status": (seen.status, sees.status),
        "code": (seen.code, sees.code),
        "text": (seen.text, text_of(sees.tokens)),
        "asked": (asked, sees.asked),
        "outcome": (row["outcome"], sees.outcome),
        "known_by": (row["known_by"], sees.known_by),
        "ledger's status": (row["status"], sees.status or 200),
    }
    for name in ("provider", "attempt"):
        if getattr(sees, name) is not None:
            pairs[name] = (seen.headers.get(f"x-tollgate-{name}"), getattr(sees, name))
    return {name: f"{is_!r}, must be {must!r}" for name, (is_, must) in pairs.items() if is_ != must}


def check_cost(row):
    """Of a settled request: nothing, its hold, or what its tokens cost where it was answered."""
    if row["known_by"] == "none":
        assert row["cost"] == 0
    elif row["known_by"] == "bounded":
        assert row["cost"] == row["hold"] > 0
    else:
        price = PRICE["beta" if row["provider"] == "beta" else "alpha"]
        assert row["cost"] == row["input"] * price[0] + row["output"] * price[1] > 0


class Round:
    """The requests of one row, one after the other."""

    def __init__(self, stack, settled, sub, fault, way):
        self.stack, self.settled, self.sub, self.fault, self.way = stack, settled, sub, fault, way
        self.token, self.rows, self.asked, self.saw = stack.person(sub), 0, (0, 0), []

    def request(self, sees):
        seen = ask(self.stack, self.token, self.fault.model, self.sub, self.way == "stream")
        self.rows += 1
        rows = self.settled(self.sub, self.rows)
        row = rows[-1] if self.rows > 1 else rows
        assert not ledger.is_open(row)
        now = tuple(len(self.stack.received(name, self.sub)) for name in ("alpha", "beta"))
        asked, self.asked = tuple(b - a for a, b in zip(self.asked, now)), now
        if not self.saw or self.saw[-1] != str(seen):
            self.saw.append(str(seen))
        allowed = (sees,) if isinstance(sees, Sees) else sees
        differences = [matches(seen, row, asked, one) for one in allowed]
        assert {} in differences, f"{seen} {dict(seen.headers)}\n{row}\n" + "\n".join(map(str, differences))
        check_cost(row)
        return seen

    def step(self, step):
        for name in ("alpha", "beta"):
            if getattr(step, name) is not None:
                self.stack.behave(name, **getattr(step, name))
        if step.breaker:
            wait_for(lambda: breaker(self.stack, self.fault.model) == step.breaker, f"the breaker to be {step.breaker}")
        if step.until:
            wait_for(lambda: step.until(self.request(step.sees), breaker(self.stack, self.fault.model)), "the step's end")
            return
        for _ in range(step.times):
            self.request(step.sees)


@pytest.fixture
def closed_breakers(stack):
    """Each row begins as if nothing had happened."""
    for name in ("watched", "flapping"):
        ctl(stack, "enable", name)


@pytest.mark.parametrize("fault, way", CASES)
def test_fault(stack, settled, closed_breakers, record_property, fault, way):
    sub = "row-" + "".join(c if c.isalnum() else "-" for c in f"{fault.name}-{way}")
    stack.behave("alpha", **fault.alpha)
    stack.behave("beta", **fault.beta)
    steps = getattr(fault, way)
    now = Round(stack, settled, sub, fault, way)
    try:
        for step in [Step(steps)] if isinstance(steps, (Sees, tuple)) else steps:
            now.step(step)
    finally:
        line = {"fault": f"{fault.name} ({way})", "saw": "; ".join(now.saw) or "nothing in time", "requests": now.rows, "asked": now.asked}
        record_property("fault", json.dumps({**line, "correct": fault.correct}))


def test_the_table_tells_an_end_from_none():
    """The check itself: an answer that just stops is no whole one, and a whole one is no error."""
    from faults.observe import Seen

    row = {"outcome": "ok", "known_by": "reported", "status": 200}
    whole = Seen(status=200, text=text_of(12), finished=True)
    assert matches(whole, row, (1, 0), Sees(tokens=12, whole=True)) == {}
    cut = dataclasses.replace(whole, text=text_of(7), finished=False)
    assert {"end", "text"} == set(matches(cut, row, (1, 0), Sees(tokens=12, whole=True)))
    assert "end" in matches(whole, row, (1, 0), Sees(tokens=12, error="APIError"))
