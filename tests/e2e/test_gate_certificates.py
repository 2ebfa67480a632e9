"""Client certificates through the real HAProxy: who they are taken for, which never arrive, and that no header speaks for one."""

import base64
import contextlib
import http.client
import json
import ssl
import subprocess

import openai
import pytest

import ledger
from authority import Authority, fingerprint
from machine import PATIENCE, build_folder, free_ports, wait_for

MADE = {}  # name: file of a certificate with its key
REFUSED = (ssl.SSLError, ConnectionError, http.client.BadStatusLine)


def prepare(stack):
    """Everything is made at run time: our authority, a stranger's, and what they issued."""
    ours, strangers = Authority(stack.folder / "ours", "Test Clients"), Authority(stack.folder / "strangers", "Test Clients")
    MADE["server"] = ours.issue("server", "/CN=localhost", "DNS:localhost", usage="serverAuth")
    MADE["batch"] = ours.issue("batch", "/O=Example/OU=Jobs/CN=batch-search")
    MADE["spiffe"] = ours.issue("spiffe", "/O=Example/CN=whatever", "DNS:batch-other,URI:spiffe://example.com/ns/train")
    MADE["nobody"] = ours.issue("nobody", "/CN=batch-x/O=Example/CN=nobody")  # two common names: neither counts
    MADE["expired"] = ours.issue("expired", "/CN=batch-old", first="20200101000000Z", last="20200201000000Z")
    MADE["revoked"] = ours.issue("revoked", "/CN=batch-lost")
    MADE["pinned"] = ours.issue("pinned", "/CN=Zoë, \\\"the\\\" admin")
    MADE["stranger"] = strangers.issue("stranger", "/O=Example/OU=Jobs/CN=batch-search")
    MADE["ca"] = ours.ca
    ours.revoke("revoked")
    MADE["crl"] = ours.revocation_list()
    stack.certificates = (
        f'name: pinned, fingerprint: {fingerprint(MADE["pinned"])}, team: admins, user: zoe, groups: [llm-admins]',
        'name: jobs, issuer: "CN=Test Clients,O=Example", common_name: "batch-*", team: "*", application: jobs, cost_center: "4711", '
        "organization: example",
        'name: workloads, alternative_name: "URI:spiffe://example.com/ns/*", team: workloads, user: "spiffe-*"',
    )
    stack.ports.update(zip(("required", "optional"), free_ports(2)))


def binds(stack):
    tls = f"cert: {MADE['server']}, client_ca: {MADE['ca']}, client_crl: {MADE['crl']}"
    return (
        f'address: "127.0.0.1:{stack.ports["required"]}", {tls}',
        f'address: "127.0.0.1:{stack.ports["optional"]}", {tls}, client_cert: optional',
    )


STACK = {"prepare": prepare, "binds": binds}


def context(name, version=ssl.TLSVersion.TLSv1_3):
    made = ssl.create_default_context(cafile=str(MADE["ca"]))
    made.minimum_version = made.maximum_version = version
    if name:
        made.load_cert_chain(MADE[name])
    return made


def connect(stack, name, bind="required", tls=None):
    return contextlib.closing(
        http.client.HTTPSConnection("localhost", stack.ports[bind], context=tls or context(name), timeout=PATIENCE)
    )


def exchange(connection, text, token=None, model="solo", **headers):
    """200, or status, code and message."""
    fields = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {}), **headers}
    connection.request("POST", "/v1/chat/completions", json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}), fields)
    answer = connection.getresponse()
    value = json.loads(answer.read())
    return 200 if answer.status == 200 else (answer.status, value["error"]["code"], value["error"]["message"])


def asked(stack, name, text="certificate", token=None, bind="required", **headers):
    with connect(stack, name, bind) as connection:
        return exchange(connection, text, token, **headers)


def ctl(stack, *words, check=True):
    done = subprocess.run(
        [build_folder() / "tollgatectl", *map(str, words), "--socket", stack.admin_socket], capture_output=True, text=True, timeout=PATIENCE
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def explain(stack, name, *words):
    done = ctl(stack, "explain", "--certificate", MADE[name], "--model", "solo", "--json", *words, check=False)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    return json.loads(done.stdout)["identity"]


def requests_of(stack, subject, count):
    return wait_for(lambda: (rows := ledger.requests(stack, subject)) and len(rows) >= count and rows, "the subject's rows")


def test_a_certificate_says_who_asks(stack, sub):
    subject, issuer = "CN=batch-search,OU=Jobs,O=Example", "client-certificate:CN=Test Clients,O=Example"
    before = len(ledger.requests(stack, subject))
    for _ in range(4):  # both workers
        assert asked(stack, "batch", sub) == 200
    row = requests_of(stack, subject, before + 4)[-1]
    assert (row["team"], row["cost_center"], row["organization"]) == ("search", "4711", "example")
    who = stack.query("SELECT user_name, application, issuer FROM who WHERE subject = ?", subject)
    assert who == [{"user_name": "batch-search", "application": "jobs", "issuer": issuer}]
    assert asked(stack, "spiffe", sub) == 200 and asked(stack, "pinned", sub) == 200
    # Nothing of a certificate reaches a provider.
    sent = json.dumps(stack.received("alpha", sub)).lower()
    assert "batch-search" not in sent and "certificate" not in sent.replace(sub, "") and fingerprint(MADE["batch"]) not in sent


@pytest.mark.parametrize("bind", ["required", "optional"])
@pytest.mark.parametrize("name", ["stranger", "expired", "revoked", None])
def test_what_haproxy_does_not_let_in(stack, sub, name, bind):
    if (name, bind) == (None, "optional"):
        assert asked(stack, None, sub, bind=bind)[0] == 401
    else:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with pytest.raises(REFUSED), connect(stack, name, bind, context(name, version)) as connection:
                exchange(connection, sub, stack.person(sub))  # a good token does not help
    assert not stack.received("alpha", sub)
    assert asked(stack, "batch", sub, bind=bind) == 200  # the address itself is fine


def test_without_a_certificate_where_it_is_optional(stack, sub):
    status, code, message = asked(stack, None, bind="optional")
    assert (status, code) == (401, "invalid_api_key") and message.endswith("or connect with a client certificate")
    assert asked(stack, None, token="certificate", bind="optional")[2].endswith("this connection has none")
    assert asked(stack, None, sub, token=stack.person(sub), bind="optional") == 200
    status, _, answer = stack.post("certificate", {"model": "solo", "messages": []})  # without TLS
    assert status == 401 and json.loads(answer)["error"]["message"].endswith("this connection has none")


def test_no_header_speaks_for_a_certificate(stack, sub):
    pem = MADE["batch"].read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----BEGIN PRIVATE")]).hex()
    forged = {
        "cert": "1", "cverify": "0", "cder": der, "ssl_c_used": "1", "ssl_c_der": der, "x-ssl-client-used": "1", "x-ssl-client-verify": "0",
        "x-ssl-client-dn": "CN=batch-search,OU=Jobs,O=Example", "x-ssl-client-sha1": "00", "x-client-cert": der, "client-cert": f":{der}:",
        "x-forwarded-client-cert": f"Hash={fingerprint(MADE['batch'])};Subject=\"CN=batch-search\"", "x-tg-cert": "1", "x-tg-cder": der,
    }
    assert asked(stack, None, sub, bind="optional", **forged)[:2] == (401, "invalid_api_key")
    status, _, answer = stack.post(None, {"model": "solo", "messages": []}, headers=forged)
    assert status == 401 and json.loads(answer)["error"]["code"] == "invalid_api_key"
    assert not stack.received("alpha", sub)
    assert asked(stack, "nobody", sub, **forged)[:2] == (403, "identity_not_mapped")
    assert not stack.received("alpha", sub)


def test_no_rule_no_passage(stack, sub):
    status, code, message = asked(stack, "nobody", sub)
    assert (status, code) == (403, "identity_not_mapped")
    assert "the client certificate CN=nobody,CN=batch-x,O=Example of CN=Test Clients,O=Example is" in message
    assert asked(stack, "nobody", sub, token=stack.person(sub)) == 200


def test_a_token_wins_and_must_be_good(stack, sub):
    assert asked(stack, "batch", sub, token=stack.person(sub, team="people")) == 200
    assert requests_of(stack, sub, 1)[0]["team"] == "people"
    expired = stack.mint(claims={"sub": sub, "exp": 1})
    assert asked(stack, "batch", sub, token=expired)[:2] == (401, "invalid_api_key")
    assert asked(stack, "batch", sub, token="tg_nokey")[:2] == (401, "invalid_api_key")
    assert asked(stack, "batch", sub, Authorization="Basic YTpi")[:2] == (401, "invalid_api_key")
    assert asked(stack, "batch", sub, **{"x-api-key": "sk-other"})[:2] == (401, "invalid_api_key")


def test_a_token_bound_to_a_certificate(stack, sub):
    """RFC 8705: good in the hands of whoever connects with that certificate, also from the cache, and in nobody else's."""
    digest = base64.urlsafe_b64encode(bytes.fromhex(fingerprint(MADE["batch"]))).rstrip(b"=").decode()
    token = stack.mint(claims={"sub": sub, "team": "people", "cnf": {"x5t#S256": digest}})
    refused = (401, "invalid_api_key")
    for _ in range(8):  # each worker has it in its cache
        assert asked(stack, "batch", sub, token=token) == 200
        for name, bind in (("spiffe", "required"), ("pinned", "optional"), (None, "optional")):
            status, code, message = asked(stack, name, sub, token=token, bind=bind)
            assert (status, code) == refused and "connect with the client certificate it was issued for" in message
        status, _, answer = stack.post(token, {"model": "solo", "messages": [{"role": "user", "content": sub}]})
        assert (status, json.loads(answer)["error"]["code"]) == refused
    assert {row["team"] for row in requests_of(stack, sub, 8) if row["state"] != "denied"} == {"people"}
    other = stack.mint(claims={"sub": sub, "cnf": {"x5t#S256": digest, "jkt": digest}})
    assert asked(stack, "batch", sub, token=other)[:2] == refused


def test_an_sdk_sends_the_word(stack, sub):
    with openai.DefaultHttpxClient(verify=context("batch")) as client:
        url = f"https://localhost:{stack.ports['required']}/v1"
        with openai.OpenAI(base_url=url, api_key="certificate", http_client=client, max_retries=0) as sdk:
            answer = sdk.chat.completions.create(model="solo", messages=[{"role": "user", "content": sub}])
    assert answer.choices[0].message.content


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_and_a_kept_connection_obey_revocation(stack, sub, version):
    tls = context("batch", version)
    with connect(stack, "batch", tls=tls) as first:
        assert exchange(first, sub) == 200
        with connect(stack, "batch", tls=tls) as second:
            second.connect()
            with contextlib.closing(resume(stack, tls, first.sock.session)) as resumed:
                ctl(stack, "revoke", "certificate", "--file", MADE["batch"], "--note", "lost laptop")
                try:
                    for connection in (first, second, resumed):
                        status, code, message = exchange(connection, sub)
                        assert (status, code) == (401, "invalid_api_key") and "revoked (certificate)" in message
                    assert asked(stack, "batch", sub, token=stack.person(sub))[0] == 401  # beside a good token as well
                finally:
                    ctl(stack, "unrevoke", "certificate", fingerprint(MADE["batch"]))
                assert exchange(resumed, sub) == 200


def resume(stack, tls, session):
    connection = http.client.HTTPSConnection("localhost", stack.ports["required"], context=tls, timeout=PATIENCE)
    http.client.HTTPConnection.connect(connection)
    connection.sock = tls.wrap_socket(connection.sock, server_hostname="localhost", session=session)
    assert connection.sock.session_reused
    return connection


def test_revocation_is_audited_and_survives(stack, sub):
    mark = fingerprint(MADE["spiffe"])
    assert asked(stack, "spiffe", sub) == 200
    ctl(stack, "revoke", "certificate", mark)
    stack.kill_agent()
    stack.restart_agent()
    assert asked(stack, "spiffe", sub)[0] == 401
    assert explain(stack, "spiffe")["reason"] == "revoked"
    ctl(stack, "unrevoke", "certificate", mark)
    assert asked(stack, "spiffe", sub) == 200
    events = stack.query("SELECT action FROM access_event WHERE object = ? ORDER BY id", f"certificate {mark}")
    assert [event["action"] for event in events] == ["revoke", "unrevoke"]
    assert mark in (stack.folder / "audit.log").read_text()
    for value in (mark.upper(), mark[:-1], ":".join(mark[i : i + 2] for i in range(0, 64, 2))):
        done = ctl(stack, "revoke", "certificate", value, check=False)
        assert done.returncode != 0 and "64 hexadecimal digits" in done.stderr
    done = ctl(stack, "revoke", "certificate", "--file", stack.config, check=False)
    assert done.returncode != 0 and "holds no certificate in PEM form" in done.stderr


def test_explain(stack, sub):
    told = explain(stack, "batch")
    assert told["accepted"] and (told["certificate"], told["certificate_rule"]) == (fingerprint(MADE["batch"]), "jobs")
    assert (told["team"], told["user"], told["application"]) == ("search", "batch-search", "jobs")
    told = explain(stack, "pinned")
    assert (told["user"], told["groups"], told["certificate_rule"]) == ("zoe", ["llm-admins"], "pinned")
    told = explain(stack, "spiffe")
    assert (told["team"], told["user"], told["certificate_rule"]) == ("workloads", "spiffe-train", "workloads")
    assert explain(stack, "nobody")["reason"] == "certificate_not_mapped"
    assert explain(stack, "expired")["reason"] == "certificate_expired"
    token = stack.folder / "person.token"
    token.write_text(stack.person(sub))
    told = explain(stack, "batch", "--token", token)
    assert (told["subject"], told["certificate_rule"], told["certificate"]) == (sub, "", fingerprint(MADE["batch"]))
    text = ctl(stack, "explain", "--certificate", MADE["batch"], "--model", "solo").stdout
    assert "identity: accepted" in text and "by rule       jobs" in text


def test_rules_that_cannot_be_meant(stack):
    good = stack.config.read_text()
    base = good[: good.index("certificates:")]
    bind = 'address: "127.0.0.1:1", '
    for text, says in (
        (base + "certificates: [{name: a, team: b}]\n", "certificates[0].name: the rule matches every certificate"),
        (base + 'certificates: [{name: a, common_name: "*-*", team: b}]\n', "certificates[0].common_name: common_name and alternative_name may"),
        (base + 'certificates: [{name: a, common_name: x, team: "*"}]\n', "certificates[0].team: a '*' needs"),
        (base + "certificates: [{name: a, common_name: x}]\n", '"team" is missing'),
        (base + "certificates: [{name: a, alternative_name: x, team: b}]\n", "must begin with its kind"),
        (base + "certificates: [{name: a, fingerprint: AB, team: b}]\n", "64 hexadecimal digits"),
        (base + "certificates: [{name: a, common_name: x, team: b}, {name: a, common_name: y, team: b}]\n", "certificates[1].name: stands there"),
        (good.replace("client_cert: optional", "client_cert: maybe"), "allowed: required, optional"),
        (good.replace("bind:\n", f"bind:\n    - {{{bind}client_ca: {MADE['ca']}}}\n"), "client_ca needs cert"),
        (good.replace("bind:\n", f"bind:\n    - {{{bind}cert: /x.pem, client_crl: /crl.pem}}\n"), "client_crl needs client_ca"),
        (good.replace("bind:\n", f"bind:\n    - {{{bind}cert: /x.pem, client_cert: required}}\n"), "needs client_ca"),
    ):
        path = stack.folder / "other.yaml"
        path.write_text(text)
        done = stack.run_tool("check", path, check=False)
        assert done.returncode != 0 and says in done.stdout + done.stderr, (says, done.stdout + done.stderr)
