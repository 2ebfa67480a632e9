"""Errors that come with status 200: in the middle of a stream, and in place of a plain answer. In each dialect, with the relay and without."""

import json
import subprocess

import pytest

from prometheus import fetch
from machine import PATIENCE, wait_for
from stack import PRICES
from test_gate_relay import PATHS, body, events_of, texts_of

IN, OUT = PRICES["openai", "gpt-4o-mini"]

PLAIN = {**PATHS, "completions": "/v1/completions", "embeddings": "/v1/embeddings"}


@pytest.fixture(scope="module", params=["relay", "tap"])
def stack(request, make_stack):
    return make_stack(streams=request.param, breaker='failures: 3, error_rate: "0%", open: 60s, open_max: 60s, retry_after: 24h')


def ctl(stack, *argv):
    done = subprocess.run(
        [stack.tollgate.parent / "tollgatectl", "--socket", stack.admin_socket, "--json", "route", *argv],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def closed_breakers(stack):
    for name in ("alpha", "beta"):
        ctl(stack, "enable", name)


def state(stack, name):
    return ctl(stack, "status", name)[0]["state"]


def plain(kind, text, model="solo"):
    if kind == "embeddings":
        return {"model": model, "input": text}
    if kind == "completions":
        return {"model": model, "prompt": text, "max_tokens": 100}
    return {**body(kind, text, model=model), "stream": False}


def settlements(stack, known_by, outcome):
    name = f'tollgate_settlements_total{{known_by="{known_by}",outcome="{outcome}"}} '
    lines = fetch(f"http://127.0.0.1:{stack.ports['metrics']}/metrics")[2].splitlines()
    return sum(float(line[len(name) :]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("kind", PATHS)
def test_an_error_in_a_stream_costs_what_was_delivered(stack, sub, settled, kind):
    before = settlements(stack, "counted", "stream_error")
    text = f"{sub} [[completion_tokens=20 error_event_after=5]]"
    status, _, answer = stack.post(stack.person(sub), body(kind, text, max_tokens=100) if kind == "chat" else body(kind, text), path=PATHS[kind])
    events = events_of(answer)
    assert status == 200 and events[-1]["error"]["message"] == "simulated overload" and "[DONE]" not in events
    assert len(texts_of(kind, events[:-1])) == 5
    row = settled(sub)
    assert (row["outcome"], row["known_by"], row["output"]) == ("stream_error", "counted", 5)
    assert row["cost"] == row["input"] * IN + 5 * OUT > 5 * OUT
    wait_for(lambda: settlements(stack, "counted", "stream_error") == before + 1, "the metric")


@pytest.mark.parametrize("kind", PATHS)
def test_an_error_before_the_first_token_costs_nothing(stack, sub, settled, kind):
    status, _, answer = stack.post(stack.person(sub), body(kind, f"{sub} [[error_event_after=0]]"), path=PATHS[kind])
    assert status == 200 and events_of(answer)[-1]["error"]["message"] == "simulated overload"
    row = settled(sub)
    assert (row["outcome"], row["known_by"], row["cost"]) == ("stream_error", "none", 0)


@pytest.mark.parametrize("kind", PLAIN)
def test_an_error_in_place_of_an_answer_costs_nothing(stack, sub, settled, kind):
    before = settlements(stack, "none", "error_body")
    stack.behave("alpha", error_in_200=True)
    status, headers, answer = stack.post(stack.person(sub), plain(kind, sub), path=PLAIN[kind])
    assert status == 200 and json.loads(answer)["error"]["message"] == "simulated" and headers["x-tollgate-attempt"] == "1"
    assert json.loads(answer).get("type") == ("error" if kind == "messages" else None), "as the provider sent it"
    row = settled(sub)
    assert (row["outcome"], row["known_by"], row["cost"], row["status"]) == ("error_body", "none", 0, 200)
    wait_for(lambda: settlements(stack, "none", "error_body") == before + 1, "the metric")


@pytest.mark.parametrize("kind", PLAIN)
def test_the_fallback_answers_in_its_place(stack, sub, settled, kind):
    stack.behave("alpha", error_in_200=True)
    status, headers, answer = stack.post(stack.person(sub), plain(kind, sub, "chat-default"), path=PLAIN[kind])
    assert status == 200 and "error" not in {name for name, value in json.loads(answer).items() if value is not None}
    assert (headers["x-tollgate-provider"], headers["x-tollgate-attempt"]) == ("beta", "2")
    row = settled(sub)
    assert (row["outcome"], row["provider"], row["attempts"]) == ("ok", "beta", 2)

    def attempts():
        rows = stack.query("SELECT number, outcome, http_status FROM attempt WHERE request = ? ORDER BY number", row["id"])
        return rows if len(rows) == 2 else None

    first, second = wait_for(attempts, "both attempts in the ledger")
    assert (first["outcome"], first["http_status"], second["outcome"]) == ("error_body", 200, "ok")


@pytest.mark.parametrize("model", ["solo", "chat-default"])
def test_error_bodies_open_the_breaker_and_each_counts_once(stack, sub, settled, model):
    token = stack.person(sub)
    stack.behave("alpha", error_in_200=True)
    for n in range(1, 4):
        assert state(stack, "alpha") == "closed"
        stack.post(token, plain("chat", sub, model))
        settled(sub, n)
        wait_for(lambda: ctl(stack, "status", "alpha")[0]["failures_in_row"] == n or state(stack, "alpha") == "open", "the failure to be counted")
    wait_for(lambda: state(stack, "alpha") == "open", "the breaker to open")


def test_errors_in_streams_open_the_breaker(stack, sub, settled):
    token = stack.person(sub)
    for n in range(1, 4):
        assert state(stack, "alpha") == "closed"
        stack.post(token, body("chat", f"{sub} [[error_event_after=5]]"))
        settled(sub, n)
    wait_for(lambda: state(stack, "alpha") == "open", "the breaker to open")
