"""Files of older versions: an archive is read again after `tollgatectl archive --upgrade`, with the same sums."""

import json
import sqlite3
from pathlib import Path

import pytest
from ledger_fixture import ctl, us

MIGRATIONS = sorted((Path(__file__).resolve().parents[2] / "sql/migrations").glob("*.sql"))
APPLICATION_ID = 0x746F6C6C
AT = us("2026-10-05T10:00")

# One settled request as schema 1 has it, with its roll-ups.
ROWS = f"""
INSERT INTO account VALUES (1, 'acme', 'search', 'bot', 'cc-1');
INSERT INTO who VALUES (1, 'acme', 'search', 'ann', 'bot', 'cc-1', 'ann', 'https://issuer', 1);
INSERT INTO target VALUES (1, 'openai', 'openai', 'gpt-4o');
INSERT INTO request_row (id, request_id, started_us, who, state, endpoint, stream, alias, plan, hold_nano, http_status, settled_us, known_by,
                         outcome, served, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio,
                         output_audio, cost_nano, attempts, fallback)
VALUES (7, 'seven', {AT}, 1, 1, 0, 0, 'chat', 1, 9000, 200, {AT}, 1, 'ok', 1, 100, 50, 0, 0, 20, 5, 0, 0, 1234, 1, 0);
INSERT INTO rollup_row VALUES ({AT // 900_000_000 * 900}, 1, 1, 1, 0, 0, 100, 50, 0, 0, 20, 5, 0, 0, 1234, 0);
INSERT INTO rollup_day_row VALUES ({AT // 86_400_000_000 * 86400}, 1, 1, 1, 0, 0, 100, 50, 0, 0, 20, 5, 0, 0, 1234, 0);
UPDATE ledger_note SET value = 7 WHERE name = 'last_id';
CREATE VIEW request AS SELECT r.id, t.model FROM request_row AS r LEFT JOIN target AS t ON t.id = r.served; -- of some older version
"""


def old_file(path, schema):
    db = sqlite3.connect(path)
    db.executescript(MIGRATIONS[0].read_text())
    db.executescript(ROWS)
    for migration in MIGRATIONS[1:schema]:
        db.executescript(migration.read_text())
    db.executescript(f"PRAGMA user_version = {schema}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA journal_mode = WAL")
    db.close()
    return path


@pytest.mark.parametrize("schema", range(1, len(MIGRATIONS)))
def test_an_archive_of_an_older_version_is_upgraded(tmp_path, schema):
    file = old_file(tmp_path / "2026-09.db", schema)
    report = ("report", "--ledger", file, "--from", "2026-10", "--to", "2026-10", "--by", "model,provider_key", "--json")
    refused = ctl(*report, check=1)
    assert "archive --upgrade" in refused.stderr and f"schema {schema}" in refused.stderr
    assert "up to date" in ctl("archive", "--upgrade", file).stdout
    row = json.loads(ctl(*report).stdout)["rows"][0]
    assert (row["model"], row["provider_key"], row["input_tokens"], row["output_tokens"], row["cost_nano"]) == ("gpt-4o", "", 150, 25, 1234)
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    assert db.execute("SELECT * FROM rollup_mismatch").fetchall() == []
    assert db.execute("SELECT request_id, model, provider_key, cost_nano FROM request").fetchall() == [("seven", "gpt-4o", "", 1234)]
    db.close()
    ctl("archive", "--upgrade", file)  # again: nothing to do


def test_what_is_no_archive_is_left_alone(tmp_path):
    assert "none.db" in ctl("archive", "--upgrade", tmp_path / "none.db", check=1).stderr
    assert not (tmp_path / "none.db").exists()
    other = tmp_path / "other.db"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE t (a)")
    db.commit()
    db.close()
    before = other.read_bytes()
    assert "another program" in ctl("archive", "--upgrade", other, check=1).stderr
    assert other.read_bytes() == before
    ctl("archive", "--upgrade", other, "--status", check=2)
