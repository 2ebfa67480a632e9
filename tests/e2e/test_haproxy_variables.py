"""Variables-only mode: the same decisions, key injection and fallback without any Lua; settlement from the log lines."""
import pytest
from haproxy_stub.fixtures import write_plan  # noqa: F401
from haproxy_stub.gateway import Gateway
from haproxy_stub.provider import answer, drop, stream


@pytest.fixture(scope="module")
def gateway(write_plan):  # noqa: F811
    with Gateway(write_plan, lua=False) as g:
        yield g


def test_no_lua_anywhere(gateway):
    assert not (gateway.dir / "tollgate.lua").exists()
    assert "lua" not in (gateway.dir / "tollgate.cfg").read_text()


def test_decides_injects_and_logs(gateway):
    gateway.ring.lines.clear()
    gateway.allow(pedit="0,1,1:x", pdelta=0, rrt="5")
    status, headers, _ = gateway.request(b'{"model":"gpt-4o"}', headers={"authorization": "Bearer USER"})
    sent = gateway.providers["a"].requests[-1]
    assert status == 200 and headers["x-tollgate-provider"] == "a" and headers["x-ratelimit-remaining-tokens"] == "5"
    assert sent.body == b'{"model":"gpt-4o"}' and sent.header("authorization") == "Bearer key-a"
    assert not [k for k, _ in sent.headers if k.startswith("x-tg-")]
    line = gateway.line(1, headers)
    assert (line["st"], line["grp"], line["att"], line["tsc"]) == (200, "a", "1", "----") and line["B"] > 0
    assert gateway.line(2, headers)["rst"] == "200"
    assert not gateway.settle.records


@pytest.mark.parametrize("fault", [answer(500), answer(429), drop()])
def test_falls_back(gateway, fault):
    gateway.providers["a"].script = fault
    gateway.allow_with_fallback()
    body = b"x" * 200000
    status, headers, _ = gateway.request(body)
    assert status == 200 and headers["x-tollgate-provider"] == "b" and gateway.providers["b"].requests[-1].body == body
    gateway.providers["a"].script = answer()


def test_refuses_and_fails_closed(gateway):
    gateway.agent.decide = lambda args: {"ok": True, "deny": 401, "ebody": '{"error":{}}'}
    assert gateway.request()[0] == 401
    gateway.agent.decide = lambda args: {}
    assert gateway.request()[0] == 503


def test_streams(gateway):
    gateway.providers["a"].script = stream([b"data: {}\n\n", b"data: [DONE]\n\n"])
    gateway.allow(stream=True)
    assert gateway.request()[2] == b"data: {}\n\ndata: [DONE]\n\n"
