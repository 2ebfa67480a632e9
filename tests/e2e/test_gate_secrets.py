"""A canary run: provider keys and user tokens must be nowhere but where they are used."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import memory
from machine import PATIENCE, QUIET_ZONE, wait_for

STACK = {"limits": (f'name: poor-day, level: team, match: ["poor"], amount: "$0.0007", window: day, time_zone: {QUIET_ZONE}',)}


def body(text, **more):
    return {"model": "chat-default", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def busy(stack):
    """The stack after a little of everything that writes logs and rows, with a prompt that must not be kept either."""
    good, poor = stack.person("canary"), stack.person("canary-poor", team="poor")
    bad = [
        stack.mint(key="stray"),
        stack.mint(claims={"exp": 1}),
        stack.mint(alg="none"),
        "sk-client-canary-0123456789",
    ]
    secrets = [*stack.keys.values(), good, poor, *bad, "prompt-canary-7f3a"]
    answers = []

    def send(token, value, **options):
        status, headers, answer = stack.post(token, value, **options)
        answers.append(f"{status} {headers} {answer.decode(errors='replace')}")

    send(good, body("prompt-canary-7f3a"))
    send(good, body("prompt-canary-7f3a", stream=True))
    for token in bad:
        send(token, body("prompt-canary-7f3a"))
    for _ in range(4):
        send(poor, body("prompt-canary-7f3a", max_tokens=1000))
    send(good, b'{"model": "chat-default", "messages": [{"content": "prompt-canary-7f3a"')
    send(good, body("prompt-canary-7f3a"), path="/v1/nowhere")
    for fault in ({"status": 500}, {"refuse": True}, {"drop": True}, {"status": 401}):
        stack.behave("alpha", **fault)
        stack.behave("beta", **fault)
        send(good, body("prompt-canary-7f3a"))
        stack.behave("alpha")
        stack.behave("beta")
    stack.reload()
    stack.kill_agent()
    send(good, body("prompt-canary-7f3a"))
    stack.restart_agent()
    send(good, body("prompt-canary-7f3a"))
    return stack, secrets, answers


def forms(secret):
    """A secret as it stands and as logs like to dress it up. Of a token its signature is looked for as well."""
    raw = secret.encode()
    yield raw
    yield base64.b64encode(raw).rstrip(b"=")[:-2]
    yield raw.hex().encode()
    if secret.count(".") == 2 and secret.rsplit(".", 1)[1]:
        yield secret.rsplit(".", 1)[1].encode()


def found(data, secrets):
    # Positions, not values: a failing test must not print them either.
    return [number for number, secret in enumerate(secrets) if any(form in data for form in forms(secret))]


def test_no_secret_in_any_file(busy):
    stack, secrets, _ = busy
    looked_at = []
    for path in sorted(stack.folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name != "alpha.key":
            looked_at.append(path.name)
            assert found(path.read_bytes(), secrets) == [], path.name
    assert {"agent.log", "haproxy.log", "ledger.db"} <= set(looked_at)


def test_no_secret_in_answers(busy):
    _, secrets, answers = busy
    for answer in answers:
        assert found(answer.encode(), secrets) == []


def test_no_secret_in_process_lists(busy):
    stack, secrets, _ = busy
    listing = subprocess.run(["ps", "axeww", "-o", "pid,args"], capture_output=True, check=True).stdout
    ours = [
        line
        for line in listing.splitlines()
        if line.split()[:1] in ([str(stack.agent.pid).encode()], [str(stack.haproxy.pid).encode()])
    ]
    assert len(ours) == 2
    assert found(b"\n".join(ours), secrets) == []
    for process in (stack.agent, stack.haproxy):
        assert found(Path(f"/proc/{process.pid}/cmdline").read_bytes() + memory.environment(process.pid), secrets) == [], process.name


def test_every_thread_is_confined(busy):
    """A system call filter of its own, nothing gained by executing, and no looking into it for other processes of its user."""
    stack, _, _ = busy
    looked_at = 0
    for thread in Path(f"/proc/{stack.agent.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            state = dict(line.split(":", 1) for line in (thread / "status").read_text().splitlines())
            assert (state["Seccomp"].strip(), state["NoNewPrivs"].strip()) == ("2", "1")
            looked_at += 1
    assert looked_at > 1
    assert os.stat(f"/proc/{stack.agent.pid}/environ").st_uid == 0


def test_no_secret_in_the_admin_socket_or_metrics(busy):
    """Whatever the agent says about itself on its own sockets."""
    stack, secrets, _ = busy
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE)
        peer.connect(str(stack.admin_socket))
        peer.sendall(b"\x94\x00\x01\xa6status\x90\x94\x00\x02\xa4ping\x90")  # msgpack-rpc: [0, 1, "status", []], then a ping
        data = b""
        while b"\x94\x01\x02" not in data:  # the answer to the ping
            data += (piece := peer.recv(65536))
            assert piece, data
    assert found(data, secrets) == []


def test_a_crash_leaves_no_secret_behind(busy):
    """Cores allowed and wanted by the system: the agent must leave none, or one without secrets."""
    stack, secrets, _ = busy
    stack.agent.stop()
    stack.start_agent(unlimited_core=True)
    stack.wait_until_deciding()
    assert stack.post(secrets[2], body("prompt-canary-7f3a"))[0] == 200
    before = set(stack.folder.iterdir())
    stack.agent.popen.send_signal(signal.SIGABRT)
    ended = os.waitid(os.P_PID, stack.agent.pid, os.WEXITED | os.WNOWAIT)
    stack.agent.popen.wait()
    try:
        cores = [path for path in set(stack.folder.iterdir()) - before if "core" in path.name]
        if ended.si_code == os.CLD_DUMPED:
            with open("/proc/sys/kernel/core_pattern") as pattern:
                assert cores, f"a core was written elsewhere ({pattern.read().strip()}) and cannot be looked at"
        for core in cores:
            assert found(core.read_bytes(), secrets[:3]) == []
    finally:
        for path in stack.folder.glob("sanitizer.*"):
            path.unlink()  # the abort we asked for
        stack.restart_agent()


def test_sockets_and_ledger_are_private(busy):
    stack, _, _ = busy
    for path in stack.folder.iterdir():
        if path.is_socket() or path.name.startswith("ledger.db"):
            assert path.stat().st_mode & 0o007 == 0, path.name


def test_the_gateway_still_works(busy):
    stack, secrets, _ = busy
    wait_for(lambda: stack.post(secrets[2], body("still"))[0] == 200, "a good answer after all that")
