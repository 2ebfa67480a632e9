#!/usr/bin/env python3
"""Stand-in LLM providers: one process, several listeners, everything they were sent on record, faults on demand.

    server.py --listen alpha=127.0.0.1:9201 --listen beta=127.0.0.1:9202 --control 127.0.0.1:9209

Port 0 takes a free port. When all listen, one line `ready {"alpha": 9201, ..., "control": 9209}` goes to stdout.
The control API speaks JSON:
    GET    /NAME/requests    what listener NAME was sent, oldest first (body as text and base64) and what became of it
    DELETE /NAME/requests    forget it
    GET    /NAME/behaviour   PUT: replace it ({} is a healthy provider; fields in behaviour.py)
    PUT    /NAME/gates       {"open": NUMBER}: what waits at that gate goes on, and nothing waits there again
It is built on raw sockets because a provider that misbehaves is most of its use. Python's standard library only."""

import argparse
import asyncio
import base64
import collections
import dataclasses
import gzip
import json
import signal
import socket
import struct
import sys
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from provider.behaviour import Behaviour  # noqa: E402
from provider.dialects import Answer, Ask, kind_of  # noqa: E402

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


TRANSCRIPT = {"text": "hello", "usage": {"type": "tokens", "input_tokens": 9, "output_tokens": 3, "total_tokens": 12}}


class Gone(Exception):
    """The provider hangs up now."""


async def read_request(reader):
    """One HTTP/1.1 request as (method, target, headers, body), or None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
    fields = {name.lower(): value for name, value in headers}
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(fields.get("content-length") or 0))
    return method, target, headers, body


def head_of(status, fields):
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"] + [f"{k}: {v}" for k, v in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def gone(writer):
    """Whether the other side has closed a connection of which we have closed our half."""
    info = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return info[0] != 5  # TCP_FIN_WAIT2: it has taken our end and not sent its own


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class Listener:
    """One provider: its socket, its behaviour, its record."""

    def __init__(self, name, host, port):
        self.name, self.host, self.port = name, host, port
        self.behaviour, self.records, self.server, self.number = Behaviour(), [], None, 0
        self.gates = collections.defaultdict(asyncio.Event)  # by number

    async def open(self):
        if self.server is None:
            self.server = await asyncio.start_server(
                self.serve, self.host, self.port, backlog=1024, limit=8 << 20, reuse_address=True
            )
            self.port = self.server.sockets[0].getsockname()[1]

    async def set_behaviour(self, fields):
        self.behaviour = Behaviour.of(fields)
        if self.behaviour.refuse and self.server is not None:
            self.server.close()
            self.server = None
        elif not self.behaviour.refuse:
            await self.open()

    async def serve(self, reader, writer):
        try:
            while (request := await read_request(reader)) is not None:
                if self.behaviour.refuse:
                    break
                await self.answer(request, writer)
        except (Gone, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, request, writer):
        method, target, headers, body = request
        path, _, query = target.partition("?")
        self.number += 1
        record = {
            "number": self.number,
            "time": time.time(),
            "method": method,
            "path": path,
            "query": query,
            "headers": headers,
            "body": body.decode("utf-8", "replace"),
            "body_base64": base64.b64encode(body).decode(),
            "status": 0,
            "events_sent": 0,
            "outcome": "reading",
        }
        self.records.append(record)
        try:
            await self.respond(record, method, path, body, writer)
            record["outcome"] = "complete"
        except Gone as reason:
            record["outcome"] = str(reason)
            raise
        except (ConnectionError, asyncio.CancelledError):
            record["outcome"] = "client gone"
            raise

    async def respond(self, record, method, path, body, writer):
        if method == "GET" and path == "/v1/models":
            return await self.send_json(record, writer, 200, {"object": "list", "data": []}, Behaviour())
        if method == "POST" and path == "/v1/audio/transcriptions":
            return await self.send_json(record, writer, self.behaviour.status or 200, TRANSCRIPT, Behaviour())
        if method == "POST" and path == "/v1/audio/speech":
            return await self.send_sounds(record, writer, self.behaviour)
        if method == "GET" and path in ("/v1/files", "/openai/v1/files"):
            return await self.send_json(record, writer, 200, {"object": "list", "data": [], "has_more": False}, Behaviour())
        kind, deployment = kind_of(path)
        if method != "POST" or kind is None:
            return await self.send_error(record, writer, 404, f"no such address: {method} {path}")
        try:
            ask = Ask(kind, body, deployment)
            behaviour = self.behaviour.for_request(ask.text)
        except ValueError as error:
            return await self.send_error(record, writer, 400, f"the body is not understood: {error}")
        sent = next((value for name, value in record["headers"] if name.lower() == "authorization"), "")
        if behaviour.accept is not None and sent not in behaviour.accept:
            return await self.send_error(record, writer, 401, f"Incorrect API key provided: {sent}")
        self.behaviour.spend()
        await asyncio.sleep(behaviour.accept_delay)
        if behaviour.gate and behaviour.gate_after < 0:
            await self.gates[behaviour.gate].wait()
        if behaviour.reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if behaviour.drop or behaviour.reset:
            raise Gone("dropped")
        if behaviour.half_close:
            writer.write_eof()
            await self.stall(writer, behaviour)
        if behaviour.junk:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            await writer.drain()
            raise Gone("junk")
        if behaviour.partial_head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
            await writer.drain()
            raise Gone("head cut")
        if behaviour.status:
            return await self.send_error(record, writer, behaviour.status, f"simulated {behaviour.status}", behaviour)
        answer = Answer(ask, behaviour, record["number"])
        if behaviour.error_in_200:
            return await self.send_json(record, writer, 200, answer.error_body(behaviour.error_code), behaviour)
        if ask.stream and kind not in ("embeddings", "completions"):
            return await self.send_stream(record, writer, answer, behaviour)
        return await self.send_json(record, writer, 200, answer.whole(), behaviour)

    async def send_sounds(self, record, writer, behaviour):
        """A stream of events that is no answer of a language model; its end is the end of the body."""
        record["status"] = 200
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            if number == behaviour.stall_after:
                await writer.drain()
                await self.stall(writer, behaviour)
            writer.write(chunk(b'data: {"type":"speech.audio.delta","audio":"%d"}\n\n' % number))
        writer.write(chunk(b'data: {"type":"speech.audio.done"}\n\n') + b"0\r\n\r\n")
        await writer.drain()

    async def send_error(self, record, writer, status, message, behaviour=None):
        behaviour = behaviour or Behaviour()
        kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
        error = {"message": message, "type": kind, "param": None, "code": behaviour.error_code or None}
        more = [("Retry-After", behaviour.retry_after)] if behaviour.retry_after else []
        await self.send_json(record, writer, status, {"error": error}, behaviour, more)

    async def send_json(self, record, writer, status, value, behaviour, more=()):
        data = json.dumps(value).encode()
        fields = [("Content-Type", behaviour.content_type or "application/json"), *more]
        if behaviour.gzip:
            data = gzip.compress(data, mtime=0)
            fields.append(("Content-Encoding", "gzip"))
        if behaviour.big_header:
            fields.append(("X-Big", "x" * behaviour.big_header))
        fields += [("x-request-id", behaviour.request_id or f"{self.name}-{record['number']}"), ("Content-Length", len(data))]
        record["status"] = status
        if 0 <= behaviour.stall_after < len(data) and status == 200:
            writer.write(head_of(status, fields) + data[: behaviour.stall_after])
            await self.stall(writer, behaviour)
        if 0 <= behaviour.cut_after < len(data) and status == 200:
            writer.write(head_of(status, fields) + data[: behaviour.cut_after])
            await writer.drain()
            raise Gone("cut")
        writer.write(head_of(status, fields) + data)
        await writer.drain()

    async def send_stream(self, record, writer, answer, behaviour):
        if behaviour.gzip:  # squeezed as a whole: what matters is that nobody asked for it
            data = gzip.compress(b"".join(answer.encode_event(e) for _, e in answer.events()) + answer.done(), mtime=0)
            head = [("Content-Type", "text/event-stream"), ("Content-Encoding", "gzip"), ("Content-Length", len(data))]
            record["status"] = 200
            writer.write(head_of(200, head) + data)
            return await writer.drain()
        big = [("X-Big", "x" * behaviour.big_header)] if behaviour.big_header else []
        fields = [
            ("Content-Type", behaviour.content_type or "text/event-stream; charset=utf-8"),
            ("Cache-Control", "no-cache"),
            *big,
            ("x-request-id", behaviour.request_id or f"{self.name}-{record['number']}"),
            ("Connection", "close") if behaviour.unframed else ("Transfer-Encoding", "chunked"),
        ]
        frame = bytes if behaviour.unframed else chunk
        record["status"] = 200
        writer.write(head_of(200, fields))
        await writer.drain()
        await asyncio.sleep(behaviour.first_token_delay)
        sent = 0
        for is_content, event in answer.events():
            if is_content:
                if behaviour.gate and sent == behaviour.gate_after:
                    await self.gates[behaviour.gate].wait()
                if sent == behaviour.cut_after:
                    raise Gone("cut")
                if sent == 0:
                    await asyncio.sleep(behaviour.opening_delay)
                if sent == behaviour.stall_after:
                    await self.stall(writer, behaviour)
                if sent == behaviour.end_after:
                    break
                if sent == behaviour.error_event_after:
                    writer.write(frame(answer.error_event(behaviour.error_code or None)))
                    break
                if sent == behaviour.malformed_after:
                    writer.write(frame(b'data: {"choices":[{"delta":{"content":"bro\n\n'))
                if sent and behaviour.token_interval:
                    await asyncio.sleep(behaviour.token_interval)
                sent += 1
            writer.write(frame(answer.encode_event(event)))
            await writer.drain()
            if writer.transport.is_closing():
                raise ConnectionResetError
            record["events_sent"] = sent
        broken = behaviour.no_done or sent in (behaviour.end_after, behaviour.error_event_after)
        tail = b"" if broken or not answer.done() else frame(answer.done())
        writer.write(tail + (b"" if behaviour.unframed else b"0\r\n\r\n"))
        await writer.drain()
        if behaviour.unframed:
            raise Gone("complete")

    @staticmethod
    async def stall(writer, behaviour):
        """Says nothing until the other side has gone. A transport that only reads notices that by its socket."""
        while not writer.transport.is_closing() and not (behaviour.half_close and gone(writer)):
            await asyncio.sleep(0.1)
        raise ConnectionResetError


class Control:
    """The listener the tests talk to."""

    def __init__(self, listeners):
        self.listeners = {listener.name: listener for listener in listeners}

    async def serve(self, reader, writer):
        try:
            while (request := await read_request(reader)) is not None:
                try:
                    status, value = await self.handle(*request)
                except (ValueError, TypeError) as error:
                    status, value = 400, {"error": str(error)}
                data = json.dumps(value).encode()
                writer.write(
                    head_of(status, [("Content-Type", "application/json"), ("Content-Length", len(data))]) + data
                )
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def handle(self, method, target, _headers, body):
        parts = urllib.parse.urlsplit(target).path.strip("/").split("/")
        listener = self.listeners.get(parts[0])
        what = (method, parts[1] if len(parts) == 2 else "")
        if listener is None:
            return 404, {"error": f"no listener {parts[0]!r}", "listeners": sorted(self.listeners)}
        if what == ("GET", "requests"):
            return 200, listener.records
        if what == ("DELETE", "requests"):
            listener.records.clear()
            return 200, {}
        if what == ("PUT", "gates"):
            listener.gates[json.loads(body)["open"]].set()
            return 200, {}
        if what == ("GET", "behaviour"):
            return 200, dataclasses.asdict(listener.behaviour)
        if what == ("PUT", "behaviour"):
            await listener.set_behaviour(json.loads(body or b"{}"))
            return 200, dataclasses.asdict(listener.behaviour)
        return 404, {"error": "no such address"}


async def run(listens, control_address):
    listeners = []
    for text in listens:
        name, _, address = text.partition("=")
        host, _, port = address.rpartition(":")
        listeners.append(Listener(name, host, int(port)))
    for listener in listeners:
        await listener.open()
    host, _, port = control_address.rpartition(":")
    control = await asyncio.start_server(Control(listeners).serve, host, int(port), limit=8 << 20)
    ports = {listener.name: listener.port for listener in listeners}
    ports["control"] = control.sockets[0].getsockname()[1]
    print("ready " + json.dumps(ports), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def main():
    parser = argparse.ArgumentParser(description="stand-in LLM providers")
    parser.add_argument("--listen", action="append", required=True, metavar="NAME=HOST:PORT")
    parser.add_argument("--control", required=True, metavar="HOST:PORT")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.listen, arguments.control))


if __name__ == "__main__":
    main()
