"""Fixtures of the end-to-end tests: a running stack for each test module, and the openai SDK as the client."""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import openai
import pytest

import ledger
import memory
from credential_kinds import Bao, Known
from machine import PATIENCE
from stack import Stack
from token_endpoints import TokenEndpoints

os.umask(0o022)  # tests that tell private files from others by their modes


@pytest.fixture(scope="module")
def make_stack(request):
    """Starts stacks in folders of their own; stops them at the module's end and fails on what they have to say then."""
    running = []

    def make(**options):
        # Short: a unix socket's path has room for 107 bytes.
        stack = Stack(tempfile.mkdtemp(prefix="tg-"), **options)
        running.append(stack)
        return stack.start()

    failed_before = request.session.testsfailed
    yield make
    problems = []
    for stack in running:
        try:
            stack.stop()
        except AssertionError as problem:
            problems.append(str(problem))
    if problems or request.session.testsfailed > failed_before:
        keep_logs(request.module.__name__, running)
    for stack in running:
        stack.remove()
    assert not problems, "\n".join(problems)


def keep_logs(module, stacks):
    """What helps to understand a failure, out of the folder that is about to go. No keys, no tokens, no ledger."""
    for number, stack in enumerate(stacks):
        kept = Path(__file__).resolve().parents[2] / ".cache" / "e2e-failures" / f"{module}-{number}"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for path in [*stack.folder.glob("*.log"), *stack.folder.glob("sanitizer.*"), stack.config]:
            if path.exists():
                shutil.copy(path, kept)
        if (stack.folder / "haproxy").is_dir():
            shutil.copytree(stack.folder / "haproxy", kept / "haproxy")


@pytest.fixture
def inside():
    """For tests that read in /proc what the agent keeps from its own user too: memory, open files, the program's path."""
    if not memory.may_look_inside():
        pytest.skip("needs root (CAP_SYS_PTRACE): the agent lets no process of its own user look into it")


@pytest.fixture(scope="module")
def stack(request, make_stack):
    """The module's own stack, with the module's STACK options."""
    return make_stack(**getattr(request.module, "STACK", {}))


@pytest.fixture(scope="module")
def endpoints():
    """Stand-ins of token endpoints, which check what they are sent."""
    with contextlib.closing(TokenEndpoints()) as running:
        yield running


@pytest.fixture(scope="module")
def bao(tmp_path_factory):
    """A real OpenBao with AppRole."""
    running = Bao(tmp_path_factory.mktemp("bao"))
    running.do("POST", "sys/auth/approle", {"type": "approle"})
    yield running
    running.process.stop()


@pytest.fixture(scope="module")
def known():
    """The secrets of a stack, for credential_kinds.everywhere."""
    return Known()


@pytest.fixture(autouse=True)
def healthy_providers(request):
    stack = request.getfixturevalue("stack") if "stack" in request.fixturenames else None
    yield
    if stack and stack.provider.alive():
        stack.behave("alpha")
        stack.behave("beta")


@pytest.fixture
def sub(request):
    """A subject of this test's own: its ledger rows are found by it."""
    return request.node.name.replace("[", "-").replace("]", "").replace("_", "-")


@pytest.fixture
def sdk(stack):
    """openai clients that go through the gateway: sdk(token, max_retries=0)."""
    clients = []

    def make(token, **options):
        options.setdefault("max_retries", 0)
        client = openai.OpenAI(base_url=stack.gateway + "/v1", api_key=token, timeout=PATIENCE, **options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def settled(stack):
    """settled(sub, count): the subject's ledger rows once there are `count` and none is open."""

    def wait(subject, count=1):
        end = time.monotonic() + PATIENCE
        while True:
            rows = ledger.requests(stack, subject)
            if len(rows) >= count and not any(ledger.is_open(row) for row in rows):
                assert len(rows) == count, rows
                return rows if count > 1 else rows[0]
            assert time.monotonic() < end, f"not settled: {rows}"
            time.sleep(0.02)

    return wait
