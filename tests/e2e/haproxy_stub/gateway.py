"""Runs a real HAProxy with generated files between stub providers and a stub agent, all on free ports of 127.0.0.1."""
import asyncio
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import msgpack

from machine import PATIENCE, free_ports

from .provider import StubProvider
from .spop import StubAgent

ROOT = pathlib.Path(__file__).resolve().parents[3]
HAPROXY = os.environ.get("TOLLGATE_HAPROXY", "haproxy")


def free_port():
    return free_ports(1)[0]


def wait_for(condition, seconds=PATIENCE, what="condition"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds} s")


def build_write_plan(folder):
    """The generator as a program of its own, built from the tree's sources."""
    folder = pathlib.Path(folder)
    files = folder / "files.c"
    with files.open("w") as out:
        out.write('#include "route/haproxy_files.h"\n')
        for name, path in (("haproxy_file_spoe", "haproxy/tollgate-spoe.conf"), ("haproxy_file_lua", "haproxy/lua/tollgate.lua")):
            data = (ROOT / path).read_bytes()
            out.write(f"const unsigned char {name}[] = {{{','.join(map(str, data))}}};\nconst size_t {name}_size = {len(data)};\n")
    program = folder / "write_plan"
    sources = [*sorted((ROOT / "agent/route").glob("haproxy_*.c")), *(ROOT / f"agent/base/{name}.c" for name in ("arena", "file_read", "private"))] + [ROOT / "tests/e2e/haproxy_stub/write_plan.c", files]
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-g", "-I", ROOT / "agent", *sources, "-o", program, "-lcjson", "-lcrypto", "-pthread"], check=True)
    return program


class Loop:
    """An event loop in a thread of its own, for everything HAProxy talks to."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def close(self):
        async def cancel():
            for t in asyncio.all_tasks():
                if t is not asyncio.current_task():
                    t.cancel()
        self.run(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


class SettleReceiver:
    """Takes settlement records and acknowledges each with '+'. mute: takes them without a word. deaf_next: does so on the connection that brings the next.

    HAProxy sends again what it saw no acknowledgement of in time, and on a busy machine that can be any record: `records` holds the first copy of
    each, `taken` (connection, id) for every copy."""

    def __init__(self, path):
        self.path, self.records, self.server, self.mute, self.writers = str(path), [], None, False, set()
        self.close_after, self.ignored, self.taken, self.swallowed, self.connections = None, set(), [], 0, 0
        self.contradictions, self.deaf_next = [], False

    async def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self):
        self.server.close()
        os.unlink(self.path)
        for w in list(self.writers):
            w.transport.abort()

    def of(self, id):
        return next((r for r in self.records if r["id"] == id), None)

    def forget(self):
        self.records, self.taken, self.swallowed = [], [], 0

    async def _serve(self, reader, writer):
        self.writers.add(writer)
        self.connections += 1
        connection, deaf = self.connections, False
        unpacker = msgpack.Unpacker(raw=False, max_buffer_size=1 << 28)
        try:
            while data := await reader.read(1 << 20):
                unpacker.feed(data)
                for record in unpacker:
                    if self.deaf_next:
                        deaf, self.deaf_next = True, False
                    if self.mute or deaf:
                        self.swallowed += 1
                        continue
                    writer.write(b"+")
                    if record["id"] in self.ignored:
                        continue
                    self.taken.append((connection, record["id"]))
                    earlier = self.of(record["id"])
                    if earlier is None:
                        self.records.append(record)
                    elif earlier != record:
                        self.contradictions.append((earlier, record))
                    if self.close_after and len(self.taken) % self.close_after == 0:
                        await writer.drain()
                        writer.transport.abort()
                        return
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.writers.discard(writer)
            writer.close()


class RingReceiver:
    """Log lines: octet-counted, or ended by a newline where HAProxy needs that (3.0 on a unix socket)."""

    def __init__(self):
        self.lines, self.raw, self.server, self.ignored = [], [], None, set()

    async def start(self, port):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def _serve(self, reader, writer):
        try:
            while True:
                first = await reader.readexactly(1)
                if first == b"{":
                    line = (first + await reader.readuntil(b"\n")).decode().rstrip("\n")
                else:
                    n = int(first + await reader.readuntil(b" "))
                    line = (await reader.readexactly(n)).decode()
                parsed = json.loads(line)
                if parsed["id"] not in self.ignored:
                    self.raw.append(line)
                    self.lines.append(parsed)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def make_patient(folder):
    """A provider's TLS handshake has 4 s as generated: longer here than any pause of a busy machine."""
    file = folder / "tollgate.cfg"
    text = file.read_text()
    assert text.count("    timeout connect 4s\n") == 1
    file.write_text(text.replace("    timeout connect 4s\n", "    timeout connect 60s\n"))


class Gateway:
    """decision: how long HAProxy waits for the agent, ms. tls: SSL contexts of providers, by name. A provider named `off` is never there."""

    def __init__(self, write_plan, groups=("a", "b"), plan=None, group_plan=None, lua=True, before=None, threads=2, decision=30000, tls=None):
        self.tls = tls or {}
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tg-hap-"))
        self.loop = Loop()
        ports = free_ports(4 + len(groups))  # all at once, so that they differ
        self.port, self.h2_port, self.spop_port, self.ring_port = ports[:4]
        self.ports = dict(zip(groups, ports[4:]))
        self.agent, self.ring = StubAgent(), RingReceiver()
        self.settle = SettleReceiver(self.dir / "settle.sock")
        self.providers = {name: StubProvider() for name in groups}
        lines = [f"bind 127.0.0.1:{self.port}", f"bind_h2 127.0.0.1:{self.h2_port}", f"conf_dir {self.dir}", f"run_dir {self.dir}",
                 f"spop_address 127.0.0.1:{self.spop_port}", f"ring_address 127.0.0.1:{self.ring_port}",
                 f"settle_socket {self.settle.path}", f"lua {int(lua)}", f"decision_ms {decision}"]
        lines += [f"{k} {v}" for k, v in (plan or {}).items()]
        for name in groups:
            keys = {"url": f"http://127.0.0.1:{self.ports[name]}/v1", **(group_plan or {}).get(name, {})}
            lines.append(f"group {name}")
            lines += [f"{k} {v}".format(port=self.ports[name]) for k, v in keys.items()]
        made = subprocess.run([write_plan, self.dir], input="\n".join(lines) + "\n", text=True, capture_output=True)
        assert made.returncode == 0, made.stderr
        make_patient(self.dir)
        self.base = self.dir / "base.cfg"
        self.base.write_text(before or f"global\n    nbthread {threads}\n    stats socket {self.dir}/admin.sock mode 600 level admin\n")
        self.process = None
        self.lua_errors_expected = False

    def __enter__(self):
        self.loop.run(self.agent.start(self.spop_port))
        self.loop.run(self.ring.start(self.ring_port))
        self.loop.run(self.settle.start())
        for name, p in self.providers.items():
            if name != "off":
                self.loop.run(p.start(self.ports[name], self.tls.get(name)))
        self.log = open(self.dir / "haproxy.log", "w")
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", self.base, "-f", self.dir / "tollgate.cfg"],
                                        stdout=self.log, stderr=subprocess.STDOUT)
        wait_for(lambda: self._answers() or self.process.poll() is not None, what="HAProxy listening")
        assert self.process.poll() is None, (self.dir / "haproxy.log").read_text()
        return self

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
            return True
        except OSError:
            return False

    def __exit__(self, *error):
        self.process.terminate()
        try:
            self.process.wait(3)  # streams that still run are not waited for
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.loop.close()
        log = (self.dir / "haproxy.log").read_text()
        if error[0] is not None:
            print(log)
        shutil.rmtree(self.dir)
        assert self.lua_errors_expected or "runtime error" not in log, log
        assert not self.settle.contradictions, "two records of one request"

    def allow(self, pri="a", **more):
        """The agent allows every request with these variables."""
        self.agent.decide = lambda args: {"ok": True, "pri": pri, "pkey": f"Bearer key-{pri}", "pmodel": f"model-{pri}",
                                          **{k: v for k, v in more.items() if v is not None}}

    def allow_with_fallback(self, **more):
        self.allow(fb="b", fkey="Bearer key-b", fmodel="model-b", **more)

    def request(self, body=b"{}", path="/v1/chat/completions", method="POST", headers=None, chunked=False, timeout=PATIENCE * 2):
        """Returns (status, headers as a dict of lower-case names, body)."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        h = {"content-type": "application/json", **(headers or {})}
        c.request(method, path, iter([body[i:i + 7000] for i in range(0, len(body), 7000)]) if chunked else body, h,
                  encode_chunked=chunked)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, {k.lower(): ", ".join(r.headers.get_all(k)) for k in r.headers}, data

    def record(self, n=1):
        """The settlement record of the n-th of a test's requests, waited for."""
        wait_for(lambda: len(self.settle.records) >= n, what=f"settlement record {n}")
        return self.settle.records[n - 1]

    def record_of(self, headers):
        """The settlement record of the request that was answered with these headers."""
        id = headers["x-tollgate-request-id"]
        return wait_for(lambda: self.settle.of(id), what="the settlement record")

    def lines(self, kind, headers, count=1):
        """The log lines of that kind (1: request, 2: attempt) of that request, by attempt: those of two threads come in any order."""
        id = headers["x-tollgate-request-id"]

        def found():
            own = [l for l in list(self.ring.lines) if l["t"] == kind and l["id"] == id]
            return len(own) >= count and sorted(own, key=lambda l: int(l["att"]) if l["att"] not in ("", "-") else 0)
        return wait_for(found, what=f"{count} log lines t={kind}")

    def line(self, kind, headers):
        """The log line of that kind (1: request, 2: the last attempt) of the request that was answered with these headers."""
        id = headers["x-tollgate-request-id"]
        return wait_for(lambda: [l for l in self.ring.lines if l["t"] == kind and l["id"] == id], what=f"log line t={kind}")[-1]
