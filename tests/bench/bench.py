#!/usr/bin/env python3
"""The figures behind ./bench. Everything compared runs in the same minutes on the same machine, so read the ratios; the absolute
numbers are this machine's.

1. Decisions: an SPOP load generator asks the real agent (identity, tokens, reservation, commit) and one that only answers.
2. Slow requests: what bodies of 1 MB, sent back to back, do to requests of 1 KB through the same worker.
3. Gateway: wrk through HAProxy with tollgate and through HAProxy without it, to the same provider (a third HAProxy).
4. Streams: what the relay costs: the same streams with `haproxy.streams: tap` and `relay`.
5. Scrapes: what reading /metrics with 10,000 series takes, and what it does to decisions made meanwhile."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
from machine import Process, build_folder, free_ports, wait_for  # noqa: E402
from stack import Stack, configuration

REQUESTS = 20000
SECONDS = 5
SLOW_REQUESTS = 4000
SLOW_ROUNDS = 7
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 60}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 400, "completion_tokens": 60, "total_tokens": 460},
}
BODY = json.dumps(
    {
        "model": "solo",
        "max_tokens": 200,
        "messages": [
            {"role": "system", "content": "You answer briefly and name your sources."},
            {
                "role": "user",
                "content": "The quarterly report, paragraph by paragraph: "
                + "revenue grew in most regions, costs did not. " * 40,
            },
        ],
    }
)[:4000]

HTTP = """\
global
    nbthread 1
defaults
    mode http
    option http-no-delay
    timeout client 30s
    timeout connect 2s
    timeout server 30s
"""


class BenchStack(Stack):
    """A stack whose provider is as fast as HAProxy and whose budget never ends."""

    LIMITS = (
        'name: team-day, level: team, amount: "$900000", window: day, time_zone: UTC',
        'name: person-minute, level: user, unit: tokens, amount: "100000000000/min", window: bucket',
    )

    def start_providers(self):
        self.ports["alpha"], self.ports["beta"] = free_ports(2)
        answer = json.dumps(ANSWER).replace("'", "")
        lines = [
            HTTP,
            "frontend provider",
            f"    bind 127.0.0.1:{self.ports['alpha']}",
            f"    bind 127.0.0.1:{self.ports['beta']}",
            f"    http-request return status 200 content-type application/json string '{answer}'",
        ]
        self.provider = haproxy(self, "provider", self.ports["alpha"], "\n".join(lines) + "\n")


def haproxy(stack, name, port, text):
    path = stack.folder / f"{name}.cfg"
    path.write_text(text)
    process = Process(name, stack.folder, [stack.haproxy_program, "-db", "-f", path])
    process.start()

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens, f"{name} to listen")
    return process


def load_command(port, pid, stack, connections, depth, requests, body):
    return [
        str(build_folder() / "bench_spoe_load"),
        f"127.0.0.1:{port}",
        str(connections),
        str(depth),
        str(requests),
        str(pid),
        str(stack.folder / "token"),
        str(body),
    ]


def load(port, pid, stack, connections, depth, requests=REQUESTS, body=None):
    done = subprocess.run(
        load_command(port, pid, stack, connections, depth, requests, body or stack.folder / "body"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def decisions(stack):
    port = free_ports(1)[0]
    null = Process("null", stack.folder, [build_folder() / "bench_spoe_null", port, 2])
    null.start()

    def listens():
        try:
            return load(port, null.pid, stack, 1, 1, 100)
        except RuntimeError:
            return None

    wait_for(listens, "the do-nothing agent")
    print("\nDecisions over SPOP (2 KB chat body, token seen before, two limits, durable before the answer)\n")
    print(f"   {'':32}{'decisions/s':>12}{'CPU µs':>9}{'p50 µs':>9}{'p99 µs':>9}")
    try:
        for connections, depth in ((1, 1), (4, 16), (16, 32)):
            rows = {}
            for name, where, pid in (
                ("does nothing", port, null.pid),
                ("tollgate", stack.ports["spop"], stack.agent.pid),
            ):
                load(where, pid, stack, connections, depth, 2000)
                row = rows[name] = load(where, pid, stack, connections, depth, REQUESTS if depth > 1 else REQUESTS // 5)
                label = f"{name}, {connections} x {depth} in flight"
                print(
                    f"   {label:32}{row['decisions_per_second']:12.0f}{row['cpu_us']:9.1f}{row['p50_us']:9}{row['p99_us']:9}"
                )
            mine, yardstick = rows["tollgate"], rows["does nothing"]
            assert mine["allowed"] == mine["answered"], (
                f"{mine['answered'] - mine['allowed']} were refused: the figures mean nothing"
            )
            print(
                f"   {'ratio':32}{mine['decisions_per_second'] / yardstick['decisions_per_second']:12.2f}"
                f"{mine['cpu_us'] / max(yardstick['cpu_us'], 0.01):9.1f}"
            )
    finally:
        null.stop()


def slow_bodies():
    """Bodies of 1 MB: prose; no words at all, slow to count; Cyrillic in escapes, slow to read; a thousand messages; thirty thousand. The
    number makes each one new."""
    prose = (
        "@@@@@@@@ "
        + "Revenue grew in most regions while costs did not; the board wants to know why, and by when. " * 11000
    )
    letters = "@@@@@@@@" + "".join(chr(97 + i * i * 7919 % 26) for i in range(1000000))
    cyrillic = "@@@@@@@@ " + "Выручка росла почти везде, а расходы нет; совет хочет знать, почему и до какого срока. " * 2150
    turns = [
        {"role": "user", "content": f"{i} " + "what was asked before and answered at length. " * 22}
        for i in range(1000)
    ]
    turns[0]["content"] = "@@@@@@@@"
    for title, messages in (
        ("prose", [{"role": "user", "content": prose}]),
        ("letters", [{"role": "user", "content": letters}]),
        ("escapes", [{"role": "user", "content": cyrillic}]),
        ("1000 turns", turns),
        ("30000 turns", [{"role": "user", "content": "@@@@@@@@" if i == 0 else "a"} for i in range(30000)]),
    ):
        yield title, json.dumps({"model": "solo", "max_tokens": 16, "messages": messages})


def slow(stack):
    """Rounds of three runs of the same 1 KB requests, one after the other, so that what else the machine does falls on all of them alike:
    alone; beside the bodies at another agent, which take the same processor time but share no worker; beside the bodies at the same
    worker. What counts is the median over the rounds of the differences within a round. The ledgers are in memory: a disk's pauses are
    longer than what is looked for."""
    small = stack.folder / "small"
    small.write_text(
        json.dumps({"model": "solo", "max_tokens": 200, "messages": [{"role": "user", "content": "@@@@@@@@ " + "w " * 450}]})
    )
    other = InMemory(tempfile.mkdtemp(prefix="tg-bench-"), max_body=stack.max_body)
    print(f"\nRequests of 1 KB while bodies of 1 MB are sent back to back; one worker an agent, ledgers in memory, medians of {SLOW_ROUNDS} rounds\n")
    print(f"   {'':42}{'1 MB bodies/s':>14}{'p50 µs':>9}{'p99 µs':>9}")
    try:
        other.start()
        other.write_secret("token", other.person("bench", team="bench"))
        load(stack.ports["spop"], stack.agent.pid, stack, 1, 1, 2000, body=small)
        for title, text in slow_bodies():
            rounds = [slow_round(stack, other, small, text) for _ in range(SLOW_ROUNDS)]
            print(f"   {title}")
            for i, name in enumerate(("1 KB alone", "beside 1 MB to another agent", "beside 1 MB to the same worker")):
                bodies, p50, p99 = (statistics.median(run[i][key] for run in rounds) for key in ("bodies", "p50_us", "p99_us"))
                print(f"     {name:40}{bodies:14.0f}{p50:9.0f}{p99:9.0f}" if bodies else f"     {name:54}{p50:9.0f}{p99:9.0f}")
            for name, yardstick in (("rise over alone", 0), ("rise over another agent", 1)):
                p50, p99 = ([run[2][key] - run[yardstick][key] for run in rounds] for key in ("p50_us", "p99_us"))
                print(
                    f"     {name:54}{statistics.median(p50):+9.0f}{statistics.median(p99):+9.0f}  (p99: {min(p99):+} to {max(p99):+})"
                )
    finally:
        other.stop()
        other.remove()


def slow_round(stack, other, small, text):
    alone = load(stack.ports["spop"], stack.agent.pid, stack, 1, 1, SLOW_REQUESTS, body=small)
    return {**alone, "bodies": 0}, beside(stack, other, small, text), beside(stack, stack, small, text)


def beside(stack, where, small, text):
    """The figures of 1 KB requests while `where` is sent this body back to back."""
    big = where.folder / "big"
    big.write_text(text)
    before = agent_decisions(where)
    neighbour = subprocess.Popen(
        load_command(where.ports["spop"], where.agent.pid, where, 1, 1, 10**6, big), stdout=subprocess.DEVNULL
    )
    try:
        began = time.monotonic()
        row = load(stack.ports["spop"], stack.agent.pid, stack, 1, 1, SLOW_REQUESTS, body=small)
        seconds = time.monotonic() - began
        assert neighbour.poll() is None, "the neighbour gave up"
    finally:
        neighbour.kill()
        neighbour.wait()
    bodies = agent_decisions(where) - before - (SLOW_REQUESTS if where is stack else 0)
    assert bodies > 0 and row["allowed"] == row["answered"] == SLOW_REQUESTS, (bodies, row)
    return {**row, "bodies": bodies / seconds}


def agent_decisions(stack):
    done = subprocess.run(
        [str(build_folder() / "tollgatectl"), "--socket", str(stack.admin_socket), "--json", "status"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)["requests"]["decisions"]


def wrk(stack, url, connections, delay_ms=0):
    script = stack.folder / "wrk.lua"
    token = (stack.folder / "token").read_text().strip()
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = {json.dumps(BODY)}\n"
        "wrk.headers['Content-Type'] = 'application/json'\n"
        f"wrk.headers['Authorization'] = 'Bearer {token}'\n"
        + (f"function delay() return {delay_ms} end\n" if delay_ms else "")
        + "function done(s, l, r)\n"
        '  print(string.format(\'RESULT {"requests":%d,"seconds":%f,"p50":%d,"p99":%d,"bad":%d}\',\n'
        "    s.requests, s.duration / 1e6, l:percentile(50), l:percentile(99),\n"
        "    s.errors.status + s.errors.connect + s.errors.read + s.errors.timeout))\nend\n"
    )
    done = subprocess.run(
        [
            "wrk",
            "-t",
            "1",
            "-c",
            str(connections),
            "-d",
            f"{SECONDS}s",
            "-s",
            str(script),
            url + "/v1/chat/completions",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"RESULT (\{.*\})", done.stdout)
    row = json.loads(found.group(1))
    assert row["bad"] == 0, done.stdout
    return row


def gateway(stack):
    port = free_ports(1)[0]
    plain = haproxy(
        stack,
        "plain",
        port,
        HTTP + f"frontend plain\n    bind 127.0.0.1:{port}\n    option http-buffer-request\n"
        "    default_backend up\nbackend up\n    http-reuse always\n"
        f"    server up 127.0.0.1:{stack.ports['alpha']}\n",
    )
    print(f"\nHAProxy with wrk ({SECONDS} s each)\n")
    print(f"   {'':32}{'requests/s':>12}{'p50 µs':>9}{'p99 µs':>9}")
    try:
        for connections, delay, title in ((1, 0, "1 connection"), (10, 9, "about 1000/s"), (32, 0, "32 connections")):
            rows = {}
            for name, url in (("without", f"http://127.0.0.1:{port}"), ("with tollgate", stack.gateway)):
                row = rows[name] = wrk(stack, url, connections, delay)
                print(f"   {f'{name}, {title}':32}{row['requests'] / row['seconds']:12.0f}{row['p50']:9}{row['p99']:9}")
            added = {key: rows["with tollgate"][key] - rows["without"][key] for key in ("p50", "p99")}
            ratio = (rows["with tollgate"]["requests"] / rows["with tollgate"]["seconds"]) / (
                rows["without"]["requests"] / rows["without"]["seconds"]
            )
            print(f"   {'ratio; added':32}{ratio:12.2f}{added['p50']:+9}{added['p99']:+9}")
    finally:
        plain.stop()


class StreamStack(Stack):
    LIMITS = BenchStack.LIMITS


STREAMS, EVENTS, AT_ONCE = 400, 60, 4


def cpu_us(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def stream_once(stack, token, interval):
    """Times in µs from the request until the first and the last content event."""
    text = f"a word [[completion_tokens={EVENTS} token_interval={interval}]]"
    body = json.dumps({"model": "solo", "stream": True, "messages": [{"role": "user", "content": text}]})
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", stack.ports["gateway"], timeout=30)) as client:
        began = time.perf_counter()
        client.request(
            "POST", "/v1/chat/completions", body, {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
        )
        answer = client.getresponse()
        first, got = None, b""
        while piece := answer.read1(65536):
            got += piece
            if first is None and got.count(b'"content":"') > 1:
                first = time.perf_counter()
        last = time.perf_counter()
    assert answer.status == 200 and got.endswith(b"[DONE]\n\n"), got[-300:]
    return (first - began) * 1e6, (last - began) * 1e6


def streams_load(stack, token, count, at_once, interval):
    rows = []

    def run():
        for _ in range(count // at_once):
            rows.append(stream_once(stack, token, interval))

    threads = [threading.Thread(target=run) for _ in range(at_once)]
    before = [cpu_us(p.pid) for p in (stack.haproxy, stack.agent)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    after = [cpu_us(p.pid) for p in (stack.haproxy, stack.agent)]
    assert len(rows) == count // at_once * at_once
    firsts = sorted(first for first, _ in rows)
    cpu = [(b - a) / len(rows) for a, b in zip(before, after, strict=True)]
    return {"haproxy": cpu[0], "agent": cpu[1], "p50": firsts[len(firsts) // 2], "p99": firsts[len(firsts) * 99 // 100]}


def streams():
    print(f"\nStreams of {EVENTS} events: CPU of each process for one stream, time to the first token (1 at a time, 5 ms between events)\n")
    print(f"   {'':24}{'HAProxy µs':>12}{'agent µs':>10}{'first p50 µs':>14}{'p99 µs':>9}")
    stacks = {mode: StreamStack(tempfile.mkdtemp(prefix="tg-bench-"), streams=mode) for mode in ("tap", "relay")}
    try:
        tokens = {mode: stack.start().person("bench", team="bench") for mode, stack in stacks.items()}
        rows = {mode: [] for mode in stacks}
        for _ in range(3):  # in turns: what else the machine does meets both
            for mode, stack in stacks.items():
                streams_load(stack, tokens[mode], 8, 4, 0.0)
                cpu = streams_load(stack, tokens[mode], STREAMS, AT_ONCE, 0.0)
                pace = streams_load(stack, tokens[mode], 30, 1, 0.005)
                rows[mode].append({**pace, "haproxy": cpu["haproxy"], "agent": cpu["agent"]})
        for mode, found in rows.items():
            row = {key: sorted(one[key] for one in found)[1] for key in found[0]}
            print(f"   {mode:24}{row['haproxy']:12.0f}{row['agent']:10.0f}{row['p50']:14.0f}{row['p99']:9.0f}")
    finally:
        for stack in stacks.values():
            stack.stop()
            stack.remove()


SCRAPED_MODELS = 120  # each has some 86 series
SCRAPE_ROUNDS, SCRAPES_PER_SECOND = 5, 10


def scrape(stack):
    """(milliseconds, samples) of one scrape, as Prometheus asks for it."""
    began = time.monotonic()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", stack.ports["metrics"], timeout=60)) as connection:
        connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
        text = connection.getresponse().read()
    return (time.monotonic() - began) * 1000, sum(not line.startswith(b"#") for line in text.splitlines())


def scrapes(stack):
    token = stack.tokens["bench"]
    for i in range(SCRAPED_MODELS):
        status, _, answer = stack.post(token, json.dumps({**json.loads(BODY), "model": f"model-{i}"}).encode())
        assert status == 200, answer
    wait_for(lambda: scrape(stack)[1] >= 10000, "10,000 series")
    alone, meanwhile, times = [], [], []
    for _ in range(SCRAPE_ROUNDS):
        alone.append(load(stack.ports["spop"], stack.agent.pid, stack, 1, 1, SLOW_REQUESTS))
        done = threading.Event()

        def keep_scraping(done=done):
            while not done.wait(1 / SCRAPES_PER_SECOND):
                times.append(scrape(stack))

        thread = threading.Thread(target=keep_scraping)
        thread.start()
        try:
            meanwhile.append(load(stack.ports["spop"], stack.agent.pid, stack, 1, 1, SLOW_REQUESTS))
        finally:
            done.set()
            thread.join()
    idle = [scrape(stack)[0] for _ in range(21)]
    print(f"\nScrapes of {max(samples for _, samples in times):,} series over HTTP (OpenMetrics with exemplars), ledger in memory\n")
    print(f"   {'one scrape, milliseconds':44}{'median':>9}{'worst':>9}")
    for name, ms in (("nothing else", idle), ("decisions meanwhile", [ms for ms, _ in times])):
        print(f"   {name:44}{statistics.median(ms):9.1f}{max(ms):9.1f}")
    print(f"\n   {'decisions, 1 at a time, median of rounds':44}{'p50 µs':>9}{'p99 µs':>9}")
    for name, rows in (("no scrape", alone), (f"{SCRAPES_PER_SECOND} scrapes a second", meanwhile)):
        assert all(row["allowed"] == row["answered"] for row in rows), rows
        print(f"   {name:44}{statistics.median(r['p50_us'] for r in rows):9.0f}{statistics.median(r['p99_us'] for r in rows):9.0f}")


def with_stack(kind, *benches, **options):
    stack = kind(tempfile.mkdtemp(prefix="tg-bench-"), **options)
    try:
        stack.start()
        stack.write_secret("token", stack.person("bench", team="bench"))
        (stack.folder / "body").write_text(BODY)
        status, _, answer = stack.post(stack.tokens["bench"], BODY.encode())
        assert status == 200, answer
        for bench in benches:
            bench(stack)
    finally:
        stack.stop()
        stack.remove()


class OneWorker(BenchStack):
    def write_configuration(self, text=None):
        super().write_configuration((text or configuration(self)).replace("workers: 2", "workers: 1"))


class InMemory(OneWorker):
    def __init__(self, folder, **options):
        super().__init__(folder, **options)
        self.ledger_folder = Path(tempfile.mkdtemp(prefix="tg-bench-", dir="/dev/shm"))

    def remove(self):
        super().remove()
        shutil.rmtree(self.ledger_folder, ignore_errors=True)


def main():
    wanted = sys.argv[1:] or ["decisions", "slow", "gateway", "streams", "metrics"]
    if "decisions" in wanted:
        with_stack(BenchStack, decisions)
    if "slow" in wanted:
        with_stack(InMemory, slow, max_body=1300000)
    if "gateway" in wanted:
        with_stack(BenchStack, gateway)
    if "streams" in wanted:
        streams()
    if "metrics" in wanted:
        models = [f"name: model-{i}, primary: {{provider: alpha, model: gpt-4o-mini}}, max_output: 1024" for i in range(SCRAPED_MODELS)]
        with_stack(InMemory, scrapes, models=models)


if __name__ == "__main__":
    main()
