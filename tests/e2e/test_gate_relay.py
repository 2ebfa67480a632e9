"""Streams through the relay: what a client sees of usage, of a broken answer in each dialect, of an answer that is stopped, and of an agent
that ends in the middle. Providers' faults in general are in faults/."""

import contextlib
import http.client
import json

import openai
import pytest

from machine import PATIENCE, wait_for
from stack import PRICES

STACK = {
    "models": [
        "name: runaway, primary: {provider: alpha, model: gpt-4o-mini}, max_output: 20, overrun: stop",
        "name: lenient, primary: {provider: alpha, model: gpt-4o-mini}, max_output: 20",
    ],
}

IN, OUT = PRICES["openai", "gpt-4o-mini"]

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}


def body(kind, text, model="solo", **more):
    fields = {"model": model, "stream": True, **more}
    if kind == "responses":
        return {**fields, "input": text}
    if kind == "messages":
        fields.setdefault("max_tokens", 1000)
    return {**fields, "messages": [{"role": "user", "content": text}]}


def events_of(answer):
    """The data of each event; [DONE] as a string."""
    events = [part for part in answer.decode().split("\n\n") if part]
    data = ["".join(line[5:].strip() for line in event.splitlines() if line.startswith("data:")) for event in events]
    return [one if one == "[DONE]" else json.loads(one) for one in data if one]


def texts_of(kind, events):
    if kind == "chat":
        return [c["delta"]["content"] for e in events if e != "[DONE]" for c in e.get("choices", []) if c["delta"].get("content")]
    if kind == "responses":
        return [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    return [e["delta"]["text"] for e in events if e["type"] == "content_block_delta"]


def error_of(event):
    return event["error"]["code"], event["error"]["message"]


@pytest.mark.parametrize("asked", [False, True], ids=["not-asked", "asked"])
def test_usage_is_shown_to_clients_that_asked_for_it(stack, sub, settled, asked):
    more = {"stream_options": {"include_usage": True}} if asked else {}
    text = f"{sub} [[prompt_tokens=9 completion_tokens=20]]"
    status, _, answer = stack.post(stack.person(sub), body("chat", text, **more))
    events = events_of(answer)
    assert status == 200 and events[-1] == "[DONE]" and len(texts_of("chat", events)) == 20
    usages = [e["usage"] for e in events[:-1] if e.get("usage")]
    assert len(usages) == (1 if asked else 0)
    assert any(not e["choices"] for e in events[:-1]) == asked
    # The provider was asked in both cases.
    (record,) = stack.received("alpha", sub)
    assert json.loads(record["body"])["stream_options"]["include_usage"] is True
    row = settled(sub)
    assert row["known_by"] == "reported" and row["cost"] == 9 * IN + 20 * OUT


@pytest.mark.parametrize("kind", PATHS)
def test_a_cut_is_told_in_the_clients_dialect(stack, sub, settled, kind):
    text = f"{sub} [[completion_tokens=60 cut_after=40]]"
    status, headers, answer = stack.post(stack.person(sub), body(kind, text), path=PATHS[kind])
    events = events_of(answer)  # to the end, in good order: it is the last event that tells
    assert status == 200 and headers["x-tollgate-provider"] == "alpha"
    assert "[DONE]" not in events
    code, message = error_of(events[-1])
    assert code == "stream_interrupted" and message
    if kind != "chat":
        assert events[-1]["type"] == "error" and b"\n\nevent: error\ndata: {" in answer
    assert len(texts_of(kind, events[:-1])) == 40
    row = settled(sub)
    assert (row["known_by"], row["outcome"], row["output"]) == ("counted", "cut", 40)
    assert row["cost"] == row["input"] * IN + 40 * OUT


def test_the_sdk_raises(stack, sdk, sub):
    words = []
    with pytest.raises(openai.APIError, match="broke off"):
        for chunk in sdk(stack.person(sub)).chat.completions.create(
            **body("chat", f"{sub} [[completion_tokens=60 cut_after=40]]")
        ):
            words += [c.delta.content for c in chunk.choices if c.delta.content]
    assert len(words) == 40
    with pytest.raises(openai.APIError, match="broke off"):
        list(sdk(stack.person(sub)).responses.create(**body("responses", f"{sub} [[completion_tokens=60 cut_after=4]]")))


@pytest.mark.parametrize("kind", PATHS)
def test_an_answer_is_stopped_when_its_use_passes_what_was_held(stack, sub, settled, kind):
    text = f"{sub} [[completion_tokens=20000 ignore_ceiling=1 token_interval=0.05]]"
    status, _, answer = stack.post(stack.person(sub), body(kind, text, model="runaway"), path=PATHS[kind])
    events = events_of(answer)
    code, message = error_of(events[-1])
    assert status == 200 and code == "budget_exhausted" and "held" in message and "[DONE]" not in events
    # Each event is one token: the one that passed the threshold was delivered.
    assert len(texts_of(kind, events[:-1])) == 21
    row = settled(sub)
    assert (row["known_by"], row["outcome"], row["output"]) == ("counted", "stopped", 21)
    assert row["cost"] == row["input"] * IN + 21 * OUT
    record = wait_for(
        lambda: [r for r in stack.received("alpha", sub) if r["outcome"] == "client gone"], "the provider to be stopped"
    )[0]
    assert record["events_sent"] < 20000


def test_an_answer_within_its_hold_is_not_stopped(stack, sub, settled):
    _, _, answer = stack.post(stack.person(sub), body("chat", f"{sub} [[prompt_tokens=9 completion_tokens=20]]", model="runaway"))
    assert events_of(answer)[-1] == "[DONE]"
    row = settled(sub)
    assert row["known_by"] == "reported" and row["cost"] == 9 * IN + 20 * OUT


def test_finish_is_the_default(stack, sub, settled):
    text = f"{sub} [[prompt_tokens=9 completion_tokens=50 ignore_ceiling=1]]"
    _, _, answer = stack.post(stack.person(sub), body("chat", text, model="lenient"))
    assert events_of(answer)[-1] == "[DONE]"
    assert settled(sub)["output"] == 50


def open_stream(stack, token, text):
    """A stream of which something has arrived: (connection, response, what has arrived)."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports["gateway"], timeout=PATIENCE)
    connection.request(
        "POST",
        PATHS["chat"],
        json.dumps(body("chat", text)),
        {"Authorization": "Bearer " + token, "Content-Type": "application/json"},
    )
    response = connection.getresponse()
    assert response.status == 200
    got = b""
    while got.count(b'"content":"') < 3:
        got += response.read1(65536)
    return connection, response, got


def test_an_agent_that_stops_in_order_says_so_in_its_streams(stack, sub, settled):
    connection, response, got = open_stream(stack, stack.person(sub), f"{sub} [[completion_tokens=1000 token_interval=0.2]]")
    with contextlib.closing(connection):
        stack.agent.stop()
        got += response.read()
    stack.restart_agent()
    events = events_of(got)
    assert error_of(events[-1])[0] == "gateway_restarting" and "[DONE]" not in events
    row = settled(sub)  # the tap's record waited for the new agent
    delivered = len(texts_of("chat", events[:-1]))
    assert row["known_by"] == "counted" and row["output"] == delivered


def test_streams_die_with_a_killed_agent_and_are_settled_all_the_same(stack, sub, settled):
    connection, response, _ = open_stream(stack, stack.person(sub), f"{sub} [[completion_tokens=1000 token_interval=0.2]]")
    with contextlib.closing(connection):
        stack.kill_agent()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
    stack.restart_agent()
    row = settled(sub)
    assert row["known_by"] in ("counted", "bounded") and 0 < row["cost"] <= row["hold"]


def test_tap_mode_gives_up_a_stream_that_sends_headers_and_then_nothing(make_stack):
    tap = make_stack(streams="tap", first_byte="8s")
    token = tap.person("tap")
    answer = tap.post(token, body("chat", "tap [[first_token_delay=600.0]]", model="chat-default"))
    # The override reaches both providers: nobody answers, and that is said in time.
    assert answer[0] == 504 and json.loads(answer[2])["error"]["code"] == "provider_timeout"
    tap.behave("alpha", first_token_delay=600.0)
    status, headers, answer = tap.post(token, body("chat", "tap two", model="chat-default"))
    assert status == 200 and headers["x-tollgate-provider"] == "beta" and events_of(answer)[-1] == "[DONE]"
    assert not any(e.get("usage") for e in events_of(answer)[:-1])
