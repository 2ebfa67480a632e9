"""Bodies that must not get through: too large, cut, not JSON, encoded."""

import contextlib
import gzip
import json
import socket

import pytest

from machine import PATIENCE

STACK = {"max_body": 100000}


def request(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


def error_of(answer):
    return json.loads(answer)["error"]


def raw(stack, data):
    """The status line and everything after it for bytes sent as they are."""
    with socket.create_connection(("127.0.0.1", stack.ports["gateway"]), timeout=PATIENCE) as peer:
        answer = b""
        with contextlib.suppress(OSError):  # refused while we were still sending: the answer is there to read
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while piece := peer.recv(65536):
                answer += piece
    return int(answer.split(b" ", 2)[1]) if answer else 0, answer


def chunked(token, body, size=7000):
    pieces = b"".join(
        b"%x\r\n%s\r\n" % (len(body[i : i + size]), body[i : i + size]) for i in range(0, len(body), size)
    )
    return (
        (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        ).encode()
        + pieces
        + b"0\r\n\r\n"
    )


@pytest.mark.parametrize("size", [100001, 150000, 400000, 2000000])
def test_oversize_is_413(stack, sub, size):
    body = json.dumps(request(sub)).encode()
    body = body[:-1] + b', "x": "' + b"y" * (size - len(body) - 9) + b'"}'
    status, _, answer = stack.post(stack.person(sub), body)
    assert status == 413 and error_of(answer)["message"]
    assert stack.received("alpha", sub) == []


@pytest.mark.parametrize("size", [150000, 400000])
def test_oversize_chunked_is_413(stack, sub, size):
    body = json.dumps(request(sub + " " + "word " * (size // 5))).encode()
    stack.person(sub)
    assert raw_chunked(stack, sub, body)[0] == 413
    assert stack.received("alpha", sub) == []


def raw_chunked(stack, sub, body):
    with socket.create_connection(("127.0.0.1", stack.ports["gateway"]), timeout=PATIENCE) as peer:
        try:
            peer.sendall(chunked(stack.tokens[sub], body))
        except ConnectionError:
            pass  # refused while we were still sending: the answer is there to read
        answer = b""
        try:
            while piece := peer.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    return int(answer.split(b" ", 2)[1]), answer


def test_a_large_body_below_the_limit_passes_byte_exactly(stack, sub):
    text = sub + " " + "word " * 19000
    token = stack.person(sub)
    status, _, _ = stack.post(token, request(text))
    assert status == 200
    got = json.loads(stack.received("alpha", sub)[0]["body"])
    assert got["messages"] == request(text)["messages"]


def thousands(sub, last):
    turns = [{"role": "user", "content": sub if i == 0 else "a"} for i in range(2500)]
    return {"model": "solo", "messages": [*turns, {"role": "user", "content": last}]}


def test_thousands_of_messages_pass(stack, sub):
    body = thousands(sub, "b")
    assert stack.post(stack.person(sub), body)[0] == 200
    assert json.loads(stack.received("alpha", sub)[0]["body"])["messages"] == body["messages"]


def test_a_fault_behind_thousands_of_messages_is_found(stack, sub):
    status, _, answer = stack.post(stack.person(sub), thousands(sub, 7))
    assert status == 400 and error_of(answer)["param"] == "messages[2500].content"
    assert stack.received("alpha", sub) == []


def test_chunked_passes_byte_exactly(stack, sub):
    text = sub + " " + "wörd 😀 " * 3000
    stack.person(sub)
    status, answer = raw_chunked(stack, sub, json.dumps(request(text), ensure_ascii=False).encode())
    assert status == 200, answer[:500]
    (record,) = stack.received("alpha", sub)
    assert json.loads(record["body"])["messages"] == request(text)["messages"]


NOT_JSON = {
    "empty": b"",
    "text": b"hello",
    "array": b'[{"model":"solo"}]',
    "cut": b'{"model":"solo","messages":[{"role":"user","content":"%s',
    "no closing brace": b'{"model":"solo","messages":[{"role":"user","content":"%s"}]',
    "trailing": b'{"model":"solo","messages":[{"role":"user","content":"%s"}]} {"model":"x"}',
    "bad utf-8": b'{"model":"solo","messages":[{"role":"user","content":"%s \xff\xfe"}]}',
    "overlong utf-8": b'{"model":"solo","messages":[{"role":"user","content":"%s \xc0\xaf"}]}',
    "duplicate model": b'{"model":"solo","model":"chat-default","messages":[{"role":"user","content":"%s"}]}',
    "duplicate model escaped": b'{"model":"solo","\\u006dodel":"chat-default","messages":[{"role":"user","content":"%s"}]}',
    "duplicate max_tokens": b'{"model":"solo","max_tokens":1,"max_tokens":100000,"messages":[{"role":"user","content":"%s"}]}',
    "no model": b'{"messages":[{"role":"user","content":"%s"}]}',
    "model of the wrong type": b'{"model":7,"messages":[{"role":"user","content":"%s"}]}',
    "no messages": b'{"model":"solo","x":"%s"}',
    "negative max_tokens": b'{"model":"solo","max_tokens":-5,"messages":[{"role":"user","content":"%s"}]}',
    "huge n": b'{"model":"solo","n":9999999999999999999,"messages":[{"role":"user","content":"%s"}]}',
    "control character": b'{"model":"solo","messages":[{"role":"user","content":"%s \x01"}]}',
    "too deep": b'{"model":"solo","x":' + b"[" * 5000 + b"]" * 5000 + b',"messages":[{"role":"user","content":"%s"}]}',
}


@pytest.mark.parametrize("kind", NOT_JSON)
def test_bodies_that_are_not_a_request_are_400(stack, sub, kind):
    marker = sub.replace(" ", "-")
    status, headers, answer = stack.post(stack.person(marker), NOT_JSON[kind].replace(b"%s", marker.encode()))
    assert status == 400, answer
    assert error_of(answer)["type"] == "invalid_request_error" and error_of(answer)["message"]
    assert stack.received("alpha", marker) == [] and stack.received("beta", marker) == []


def test_an_encoded_body_is_refused(stack, sub):
    body = gzip.compress(json.dumps(request(sub)).encode())
    status, _, answer = stack.post(stack.person(sub), body, headers={"Content-Encoding": "gzip"})
    assert status in (400, 415) and error_of(answer)["message"]


def test_a_body_that_never_ends_is_refused(stack, sub):
    token = stack.person(sub)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        "Content-Length: 5000\r\n\r\n"
    ).encode()
    status, _ = raw(stack, head + b'{"model":"solo","messages":[{"role":"user","content":"' + sub.encode())
    assert status in (0, 400, 408)
    assert stack.received("alpha", sub) == []


@pytest.mark.parametrize("path", ["/", "/v1/", "/v1/files", "/v1/chat/completions/../../x", "/admin"])
def test_other_paths_are_not_passed_on(stack, sub, path):
    token = stack.person(sub)
    status, _, answer = stack.post(token, request(sub), path=path)
    assert status in (400, 404, 405) and error_of(answer)["message"]
    assert stack.received("alpha", sub) == []


def test_large_headers_are_refused(stack, sub):
    token = stack.person(sub)
    status, _, _ = stack.post(token, request(sub), headers={"X-Filler": "x" * 30000})
    assert status in (400, 431)
    assert stack.received("alpha", sub) == []
