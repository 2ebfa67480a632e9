"""tollgatectl doctor: all is well, and then each thing it looks at is broken for real; with and without an agent."""

import datetime
import http.server
import json
import os
import re
import shutil
import socket
import sqlite3
import ssl
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from authority import Authority
from machine import PATIENCE, build_folder, wait_for

CTL = build_folder() / "tollgatectl"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A clock that is kept right, whatever this machine's is; and what makes it another."""
    folder = tmp_path_factory.mktemp("clock")
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", "-o", folder / "clock.so", Path(__file__).with_name("clock_shift.c")], check=True, timeout=PATIENCE
    )
    (folder / "shift").write_bytes(struct.pack("=q", 0))
    return {"LD_PRELOAD": str(folder / "clock.so"), "CLOCK_SHIFT_FILE": str(folder / "shift"), "ASAN_OPTIONS": "verify_asan_link_order=0"}


@pytest.fixture
def doctor(stack, shim):
    def run(*arguments, expect=None, **more):
        """Its findings, those that are ok too. With the exit status `expect`: a disk or a process that is slow for once is waited out."""
        if expect is None:
            return look(*arguments, **more)[1]
        last = []

        def expected():
            last[:] = look(*arguments, **more)
            return last[0] == expect

        try:
            wait_for(expected, f"exit status {expect}")
        except TimeoutError:
            pytest.fail(f"{last[0]} is not {expect}: {[f for f in last[1] if f['level'] != 'ok']}")
        return last[1]

    def look(*arguments, config=None, own=None, **environment):
        # Our own files stand for the company's: /etc/haproxy of this machine has nothing to do with it.
        files = own or [stack.folder / "haproxy/tollgate.cfg"]
        done = subprocess.run(
            [CTL, "doctor", *map(str, files), "--config", config or stack.config, "--json", *map(str, arguments)],
            capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **shim, "BETA_KEY": "x", **environment},
        )  # fmt: skip
        answer = json.loads(done.stdout)
        found = answer["findings"]
        assert answer["failures"] == sum(f["level"] == "failure" for f in found) and answer["warnings"] == sum(f["level"] == "warning" for f in found)
        assert done.returncode == (2 if answer["failures"] else 1 if answer["warnings"] else 0), found
        assert all((f["fix"] is None) == (f["level"] == "ok") for f in found)
        return done.returncode, found

    return run


def bad(found, check):
    return [(f["level"], f["text"], f["fix"]) for f in found if f["check"] == check and f["level"] != "ok"]


def only(found, check, level, says):
    """Exactly one finding of this check is not well, and it says this."""
    (one,) = bad(found, check)
    assert one[0] == level and re.search(says, one[1] + " " + one[2]), one


def changed(stack, folder, *edits, more=""):
    """A copy of the configuration with these (pattern, replacement) done."""
    text = stack.config.read_text()
    for pattern, replacement in edits:
        text, count = re.subn(pattern, replacement, text, flags=re.M)
        assert count, pattern
    path = folder / "tollgate.yaml"
    path.write_text(text + more)
    return path


def test_all_is_well(stack, doctor, sub):
    token = stack.person(sub)

    def well():
        """Asked after a request of its own: the last commit may have been a slow one."""
        assert stack.post(token, {"model": "solo", "messages": [{"role": "user", "content": "hello"}]})[0] == 200
        last[:] = doctor()
        return all(f["level"] == "ok" for f in last)

    last = []
    try:
        wait_for(well, "nothing to complain of")
    except TimeoutError:
        pytest.fail(str([f for f in last if f["level"] != "ok"]))
    found = last
    assert {f["check"] for f in found} == {
        "config", "agent", "spoe", "ring", "ledger-lag", "issuer-keys", "credential", "clock", "haproxy", "haproxy-review", "haproxy-config",
        "socket", "disk", "ledger", "secret", "prices", "price", "issuer", "provider",
    }  # fmt: skip
    people = subprocess.run(
        [CTL, "doctor", stack.folder / "haproxy/tollgate.cfg", "--config", stack.config], capture_output=True, text=True, timeout=PATIENCE
    ).stdout
    assert re.search(r"^ok +agent +\S+: version \S+ answers$", people, re.M) and re.search(r"\n\d+ ok, \d+ warnings?, 0 failures\n$", people)
    assert stack.keys["alpha"] not in people


def test_without_an_agent(stack, doctor, tmp_path):
    """The rest is looked at all the same."""
    found = doctor("--socket", tmp_path / "none.sock", expect=2)
    only(found, "agent", "failure", "is tollgate running.*systemctl start tollgate")
    assert {"config", "haproxy-config", "ledger", "disk", "secret", "provider", "issuer", "prices"} <= {f["check"] for f in found if f["level"] == "ok"}


def test_the_configuration_is_that_of_the_agent(stack, shim):
    """Without --config, the agent is asked which one it has."""
    done = subprocess.run(
        [CTL, "doctor", stack.folder / "haproxy/tollgate.cfg", "--socket", stack.admin_socket, "--json", "--offline"],
        capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **shim},
    )  # fmt: skip
    assert any(f["check"] == "config" and f["subject"] == str(stack.config) and f["level"] == "ok" for f in json.loads(done.stdout)["findings"])


def test_a_bad_configuration(stack, doctor, tmp_path):
    found = doctor("--offline", "--socket", stack.admin_socket, config=changed(stack, tmp_path, (r"^workers: 2$", "workers: 0x")), expect=2)
    only(found, "config", "failure", r"tollgate.yaml:\d+: workers")
    assert any(f["check"] == "agent" and f["level"] == "ok" for f in found)


def test_haproxy_is_not_connected(stack, doctor):
    stack.haproxy.stop()
    assert stack.agent.stop() == 0
    stack.start_agent()
    try:
        found = doctor("--offline", expect=2)
        only(found, "spoe", "failure", r"not connected since the agent started start HAProxy with -f \S+/haproxy/tollgate.cfg")
        only(found, "ring", "failure", "log is not connected")
    finally:
        stack.start_haproxy()
    wait_for(lambda: bad(doctor("--offline"), "ring") == [], "the ring to be connected")


def test_the_ledger_cannot_be_written(stack, doctor, sub):
    token = stack.person(sub)
    db = sqlite3.connect(stack.ledger_file, isolation_level=None, timeout=PATIENCE)
    db.execute("BEGIN EXCLUSIVE")
    try:
        threads = [threading.Thread(target=stack.post, args=(token, {"model": "solo", "messages": []})) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_for(lambda: any(f[0] == "failure" for f in bad(doctor("--offline"), "ledger-lag")), "the ledger's failure to be seen")
        only(doctor("--offline"), "ledger-lag", "failure", "cannot be written, requests are refused.*make room")
    finally:
        db.execute("ROLLBACK")
        db.close()
    for thread in threads:
        thread.join()
    wait_for(lambda: all(f[0] != "failure" for f in bad(doctor("--offline"), "ledger-lag")), "it to recover")


def test_keys_of_issuers_and_providers(stack, doctor):
    """The agent cannot get an issuer's keys; a provider's key cannot be fetched."""
    before = stack.config.read_text()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        text = before.replace("issuers:\n", f"issuers:\n  - {{issuer: \"http://127.0.0.1:{taken.getsockname()[1]}\", audience: [tollgate], allow_http: true}}\n")
        text = text.replace("providers:\n", "providers:\n  - {name: gamma, price_as: openai, url: \"http://127.0.0.1:9/v1\", credential: {command: {argv: [/bin/false]}}}\n")
        stack.config.write_text(text)
        try:
            stack.reload()
            found = wait_for(lambda: (lambda f: f if bad(f, "credential") and bad(f, "issuer-keys") else None)(doctor()), "both to be seen")
            only(found, "issuer-keys", "failure", "no usable keys")
            only(found, "credential", "failure", "no valid value")
            only(found, "issuer", "failure", r"^TCP: .*firewalls")
            only(found, "provider", "failure", r"^TCP: .*firewalls")
        finally:
            stack.config.write_text(before)
            stack.reload()
    wait_for(lambda: bad(doctor(), "credential") == [], "the configuration from before")


def test_the_clock(stack, doctor, tmp_path):
    only(doctor("--offline", CLOCK_UNSYNCHRONIZED="1", expect=1), "clock", "warning", "nothing keeps the clock right.*chrony")
    for seconds, level, says in ((30, "warning", "ahead of theirs"), (-300, "failure", "behind theirs: tokens are refused")):
        (tmp_path / "shift").write_bytes(struct.pack("=q", seconds))
        found = bad(doctor(CLOCK_SHIFT_FILE=str(tmp_path / "shift")), "clock")
        assert found and all(f[0] == level and says in f[1] for f in found), found


def test_the_haproxy_program(stack, doctor, tmp_path):
    only(doctor("--offline", "--haproxy-program", tmp_path / "none", expect=1), "haproxy", "warning", "cannot be run here apt install haproxy")
    old = tmp_path / "haproxy"
    old.write_text("#!/bin/sh\necho 'HAProxy version 2.4.22-1 2023/02/14'\n")
    old.chmod(0o755)
    only(doctor("--offline", "--haproxy-program", old, expect=2), "haproxy", "failure", "2.4.22.*2.6 or later")


def test_haproxys_files(stack, doctor, tmp_path):
    found = doctor("--offline", config=changed(stack, tmp_path, (r"conf_dir: .*", f"conf_dir: {tmp_path}/none")), own=[tmp_path / "x"])
    only(found, "haproxy-config", "failure", r"No such file.*tollgate haproxy --config \S+ --out \S+/none")
    own = tmp_path / "own.cfg"
    own.write_text("frontend own\n    mode http\n    no-such-keyword 1\n")
    only(doctor("--offline", own=[own], expect=2), "haproxy-config", "failure", r"HAProxy refuses it: .*no-such-keyword")
    own.write_text("global\n    tune.bufsize 16384\n")
    only(doctor("--offline", own=[own], expect=2), "haproxy-review", "failure", r"tune.bufsize 16384: a request of \d+ bytes .haproxy.max_body.")
    folder = tmp_path / "haproxy"
    shutil.copytree(stack.folder / "haproxy", folder)
    (folder / "tollgate.cfg").write_text((folder / "tollgate.cfg").read_text().replace("retries 1", "retries 3"))
    config = changed(stack, tmp_path, (r"conf_dir: .*", f"conf_dir: {folder}"))
    only(doctor("--offline", config=config, own=[folder / "tollgate.cfg"]), "haproxy-review", "failure", "not what tollgate's configuration gives")


@pytest.mark.parametrize("mode, level, says", [(0o666, "failure", "others than the agent and HAProxy.*chmod 660"), (0o600, "warning", "HAProxy may be kept out")])
def test_modes_of_sockets(stack, doctor, mode, level, says):
    path = stack.sockets / "settle.sock"
    path.chmod(mode)
    try:
        only(doctor("--offline"), "socket", level, says)
    finally:
        path.chmod(0o660)


def test_a_socket_is_gone(stack, doctor):
    path = stack.sockets / "settle.sock"
    path.rename(path.with_suffix(".aside"))
    try:
        only(doctor("--offline", expect=2), "socket", "failure", "No such file.*start the agent")
        path.touch()
        only(doctor("--offline", expect=2), "socket", "failure", "it is no socket")
        path.unlink()
    finally:
        path.with_suffix(".aside").rename(path)


def test_the_disk(stack, doctor, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=8", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system needs root: {mounted.stderr.strip()}")
    try:
        found = doctor("--offline", "--socket", tmp_path / "none", config=changed(stack, tmp_path, (r"ledger: \{file: [^,]*", f"ledger: {{file: {folder}/ledger.db")))
        only(found, "disk", "failure", r"[12] MB and \d files are left.*tollgatectl archive")
        only(found, "ledger", "warning", "the agent makes it")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_the_ledgers_file(stack, doctor, tmp_path):
    copy = tmp_path / "ledger.db"
    with sqlite3.connect(stack.ledger_file) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    target.execute("PRAGMA journal_mode = DELETE")
    target.close()
    config = changed(stack, tmp_path, (r"ledger: \{file: [^,]*", f"ledger: {{file: {copy}"))
    look = lambda: doctor("--offline", "--socket", tmp_path / "none", config=config)  # noqa: E731
    copy.chmod(0o600)
    assert bad(look(), "ledger") == []
    copy.chmod(0o666)
    only(look(), "ledger", "failure", "mode is 666: others may change.*chmod 600")
    copy.chmod(0o600)
    with open(copy, "r+b") as file:  # pages of tables become noise; the first, which says that it is a ledger, stays
        size = os.fstat(file.fileno()).st_size
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    only(look(), "ledger", "failure", "damaged|malformed|disk image")
    copy.write_bytes(b"this is no database" * 500)
    only(look(), "ledger", "failure", "not a database|backup")


def test_modes_of_secrets(stack, doctor):
    path = stack.folder / "alpha.key"
    path.chmod(0o644)
    try:
        only(doctor("--offline", expect=2), "secret", "failure", "a provider's key: its mode is 644.*chmod 600 ")
        path.rename(path.with_suffix(".aside"))
        only(doctor("--offline", "--socket", "/nowhere"), "secret", "failure", "No such file")
    finally:
        if path.with_suffix(".aside").exists():
            path.with_suffix(".aside").rename(path)
        path.chmod(0o600)


def stamp(**delta):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**delta)).strftime("%Y%m%d%H%M%SZ")


@pytest.mark.parametrize("last, level, says", [
    ({"days": -2}, "failure", "expired [12] days ago.*reload HAProxy"), ({"hours": 30}, "failure", r"expires in (29|30) hours"),
    ({"days": 10}, "warning", r"expires in (9|10) days"), (None, "failure", "no certificate in it"),
])  # fmt: skip
def test_certificates_of_listeners(stack, doctor, tmp_path, last, level, says):
    path = tmp_path / "none.pem"
    path.write_text("hello\n")
    if last is not None:
        path = Authority(tmp_path / "ca", "Own").issue("gate", "/CN=gate", "DNS:gate", "serverAuth", stamp(days=-30), stamp(**last))
    config = changed(stack, tmp_path, (r"^  bind:$", f'  bind:\n    - {{address: "127.0.0.1:1", cert: {path}}}'))
    only(doctor("--offline", "--socket", tmp_path / "none", config=config), "certificate", level, says)


def test_prices(stack, doctor, tmp_path):
    table = tmp_path / "prices.json"
    table.write_text((Path(__file__).parents[2] / "agent/price/data/model-prices.json").read_text())
    os.utime(table, (1_700_000_000, 1_700_000_000))
    off = ("--offline", "--socket", tmp_path / "none")
    only(doctor(*off, config=changed(stack, tmp_path, more=f"prices: {{file: {table}}}\n")), "prices", "warning", r"\d+ days old.*models.dev")
    unknown = (r"\{name: solo, primary: \{provider: alpha, model: gpt-4o-mini\}", "{name: solo, primary: {provider: alpha, model: no-such-model}")
    only(doctor(*off, config=changed(stack, tmp_path, unknown)), "price", "failure", "has no price: requests for it are refused")
    found = doctor(*off, config=changed(stack, tmp_path, unknown, more="prices: {allow_unpriced: true}\n"))
    only(found, "price", "failure", "counts against no limit")  # there is a limit on money


class Site:
    """An HTTPS server with the certificate it is given, and the answer."""

    def __init__(self, certificate, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_providers(stack, doctor, tmp_path):
    ca = Authority(tmp_path / "ca", "Own")
    good = ca.issue("good", "/CN=x", "DNS:llm.test", "serverAuth", stamp(days=-1), stamp(days=10))
    url = r'url: "http://127.0.0.1:\d+/v1"'
    with Site(good, lambda _: (404, b"{}")) as tls, Site(None, lambda _: (503, b"")) as ill:
        for edit, level, says in (
            ('url: "http://no-such-host.invalid/v1"', "failure", "^DNS: .*resolv.conf"),
            (f'url: "https://127.0.0.1:{tls.port}/v1", server_name: llm.test', "failure", "^TLS: .*its certificate"),
            (f'url: "https://127.0.0.1:{tls.port}/v1", server_name: llm.test, insecure: true', "warning", "not verified.*remove insecure"),
            (f'url: "http://127.0.0.1:{ill.port}/v1"', "warning", "answers with 503"),
        ):
            found = doctor("--socket", tmp_path / "none", config=changed(stack, tmp_path, (url, edit)))
            only(found, "provider", level, says)
        found = doctor("--socket", tmp_path / "none", config=changed(stack, tmp_path, (url, f'url: "https://127.0.0.1:{tls.port}/v1", server_name: llm.test, ca_file: {ca.ca}')))
        assert bad(found, "provider") == []
        assert {level for level, text, _ in bad(found, "certificate") if re.search("expires in (9|10) days", text)} == {"warning"}


def test_issuers(stack, doctor, tmp_path):
    def answer(path):
        if path.startswith("/other"):
            return 200, json.dumps({"issuer": "https://somebody.else", "jwks_uri": "http://x"}).encode()
        if path.startswith("/nokeys/keys"):
            return 200, b'{"keys": []}'
        if path.startswith("/nokeys"):
            return 200, json.dumps({"issuer": f"http://127.0.0.1:{site.port}/nokeys", "jwks_uri": f"http://127.0.0.1:{site.port}/nokeys/keys"}).encode()
        return 404, b""

    with Site(None, answer) as site:
        for path, says in (("none", "no discovery document: status 404"), ("other", "names another: https://somebody.else.*last slash"), ("nokeys", "status 200, 0 keys")):
            config = changed(stack, tmp_path, (r"issuer: http://127.0.0.1:\d+$", f"issuer: http://127.0.0.1:{site.port}/{path}"))
            only(doctor("--socket", tmp_path / "none", config=config), "issuer", "failure", says)
