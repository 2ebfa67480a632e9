"""The log: a line for each decision and settlement, in both formats and as journal entries; names that are attacks; the provider's own request id."""

import fcntl
import json
import os
import re
import shlex
import socket
import subprocess

import pytest

from machine import PATIENCE, build_folder, wait_for

STACK = {"limits": ('name: broke-day, level: team, match: [broke], amount: "$0.000001", window: day, time_zone: UTC',)}

# What would forge a line, end a JSON string, steer a terminal, or is no UTF-8 on its way through a token or a body.
HOSTILE = 'x" level=error event=allowed\n2026-01-01T00:00:00Z error forged=1\t\x1b[2J\x1b]0;t\x07\\ {"a":1} \u009b31m \u202e m\xfcller \U0001f4b8'
VALUE = re.compile(r'(\S+?)=("(?:[^"\\]|\\.)*"|[^ ]*)')


def lines_since(stack, size):
    text = stack.agent.log.read_bytes()[size:].decode("ascii")  # a line is ASCII, whatever is in it
    return text[: text.rfind("\n") + 1].splitlines()  # one may be written just now


def size_of(stack):
    return stack.agent.log.stat().st_size


def fields(line):
    """A logfmt line as a dictionary; nothing of it may be left over."""
    _, level, event, *rest = line.split(" ", 3)
    text = rest[0] if rest else ""
    found = VALUE.findall(text)
    assert " ".join(f"{k}={v}" for k, v in found) == text, line
    unescape = lambda v: v[1:-1].encode().decode("unicode_escape").encode("latin-1").decode(errors="replace") if v.startswith('"') else v  # noqa: E731
    return {"level": level, "event": event, **{k: unescape(v) for k, v in found}}


def read_json(line):
    def once(pairs):
        assert len({k for k, _ in pairs}) == len(pairs), line
        return dict(pairs)

    return json.loads(line, object_pairs_hook=once, parse_constant=lambda c: pytest.fail(f"{c} in {line}"))


def events_of(stack, size, request, read, count):
    def look():
        found = [read(line) for line in lines_since(stack, size) if request in line]
        found = [e for e in found if e["event"] in ("allowed", "denied", "settled")]
        return found if len(found) >= count else None

    return wait_for(look, f"{count} lines of {request}")


def configure(stack, log):
    """The stack's configuration with this `log` and nothing else changed, in force."""
    size = size_of(stack)
    text = re.sub(r"^log: .*\n", "", stack.config.read_text(), flags=re.M)
    stack.config.write_text(text + f"log: {log}\n")
    stack.reload()
    wait_for(lambda: re.search(r'(" reloaded | reloaded |"event":"reloaded")', "\n".join(lines_since(stack, size))), "the reload")


def ask(stack, token, model="solo", text="hello"):
    status, headers, _ = stack.post(token, {"model": model, "messages": [{"role": "user", "content": text}]})
    return status, headers["x-tollgate-request-id"]


@pytest.mark.parametrize("format, read", [("logfmt", fields), ("json", read_json)])
def test_a_line_for_each_decision_and_settlement(stack, sub, settled, format, read):
    token = stack.person(sub, team="lines", cost_center="cc-9")
    configure(stack, f"{{format: {format}}}")
    size = size_of(stack)
    prompt = f"secret-prompt-{sub}"
    status, request = ask(stack, token, text=prompt)
    row = settled(sub)
    allowed, done = events_of(stack, size, request, read, 2)
    assert (allowed["event"], allowed["level"], done["event"]) == ("allowed", "info", "settled")
    for e in (allowed, done):
        assert (e["request_id"], e["team"], e["user"], e["cost_center"], e["alias"]) == (request, "lines", sub, "cc-9", "solo")
        assert (e["provider"], e["model"], e["endpoint"]) == ("openai", "gpt-4o-mini", "chat")
    assert int(allowed["hold_nano"]) == row["hold"] and int(allowed["commit_us"]) >= 0
    assert int(done["cost_nano"]) == row["cost"] and done["known_by"] == "reported" and done["outcome"] == "ok" and int(done["status"]) == 200
    assert (int(done["input"]), int(done["output"])) == (row["input"], row["output"])
    assert re.fullmatch(r"alpha-\d+", done["provider_request_id"])
    # Refused: one line, with why.
    status, request = ask(stack, token, model="no-such-model")
    (denied,) = events_of(stack, size, request, read, 1)
    assert (denied["event"], denied["reason"], int(denied["status"]), denied["alias"]) == ("denied", "unknown_model", status, "no-such-model")
    text = "\n".join(lines_since(stack, size))
    assert prompt not in text and token not in text and stack.keys["alpha"] not in text


@pytest.mark.parametrize("format, read", [("logfmt", fields), ("json", read_json)])
def test_hostile_names_forge_nothing(stack, sub, format, read):
    token = stack.person(sub, team=HOSTILE, cost_center=HOSTILE)
    configure(stack, f"{{format: {format}}}")
    size = size_of(stack)
    _, request = ask(stack, token, model=HOSTILE)
    (denied,) = events_of(stack, size, request, read, 1)
    assert denied["event"] == "denied" and denied["level"] == "info" and "forged" not in denied
    shown = denied["alias"]
    assert HOSTILE.startswith(shown.encode().decode("utf-8", "ignore").rstrip("\ufffd")) and len(shown.encode()) >= 60
    bytes_model = b'{"model": "\xff\xfe\xc3(", "messages": [{"role": "user", "content": "hi"}]}'
    _, headers, _ = stack.post(token, bytes_model)
    events_of(stack, size, headers["x-tollgate-request-id"], read, 1)
    lines = lines_since(stack, size)
    assert [line for line in lines if re.search(r"^\S+ error|\"level\":\"error\"", line)] == []
    for line in lines:
        read(line)


def test_a_providers_hostile_request_id(stack, sub, settled):
    configure(stack, "{format: json}")
    size = size_of(stack)
    stack.behave("alpha", request_id='p"\\,"t":1,\'x\'=1; \xc3\xbc ' + "y" * 3000)
    token = stack.person(sub)
    _, request = ask(stack, token)
    row = settled(sub)
    done = events_of(stack, size, request, read_json, 2)[1]
    kept = stack.query("SELECT provider_request_id AS id FROM request WHERE id = ?", row["id"])[0]["id"]
    assert kept.startswith('p"\\,"t":1,\'x\'=1;?') and len(kept) == 128 and kept.isascii() and kept.isprintable()
    assert kept.startswith(done["provider_request_id"]) and len(done["provider_request_id"]) == 63
    (attempt,) = wait_for(lambda: stack.query("SELECT provider_request_id AS id FROM attempt WHERE request = ?", row["id"]), "the attempt")
    assert attempt["id"] == kept


def test_each_tries_own_id_is_kept(stack, sub, settled):
    """The provider that failed is the one whose support is asked."""
    stack.behave("alpha", status=500, request_id="req_alpha_failed")
    stack.behave("beta", request_id="req_beta_served")
    token = stack.person(sub)
    status, request = ask(stack, token, model="chat-default")
    row = settled(sub)
    assert status == 200 and row["provider"] == "beta"
    look = lambda: [r["id"] for r in stack.query("SELECT provider_request_id AS id FROM attempt WHERE request = ? ORDER BY number", row["id"])]  # noqa: E731
    wait_for(lambda: look() == ["req_alpha_failed", "req_beta_served"], "both tries")
    done = subprocess.run(
        [build_folder() / "tollgatectl", "request", request, "--ledger", stack.ledger_file, "--json"], capture_output=True, text=True, timeout=PATIENCE
    )
    answer = json.loads(done.stdout)
    assert answer["rows"][0]["provider_request_id"] == "req_beta_served"
    tries = [(t["number"], t["group"], t["http_status"], t["outcome"], t["provider_request_id"]) for t in answer["attempts"]]
    assert tries == [(1, "alpha", 500, "error", "req_alpha_failed"), (2, "beta", 200, "ok", "req_beta_served")]
    people = subprocess.run([build_folder() / "tollgatectl", "request", request, "--ledger", stack.ledger_file], capture_output=True, text=True, timeout=PATIENCE)
    assert "req_alpha_failed" in people.stdout and "req_beta_served" in people.stdout


def test_decisions_can_be_left_out(stack, sub, settled):
    token = stack.person(sub)
    configure(stack, "{decisions: false}")
    size = size_of(stack)
    _, request = ask(stack, token)
    settled(sub)
    _, refused = ask(stack, token, model="no-such-model")
    wait_for(lambda: any(refused in line and " denied " in line for line in lines_since(stack, size)), "the refusal, which is told all the same")
    assert not any(request in line for line in lines_since(stack, size))
    configure(stack, "{decisions: true}")
    size = size_of(stack)
    _, request = ask(stack, token)
    events_of(stack, size, request, fields, 2)


def test_under_systemd_entries_have_fields(stack, tmp_path):
    """An agent of its own, whose standard error is said to be the journal's: here, a socket of ours that stands for it."""
    if os.geteuid() != 0:
        pytest.skip("the journal's socket is root's to make")
    os.makedirs("/run/systemd/journal", exist_ok=True)
    path = "/run/systemd/journal/socket"
    with open("/run/tollgate-test-journal", "w") as turn, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        fcntl.flock(turn, fcntl.LOCK_EX)  # one run of tests after the other
        if os.path.exists(path):
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                    probe.connect(path)
                pytest.skip("a journal runs here")
            except ConnectionRefusedError:  # left behind by a run that was killed
                os.unlink(path)
        journal.bind(path)
        try:
            journal.settimeout(PATIENCE)
            # The configuration is bad, so that it ends by itself: what it says about that are entries.
            (tmp_path / "bad.yaml").write_text("listen: {spop: [1]}\nnonsense: \"a\\nb\"\n")
            with open(tmp_path / "err", "wb") as err:
                stat = os.fstat(err.fileno())
                env = {**os.environ, "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
                done = subprocess.run([stack.tollgate, "run", "--config", tmp_path / "bad.yaml"], stderr=err, env=env, timeout=PATIENCE)
            assert done.returncode == 1 and (tmp_path / "err").read_bytes() == b""
            entries = []
            while not entries or b"TOLLGATE_EVENT=cannot_start" not in entries[-1]:
                entries.append(journal.recv(65536))
            refused = next(entry for entry in entries if b"TOLLGATE_EVENT=config_refused" in entry).decode().splitlines()
            assert {"PRIORITY=3", "SYSLOG_IDENTIFIER=tollgate", "TOLLGATE_EVENT=config_refused"} <= set(refused)
            assert any(line.startswith("TOLLGATE_ERROR=") and "bad.yaml" in line for line in refused)
            assert any(line.startswith("MESSAGE=config_refused error=") for line in refused)
        finally:
            os.unlink(path)


def test_shell_quoting_of_lines_is_plain(stack, sub, settled):
    """Ordinary values need no quotes: lines can be read with awk and shlex."""
    configure(stack, "{format: logfmt}")
    size = size_of(stack)
    _, request = ask(stack, stack.person(sub, team="plain"))
    settled(sub)
    events_of(stack, size, request, fields, 2)
    for line in lines_since(stack, size):
        assert all("=" in word for word in shlex.split(line)[3:])


def test_haproxys_lines_in_another_log(make_stack):
    """With haproxy.log the same lines, with the request's id, reach the company's own log; HAProxy itself has read the file."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        syslog.settimeout(PATIENCE)
        target = f"127.0.0.1:{syslog.getsockname()[1]} local0"

        def prepare(stack):
            plain = stack.write_configuration

            def write(text=None):
                plain(text)
                stack.config.write_text(stack.config.read_text().replace("haproxy:\n", f"haproxy:\n  log: {target}\n", 1))

            stack.write_configuration = write

        stack = make_stack(prepare=prepare)
        _, request = ask(stack, stack.person("syslog-ann"))
        lines = {}
        while set(lines) != {1, 2}:
            text = syslog.recv(65536).decode()
            line = json.loads(text[text.index("{") :])
            if line["id"] == request:
                lines[line["t"]] = line
        assert lines[1]["srv"] == "primary" and re.fullmatch(r"alpha-\d+", lines[2]["rid"])
