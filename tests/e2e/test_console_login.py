"""Signing in at the console without a browser: what of the flow can be abused, and what happens when something is away."""

import json
import re
import time
import urllib.parse

import pytest

from console_support import Visitor
from machine import wait_for

STACK = {"console": "public"}


@pytest.fixture
def visitor(stack):
    return Visitor(stack.console_url)


@pytest.fixture
def ann(stack, sub):
    stack.person(sub, team="search")
    return sub, stack.passwords[sub]


def test_a_public_client_signs_in_through_haproxy(visitor, ann):
    where, status, headers, text = visitor.sign_in(*ann)
    assert (where, status) == (visitor.url + "/", 200) and "<title>" in text
    status, me = visitor.api("me")
    assert status == 200 and {"user": ann[0], "team": "search", "role": "viewer"}.items() <= me.items()
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-cache"
    # What the page is made of names no other place, and nothing in it is inline.
    assert not re.search(r"https?://", text) and "style=" not in text and not re.search(r"<script(?![^>]*src=)", text)


def test_directly_at_the_agent(stack, ann):
    """The same cookies are sent to another port of the host: what HAProxy shows, the agent shows."""
    visitor = Visitor(stack.console_url)
    visitor.sign_in(*ann)
    direct = f"http://127.0.0.1:{stack.ports['console']}/tollgate/console"
    assert visitor.go(direct + "/")[0] == 200
    assert visitor.go(direct + "/api/me")[0] == 200
    assert visitor.go(f"http://127.0.0.1:{stack.ports['console']}/")[0] == 404
    assert visitor.go(f"http://127.0.0.1:{stack.ports['console']}/tollgate/consolexyz")[0] == 404


def test_nobody_is_shown_anything_without_a_session(visitor):
    assert visitor.go(visitor.url + "/")[:1] == (303,)
    for question in ("me", "budgets", "spend", "requests", "request", "live", "nonsense"):
        assert visitor.api(question)[0] == 401
    assert visitor.go(visitor.url + "/index.html")[0] == 404
    assert visitor.go(visitor.url + "/../../etc/passwd")[0] == 404
    assert visitor.go(visitor.url + "/api/me", b"")[0] == 405


def test_an_answer_for_another_browser_is_refused(visitor, ann):
    callback = visitor.to_callback(*ann)
    stranger = Visitor(visitor.url)
    status, headers, text = stranger.go(callback)
    assert status == 400 and "begun in another browser" in text
    # Nor after a sign-in of its own was begun: state is not the stranger's.
    stranger.go(visitor.url + "/login")
    assert stranger.go(callback)[0] == 400
    assert stranger.api("me")[0] == 401
    # The one it was for may still use it, once.
    assert visitor.follow(callback)[1] == 200
    assert visitor.go(callback)[0] == 400


def test_a_changed_state_or_issuer_is_refused(visitor, ann):
    callback = visitor.to_callback(*ann)
    assert visitor.go(re.sub(r"state=[^&]*", "state=" + "A" * 43, callback))[0] == 400
    callback = visitor.to_callback(*ann)
    assert visitor.go(re.sub(r"iss=[^&]*", "iss=https%3A%2F%2Fother", callback))[0] == 400
    callback = visitor.to_callback(*ann)
    assert visitor.go(re.sub(r"code=[^&]*", "code=guessed", callback))[0] == 400
    assert visitor.api("me")[0] == 401


def test_the_provider_says_no(visitor, ann):
    callback = visitor.to_callback(ann[0], "wrong")
    assert "error=access_denied" in callback
    status, _, text = visitor.go(callback)
    assert status == 400 and "Signing in did not work" in text


def test_no_team_no_access(stack, visitor, sub):
    stack.person(sub, team=None)
    status, _, text = visitor.go(visitor.to_callback(sub, stack.passwords[sub]))
    assert status == 403 and "no access" in text
    assert visitor.cookie("tollgate_session") is None


def test_a_session_ends_with_its_token(stack, visitor, ann):
    stack.register_console(ttl=2)
    try:
        visitor.sign_in(*ann)
        cookie = visitor.cookie("tollgate_session")
        assert cookie.expires <= time.time() + 2
        header = {"cookie": f"tollgate_session={cookie.value}"}
        wait_for(lambda: Visitor(visitor.url).go(visitor.url + "/api/me", headers=header)[0] == 401, "the session to end")
    finally:
        stack.register_console()


def test_signing_out_needs_the_page(visitor, ann):
    visitor.sign_in(*ann)
    assert visitor.go(visitor.url + "/logout", b"", {"Origin": "https://evil.example"})[0] == 403
    assert visitor.api("me")[0] == 200
    assert visitor.go(visitor.url + "/api/me", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    status, _, text = visitor.go(visitor.url + "/logout", b"", {"x-tollgate-console": "1"})
    assert status == 200 and json.loads(text)["provider"].startswith("http")
    assert visitor.api("me")[0] == 401


def test_the_session_cookie_never_leaves_the_console(stack, visitor, ann):
    visitor.sign_in(*ann)
    cookie = visitor.cookie("tollgate_session")
    assert cookie.path == "/tollgate/console" and cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Lax"
    # A client that sends it all the same: it is stripped before a provider sees it.
    marker = "cookie-" + ann[0]
    stack.post(
        stack.tokens[ann[0]],
        {"model": "solo", "messages": [{"role": "user", "content": marker}]},
        headers={"Cookie": f"tollgate_session={cookie.value}"},
    )
    assert stack.received("alpha", marker) and cookie.value not in json.dumps(stack.received("alpha", marker))
    assert cookie.value not in stack.agent.log.read_text()


def test_questions_that_make_no_sense(visitor, ann):
    visitor.sign_in(*ann)
    for question, parameters in (
        ("spend", {}),
        ("spend", {"from": 1, "to": 2, "step": 900, "by": "secret"}),
        ("spend", {"from": 1, "to": 10**9, "step": 900, "by": "team"}),
        ("spend", {"from": 900, "to": 1800, "step": 1, "by": "team"}),
        ("requests", {"from": 1, "to": 2, "limit": 100000}),
        ("requests", {"from": "1; DROP TABLE who", "to": 2}),
        ("request", {}),
        ("request", {"request_id": "x"}),
        ("latency", {"from": 1, "to": 2, "team": "x" * 1000}),
    ):
        status, answer = visitor.api(question, **parameters)
        assert status == 400 and answer["error"], (question, parameters, status)
    status, answer = visitor.api("spend", **{"from": 900, "to": 1800, "step": 900, "by": "team", "team": "' OR 1=1 --"})
    assert status == 200 and answer["groups"] == []


def test_the_provider_is_away(stack, visitor, ann):
    visitor.sign_in(*ann)
    stack.idp_admin("POST", "/outage", {"mode": "error"})
    try:
        fresh = Visitor(visitor.url)
        # The sign-in page's address is still known; the code can be redeemed nowhere.
        status, headers, _ = fresh.go(visitor.url + "/login")
        assert status == 303
        state = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["location"]).query)["state"][0]
        query = urllib.parse.urlencode({"code": "x", "state": state, "iss": stack.issuer})
        status, _, text = fresh.go(f"{visitor.url}/callback?{query}")
        assert status == 503 and "did not answer" in text
        assert visitor.api("me")[0] == 200
    finally:
        stack.idp_admin("POST", "/outage", {"mode": "none"})


def test_a_reload_ends_sessions_and_takes_new_roles(stack, visitor, ann):
    visitor.sign_in(*ann)
    assert visitor.api("me")[1]["role"] == "viewer"
    text = stack.config.read_text()
    try:
        stack.write_configuration(text.replace("admins: [{value: llm-admins}]", f"admins: [{{claim: sub, value: {ann[0]}}}]"))
        stack.reload()
        wait_for(lambda: visitor.api("me")[0] == 401, "the session to end with the reload")
        visitor.sign_in(*ann)
        assert visitor.api("me")[1]["role"] == "admin"
    finally:
        stack.write_configuration(text)
        stack.reload()
        wait_for(lambda: visitor.api("me")[0] == 401, "the session to end with the reload")
