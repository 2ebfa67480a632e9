"""OpenID Connect Back-Channel Logout: a real provider ends a session, and what was issued in it is refused from then on."""

import base64
import contextlib
import json
import re
import secrets
import sqlite3
import time
import urllib.parse

import httpx2 as httpx
import pytest

from machine import PATIENCE, wait_for

EVENT = "http://schemas.openid.net/event/backchannel-logout"
PATH = "/tollgate/v1/backchannel-logout"


def body(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


def decided(stack, token):
    status, _, answer = stack.post(token, body("logout"))
    return 200 if status == 200 else (status, json.loads(answer)["error"]["code"])


REFUSED = (401, "invalid_api_key")


class Browser:
    """Somebody who logs in at the provider for the application `shop`, and out again."""

    def __init__(self, stack, session, like=None):
        self.secret = like.secret if like else secrets.token_hex(16)
        stack.idp_admin(
            "PUT",
            "/apps/shop",
            {
                "secret": self.secret,
                "redirect_uri": "http://127.0.0.1/back",
                "logout_uri": stack.gateway + PATH,
                "session": session,
            },
        )
        self.http = httpx.Client(base_url=stack.issuer, timeout=PATIENCE)

    def log_in(self, name):
        query = {"client_id": "shop", "response_type": "code", "scope": "openid llm", "login_hint": name, "prompt": "login"}
        query.update(redirect_uri="http://127.0.0.1/back", resource="urn:tollgate", state="s")
        at = "/auth?" + urllib.parse.urlencode(query)
        for _ in range(10):
            answer = self.http.get(at)
            assert answer.status_code == 303, answer.text
            at = answer.headers["location"]
            if at.startswith("http://127.0.0.1/back"):
                break
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(at).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "client_id": "shop", "client_secret": self.secret}
        answer = self.http.post("/token", data={**form, "redirect_uri": "http://127.0.0.1/back"})
        assert answer.status_code == 200, answer.text
        self.id_token = answer.json()["id_token"]
        return answer.json()["access_token"]

    def log_out(self):
        page = self.http.get("/session/end", params={"id_token_hint": self.id_token})
        xsrf = re.search(r'name="xsrf" value="(\w+)"', page.text).group(1)
        assert self.http.post("/session/end/confirm", data={"xsrf": xsrf, "logout": "yes"}).status_code == 303


def claims_of(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def test_a_session_ends(stack, sub):
    """Two browsers of the same person: the one that logs out takes its tokens along, the other's and new ones stay good."""
    here = Browser(stack, True)
    there = Browser(stack, True, like=here)
    mine, other = here.log_in(sub), there.log_in(sub)
    assert claims_of(mine)["sid"] != claims_of(other)["sid"]
    sessionless = stack.mint(claims={"sub": sub, "team": "research", "iat": int(time.time()) - 1})
    assert [decided(stack, token) for token in (mine, other, sessionless)] == [200, 200, 200]
    here.log_out()
    assert [decided(stack, token) for token in (mine, other)] == [REFUSED, 200]
    assert decided(stack, sessionless) == REFUSED  # it may belong to that session: nothing says that it does not
    assert decided(stack, here.log_in(sub)) == 200
    events = stack.query("SELECT actor, action, object FROM access_event WHERE object LIKE ? ORDER BY id", f"%{claims_of(mine)['sid']}%")
    assert events == [
        {"actor": f"issuer {stack.issuer}", "action": "logout", "object": f"session {claims_of(mine)['sid']} of {stack.issuer}"}
    ]
    stack.kill_agent()
    stack.restart_agent()
    assert [decided(stack, token) for token in (mine, other)] == [REFUSED, 200]


def test_a_person_leaves_everywhere(stack, sub):
    browser = Browser(stack, False)
    token = browser.log_in(sub)
    assert "sid" not in claims_of(token) and decided(stack, token) == 200
    browser.log_out()
    assert decided(stack, token) == REFUSED

    def let_in_again():  # iat has whole seconds: a login within that of the logout is refused once more
        return decided(stack, browser.log_in(sub)) == 200

    wait_for(let_in_again, "a token that is younger than the logout")
    assert decided(stack, token) == REFUSED


def logout_token(stack, header=None, key="current", alg="RS256", **claims):
    now = int(time.time())
    whole = {
        "aud": "shop",
        "sub": "hostile",
        "iat": now,
        "exp": now + 120,
        "jti": secrets.token_hex(8),
        "events": {EVENT: {}},
        **claims,
    }
    return stack.mint(claims=whole, header={"typ": "logout+jwt", **(header or {})}, key=key, alg=alg)


def deliver(stack, token, data=None, **options):
    return httpx.post(stack.gateway + PATH, data=data or {"logout_token": token}, timeout=PATIENCE, **options)


HOSTILE = {
    "wrong audience": {"aud": "tollgate"},
    "no audience": {"aud": None},
    "wrong issuer": {"iss": "https://login.example"},
    "no events": {"events": None},
    "other event": {"events": {"http://schemas.openid.net/event/other": {}}},
    "event is no object": {"events": {EVENT: True}},
    "nonce": {"nonce": "n"},
    "empty nonce": {"nonce": ""},
    "neither sub nor sid": {"sub": None},
    "sub is no string": {"sub": 7},
    "no jti": {"jti": None},
    "no iat": {"iat": None},
    "no exp": {"exp": None},
    "expired": {"exp": -3600},  # seconds from now
    "too old": {"iat": -3600},
    "from the future": {"iat": 3600},
    "stray key": {"key": "stray"},
    "hmac": {"alg": "HS256"},
    "none": {"alg": "none"},
    "access token": {"header": {"typ": "at+jwt"}},
    "crit": {"header": {"crit": ["x"], "x": 1}},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_logout_tokens(stack, kind):
    now = int(time.time())
    claims = {name: now + value if name in ("iat", "exp") and value else value for name, value in HOSTILE[kind].items()}
    answer = deliver(stack, logout_token(stack, **claims))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_logout_token"), answer.text
    assert stack.query("SELECT count(*) AS n FROM revocation WHERE value = 'hostile'") == [{"n": 0}]


def test_what_is_no_logout(stack, sub):
    good = logout_token(stack, sub=sub)
    for options in (
        {"content": b""},
        {"content": b"logout_token=" + good.encode()},  # no content type of a form
        {"data": {"token": good}},
        {"content": f"logout_token={good}&logout_token={good}".encode(), "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"logout_token=%zz", "headers": {"content-type": "application/x-www-form-urlencoded"}},
    ):
        answer = httpx.post(stack.gateway + PATH, timeout=PATIENCE, **options)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_logout_token"), answer.text
    assert httpx.get(stack.gateway + PATH, timeout=PATIENCE).status_code == 405
    assert decided(stack, good) == REFUSED  # and it is no access token
    assert deliver(stack, good).status_code == 200
    assert deliver(stack, good).status_code == 400  # not twice
    assert deliver(stack, logout_token(stack, sub=sub)).headers["cache-control"] == "no-store"


def test_a_logout_is_answered_when_it_is_kept(stack, sub):
    token = logout_token(stack, sub=sub)
    with contextlib.closing(sqlite3.connect(stack.ledger_file, isolation_level=None, timeout=PATIENCE)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = deliver(stack, token)
        other.execute("ROLLBACK")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    wait_for(lambda: deliver(stack, token).status_code == 200, "the same token, tried again")
    assert stack.query("SELECT count(*) AS n FROM revocation WHERE value = ?", sub) == [{"n": 1}]
