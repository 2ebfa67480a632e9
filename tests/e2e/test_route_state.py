"""What is known of targets, across everything that happens to an agent: operators' acts are recorded, a reload and a restart forget nothing,
and a target that the configuration no longer has is gone."""

import json
import os

import pytest

from prometheus import fetch
from routes import ctl, route, states
from machine import wait_for
from stack import configuration

GONE = "name: passing, targets: [{provider: beta, model: gpt-4.1}, {provider: alpha, model: gpt-4o-mini}]"
STACK = {
    "breaker": "failures: 3, error_rate: 60%, min_requests: 10, window: 10s, open: 300s, open_max: 600s, probes: 2, retry_after: 1s",
    "models": [GONE],
}


def audited(stack):
    rows = json.loads(ctl(stack, "audit", "list", "--config", stack.config, "--json"))["rows"]
    return [row for row in rows if row["action"].startswith("route")]


def ask(stack, token, text, model="chat-default"):
    status, headers, answer = stack.post(token, {"model": model, "messages": [{"role": "user", "content": text}]})
    assert status == 200, answer
    return headers["x-tollgate-provider"]


@pytest.fixture(autouse=True)
def as_before(stack):
    yield
    stack.write_configuration()
    ctl(stack, "--socket", stack.admin_socket, "reload")
    for name in ("alpha", "beta"):
        route(stack, "enable", name)


def test_drain_and_enable_are_in_the_audit_log(stack):
    before = len(audited(stack))
    route(stack, "status")
    route(stack, "drain", "alpha/gpt-4o-mini")
    route(stack, "enable", "alpha")
    assert "no such target" in route(stack, "drain", "nowhere", code=1)
    acts = audited(stack)[before:]
    assert [(act["action"], act["object"] or "", act["detail"]) for act in acts[:3]] == [
        ("route_drain", "", "alpha/gpt-4o-mini"),
        ("route_enable", "", "alpha"),
        ("route_drain", "", "nowhere"),
    ]
    assert acts[3]["action"] == "route_drain" and acts[3]["object"] == "refused" and "no such target" in acts[3]["detail"]
    assert len(acts) == 4, "looking is no act"
    assert all(act["actor"].startswith(f"uid {os.getuid()} pid ") for act in acts)
    assert json.loads(ctl(stack, "audit", "verify", "--config", stack.config, "--json"))["good"]


def upset(stack, sub):
    """alpha's breaker opens, beta/gpt-4o is set aside, and there are latencies of alpha."""
    token = stack.person(sub)
    assert ask(stack, token, sub) == "alpha"
    wait_for(lambda: states(stack)["alpha/gpt-4o-mini"]["plain_us"] > 0, "a latency")
    stack.behave("alpha", status=429, retry_after="400")
    assert ask(stack, token, sub) == "beta"
    wait_for(lambda: states(stack)["alpha/gpt-4o-mini"]["state"] == "open", "the breaker to open")
    route(stack, "drain", "beta/gpt-4o")
    stack.behave("alpha")
    return states(stack)


def same(before, after):
    """What must not have changed; time goes on."""
    alpha, was = after["alpha/gpt-4o-mini"], before["alpha/gpt-4o-mini"]
    assert (alpha["state"], alpha["reason"], alpha["plain_us"]) == ("open", "retry_after", was["plain_us"])
    assert 0 < alpha["open_ms"] <= was["open_ms"]
    assert {name: after[name]["drained"] for name in before} == {name: t["drained"] for name, t in before.items()}
    assert after["beta/gpt-4o"]["drained"] == 1


def test_a_reload_forgets_nothing(stack, sub):
    before = upset(stack, sub)
    stack.write_configuration(configuration(stack).replace("limits:\n", "  - {name: newcomer, primary: {provider: beta, model: gpt-4o-mini}}\nlimits:\n", 1))
    stack.reload()
    token = stack.person(sub)

    def known():
        return stack.post(token, {"model": "newcomer", "messages": [{"role": "user", "content": sub}]})[0] == 200

    wait_for(known, "the new configuration")
    same(before, states(stack))


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "in order"])
def test_a_restart_forgets_nothing(stack, sub, kill):
    before = upset(stack, sub)
    if kill:
        wait_for(lambda: all(t["kept"] for t in states(stack).values()), "the states to be kept")
        stack.kill_agent()
    else:
        assert stack.agent.stop() == 0
    stack.restart_agent()
    after = states(stack)
    if kill:  # latencies are kept when it ends in order, and with the changes of states
        after["alpha/gpt-4o-mini"]["plain_us"] = before["alpha/gpt-4o-mini"]["plain_us"]
    same(before, after)


def shown(stack):
    lines = fetch(f"http://127.0.0.1:{stack.ports['metrics']}/metrics")[2].splitlines()
    return {line.split()[0] for line in lines if line.startswith(("tollgate_route_state{", "tollgate_route_drained{"))}


def test_a_target_that_is_removed_is_gone_until_it_comes_back(stack):
    target = "beta/gpt-4.1"
    series = {f'tollgate_route_{name}{{provider="beta",model="gpt-4.1"}}' for name in ("state", "drained")}
    route(stack, "drain", target)
    wait_for(lambda: series <= shown(stack), "its metrics")
    stack.write_configuration(configuration(stack).replace(f"  - {{{GONE}}}\n", ""))
    stack.reload()
    wait_for(lambda: target not in states(stack), "it to be gone")
    assert "no such target" in route(stack, "drain", target, code=1)
    wait_for(lambda: not series & shown(stack), "its metrics to be gone")
    stack.agent.stop()
    stack.restart_agent()
    assert target not in states(stack)
    stack.write_configuration()
    stack.reload()
    wait_for(lambda: target in states(stack), "it to be back")
    assert states(stack)[target]["drained"] == 1, "an operator's drain holds until he takes it back"
