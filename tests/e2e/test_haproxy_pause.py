"""A provider that asks for a short pause (Retry-After) and has no fallback: the second try waits for it, in the second tier.

How long it is to wait stands in what HAProxy asks the agent, so no test looks at a clock."""
import json
import socket
import struct
import subprocess
import threading

import pytest
from haproxy_stub.fixtures import write_plan  # noqa: F401
from haproxy_stub.gateway import HAPROXY, Gateway, wait_for
from haproxy_stub.provider import answer, drop, stream

LONGEST_MS = 20000


@pytest.fixture(scope="module")
def shared(write_plan):  # noqa: F811
    with Gateway(write_plan, groups=("a",), plan={"retry_after_ms": LONGEST_MS, "first_byte_plain_ms": 5000, "first_byte_stream_ms": 5000}) as g:
        yield g


@pytest.fixture
def gateway(shared):
    shared.providers["a"].script, shared.providers["a"].requests = answer(), []
    shared.agent.paused = []
    return shared


def in_turn(provider, *scripts):
    """Each connection's request gets the next of them, the last one for ever."""
    left = list(scripts)

    async def script(request, writer):
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)
    provider.script = script


def busy(status, *extra):
    return answer(status, '{"error":{"code":"busy"}}', extra=extra)


def allow(g, **more):
    g.allow(**{"fb": "a", "fkey": "Bearer second", "fmodel": "model-a", "pause": True, **more})


def attempts(g, headers, n):
    own = lambda: [l for l in g.ring.lines if l["t"] == 2 and l["id"] == headers["x-tollgate-request-id"]]  # noqa: E731
    wait_for(lambda: len(own()) == n, what=f"the lines of {n} attempts")
    return sorted(own(), key=lambda l: l["att"])


def paused(g, headers):
    """The pauses that were asked for this request, in ms."""
    return [ms for id, ms in g.agent.paused if id == headers["x-tollgate-request-id"]]


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("asked, ms", [(("retry-after: 1",), [1000]), (("retry-after: 0",), []), (("retry-after-ms: 150", "retry-after: 1"), [150])])
def test_a_short_pause_is_waited_for(gateway, status, asked, ms):
    in_turn(gateway.providers["a"], busy(status, *asked), answer())
    allow(gateway)
    got, headers, body = gateway.request(b'{"x":1}')
    assert got == 200 and json.loads(body)["id"] == "chatcmpl-1" and headers["x-tollgate-attempt"] == "2"
    assert [r.body for r in gateway.providers["a"].requests] == [b'{"x":1}'] * 2 and paused(gateway, headers) == ms
    first, second = attempts(gateway, headers, 2)
    assert (first["rst"], second["rst"], second["st"]) == (str(status), "200", 200)


@pytest.mark.parametrize("status", [429, 503])
def test_the_second_answer_is_the_clients(gateway, status):
    gateway.providers["a"].script = busy(status, "retry-after-ms: 20", "retry-after: 1")
    allow(gateway)
    got, headers, body = gateway.request()
    assert got == status and b"busy" in body and headers["retry-after"] == "1" and headers["x-tollgate-attempt"] == "2"
    assert len(gateway.providers["a"].requests) == 2 and paused(gateway, headers) == [20]


@pytest.mark.parametrize("status, extra", [
    (429, ("retry-after: 21",)), (429, ("retry-after: 40",)), (503, ("retry-after: 400000",)), (429, ("retry-after-ms: 20001", "retry-after: 1")),
    (429, ()), (503, ()), (429, ("retry-after: Wed, 21 Oct 2026 07:28:00 GMT",)), (429, ("retry-after: -1",)), (429, ("retry-after: 1x",)),
    (500, ("retry-after: 1",)), (502, ("retry-after: 1",)), (401, ("retry-after: 1",)), (404, ("retry-after: 1",)), (409, ("retry-after: 1",)),
    (425, ("retry-after: 1",))])
def test_nothing_else_is_waited_for(gateway, status, extra):
    gateway.providers["a"].script = busy(status, *extra)
    allow(gateway)
    got, headers, body = gateway.request()
    assert got == status and b"busy" in body and headers["x-tollgate-attempt"] == "1"
    assert len(gateway.providers["a"].requests) == 1


def test_a_provider_that_drops_is_not_asked_twice(gateway):
    gateway.providers["a"].script = drop()
    allow(gateway)
    got, _, _ = gateway.request()
    assert got in (502, 503, 504) and len(gateway.providers["a"].requests) == 1


def test_without_leave_there_is_no_pause(gateway):
    gateway.providers["a"].script = busy(429, "retry-after: 0")
    allow(gateway, pause=None, again=True)
    got, headers, _ = gateway.request()
    assert got == 429 and headers["x-tollgate-attempt"] == "1" and len(gateway.providers["a"].requests) == 1


@pytest.mark.parametrize("more", [{}, {"again": True}], ids=["any failure", "the key alone"])
def test_another_key_is_used_at_once_after_a_429(gateway, more):
    in_turn(gateway.providers["a"], busy(429, "retry-after: 3"), answer())
    allow(gateway, other=True, **more)
    got, headers, _ = gateway.request()
    assert got == 200 and headers["x-tollgate-attempt"] == "2" and paused(gateway, headers) == []
    assert [r.header("authorization") for r in gateway.providers["a"].requests] == ["Bearer key-a", "Bearer second"]


@pytest.mark.parametrize("more", [{}, {"again": True}], ids=["any failure", "the key alone"])
def test_a_busy_provider_is_given_its_pause_whatever_the_key(gateway, more):
    in_turn(gateway.providers["a"], busy(503, "retry-after-ms: 30"), answer())
    allow(gateway, other=True, **more)
    got, headers, _ = gateway.request()
    assert got == 200 and headers["x-tollgate-attempt"] == "2" and paused(gateway, headers) == [30]


def test_another_key_is_no_reason_to_send_twice_what_may_have_been_done(gateway):
    gateway.providers["a"].script = busy(500)
    allow(gateway, other=True, again=True)
    got, headers, _ = gateway.request()
    assert got == 500 and headers["x-tollgate-attempt"] == "1" and len(gateway.providers["a"].requests) == 1


def test_a_refused_key_is_asked_for_without_a_pause(gateway):
    in_turn(gateway.providers["a"], busy(401, "retry-after: 3"), answer())
    allow(gateway, again=True)
    got, headers, _ = gateway.request()
    assert got == 200 and headers["x-tollgate-attempt"] == "2" and paused(gateway, headers) == []


def test_a_stream_comes_after_the_pause(gateway):
    in_turn(gateway.providers["a"], busy(429, "retry-after-ms: 200"), stream([b"data: {}\n\n", b"data: [DONE]\n\n"]))
    allow(gateway, stream=True)
    got, headers, body = gateway.request()
    assert got == 200 and body == b"data: {}\n\ndata: [DONE]\n\n" and headers["x-tollgate-attempt"] == "2"
    assert paused(gateway, headers) == [200]


def test_a_client_that_leaves_in_the_pause_is_asked_for_no_more(gateway):
    """2.6 and 3.2 break the wait off; 3.0 does not, there the agent has to say that the request is over."""
    gateway.providers["a"].script = busy(429, "retry-after: 20")
    allow(gateway)
    s = socket.create_connection(("127.0.0.1", gateway.port))
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
    (id, ms), = wait_for(lambda: gateway.agent.paused, what="the pause")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    own = lambda tier, attempt: [l for l in gateway.ring.lines if l["id"] == id and l["t"] == tier and str(l["att"]) == attempt]  # noqa: E731
    assert wait_for(lambda: own(1, "-"), what="the end of the request")[0]["tsc"][0] == "C"
    gateway.agent.over.add(id)
    second = wait_for(lambda: own(2, "2"), what="the line of the second try")[0]
    assert (ms, second["st"], second["rst"], second["Tc"]) == (20000, 499, "-", -1)
    assert len(gateway.providers["a"].requests) == 1


@pytest.fixture
def patient(write_plan):  # noqa: F811
    """Its pauses end when the test says so; HAProxy's patience with them is the longest there is."""
    with Gateway(write_plan, plan={"retry_after_ms": 30000, "decision_ms": 30000, "first_byte_plain_ms": 60000}) as g:
        g.agent.hold = threading.Event()
        allow(g)
        yield g
        g.agent.hold.set()


def once_busy(provider):
    """Each request's first try is asked for a pause."""
    known = set()

    async def script(request, writer):
        id = request.header("x-client-request-id")
        await (answer() if id in known else busy(429, "retry-after: 30"))(request, writer)
        known.add(id)
    provider.script = script


def clients(g, n):
    """n requests under way, each with a list that its (status, attempt) comes into."""
    def ask(got):
        status, headers, _ = g.request(timeout=120)
        got.append((status, headers["x-tollgate-attempt"]))
    lists = [[] for _ in range(n)]
    threads = [threading.Thread(target=ask, args=(got,)) for got in lists]
    for thread in threads:
        thread.start()
    return threads, lists


def answered(threads, lists):
    for thread in threads:
        thread.join(120)
    return [got[0] if got else None for got in lists]


def test_many_pauses_hold_up_nobody(patient):
    once_busy(patient.providers["a"])
    asked = clients(patient, 60)
    wait_for(lambda: len(patient.agent.paused) == 60, what="all pauses")
    patient.allow(pri="b")
    assert [patient.request()[0] for _ in range(5)] == [200] * 5 and not any(asked[1])
    assert len(patient.providers["a"].requests) == 60 and len(patient.providers["b"].requests) == 5
    patient.agent.hold.set()
    assert answered(*asked) == [(200, "2")] * 60
    assert len(patient.providers["a"].requests) == 120


def test_without_the_agent_nobody_waits(patient):
    """The connection goes in the pause: the second try is made at once, it does not need the agent."""
    once_busy(patient.providers["a"])
    asked = clients(patient, 3)
    wait_for(lambda: len(patient.agent.paused) == 3, what="the pauses")

    async def leave():
        await patient.agent.stop()
        for writer in list(patient.agent.writers):
            writer.transport.abort()
    patient.loop.run(leave())
    assert answered(*asked) == [(200, "2")] * 3 and not patient.agent.hold.is_set()


def listens(path):
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


def test_a_reload_of_haproxy_in_the_pause_loses_no_request(patient):
    once_busy(patient.providers["a"])
    asked = clients(patient, 3)
    wait_for(lambda: len(patient.agent.paused) == 3, what="the pauses")
    old = patient.process
    base = patient.dir / "next.cfg"
    base.write_text(patient.base.read_text().replace("admin.sock", "next.sock"))
    patient.process = subprocess.Popen([HAPROXY, "-db", "-f", base, "-f", patient.dir / "tollgate.cfg", "-sf", str(old.pid)],
                                       stdout=patient.log, stderr=subprocess.STDOUT)
    wait_for(lambda: not listens(patient.dir / "admin.sock"), what="the old process to stop listening")
    patient.allow(pri="b")
    assert patient.request()[0] == 200
    assert old.poll() is None and not any(asked[1])
    patient.agent.hold.set()
    assert answered(*asked) == [(200, "2")] * 3
    old.wait(60)
