"""A policy agent reduced to its wire side: speaks SPOP 2.0 and answers every request with the variables a test chose."""
import asyncio
import struct
import time


def varint(n):
    if n < 240:
        return bytes([n])
    out = bytearray([(n & 0xFF) | 240])
    n = (n - 240) >> 4
    while n >= 128:
        out.append((n & 0xFF) | 128)
        n = (n - 128) >> 7
    out.append(n)
    return bytes(out)


def read_varint(b, i):
    n = b[i]
    i += 1
    if n < 240:
        return n, i
    shift = 4
    while True:
        c = b[i]
        i += 1
        n += c << shift
        shift += 7
        if c < 128:
            return n, i


def read_string(b, i):
    n, i = read_varint(b, i)
    return b[i:i + n], i + n


def read_typed(b, i):
    kind, flags = b[i] & 15, b[i] >> 4
    i += 1
    if kind == 0:
        return None, i
    if kind == 1:
        return bool(flags & 1), i
    if kind in (2, 3, 4, 5):
        n, i = read_varint(b, i)
        return (n - (1 << 64) if n >> 63 else n), i
    if kind == 6:
        return ".".join(map(str, b[i:i + 4])), i + 4
    if kind == 7:
        return b[i:i + 16].hex(), i + 16
    s, i = read_string(b, i)
    return (s.decode("latin-1") if kind == 8 else bytes(s)), i


def typed(v):
    if v is None:
        return b"\x00"
    if isinstance(v, bool):
        return b"\x11" if v else b"\x01"
    if isinstance(v, int):
        return b"\x04" + varint(v & (1 << 64) - 1)
    v = v.encode("latin-1")
    return b"\x08" + varint(len(v)) + v


def string(s):
    s = s.encode()
    return varint(len(s)) + s


def frame(kind, stream, number, payload):
    body = struct.pack(">BI", kind, 1) + varint(stream) + varint(number) + payload
    return struct.pack(">I", len(body)) + body


class StubAgent:
    """decide(args) returns the variables (a dict) or None: then no answer is given at all."""

    def __init__(self):
        self.decide = lambda args: {"ok": True}
        self.seen = []
        self.paused, self.over = [], set()  # (id, ms) of each pause; ids of requests that are over
        self.hold = None  # an event: pauses last until it is set, whatever was asked for
        self.server = None
        self.writers = set()

    async def start(self, port):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def stop(self):
        self.server.close()
        for w in list(self.writers):
            w.close()

    async def _serve(self, reader, writer):
        self.writers.add(writer)
        try:
            while True:
                n = struct.unpack(">I", await reader.readexactly(4))[0]
                b = await reader.readexactly(n)
                kind = b[0]
                stream, i = read_varint(b, 5)
                number, i = read_varint(b, i)
                if kind == 1:
                    settings = {}
                    while i < len(b):
                        k, i = read_string(b, i)
                        settings[k.decode()], i = read_typed(b, i)
                    writer.write(frame(101, 0, 0, string("version") + typed("2.0") + string("max-frame-size") +
                                       typed(settings["max-frame-size"]) + string("capabilities") + typed("pipelining")))
                    if settings.get("healthcheck"):
                        await writer.drain()
                        return
                elif kind == 2:
                    return
                elif kind == 3:
                    writer.write(self._answer(b, i, stream, number, writer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _pause(self, args, stream, number, writer):
        end = time.monotonic() + args["ms"] / 1000
        hold = self.hold
        while (not hold.is_set() if hold else time.monotonic() < end) and args["id"] not in self.over:
            await asyncio.sleep(0.005)
        word = "over" if args["id"] in self.over else "done"
        writer.write(frame(103, stream, number, b"\x01\x03\x02" + string(word) + typed(True)))

    def _answer(self, b, i, stream, number, writer):
        name, i = read_string(b, i)
        count = b[i]
        i += 1
        args = {}
        for _ in range(count):
            k, i = read_string(b, i)
            args[k.decode()], i = read_typed(b, i)
        if name == b"llm-pause":
            self.paused.append((args["id"], args["ms"]))
            asyncio.get_running_loop().create_task(self._pause(args, stream, number, writer))
            return b""
        self.seen.append(args)
        variables = self.decide(args)
        if variables is None:
            return b""
        out = b"".join(b"\x01\x03\x02" + string(k) + typed(v) for k, v in variables.items())
        return frame(103, stream, number, out)
