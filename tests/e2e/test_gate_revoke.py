"""Who is refused although the credential is good: by command, by file, on every worker, over restarts, and who did it."""

import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import threading

import pytest

from machine import PATIENCE, build_folder, wait_for


def body(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


def ctl(stack, *words, check=True, stdin=None):
    done = subprocess.run(
        [build_folder() / "tollgatectl", *words, "--socket", stack.admin_socket],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def listed(stack):
    return {
        (row["kind"], row["value"]): row
        for row in json.loads(ctl(stack, "revocations", "--json").stdout)["rows"]
    }


def decided(stack, token, text="revocation"):
    status, _, answer = stack.post(token, body(text))
    return 200 if status == 200 else (status, json.loads(answer)["error"]["code"])


REFUSED = (401, "invalid_api_key")


def test_the_next_request_is_refused_on_every_worker(stack, sub):
    """Warm caches on both workers, four clients that never stop: after the command has ended nothing passes."""
    token = stack.person(sub)
    outcomes, revoked, stop = [], threading.Event(), threading.Event()

    def client():
        while not stop.is_set():
            after = revoked.is_set()  # read before the request is sent
            outcomes.append((after, decided(stack, token, sub)))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    try:
        wait_for(lambda: sum(o == (False, 200) for o in list(outcomes)) >= 40, "requests that pass")
        ctl(stack, "revoke", "subject", sub, "--note", "left the company")
        revoked.set()
        wait_for(lambda: sum(after for after, _ in list(outcomes)) >= 40, "requests after the revocation")
    finally:
        stop.set()
        for one in clients:
            one.join()
    assert {what for after, what in outcomes if after} == {REFUSED}
    # A refusal is answered before its row is written.
    query = "SELECT deny_reason FROM request WHERE subject = ? AND state = 'denied'"
    rows = wait_for(lambda: stack.query(query, sub), "rows of refusals")
    assert {row["deny_reason"] for row in rows} == {"revoked"}

    entry = listed(stack)["subject", sub]
    assert (entry["actor"], entry["origin"], entry["note"]) == (f"uid {os.getuid()}", "operator", "left the company")
    ctl(stack, "unrevoke", "subject", sub)
    assert decided(stack, token, sub) == 200
    events = stack.query("SELECT actor, action, detail FROM access_event WHERE object = ? ORDER BY id", f"subject {sub}")
    assert [event["action"] for event in events] == ["revoke", "unrevoke"]
    assert {event["actor"] for event in events} == {f"uid {os.getuid()}"} and events[0]["detail"] == "left the company"


def test_a_token_by_its_id_or_its_digest(stack, sub, tmp_path):
    first, second = (stack.mint(claims={"sub": sub, "jti": f"{sub}-{n}"}) for n in (1, 2))
    ctl(stack, "revoke", "token", f"{sub}-1")
    assert (decided(stack, first), decided(stack, second)) == (REFUSED, 200)
    file = tmp_path / "token"
    file.write_text(second + "\n")
    ctl(stack, "revoke", "token", "--file", file)
    assert decided(stack, second) == REFUSED
    digest = "sha256:" + hashlib.sha256(second.encode()).hexdigest()
    assert ("token", digest) in listed(stack)
    third = stack.mint(claims={"sub": sub, "jti": f"{sub}-3"})
    ctl(stack, "revoke", "token", "--file", "-", stdin=third)
    assert decided(stack, third) == REFUSED


def test_a_team_of_one_issuer_for_a_while(stack, sub):
    token = stack.person(sub, team=sub)
    ctl(stack, "revoke", "team", sub, "--issuer", "https://elsewhere.example")
    assert decided(stack, token) == 200
    for length in (3, 20, 120):  # long enough to be met once, however busy the machine is
        ctl(stack, "revoke", "team", sub, "--issuer", stack.issuer, "--for", f"{length}s")
        if decided(stack, token) == REFUSED:
            break
    else:
        raise AssertionError("over before it was met")
    wait_for(lambda: decided(stack, token) == 200, "the end of the revocation", length + PATIENCE)
    assert listed(stack)["team", sub]["issuer"] == "https://elsewhere.example"


@pytest.mark.parametrize("number", [9, 15])
def test_it_survives_a_restart(stack, sub, number):
    token = stack.person(sub)
    ctl(stack, "revoke", "subject", sub)
    if number == 9:
        stack.kill_agent()
    else:
        stack.agent.stop()
    stack.restart_agent()
    assert decided(stack, token) == REFUSED
    ctl(stack, "unrevoke", "subject", sub)
    stack.kill_agent()
    stack.restart_agent()
    assert decided(stack, token) == 200


def test_what_is_refused(stack, sub):
    token = stack.mint(claims={"sub": sub})
    for words, says in (
        (("unrevoke", "subject", "nobody-was"), "no such revocation"),
        (("revoke", "people", "alice"), "none of subject, token"),
        (("revoke", "token", token), "a token itself"),
        (("revoke", "token", "sha256:00"), "64 hexadecimal"),
        (("revoke", "subject", ""), "empty"),
        (("revoke", "subject", "x" * 1025), "longer than 1024"),
        (("revoke", "team", "a\nb"), "control character"),
        (("revoke", "team", "a", "--for", "soon"), "no duration"),
    ):
        done = ctl(stack, *words, check=False)
        assert done.returncode != 0 and says in done.stderr, (words, done.stderr)
        assert token not in done.stderr
    assert stack.query("SELECT count(*) AS n FROM access_event WHERE object LIKE '%nobody-was%'") == [{"n": 0}]


def test_a_ledger_that_cannot_be_written_says_so(stack, sub):
    """The answer is that of the commit: a command that could not be kept fails, and nothing is in force that would not last."""
    with contextlib.closing(sqlite3.connect(stack.ledger_file, isolation_level=None, timeout=PATIENCE)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = ctl(stack, "revoke", "subject", sub, check=False)
        other.execute("ROLLBACK")
    assert done.returncode == 1 and "ledger cannot be written" in done.stderr
    assert ("subject", sub) not in listed(stack)
    wait_for(lambda: decided(stack, stack.person(sub)) == 200, "recovery of the ledger")


def test_a_watched_file(make_stack, sub="filed"):
    stack = make_stack(revocations="revoked")
    token, other = stack.person(sub), stack.person("other")
    file = stack.folder / "revoked"
    assert decided(stack, token) == 200
    stack.replace(file, f"# gone\nsubject {sub}\n")
    wait_for(lambda: decided(stack, token) == REFUSED, "the file to be read")
    assert decided(stack, other) == 200
    assert listed(stack)["subject", sub]["origin"] == "file"
    done = ctl(stack, "unrevoke", "subject", sub, check=False)
    assert done.returncode == 1 and "take its line out" in done.stderr

    stack.replace(file, f"subject other\nsubjects {sub}\n")  # refused whole: its last good content stays
    wait_for(lambda: "revoked:2: a line is" in stack.agent.text(), "the refusal in the log")
    assert (decided(stack, token), decided(stack, other)) == (REFUSED, 200)
    file.unlink()
    wait_for(lambda: "No such file" in stack.agent.text(), "the refusal in the log")
    assert decided(stack, token) == REFUSED
    stack.replace(file, "subject other\n")
    wait_for(lambda: (decided(stack, token), decided(stack, other)) == (200, REFUSED), "the new file")

    def told():
        rows = stack.query("SELECT action, object FROM access_event WHERE actor = ? ORDER BY id", f"file {file}")
        return [(row["action"], row["object"]) for row in rows] == [
            ("revoke", f"subject {sub}"),
            ("revoke", "subject other"),
            ("unrevoke", f"subject {sub}"),
        ]

    wait_for(told, "the events")
    file.unlink()
    stack.agent.stop()
    stack.agent.start()
    assert stack.agent.popen.wait(PATIENCE) == 1 and "No such file" in stack.agent.tail()  # without its file it does not start
    file.write_text("")
    stack.restart_agent()
    assert decided(stack, token) == 200


def test_the_help_says_what_there_is(stack):
    assert {"revoke", "unrevoke", "revocations"} <= set(ctl(stack, "--help").stdout.split())
    for command in ("revoke", "unrevoke", "revocations"):
        assert f"usage: tollgatectl {command}" in ctl(stack, command, "--help").stdout
