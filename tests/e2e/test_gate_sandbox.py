"""The agent where it cannot forbid itself system calls: a kernel without seccomp is told in the log, and served; a filter that is refused is a reason
not to start."""

import subprocess
import sys
from pathlib import Path

from machine import PATIENCE, Process, wait_for

WITHOUT = Path(__file__).with_name("without_seccomp.py")


def body(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


def allowed(stack, sub):
    return stack.post(stack.person(sub), body(sub))[0] == 200


def test_with_seccomp_nothing_is_said(stack, sub):
    assert allowed(stack, sub)
    assert "seccomp_missing" not in stack.agent.text()


def test_a_refused_filter_is_a_reason_not_to_start(stack, sub):
    done = subprocess.run(
        [sys.executable, WITHOUT, "refused", stack.tollgate, "run", "--config", stack.config],
        capture_output=True, text=True, cwd=stack.folder, env=stack.agent_environment(), timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert "cannot restrict system calls: the kernel refused the filter" in done.stderr
    assert "must allow it the call seccomp" in done.stderr
    assert allowed(stack, sub)  # the one that runs was not disturbed


def test_a_kernel_without_seccomp_is_served_and_told(stack, sub):
    stack.agent.stop()
    stack.agent = Process(
        "agent", stack.folder, [sys.executable, WITHOUT, "missing", stack.tollgate, "run", "--config", stack.config], env=stack.agent_environment()
    )
    stack.agent.start()
    wait_for(stack.agent_listens, "the agent to listen")
    stack.wait_until_deciding()
    assert allowed(stack, sub)
    assert 'warn seccomp_missing error="the kernel has no seccomp filters"' in stack.agent.text()
    # The rest of what it does to itself holds all the same.
    state = dict(line.split(":", 1) for line in Path(f"/proc/{stack.agent.pid}/status").read_text().splitlines())
    assert state["NoNewPrivs"].strip() == "1"
    assert Path(f"/proc/{stack.agent.pid}/limits").read_text().split("Max core file size")[1].split()[:2] == ["0", "0"]
    assert stack.agent.stop() == 0
    stack.restart_agent()
