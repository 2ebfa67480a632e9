"""Stand-in providers: a raw HTTP/1.1 server that records exactly what it was sent and answers by a script.

A script is an async function (request, writer); returning closes nothing unless it closes the writer itself."""
import asyncio
import json


class Request:
    def __init__(self, line, headers, body):
        self.method, self.target, _ = line.split(" ", 2)
        self.headers = headers  # list of (lower-case name, value)
        self.body = body

    def header(self, name):
        values = [v for k, v in self.headers if k == name]
        return values[0] if values else None


async def read_request(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = [(l.split(":", 1)[0].lower(), l.split(":", 1)[1].strip()) for l in head[1:] if l]
    names = dict(headers)
    body = b""
    if names.get("transfer-encoding", "").lower() == "chunked":
        while True:
            n = int((await reader.readline()).split(b";")[0], 16)
            data = await reader.readexactly(n + 2)
            if n == 0:
                break
            body += data[:-2]
    elif "content-length" in names:
        body = await reader.readexactly(int(names["content-length"]))
    return Request(head[0], headers, body)


def response(status, body, ctype="application/json", extra=()):
    body = body if isinstance(body, bytes) else body.encode()
    lines = [f"HTTP/1.1 {status} X", f"content-type: {ctype}", f"content-length: {len(body)}", *extra]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}}


def completion(model="gpt-4o-2024", usage=True):
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "a \"usage\": {\"prompt_tokens\": 999} b"}}]}
    if usage:
        body["usage"] = USAGE
    return json.dumps(body)


def answer(status=200, body=None, extra=(), delay=0.0):
    async def script(request, writer):
        await asyncio.sleep(delay)
        writer.write(response(status, completion() if body is None else body, extra=extra))
        await writer.drain()
    return script


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\nx-request-id: prov-1\r\n\r\n"


def stream(pieces, gap=0.0):
    """pieces: byte strings, each sent as one chunk in one write."""
    async def script(request, writer):
        writer.write(SSE_HEAD)
        for p in pieces:
            writer.write(chunk(p))
            await writer.drain()
            await asyncio.sleep(gap)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    return script


async def until(event):
    """Waits in the event loop for what another thread does."""
    while not event.is_set():
        await asyncio.sleep(0.01)


def cut(data, seen):
    """Breaks off after these bytes once the client has seen them (a threading.Event): a reset takes back what HAProxy has not read yet, and what
    it reads together with an end is passed on, but not always shown to the tap."""
    async def script(request, writer):
        writer.write(data)
        await writer.drain()
        await until(seen)
        writer.transport.abort()
    return script


def silence(data=b""):
    """Nothing more after these bytes, until the other side has gone."""
    async def script(request, writer):
        writer.write(data)
        await writer.drain()
        await request.reader.read()
        raise ConnectionError
    return script


def drop():
    async def script(request, writer):
        writer.transport.abort()
    return script


def raw(data):
    async def script(request, writer):
        writer.write(data)
        await writer.drain()
        writer.close()
    return script


class StubProvider:
    def __init__(self):
        self.script = answer()
        self.requests = []
        self.closed_by_peer = 0
        self.server = None
        self.writers = set()

    async def start(self, port, ssl=None):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=ssl, limit=1 << 24)

    async def stop(self):
        self.server.close()
        for w in list(self.writers):
            w.close()

    async def _serve(self, reader, writer):
        self.writers.add(writer)
        try:
            while True:
                request = await read_request(reader)
                request.reader = reader
                self.requests.append(request)
                await self.script(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            self.closed_by_peer += 1
        finally:
            self.writers.discard(writer)
            writer.close()
