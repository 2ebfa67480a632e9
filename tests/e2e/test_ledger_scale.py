"""Old rows moved out of the ledger, offline and beside a running agent, and requests found by their id."""

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from ledger_fixture import Ledger, ctl
from machine import PATIENCE, build_folder, wait_for

ROWS = 4400


def count(file, sql="SELECT count(*) FROM request_row"):
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=PATIENCE)) as db:
        return db.execute(sql).fetchone()[0]


def ids(file):
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return {row[0] for row in db.execute("SELECT id FROM request_row")}


def figures(answer):
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def two_months(tmp_path_factory):
    """Requests of which every hundredth is corrected, and one of September that is still open."""
    book = Ledger(tmp_path_factory.mktemp("book") / "ledger.db")
    for number in range(ROWS):
        month = "2026-09" if number < ROWS // 2 else "2026-10"
        request = book.request(f"{month}-{number % 28 + 1:02}", team=f"t{number % 7}", user=f"u{number % 31}", cost=number)
        if number % 100 == 0:
            book.correct(request, f"{month}-29", 5)
    book.request("2026-09-29", state="open")
    return book.write().file


@pytest.fixture
def book(two_months, tmp_path):
    return Ledger(shutil.copy(two_months, tmp_path / "ledger.db"))


def test_rows_are_in_one_file_and_reports_stay(book, tmp_path):
    report = ("report", "--ledger", book.file, "--by", "team,month", "--from", "2026-09", "--to", "2026-10", "--json")
    before, everything = ctl(*report).stdout, ids(book.file)
    moved = figures(ctl("archive", "--before", "2026-10", "--to", tmp_path / "old.db", "--ledger", book.file, "--json"))
    assert moved == {"state": "done", "moved": ROWS // 2}
    old, left = ids(tmp_path / "old.db"), ids(book.file)
    assert not old & left and old | left == everything
    assert len(left) == ROWS // 2 + 1  # October, and what is open
    assert ctl(*report).stdout == before
    raw = "SELECT (SELECT sum(cost_nano) FROM request_row) + (SELECT sum(cost_nano) FROM correction_row)"
    rolled = book.query("SELECT sum(cost_nano) FROM quarters")[0][0]
    assert count(book.file, raw) + count(tmp_path / "old.db", raw) == rolled
    assert book.query("SELECT sum(cost_nano) FROM days") == [(rolled,)]


def test_killed_in_the_middle_and_run_again(book, tmp_path):
    everything, old = ids(book.file), tmp_path / "old.db"
    command = [build_folder() / "tollgatectl", "archive", "--before", "2026-11", "--to", old, "--ledger", book.file]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with contextlib.suppress(sqlite3.Error):
                if old.exists() and count(old) > 0:
                    break
        process.send_signal(signal.SIGKILL)
    assert ids(old) | ids(book.file) == everything
    ctl(*command[1:])
    assert not ids(old) & ids(book.file)
    assert ids(old) | ids(book.file) == everything
    assert len(ids(book.file)) == 1  # open


def test_before_has_to_be_a_month_that_has_begun(book, tmp_path):
    for before in ("2026-13", "2099-01", "2026-10-05"):
        done = ctl("archive", "--before", before, "--to", tmp_path / "old.db", "--ledger", book.file, check=2)
        assert "month that has begun" in done.stderr
    assert not (tmp_path / "old.db").exists()


def test_an_archive_that_cannot_be_made_says_why(book, tmp_path):
    done = ctl("archive", "--before", "2026-10", "--to", tmp_path / "none" / "old.db", "--ledger", book.file, check=1)
    assert "none" in done.stderr
    assert count(book.file) == ROWS + 1


def test_a_request_is_found_by_its_id(book):
    name = book.query("SELECT request_id FROM request_row WHERE id = 40")[0][0]
    row = figures(ctl("request", name, "--day", "2026-09", "--ledger", book.file, "--json"))["rows"][0]
    assert (row["id"], row["cost_nano"], row["state"]) == (40, 39, "settled")
    assert "no request" in ctl("request", name, "--day", "2026-10", "--ledger", book.file, check=1).stderr
    plan = book.query(
        "EXPLAIN QUERY PLAN SELECT id FROM request WHERE started_us >= 1 AND started_us < 2 AND request_id = 'x'"
    )
    assert any("request_started" in step[3] for step in plan)


def test_the_agent_archives_while_traffic_runs(stack, tmp_path):
    token = stack.person("archiving", team="archiving")
    body = {"model": "solo", "messages": [{"role": "user", "content": "hello [[completion_tokens=7]]"}], "max_tokens": 50}
    settled = "SELECT count(*) FROM request WHERE team = 'archiving' AND state = 'settled'"
    assert stack.post(token, body)[0] == 200
    wait_for(lambda: count(stack.ledger_file, settled) == 1, "the settlement")
    wait_for(lambda: count(stack.ledger_file, "SELECT count(*) FROM attempt_row") == 1, "its attempt, the last that is written of it")
    with contextlib.closing(sqlite3.connect(stack.ledger_file, timeout=PATIENCE)) as db, db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(request_row)") if row[1] not in ("id", "started_us")]
        names = ", ".join(columns)
        db.execute(
            f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
            f" INSERT INTO request_row (id, started_us, {names})"
            f" SELECT 1000000000 + i, 1577836800000000 + i, {names} FROM n, (SELECT * FROM request_row WHERE state = 1 ORDER BY id DESC LIMIT 1)"
        )
    started = ctl("archive", "--before", "2020-02", "--to", tmp_path / "old.db", "--config", stack.config)
    assert "started" in started.stdout
    answered = 0
    end = time.monotonic() + 3 * PATIENCE
    while time.monotonic() < end:
        answered += stack.post(token, body)[0] == 200
        status = figures(ctl("archive", "--status", "--config", stack.config, "--json"))
        if status["state"] != "running":
            break
    assert (status["state"], status["moved"], status["error"]) == ("done", 20000, "")
    assert answered > 0
    assert count(tmp_path / "old.db") == 20000
    old = "SELECT count(*) FROM request_row WHERE started_us < 1580515200000000"
    assert count(stack.ledger_file, old) == 0
    wait_for(lambda: count(stack.ledger_file, settled) == answered + 1, "the settlements of what was answered meanwhile")
