"""The whole thing on loopback: OpenID provider, stand-in providers, the agent, HAProxy, in one folder with one
configuration.

Used by the tests (conftest.py) and by ./demo. Python's standard library only. Every process logs into the folder; a
Stack knows how to start, stop, kill and restart each of them, and to read what the agent wrote. Nothing sleeps for a
fixed time: waits poll for a condition and fail with what they waited for."""

import contextlib
import http.client
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path

from machine import HERE, PATIENCE, QUIET_ZONE, Process, build_folder, call, free_ports, wait_for
from stack_configuration import configuration

# US dollars per million tokens are nano-dollars per thousandth of a token: 0.15 USD/M is 150 a token.
PRICES = {("openai", "gpt-4o-mini"): (150, 600), ("azure", "gpt-4o"): (2500, 10000)}


class Gate:
    numbers = itertools.count(1)

    def __init__(self, stack):
        self.stack, self.number = stack, next(self.numbers)

    def __str__(self):
        return f"gate={self.number}"

    def open(self):
        for name in ("alpha", "beta"):
            call("PUT", f"http://127.0.0.1:{self.stack.ports['control']}/{name}/gates", {"open": self.number})


# Tests of single faults make many in a row: what they see must not depend on what the ones before them did.
NO_BREAKER = 'failures: 0, error_rate: "0%", retry_after: 24h'


class Stack:
    """One running tollgate with everything around it."""

    # Generous: no test meets it by accident. Tests add limits of their own and use teams of their own with them.
    LIMITS = ('name: team-day, level: team, amount: "$50", window: day, time_zone: %s',)

    def __init__(
        self,
        folder,
        limits=(),
        lua=True,
        detached=False,
        ports=None,
        first_byte="60s",
        decision="8s",
        zone=QUIET_ZONE,
        max_body=229376,
        hold_timeout="10m",
        streams="relay",
        stall="60s",
        python=sys.executable,
        haproxy=None,
        build=None,
        sockets=None,
        revocations=None,
        introspection=None,
        models=(),
        first_byte_stream=None,
        breaker=NO_BREAKER,
        console=None,
        prepare=None,
        extend=None,
        access=(),
        binds=None,
        certificates=(),
        passthrough=(),
        workers=2,
        traces=None,
        unix_ring=False,
        retry_after_wait="2s",
    ):
        self.folder = Path(folder)
        self.ledger_folder = self.folder
        self.sockets = Path(sockets or folder)  # their paths must stay below 108 bytes
        self.limits = [*(limit % zone for limit in self.LIMITS), *limits]
        self.lua, self.detached, self.max_body = lua, detached, max_body
        # Longer than any pause of a busy machine: only who wants to see one of these limits at work sets a shorter one.
        self.first_byte, self.decision = first_byte, decision
        self.hold_timeout, self.python = hold_timeout, python
        self.retry_after_wait = retry_after_wait
        self.console = console  # None, "confidential" or "public": how the agent is known to the OpenID provider
        self.prepare = prepare  # called with the stack once the providers run and before anything of tollgate does
        self.streams, self.stall = streams, stall
        self.haproxy_program = haproxy or os.environ.get("TOLLGATE_HAPROXY", "haproxy")
        self.tollgate = Path(build or build_folder()) / "tollgate"
        self.ports = dict.fromkeys(("gateway", "spop", "ring", "metrics", "console", "alpha", "beta", "control", "idp", "idp_admin"), 0)
        self.ports.update(ports or {})
        self.keys = {"alpha": "sk-alpha-" + secrets.token_hex(24), "beta": "beta-" + secrets.token_hex(24)}
        self.access = access  # rules; none: no policy
        self.binds = binds  # binds(stack): more addresses for clients, each the inside of a YAML mapping
        self.certificates = certificates  # rules for client certificates
        self.passthrough = passthrough
        self.workers = workers
        self.traces = traces  # where traces go: the inside of a YAML mapping
        self.unix_ring = unix_ring
        self.introspect = introspection  # durations of the answers' cache: "cache: 1s, stale: 5s"
        self.first_byte_stream = first_byte_stream
        self.models, self.breaker = models, breaker
        self.revocations = revocations  # name of a watched file in the folder
        self.tokens, self.passwords = {}, {}
        self.extend = extend  # extend(stack): more providers and models, each the inside of a YAML mapping
        self.agent_env = {}  # for the agent alone, at its next start
        self.agent = self.haproxy = self.idp = self.provider = self.issuer = None

    # ---- life
    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        # Of the ports that outgoing connections never take: what is stopped must be able to come back.
        missing = [name for name in self.ports if not self.ports[name]]
        self.ports.update(zip(missing, free_ports(len(missing))))
        self.start_idp()
        self.start_providers()
        self.write_secret("alpha.key", self.keys["alpha"] + "\n")
        if self.introspect:
            secret = secrets.token_hex(16)
            self.write_secret("introspector.key", secret + "\n")
            self.idp_admin("PUT", "/introspector", {"secret": secret, "delay": 0})
        if self.revocations:
            (self.folder / self.revocations).touch()
        if self.console:
            self.register_console()
        if self.prepare:
            self.prepare(self)
        self.write_configuration()
        self.run_tool("check", self.config)
        self.write_haproxy_files()
        self.start_agent()
        self.start_haproxy()
        return self

    @property
    def config(self):
        return self.folder / "tollgate.yaml"

    @property
    def ledger_file(self):
        return self.ledger_folder / "ledger.db"

    @property
    def admin_socket(self):
        return self.sockets / "admin.sock"

    @property
    def gateway(self):
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def introspection(self):
        if not self.introspect:
            return ""
        return (
            f"\n    introspection: {{url: {self.issuer}/check, client_id: gateway, secret_file: {self.folder}/introspector.key, "
            f"{self.introspect}}}"
        )

    def extra(self):
        """Parts of the configuration that most stacks do without."""
        parts = [f"revocations: {{file: {self.folder / self.revocations}}}\n"] if self.revocations else []
        if self.console:
            parts.append(self.console_configuration())
        if self.access:
            parts.append("access:\n" + "".join(f"  - {{{rule}}}\n" for rule in self.access))
        if self.certificates:
            parts.append("certificates:\n" + "".join(f"  - {{{rule}}}\n" for rule in self.certificates))
        if self.traces:
            parts.append(f"traces: {{{self.traces}}}\n")
        if self.passthrough:
            parts.append("passthrough:\n" + "".join(f"  - {{{path}}}\n" for path in self.passthrough))
        return "".join(parts)

    @property
    def console_url(self):
        return f"{self.gateway}/tollgate/console"

    def console_configuration(self, url=None):
        secret = f"  client_secret: {{file: {self.folder}/console.secret}}\n" if self.console == "confidential" else ""
        return f"""\
console:
  listen: 127.0.0.1:{self.ports["console"]}
  url: {url or self.console_url}
  issuer: {self.issuer}
  client_id: tollgate-console
{secret}  admins: [{{value: llm-admins}}]
"""

    def register_console(self, *urls, ttl=3600):
        """Makes the console known to the OpenID provider, as an operator would."""
        if not (self.folder / "console.secret").exists():
            self.write_secret("console.secret", secrets.token_urlsafe(24) + "\n")
        secret = (self.folder / "console.secret").read_text().strip() if self.console == "confidential" else None
        uris = [f"{url}/callback" for url in urls or [self.console_url]]
        self.idp_admin("PUT", "/clients/tollgate-console", {"redirect_uris": uris, "secret": secret, "ttl": ttl})

    def write_secret(self, name, text):
        return self.replace(self.folder / name, text, 0o600)

    @staticmethod
    def replace(path, text, mode=0o644):
        """A file's content, changed in one step: who watches the file never sees half of it."""
        fresh = path.with_name(path.name + ".fresh")
        fresh.touch(mode=mode)
        fresh.write_text(text)
        return fresh.rename(path)

    def write_configuration(self, text=None):
        """In one step: an agent that an earlier reload still keeps busy must not read half of it."""
        self.replace(self.config, text or configuration(self))

    def run_tool(self, *argv, check=True):
        done = subprocess.run(
            [str(self.tollgate), *map(str, argv)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "BETA_KEY": self.keys["beta"]},
            timeout=PATIENCE * 3,
        )
        if check and done.returncode:
            raise RuntimeError(f"tollgate {argv[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def write_haproxy_files(self):
        out = self.folder / "haproxy"
        out.mkdir(exist_ok=True)
        self.run_tool("haproxy", "--config", self.config, "--out", out)

    def start_idp(self):
        self.idp = Process(
            "idp",
            self.folder,
            ["node", HERE / "idp/server.mjs", self.ports["idp"], self.ports["idp_admin"]],
            env={"NODE_OPTIONS": "", "NODE_NO_WARNINGS": "1"},
            detached=self.detached,
        )
        self.idp.start()
        ready = self.idp.wait_ready_line()
        self.issuer = ready["issuer"]
        self.ports.update(idp=ready["port"], idp_admin=ready["admin"])

    def start_providers(self):
        listens = [part for name in ("alpha", "beta") for part in ("--listen", f"{name}=127.0.0.1:{self.ports[name]}")]
        self.provider = Process(
            "providers",
            self.folder,
            [self.python, HERE / "provider/server.py", *listens, "--control", f"127.0.0.1:{self.ports['control']}"],
            detached=self.detached,
        )
        self.provider.start()
        self.ports.update(self.provider.wait_ready_line())

    def agent_environment(self):
        reports = self.folder / "sanitizer"
        return {
            "BETA_KEY": self.keys["beta"],
            "ASAN_OPTIONS": f"log_path={reports}:detect_leaks=1:abort_on_error=0:exitcode=97",
            "UBSAN_OPTIONS": f"log_path={reports}:print_stacktrace=1:halt_on_error=1:exitcode=97",
            "TSAN_OPTIONS": f"log_path={reports}:exitcode=0:second_deadlock_stack=1",
            **self.agent_env,
        }

    def start_agent(self, unlimited_core=False):
        self.agent = Process(
            "agent",
            self.folder,
            [self.tollgate, "run", "--config", self.config],
            env=self.agent_environment(),
            detached=self.detached,
            unlimited_core=unlimited_core,
        )
        self.agent.start()
        wait_for(self.agent_listens, "the agent to listen")

    def agent_listens(self):
        """Whether it answers on its admin socket: it does so once all else is open, metrics and console included."""
        if not self.agent.alive():
            raise RuntimeError(f"the agent ended with {self.agent.popen.returncode}:\n{self.agent.tail()}")
        return self.status() != b""

    def has_keys(self):
        """Whether the agent has fetched the issuer's keys."""
        return self.issuer.encode() + b"\xa5state\xa2ok" in self.status()

    def status(self):
        """What the agent says of itself on its admin socket, packed; nothing when it does not listen there yet."""
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.settimeout(PATIENCE)
            probe.connect(str(self.admin_socket))
            probe.sendall(b"\x94\x00\x01\xa6status\x90")  # msgpack-rpc: [0, 1, "status", []]
            return probe.recv(1 << 20)
        return b""

    def start_haproxy(self):
        self.haproxy = Process(
            "haproxy",
            self.folder,
            [self.haproxy_program, "-db", "-f", self.folder / "haproxy/tollgate.cfg"],
            detached=self.detached,
        )
        self.haproxy.start()
        self.wait_until_deciding()

    def wait_until_deciding(self):
        """Until the gateway refuses a request for its lack of a token, so HAProxy and agent have found each other, and could verify one."""

        def look():
            if not self.haproxy.alive():
                raise RuntimeError(f"haproxy ended with {self.haproxy.popen.returncode}:\n{self.haproxy.tail()}")
            try:
                return self.post(None, b"{}")[0] == 401
            except (OSError, http.client.HTTPException):
                return False

        wait_for(look, "the gateway to decide")
        wait_for(self.has_keys, "the issuer's keys")

    def kill_agent(self):
        self.agent.popen.kill()
        self.agent.popen.wait()

    def restart_agent(self):
        self.start_agent()
        self.wait_until_deciding()

    def reload(self):
        self.agent.popen.send_signal(signal.SIGHUP)

    def stop(self):
        """Ends everything; raises when the agent or its sanitizers have something to say."""
        problems = []
        for process in (self.haproxy, self.agent, self.provider, self.idp):
            if process is None:
                continue
            try:
                status = process.stop()
                if process is self.agent and status != 0:
                    problems.append(f"the agent ended with {status}:\n{process.tail()}")
            except AssertionError as error:
                problems.append(str(error))
        for path in self.folder.glob("sanitizer.*"):
            # Said once by each process that has fibers, also by those that tell the sanitizer of each switch, as base/fiber.c does.
            text = re.sub(r"^.*doesn't fully support makecontext/swapcontext.*\n", "", path.read_text(errors="replace"), flags=re.M)
            if text.strip():
                problems.append(f"{path.name}:\n{text[:8000]}")
        if problems:
            raise AssertionError("\n".join(problems))

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- people
    def person(self, sub, team="research", cost_center="cc-100", alg="RS256", ttl=3600, **claims):
        """A token issued by the provider to this person over HTTP."""
        secret = self.passwords[sub] = secrets.token_hex(16)
        claims = {
            "sub": sub,
            "team": team,
            "cost_center": cost_center,
            "organization": "acme",
            "groups": ["llm-users"],
            **claims,
        }
        self.idp_admin(
            "PUT", f"/people/{urllib.parse.quote(sub)}", {"secret": secret, "claims": claims, "alg": alg, "ttl": ttl}
        )
        form = urllib.parse.urlencode(
            {"grant_type": "client_credentials", "scope": "llm", "client_id": sub, "client_secret": secret}
        )
        with urllib.request.urlopen(self.issuer + "/token", form.encode(), timeout=PATIENCE) as answer:
            token = json.load(answer)["access_token"]
        self.tokens[sub] = token
        return token

    def idp_admin(self, method, path, value=None):
        return call(
            method, f"http://127.0.0.1:{self.ports['idp_admin']}{path}", value or {} if method != "GET" else None
        )

    def mint(self, **fields):
        """A token from the provider's own keys that it would never issue."""
        return self.idp_admin("POST", "/mint", fields)["token"]

    # ---- providers
    def behave(self, name, **fields):
        return call("PUT", f"http://127.0.0.1:{self.ports['control']}/{name}/behaviour", fields)

    @contextlib.contextmanager
    def gate(self):
        """Answers that wait until the test says so: `gate=N` in a prompt's [[...]], with gate_after=COUNT after so many events of a stream. Open in
        the end."""
        gate = Gate(self)
        try:
            yield gate
        finally:
            if self.provider.alive():
                gate.open()

    def orphan(self, token, marker, **fields):
        """A request to the model solo of which nobody will hear again: HAProxy dies while the provider has it, and with it record and log line."""
        answers = []

        def ask():
            with contextlib.suppress(OSError, http.client.HTTPException):
                answers.append(self.post(token, {"model": "solo", "messages": [{"role": "user", "content": f"{marker} [[{gate}]]"}], **fields}))

        with self.gate() as gate:
            client = threading.Thread(target=ask)
            client.start()
            wait_for(lambda: self.received("alpha", marker), "the request to reach the provider")
            self.haproxy.popen.kill()
            self.haproxy.popen.wait()
            client.join()
        assert not answers, answers

    def received(self, name, marker=""):
        """What a provider was sent, oldest first; with a marker, only requests whose body holds it."""
        records = call("GET", f"http://127.0.0.1:{self.ports['control']}/{name}/requests")
        return [record for record in records if marker in record["body"]]

    # ---- requests without an SDK
    def post(self, token, body, path="/v1/chat/completions", headers=None, timeout=PATIENCE):
        """(status, headers, body) of one raw exchange through the gateway, also when it refuses while we still send."""
        fields = {
            "Content-Type": "application/json",
            **({"Authorization": "Bearer " + token} if token else {}),
            **(headers or {}),
        }
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.ports["gateway"], timeout=timeout)
        ) as connection:
            connection.putrequest("POST", path)
            for name, value in {**fields, "Content-Length": str(len(data))}.items():
                connection.putheader(name, value)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders()
                connection.send(data)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    # ---- the ledger
    def query(self, sql, *parameters):
        """Rows as dictionaries, read-only, the way an analyst would."""
        with contextlib.closing(sqlite3.connect(f"file:{self.ledger_file}?mode=ro", uri=True, timeout=PATIENCE)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, parameters)]
