"""Where provider keys come from: token endpoints that check what they are sent, a real OpenBao, commands, files that are rotated under load;
requests signed for AWS, checked with botocore."""

import base64
import collections
import concurrent.futures
import contextlib
import hashlib
import json
import re
import secrets
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import ledger
from credential_kinds import ACCOUNT, everywhere
from machine import PATIENCE, wait_for


def prompt(model, text="hello", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def header(record, name):
    values = [value for key, value in record["headers"] if key.lower() == name]
    assert len(values) <= 1, f"{name} stands there twice"
    return values[0] if values else None


@pytest.fixture(scope="module")
def stack(make_stack, endpoints, bao, known):
    return make_stack(
        extend=lambda s: everywhere(s, endpoints, bao, known),
        passthrough=('path: /v1/files, provider: bed, methods: [GET, POST], price: "0"',),
    )


@pytest.fixture(scope="module")
def person(stack):
    return stack.person("keys")


def sent_with(stack, person, model, listener="alpha", **more):
    """The request as the provider got it, once the gateway has a key; a request without one must be refused with 503."""
    marker = "m-" + secrets.token_hex(8)

    def look():
        status, _, answer = stack.post(person, prompt(model, marker, **more))
        if status == 503:
            assert json.loads(answer)["error"]["code"] == "provider_credentials_unavailable", answer
            return None
        assert status == 200, answer
        return stack.received(listener, marker)[0]

    return wait_for(look, f"a key for {model}")


def bearer(stack, person, model):
    return header(sent_with(stack, person, model), "authorization").removeprefix("Bearer ")


def test_azure_by_secret_and_certificate(stack, person, endpoints):
    assert bearer(stack, person, "azs") in endpoints.tokens("app-secret")
    assert bearer(stack, person, "azc") in endpoints.tokens("app-cert")
    assert endpoints.refusals == []


def test_google_service_account(stack, person, endpoints):
    assert bearer(stack, person, "goo") in endpoints.tokens(ACCOUNT)
    assert endpoints.refusals == []


def test_openbao_by_token_and_by_role(stack, person, bao, known):
    assert bearer(stack, person, "vat") == known.secrets["bao-1"]
    assert bearer(stack, person, "var") == known.secrets["bao-2"]
    bao.put("by-token", key=known.secret("bao-1-next"))
    wait_for(lambda: bearer(stack, person, "vat") == known.secrets["bao-1-next"], "the new version of the secret")


def test_openbao_token_is_renewed(stack, person, bao, known):
    """The role's tokens live 24 s and its secret id allows one login: only renewal keeps it reading."""

    def renewed():
        assert stack.post(person, prompt("var"))[0] == 200
        found = (bao.ask("POST", "auth/token/lookup-accessor", {"accessor": one})["data"] for one in bao.ask("LIST", "auth/token/accessors")["data"]["keys"])
        return any(token["path"] == "auth/approle/login" and token.get("last_renewal_time") for token in found)

    wait_for(renewed, "a renewal of the token")
    bao.put("by-role", key=known.secret("bao-2-next"))
    wait_for(lambda: bearer(stack, person, "var") == known.secrets["bao-2-next"], "the new version of the secret")


def test_command(stack, person, known):
    assert bearer(stack, person, "cmd") == known.secrets["printed"]
    (stack.folder / "printed").write_text(known.secret("printed-next"))
    wait_for(lambda: bearer(stack, person, "cmd") == known.secrets["printed-next"], "what the command prints now")
    # A broken command keeps the last good key.
    before = stack.agent.text().count("credential_kept")
    (stack.folder / "printed").write_text("")
    wait_for(lambda: stack.agent.text().count("credential_kept") > before, "the command to fail")
    assert bearer(stack, person, "cmd") == known.secrets["printed-next"]
    # Well again soon: the longer it fails, the more seldom it is tried.
    (stack.folder / "printed").write_text(known.secret("printed-third"))
    wait_for(lambda: bearer(stack, person, "cmd") == known.secrets["printed-third"], "the command to work again")


def test_systemd_credential(stack, person, known):
    assert bearer(stack, person, "sysd") == known.secrets["loaded"]


def test_tokens_are_fetched_ahead_and_refused_when_gone(stack, person, endpoints):
    """Short lives, an outage, an end to it. No request ever carries a token that has expired, and none is lost before the last has."""
    endpoints.lifetime = 4
    fetched = len(endpoints.issued)
    try:
        stack.reload()  # what is still valid is kept: nothing is fetched anew by it
        assert stack.post(person, prompt("azs"))[0] == 200
        stack.agent.stop()
        stack.restart_agent()
        seen = set()

        def replaced():
            """A provider that is told of a request late may read its token late: by no more than this."""
            record = sent_with(stack, person, "azs")
            token = header(record, "authorization").removeprefix("Bearer ")
            assert endpoints.expiry(token) > record["time"] - 10
            seen.add(token)
            return len(seen) >= 3

        wait_for(replaced, "new tokens")
        endpoints.outage = True
        last = bearer(stack, person, "azs")
        wait_for(lambda: stack.post(person, prompt("azs"))[0] == 503, "the last token to end")
        assert time.time() > endpoints.expiry(last) - 1.5
        status, headers, answer = stack.post(person, prompt("azs"))
        error = json.loads(answer)["error"]
        assert (status, error["code"], headers["retry-after"]) == (503, "provider_credentials_unavailable", "1")
        marker = "spare-" + secrets.token_hex(4)
        assert stack.post(person, prompt("spare", marker))[0] == 200  # the fallback serves alone
        assert header(stack.received("alpha", marker)[0], "authorization") == "Bearer " + stack.keys["alpha"]
        endpoints.outage, endpoints.lifetime = False, 3600
        sent_with(stack, person, "azs")  # by itself, without a reload
        assert len(endpoints.issued) > fetched
    finally:
        endpoints.outage, endpoints.lifetime = False, 3600
    wait_for(lambda: "credential_expired credential=azs" in stack.agent.text(), "the log to tell of it")


def test_one_fetch_at_a_time(stack, person, endpoints):
    """While the token endpoint takes its time, requests that want the key are refused and start no fetch of their own."""
    callers = {"app-secret", "app-cert", "/google/token"}
    stack.agent.stop()
    wait_for(lambda: not any(endpoints.at_once.values()), "the end of the last fetches")
    endpoints.begun.clear()
    endpoints.most_at_once.clear()
    endpoints.open.clear()
    began = time.monotonic()

    def once(counted):
        """Except that the agent gives up a fetch after ten seconds, and tries again."""
        return set(counted) == callers and max(counted.values()) <= 1 + (time.monotonic() - began) // 10

    try:
        stack.restart_agent()
        wait_for(lambda: set(endpoints.begun) == callers, "a fetch of each key")
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            statuses = list(pool.map(lambda _: stack.post(person, prompt("azs"))[0], range(12)))
        assert set(statuses) == {503}
        assert once(endpoints.begun)
        endpoints.open.set()
        assert bearer(stack, person, "azs") in endpoints.tokens("app-secret")
        assert once(endpoints.begun) and once(endpoints.most_at_once)
    finally:
        endpoints.open.set()


def test_wrong_secret_is_told_without_it(stack, person, endpoints, known):
    """The endpoint echoes the wrong secret in its error; the log tells the error, not the secret."""
    right = known.secrets["azure"]
    stack.write_secret("azure.key", known.secret("azure-wrong") + "\n")
    try:
        endpoints.lifetime = 4
        stack.agent.stop()
        stack.restart_agent()
        wait_for(lambda: "AADSTS7000215" in stack.agent.text(), "the refusal in the log")
        assert "wrong secret [secret]" in stack.agent.text()
        assert stack.post(person, prompt("azs"))[0] == 503
    finally:
        endpoints.lifetime = 3600
        stack.write_secret("azure.key", right)
    sent_with(stack, person, "azs")


def metrics_text(stack):
    return urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['metrics']}/metrics", timeout=PATIENCE).read().decode()


def credentials_told(stack):
    program = stack.tollgate.parent / "tollgatectl"
    told = subprocess.run([program, "--socket", stack.admin_socket, "--json", "status"], capture_output=True, check=True).stdout
    return json.loads(told)["credentials"]


def test_a_refusal_of_a_key_counts_once(stack, person, settled):
    """A throttled answer is told twice, by HAProxy's line and by the record of its response: it is one refusal of the key."""
    sub = "throttled-once"
    token = stack.person(sub)

    def alpha():
        (one,) = [key for key in credentials_told(stack) if key["credential"] == "alpha"]
        return one

    before = alpha()["refused"]
    stack.behave("alpha", status=429, retry_after="3", times=1)  # longer than is waited for
    assert stack.post(token, prompt("solo", sub))[0] == 429
    ledger.attempts(stack, settled(sub))  # both were read
    assert alpha()["refused"] == before + 1
    wait_for(lambda: alpha()["state"] == "ok", "the key's return")


def saved_by_another(stack, person):
    """True when the provider refused one key and the same request was answered with another."""
    marker = "saved-" + secrets.token_hex(6)
    status, headers, answer = stack.post(person, prompt("multi", marker))
    assert status == 200, answer
    sent = [header(record, "authorization") for record in stack.received("alpha", marker)]
    assert len(sent) == int(headers["x-tollgate-attempt"]) and len(set(sent)) == len(sent)
    return len(sent) == 2


def test_keys_by_weight_and_set_aside(stack, person, known):
    marker = "w-" + secrets.token_hex(4)
    keys = [known.secrets[f"multi-{i}"] for i in range(3)]

    def used(count, text):
        for _ in range(count):
            assert stack.post(person, prompt("multi", text))[0] == 200
        return collections.Counter(header(r, "authorization").removeprefix("Bearer ") for r in stack.received("alpha", text))

    assert used(16, marker) == {keys[0]: 8, keys[1]: 4, keys[2]: 4}
    # The heaviest key is refused: no request is lost by it, not even the first; the others take over by their weights.
    for status in (429, 401, 403):
        stack.behave("alpha", **({"accept": ["Bearer " + key for key in keys[1:]]} if status == 401 else {"status": status, "times": 1}))
        aside = stack.agent.text().count(" credential=multi ")
        wait_for(lambda: saved_by_another(stack, person), f"a request that gets {status} first")
        wait_for(lambda: stack.agent.text().count(" credential=multi ") > aside, "the key to be set aside")
        if status == 429:  # for a second only
            wait_for(lambda: {key["state"] for key in credentials_told(stack) if key["credential"] == "multi"} == {"ok"}, "its return")
        if status == 401:
            assert used(10, marker + "-after") == {keys[1]: 5, keys[2]: 5}
            seen = [key for key in credentials_told(stack) if key["credential"] == "multi"]
            assert [key["state"] for key in seen] == ["set aside", "ok", "ok"] and seen[0]["refused"] >= 1
            wait_for(lambda: 'tollgate_credential_set_aside{credential="multi",key="0"} 1' in metrics_text(stack), "the metric")
    assert "credential_set_aside credential=multi key=0 status=401" in stack.agent.text()
    assert re.search(r"credential_set_aside credential=multi key=\d status=403", stack.agent.text())
    assert re.search(r"credential_set_aside credential=multi key=\d status=429", stack.agent.text())
    # Replaced in its file, it is used again at once, long before its pause is over.
    stack.behave("alpha")
    stack.write_secret("multi-0", known.secret("multi-0-next"))
    wait_for(lambda: used(1, "back-" + secrets.token_hex(4)).get(known.secrets["multi-0-next"]), "the replaced key")


def replaced(stack, name, text):
    """As a careful operator does it: in one step."""
    fresh = stack.folder / (name + ".fresh")
    fresh.touch(mode=0o600)
    fresh.write_text(text + "\n")
    fresh.rename(stack.folder / name)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_rotation_loses_no_request(stack, person, known, stream):
    """One key and no fallback: every second its file is replaced under load, and the provider drops the old key at that moment, while requests that
    carry it are on their way. They are tried again with the new one, within the same request."""
    stop, bad, done = threading.Event(), [], [0] * 4
    old = (stack.folder / "rotor.key").read_text().strip()
    again = 0

    def load(number):
        nonlocal again
        while not stop.is_set():
            status, headers, answer = stack.post(person, prompt("rotor", f"load {number}", **({"stream": True} if stream else {})))
            done[number] += 1
            again += headers.get("x-tollgate-attempt") == "2"
            if status != 200 or (stream and b"[DONE]" not in answer):
                bad.append((status, answer[:300]))

    def answered(before):
        return all(now >= then + 5 for now, then in zip(done, before))

    stack.behave("alpha", accept=["Bearer " + old])
    threads = [threading.Thread(target=load, args=(i,)) for i in range(len(done))]
    for thread in threads:
        thread.start()
    try:
        for i in range(8):
            new = known.secret(f"rotor-{stream}-{i}")
            stack.behave("alpha", accept=["Bearer " + old, "Bearer " + new])
            before, began = list(done), time.monotonic()
            replaced(stack, "rotor.key", new)
            stack.behave("alpha", accept=["Bearer " + new])
            wait_for(lambda: answered(before), "requests")
            time.sleep(max(0, began + 1 - time.monotonic()))
            old = new
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        stack.behave("alpha")
    assert bad == []
    assert again > 0, "no request was on its way with an old key: nothing was tried"
    assert bearer(stack, person, "rotor") == old


def test_a_key_refused_for_good(stack, person, known):
    """Nothing newer to try: the provider's own answer is passed on, and other faults than a refused key cause no second try."""
    for fault, tries in (({"status": 401}, 2), ({"status": 403}, 2), ({"status": 500}, 1), ({"status": 429}, 1), ({"refuse": True}, 0)):
        marker = "f-" + secrets.token_hex(6)
        stack.behave("alpha", **fault)
        try:
            status, _, answer = stack.post(person, prompt("rotor", marker))
        finally:
            stack.behave("alpha")
        assert status == fault.get("status", status) and status >= 400, answer
        assert len(stack.received("alpha", marker)) == tries, fault


def test_a_key_that_a_command_hands_out(stack, person, known):
    """The second try waits for the command that a refusal has started."""
    told = known.secret("printed-before")
    (stack.folder / "printed").write_text(told)
    wait_for(lambda: bearer(stack, person, "cmd") == told, "the key of the command")
    marker, new = "c-" + secrets.token_hex(6), known.secret("printed-again")
    (stack.folder / "printed").write_text(new)
    stack.behave("alpha", accept=["Bearer " + new])
    try:
        status, _, answer = stack.post(person, prompt("cmd", marker))
    finally:
        stack.behave("alpha")
    assert status == 200, answer
    sent = [header(record, "authorization") for record in stack.received("alpha", marker)]
    assert sent[-1] == "Bearer " + new


# ---- AWS


def check_signature(record, known, key_id, secret, token=None):
    """Computed anew with botocore from what the provider received."""
    body = base64.b64decode(record["body_base64"])
    url = f"http://{header(record, 'host')}{record['path']}" + (f"?{record['query']}" if record["query"] else "")
    request = botocore.awsrequest.AWSRequest(
        method=record["method"], url=url, data=body, headers={"X-Amz-Content-SHA256": header(record, "x-amz-content-sha256")}
    )
    request.context["timestamp"] = header(record, "x-amz-date")
    signer = botocore.auth.SigV4Auth(
        botocore.credentials.Credentials(key_id, known.secrets[secret], known.secrets[token] if token else None), "bedrock", "eu-central-1"
    )
    request.headers["X-Amz-Date"] = header(record, "x-amz-date")
    if token:
        request.headers["X-Amz-Security-Token"] = known.secrets[token]
    request.headers["host"] = header(record, "host")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    wanted = signer.signature(text, request)
    sent = header(record, "authorization")
    assert sent.startswith(f"AWS4-HMAC-SHA256 Credential={key_id}/{header(record, 'x-amz-date')[:8]}/eu-central-1/bedrock/aws4_request, ")
    assert sent.endswith(f"Signature={wanted}")
    assert header(record, "x-amz-security-token") == (known.secrets[token] if token else None)
    assert header(record, "x-amz-content-sha256") == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"max_tokens": 7}], ids=["plain", "stream", "ceiling"])
def test_signed_requests(stack, person, known, more):
    """Model and ceiling are written into the body on the way: the signature is over what arrives."""
    record = sent_with(stack, person, "bed", "beta", **more)
    assert record["path"] == "/openai/v1/chat/completions"
    assert json.loads(record["body"])["model"] == "gpt-4o"
    check_signature(record, known, "AKIDLONGTERM", "aws")
    check_signature(sent_with(stack, person, "bet", "beta", **more), known, "ASIATEMPORARY", "aws-temporary", "aws-token")


def test_signed_query_and_foreign_headers(stack, person, known):
    """A client's query is signed with the rest; its own x-amz- headers never arrive."""
    marker = "q-" + secrets.token_hex(4)
    status, _, answer = stack.post(
        person,
        prompt("bed", marker),
        path="/v1/chat/completions?b=2%20x&a=1&b=%7e",
        headers={"x-amz-security-token": "client", "x-amz-date": "19700101T000000Z", "x-amz-meta": "1"},
    )
    assert status == 200, answer
    record = stack.received("beta", marker)[0]
    assert record["query"] == "b=2%20x&a=1&b=%7e"
    assert header(record, "x-amz-meta") is None
    # botocore signs a query it has encoded itself
    record["query"] = "a=1&b=2%20x&b=~"
    check_signature(record, known, "AKIDLONGTERM", "aws")


def test_a_refused_signature_is_made_anew(stack, person, known):
    """One pair of keys, replaced in its file while requests go out with the old one: the second try is signed with what the file holds then."""
    secret, number = "aws", 0

    def saved():
        nonlocal secret, number
        number += 1
        before, secret, marker = secret, f"aws-{number}", "n-" + secrets.token_hex(6)
        text = f"[default]\naws_access_key_id = AKIDLONGTERM\naws_secret_access_key = {known.secret(secret)}\n"
        stack.behave("beta", status=403, times=1)
        replaced(stack, "bed.aws", text)
        status, headers, answer = stack.post(person, prompt("bed", marker, max_tokens=9))
        assert (status, headers["x-tollgate-attempt"]) == (200, "2"), answer
        first, second = stack.received("beta", marker)
        check_signature(second, known, "AKIDLONGTERM", secret)
        if header(first, "authorization") == header(second, "authorization"):
            return False  # the file's change was seen before the request
        check_signature(first, known, "AKIDLONGTERM", before)
        return True

    wait_for(saved, "a request that goes out with the old key")
    known.secrets["aws"] = known.secrets[secret]


def test_both_tries_are_signed(stack, person, known):
    marker = "t-" + secrets.token_hex(4)
    stack.behave("beta", status=500, times=1)
    assert stack.post(person, prompt("aws-both", marker))[0] == 200
    first, second = stack.received("beta", marker)
    check_signature(first, known, "AKIDLONGTERM", "aws")
    check_signature(second, known, "ASIATEMPORARY", "aws-temporary", "aws-token")


@pytest.mark.parametrize(("method", "path", "body"), [("GET", "/v1/files?limit=7&purpose=%s", b""), ("POST", "/v1/files/%s/parts", b"\x00\xff" * 5000)])
def test_signed_pass_through(stack, person, known, method, path, body):
    """Requests of any kind: the signature is over method, path, query and every byte of the body."""
    marker = "p-" + secrets.token_hex(4)
    headers = {"Authorization": "Bearer " + person, "content-type": "application/octet-stream"}
    ask = urllib.request.Request(stack.gateway + path % marker, data=body or None, method=method, headers=headers)
    with contextlib.suppress(urllib.error.HTTPError):  # the stand-in knows the first one only
        urllib.request.urlopen(ask, timeout=PATIENCE).read()
    (record,) = [r for r in stack.received("beta") if marker in r["path"] + r["query"]]
    assert (record["method"], record["path"]) == (method, "/openai" + (path % marker).partition("?")[0])
    assert base64.b64decode(record["body_base64"]) == body
    check_signature(record, known, "AKIDLONGTERM", "aws")


def test_what_cannot_be_signed_is_refused(stack, person):
    for path in ("/v1/files?" + "&".join(f"a{i}={i}" for i in range(65)), "/v1/files" + "/a" * 40):
        ask = urllib.request.Request(stack.gateway + path, headers={"Authorization": "Bearer " + person})
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(ask, timeout=PATIENCE)
        assert error.value.code == 400 and json.load(error.value)["error"]["code"] == "invalid_url"


# ---- and none of it anywhere


def test_no_secret_anywhere(stack, bao, known, endpoints):
    wanted = {**known.secrets, **{f"token-{i}": token for i, (_, token, _) in enumerate(endpoints.issued)}}
    for name, text in bao_tokens(stack, bao).items():
        wanted[name] = text
    wanted |= {f"provider-{name}": text for name, text in stack.keys.items()}  # from a file and from the environment
    kinds = {key["kind"] for key in credentials_told(stack)}
    assert kinds == {"file", "env", "systemd", "azure", "google", "vault", "command"}, "a kind whose values nobody looks for"
    wanted = {name: canary_forms(text) for name, text in wanted.items()}

    def found(data):
        return [name for name, forms in wanted.items() if any(form in data for form in forms)]

    own = {"azure.key", "app.key", "google.json", "bao.token", "bao.secret-id", "printed", "rotor.key", "bed.aws", "bet.aws", "alpha.key", "loaded"}
    own |= {f"multi-{i}" for i in range(3)}
    for path in sorted(stack.folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name not in own:
            data = path.read_bytes()
            assert found(data) == [], path.name
    listing = subprocess.run(["ps", "axeww", "-o", "args"], capture_output=True, check=True).stdout
    assert set(found(listing)) <= {"bao-root"}
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['metrics']}/metrics", timeout=PATIENCE).read()
    status = stack.tollgate.parent / "tollgatectl"
    told = subprocess.run([status, "--socket", stack.admin_socket, "--json", "status"], capture_output=True, check=True).stdout
    for data in (metrics, told):
        assert found(data) == []


def canary_forms(text):
    """As it stands, in JSON, in a form or URL, in Basic authentication and similar, in hexadecimal."""
    raw = text.encode()
    return {raw, json.dumps(text)[1:-1].encode(), urllib.parse.quote(text, safe="").encode(), base64.b64encode(raw).rstrip(b"=")[:-2], raw.hex().encode()}


def bao_tokens(stack, bao):
    """Accessors cannot be turned into tokens; the agent's own token is looked for by its form."""
    found = {}
    for path in stack.folder.glob("*.log"):
        for i, text in enumerate(re.findall(rb"\bs\.[A-Za-z0-9]{20,}|\bhvs\.[A-Za-z0-9_-]{20,}", path.read_bytes())):
            found[f"bao-token-{i}"] = text.decode()
    return found
