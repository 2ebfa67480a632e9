"""Administrative acts, through the admin socket, by signal and without an agent: all are in the audit log, and changes to it are found."""

import json
import os
import stat
import subprocess

import pytest

from machine import PATIENCE, build_folder, wait_for


def ctl(stack, *arguments, check=0):
    done = subprocess.run(
        [build_folder() / "tollgatectl", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == check, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def log(stack):
    return stack.ledger_folder / "audit.log"


def entries(stack):
    return json.loads(ctl(stack, "audit", "list", "--config", stack.config, "--json"))["rows"]


def test_acts_are_recorded(stack, log):
    wait_for(lambda: [e["action"] for e in entries(stack)] == ["start"], "the start's entry, and no other")
    ctl(stack, "--socket", stack.admin_socket, "status")
    ctl(stack, "revoke", "subject", "somebody", "--note", "left", "--config", stack.config)
    ctl(stack, "unrevoke", "subject", "somebody", "--config", stack.config)
    ctl(stack, "revoke", "nonsense", "x", "--config", stack.config, check=1)
    ctl(stack, "--socket", stack.admin_socket, "reload")
    found = wait_for(lambda: (e := entries(stack))[-1]["object"] == str(stack.config) and len(e) == 7 and e, "the reload's entry")
    assert [e["action"] for e in found] == ["start", "revoke", "unrevoke", "revoke", "revoke", "reload", "reload"]
    assert all(e["actor"].startswith(f"uid {os.getuid()} pid ") for e in found[1:6]) and found[6]["actor"] == "signal HUP"
    assert "subject somebody" in found[1]["detail"] and "left" in found[1]["detail"]
    assert found[4]["object"] == "refused"
    assert found[6]["detail"].startswith("sha256 ") and found[6]["detail"].endswith(", in force")
    assert log.stat().st_mode & 0o777 == 0o600


def test_survives_kill_9_and_restart(stack, log):
    ctl(stack, "revoke", "subject", "another", "--config", stack.config)
    stack.kill_agent()
    assert entries(stack)[-1]["action"] == "revoke"
    stack.restart_agent()
    wait_for(lambda: entries(stack)[-1]["action"] == "start", "the start's entry")
    state = json.loads(ctl(stack, "audit", "verify", "--config", stack.config, "--json"))
    assert state["good"] and state["entries"] == len(entries(stack))
    # Each hash is in the agent's log too: with it, lines cut off at the end are missed.
    wait_for(lambda: f"hash={state['head']}" in stack.agent.tail(200000), "the hash in the log")
    ctl(stack, "audit", "verify", "--config", stack.config, "--head", state["head"])


def test_what_is_not_recorded_is_not_done(stack, log):
    """The agent's audit log on a full disk: acts are refused, requests go on."""
    token = stack.person("not-recorded")
    stack.agent.stop()
    text = stack.config.read_text()
    full = stack.folder / "full"
    try:
        os.mknod(full, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
        os.close(os.open(full, os.O_WRONLY))  # not where devices are not allowed
    except PermissionError:
        full = "/dev/full"
    stack.write_configuration(text + f"audit: {{file: {full}}}\n")
    stack.restart_agent()
    try:
        why = subprocess.run(
            [build_folder() / "tollgatectl", "revoke", "subject", "not-recorded", "--config", stack.config],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert why.returncode == 1 and "audit log cannot be written" in why.stderr
        body = {"model": "chat-default", "messages": [{"role": "user", "content": "hello"}]}
        assert stack.post(token, body)[0] == 200
    finally:
        stack.agent.stop()
        stack.write_configuration(text)
        stack.restart_agent()


def test_a_change_is_found(stack, log, tmp_path):
    copy = tmp_path / "audit.log"
    lines = log.read_text().splitlines(keepends=True)
    copy.write_text("".join(lines).replace("somebody", "somebodx", 1))
    said = ctl(stack, "audit", "verify", "--file", copy, check=1)
    assert said.startswith(f"{copy}:2: it was changed")
    copy.write_text("".join(lines[:2] + lines[3:]))
    assert ":3: an entry before it is missing" in ctl(stack, "audit", "verify", "--file", copy, check=1)
    copy.write_text("".join(lines[:-1]))
    head = json.loads(lines[-1])["hash"]
    ctl(stack, "audit", "verify", "--file", copy)
    assert "cut off" in ctl(stack, "audit", "verify", "--file", copy, "--head", head, check=1)


def test_acts_without_an_agent(stack):
    stack.agent.stop()
    try:
        before = len(entries(stack))
        ctl(stack, "archive", "--before", "2020-01", "--to", stack.folder / "old.db", "--config", stack.config)
        found = entries(stack)
        assert len(found) == before + 1
        assert found[-1]["action"] == "archive" and found[-1]["detail"].endswith("old.db")
    finally:
        stack.restart_agent()
