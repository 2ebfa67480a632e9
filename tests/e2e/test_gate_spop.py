"""Peers that are not HAProxy, or not well: the agent answers every broken frame, keeps serving, and lets go of who says nothing."""

import contextlib
import os
import select
import socket
import subprocess
import time

import pytest

from haproxy_stub.spop import frame, string, typed
from machine import PATIENCE, build_folder, wait_for

IDLE = 600
HAPROXY_HELLO, AGENT_HELLO, NOTIFY = 1, 101, 3


def hello():
    fields = {"supported-versions": "2.0", "max-frame-size": 16380, "capabilities": "pipelining,async"}
    return frame(HAPROXY_HELLO, 0, 0, b"".join(string(name) + typed(value) for name, value in fields.items()))


def dial(stack):
    return socket.create_connection(("127.0.0.1", stack.ports["spop"]), timeout=PATIENCE)


def negotiated(stack):
    one = dial(stack)
    one.sendall(hello())
    answer = one.recv(4096)
    assert answer[4] == AGENT_HELLO
    return one


def closed(one):
    """Whether the peer has ended the connection; what it said before is read."""
    while select.select([one], [], [], 0)[0]:
        try:
            if not one.recv(4096):
                return True
        except ConnectionResetError:
            return True
    return False


def decides(stack):
    return stack.post(None, b"{}")[0] == 401


def probe(stack, where):
    program = build_folder() / "bench_spoe_probe"
    done = subprocess.run([program, where], capture_output=True, text=True, timeout=PATIENCE * 4)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert len(lines) > 20 and all(line.startswith("ok") for line in lines[:-1]), done.stdout
    assert stack.agent.alive() and decides(stack)


def test_every_hostile_frame_is_answered_over_tcp(stack):
    probe(stack, f"127.0.0.1:{stack.ports['spop']}")


def test_every_hostile_frame_is_answered_over_a_unix_socket(stack):
    probe(stack, stack.sockets / "spop.sock")


def descriptors(stack):
    return len(os.listdir(f"/proc/{stack.agent.pid}/fd"))


@pytest.mark.usefixtures("inside")
def test_the_silent_and_the_slow_are_let_go(stack):
    before = descriptors(stack)
    with contextlib.ExitStack() as all_of_them:
        silent = [all_of_them.enter_context(dial(stack)) for _ in range(IDLE)]
        spares = [all_of_them.enter_context(negotiated(stack)) for _ in range(20)]
        half = all_of_them.enter_context(negotiated(stack))
        whole = frame(NOTIFY, 1, 1, b"x" * 2000)
        half.sendall(whole[: len(whole) // 2])
        # Where the first have been closed by then, the others were accepted as well, or will be.
        wait_for(lambda: descriptors(stack) >= before + IDLE + 21 or closed(silent[0]), "all of them to be accepted")
        assert decides(stack)
        # A byte now and then is not a HELLO either.
        drop = all_of_them.enter_context(dial(stack))
        greeting, sent = hello(), 0
        end = time.monotonic() + PATIENCE
        while not closed(drop):
            assert time.monotonic() < end, "a HELLO that took for ever was waited for"
            if sent < len(greeting) - 1:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    drop.send(greeting[sent : sent + 1])
                sent += 1
            time.sleep(0.3)
        left = set(silent)

        def silent_gone():
            left.difference_update([one for one in left if closed(one)])
            return not left

        wait_for(silent_gone, "connections without a HELLO to be closed")
        wait_for(lambda: closed(half), "half a frame to be given up")
        # HAProxy keeps connections for later: they may be idle for as long as they like.
        assert not any(closed(one) for one in spares)
        assert decides(stack)
    wait_for(lambda: descriptors(stack) <= before + 16, "the agent to close its side")
