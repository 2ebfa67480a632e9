"""What a core file of the agent would hold: with every kind of secret configured and requests under way, none of them. The agent forbids
core files itself (test_gate_secrets); here its memory is read as root, as if it had not."""

import contextlib
import itertools
import random
import secrets
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest

import memory
from console_support import Visitor
from credential_kinds import everywhere
from machine import PATIENCE, build_folder, wait_for

pytestmark = pytest.mark.skipif(
    b"__asan_init" in (build_folder() / "tollgate").read_bytes() or b"__tsan_init" in (build_folder() / "tollgate").read_bytes(),
    reason="a sanitizer keeps what was freed",
)

MODELS = ("azs", "azc", "goo", "vat", "var", "cmd", "multi", "rotor", "sysd", "bed", "bet", "spare", "aws-both", "chat-default", "solo")


def prompt(model, text, **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def stack(make_stack, endpoints, bao, known):
    def prepare(s):
        usual = s.extra
        s.write_secret("hook.key", known.secret("webhook") + "\n")
        s.write_secret("keys.secret", known.secret("keys-secret") + "\n")
        s.extra = lambda: (
            usual()
            + f'alerts: {{url: "http://127.0.0.1:{s.ports["control"]}/hook", allow_http: true, secret_file: {s.folder}/hook.key}}\n'
            + f"keys: {{secret_file: {s.folder}/keys.secret}}\n"
        )
        known.secret("introspector", (s.folder / "introspector.key").read_text().strip())
        known.secret("console", (s.folder / "console.secret").read_text().strip())
        for name, key in s.keys.items():
            known.secret("provider-" + name, key)

    return make_stack(
        extend=lambda s: everywhere(s, endpoints, bao, known),
        limits=('name: hooked, level: team, match: ["research"], amount: "20 requests", window: total, action: soft',),
        introspection="cache: 1s, stale: 50s",
        console="confidential",
        prepare=prepare,
    )


def ctl(stack, *argv):
    done = subprocess.run(
        [stack.tollgate.parent / "tollgatectl", "--socket", stack.admin_socket, *argv], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def people(stack, known):
    """Callers of every kind, each of whom has been served by every provider; {name: credential}."""
    found = {f"token-{i}": stack.person(f"dev-{i}") for i in range(4)}
    found["gateway-key"] = ctl(stack, "key", "create", "robot", "--team", "research").split()[-1]
    assert found["gateway-key"].startswith("tg_")
    for name, model in itertools.product(list(found)[:1], MODELS):
        wait_for(lambda: stack.post(found[name], prompt(model, "hello"))[0] == 200, f"a key for {model}")
    visitor = Visitor(stack.console_url)
    visitor.sign_in("dev-0", stack.passwords["dev-0"])
    assert visitor.api("me")[0] == 200
    found["cookie"] = visitor.cookie("tollgate_session").value
    return found


def spelled(known, endpoints, people):
    """Of a token its signature is what must not be seen: the rest is not secret, and alike in many."""
    wanted = {**known.secrets, **{f"fetched-{i}": token for i, (_, token, _) in enumerate(endpoints.issued)}}
    wanted |= {name: value.rsplit(".", 1)[-1] for name, value in people.items()}
    wanted = {name: memory.forms(text) for name, text in wanted.items()}
    for number, key in enumerate(known.private_keys):
        wanted[f"rsa-{number}"] = set(memory.key_forms(key))
    return wanted


class Load:
    """Requests of everybody to every provider until the end of the `with`; `sent` counts them."""

    def __init__(self, stack, people):
        self.stack, self.stop, self.sent, self.wrong = stack, threading.Event(), 0, []
        self.callers = [value for name, value in people.items() if not name.startswith("cookie")]
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(6)]

    def run(self, number):
        dice = random.Random(number)
        while not self.stop.is_set():
            caller, model = dice.choice(self.callers), dice.choice(MODELS)
            more = {"stream": True} if dice.random() < 0.4 else {}
            headers = {"x-api-key": caller} if dice.random() < 0.3 else {}
            status, _, answer = self.stack.post(None if headers else caller, prompt(model, "under load " * 40, **more), headers=headers)
            self.sent += 1
            if status != 200:
                self.wrong.append((status, answer[:200]))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.usefixtures("inside")
def test_a_core_under_load_holds_no_secret(stack, people, known, endpoints):
    pid, dice = stack.agent.pid, random.Random()
    with Load(stack, people) as load:
        for _ in range(8):
            before = load.sent
            wait_for(lambda: load.sent >= before + 20, "requests")
            time.sleep(dice.random() * 0.05)  # any moment
            pieces = memory.contents(pid)
            # A session's cookie may stand in the console's HTTP library while HAProxy keeps its connection there.
            assert memory.search(pieces, spelled(known, endpoints, people)).keys() <= {"cookie"}
    assert {status for status, _ in load.wrong} <= {503}  # nobody decides while it stands still
    # The search finds what does stand there.
    there = {"path": {str(stack.folder).encode()}, "issuer": {stack.issuer.encode()}}
    assert set(memory.search(pieces, there)) == set(there)


@pytest.mark.usefixtures("inside")
def test_the_search_sees_the_memory_that_cores_leave_out(stack, people, known):
    """Keys do stand in memory, in pages that are left out of cores and locked."""
    wanted = {name: memory.forms(known.secrets[name]) for name in ("provider-alpha", "provider-beta", "loaded", "aws-token")}
    found = memory.search(memory.contents(stack.agent.pid, memory.everything), wanted)
    assert set(found) == set(wanted)
    kept, locked = memory.kept_out(stack.agent.pid)
    assert kept > len(known.secrets) and locked > 10


@pytest.mark.usefixtures("inside")
def test_nothing_of_a_request_outlives_it(stack, people):
    """Tokens, gateway keys, prompts and answers: wiped with the end of the request, in whatever memory they stood."""
    mark = "prompt-" + secrets.token_hex(12)
    for name, caller in people.items():
        if not name.startswith("cookie"):
            for more in ({}, {"stream": True}):
                assert stack.post(caller, prompt("solo", mark, **more))[0] == 200
    assert stack.post(stack.mint(key="stray"), prompt("solo", mark))[0] == 401
    callers = {name: value for name, value in people.items() if not name.startswith("cookie")}
    wanted = {name: memory.forms(value.rsplit(".", 1)[-1]) for name, value in callers.items()} | {"prompt": memory.forms(mark)}
    found = None

    def gone():  # settled, and the question to the issuer answered
        nonlocal found
        found = memory.search(memory.contents(stack.agent.pid, memory.everything), wanted)
        return not found

    with contextlib.suppress(TimeoutError):
        wait_for(gone, "the end of what is under way")
    assert found == {}


def test_none_in_what_the_agent_writes(stack, people, known, endpoints):
    wanted = spelled(known, endpoints, people)

    def found(data):
        return [name for name, forms in wanted.items() if any(form in data for form in forms)]

    own = {path.name for path in stack.folder.iterdir() if path.is_file() and path.stat().st_mode & 0o777 == 0o600} - {"ledger.db", "audit.log"}
    own = {name for name in own if not name.startswith(("ledger", "audit"))} | {"printed"}
    looked_at = set()
    for path in sorted(stack.folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name not in own:
            looked_at.add(path.name)
            assert found(path.read_bytes()) == [], path.name
    assert {"agent.log", "haproxy.log", "ledger.db", "ledger.db-wal", "audit.log", "tollgate.yaml"} <= looked_at
    for process in (stack.agent, stack.haproxy):
        assert found(Path(f"/proc/{process.pid}/cmdline").read_bytes() + memory.environment(process.pid)) == [], process.name
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['metrics']}/metrics", timeout=PATIENCE).read()
    assert found(metrics) == []
    token = stack.write_secret("asked.token", people["token-0"])
    for argv in (
        ["status"], ["key", "list"], ["revocations"], ["budget"], ["route", "status"], ["tokens"],
        ["explain", "--token", str(token), "--model", "solo"],
    ):
        for form in ([], ["--json"]):
            assert found(ctl(stack, *form, *argv).encode()) == [], argv


def test_the_webhook_was_called(stack, people):
    """Else its secret would not have been in use."""
    wait_for(lambda: stack.query("SELECT 1 FROM alert WHERE limit_name = 'hooked'"), "the alert")
