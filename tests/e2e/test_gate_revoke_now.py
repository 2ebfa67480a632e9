"""However somebody is shut out, once that is confirmed no request passes that is sent afterwards: eight clients that never stop, four workers with
warm caches, and everything that can be revoked."""

import http.client
import json
import secrets
import subprocess
import threading
import time

import httpx2 as httpx
import pytest

from machine import PATIENCE, build_folder, wait_for

STACK = {"workers": 4, "revocations": "revoked", "introspection": "cache: 1h, stale: 1h"}
CLIENTS = 8
BODY = json.dumps({"model": "solo", "messages": [{"role": "user", "content": "now"}]})
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"


def ctl(stack, *words):
    done = subprocess.run(
        [build_folder() / "tollgatectl", *words, "--socket", stack.admin_socket], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Clients:
    """Each with a connection of its own that is kept; `seen` lists (sent after the flag was set, status)."""

    def __init__(self, stack, credential):
        self.port, self.credential = stack.ports["gateway"], credential
        self.seen, self.shut_out, self.stop = [], threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Authorization": "Bearer " + self.credential, "Content-Type": "application/json"}
        while not self.stop.is_set():
            after = self.shut_out.is_set()  # before the request is sent
            connection.request("POST", "/v1/chat/completions", BODY, headers)
            answer = connection.getresponse()
            answer.read()
            self.seen.append((after, answer.status))
        connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def count(self, after, status):
        return self.seen.count((after, status))


def by_file(stack, line, credential):
    """The agent looks once a second. The first refusal that anybody gets is the confirmation."""
    stack.replace(stack.folder / "revoked", line + "\n")
    wait_for(lambda: stack.post(credential, BODY.encode())[0] == 401, "the file to be read")


def by_logout(stack, **claims):
    now = int(time.time())
    whole = {"aud": "shop", "iat": now, "exp": now + 120, "jti": secrets.token_hex(8), "events": {LOGOUT: {}}, **claims}
    token = stack.mint(claims=whole, header={"typ": "logout+jwt"})
    answer = httpx.post(f"{stack.gateway}/tollgate/v1/backchannel-logout", data={"logout_token": token}, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("how", ["subject", "team", "token", "key", "file", "session", "everywhere"])
def test_nothing_passes_once_it_is_confirmed(stack, how):
    sub = f"now-{how}"
    claims = {"sub": sub, "team": f"team-{how}", "jti": f"id-{how}", "iat": int(time.time()) - 5}
    if how == "session":
        claims["sid"] = "session-now"
    credential, key = stack.mint(claims=claims), None
    if how == "key":
        made = json.loads(ctl(stack, "key", "create", sub, "--team", "machines", "--json"))
        credential, key = made["key"], made["id"]
    ways = {
        "subject": lambda: ctl(stack, "revoke", "subject", sub),
        "team": lambda: ctl(stack, "revoke", "team", f"team-{how}"),
        "token": lambda: ctl(stack, "revoke", "token", f"id-{how}"),
        "key": lambda: ctl(stack, "key", "revoke", key),
        "file": lambda: by_file(stack, f"subject {sub}", credential),
        "session": lambda: by_logout(stack, sid="session-now"),
        "everywhere": lambda: by_logout(stack, sub=sub),
    }
    wait_for(lambda: stack.post(credential, BODY.encode())[0] == 200, "the issuer to vouch for it")
    with Clients(stack, credential) as clients:
        wait_for(lambda: clients.count(False, 200) >= 20 * CLIENTS, "requests that pass")
        ways[how]()
        clients.shut_out.set()
        wait_for(lambda: clients.count(True, 401) >= 20 * CLIENTS, "requests that do not")
    assert {status for after, status in clients.seen if after} == {401}
    assert {status for after, status in clients.seen if not after} <= {200, 401}


def test_taking_it_back_is_as_quick(stack):
    token = stack.mint(claims={"sub": "back", "team": "research", "jti": "back"})
    wait_for(lambda: stack.post(token, BODY.encode())[0] == 200, "the issuer to vouch for it")
    ctl(stack, "revoke", "subject", "back")
    with Clients(stack, token) as clients:
        wait_for(lambda: clients.count(False, 401) >= 5 * CLIENTS, "refusals")
        ctl(stack, "unrevoke", "subject", "back")
        clients.shut_out.set()
        wait_for(lambda: clients.count(True, 200) >= 5 * CLIENTS, "requests that pass")
    assert {status for after, status in clients.seen if after} == {200}


def test_many_at_once(stack):
    """Forty people shut out by commands side by side, each refused right after its own command."""
    tokens = {f"many-{i}": stack.mint(claims={"sub": f"many-{i}", "team": "research", "jti": f"many-{i}"}) for i in range(40)}
    wrong = []
    for token in tokens.values():
        wait_for(lambda: stack.post(token, BODY.encode())[0] == 200, "the issuer to vouch for it")  # noqa: B023

    def shut_out(names):
        for name in names:
            if stack.post(tokens[name], BODY.encode())[0] != 200:
                wrong.append((name, "before"))
            ctl(stack, "revoke", "subject", name)
            for _ in range(4):
                if stack.post(tokens[name], BODY.encode())[0] != 401:
                    wrong.append((name, "after"))

    threads = [threading.Thread(target=shut_out, args=(list(tokens)[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    rows = json.loads(ctl(stack, "revocations", "--json"))["rows"]
    assert set(tokens) <= {row["value"] for row in rows}
