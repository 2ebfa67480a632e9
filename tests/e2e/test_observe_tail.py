"""tollgatectl tail: what it shows, its filters, what it says when it was too slow or the agent goes away."""

import http.client
import json
import os
import re
import resource
import select
import signal
import subprocess
import threading

import pytest

from machine import PATIENCE, build_folder, wait_for

CTL = build_folder() / "tollgatectl"
RECENT = 8192  # events the agent remembers


class Tail:
    """A running `tollgatectl tail` and its lines so far."""

    def __init__(self, stack, *arguments, **environment):
        self.process = subprocess.Popen(
            [CTL, "tail", "--socket", stack.admin_socket, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run in the background
        )  # fmt: skip
        self.lines, self.errors = [], []
        self.threads = [
            threading.Thread(target=self.read, args=(self.process.stdout, self.lines), daemon=True),
            threading.Thread(target=self.read, args=(self.process.stderr, self.errors), daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def read(stream, lines):
        for line in stream:
            lines.append(line.decode())

    def events(self):
        return [json.loads(line) for line in list(self.lines)]

    def until(self, look):
        return wait_for(lambda: look(self), "the line in tail")

    def end(self):
        self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def tail(stack):
    running = []

    def start(*arguments, **environment):
        running.append(Tail(stack, *arguments, **environment))
        return running[-1]

    yield start
    for t in running:
        t.end()


def ask(stack, token, model="solo", text="hello"):
    _, headers, _ = stack.post(token, {"model": model, "messages": [{"role": "user", "content": text}]})
    return headers["x-tollgate-request-id"]


def once(stack, *arguments):
    """What there is now, as --since gives it."""
    done = subprocess.run([CTL, "tail", "--socket", stack.admin_socket, "--json", *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_decisions_and_settlements_as_they_come(stack, sub, settled, tail):
    token = stack.person(sub, team="tails")
    t = tail("--json", "--since", "1h", "--team", "tails")
    request = ask(stack, token)
    row = settled(sub)
    t.until(lambda t: [e["event"] for e in t.events()] == ["allowed", "settled"])
    allowed, done = t.events()
    assert allowed["request_id"] == done["request_id"] == request and allowed["hold_nano"] == row["hold"] and done["cost_nano"] == row["cost"]
    assert allowed["at_us"] <= done["at_us"] and done["stream"] is False and re.fullmatch(r"alpha-\d+", done["provider_request_id"])
    human = tail("--since", "1h", "--team", "tails")
    human.until(lambda t: len(t.lines) == 2)
    first, second = human.lines
    assert re.match(rf"\d\d:\d\d:\d\d\.\d{{3}}Z allowed +tails/{sub}  solo -> openai/gpt-4o-mini  in \d+  max 1024  holds \$", first)
    assert re.match(rf"\d\d:\d\d:\d\d\.\d{{3}}Z settled +tails/{sub}  solo -> openai/gpt-4o-mini  ok 200  \d+ in 12 out  \$", second)
    assert first.endswith(f"  {request}\n") and second.endswith(f"  {request}\n")
    assert "\x1b" not in first + second  # a pipe is no terminal


def test_filters(stack, sub, settled, tail):
    token = stack.person(sub, team=sub)
    request = ask(stack, token)
    row = settled(sub)
    refused = ask(stack, token, model="no-such")
    for filters, expected in (
        (("--user", sub), ["allowed", "settled", "denied"]),
        (("--request", request), ["allowed", "settled"]),
        (("--request", refused), ["denied"]),
        (("--team", sub, "--event", "settled"), ["settled"]),
        (("--team", sub, "--outcome", "unknown_model"), ["denied"]),
        (("--team", sub, "--outcome", "denied"), ["denied"]),
        (("--team", sub, "--outcome", "ok"), ["settled"]),
        (("--team", sub, "--model", "gpt-4o-mini"), ["allowed", "settled"]),
        (("--team", sub, "--model", "no-such"), ["denied"]),
        (("--team", sub, "--provider", "openai"), ["allowed", "settled"]),
        (("--team", sub, "--min-cost", f"${row['cost'] / 1e9:.9f}"), ["settled"]),
    ):
        assert [e["event"] for e in once(stack, "--since", "1h", "--count", str(len(expected)), *filters)] == expected, filters
    dear = tail("--json", "--since", "1h", "--team", sub, "--min-cost", f"${(row['cost'] + 1) / 1e9:.9f}")
    other = tail("--json", "--since", "1h", "--team", "not-" + sub)
    all_of_it = tail("--json", "--since", "1h", "--team", sub)
    all_of_it.until(lambda t: len(t.events()) == 3)
    assert dear.lines == [] and other.lines == []


@pytest.mark.parametrize("words, says", [
    (("--since", "yesterday"), "such as 10m"), (("--min-cost", "cheap"), "such as $0.05"), (("--count", "-1"), "whole number"),
    (("--team", "x" * 400), "too long"), (("extra",), "unexpected argument"),
])  # fmt: skip
def test_wrong_usage(stack, words, says):
    done = subprocess.run([CTL, "tail", "--socket", stack.admin_socket, *words], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


def strangers(stack, count):
    """So many requests without a token, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports["gateway"], timeout=PATIENCE)
    for _ in range(count):
        connection.request("POST", "/v1/chat/completions", b"{}", {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 401
    connection.close()


def test_a_slow_reader_is_told_and_slows_nobody(stack, sub, settled):
    """Its pipe is full and stays so, while more happens than the agent remembers."""
    reader, writer = os.pipe()
    slow = subprocess.Popen([CTL, "tail", "--socket", stack.admin_socket, "--json", "--since", "1s"], stdout=writer)
    os.close(writer)
    try:
        # It is there when it has written something: from then on every event is its own.
        wait_for(lambda: select.select([reader], [], [], 0)[0] or strangers(stack, 1), "the tail to have begun")
        threads = [threading.Thread(target=strangers, args=(stack, RECENT)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Decisions went on all the while, and go on.
        token = stack.person(sub)
        ask(stack, token)
        settled(sub)
        told, seen = 0, 0
        with os.fdopen(reader, "rb") as lines:
            for line in lines:
                e = json.loads(line)
                if e["event"] == "lost":
                    told += e["count"]
                elif e.get("user") == sub and e["event"] == "settled":
                    break
                else:
                    seen += e["event"] == "denied" and "team" not in e
        assert told > 0 and told + seen >= 2 * RECENT  # none is missing without being counted
    finally:
        slow.kill()
        slow.wait()


def asked_and_refused(stack, sub, settled):
    """Three events of one person, as the agent remembers them."""
    token = stack.person(sub, team=sub)
    ask(stack, token)
    settled(sub)
    ask(stack, token, model="no-such")
    return once(stack, "--since", "1h", "--team", sub, "--count", "3")


def assert_told_by_the_ledger(told, remembered):
    """The same lines but for what a row does not have: trace id, clamped, all of the agent's own time, the very moment."""
    for old, new in zip(told, remembered, strict=True):
        assert old["at_us"] <= new["at_us"]
        unknown = ("at_us", "trace_id", "clamped", "decision_us")
        assert {k: v for k, v in old.items() if k not in unknown} == {k: v for k, v in new.items() if k not in unknown}
        assert "clamped" not in old and "decision_us" not in old


def test_what_is_forgotten_comes_from_the_ledger(stack, sub, settled):
    remembered = asked_and_refused(stack, sub, settled)
    assert [e["event"] for e in remembered] == ["allowed", "settled", "denied"]
    strangers(stack, RECENT)
    told = once(stack, "--since", "1h", "--team", sub, "--count", "3")
    assert_told_by_the_ledger(told, remembered)
    assert once(stack, "--since", "1h", "--team", sub, "--outcome", "unknown_model", "--count", "1") == [told[2]]
    human = subprocess.run(
        [CTL, "tail", "--socket", stack.admin_socket, "--since", "1h", "--team", sub, "--count", "2"],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert human.returncode == 0 and human.stderr == ""
    assert re.search(r"allowed +.*holds \$.*\n.*settled +.* ok 200  \d+ in 12 out  \$", human.stdout)


def test_before_a_restart_and_after_it_each_event_once(stack, sub, settled, tail):
    before = asked_and_refused(stack, sub, settled)
    stack.agent.stop()
    stack.restart_agent()
    ask(stack, stack.person(sub, team=sub))
    settled(sub, 3)
    t = tail("--json", "--since", "1h", "--team", sub)
    t.until(lambda t: [e["event"] for e in t.events()] == ["allowed", "settled", "denied", "allowed", "settled"])
    assert_told_by_the_ledger(t.events()[:3], before)
    assert all("decision_us" in e for e in t.events() if e["event"] == "allowed" and e not in t.events()[:3])
    assert t.errors == []


def test_a_ledger_that_cannot_be_read_is_said(stack, sub, settled):
    """Too few descriptors for its files. What the agent remembers is shown all the same."""
    asked_and_refused(stack, sub, settled)
    stack.agent.stop()
    stack.restart_agent()
    token = stack.person(sub, team=sub)
    request = ask(stack, token)
    settled(sub, 3)
    done = subprocess.run(
        [CTL, "tail", "--socket", stack.admin_socket, "--json", "--since", "24h", "--team", sub, "--count", "1"],
        capture_output=True, text=True, timeout=PATIENCE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4)),
    )  # fmt: skip
    assert done.returncode == 0 and json.loads(done.stdout)["request_id"] == request
    assert "remembers its last events only" in done.stderr and "cannot be read" in done.stderr


def test_the_agent_stops(stack, sub, settled, tail):
    ends, waits = tail("--json"), tail("--json", "--follow", "--user", sub)
    token = stack.person(sub)
    wait_for(lambda: ask(stack, token) and ends.events(), "a line")
    settled_before = waits.until(lambda t: [e for e in t.events() if e["event"] == "settled"])
    stack.agent.stop()
    assert ends.process.wait(PATIENCE) == 1
    wait_for(lambda: ends.errors, "why it ended")
    assert ends.errors[0].startswith("tollgatectl: the agent has stopped: ")
    wait_for(lambda: waits.errors, "the waiting to be told")
    assert waits.errors[0].endswith("; trying again\n") and waits.process.poll() is None
    stack.restart_agent()
    request = ask(stack, token)
    waits.until(lambda t: any(e["request_id"] == request and e["event"] == "settled" for e in t.events()))
    assert len(waits.events()) >= len(settled_before) + 2
    wait_for(lambda: any("there again" in line for line in waits.errors), "the waiting to say that the agent is there")


def test_hostile_names_steer_no_terminal(stack, sub, tail):
    hostile = "a\x1b[2J\nb\u009bc"
    token = stack.person(sub, team=hostile)
    ask(stack, token, model=hostile)
    human = tail("--since", "1h", "--user", sub)
    human.until(lambda t: len(t.lines) == 1)
    assert "a\\x1b[2J\\x0ab\\xc2\\x9bc" in human.lines[0] and "\x1b" not in human.lines[0]
    assert once(stack, "--since", "1h", "--user", sub, "--count", "1")[0]["alias"] == hostile


def test_an_interrupt_ends_it(stack, tail):
    t = tail("--json")
    t.process.send_signal(signal.SIGINT)
    assert t.process.wait(PATIENCE) in (-signal.SIGINT, 130)
