"""The ledger's file cannot be written for a while: full disk, somebody else's lock; or somebody reads it for a long time. New requests
are refused, what runs is settled, and nobody has to help the agent up again."""

import contextlib
import json
import os
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

import ledger
from machine import PATIENCE, free_ports, wait_for
from stack import PRICES
from test_gate_crash import Load

IN, OUT = PRICES["openai", "gpt-4o-mini"]
USED = "prompt_tokens=9 completion_tokens=5"
COST = 9 * IN + 5 * OUT


def body(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


@pytest.fixture
def small_disk():
    """A file system of 2 MiB."""
    folder = Path(tempfile.mkdtemp(prefix="tg-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"a small file system needs root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


def fill(folder):
    with open(folder / "filler", "ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass


class Running:
    """Requests that a provider is busy with until the gate is opened."""

    def __init__(self, stack, sub, count, gate):
        self.answers = []
        ask = body(f"{sub}. [[{USED} {gate}]]")
        token = stack.person(sub)
        self.threads = [
            threading.Thread(target=lambda: self.answers.append(stack.post(token, ask)[0])) for _ in range(count)
        ]
        for thread in self.threads:
            thread.start()
        wait_for(lambda: len(stack.received("alpha", sub + ".")) == count, "the requests to reach the provider")

    def join(self):
        for thread in self.threads:
            thread.join(PATIENCE)
        return self.answers


def refused_by_ledger(stack, token, sub):
    status, headers, answer = stack.post(token, body(sub + ". small"))
    if status == 200:
        return False
    error = json.loads(answer)["error"]
    assert (status, error["code"], error["type"]) == (503, "ledger_unavailable", "server_error"), answer
    assert headers["retry-after"] == "1"
    return True


def test_a_full_disk(make_stack, small_disk, settled_in):
    stack = make_stack()
    assert stack.agent.stop() == 0
    stack.ledger_folder = small_disk
    stack.write_configuration()
    stack.restart_agent()
    token = stack.person("new")

    def full():
        fill(small_disk)
        return refused_by_ledger(stack, token, "new")

    with stack.gate() as gate:
        running = Running(stack, "running", 5, gate)
        wait_for(full, "the disk to be too small")
        sent = len(stack.received("alpha", "new."))
        for _ in range(20):
            fill(small_disk)
            assert refused_by_ledger(stack, token, "new")
        assert len(stack.received("alpha", "new.")) == sent, "what the ledger refused must not reach a provider"
        assert "ledger_failing" in stack.agent.text()
    assert running.join() == [200] * 5, "what was allowed before goes on"
    assert any(ledger.is_open(row) for row in ledger.requests(stack, "running"))
    (small_disk / "filler").unlink()
    rows = settled_in(stack, "running", 5)
    assert [(row["known_by"], row["cost"]) for row in rows] == [("reported", COST)] * 5
    wait_for(lambda: stack.post(token, body("new. again"))[0] == 200, "requests to be allowed again")
    wait_for(lambda: "ledger_recovered" in stack.agent.text(), "the log to tell of it")
    assert stack.agent.alive()
    assert stack.query("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert {row["status"] for row in ledger.requests(stack, "new")} <= {200, 0, None}
    assert stack.agent.stop() == 0


@pytest.fixture
def settled_in():
    def wait(stack, sub, count):
        def rows():
            found = ledger.requests(stack, sub)
            return found if len(found) >= count and not any(ledger.is_open(row) for row in found) else None

        found = wait_for(rows, f"{count} settled rows")
        assert len(found) == count
        return found

    return wait


def test_somebody_locks_the_file(stack, sub, settled_in):
    token = stack.person(sub + "-new")
    with stack.gate() as gate:
        running = Running(stack, sub, 3, gate)
        with contextlib.closing(sqlite3.connect(stack.ledger_file, isolation_level=None, timeout=PATIENCE)) as other:
            other.execute("BEGIN IMMEDIATE")
            wait_for(lambda: refused_by_ledger(stack, token, sub), "a refusal")
            gate.open()
            assert running.join() == [200] * 3
            assert refused_by_ledger(stack, token, sub)
            assert all(ledger.is_open(row) for row in ledger.requests(stack, sub))
            other.execute("ROLLBACK")
    rows = settled_in(stack, sub, 3)
    assert [(row["known_by"], row["cost"]) for row in rows] == [("reported", COST)] * 3
    wait_for(lambda: stack.post(token, body(sub + ". again"))[0] == 200, "requests to be allowed again")
    wait_for(lambda: "ledger_recovered" in stack.agent.text(), "the log to tell of it")
    assert "ledger_failing" in stack.agent.text()


def test_somebody_reads_for_long(stack, sub):
    with contextlib.closing(sqlite3.connect(stack.ledger_file, isolation_level=None, timeout=PATIENCE)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM request").fetchone()
        load = Load(stack, sub)
        try:
            wait_for(lambda: load.served() >= 300, "load to flow")
        finally:
            load.stop()
        assert {status for statuses in load.statuses.values() for status in statuses} == {200}
        assert reader.execute("SELECT count(*) FROM request").fetchone() == before
        reader.execute("COMMIT")

    def all_settled():
        rows = [row for name in load.subjects for row in ledger.requests(stack, name)]
        return len(rows) == load.served() and not any(ledger.is_open(row) for row in rows)

    wait_for(all_settled, "every request to be settled")


def test_a_second_agent_keeps_off(stack, sub):
    """Same configuration, then other sockets and the same ledger: the first must not notice."""
    token = stack.person(sub)
    first = stack.run_tool("run", "--config", stack.config, check=False)
    other = stack.folder / "other.yaml"
    text = stack.config.read_text()
    for name in ("spop.sock", "settle.sock", "admin.sock"):
        text = text.replace(name, "other-" + name)
    for port, free in zip((stack.ports["spop"], stack.ports["ring"]), free_ports(2)):
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
    other.write_text(text)
    second = stack.run_tool("run", "--config", other, check=False)
    for done in (first, second):
        assert done.returncode == 1
        assert "cannot_start" in done.stderr and str(stack.ledger_file) in done.stderr and "use" in done.stderr
    assert all(os.path.exists(stack.sockets / name) for name in ("spop.sock", "settle.sock", "admin.sock"))
    assert stack.post(token, body(sub))[0] == 200
    wait_for(lambda: [row for row in ledger.requests(stack, sub) if not ledger.is_open(row)], "the settlement")
