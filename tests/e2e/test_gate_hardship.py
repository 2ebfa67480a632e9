"""What a careless or hostile hand on the same machine can do to a running agent: it keeps answering, and keeps its books."""

import contextlib
import errno
import json
import os
import random
import socket
import struct
import threading
import time

import pytest

import ledger
from haproxy_stub.spop import frame, string, typed, varint
from machine import PATIENCE, wait_for
from test_gate_crash import Load, request_id

AGENT_HELLO, AGENT_DISCONNECT, ACK = 101, 102, 103


def body(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


def served(stack, sub):
    """One more request is served and settled."""
    token = stack.person(sub)
    status, _, answer = stack.post(token, body(sub + " [[prompt_tokens=9 completion_tokens=5]]"))
    assert status == 200, answer

    def known():
        rows = ledger.requests(stack, sub)
        return rows and rows[-1]["known_by"] == "reported"

    wait_for(known, "the request to be settled by its usage")


def log_after(stack, size):
    return stack.agent.log.read_bytes()[size:].decode(errors="replace")


# ---- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("inside")
def test_a_storm_of_reloads_under_load(stack, sub):
    size = stack.agent.log.stat().st_size
    load = Load(stack, sub)
    try:
        wait_for(lambda: load.served() >= 20, "load to flow")
        threads, descriptors = (len(os.listdir(f"/proc/{stack.agent.pid}/{what}")) for what in ("task", "fd"))
        for _ in range(150):
            stack.reload()
            time.sleep(0.01)

        def reloaded():  # signals that come while one is served are one
            stack.reload()
            return log_after(stack, size).count(" reloaded ") >= 3

        wait_for(reloaded, "reloads")
        target = load.served() + 50
        wait_for(lambda: load.served() >= target, "load to flow on")
    finally:
        load.stop()
    assert {status for statuses in load.statuses.values() for status in statuses} == {200}
    wait_for(lambda: len(os.listdir(f"/proc/{stack.agent.pid}/task")) <= threads + 1, "threads to end")
    wait_for(lambda: len(os.listdir(f"/proc/{stack.agent.pid}/fd")) <= descriptors + 8, "descriptors to be closed")
    served(stack, sub + "-after")


def test_the_configuration_is_gone_at_a_reload(stack, sub):
    aside = stack.config.with_suffix(".aside")
    size = stack.agent.log.stat().st_size
    stack.config.rename(aside)
    try:
        stack.reload()
        wait_for(lambda: "reload_refused" in log_after(stack, size), "the refusal to be logged")
        assert str(stack.config) in log_after(stack, size)
        served(stack, sub)
    finally:
        aside.rename(stack.config)
    stack.reload()
    wait_for(lambda: " reloaded " in log_after(stack, size), "the reload")
    served(stack, sub)


def frames_of(one):
    """Every frame until the peer closes, as (type, bytes)."""
    data, found = b"", []
    with contextlib.suppress(ConnectionResetError):  # what it had not read when it closed
        while chunk := one.recv(1 << 20):
            data += chunk
    while data:
        (n,) = struct.unpack(">I", data[:4])
        assert len(data) >= 4 + n, "the last frame is cut"
        found.append((data[4], data[4 : 4 + n]))
        data = data[4 + n :]
    return found


def negotiated(stack):
    one = socket.create_connection(("127.0.0.1", stack.ports["spop"]), timeout=PATIENCE)
    fields = {"supported-versions": "2.0", "max-frame-size": 1 << 20, "capabilities": "pipelining"}
    one.sendall(frame(1, 0, 0, b"".join(string(name) + typed(value) for name, value in fields.items())))
    assert one.recv(4096)[4] == AGENT_HELLO
    return one


def notify(number, token, data):
    fields = {
        "id": typed(f"{os.getpid()}-{time.monotonic_ns()}-{number}"),
        "ip": typed("127.0.0.1"),
        "method": typed("POST"),
        "path": typed("/v1/chat/completions"),
        "query": typed(""),
        "auth": typed("Bearer " + token),
        "ctype": typed("application/json"),
        "cl": typed(str(len(data))),
        "blen": typed(len(data)),
        "body": b"\x09" + varint(len(data)) + data,
    }
    arguments = b"".join(string(name) + value for name, value in fields.items())
    return frame(3, number, 1, string("llm-request") + bytes([len(fields)]) + arguments)


def test_terminated_under_load(stack, sub):
    """Answers in flight are given, connections end with a DISCONNECT that says normal, and the books balance afterwards."""
    load = Load(stack, sub)
    ends = []
    try:
        wait_for(lambda: load.served() >= 20, "load to flow")
        with negotiated(stack) as idle, negotiated(stack) as busy:
            data = json.dumps(body("nobody")).encode()
            busy.sendall(b"".join(notify(n, load.tokens[load.subjects[0]], data) for n in range(1, 51)))
            first = busy.recv(1, socket.MSG_PEEK)
            assert first
            assert stack.agent.stop() == 0
            ends = [frames_of(idle), frames_of(busy)]
        wait_for(lambda: any(s and s[-1] == 503 for s in load.statuses.values()), "clients to notice")
        stack.restart_agent()
        target = load.served() + 20
        wait_for(lambda: load.served() >= target, "load to flow again")
    finally:
        load.stop()
    for end in ends:
        kind, data = end[-1]
        assert kind == AGENT_DISCONNECT and [k for k, _ in end].count(AGENT_DISCONNECT) == 1
        assert string("status-code") + b"\x03\x00" in data or string("status-code") + b"\x04\x00" in data, data
    assert {kind for kind, _ in ends[1][:-1]} == {ACK}
    # Whatever was taken in was answered: as many rows, allowed or given up unanswered, as answers.
    assert {status for statuses in load.statuses.values() for status in statuses} <= {200, 503}
    for name in load.subjects:
        rows = {row["request_id"]: row for row in ledger.requests(stack, name)}
        assert all(request_id(r) in rows for r in stack.received("alpha", name + "."))


# ---- garbage --------------------------------------------------------------------------------------------------------


def throw(address, data, family=socket.AF_UNIX):
    """Sends it all, says there is no more, and waits until the agent has closed."""
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(PATIENCE)
        one.connect(address)
        try:
            one.sendall(data)
            one.shutdown(socket.SHUT_WR)
            while one.recv(65536):
                pass
        except OSError as error:
            assert error.errno in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN), error


CHANCE = random.Random(20260101)
NOISE = [CHANCE.randbytes(n) for n in (1, 3, 64, 5000, 300000)]
PACKED = [
    b"\xdf\xff\xff\xff\xff",  # a map of four thousand million pairs
    b"\xdb\xff\xff\xff\xff" + b"a" * 1000,
    b"\x81" * 100000,
    b"\x91" * 100000,
    b"\x80",
    b"\x81\xa2id\xc0",
    b"\x82\xa2id\xa3abc\xa2id\xa3abc",
    b"\xc1",
]
LINES = [
    b"99999999999999999999 x",
    b"-1 x",
    b"5 hello",
    b"0 " * 50000,
    b"1048577 " + b"x" * 2000,
    b"27 " + b'{"t":1,"id":"x","st":200,}}',
    b"15 " + b'{"t":1,"id":""}',
    b"31 " + b'{"t":1,"id":"no-such-request"}\n',
    b"100000 " + b"[" * 100000,
]


@pytest.mark.parametrize("data", NOISE + PACKED, ids=range(len(NOISE + PACKED)))
def test_garbage_on_the_settlement_socket(stack, data):
    throw(str(stack.sockets / "settle.sock"), data)
    assert stack.agent.alive()


@pytest.mark.parametrize("data", NOISE + LINES, ids=range(len(NOISE + LINES)))
def test_garbage_on_the_log_ring(stack, data):
    throw(("127.0.0.1", stack.ports["ring"]), data, socket.AF_INET)
    assert stack.agent.alive()


# A huge array is left to msgpack's own limits: the socket answers nobody but root and the agent's own user.
RPC = [
    b"\x94\x00\x01\xa4nope\x90",
    b"\x94\x02\x01\xa4ping\x90",
    b"\x94\x00\x01\xa4ping\x80",
    b"\x94\xff\x01\xa4ping\x90",
    b"\x94\x00\xff\xa4ping\x90",
    b"\x93\x00\x01\xa4ping",
    b"\x94\x00\x01\xa6budget\x94\x00\x00\x00\x00" * 50,
    b"\xdb\x00\x20\x00\x01" + b"a" * (1 << 21),
    b"\x91" * 1000,
]


@pytest.mark.parametrize("data", [CHANCE.randbytes(n) for n in (1, 30)] + RPC, ids=range(2 + len(RPC)))
def test_garbage_on_the_admin_socket(stack, data):
    throw(str(stack.admin_socket), data)
    assert stack.agent.alive()


def test_after_all_the_garbage(stack, sub):
    served(stack, sub)
    assert ledger.accounts(stack, "team-day")


def test_more_admin_connections_than_there_is_room_for(stack, sub):
    def connect():
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.settimeout(PATIENCE)
        one.connect(str(stack.admin_socket))
        return one

    crowd = [connect() for _ in range(80)]
    ping = b"\x94\x00\x01\xa4ping\x90"
    try:
        crowd[0].sendall(ping)
        assert crowd[0].recv(100)[:3] == b"\x94\x01\x01"
        assert crowd[-1].recv(100) == b"", "one too many is closed at once"
        served(stack, sub)
    finally:
        for one in crowd:
            one.close()
    wait_for(lambda: ledger.accounts(stack, "team-day"), "the admin socket to answer again")


# ---- too many at once -----------------------------------------------------------------------------------------------


def peak_kib(stack):
    with open(f"/proc/{stack.agent.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def sanitized(stack):
    return b"__asan_init" in stack.tollgate.read_bytes() or b"__tsan_init" in stack.tollgate.read_bytes()


@pytest.mark.parametrize("kib, each", [(128, 400), (1, 1000)], ids=["large", "many"])
def test_tokens_of_unknown_keys_while_the_provider_hangs(make_stack, kib, each):
    """Each may wait for the keys with its body, but not all of them: memory has an end, answers have not."""
    stack = make_stack()
    token = stack.mint(claims={"sub": "stranger", "team": "research"}, key="stray")
    data = json.dumps(body("x" * kib * 1024)).encode()
    connections = 6
    answers, before = [], peak_kib(stack)
    stack.idp_admin("POST", "/outage", {"mode": "hang"})
    try:

        def flood():
            with negotiated(stack) as one:
                sender = threading.Thread(target=lambda: [one.sendall(notify(n, token, data)) for n in range(1, each + 1)])
                sender.start()
                buffer = b""
                mine = []
                while len(mine) < each:
                    chunk = one.recv(1 << 20)
                    assert chunk, "closed before everything was answered"
                    buffer += chunk
                    while len(buffer) >= 4 and len(buffer) >= 4 + struct.unpack(">I", buffer[:4])[0]:
                        (n,) = struct.unpack(">I", buffer[:4])
                        mine.append(buffer[4 : 4 + n])
                        buffer = buffer[4 + n :]
                sender.join(PATIENCE)
                answers.extend(mine)

        threads = [threading.Thread(target=flood) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE * 2)
    finally:
        stack.idp_admin("POST", "/outage", {"mode": "none"})
    assert len(answers) == connections * each
    assert all(answer[0] == ACK for answer in answers)
    refused = sum(b"policy_unavailable" in answer for answer in answers)
    assert refused < len(answers)
    if kib == 1:  # large ones may come so slowly that there is room for each
        assert refused > 0
    if not sanitized(stack):
        assert peak_kib(stack) - before < 256 * 1024
    stack.wait_until_deciding()


@pytest.mark.usefixtures("inside")
def test_nobody_takes_all_descriptors(make_stack):
    """More connections than the process may have: those at work go on, and room that comes free is used."""
    stack = make_stack()
    assert stack.agent.stop() == 0
    soft = 100
    program, stack.tollgate = stack.tollgate, stack.folder / "limited"
    stack.tollgate.write_text(f'#!/bin/sh\nulimit -n {soft}\nexec "{program}" "$@"\n')
    stack.tollgate.chmod(0o755)
    stack.restart_agent()
    token = stack.person("few")
    assert stack.post(token, body("few"))[0] == 200
    idle = [socket.create_connection(("127.0.0.1", stack.ports["spop"]), timeout=PATIENCE) for _ in range(soft * 2)]
    try:
        wait_for(lambda: len(os.listdir(f"/proc/{stack.agent.pid}/fd")) >= soft - 2, "descriptors to be used up")
        began, ticks = time.monotonic(), cpu_ticks(stack)
        time.sleep(1)
        used = (cpu_ticks(stack) - ticks) / os.sysconf("SC_CLK_TCK")
        assert used < 0.5 * (time.monotonic() - began), "the agent is busy with nothing"
    finally:
        for one in idle:
            one.close()
    wait_for(lambda: stack.post(token, body("few"))[0] == 200, "requests to be served again")
    stack.tollgate = program


def cpu_ticks(stack):
    with open(f"/proc/{stack.agent.pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
