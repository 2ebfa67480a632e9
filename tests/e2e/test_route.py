"""Aliases with several targets, and circuit breakers, through the real gateway: who is asked, and what happens when a provider fails."""

import json
import threading

import pytest

from prometheus import fetch
from routes import route, state
from machine import wait_for

ALPHA, BETA = "{provider: alpha, model: gpt-4o-mini%s}", "{provider: beta, model: gpt-4o%s}"


def targets(*pairs):
    return "targets: [" + ", ".join(target % more for target, more in pairs) + "]"


STACK = {
    "first_byte": "60s",
    "first_byte_stream": "8s",
    "breaker": "failures: 3, error_rate: 60%, min_requests: 10, window: 10s, open: 500ms, open_max: 2s, probes: 2, retry_after: 1s",
    "models": [
        f"name: teams, {targets((BETA, ', when: {team: [vip]}'), (ALPHA, ''))}",
        f"name: sized, {targets((ALPHA, ', context_window: 200'), (BETA, ''))}",
        f"name: tiny, {targets((ALPHA, ', context_window: 100'), (BETA, ', context_window: 150'))}",
        f"name: able, {targets((ALPHA, ', capabilities: [stream]'), (BETA, ''))}",
        f"name: picky, {targets((ALPHA, ', refuse: [seed], drop: [logit_bias, user]'), (BETA, ', refuse: [seed]'))}",
        f"name: cheap, order: cost, {targets((BETA, ''), (ALPHA, ''))}",
        f"name: split, order: weight, {targets((ALPHA, ', weight: 70'), (BETA, ', weight: 30'))}",
        f"name: trial, {targets((ALPHA, ''), (BETA, ', canary: 20%'))}",
        f"name: talk, order: weight, sticky: conversation, {targets((ALPHA, ''), (BETA, ''))}",
        f"name: never, {targets((ALPHA, ', when: {hours: [{at: ' + chr(34) + '00:00-00:01' + chr(34) + ', days: [mon]}], team: [nobody]}'))}",
    ],
}


def body(model, text, **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def provider(stack, token, model, text="hello", headers=None, **more):
    """Who answered."""
    status, fields, answer = stack.post(token, body(model, text, **more), headers=headers)
    assert status == 200, answer
    return fields["x-tollgate-provider"]


def refusal(stack, token, model, text="hello", **more):
    status, _, answer = stack.post(token, body(model, text, **more))
    return status, json.loads(answer)["error"]


def close_all(stack):
    for name in ("alpha", "beta"):
        route(stack, "enable", name)


def test_conditions_size_and_capabilities(stack, sub):
    anna, vip = stack.person(sub), stack.person(sub + "-vip", team="vip")
    assert provider(stack, anna, "teams") == "alpha"
    assert provider(stack, vip, "teams") == "beta"
    long = "word " * 220
    assert provider(stack, anna, "sized") == "alpha"
    assert provider(stack, anna, "sized", long) == "beta"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    assert provider(stack, anna, "able", tools=tools) == "beta"
    status, error = refusal(stack, anna, "tiny", long)
    assert (status, error["code"]) == (400, "context_length_exceeded") and "150" in error["message"]
    assert refusal(stack, anna, "never")[1]["code"] == "model_not_allowed"


def test_the_answer_is_cut_to_the_room_the_window_leaves(stack, sub):
    status, fields, _ = stack.post(stack.person(sub), body("sized", sub, max_tokens=100))
    assert status == 200 and fields["x-tollgate-provider"] == "alpha"
    status, fields, _ = stack.post(stack.person(sub), body("sized", sub, max_tokens=1000))
    assert status == 200 and fields["x-tollgate-provider"] == "beta", "the first target has no room for that answer"
    status, fields, _ = stack.post(stack.person(sub), body("tiny", sub, max_tokens=1000))
    assert status == 200 and "output lowered" in fields["x-tollgate-notice"]
    sent = [json.loads(record["body"]) for record in stack.received("alpha", sub)]
    assert max(ask.get("max_tokens") or ask["max_completion_tokens"] for ask in sent) < 200


def test_streams_have_a_first_byte_limit_of_their_own(stack, sub):
    token = stack.person(sub)
    stack.behave("alpha", accept_delay=9.0, times=1)
    assert provider(stack, token, "chat-default", sub) == "alpha"
    stack.behave("alpha", accept_delay=30.0, times=1)
    assert provider(stack, token, "chat-default", sub, stream=True) == "beta"


def test_members_are_dropped_or_refused(stack, sub):
    token = stack.person(sub)
    extra = {"logit_bias": {"50256": -100}, "top_p": 0.5, "user": "u-1"}
    assert provider(stack, token, "picky", sub, **extra) == "alpha"
    sent = json.loads(stack.received("alpha", sub)[0]["body"])
    assert "logit_bias" not in sent and "user" not in sent and sent["top_p"] == 0.5
    status, error = refusal(stack, token, "picky", sub, seed=7)
    assert (status, error["code"]) == (400, "unsupported_parameter") and '"seed"' in error["message"]
    assert provider(stack, token, "picky", sub, seed=None) == "alpha"


def test_cheapest_weighted_and_canary(stack, sub):
    token = stack.person(sub)
    assert provider(stack, token, "cheap") == "alpha"
    seen = [provider(stack, token, "split") for _ in range(60)]
    # Shares of 70 and 30: fewer than 5 or more than 35 of 60 at the smaller one happens once in a million runs.
    assert 5 <= seen.count("beta") <= 35
    people = [provider(stack, stack.person(f"{sub}-{i}"), "trial") for i in range(20)]
    # The canary's share is 20 %: more than 14 of 20 there happens less than once in a million runs.
    assert set(people) <= {"alpha", "beta"} and people.count("beta") <= 14
    again = [provider(stack, stack.tokens[f"{sub}-{i}"], "trial") for i in range(20)]
    assert people == again, "a canary is the same people's each time"


def test_a_conversation_stays_where_it_is(stack, sub):
    token = stack.person(sub)

    def turn(conversation, n, headers=None):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": conversation}]
        for i in range(n):
            messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"more {i}"}]
        status, fields, answer = stack.post(token, {"model": "talk", "messages": messages}, headers=headers)
        assert status == 200, answer
        return fields["x-tollgate-provider"]

    first = {name: turn(name, 0) for name in (f"{sub}-{i}" for i in range(10))}
    assert len(set(first.values())) == 2, "ten conversations are spread"
    for name, where in first.items():
        assert [turn(name, n) for n in (1, 2)] == [where, where]
    mark = {"x-tollgate-conversation": sub}
    assert len({turn(f"{sub}-other-{i}", 0, mark) for i in range(6)}) == 1, "the client's own mark ties requests together"
    assert all("x-tollgate-conversation" not in dict(r["headers"]) for r in stack.received("alpha", sub) + stack.received("beta", sub))


def test_drained_targets_get_nothing_also_after_a_crash(stack, sub):
    token = stack.person(sub)
    assert json.loads(route(stack, "drain", "alpha/gpt-4o-mini"))["targets"] == 1
    assert provider(stack, token, "chat-default") == "beta"
    stack.kill_agent()
    stack.restart_agent()
    assert state(stack, "alpha/gpt-4o-mini")["drained"] == 1
    assert provider(stack, token, "chat-default") == "beta"
    assert provider(stack, token, "solo") == "alpha", "the only one there is"
    route(stack, "enable", "alpha")
    assert provider(stack, token, "chat-default") == "alpha"
    assert "no such target" in route(stack, "drain", "gamma", code=1)
    route(stack, "drain", code=2)


def test_retry_after_opens_for_as_long_as_it_says(stack, sub):
    token = stack.person(sub)
    close_all(stack)
    stack.behave("alpha", status=429, retry_after="400")
    assert provider(stack, token, "chat-default", sub) == "beta", "a second try within the request"
    alpha = wait_for(lambda: (s := state(stack, "alpha"))["state"] == "open" and s, "the breaker to open")
    assert alpha["reason"] == "retry_after" and 200000 < alpha["open_ms"] <= 400000
    before = len(stack.received("alpha", sub))
    assert provider(stack, token, "chat-default", sub) == "beta"
    assert len(stack.received("alpha", sub)) == before, "the provider is left alone"
    wait_for(lambda: state(stack, "alpha")["kept"], "the state to be kept")
    stack.kill_agent()
    stack.restart_agent()
    again = state(stack, "alpha")
    assert again["state"] == "open" and again["open_ms"] > 100000, "a restart forgets nothing"
    close_all(stack)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"refuse": True}, {"drop": True}], ids=["500", "refused", "dropped"])
def test_a_flapping_provider_is_not_noticed(stack, sub, fault, stream):
    """Requests all the time while the primary fails, recovers and fails again: no client sees an error, and each time traffic returns. How
    soon: it is never left alone for longer than `open_max`; tests/unit/agent/test_agent_breaker.c has the defaults' 30 seconds."""
    token = stack.person(sub)
    close_all(stack)
    answers, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            status, fields, answer = stack.post(token, body("chat-default", sub, stream=stream))
            whole = answer.rstrip().endswith(b"data: [DONE]" if stream else b"}")
            answers.append((status if whole else "cut", fields.get("x-tollgate-provider"), fields.get("x-tollgate-attempt")))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(2):
            stack.behave("alpha", **fault)
            opened = wait_for(lambda: (s := state(stack, "alpha"))["state"] == "open" and s, "the breaker to open")
            assert opened["open_ms"] <= 2000, "open_max"
            wait_for(lambda: answers and answers[-1][1:] == ("beta", "1"), "traffic to go straight to the other provider")
            stack.behave("alpha")
            wait_for(lambda: answers and answers[-1][1] == "alpha" and state(stack, "alpha")["state"] == "closed", "traffic to return")
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert {status for status, _, _ in answers} == {200}


def test_the_breaker_is_a_metric(stack, sub):
    close_all(stack)
    stack.behave("beta", status=503)
    vip = stack.person(sub, team="vip")
    for _ in range(3):
        assert provider(stack, vip, "teams", sub) == "alpha", "the second try"

    def shown():
        lines = fetch(f"http://127.0.0.1:{stack.ports['metrics']}/metrics")[2].splitlines()
        return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("tollgate_route_")}

    opened = 'tollgate_route_openings_total{provider="beta",model="gpt-4o",reason="consecutive_failures"}'
    wait_for(lambda: shown().get(opened) == 1, "the opening to be counted")
    wait_for(lambda: shown().get('tollgate_route_state{provider="alpha",model="gpt-4o-mini"}') == 0, "the other one's state")
    close_all(stack)
