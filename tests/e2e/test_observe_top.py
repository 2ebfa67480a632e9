"""tollgatectl top: figures that agree with the ledger, batch and JSON, and a real terminal: keys, resizing, and how it is left."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from machine import PATIENCE, build_folder, wait_for

STACK = {"limits": ('name: tiny-amount, level: team, match: [topped], amount: "$0.0005", window: total',)}
CTL = build_folder() / "tollgatectl"
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def top(stack, *arguments, check=0, **environment):
    done = subprocess.run(
        [CTL, "top", "--socket", stack.admin_socket, *arguments], capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **environment}
    )
    assert done.returncode == check, done.stdout + done.stderr
    return done.stdout if check == 0 else done.stderr


def ask(stack, token, model="solo", **more):
    return stack.post(token, {"model": model, "messages": [{"role": "user", "content": "hello"}], **more})[0]


def row(answer, name):
    return next((r for r in answer["rows"] if r["name"] == name), None)


def test_figures_agree_with_the_ledger(stack, sub, settled):
    token = stack.person(sub, team="figures")
    for _ in range(3):
        assert ask(stack, token) == 200
    ask(stack, token, model="no-such")
    settled(sub, 4)
    rows = stack.query("SELECT sum(cost_nano) AS cost, sum(input) AS input, sum(output) AS output FROM request WHERE subject = ?", sub)[0]
    for by, name in (("team", "figures"), ("user", f"figures/{sub}")):
        found = wait_for(lambda: (lambda r: r and (r["settled"], r["denied"]) == (3, 1) and r)(row(json.loads(top(stack, "--json", "--once", "--by", by)), name)), "the row")  # noqa: B023
        assert (found["allowed"], found["denied"], found["failed"]) == (3, 1, 0)
        assert (found["cost_nano"], found["input"], found["output"]) == (rows["cost"], rows["input"], rows["output"])
        assert 0 < found["ttft_us"][0] <= found["ttft_us"][1] <= found["ttft_us"][2]
    answer = json.loads(top(stack, "--json", "--once", "--by", "target"))
    assert row(answer, "alpha/gpt-4o-mini")["settled"] >= 3 and answer["all"]["allowed"] >= 3
    assert answer["ledger"] == "ok" and 0 < answer["window_us"] < 70_000_000
    assert {f"{t['group']}/{t['model']}" for t in answer["targets"]} >= {"alpha/gpt-4o-mini", "beta/gpt-4o"}
    assert row(json.loads(top(stack, "--json", "--once", "--by", "model")), "solo")["settled"] >= 3


def test_limits_nearest_to_their_end_come_first(stack, sub, settled):
    token = stack.person(sub, team="topped")
    assert ask(stack, token, max_completion_tokens=500) == 200
    settled(sub)
    limits = json.loads(top(stack, "--json", "--once"))["limits"]
    assert [limit["used_ppm"] for limit in limits] == sorted((limit["used_ppm"] for limit in limits), reverse=True)
    tiny = next(limit for limit in limits if limit["limit"] == "tiny-amount")
    assert tiny["used_ppm"] == (tiny["used"] + tiny["held"]) * 1_000_000 // tiny["amount"] and tiny["subject"] == "team=topped"
    assert re.search(r"limits +\d+\.\d % .*left \$", top(stack, "--once"))


def test_a_pipe_gets_plain_screens(stack):
    text = top(stack, "-b", "--count", "2", "-n", "0.1", TERM="xterm")
    assert text.count("tollgate ") == 2 and text.count("TEAM ") == 2 and "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert len(top(stack, "--json", "--count", "2", "-n", "0.1").splitlines()) == 2


def test_a_drained_target_is_seen(stack):
    subprocess.run([CTL, "route", "drain", "beta", "--socket", stack.admin_socket], check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
    try:
        assert re.search(r"beta/gpt-4o  closed, drained", top(stack, "--once"))
    finally:
        subprocess.run([CTL, "route", "enable", "beta", "--socket", stack.admin_socket], check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("words, says", [
    (("--by", "planet"), "team, model, target, user"), (("--sort", "name"), "cost, requests"), (("-n", "0"), "0.1 to 3600"),
    (("-n", "soon"), "0.1 to 3600"), (("--count", "x"), "whole number"),
])  # fmt: skip
def test_wrong_usage(stack, words, says):
    error = top(stack, *words, check=2)
    assert says in error and error.count("\n") == 1


def test_no_agent(stack, tmp_path):
    done = subprocess.run([CTL, "top", "--once", "--socket", tmp_path / "none"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "is tollgate running?" in done.stderr


class Terminal:
    """tollgatectl top on a pseudo terminal of ours."""

    def __init__(self, stack, *arguments, rows=40, columns=140, **environment):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(rows, columns, None)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [CTL, "top", "--socket", stack.admin_socket, "-n", "0.2", *arguments], stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "", **environment}, start_new_session=True,
        )  # fmt: skip
        self.output = b""

    def resize(self, rows, columns, signal_to):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if signal_to:
            signal_to.send_signal(signal.SIGWINCH)

    def until(self, look, what):
        end = time.monotonic() + PATIENCE
        while not look(self.output):
            assert time.monotonic() < end, f"{what}: {self.output[-2000:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 65536)
        return self.output

    def frames(self):
        return self.output.split(b"\x1b[H")[1:]

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(stack):
    running = []

    def start(*arguments, **options):
        running.append(Terminal(stack, *arguments, **options))
        return running[-1]

    yield start
    for t in running:
        t.end()


def left_well(t):
    t.until(lambda o: o.rstrip().endswith(LEAVE), "the old screen")  # what an ended process wrote may take a moment
    assert b"\x1b[?25h" in t.output  # the cursor is seen
    assert termios.tcgetattr(t.slave) == t.before


def test_on_a_terminal(terminal):
    t = terminal()
    t.until(lambda o: o.count(b"q quit") >= 2, "two refreshes")
    assert t.output.startswith(ENTER) and b"\x1b[1m" in t.output
    assert not termios.tcgetattr(t.slave)[3] & termios.ECHO
    os.write(t.master, b"u")
    t.until(lambda o: b"USER " in o, "users")
    os.write(t.master, b"m")
    t.until(lambda o: b"MODEL " in o, "models")
    os.write(t.master, b"q")
    assert t.process.wait(PATIENCE) == 0
    left_well(t)


def width(line):
    return len(re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\r", b"", line).decode())


def test_what_does_not_fit_is_cut(terminal):
    t = terminal(rows=8, columns=50)
    t.until(lambda o: o.count(b"\x1b[J") >= 2, "two refreshes")
    for frame in t.frames()[:2]:
        lines = frame.split(b"\x1b[J")[0].split(b"\r\n")
        assert len(lines) == 8 and all(width(line) <= 50 for line in lines)
    seen = len(t.output)
    t.resize(30, 120, t.process)
    t.until(lambda o: re.search(rb"\x1b\[H(?:(?!\x1b\[H).)*q quit", o[seen:], re.S), "the larger screen")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(terminal, number):
    t = terminal()
    t.until(lambda o: b"\x1b[J" in o, "a screen")
    t.process.send_signal(number)
    assert t.process.wait(PATIENCE) == 0
    left_well(t)


def test_suspended_and_back(terminal):
    t = terminal()
    t.until(lambda o: b"\x1b[J" in o, "a screen")
    t.process.send_signal(signal.SIGTSTP)
    t.until(lambda o: LEAVE in o, "the terminal to be given back")
    wait_for(lambda: open(f"/proc/{t.process.pid}/stat").read().split(")")[1].split()[0] == "T", "it to stop")
    assert termios.tcgetattr(t.slave) == t.before
    t.process.send_signal(signal.SIGCONT)
    t.until(lambda o: ENTER in o.split(LEAVE)[-1] and b"q quit" in o.split(LEAVE)[-1], "it to be back")
    os.write(t.master, b"q")
    assert t.process.wait(PATIENCE) == 0
    left_well(t)


def test_no_colour(terminal):
    t = terminal(NO_COLOR="1")
    t.until(lambda o: o.count(b"\x1b[J") >= 2, "two refreshes")
    assert not re.search(rb"\x1b\[[0-9;]*m", t.output)
    os.write(t.master, b"q")
    assert t.process.wait(PATIENCE) == 0


def test_a_dumb_terminal(terminal):
    t = terminal("--count", "1", TERM="dumb")
    assert t.process.wait(PATIENCE) == 0
    t.until(lambda o: b"TEAM" in o, "a screen")
    assert b"\x1b" not in t.output
    endless = terminal(TERM="dumb")
    endless.until(lambda o: o.count(b"TEAM") >= 2, "screen after screen")
    assert b"\x1b" not in endless.output


def test_the_agent_goes_and_comes(stack, terminal):
    t = terminal()
    t.until(lambda o: b"q quit" in o, "a screen")
    stack.agent.stop()
    t.until(lambda o: b"trying again" in o, "it to be told")
    stack.restart_agent()
    seen = len(t.output)
    t.until(lambda o: b"TEAM" in o[seen:], "it to be back")
    os.write(t.master, b"q")
    assert t.process.wait(PATIENCE) == 0
    left_well(t)
