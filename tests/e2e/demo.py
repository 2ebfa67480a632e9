#!/usr/bin/env python3
"""The demonstration behind ./demo: starts everything, sends a few real requests, shows each as a person would want to
read it, then what finance sees, and leaves it running. `demo.py stop` ends what the last start left behind. Python's
standard library only."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import ledger
from machine import PATIENCE, ROOT, wait_for
from stack import Stack

FOLDER = ROOT / ".demo"
LIMITS = (
    'name: marketing-day, level: team, match: [marketing], amount: "$0.002", window: day, time_zone: UTC',
    'name: person-minute, level: user, unit: tokens, amount: "100000/min", window: bucket, burst: "200000"',
)
# Response headers worth a line; a client gets more of them.
SHOWN = (
    "x-tollgate-provider",
    "x-tollgate-model",
    "x-tollgate-attempt",
    "x-tollgate-budget-left",
    "x-tollgate-notice",
    "retry-after",
    "x-should-retry",
)
COLOUR = sys.stdout.isatty()


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def usd(nano):
    return f"${nano / 1e9:.7f}"


# ---- what the last start left behind


def started_at(pid):
    """A process's start time in clock ticks since boot: pid and start time together name one process for good."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def remember(stack):
    rows = [
        f"{process.pid} {started_at(process.pid)} {process.name}"
        for process in (stack.haproxy, stack.agent, stack.provider, stack.idp)
        if process is not None
    ]
    (FOLDER / "processes").write_text("\n".join(rows) + "\n")


def stop(quiet=False):
    """Ends exactly the processes that were started, front to back."""
    try:
        rows = [line.split() for line in (FOLDER / "processes").read_text().splitlines()]
    except FileNotFoundError:
        if not quiet:
            print("Nothing is running.")
        return
    for pid, start, name in rows:
        if started_at(pid) != start:
            continue
        os.kill(int(pid), signal.SIGTERM)
        try:
            wait_for(lambda: started_at(pid) != start or is_zombie(pid), f"{name} to end", patience=15)
        except TimeoutError:
            os.kill(int(pid), signal.SIGKILL)
        if not quiet:
            print(f"stopped {name} ({pid})")
    (FOLDER / "processes").unlink()
    sockets = FOLDER / "sockets"
    if sockets.is_symlink():
        shutil.rmtree(os.readlink(sockets), ignore_errors=True)
        sockets.unlink()


def is_zombie(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


# ---- showing requests


class Show:
    """Numbers the scenes and prints request, answer and bill of each."""

    def __init__(self, stack):
        self.stack, self.number = stack, 0

    def scene(self, title):
        self.number += 1
        print("\n" + paint("1", f"{self.number}. {title}"))

    def request(self, who, token, text, model="chat-default", stream=False, **more):
        """Sends one request and prints everything about it; returns the status."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            **({"stream": True} if stream else {}),
            **more,
        }
        shown = " ".join(f"{key}={value}" for key, value in body.items() if key != "messages")
        print(f"   {who} sends     POST /v1/chat/completions  {shown}")
        print(f"                 “{text}”")
        before = len(ledger.requests(self.stack, who)) if token else 0
        began = time.monotonic()
        status, headers, answer = self.stack.post(token, body)
        took = (time.monotonic() - began) * 1000
        self.answer(status, headers, answer, took, stream)
        self.bill(who, before)
        return status

    def answer(self, status, headers, answer, took, stream):
        colour = "32" if status == 200 else "33"
        print("   the answer is " + paint(colour, f"HTTP {status}") + f" after {took:.0f} ms")
        for name, value in headers.items():
            if name.lower() in SHOWN:
                print(f"                 {name.lower()}: {value}")
        if status != 200:
            self.say(json.loads(answer)["error"]["message"])
            print(f"                 error code {json.loads(answer)['error']['code']}")
        elif stream:
            events = [line[6:] for line in answer.decode().splitlines() if line.startswith("data: {")]
            words = [c["delta"].get("content") or "" for e in events for c in json.loads(e)["choices"]]
            print(f"                 {len(events)} events, then [DONE]:")
            self.say("".join(words))
        else:
            self.say(json.loads(answer)["choices"][0]["message"]["content"])

    @staticmethod
    def say(text):
        print(textwrap.fill(f"“{text}”", 100, initial_indent=" " * 17, subsequent_indent=" " * 18))

    def bill(self, who, before):
        """The ledger's row of the request that was just answered, once it is settled."""

        def newest():
            rows = ledger.requests(self.stack, who)
            return rows[-1] if len(rows) > before and not ledger.is_open(rows[-1]) else None

        if before is None:
            return
        try:
            row = wait_for(newest, "the ledger's row", patience=10)
        except TimeoutError:
            print("   the ledger    has no row for it")
            return
        if not ledger.was_allowed(row):
            print(f"   the ledger    refused ({row['deny_reason']}), cost {usd(0)}")
            return
        tokens_in = (row["input"] or 0) + (row["input_cached"] or 0)
        print(
            f"   the ledger    team {row['team']}, {row['cost_center']}: {tokens_in} tokens in, {row['output']} out, "
            f"cost {paint('1', usd(row['cost']))} ({row['known_by']}; {usd(row['hold'])} was held)"
        )
        for attempt in ledger.attempts(self.stack, row, row["attempts"]):
            print(
                f"                 try {attempt['number']}: {attempt['provider']} ({attempt['model']}) -> "
                f"{attempt['status'] or 'no answer'}, {attempt['outcome']}"
            )


def scenes(stack, ada, max_):
    show = Show(stack)
    show.scene("Allowed: a plain answer")
    stack.behave("alpha", prompt_tokens=12, completion_tokens=24)
    show.request("ada", ada, "Where does the river run?")
    fields = {name.lower(): value for name, value in stack.received("alpha")[-1]["headers"]}
    print(f"   the provider  got our key, not her token: Authorization: {fields['authorization'][:16]}…")

    show.scene("Allowed: a streamed answer")
    stack.behave("alpha", prompt_tokens=14, completion_tokens=30, token_interval=0.01)
    show.request("ada", ada, "And where do the old trees stand?", stream=True)

    show.scene("Over budget: marketing may spend $0.002 a day, and has")
    stack.behave("alpha", prompt_tokens=11, completion_tokens=150)
    spend_all(stack, max_)
    show.request("max", max_, "One more slogan, please.", max_tokens=150)

    show.scene("Bad token: expired an hour ago")
    token = stack.mint(
        claims={"sub": "eve", "team": "research", "exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200}
    )
    show_bad(show, stack, token)

    show.scene("Primary down: the fallback answers, the client notices nothing")
    stack.behave("alpha", refuse=True)
    stack.behave("beta", prompt_tokens=13, completion_tokens=20)
    show.request("ada", ada, "Who walks every day?")
    stack.behave("alpha")
    stack.behave("beta")


def spend_all(stack, token):
    """Marketing's day: requests until the budget says no. A milder no comes while earlier requests are being settled."""
    body = {"model": "chat-default", "max_tokens": 150, "messages": [{"role": "user", "content": "A slogan, please."}]}

    def refused():
        status, _, answer = stack.post(token, body)
        return status == 429 and json.loads(answer)["error"]["code"] == "insufficient_quota"

    wait_for(refused, "marketing's budget to be spent")


def show_bad(show, stack, token):
    print("   eve sends     POST /v1/chat/completions  model=chat-default\n                 “Let me in.”")
    began = time.monotonic()
    status, headers, answer = stack.post(
        token, {"model": "chat-default", "messages": [{"role": "user", "content": "Let me in."}]}
    )
    show.answer(status, headers, answer, (time.monotonic() - began) * 1000, False)
    seen = stack.received("alpha", "Let me in.") + stack.received("beta", "Let me in.")
    print(f"   the providers saw {len(seen)} requests of hers")


# ---- finance


def table(rows, columns):
    cells = [[str(title) for title in columns.values()]] + [[str(row[key]) for key in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for number, row in enumerate(cells):
        text = "   " + "  ".join(
            cell.rjust(width) if i >= len(row) - 5 and number and cell[:1] in "$0123456789" else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        )
        print(paint("4", text) if number == 0 else text)


def finance(stack):
    print("\n" + paint("1", "What finance sees") + "   (views in the ledger, one SQLite file)")
    common = {
        "requests": "requests",
        "denied": "refused",
        "tokens_in": "tokens in",
        "tokens_out": "tokens out",
        "cost_usd": "cost in $",
    }
    print("\n   by team and day")
    table(
        stack.query("SELECT * FROM spend_by_team_day WHERE team <> ''"),
        {"day": "day", "team": "team", **common},
    )
    print("\n   by cost centre and month")
    table(
        stack.query("SELECT * FROM spend_by_cost_center_month WHERE cost_center <> ''"),
        {"month": "month", "cost_center": "cost centre", **common},
    )
    print("\n   by model")
    served = {key: title for key, title in common.items() if key != "denied"}
    table(stack.query("SELECT * FROM spend_by_model"), {"provider": "provider", "model": "model", **served})


# ---- start


def gateway_port():
    """8080 when it is free, for a URL that is easy to type."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8080))
            return 8080
        except OSError:
            return 0


def start():
    stop(quiet=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o700)
    sockets = FOLDER
    if len(str(FOLDER)) > 70:
        sockets = Path(tempfile.mkdtemp(prefix="tollgate-demo-"))
        (FOLDER / "sockets").symlink_to(sockets)
    stack = Stack(FOLDER, limits=LIMITS, detached=True, ports={"gateway": gateway_port()}, sockets=sockets, zone="UTC")
    print(
        "Starting an OpenID provider, two stand-in LLM providers, the tollgate agent and HAProxy on loopback …",
        flush=True,
    )
    try:
        stack.start()
    finally:
        remember(stack)
    ada = stack.person("ada", team="research", cost_center="cc-4711", ttl=12 * 3600)
    max_ = stack.person("max", team="marketing", cost_center="cc-0815")
    token_file = stack.write_secret("token", ada)
    addresses = {
        "gateway": stack.gateway,
        "spop": f"127.0.0.1:{stack.ports['spop']}",
        "spop_pid": stack.agent.pid,
        "ledger": stack.ledger_file,
        "issuer": stack.issuer,
        "token_file": token_file,
        "config": stack.config,
        "admin": stack.admin_socket,
    }
    (FOLDER / "addresses").write_text("".join(f"{name}={value}\n" for name, value in addresses.items()))
    scenes(stack, ada, max_)
    finance(stack)
    near = {
        name: os.path.relpath(path)
        for name, path in (("token", token_file), ("ledger", stack.ledger_file), ("config", stack.config))
    }
    print(f"""
{paint("1", "It keeps running.")} Try:

   curl -s {stack.gateway}/v1/chat/completions -H "Authorization: Bearer $(cat {near["token"]})" \\
     -H 'Content-Type: application/json' -d '{{"model":"chat-default","messages":[{{"role":"user","content":"Hello"}}]}}'

   sqlite3 -readonly -box {near["ledger"]} 'SELECT * FROM spend_by_team_day'

The configuration is {near["config"]}, all addresses are in {os.path.relpath(FOLDER / "addresses")}. `./demo stop` ends it.""")


def main():
    if sys.argv[1:] == ["stop"]:
        return stop()
    if sys.argv[1:]:
        sys.exit("usage: demo [stop]")
    try:
        return start()
    except (RuntimeError, TimeoutError, OSError, subprocess.SubprocessError) as error:
        sys.exit(
            f"\ndemo: {error}\nThe logs are in {FOLDER}; `./demo stop` ends what did start (waits take up to {PATIENCE} s)."
        )


if __name__ == "__main__":
    main()
