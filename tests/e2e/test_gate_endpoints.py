"""The other APIs clients speak, through the same gate: known, counted, held, routed, settled."""

import json

import httpx2 as httpx
import pytest

import ledger
from machine import PATIENCE, wait_for

ASKS = {
    "responses": ("/v1/responses", lambda t: {"model": "solo", "instructions": "Be brief.", "input": t}, "max_output_tokens"),
    "completions": ("/v1/completions", lambda t: {"model": "solo", "prompt": t, "max_tokens": 40}, None),
    "embeddings": ("/v1/embeddings", lambda t: {"model": "solo", "input": [t, "second text"]}, None),
    "messages": (
        "/v1/messages",
        lambda t: {"model": "solo", "max_tokens": 60, "system": "Be brief.", "messages": [{"role": "user", "content": t}]},
        None,
    ),
}


@pytest.mark.parametrize("name", ASKS)
def test_endpoint_is_metered(stack, name):
    path, make, ceiling_key = ASKS[name]
    sub = f"endpoint-{name}"
    status, _, answer = stack.post(stack.person(sub), make(sub), path=path)
    assert status == 200, answer

    def row():
        rows = ledger.requests(stack, sub)
        return rows and rows[0]["state"] == "settled" and rows[0]

    row = wait_for(row, "the settlement")
    assert row["known_by"] == "reported" and row["input"] > 0 and row["input_counted"] > 0
    assert 0 < row["cost"] <= row["hold"]
    assert (row["output"] or 0) > 0 or name == "embeddings"
    sent = json.loads(stack.received("alpha", sub)[-1]["body"])
    assert sent["model"] == "gpt-4o-mini"
    if ceiling_key:
        assert sent[ceiling_key] == 1024, "the ceiling the hold was computed with is written into the request"


# What each API says of 100 prompt tokens, 40 of them cached, and 12 visible and 5 reasoning tokens: input, cached, output, reasoning.
SPLIT = {
    "chat": (60, 40, 12, 5),
    "chat, three choices": (60, 40, 36, 15),
    "responses": (60, 40, 12, 5),
    "completions": (60, 40, 12, 5),
    "embeddings": (100, 0, 0, 0),
    "messages": (60, 40, 17, 0),
}


def ask_for(name, text, stream):
    if name.startswith("chat"):
        body = {"model": "solo", "max_tokens": 60, "messages": [{"role": "user", "content": text}], "n": 3 if "three" in name else 1}
        path = "/v1/chat/completions"
    else:
        path, make, _ = ASKS[name]
        body = make(text)
    return path, {**body, "stream": True} if stream else body


def cases(*without):
    return [(name, stream) for name in SPLIT for stream in (False, True) if not (stream and name in ("embeddings", *without))]


@pytest.mark.parametrize("name, stream", cases("completions"))
def test_each_token_is_charged_once(stack, sub, settled, name, stream):
    text = f"{sub} [[prompt_tokens=100 cached_tokens=40 completion_tokens=12 reasoning_tokens=5]]"
    path, body = ask_for(name, text, stream)
    status, _, answer = stack.post(stack.person(sub), body, path=path)
    assert status == 200, answer
    row = settled(sub)
    split = tuple(row[kind] for kind in ("input", "input_cached", "output", "output_reasoning"))
    assert (row["known_by"], split) == ("reported", SPLIT[name])
    assert row["cost"] == sum(count * rate for count, rate in zip(split, (150, 75, 600, 600), strict=True))


@pytest.mark.parametrize("name", ["chat", "responses", "messages"])
@pytest.mark.parametrize("fault", ["cut_after=25", "no_usage=1"])
def test_streams_of_every_api_are_charged_for_what_they_delivered(stack, sub, settled, name, fault):
    """Also where the usage comes at the end only, or came at the beginning with one token."""
    path, body = ask_for(name, f"{sub} [[completion_tokens={40 if 'cut' in fault else 25} {fault}]]", True)
    stack.post(stack.person(sub), body, path=path)
    row = settled(sub)
    assert (row["known_by"], row["output"], row["output_reasoning"]) == ("counted", 25, 0)
    assert row["cost"] == row["input"] * 150 + 25 * 600 and row["input"] == row["input_counted"]


@pytest.mark.parametrize("name", ASKS)
def test_endpoint_needs_a_token(stack, name):
    path, make, _ = ASKS[name]
    status, _, answer = stack.post("not-a-token", make("nobody"), path=path)
    error = json.loads(answer)
    assert status == 401
    # Anthropic's clients read {"type": "error", "error": {"type", "message"}}, OpenAI's {"error": {...}}.
    assert error["error"]["message"] and (error.get("type") == "error") == (name == "messages")


def test_anthropic_clients_bring_the_token_as_x_api_key(stack):
    sub = "endpoint-x-api-key"
    path, make, _ = ASKS["messages"]
    token = stack.person(sub)
    answer = httpx.post(stack.gateway + path, json=make(sub), headers={"x-api-key": token}, timeout=PATIENCE)
    assert answer.status_code == 200
    upstream = stack.received("alpha", sub)[-1]["headers"]
    assert token not in json.dumps(upstream)


def test_unknown_endpoints_are_refused_without_a_provider(stack):
    token = stack.person("endpoint-unknown")
    status, _, answer = stack.post(token, {"model": "solo", "x": "endpoint-unknown"}, path="/v1/fine_tuning/jobs")
    error = json.loads(answer)["error"]
    assert (status, error["code"]) == (404, "unknown_url")
    assert all(path in error["message"] for path, _, _ in ASKS.values()), "it says what there is"
    assert stack.received("alpha", "endpoint-unknown") == []
