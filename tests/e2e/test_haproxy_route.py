"""Routing, fallback, key injection, stripping, refusals and HAProxy's own errors, with the generated files."""
import asyncio
import contextlib
import json
import re
import socket
import ssl
import subprocess
import threading

import pytest
from haproxy_stub.fixtures import gateway, shared_gateway, write_plan  # noqa: F401
from haproxy_stub.gateway import Gateway, wait_for
from haproxy_stub.provider import SSE_HEAD, answer, chunk, drop, raw, silence, stream, until
from machine import PATIENCE


def error_of(body):
    """The error object of an answer in OpenAI shape."""
    error = json.loads(body)["error"]
    assert set(error) >= {"message", "type", "param", "code"} and error["message"]
    return error


# ---- fallback ----

FAULTS = {str(s): answer(s, '{"error":{}}') for s in (401, 403, 408, 409, 425, 429, 500, 501, 502, 503, 504, 520, 524, 529)}
FAULTS.update({"drop": drop(), "junk": raw(b"not http at all\r\n\r\n"), "half a head": raw(b"HTTP/1.1 200 OK\r\ncontent-"),
               "empty": raw(b"")})


@pytest.mark.parametrize("fault", FAULTS)
def test_fallback_on(gateway, fault):
    primary = "hasty" if fault == "junk" else "a"  # HAProxy 3.0 notices that only when the first-byte limit is over
    gateway.providers[primary].script = FAULTS[fault]
    gateway.allow_with_fallback(pri=primary)
    for _ in range(2):
        status, headers, body = gateway.request(b'{"x":1}')
        assert status == 200 and json.loads(body)["id"] == "chatcmpl-1"
        assert headers["x-tollgate-provider"] == "b" and headers["x-tollgate-attempt"] == "2" and headers["x-tollgate-model"] == "model-b"
    sent = gateway.providers["b"].requests[0]
    assert sent.body == b'{"x":1}' and sent.header("authorization") == "Bearer key-b"
    # From 3.0 on HAProxy writes no line for an attempt on a reused connection that the provider closed without a word.
    found = gateway.lines(2, headers, 2) if fault.isdigit() else wait_for(
        lambda: [line for line in gateway.lines(2, headers) if line["att"] == 2], what="the line of the second attempt")
    assert (found[-1]["grp"], found[-1]["att"], found[-1]["rst"]) == ("b", 2, "200")
    if fault.isdigit():
        assert (found[0]["grp"], found[0]["att"], found[0]["rst"]) == ("a", 1, fault)
    assert gateway.line(1, headers)["rc"] == "+1"


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_no_fallback_on_the_clients_own_errors(gateway, status):
    gateway.providers["a"].script = answer(status, '{"error":{"code":"content_filter"}}')
    gateway.allow_with_fallback()
    got, headers, body = gateway.request()
    assert got == status and b"content_filter" in body and headers["x-tollgate-attempt"] == "1"
    assert not gateway.providers["b"].requests


@pytest.mark.parametrize("status", [401, 403, 408, 409, 429, 500, 501, 503, 529])
def test_without_a_fallback_the_providers_answer_passes(gateway, status):
    gateway.providers["a"].script = answer(status, '{"error":{"code":"theirs"}}', extra=("retry-after: 9",))
    gateway.allow()
    got, headers, body = gateway.request()
    assert got == status and b"theirs" in body and headers["retry-after"] == "9" and headers["x-tollgate-attempt"] == "1"
    assert len(gateway.providers["a"].requests) == 1


@pytest.mark.parametrize("status", [429, 500, 529])
def test_both_fail_the_fallbacks_answer_passes(gateway, status):
    gateway.providers["a"].script = answer(503, '{"error":{"code":"a"}}')
    gateway.providers["b"].script = answer(status, '{"error":{"code":"b"}}')
    gateway.allow_with_fallback()
    got, headers, body = gateway.request()
    assert got == status and b'"b"' in body and headers["x-tollgate-attempt"] == "2"


def test_an_answer_that_ends_before_its_first_byte_is_a_failed_try(gateway):
    for framing in (b"content-length: 4", b"transfer-encoding: chunked"):
        gateway.providers["a"].script = raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + framing + b"\r\n\r\n")
        gateway.allow_with_fallback()
        status, headers, got = gateway.request()
        assert status == 200 and json.loads(got)["id"] == "chatcmpl-1" and headers["x-tollgate-attempt"] == "2"


ERROR_BODIES = ['{"error":{"code":"busy"}}', ' \r\n{ "error" : "busy"}', '{"type": "error", "error": {"type": "api_error"}}', '{"object":"error"}']


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("body", ERROR_BODIES)
def test_an_error_with_status_200_is_a_failed_try(gateway, body, streamed):
    gateway.providers["a"].script = answer(200, body)
    gateway.allow_with_fallback(stream=streamed)
    status, headers, got = gateway.request()
    assert status == 200 and json.loads(got)["id"] == "chatcmpl-1" and headers["x-tollgate-attempt"] == "2"
    line = gateway.lines(2, headers, 2)[0]
    assert line["att"] == 1
    assert (line["st"], line["rst"]) == (503, "200")


@pytest.mark.parametrize("body", ERROR_BODIES)
def test_an_error_with_status_200_passes_when_nothing_better_comes(gateway, body):
    gateway.providers["a"].script = gateway.providers["b"].script = answer(200, body, extra=("x-theirs: 1",))
    for allow, attempt in ((gateway.allow, "1"), (gateway.allow_with_fallback, "2")):
        allow()
        status, headers, got = gateway.request()
        assert (status, got, headers["x-theirs"], headers["x-tollgate-attempt"]) == (200, body.encode(), "1", attempt)


@pytest.mark.parametrize("body", ['{"error":{"code":"content_filter"}}', '{"type":"error","error":{"type": "invalid_request_error"}}',
                                  '{"error":null,"id":"r"}', '{"errors":{}}', "", "[]", '"error"', '{"id":"x","error":{"code":1}}'])
def test_other_answers_are_no_failed_try(gateway, body):
    gateway.providers["a"].script = answer(200, body)
    gateway.allow_with_fallback()
    status, headers, got = gateway.request()
    assert (status, got, headers["x-tollgate-attempt"]) == (200, body.encode(), "1")


def test_both_drop_on_a_kept_connection(gateway):
    """Never a silent close: a client connection that already served a request still gets an answer and a line."""
    import http.client
    gateway.allow_with_fallback()
    c = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
    ids = []
    for n in range(6):
        if n == 1:
            gateway.providers["a"].script = gateway.providers["b"].script = drop()
        c.request("POST", "/v1/chat/completions", b"{}")
        r = c.getresponse()
        assert r.status == (200 if n == 0 else 502)
        ids.append(r.headers["x-tollgate-request-id"])
        if n:
            assert error_of(r.read())["code"] == "provider_error"
        else:
            r.read()
    c.close()
    wait_for(lambda: {line["id"] for line in list(gateway.ring.lines) if line["t"] == 1} >= set(ids), what="six lines")
    wait_for(lambda: {record["id"] for record in list(gateway.settle.records)} >= set(ids), what="six records")


def test_connection_refused(gateway):
    gateway.allow_with_fallback(pri="off")
    status, headers, _ = gateway.request()
    assert status == 200 and headers["x-tollgate-provider"] == "b"
    gateway.allow(pri="off")
    status, _, body = gateway.request()
    assert status == 503 and error_of(body)["code"] == "provider_unavailable"
    # HAProxy makes no pauses, as it does before retries of its own.
    sections = re.findall(r"^backend tg_p_.*?(?=^\S)", (gateway.dir / "tollgate.cfg").read_text(), re.M | re.S)
    assert len(sections) == 8 and all("\n    retries 0\n" in section for section in sections)


LIMIT_S = 2
LIMITS = {"streams": {"first_byte_stream_ms": LIMIT_S * 1000}, "plains": {"first_byte_plain_ms": LIMIT_S * 1000},
          "last": {"first_byte_stream_ms": LIMIT_S * 1000}}


@pytest.fixture(scope="module")
def limited(write_plan):  # noqa: F811
    """Groups with a short limit of the first byte for either kind of answer. b's limit no answer meets."""
    with Gateway(write_plan, groups=("b", *LIMITS), group_plan=LIMITS) as g:
        yield g


def test_first_byte_limits(limited):
    g = limited
    g.providers["streams"].script = g.providers["last"].script = silence()
    g.allow_with_fallback(pri="streams", stream=True)
    assert g.request()[1]["x-tollgate-provider"] == "b"
    g.allow(pri="streams", fb="last", fkey="Bearer", fmodel="m", stream=True)
    assert g.request()[0] in (502, 504)  # 504 from HAProxy 3.1 on
    # A plain answer may take longer than the first byte of a stream.
    g.providers["streams"].script = answer(delay=LIMIT_S + 0.5)
    g.allow_with_fallback(pri="streams")
    assert g.request()[1]["x-tollgate-provider"] == "streams"


def in_time(gateway):
    """The answer of the first attempt. A busy machine may be late with its first byte: then it is asked for again."""
    def look():
        status, headers, body = gateway.request()
        assert status == 200
        return headers["x-tollgate-attempt"] == "1" and (headers, body)
    return wait_for(look, what="a first byte within the limit")


def test_the_limit_is_for_the_first_byte_alone(limited):
    """A stream that has begun may pause, and so may a plain answer."""
    g = limited
    g.providers["streams"].script = stream([b"data: 1\n\n"] * 2, gap=LIMIT_S + 0.5)
    g.allow_with_fallback(pri="streams", stream=True)
    headers, body = in_time(g)
    assert body == b"data: 1\n\n" * 2 and g.record_of(headers)["grp"] == "streams"
    # A head alone is no answer, and an answer in small pieces is one.
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n"
    g.providers["plains"].script = silence(head)
    g.allow_with_fallback(pri="plains")
    assert g.request()[1]["x-tollgate-provider"] == "b"

    async def slowly(request, writer):
        writer.write(head)
        for piece in (b"[", b"1", b"2]"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(LIMIT_S * 0.6)
    g.providers["plains"].script = slowly
    assert in_time(g)[1] == b"[12]"


def test_streamed_answer_of_the_fallback_is_not_held_back(gateway):
    seen = [threading.Event() for _ in range(4)]

    async def script(request, writer):
        writer.write(SSE_HEAD)
        for number, one in enumerate(seen):
            writer.write(chunk(b"data: %d\n\n" % number))
            await writer.drain()
            await until(one)  # what comes is not sent before the client has what was
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    gateway.providers["a"].script = answer(500)
    gateway.providers["b"].script = script
    gateway.allow_with_fallback(stream=True)
    with socket.create_connection(("127.0.0.1", gateway.port), PATIENCE) as s:
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            piece = s.recv(65536)
            assert piece, got
            got += piece
            for one in seen[: got.count(b"data:")]:
                one.set()
    assert got.count(b"data:") == 4


def test_unknown_group_reaches_nothing_else(gateway):
    for name in ("nowhere", "../tg_agent", "a b", "tg_route"):
        gateway.allow(pri=name)
        status, _, body = gateway.request()
        assert status == 502 and error_of(body)["code"] == "unknown_provider_group"
    assert not gateway.providers["a"].requests


# ---- what the provider sees ----

def test_client_credentials_and_internal_headers_end_at_the_gateway(gateway):
    mine = {"authorization": "Bearer USER-TOKEN", "x-api-key": "USER-KEY", "api-key": "USER-KEY", "cookie": "s=USER", "x-tg-pk": "USER",
            "x-tg-pg": "b", "x-tg-pe": "0,1,1:x", "openai-organization": "USER-ORG", "proxy-authorization": "USER", "x-request-id": "USER",
            "x-forwarded-for": "USER", "accept-encoding": "gzip", "x-stainless-lang": "python"}
    status, headers, _ = gateway.request(b"{}", headers=mine)
    sent = gateway.providers["a"].requests[0]
    assert status == 200 and "USER" not in str(sent.headers) and "x-tg-" not in str(sent.headers)
    assert [v for k, v in sent.headers if k == "authorization"] == ["Bearer key-a"]
    assert sent.header("accept-encoding") == "identity" and sent.header("x-stainless-lang") == "python"
    assert sent.header("host") == f"127.0.0.1:{gateway.ports['a']}"
    assert sent.header("x-client-request-id") == headers["x-tollgate-request-id"]
    assert sent.body == b"{}"


def test_absolute_request_target_does_not_choose_the_host(gateway):
    request = b"POST http://evil.test/v1/chat/completions?beta=true HTTP/1.1\r\nhost: evil.test\r\ncontent-length: 2\r\n\r\n{}"
    assert send_raw(gateway, request)[0] == 200
    sent = gateway.providers["a"].requests[0]
    assert sent.target == "/v1/chat/completions?beta=true" and "evil" not in str(sent.headers)


def test_http2_clients_reach_the_provider_with_a_plain_path(gateway):
    out = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-d", "{}", "-D", "-", f"http://127.0.0.1:{gateway.h2_port}/v1/responses?x=1"],
                         capture_output=True, text=True, timeout=PATIENCE)
    assert out.stdout.startswith("HTTP/2 200")
    sent = gateway.providers["a"].requests[0]
    assert sent.target == "/v1/responses?x=1" and sent.header("host") == f"127.0.0.1:{gateway.ports['a']}"


def test_paths_headers_and_auth_styles_of_groups(write_plan):  # noqa: F811
    groups = {"azure": {"url": "http://127.0.0.1:{port}/openai/deployments/<model>", "query": "api-version=2024-06-01", "auth": "api-key"},
              "claude": {"url": "http://127.0.0.1:{port}", "path": "/v1/messages", "auth": "x-api-key", "header": "anthropic-version 2023-06-01"},
              "plain": {"url": "http://127.0.0.1:{port}/api/v1/", "auth": "none", "header": "x-note 100% of #1 $HOME"}}
    with Gateway(write_plan, groups=tuple(groups), group_plan=groups) as g:
        g.allow(pri="azure", pkey="AZ", pmodel="gpt 4/o?x")
        assert g.request(path="/v1/embeddings?a=b")[0] == 200
        sent = g.providers["azure"].requests[0]
        assert sent.target == "/openai/deployments/gpt%204%2Fo%3Fx/embeddings?api-version=2024-06-01"
        assert sent.header("api-key") == "AZ" and sent.header("authorization") is None
        g.allow(pri="claude", pkey="CL")
        assert g.request(path="/v1/chat/completions?beta=true")[0] == 200
        sent = g.providers["claude"].requests[0]
        assert sent.target == "/v1/messages?beta=true" and sent.header("x-api-key") == "CL"
        assert sent.header("anthropic-version") == "2023-06-01"
        g.allow(pri="plain", pkey="NONE")
        assert g.request(headers={"authorization": "Bearer u"})[0] == 200
        sent = g.providers["plain"].requests[0]
        assert sent.target == "/api/v1/chat/completions" and sent.header("x-note") == "100% of #1 $HOME"
        assert sent.header("authorization") is None


# ---- what the client sees ----

def test_provider_headers_that_stay_inside(gateway):
    gateway.providers["a"].script = answer(extra=(
        "server: cloudflare", "set-cookie: __cf=1", "alt-svc: h3=\":443\"", "strict-transport-security: max-age=1", "cf-ray: 1",
        "x-ratelimit-remaining-tokens: 999", "openai-organization: secret-org", "x-request-id: theirs", "openai-processing-ms: 12",
        "server-timing: theirs;dur=1",
        "x-tg-group: forged", "x-tg-status: 429"))
    gateway.allow(rlt="1000", rrt="900", rst="6s", rlr="60", rrr="59", rsr="1s", bud="12.34", hold="0.01", note="soft limit near",
                  alias="chat-default", ovh=321, time="tollgate;dur=0.321, tokens;dur=0.040")
    status, headers, _ = gateway.request()
    assert status == 200
    own = headers["x-tollgate-request-id"]
    assert headers == {"content-type": "application/json", "content-length": headers["content-length"], "openai-processing-ms": "12",
                       "x-request-id": own, "request-id": own, "x-tollgate-request-id": own, "x-tollgate-provider": "a",
                       "x-tollgate-attempt": "1", "x-tollgate-model": "model-a", "x-ratelimit-limit-tokens": "1000",
                       "x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "6s", "x-ratelimit-limit-requests": "60",
                       "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s", "x-tollgate-budget-left": "12.34",
                       "x-tollgate-hold-usd": "0.01", "x-tollgate-notice": "soft limit near", "x-tollgate-alias": "chat-default",
                       "x-tollgate-overhead-us": "321", "server-timing": "theirs;dur=1, tollgate;dur=0.321, tokens;dur=0.040"}


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 408, 413, 415, 422, 429, 500, 503])
def test_refusals(gateway, status):
    body = json.dumps({"error": {"message": 'no: "x" 100% %[src] \\ {}', "type": "t", "param": None, "code": "c"}})
    gateway.agent.decide = lambda args: {"ok": True, "deny": status, "ebody": body, "retry": 33, "noretry": "false", "rrt": "0"}
    got, headers, answered = gateway.request()
    assert got == status and answered.decode() == body and headers["content-type"] == "application/json"
    assert headers["retry-after"] == "33" and headers["x-should-retry"] == "false" and headers["x-ratelimit-remaining-tokens"] == "0"
    assert headers["x-tollgate-request-id"]
    gateway.agent.decide = lambda args: {"ok": True, "deny": status, "ebody": body}
    got, headers, _ = gateway.request()
    assert got == status and "retry-after" not in headers and "x-should-retry" not in headers
    assert not gateway.providers["a"].requests


@pytest.mark.parametrize("variables", [{"ok": True}, {"ok": True, "deny": 418, "ebody": "{}"}, {"ok": True, "deny": 999, "pri": "a"}])
def test_a_decision_that_cannot_be_carried_out(gateway, variables):
    gateway.agent.decide = lambda args: variables
    status, _, body = gateway.request()
    assert status == 500 and error_of(body)["code"] == "gateway_error" and not gateway.providers["a"].requests


def send_raw(gateway, data):
    """(status, body) of an answer in JSON, which may come while we still send."""
    got = b""
    with socket.create_connection(("127.0.0.1", gateway.port), PATIENCE) as s:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            s.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            while not (b"\r\n\r\n" in got and got.endswith(b"}")) and (piece := s.recv(65536)):
                got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def test_own_errors(gateway):
    assert send_raw(gateway, b"POST /v1/x HTTP/1.1\r\nbad header\r\n\r\n")[0] == 400  # before any section of ours is reached
    status, _, body = gateway.request(path="/v2/elsewhere")
    assert status == 404 and error_of(body)["code"] == "unknown_path"
    status, body = send_raw(gateway, b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n" + b"x" * 400000)
    assert status == 413 and error_of(body)["code"] == "request_too_large"
    status, _, body = gateway.request(b"x" * 262145)
    assert status == 413 and error_of(body)["code"] == "request_too_large"
    status, _, body = gateway.request(b"x" * 262145, chunked=True)
    assert status == 413
    status, _, body = gateway.request(headers={f"x-h{i}": "v" * 3000 for i in range(6)})
    assert status == 431 and error_of(body)["code"] == "headers_too_large"
    assert not gateway.agent.seen and not gateway.providers["a"].requests


def test_error_is_also_readable_for_anthropic_clients(gateway):
    assert json.loads(gateway.request(path="/elsewhere")[2])["type"] == "error"


# ---- fail closed ----

def test_agent_gone_slow_and_back(write_plan):  # noqa: F811
    with Gateway(write_plan, decision=1000) as g:
        g.allow()
        wait_for(lambda: g.request()[0] == 200, what="a decision in time")

        def refused():
            status, headers, body = g.request()
            assert status == 503 and error_of(body)["code"] == "policy_unavailable" and headers["retry-after"] == "1"
            return wait_for(lambda: [line for line in list(g.ring.lines) if line["id"] == headers["x-tollgate-request-id"]], what="its line")[0]
        passed = len(g.providers["a"].requests)
        g.agent.decide = lambda args: None
        line = refused()
        assert line["err"] == "1" and line["srv"] == "<NOSRV>", "SPOE reported a timeout"
        g.agent.decide = lambda args: {}
        refused()
        g.loop.run(g.agent.stop())
        assert refused()["err"] not in ("", "-")
        wait_for(lambda: "tg_agent/agent is DOWN" in (g.dir / "haproxy.log").read_text(), what="HAProxy to know that the agent is gone")
        assert refused()["err"] not in ("", "-")
        assert len(g.providers["a"].requests) == passed
        g.allow()
        g.loop.run(g.agent.start(g.spop_port))
        wait_for(lambda: g.request()[0] == 200, what="the agent being used again")


# ---- logs ----

def test_lines_hold_no_secret_and_probes_make_none(write_plan):  # noqa: F811
    with Gateway(write_plan) as g:
        socket.create_connection(("127.0.0.1", g.port)).close()
        g.providers["a"].script = answer(500)
        g.allow_with_fallback()
        ids = set()
        for _ in range(2):
            headers = g.request(headers={"authorization": "Bearer USER-TOKEN"})[1]
            ids.add(headers["x-tollgate-request-id"])
            g.line(1, headers), g.lines(2, headers, 2)
        assert len(g.ring.raw) == 6 and {line["id"] for line in g.ring.lines} == ids
        for line in g.ring.raw:
            assert "key-" not in line and "USER" not in line and "Bearer" not in line


def test_sockets_between_the_tiers_are_private(gateway):
    for name in ("tg-primary.sock", "tg-fallback.sock"):
        assert (gateway.dir / name).stat().st_mode & 0o777 == 0o600


# ---- TLS to providers ----

@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    d = tmp_path_factory.mktemp("tls")

    def make(name, *extra):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                        f"{d}/{name}.key", "-out", f"{d}/{name}.pem", "-subj", f"/CN={name}", "-addext", f"subjectAltName={extra[0]}"],
                       check=True, capture_output=True)
    make("good", "DNS:localhost,DNS:provider.test")
    make("other", "DNS:other.test")
    (d / "both.pem").write_text((d / "good.pem").read_text() + (d / "other.pem").read_text())  # the name decides, not the issuer
    return d


def tls(folder, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/{name}.pem", f"{folder}/{name}.key")
    return context


@pytest.mark.parametrize("keys", [{"url": "https://localhost:{port}/v1"},
                                  {"url": "https://127.0.0.1:{port}/v1", "server_name": "provider.test"}])
def test_tls_provider_is_verified(write_plan, certificates, keys):  # noqa: F811
    keys = {**keys, "ca_file": f"{certificates}/both.pem"}
    served = {name: tls(certificates, name) for name in ("good", "other")}
    with Gateway(write_plan, groups=("good", "other", "b"), group_plan={"good": keys, "other": keys}, tls=served) as g:
        g.allow_with_fallback(pri="good")
        assert g.request()[1]["x-tollgate-provider"] == "good"
        g.allow_with_fallback(pri="other")
        status, headers, _ = g.request()
        assert status == 200 and headers["x-tollgate-provider"] == "b" and not g.providers["other"].requests


def test_lines_over_a_unix_socket_survive_the_receivers_absence(write_plan, tmp_path):  # noqa: F811
    import tempfile
    with tempfile.TemporaryDirectory(prefix="tg-ring-") as folder:
        path = f"{folder}/ring.sock"
        with Gateway(write_plan, plan={"ring_address": f"unix@{path}"}) as g:
            g.allow()
            sent = [g.request()[1]["x-tollgate-request-id"] for _ in range(20)]
            server = g.loop.run(asyncio.start_unix_server(g.ring._serve, path))
            wait_for(lambda: {line["id"] for line in list(g.ring.lines) if line["t"] == 1} >= set(sent), what="the lines of all requests")
            g.loop.loop.call_soon_threadsafe(server.close)
