"""Garbage on the sockets that speak HTTP: the relay's two, metrics, the console, the gateway itself. The agent's own are in test_gate_hardship.py."""

import os
import socket

import pytest

from machine import wait_for
from test_gate_hardship import NOISE, body, served, throw

STACK = {"console": "public"}
LONG = b"a" * 70000
HTTP = [
    b"\r\n\r\n",
    b"GET",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
    b"G\x00T /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET " + LONG + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + LONG + b": x\r\n\r\n",
    b"GET / HTTP/1.1\r\nx: " + LONG + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
    b"GET / HTTP/1.1\r\n folded: first\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-tg-upstream: http://127.0.0.1:1\r\ncontent-length: 0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 200,
]
GARBAGE = NOISE + HTTP


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("where", ["relay-primary", "relay-fallback", "metrics", "console", "gateway"])
def test_garbage(stack, where, data):
    if where.startswith("relay"):
        throw(str(stack.sockets / f"{where}.sock"), data)
    else:
        throw(("127.0.0.1", stack.ports[where]), data, socket.AF_INET)
    assert stack.agent.alive() and stack.haproxy.alive()


@pytest.mark.usefixtures("inside")
def test_after_all_the_garbage(stack, sub):
    def descriptors():
        return len(os.listdir(f"/proc/{stack.agent.pid}/fd"))

    served(stack, sub)
    served(stack, sub + "-again")
    before = descriptors()
    for data in GARBAGE:
        for where in ("relay-primary", "relay-fallback"):
            throw(str(stack.sockets / f"{where}.sock"), data)
    wait_for(lambda: descriptors() <= before, "the relay's descriptors to be closed")
    assert stack.agent.alive()
    status, _, answer = stack.post(stack.tokens[sub], {**body(sub), "stream": True})
    assert status == 200 and answer.rstrip().endswith(b"data: [DONE]"), "streams pass the relay as before"
