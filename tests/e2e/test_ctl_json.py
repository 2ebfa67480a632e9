"""Every command of tollgatectl with --json, read by a strict parser; and what each says when it is used wrongly, finds no agent, or may not ask."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from machine import PATIENCE, build_folder, wait_for

CTL = build_folder() / "tollgatectl"
COMMANDS = re.findall(r"^  (\S+) ", subprocess.run([CTL, "help"], capture_output=True, text=True).stdout, re.M)
NO_JSON = {"completion", "man"}  # they print for a shell and for man
QUOTED = 'x"\\ m\xfcller'  # where control characters are refused
HOSTILE = 'x"\\\n\x1b[2J\u009bm\xfcller'


def run(*words, uid=None):
    return subprocess.run([CTL, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE, user=uid, stdin=subprocess.DEVNULL)


def strict(text):
    """All values in the text, one a line; no name twice, no NaN, nothing beside them."""

    def once(pairs):
        assert len({k for k, _ in pairs}) == len(pairs), pairs
        return dict(pairs)

    assert text.endswith("\n")
    return [json.loads(line, object_pairs_hook=once, parse_constant=lambda c: pytest.fail(c)) for line in text.splitlines()]


@pytest.fixture(scope="module")
def place(stack):
    """What the commands are about: files, a request's id, a token; a request whose names are hostile is in the ledger."""
    # Not one of pytest's folders, which another run on this machine closes to others than their owner.
    with tempfile.TemporaryDirectory(prefix="tg-ctl-") as folder:
        yield found(stack, Path(folder))


def found(stack, folder):
    token = stack.person("json-ann", team=HOSTILE)
    _, headers, _ = stack.post(token, {"model": "solo", "messages": [{"role": "user", "content": "hello"}]})
    stack.post(token, {"model": HOSTILE, "messages": []})
    (folder / "token").write_text(token)
    (folder / "body").write_text('{"model": "solo", "messages": [{"role": "user", "content": "hello"}]}')
    (folder / "invoice.csv").write_text("date,model,input_tokens,output_tokens,cost\n2026-11-01,gpt-4o-mini,1,1,0.01\n")
    (folder / "texts").write_bytes(b"hello\0")
    wait_for(lambda: stack.query("SELECT 1 FROM request WHERE subject = 'json-ann' AND state = 'settled'"), "the request to be settled")
    doctor = ("doctor", stack.folder / "haproxy/tollgate.cfg", "--offline", "--config", stack.config)
    wait_for(lambda: run(*doctor).returncode < 2, "HAProxy's log to be connected")
    return {
        "socket": ("--socket", stack.admin_socket), "config": ("--config", stack.config), "ledger": ("--ledger", stack.ledger_file),
        "request": headers["x-tollgate-request-id"], "folder": folder, "table": stack.tollgate.parents[1] / "agent/price/data/model-prices.json",
        "files": stack.folder / "haproxy/tollgate.cfg",
    }  # fmt: skip


def cases(p):
    """(words, exit status): each form of each command."""
    agent, config, ledger, folder = p["socket"], p["config"], p["ledger"], p["folder"]
    yield from (((name, *agent), 0) for name in ("status", "budget", "tokens", "ping", "reload"))
    yield ("top", "--once", *agent), 0
    yield ("top", "--count", "2", "-n", "0.1", "--by", "user", *agent), 0
    yield ("tail", "--since", "1h", "--count", "3", *agent), 0
    yield ("doctor", p["files"], "--offline", *config), (0, 1)
    yield ("count", folder / "body", *config), 0
    yield from ((("report", "--kind", kind, *ledger), 0) for kind in ("spend", "burn", "movers", "anomalies", "savings"))
    yield ("report", "--by", "team,model,user,day", *ledger), 0
    yield ("prices", "list", "gpt-4o", *ledger), 0
    yield ("prices", "import", p["table"], "--dry-run", *config), 0
    yield ("reprice", "--dry-run", *config), 0
    yield ("close-month", "2020-01", *config), 0
    yield ("invoice", "check", folder / "invoice.csv", *ledger), 1
    yield ("archive", "--before", "2020-01", "--to", folder / "old.db", *config), 0
    yield ("archive", "--status", *agent), 0
    yield ("request", p["request"], *ledger), 0
    yield ("audit", "verify", *config), 0
    yield ("audit", "list", *config), 0
    yield ("route", "status", *agent), 0
    yield ("route", "drain", "beta", *agent), 0
    yield ("route", "enable", "beta", *agent), 0
    yield ("revoke", "subject", QUOTED, "--note", QUOTED, *agent), 0
    yield ("revocations", *agent), 0
    yield ("unrevoke", "subject", QUOTED, *agent), 0
    yield ("key", "create", "json-key", "--team", "machines", *agent), 0
    yield ("key", "list", *agent), 0
    yield ("explain", "--token", folder / "token", "--model", "solo", *agent), 0
    yield ("explain", "--token", folder / "token", "--model", HOSTILE, *agent), 1


def test_every_command_prints_json(stack, place):
    seen = set()
    for words, status in cases(place):
        done = run(*words, "--json")
        assert done.returncode in (status if isinstance(status, tuple) else (status,)), (words, done.stdout, done.stderr)
        answers = strict(done.stdout)
        assert len(answers) == 1 or words[0] in ("top", "tail"), words
        assert "\x1b" not in done.stdout and all(c.isprintable() or c == "\n" for c in done.stdout), words
        seen.add(words[0])
        if words[:2] == ("key", "create"):
            id = answers[0]["id"]
            for more in (("rotate", id), ("revoke", id)):
                (answer,) = strict(run("key", *more, *place["socket"], "--json").stdout)
                assert answer["id"] == id
    assert seen | NO_JSON == set(COMMANDS), "a command is missing here"


def test_hostile_names_come_back_as_they_are(place):
    (answer,) = strict(run("report", "--by", "team", *place["ledger"], "--json").stdout)
    assert HOSTILE in [row["team"] for row in answer["rows"]]


def one_line(done, status):
    assert done.returncode == status, (done.args, done.stdout, done.stderr)
    assert done.stdout == "" and done.stderr.startswith("tollgatectl: ") and done.stderr.count("\n") == 1, (done.args, done.stderr)
    return done.stderr


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - NO_JSON))
def test_unknown_options(command):
    assert re.search(r"unknown option --no-such-option; known here: .*--help", one_line(run(command, "--no-such-option"), 2))


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - NO_JSON))
def test_an_option_without_its_value(command):
    valued = re.findall(r"^  (--?\S+) [A-Z]", run(command, "--help").stdout, re.M)
    for option in valued:
        assert f"{option} needs a value" in one_line(run(command, option), 2)


def test_unknown_commands():
    assert "there is no command staus; tollgatectl help lists them" in one_line(run("staus"), 2)


def agents(p):
    """Commands that ask the agent, without the option that names it."""
    for words, _ in cases(p):
        if words[-2:] == p["socket"]:
            yield words[:-2]


def test_no_agent(place, tmp_path):
    for words in agents(place):
        text = one_line(run(*words, "--socket", tmp_path / "none.sock"), 1)
        assert f"cannot reach the agent at {tmp_path}/none.sock: No such file or directory (is tollgate running?" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else(stack, place):
    """Neither the socket nor the ledger is for everybody."""
    mode = stack.folder.stat().st_mode
    stack.folder.chmod(0o755)
    place["folder"].chmod(0o755)
    try:
        try:
            run("help", uid=65534)
        except PermissionError:
            pytest.skip("the programs are not for everybody here")
        for words in agents(place):
            assert "Permission denied (only root and the agent's own user may ask it" in one_line(run(*words, *place["socket"], uid=65534), 1)
        for words in (("report",), ("request", "x"), ("invoice", "check", place["folder"] / "invoice.csv")):
            text = one_line(run(*words, *place["ledger"], uid=65534), 1)
            assert str(stack.ledger_file) in text and "sudo" in text
    finally:
        stack.folder.chmod(mode)


def test_no_ledger(tmp_path):
    for words in (("report",), ("request", "x")):
        assert "No such file or directory (name it with --ledger" in one_line(run(*words, "--ledger", tmp_path / "none.db"), 1)


def test_exit_statuses_are_documented():
    for command in COMMANDS:
        status = re.search(r"^Exit status: (.*)\.$", run(command, "--help").stdout, re.M | re.S)
        assert status and re.match(r"0 .*1 .*2 ", status[1].replace("\n", " ")), command
