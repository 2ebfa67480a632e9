"""Who may ask: tokens of a real OpenID provider, everything that is not one, and keys that rotate."""

import base64
import http.client
import json
import time

import openai
import pytest

from machine import PATIENCE, wait_for


def body(text):
    return {"model": "solo", "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_issued_tokens_are_accepted(stack, sdk, sub, alg, settled):
    token = stack.person(sub, team="team-" + alg, alg=alg)
    assert sdk(token).chat.completions.create(**body(sub)).choices
    assert settled(sub)["team"] == "team-" + alg


def future(seconds):
    return int(time.time()) + seconds


def with_changed_payload(token):
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["team"] = "board"
    return ".".join([head, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), signature])


BAD = {
    "missing": lambda s: None,
    "not a jwt": lambda s: "sk-1234567890",
    "two parts": lambda s: s.mint().rsplit(".", 1)[0],
    "empty signature": lambda s: s.mint().rsplit(".", 1)[0] + ".",
    "cut signature": lambda s: s.mint()[:-8],
    "changed payload": lambda s: with_changed_payload(s.mint(claims={"team": "research"})),
    "expired": lambda s: s.mint(claims={"exp": future(-3600), "iat": future(-7200)}),
    "no exp": lambda s: s.mint(claims={"exp": None}),
    "not yet valid": lambda s: s.mint(claims={"nbf": future(3600)}),
    "wrong audience": lambda s: s.mint(claims={"aud": "somebody-else"}),
    "no audience": lambda s: s.mint(claims={"aud": None}),
    "wrong issuer": lambda s: s.mint(claims={"iss": "https://login.example"}),
    "no issuer": lambda s: s.mint(claims={"iss": None}),
    "alg none": lambda s: s.mint(alg="none"),
    "hs256 with the public key": lambda s: s.mint(alg="HS256"),
    "unknown kid": lambda s: s.mint(header={"kid": "nobody"}),
    "stray key": lambda s: s.mint(key="stray"),
    "crit": lambda s: s.mint(header={"crit": ["x"], "x": 1}),
    "id token type": lambda s: s.mint(header={"typ": "logout+jwt"}),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tokens_are_refused(stack, kind, sub):
    marker = sub.replace(" ", "-")
    status, headers, answer = stack.post(BAD[kind](stack), body(marker))
    error = json.loads(answer)["error"]
    assert (status, error["code"]) == (401, "invalid_api_key"), error
    assert headers["content-type"].startswith("application/json")
    assert stack.received("alpha", marker) == []


def test_the_sdk_raises_an_authentication_error(stack, sdk, sub):
    with pytest.raises(openai.AuthenticationError) as caught:
        sdk("sk-wrong").chat.completions.create(**body(sub))
    assert caught.value.code == "invalid_api_key"


def test_the_refusal_does_not_repeat_the_token(stack, sub):
    token = stack.mint(claims={"exp": future(-3600)})
    _, headers, answer = stack.post(token, body(sub))
    for part in token.split("."):
        assert part not in answer.decode() and part not in str(headers)


def test_other_schemes(stack, sub):
    token = stack.person(sub)
    assert stack.post(None, body(sub), headers={"Authorization": "Basic " + token})[0] == 401
    assert stack.post(None, body(sub), headers={"Authorization": "bearer " + token})[0] == 200
    assert stack.post(None, body(sub), headers={"x-api-key": token})[0] == 200


@pytest.mark.parametrize("good_first", [True, False])
def test_two_authorization_headers(stack, sub, good_first):
    """Whichever HAProxy hands over is the one that is checked, and neither travels on."""
    token, stray = stack.person(sub), stack.mint(key="stray")
    data = json.dumps(body(sub)).encode()
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports["gateway"], timeout=PATIENCE)
    connection.putrequest("POST", "/v1/chat/completions")
    for value in (token, stray) if good_first else (stray, token):
        connection.putheader("Authorization", "Bearer " + value)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data)
    status = connection.getresponse().status
    connection.close()
    records = stack.received("alpha", sub)
    assert (status, len(records)) in ((401, 0), (200, 1))
    for record in records:
        keys = [value for name, value in record["headers"] if name.lower() == "authorization"]
        assert keys == ["Bearer " + stack.keys["alpha"]]


def test_the_provider_may_be_away_once_its_keys_are_known(stack, sub):
    token = stack.person(sub)
    assert stack.post(token, body(sub))[0] == 200
    stack.idp_admin("POST", "/outage", {"mode": "refuse"})
    try:
        assert stack.post(token, body(sub))[0] == 200
        other = stack.mint(claims={"sub": sub, "team": "research"})
        assert stack.post(other, body(sub))[0] == 200
    finally:
        stack.idp_admin("POST", "/outage", {"mode": "none"})


def test_unknown_kids_do_not_hammer_the_provider(stack, sub):
    before, began = stack.idp_admin("GET", "/counts").get("/jwks", 0), time.monotonic()
    for number in range(20):
        assert stack.post(stack.mint(header={"kid": f"guess-{number}"}), body(sub))[0] == 401
    asked = stack.idp_admin("GET", "/counts").get("/jwks", 0) - before
    assert asked <= 2 + (time.monotonic() - began) // 60  # at most once a minute


def test_rotation(make_stack):
    """In a stack of its own: a new key is picked up at its first token, the old key's tokens end with it."""
    stack = make_stack()
    old = stack.person("rotating")
    assert stack.post(old, body("before"))[0] == 200
    stack.idp_admin("POST", "/rotate", {"keep_old": False})
    new = stack.person("rotating")
    assert new.split(".")[0] != old.split(".")[0]

    def picked_up():
        """The request waits for the keys; a provider that is slow to tell them is not waited for."""
        status, _, answer = stack.post(new, body("after"))
        assert status in (200, 401), answer
        return status == 200

    wait_for(picked_up, "the new key")
    assert stack.idp_admin("GET", "/counts")["/jwks"] == 2, "once at the start, once for the new key"
    status, _, answer = stack.post(stack.mint(key="previous", claims={"team": "research"}), body("old key"))
    assert (status, json.loads(answer)["error"]["code"]) == (401, "invalid_api_key")
    assert stack.post(old, body("old token"))[0] == 401
    assert len(stack.received("alpha", "old")) == 0


def test_no_keys_yet_is_an_outage_of_ours_not_a_bad_token(make_stack):
    """An identity provider that was never reachable: 503, not 401."""
    stack = make_stack()
    token = stack.person("early")
    stack.idp_admin("POST", "/outage", {"mode": "refuse"})
    stack.agent.stop()
    stack.start_agent()

    def decided():
        status, _, answer = stack.post(token, body("early"))
        return (status, json.loads(answer)["error"]["code"])

    wait_for(lambda: decided() == (503, "auth_provider_unavailable"), "503 auth_provider_unavailable")
    stack.idp_admin("POST", "/outage", {"mode": "none"})
    wait_for(lambda: stack.post(token, body("late"))[0] == 200, "recovery once the provider is back")
