"""Beside a company's own haproxy.cfg: `tollgate check --haproxy` names what is wrong, and with its lines added everything works."""

import re
import socket
import subprocess

import openai
import pytest

from machine import PATIENCE, Process, build_folder, free_ports, wait_for

OWN = """\
global
    maxconn 500
    tune.bufsize 16384

defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    retry-on all-retryable-errors

frontend www
    bind 127.0.0.1:{port}
    capture request header Authorization len 200
    default_backend site

backend site
    http-request return status 200 content-type text/plain string "the company's own site"
"""


def check(stack, *files):
    done = subprocess.run(
        [build_folder() / "tollgate", "check", "--haproxy", *files, "--config", stack.config],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout, done.stderr


def apply_additions(text, said):
    """Writes the lines to add where they are wanted, as a person with an editor would."""
    lines = text.splitlines()
    wanted, section = [], None
    for line in said.partition("Lines to add:\n")[2].splitlines():
        if not line.strip():
            break
        place = re.match(r'  (?:to "[^"]*" \(.*:(\d+)\)(?:, before line (\d+))?|as a section of its own):$', line)
        if place:
            section = int(place[2] or place[1] or len(lines)) - (1 if place[2] else 0)
        else:
            wanted.append((section, line[4:] if section == len(lines) else line))
    for at, line in reversed(wanted):
        lines.insert(at, line)
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def own(stack):
    """The company's file once everything that was said is done, in a HAProxy of its own in front of the gateway's."""
    (port,) = free_ports(1)
    file = stack.folder / "own.cfg"
    file.write_text(OWN.format(port=port))
    status, said, _ = check(stack, file)
    assert status == 1
    assert f"{file}:3: unsafe: tune.bufsize 16384" in said
    assert f"{file}:14: unsafe: the authorization header goes to the log" in said
    # What is to be removed, and what is to be added.
    kept = [line for line in OWN.format(port=port).splitlines() if "tune.bufsize" not in line and "capture" not in line]
    file.write_text("\n".join(kept) + "\n")
    for _ in range(2):  # the new section is looked at as well
        status, said, _ = check(stack, file)
        file.write_text(apply_additions(file.read_text(), said))
    status, said, _ = check(stack, file)
    assert (status, "Lines to add" in said) == (0, False), said
    front = Process("front", stack.folder, [stack.haproxy_program, "-db", "-f", file])
    front.start()
    url = f"http://127.0.0.1:{port}"

    try:
        wait_for(lambda: front.alive() and listens(port), "the company's HAProxy")
        yield file, url
    finally:
        front.stop()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_both_files_are_good_together(stack, own):
    file, _ = own
    done = subprocess.run(
        [stack.haproxy_program, "-c", "-f", file, "-f", stack.folder / "haproxy/tollgate.cfg"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "WARNING" not in done.stderr + done.stdout, done.stderr


def test_requests_go_through_the_company_s_address(stack, own, sub, settled):
    client = openai.OpenAI(base_url=own[1] + "/v1", api_key=stack.person(sub), timeout=PATIENCE)
    stream = client.chat.completions.create(
        model="solo", stream=True, messages=[{"role": "user", "content": f"{sub} [[completion_tokens=12]]"}]
    )
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in stream) == 12
    assert settled(sub)["output"] == 12


def test_the_generated_file_is_known(stack, own):
    generated = stack.folder / "haproxy/tollgate.cfg"
    assert check(stack, own[0], generated)[0] == 0
    old = stack.folder / "old.cfg"
    old.write_text(generated.read_text().replace("timeout connect 4s", "timeout connect 9s", 1))
    status, said, _ = check(stack, own[0], old)
    assert status == 1 and f"{old}:1: conflict: it is not what tollgate's configuration gives now" in said
    folder = stack.folder / "conf.d"
    folder.mkdir()
    (folder / "10-own.cfg").write_text(own[0].read_text())
    (folder / "20-tollgate.cfg").write_text(generated.read_text())
    assert check(stack, folder)[0] == 0


def test_what_cannot_be_read(stack, own):
    status, _, said = check(stack, stack.folder / "none.cfg")
    assert status == 2 and "none.cfg: No such file" in said
    bad = stack.folder / "bad.cfg"
    bad.write_text("global\n log 'open\n")
    status, _, said = check(stack, bad)
    assert status == 2 and f"{bad}:2: a quote is not closed" in said
