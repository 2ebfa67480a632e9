"""What tests take from the machine: time to wait, ports, a quiet time zone, child processes. Python's standard library only."""

import calendar
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PATIENCE = int(os.environ.get("TOLLGATE_PATIENCE", "60"))  # seconds until a wait gives up: far beyond any sane duration


def build_folder():
    return Path(os.environ.get("TOLLGATE_BUILD", ROOT / "build"))


def quiet_zone():
    """A time zone where it is about noon: whatever begins and ends with a day, a month or a year there does so half a day from now."""
    hours = 12 - time.gmtime().tm_hour
    return "UTC" if hours == 0 else f"Etc/GMT{-hours:+d}"  # their signs are the wrong way round


QUIET_ZONE = quiet_zone()


def away_from_month_end(seconds=180):
    """Waits for the next UTC month where that is closer than this: for what is counted by UTC months and cannot be told another zone."""

    def months_end():
        now = time.gmtime()
        ends = calendar.timegm((now.tm_year, now.tm_mon + 1, 1, 0, 0, 0)) if now.tm_mon < 12 else calendar.timegm((now.tm_year + 1, 1, 1, 0, 0, 0))
        return ends - time.time()

    if (left := months_end()) < seconds:
        time.sleep(left + 1)


class Ports:
    """A part of the machine's ports that no other process of a test run, of this tree or of another, draws from. Below the range that
    outgoing connections are given theirs from, so that none of them is taken by one before its listener comes, or comes back."""

    PARTS, FIRST = 128, 10240  # a machine of 64 cores has 65 workers

    def __init__(self):
        self.pid = os.getpid()
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        end = low if low - self.FIRST >= 64 * self.PARTS else 32768
        size = (end - self.FIRST) // self.PARTS
        for part in random.sample(range(self.PARTS), self.PARTS):
            # A name without a file, gone with its process however that ends, and known in the network namespace as ports are.
            self.claim = socket.socket(socket.AF_UNIX)
            try:
                self.claim.bind(f"\0tollgate-test-ports-{part}")
                break
            except OSError:
                self.claim.close()
        else:
            raise RuntimeError(f"{self.PARTS} processes of tests are running on this machine already")
        first = self.FIRST + part * size
        self.turn = itertools.cycle(random.sample(range(first, first + size), size))
        self.size = size

    def free(self, count):
        with contextlib.ExitStack() as held:
            found = []
            for port in itertools.islice(self.turn, 2 * self.size):
                if len(found) == count:
                    return found
                one = held.enter_context(socket.socket())
                with contextlib.suppress(OSError):
                    one.bind(("127.0.0.1", port))
                    found.append(port)
        raise RuntimeError(f"no {count} free ports among {self.size}")


ports = None


def free_ports(count):
    """Ports nobody listens on now; all taken at once so that they differ. One given out comes up again only after all others of the
    process's part."""
    global ports
    if ports is None or ports.pid != os.getpid():
        ports = Ports()
    return ports.free(count)


def wait_for(condition, what, patience=PATIENCE):
    """The condition's first true value."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {patience} s")
        time.sleep(0.02)


def call(method, url, value=None, headers=None):
    """One JSON exchange with a control interface; raises on anything but 200."""
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read() or b"null")


class Process:
    """A child with its output in a file. Detached ones outlive us."""

    def __init__(self, name, folder, argv, env=None, detached=False, unlimited_core=False):
        self.name, self.argv, self.env = name, [str(a) for a in argv], env
        self.log = folder / f"{name}.log"
        self.folder, self.detached, self.unlimited_core = folder, detached, unlimited_core
        self.popen, self.log_start = None, 0

    def start(self):
        def before_exec():
            if self.unlimited_core:
                import resource

                resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        with open(self.log, "ab") as log:
            self.log_start = log.tell()
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **(self.env or {})},
                start_new_session=self.detached,
                preexec_fn=before_exec if self.unlimited_core else None,
            )

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def text(self):
        """All it has said, in this start and those before."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, size=4000):
        return self.text()[-size:]

    def wait_ready_line(self):
        """The JSON after `ready` on the output of this start: the log keeps those of earlier ones."""

        def look():
            if not self.alive():
                raise RuntimeError(f"{self.name} ended with {self.popen.returncode}:\n{self.tail()}")
            text = self.log.read_bytes()[self.log_start :].decode(errors="replace")
            lines = [line for line in text.splitlines(keepends=True) if line.startswith("ready {") and line.endswith("\n")]
            return lines and json.loads(lines[-1][6:])

        return wait_for(look, f"{self.name} to be ready")

    def stop(self, number=signal.SIGTERM):
        """Its exit status; 0 when it was not running. A process that ignores the signal is killed and reported."""
        if not self.alive():
            return 0
        self.popen.send_signal(number)
        try:
            return self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"{self.name} did not end on signal {number}:\n{self.tail()}") from None
