"""429 and 503 with a short Retry-After where there is no fallback: the gateway waits and asks the provider once more, within the request."""

import json
import re
import socket
import subprocess
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


def test_a_client_that_leaves_in_the_pause_pays_nothing(stack, sub, settled):
    marker = sub.replace(" ", "-")
    token, before = stack.person(marker), pauses(stack)
    stack.behave("alpha", status=429, retry_after="30", times=1)
    data = json.dumps({"model": "solo", "messages": [{"role": "user", "content": marker}]}).encode()
    with socket.create_connection(("127.0.0.1", stack.ports["gateway"]), PATIENCE) as client:
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data
        )
        wait_for(lambda: pauses(stack) == before + 1, "the pause")
    row = settled(marker)
    assert (row["cost"], row["outcome"]) == (0, "client_abort")
    tries = ledger.attempts(stack, row, 2)
    assert [t["outcome"] for t in tries] == ["error", "client_abort"] and tries[0]["status"] == 429
    assert len(stack.received("alpha", marker)) == 1
