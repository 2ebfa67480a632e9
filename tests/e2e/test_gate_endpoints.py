"""The other APIs clients speak, through the same gate: known, counted, held, routed, settled."""

import json

import httpx2 as httpx
import pytest

import ledger
from stack import wait_for

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
    answer = httpx.post(stack.gateway + path, json=make(sub), headers={"x-api-key": token}, timeout=10)
    assert answer.status_code == 200
    upstream = stack.received("alpha", sub)[-1]["headers"]
    assert token not in json.dumps(upstream)


def test_unknown_endpoints_are_refused_without_a_provider(stack):
    token = stack.person("endpoint-unknown")
    status, _, answer = stack.post(token, {"model": "solo", "x": "endpoint-unknown"}, path="/v1/fine_tuning/jobs")
    assert (status, json.loads(answer)["error"]["code"]) == (404, "unknown_url")
    assert stack.received("alpha", "endpoint-unknown") == []
