"""Secrets that are lent: a real OpenBao whose engine makes a user for each lease (RabbitMQ's, with a stand-in for the broker's management API),
renewals that end, leases and tokens that are revoked, a vault that is away. The provider accepts only users that exist."""

import contextlib
import http.server
import json
import secrets
import signal
import threading
import time

import pytest

from credential_kinds import Bao
from machine import PATIENCE, wait_for

LEASE_S, LONGEST_S = 30, 50  # asked about at four fifths at the latest: five seconds remain for whoever is late


class Broker:
    """As much of RabbitMQ's management API as the engine calls: who exists now, and whoever did."""

    def __init__(self):
        self.users, self.made, self.changed = {}, {}, lambda: None  # made: when, of the monotonic clock
        broker = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def done(self, status):
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_PUT(self):
                value = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
                if self.path.startswith("/api/users/"):
                    broker.users[self.path.rsplit("/", 1)[1]] = value["password"]
                    broker.made[value["password"]] = time.monotonic()
                    broker.changed()
                self.done(201)

            def do_DELETE(self):
                broker.users.pop(self.path.rsplit("/", 1)[1], None)
                broker.changed()
                self.done(204)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def broker():
    with contextlib.closing(Broker()) as running:
        yield running


@pytest.fixture(scope="module")
def bao(tmp_path_factory, broker):
    running = Bao(tmp_path_factory.mktemp("bao"))
    running.do("POST", "sys/auth/approle", {"type": "approle"})
    running.do("POST", "sys/mounts/broker", {"type": "rabbitmq"})
    running.do(
        "POST", "broker/config/connection", {"connection_uri": broker.url, "username": "admin", "password": "x", "verify_connection": False}
    )
    running.do("POST", "broker/config/lease", {"ttl": f"{LEASE_S}s", "max_ttl": f"{LONGEST_S}s"})
    running.do("POST", "broker/roles/llm", {"vhosts": '{"/": {"read": ".*"}}'})
    running.do("PUT", "sys/policies/acl/borrowers", {"policy": 'path "broker/creds/*" { capabilities = ["read"] }'})
    yield running
    running.process.stop()


@pytest.fixture(scope="module")
def stack(make_stack, bao):
    def extend(s):
        bao.do("POST", "auth/approle/role/gateway", {"token_policies": ["borrowers", "default"], "token_ttl": "30s", "token_max_ttl": "10m"})
        role_id = bao.ask("GET", "auth/approle/role/gateway/role-id")["data"]["role_id"]
        secret_id = bao.ask("POST", "auth/approle/role/gateway/secret-id", {})["data"]["secret_id"]
        vault = (
            f"url: {bao.url}, allow_http: true, path: broker/creds/llm, field: password, role_id: {role_id}, "
            f"secret_id: {{file: {s.write_secret('secret-id', secret_id)}}}"
        )
        return [
            f'name: lent, url: "http://127.0.0.1:{s.ports["alpha"]}/v1", price_as: openai, credential: {{vault: {{{vault}}}}}'
        ], ["name: lent, primary: {provider: lent, model: gpt-4o-mini}, max_output: 1024"]

    return make_stack(extend=extend)


@pytest.fixture(scope="module")
def person(stack):
    return stack.person("borrower")


@pytest.fixture
def strict(stack, broker):
    """The provider accepts exactly the users there are."""

    def tell():
        stack.behave("alpha", accept=["Bearer " + password for password in list(broker.users.values())] or ["nobody"])

    broker.changed = tell
    tell()
    yield
    broker.changed = lambda: None


def ask(stack, person):
    """(status, key as the provider got it) of one request."""
    marker = "v-" + secrets.token_hex(8)
    status, _, _ = stack.post(person, {"model": "lent", "messages": [{"role": "user", "content": marker}]})
    sent = [value for record in stack.received("alpha", marker) for name, value in record["headers"] if name.lower() == "authorization"]
    return status, sent[-1].removeprefix("Bearer ") if sent else None


def served(stack, person):
    def look():
        status, key = ask(stack, person)
        assert status in (200, 503)
        return key

    return wait_for(look, "a lent key")


def test_a_lease_is_renewed_and_replaced_before_its_longest_life(stack, person, broker, strict):
    """Until its longest life is over and it is replaced no request is lost, and no user is made meanwhile."""
    first = served(stack, person)
    before = len(broker.made)

    def replaced():
        status, key = ask(stack, person)
        assert status == 200
        return key != first

    wait_for(replaced, "a new user", LONGEST_S + PATIENCE)
    second = list(broker.made)[before]
    assert broker.made[second] - broker.made[first] > LEASE_S, "a new user where a renewal would have done"


def test_a_revoked_lease_costs_no_request(stack, person, bao, broker, strict):
    """The provider refuses the key of the user that has gone; another is borrowed within the request."""
    for _ in range(3):
        old = served(stack, person)
        bao.do("PUT", "sys/leases/revoke-prefix/broker/creds/llm")
        wait_for(lambda: old not in broker.users.values(), "the end of the user")
        status, key = ask(stack, person)
        assert status == 200 and key != old


def test_a_revoked_token_logs_in_anew(stack, person, bao, broker, strict):
    served(stack, person)
    before = set(broker.made)
    for accessor in bao.ask("LIST", "auth/token/accessors")["data"]["keys"]:
        with contextlib.suppress(OSError):
            if bao.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]["path"] == "auth/approle/login":
                bao.do("POST", "auth/token/revoke-accessor", {"accessor": accessor})  # and its leases

    def anew():
        status, key, *_ = ask(stack, person)
        return status == 200 and key not in before  # the old key lives until the vault comes to end its lease

    wait_for(anew, "a key by a new login")


def test_the_vault_is_away(stack, person, bao):
    """The lent key is used to its end, and no longer; a fresh one once the vault is back."""
    key = served(stack, person)
    bao.process.popen.send_signal(signal.SIGSTOP)
    try:
        assert ask(stack, person)[0] == 200
        wait_for(lambda: ask(stack, person)[0] == 503, "the end of the lease")
        wait_for(lambda: "credential_expired credential=lent" in stack.agent.text(), "the log to tell of it")
    finally:
        bao.process.popen.send_signal(signal.SIGCONT)
    assert served(stack, person) != key
