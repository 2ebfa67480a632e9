"""Traces: what a collector gets to see of requests, and what providers get to see of traces."""

import contextlib
import http.client
import json
import re
import secrets
import time

import pytest
from opentelemetry import trace
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from otlp_receiver import Receiver
from prometheus import fetch
from machine import PATIENCE, free_ports, wait_for
from stack import configuration

SERVER, CLIENT = 2, 3  # of OTLP's SpanKind
UNSET, ERROR = 0, 2
assert (SpanKind.SERVER.value + 1, SpanKind.CLIENT.value + 1, StatusCode.ERROR.value) == (SERVER, CLIENT, ERROR)
HEADER = "x-collector-key"


def traces(receiver, folder, **more):
    options = {"interval": "100ms", "batch": 8, "queue": 32, "timeout": "60s", **more}
    text = ", ".join(f"{name}: {value}" for name, value in options.items())
    return (
        f'endpoint: "{receiver.url}", allow_http: true, {text}, '
        f"headers: [{{name: {HEADER}, file: {folder}/collector.key}}, {{name: x-tenant, value: ai}}]"
    )


@pytest.fixture(scope="module")
def receiver():
    one = Receiver()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def stack(make_stack, receiver):
    def prepare(self):
        self.collector_key = secrets.token_hex(16)
        self.write_secret("collector.key", self.collector_key + "\n")
        self.traces = traces(receiver, self.folder)

    limits = ('name: tiny, level: team, match: [poor], amount: "$0.000001", window: day',)
    return make_stack(prepare=prepare, limits=limits)


@pytest.fixture(autouse=True)
def patient_collector(receiver):
    yield
    receiver.reply = receiver.GOOD
    receiver.gate.set()


@contextlib.contextmanager
def configured(stack, text):
    """The stack with another part `traces` (None: without), by a reload; afterwards as before."""
    before = stack.traces
    try:
        for stack.traces in (text, before):
            count = stack.agent.tail(1 << 24).count(" reloaded ")
            stack.write_configuration(configuration(stack))
            stack.reload()
            wait_for(lambda n=count: stack.agent.tail(1 << 24).count(" reloaded ") > n, "the reload")
            if stack.traces is not before:
                yield
    finally:
        stack.traces = before


def body(sub, **more):
    return {"model": "chat-default", "messages": [{"role": "user", "content": f"hello from {sub}"}], **more}


def of(answer):
    """Picks the spans of the request that was answered with these headers."""
    return lambda span: span["tollgate.request_id"] == answer["x-tollgate-request-id"]


def whole(receiver, answer, tries=1):
    """(the request's span, those of its tries)."""
    spans = sorted(receiver.wait(of(answer), 1 + tries), key=lambda span: (span.kind, span.attributes.get("tollgate.attempt", 0)))
    return spans[0], spans[1:]


def provider_saw(stack, name, sub):
    """(traceparent, tracestate) of the newest request with this mark."""
    headers = {key.lower(): value for key, value in stack.received(name, sub)[-1]["headers"]}
    return headers.get("traceparent"), headers.get("tracestate")


def metric(stack, name, **labels):
    text = fetch(f"http://127.0.0.1:{stack.ports['metrics']}/metrics")[2]
    wanted = "".join(f',{key}="{value}"' for key, value in labels.items())[1:]
    found = re.search(rf"^{name}{re.escape('{' + wanted + '}') if wanted else ''} (\S+)$", text, re.M)
    return float(found[1])


def spans_counted(stack, result):
    return metric(stack, "tollgate_trace_spans_total", result=result)


def test_a_plain_request(stack, receiver, sub, settled):
    before = time.time_ns()
    status, headers, _ = stack.post(stack.person(sub, team="traced"), body(sub))
    assert status == 200
    row = stack.query("SELECT * FROM request WHERE request_id = ?", settled(sub)["request_id"])[0]
    request, (attempt,) = whole(receiver, headers)
    assert (request.name, request.kind, request.status.code) == ("chat chat-default", SERVER, UNSET)
    assert request.parent == "" and request.state == "" and request.flags == 0x101
    # Clocks of two processes of one machine: the same, but for when they were read.
    assert before - 10**9 < request.start <= request.end < time.time_ns() + 10**9
    assert request.end - request.start == row["total_us"] * 1000
    port = stack.ports["gateway"]
    left = ("identity_us", "tokens_us", "budget_us", "commit_us", "budget_left_nano")
    assert request.attributes == {
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": port,
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "chat-default",
        "gen_ai.request.max_tokens": row["output_ceiling"],
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.response.time_to_first_chunk": row["ttft_us"] / 1e6,
        "gen_ai.usage.input_tokens": row["input"] + row["input_cached"],
        "gen_ai.usage.output_tokens": row["output"] + row["output_reasoning"],
        "gen_ai.usage.cache_read.input_tokens": row["input_cached"],
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "tollgate.prompt_cache": "hit" if row["input_cached"] else "miss",
        "tollgate.request_id": row["request_id"],
        "tollgate.decision": "allowed",
        "tollgate.provider_request_id": row["provider_request_id"],
        "tollgate.outcome": "ok",
        "tollgate.known_by": "reported",
        "tollgate.cost_nano": row["cost_nano"],
        "tollgate.hold_nano": row["hold_nano"],
        "tollgate.attempts": 1,
        "tollgate.fallback": False,
        "tollgate.group": "alpha",
        "tollgate.team": "traced",
        "tollgate.cost_center": "cc-100",
        "tollgate.application": sub,
        **{f"tollgate.{name}": row[name] for name in left},
    }
    assert (attempt.name, attempt.kind, attempt.status.code) == ("chat gpt-4o-mini", CLIENT, UNSET)
    assert (attempt.trace, attempt.parent) == (request.trace, request.id) and attempt.id != request.id
    assert attempt.attributes.pop("tollgate.first_byte_us") >= 0 and attempt.end >= attempt.start
    assert attempt.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "server.address": "127.0.0.1",
        "server.port": stack.ports["alpha"],
        "http.response.status_code": 200,
        "tollgate.request_id": row["request_id"],
        "tollgate.group": "alpha",
        "tollgate.attempt": 1,
        "tollgate.outcome": "ok",
    }
    assert request.resource["service.name"] == "tollgate" and request.resource["service.version"]
    assert provider_saw(stack, "alpha", sub) == (f"00-{request.trace}-{attempt.id}-01", None)
    # The log names the trace.
    wait_for(lambda: stack.agent.tail(1 << 24).count(f"trace_id={request.trace}") == 2, "decision and settlement in the log")
    # Nobody's name is in it, no prompt and no key. (The provider of the tests calls the application what it calls the person.)
    text = repr([{**span.attributes, "tollgate.application": ""} for span in (request, attempt)])
    assert sub not in text and "hello" not in text and stack.keys["alpha"] not in text


def test_a_stream(stack, receiver, sub):
    status, headers, _ = stack.post(stack.person(sub), body(sub, stream=True))
    assert status == 200
    request, (attempt,) = whole(receiver, headers)
    assert request["gen_ai.request.stream"] is True and request["gen_ai.usage.output_tokens"] > 0
    assert 0 <= request["gen_ai.response.time_to_first_chunk"] <= (request.end - request.start) / 1e9
    assert provider_saw(stack, "alpha", sub)[0] == f"00-{request.trace}-{attempt.id}-01"


def test_refusals(stack, receiver, sub):
    poor = stack.person(sub, team="poor")
    for token, want, reason in (("nonsense", 401, "token_"), (poor, 429, "budget")):
        status, headers, _ = stack.post(token, body(sub))
        assert status == want
        request, _ = whole(receiver, headers, tries=0)
        assert request.kind == SERVER and request["http.response.status_code"] == want
        assert request["tollgate.decision"] == "denied" and request["tollgate.reason"] == request["error.type"]
        assert request["error.type"].startswith(reason)
        assert request.status.code == UNSET, "the client's fault is not the gateway's"
        assert "gen_ai.usage.input_tokens" not in request and "tollgate.cost_nano" not in request
    status, headers, _ = stack.post(stack.person(sub), b"{")
    assert status == 400
    assert whole(receiver, headers, tries=0)[0].name == "chat"


def test_own_answers(stack, receiver, sub):
    token = stack.person(sub)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", stack.ports["gateway"], timeout=PATIENCE)) as connection:
        connection.request("GET", "/v1/models/chat-default", headers={"Authorization": "Bearer " + token})
        answer = connection.getresponse()
        answer.read()
    assert answer.status == 200
    request, _ = whole(receiver, answer.headers, tries=0)
    assert request.name == "GET /v1/models/{model}" and request["url.path"] == "/v1/models/chat-default"
    assert request["tollgate.decision"] == "answered" and "gen_ai.operation.name" not in request


def test_fallback(stack, receiver, sub):
    stack.behave("alpha", status=500)
    status, headers, _ = stack.post(stack.person(sub), body(sub))
    assert status == 200
    request, (first, second) = whole(receiver, headers, tries=2)
    assert request["tollgate.fallback"] is True and request["tollgate.attempts"] == 2 and request["tollgate.group"] == "beta"
    assert request["gen_ai.provider.name"] == "azure.ai.openai" and request["gen_ai.response.model"] == "gpt-4o"
    assert request.status.code == UNSET and "error.type" not in request
    assert (first["tollgate.attempt"], first["error.type"], first.status.code) == (1, "500", ERROR)
    assert first["http.response.status_code"] == 500 and first["gen_ai.provider.name"] == "openai"
    assert (second["tollgate.attempt"], second["server.port"], second.status.code) == (2, stack.ports["beta"], UNSET)
    assert first.parent == second.parent == request.id and len({first.id, second.id, request.id}) == 3
    assert provider_saw(stack, "alpha", sub)[0] == f"00-{request.trace}-{first.id}-01"
    assert provider_saw(stack, "beta", sub)[0] == f"00-{request.trace}-{second.id}-01"


def test_every_provider_failed(stack, receiver, sub):
    stack.behave("alpha", status=500)
    status, headers, _ = stack.post(stack.person(sub), body(sub, model="solo"))
    assert status == 500
    request, (attempt,) = whole(receiver, headers)
    assert request["error.type"] == attempt["error.type"] == "500"
    assert request.status.code == attempt.status.code == ERROR and request.status.message == "500"
    assert request["tollgate.known_by"] == "none" and request["tollgate.cost_nano"] == 0


def test_from_a_client_with_the_sdk_to_the_provider(stack, receiver, sub, sdk):
    """OpenTelemetry's own SDK begins the trace; the gateway's spans stand between it and the provider's."""
    tracer = TracerProvider().get_tracer("client")
    with tracer.start_as_current_span("ask", kind=SpanKind.CLIENT) as span:
        headers = {}
        inject(headers)
        answer = sdk(stack.person(sub)).chat.completions.with_raw_response.create(
            **body(sub), extra_headers={**headers, "tracestate": "vendor=abc,other=1"}
        )
    context = span.get_span_context()
    request, (attempt,) = whole(receiver, answer.headers)
    assert request.trace == attempt.trace == trace.format_trace_id(context.trace_id)
    assert request.parent == trace.format_span_id(context.span_id)
    assert request.flags & 0xFF == int(context.trace_flags) and request.flags & 0x300 == 0x300, "the parent is remote"
    assert request.state == attempt.state == "vendor=abc,other=1"
    parent, state = provider_saw(stack, "alpha", sub)
    assert parent == f"00-{request.trace}-{attempt.id}-{int(context.trace_flags):02x}" and state == "vendor=abc,other=1"


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WRONG = [
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01-more",
    f"00-{TRACE}-{PARENT}-1",
    "nonsense",
]


def test_a_wrong_traceparent_begins_a_new_trace(stack, receiver, sub):
    token = stack.person(sub)
    for value in WRONG:
        status, headers, _ = stack.post(token, body(sub), headers={"traceparent": value, "tracestate": "vendor=abc"})
        assert status == 200
        request, (attempt,) = whole(receiver, headers)
        assert request.trace != TRACE and request.parent == "" and request.state == "", value
        assert provider_saw(stack, "alpha", sub) == (f"00-{request.trace}-{attempt.id}-01", None), value


def test_two_traceparents_are_none(stack, receiver, sub):
    data = json.dumps(body(sub)).encode()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", stack.ports["gateway"], timeout=PATIENCE)) as connection:
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("Authorization", "Bearer " + stack.person(sub))
        for number in "12":
            connection.putheader("traceparent", f"00-{TRACE}-{number * 16}-01")
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        answer.read()
    assert answer.status == 200
    request, (attempt,) = whole(receiver, answer.headers)
    assert request.trace != TRACE
    sent = [value for name, value in stack.received("alpha", sub)[-1]["headers"] if name.lower() == "traceparent"]
    assert sent == [f"00-{request.trace}-{attempt.id}-01"]


def test_a_trace_that_is_not_sampled(stack, receiver, sub):
    """It goes on to the provider, unsampled, and no span of it is exported."""
    token = stack.person(sub)
    status, headers, _ = stack.post(token, body(sub), headers={"traceparent": f"00-{TRACE}-{PARENT}-00", "tracestate": "vendor=abc"})
    assert status == 200
    parent, state = provider_saw(stack, "alpha", sub)
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-00", parent) and PARENT not in parent and state == "vendor=abc"
    later = stack.post(token, body(sub))[1]
    whole(receiver, later)
    assert receiver.spans(of(headers)) == []


def test_the_collectors_key_is_sent_and_kept(stack, receiver, sub):
    whole(receiver, stack.post(stack.person(sub), body(sub))[1])
    sent = {name.lower(): value for name, value in receiver.requests[-1][1].items()}
    assert sent[HEADER] == stack.collector_key and sent["x-tenant"] == "ai"
    assert stack.collector_key not in stack.agent.tail(1 << 24)


def test_without_traces_headers_go_on_untouched(stack, receiver, sub):
    token = stack.person(sub)
    with configured(stack, None):
        given = (f"00-{TRACE}-{PARENT}-01", "vendor=abc")
        status, headers, _ = stack.post(token, body(sub), headers=dict(zip(("traceparent", "tracestate"), given)))
        assert status == 200 and provider_saw(stack, "alpha", sub) == given
        assert stack.post(token, body(sub))[0] == 200 and provider_saw(stack, "alpha", sub) == (None, None)
    whole(receiver, stack.post(token, body(sub))[1])
    assert receiver.spans(of(headers)) == []


def encodings(receiver, answer):
    """What the bodies came in that held the spans of the request answered with these headers."""
    return {headers.get("content-encoding") for _, headers, spans in receiver.requests if any(of(answer)(span) for span in spans)}


def test_compressed(stack, receiver, sub):
    token = stack.person(sub)
    plain = stack.post(token, body(sub))[1]
    whole(receiver, plain)
    with configured(stack, traces(receiver, stack.folder, compression="gzip")):
        packed = stack.post(token, body(sub))[1]
        span, (attempt,) = whole(receiver, packed)
        assert attempt.parent == span.id and span["tollgate.outcome"] == "ok"
    assert (encodings(receiver, plain), encodings(receiver, packed)) == ({None}, {"gzip"})


def test_a_share_of_the_traces(stack, receiver, sub):
    token = stack.person(sub)
    with configured(stack, traces(receiver, stack.folder, sample='"0%"')):
        _, ours, _ = stack.post(token, body(sub))
        assert provider_saw(stack, "alpha", sub)[0].endswith("-00")
        _, theirs, _ = stack.post(token, body(sub), headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        assert whole(receiver, theirs)[0].parent == PARENT, "who began the trace decides"
        assert receiver.spans(of(ours)) == []


def test_reload_to_another_collector(stack, receiver, sub):
    token = stack.person(sub)
    other = Receiver()
    try:
        with configured(stack, traces(other, stack.folder, service="elsewhere")):
            _, headers, _ = stack.post(token, body(sub))
            assert whole(other, headers)[0].resource["service.name"] == "elsewhere"
            assert receiver.spans(of(headers)) == []
    finally:
        other.stop()
    whole(receiver, stack.post(token, body(sub))[1])


def test_a_configuration_that_cannot_be_read_is_refused(stack, receiver, sub):
    before = stack.config.read_text()
    count = stack.agent.tail(1 << 24).count("reload_refused")
    try:
        stack.write_configuration(before.replace(f"{stack.folder}/collector.key", f"{stack.folder}/none.key"))
        stack.reload()
        wait_for(lambda: stack.agent.tail(1 << 24).count("reload_refused") > count, "the refusal")
        assert "traces.headers[0].file" in stack.agent.tail()
    finally:
        stack.write_configuration(before)
    whole(receiver, stack.post(stack.person(sub), body(sub))[1])


def test_a_collector_that_is_down(stack, sub):
    """Decisions go on; what waited is delivered once it is back."""
    token = stack.person(sub)
    away = Receiver(free_ports(1)[0])  # one that no outgoing connection takes meanwhile
    away.stop()
    with configured(stack, traces(away, stack.folder)):
        failures = metric(stack, "tollgate_trace_exports_total", result="failed")
        _, headers, _ = stack.post(token, body(sub))
        wait_for(lambda: metric(stack, "tollgate_trace_exports_total", result="failed") > failures, "a failed export")
        assert stack.post(token, body(sub))[0] == 200
        back = Receiver(away.port)
        try:
            whole(back, headers)
            # What it has received is not yet what the agent has heard of.
            wait_for(lambda: "trace_export_recovered" in stack.agent.tail(1 << 24), "the recovery in the log")
        finally:
            back.stop()
    assert "trace_export_failing" in stack.agent.tail(1 << 24)


def test_a_slow_collector_loses_spans_and_holds_up_nobody(stack, receiver, sub):
    token = stack.person(sub)
    dropped, exported = spans_counted(stack, "dropped"), spans_counted(stack, "exported")
    receiver.gate.clear()
    asked = 0
    while spans_counted(stack, "dropped") == dropped:
        assert stack.post(token, body(sub))[0] == 200
        asked += 1
        assert asked < 200, "a queue of 32 spans never filled"
    assert asked > 8, "the queue kept what it has room for"
    receiver.gate.set()
    wait_for(lambda: metric(stack, "tollgate_trace_queued_spans") == 0, "the queue to empty")
    whole(receiver, stack.post(token, body(sub))[1])
    wait_for(lambda: spans_counted(stack, "exported") > exported + 16, "what was kept to be counted as exported")


def test_patience_is_given_when_asked_for(stack, receiver, sub):
    """429 and 503 with Retry-After: the same batch again."""
    token = stack.person(sub)
    for status in (429, 503):
        receiver.reply = (status, {"retry-after": "1"}, b"")
        _, headers, _ = stack.post(token, body(sub))
        wait_for(lambda s=status: receiver.spans(of(headers), s), f"an answer of {status}")
        receiver.reply = receiver.GOOD
        whole(receiver, headers)


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        ((400, {"content-type": "application/json"}, b'{"code":3,"message":"no"}'), "failed"),
        ((200, {"content-type": "text/html"}, b"<html>Sign in</html>"), "failed"),
        ((200, {"content-type": "application/json"}, b'{"partialSuccess":{"rejectedSpans":"-1"}}'), "failed"),
        ((302, {"location": "http://127.0.0.1:9/"}, b""), "failed"),
        ((200, {"content-type": "application/json"}, b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}'), "rejected"),
        ((200, {}, b""), "exported"),
    ],
    ids=["refused", "page", "nonsense", "elsewhere", "partial", "empty"],
)
def test_answers(stack, receiver, sub, reply, result):
    """Every span ends in one count; what cannot help is not tried again."""
    before = spans_counted(stack, result)
    receiver.reply = reply
    _, headers, _ = stack.post(stack.person(sub), body(sub))
    wait_for(lambda: len(receiver.spans(of(headers), reply[0])) == 2, "the spans to be sent")
    wait_for(lambda: spans_counted(stack, result) > before, f"them to be counted as {result}")
    receiver.reply = receiver.GOOD
    whole(receiver, stack.post(stack.person(sub), body(sub))[1])
    assert len(receiver.spans(of(headers), reply[0])) == 2, "sent once"
    if result == "rejected":
        wait_for(lambda: "too old" in stack.agent.tail(1 << 24), "the collector's words in the log")


def test_the_end_waits_for_no_collector(stack, receiver, sub, settled):
    """One that does not answer is given a few seconds; the agent ends all the same, and says what it lost."""
    token = stack.person(sub)
    receiver.gate.clear()
    with configured(stack, traces(receiver, stack.folder, interval="60s", batch=32)):
        stack.post(token, body(sub))
        settled(sub)
        assert stack.agent.stop() == 0
        receiver.gate.set()
        assert "spans_not_exported" in stack.agent.tail()
        stack.restart_agent()


def test_what_waits_is_sent_at_the_end(stack, receiver, sub, settled):
    token = stack.person(sub)
    with configured(stack, traces(receiver, stack.folder, interval="60s", batch=32)):
        _, headers, _ = stack.post(token, body(sub))
        settled(sub)
        assert receiver.spans(of(headers)) == []
        assert stack.agent.stop() == 0
        request = receiver.wait(lambda span: of(headers)(span) and span.kind == SERVER)
        assert request[0]["tollgate.outcome"] == "ok"
        stack.restart_agent()
