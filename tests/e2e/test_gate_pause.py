"""429 and 503 with a short Retry-After where there is no fallback: the gateway waits and asks the provider once more, within the request."""

import contextlib
import json
import re
import socket
import subprocess
import threading
import urllib.request

import pytest

import ledger
from machine import PATIENCE, wait_for
from stack import PRICES

IN, OUT = PRICES["openai", "gpt-4o-mini"]


def two_keys(s):
    for name in ("left", "right"):
        s.write_secret(f"{name}.key", f"sk-{name}-of-two")
    return ", ".join(f"{{file: {s.folder}/{name}.key}}" for name in ("left", "right"))


@pytest.fixture(scope="module", params=["relay", "tap"])
def stack(make_stack, request):
    return make_stack(
        streams=request.param,
        retry_after_wait="30s",
        extend=lambda s: (
            (
                f'name: paid, price_as: openai, url: "http://127.0.0.1:{s.ports["alpha"]}/v1", credential: {{env: BETA_KEY}}',
                f'name: batch, price_as: openai, url: "http://127.0.0.1:{s.ports["alpha"]}/openai/deployments", credential: {{env: BETA_KEY}}',
                f'name: pair, price_as: openai, url: "http://127.0.0.1:{s.ports["alpha"]}/openai/deployments", credentials: [{two_keys(s)}]',
            ),
            ("name: env-key, primary: {provider: paid, model: gpt-4o-mini}, max_output: 1024",),
        ),
        passthrough=(
            'path: /v1/jobs, provider: batch, methods: [POST], price: "0.5"',
            'path: /v1/twin, provider: pair, methods: [POST], price: "0.5"',
        ),
    )


def ask(stack, token, text, model="solo", **more):
    return stack.post(token, {"model": model, "messages": [{"role": "user", "content": text}], **more})


@pytest.mark.parametrize("model", ["solo", "env-key"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("fault", [429, 503])
def test_the_client_sees_the_second_answer(stack, sub, settled, fault, stream, model):
    marker = sub.replace(" ", "-")
    token = stack.person(marker)
    stack.behave("alpha", status=fault, retry_after="1", times=1)
    status, headers, body = ask(stack, token, f"{marker} [[prompt_tokens=11 completion_tokens=4]]", model, **({"stream": True} if stream else {}))
    assert status == 200 and headers["x-tollgate-attempt"] == "2", body
    assert b"data: [DONE]" in body if stream else json.loads(body)["choices"]
    assert len(stack.received("alpha", marker)) == 2
    row = settled(marker)
    assert (row["status"], row["cost"], row["known_by"]) == (200, 11 * IN + 4 * OUT, "reported")
    first, second = ledger.attempts(stack, row, 2)
    assert (first["status"], first["outcome"], second["status"], second["outcome"]) == (fault, "error", 200, "ok")
    # One hold for both tries, and nothing of it is left.
    wait_for(lambda: ledger.accounts(stack, "team-day") and all(a["held"] == 0 for a in ledger.accounts(stack, "team-day")), "no hold to be left")


@pytest.mark.parametrize("fault", [{"retry_after": "31"}, {}], ids=["too long", "none"])
def test_other_pauses_are_the_clients(stack, sub, settled, fault):
    marker = sub.replace(" ", "-")
    stack.behave("alpha", status=429, **fault)
    status, headers, _ = ask(stack, stack.person(marker), marker)
    stack.behave("alpha")
    assert status == 429 and headers["x-tollgate-attempt"] == "1" and headers.get("retry-after") == fault.get("retry_after")
    assert len(stack.received("alpha", marker)) == 1
    row = settled(marker)
    assert row["cost"] == 0 and len(ledger.attempts(stack, row, 1)) == 1


def passed(stack, marker, path="/v1/jobs"):
    """To a path of `passthrough`; the provider takes it for one of its own."""
    return stack.post(stack.person(marker), {"messages": [{"role": "user", "content": marker}]}, path + "/chat/completions")


def test_what_is_passed_through_waits_as_well(stack, sub, settled):
    marker = sub.replace(" ", "-")
    stack.behave("alpha", status=429, retry_after="1", times=1)
    status, headers, answer = passed(stack, marker)
    assert headers["x-tollgate-attempt"] == "2" and status == 200, answer
    assert len(stack.received("alpha", marker)) == 2


@pytest.mark.parametrize("status", [401, 403, 429])
def test_what_is_passed_through_goes_with_another_key(stack, sub, status):
    marker = sub.replace(" ", "-")
    # New values: what the case before got refused is set aside, and there would be no other.
    names = [f"sk-{side}-{status}-{stack.streams}" for side in ("left", "right")]
    for side, value in zip(("left", "right"), names):
        stack.write_secret(side + ".key", value)
    stack.reload()
    wait_for(lambda: states(stack) == ["ok", "ok"], "both keys to be good")
    stack.behave("alpha", status=status, retry_after="1" if status == 429 else "", times=1)
    got, headers, answer = passed(stack, marker, "/v1/twin")
    assert (got, headers["x-tollgate-attempt"]) == (200, "2"), answer
    keys = [dict(record["headers"])["authorization"] for record in stack.received("alpha", marker)]
    assert sorted(keys) == ["Bearer " + name for name in names]


def states(stack):
    program = stack.tollgate.parent / "tollgatectl"
    told = subprocess.run([program, "--socket", stack.admin_socket, "--json", "status"], capture_output=True, check=True).stdout
    return [key["state"] for key in json.loads(told)["credentials"] if key["credential"] == "pair"]


def pauses(stack):
    text = urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['metrics']}/metrics", timeout=PATIENCE).read().decode()
    return int(re.search(r"^tollgate_retry_after_waits_total (\d+)$", text, re.M).group(1))


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}, {"status": 429}], ids=["500", "dropped", "429"])
def test_what_is_passed_through_is_not_sent_twice_else(stack, sub, fault):
    marker = sub.replace(" ", "-")
    stack.behave("alpha", **fault)
    status, _, _ = passed(stack, marker)
    assert status >= 400 and len(stack.received("alpha", marker)) == 1


def nothing_held(stack):
    wait_for(lambda: ledger.accounts(stack, "team-day") and all(a["held"] == 0 for a in ledger.accounts(stack, "team-day")), "no hold to be left")


@contextlib.contextmanager
def in_the_pause(stack, *requests):
    """Requests (token, prompt) that are in a pause as long as the stack allows, each by a client of its own that leaves at the end."""
    before = pauses(stack)
    with contextlib.ExitStack() as held:
        for token, prompt in requests:
            data = json.dumps({"model": "solo", "messages": [{"role": "user", "content": prompt}]}).encode()
            client = held.enter_context(socket.create_connection(("127.0.0.1", stack.ports["gateway"]), PATIENCE))
            client.sendall(
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data
            )
        wait_for(lambda: pauses(stack) == before + len(requests), "the pause")
        yield


def left_unpaid(stack, row):
    assert (row["cost"], row["outcome"]) == (0, "client_abort")
    tries = ledger.attempts(stack, row, 2)
    assert [t["outcome"] for t in tries] == ["error", "client_abort"] and tries[0]["status"] == 429


def test_a_client_that_leaves_in_the_pause_pays_nothing(stack, sub, settled):
    marker = sub.replace(" ", "-")
    stack.behave("alpha", status=429, retry_after="30", times=1)
    with in_the_pause(stack, (stack.person(marker), marker)):
        pass
    left_unpaid(stack, settled(marker))
    assert len(stack.received("alpha", marker)) == 1


def test_many_that_leave_after_a_reload_in_the_pause(stack, sub):
    marker = sub.replace(" ", "-")
    people = [f"{marker}-{i}" for i in range(12)]
    tokens = [stack.person(name) for name in people]
    stack.behave("alpha", status=429, retry_after="30", times=len(people))
    with in_the_pause(stack, *zip(tokens, people)):
        stack.reload()
        assert stack.post(stack.person(marker), {"model": "chat-default", "messages": [{"role": "user", "content": "hello"}]})[0] == 200
    for name in people:
        row = wait_for(lambda: [r for r in ledger.requests(stack, name) if not ledger.is_open(r)], "the end of a request")[0]
        left_unpaid(stack, row)
    nothing_held(stack)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_an_agent_that_goes_in_the_pause(stack, sub, settled, how):
    """HAProxy goes on by itself; what it has to tell of the answer waits for the next agent."""
    marker = sub.replace(" ", "-")
    token, before, got = stack.person(marker), pauses(stack), []
    stack.behave("alpha", status=429, retry_after="30", times=1)
    client = threading.Thread(target=lambda: got.append(ask(stack, token, f"{marker} [[prompt_tokens=11 completion_tokens=4]]")))
    client.start()
    wait_for(lambda: pauses(stack) == before + 1, "the pause")
    if how == "killed":
        stack.kill_agent()
    else:
        assert stack.agent.stop() == 0
    client.join(PATIENCE)
    (status, headers, _), = got
    assert (status, headers["x-tollgate-attempt"]) == (200, "2")
    stack.restart_agent()
    row = settled(marker)
    assert (row["status"], row["cost"], row["known_by"]) == (200, 11 * IN + 4 * OUT, "reported")
    assert len(stack.received("alpha", marker)) == 2
    nothing_held(stack)


def test_a_hold_that_ends_in_the_pause_ends_no_request(make_stack):
    stack = make_stack(hold_timeout="1s", retry_after_wait="30s")
    token, got = stack.person("patient"), []
    stack.behave("alpha", status=429, retry_after="8", times=1)
    client = threading.Thread(target=lambda: got.append(ask(stack, token, "patient [[prompt_tokens=11 completion_tokens=4]]")))
    client.start()
    wait_for(lambda: "hold_expired" in stack.agent.text(), "the end of the hold")
    client.join(PATIENCE)
    (status, headers, body), = got
    assert (status, headers["x-tollgate-attempt"]) == (200, "2"), body
    row = wait_for(lambda: [r for r in ledger.requests(stack, "patient") if r["known_by"] == "reported"], "the correction")[0]
    assert row["cost"] == 11 * IN + 4 * OUT
