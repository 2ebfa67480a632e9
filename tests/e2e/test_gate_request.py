"""One good request: what the provider gets, what the client gets, what the ledger says."""

import contextlib
import json

import httpx2 as httpx
import openai
import pytest

import ledger
from machine import PATIENCE
from stack import PRICES

ALPHA_IN, ALPHA_OUT = PRICES["openai", "gpt-4o-mini"]


def header(record, name):
    return [value for key, value in record["headers"] if key.lower() == name]


def ask(sdk, token, text, **more):
    more.setdefault("model", "chat-default")
    return sdk(token).chat.completions.create(messages=[{"role": "user", "content": text}], **more)


def test_plain_answer_reaches_the_sdk(stack, sdk, sub, settled):
    token = stack.person(sub, team="research", cost_center="cc-7")
    answer = ask(sdk, token, f"{sub} [[prompt_tokens=21 completion_tokens=9]]")
    assert answer.choices[0].message.content == "the river runs past a small house and then"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (21, 9)
    row = settled(sub)
    assert row["cost"] == 21 * ALPHA_IN + 9 * ALPHA_OUT
    assert row["known_by"] == "reported"
    assert (row["team"], row["cost_center"], row["organization"]) == ("research", "cc-7", "acme")
    assert (row["model_asked"], row["model_served"], row["provider"]) == ("chat-default", "gpt-4o-mini", "alpha")
    assert (row["input"], row["output"], row["status"]) == (21, 9, 200)
    assert not row["fallback"] and row["price_version"]


def test_hold_is_an_upper_bound_at_the_dearer_target(stack, sdk, sub, settled):
    token = stack.person(sub)
    ask(sdk, token, f"{sub} hello", max_completion_tokens=100)
    row = settled(sub)
    dear_in, dear_out = PRICES["azure", "gpt-4o"]
    assert 100 * dear_out + 8 * dear_in <= row["hold"] <= 100 * dear_out + 100 * dear_in
    assert row["cost"] < row["hold"]


def test_cached_and_reasoning_tokens_are_priced_as_such(stack, sdk, sub, settled):
    token = stack.person(sub)
    text = f"{sub} [[prompt_tokens=40 cached_tokens=30 completion_tokens=5 reasoning_tokens=20]]"
    ask(sdk, token, text + " word" * 40, model="solo")
    row = settled(sub)
    # gpt-4o-mini: cached input 0.075 USD/M; reasoning tokens are output tokens.
    assert row["cost"] == 10 * ALPHA_IN + 30 * 75 + 25 * ALPHA_OUT
    assert row["known_by"] == "reported"
    assert (row["input"], row["input_cached"], row["output"], row["output_reasoning"]) == (10, 30, 5, 20)


def test_key_is_injected_and_token_stays(stack, sdk, sub, settled):
    token = stack.person(sub)
    ask(sdk, token, sub)
    (record,) = stack.received("alpha", sub)
    assert header(record, "authorization") == ["Bearer " + stack.keys["alpha"]]
    assert token not in json.dumps(record) and token.split(".")[2] not in json.dumps(record)
    for name in ("x-api-key", "api-key"):
        assert header(record, name) == []
    assert [key for key, _ in record["headers"] if key.lower().startswith(("x-tg", "x-gw"))] == []
    assert header(record, "accept-encoding") in ([], ["identity"])


def test_client_cannot_smuggle_credentials_or_internal_headers(stack, sub, settled):
    token = stack.person(sub)
    smuggled = {
        "x-api-key": "smuggled",
        "api-key": "smuggled",
        "x-tg-p": "beta",
        "x-tg-pk": "smuggled",
        "x-tg-edits": "0,1,x",
    }
    status, _, _ = stack.post(
        token, {"model": "solo", "messages": [{"role": "user", "content": sub}]}, headers=smuggled
    )
    assert status == 200
    (record,) = stack.received("alpha", sub)
    assert "smuggled" not in json.dumps(record["headers"])
    assert stack.received("beta", sub) == []


# Bodies that a rewriter that parses and prints JSON would not leave alone. %s takes the marker.
BODIES = {
    "compact": b'{"model":"chat-default","messages":[{"role":"user","content":"%s"}]}',
    "spaced": b'\n { "messages" : [ {"role":"user" ,"content": "%s"} ] ,\t"model" :  "chat-default" , "temperature":1.0E-2 }\r\n',
    "escaped": b'{"m\\u006fdel":"ch\\u0061t-default","messages":[{"role":"user","content":"%s \\ud83d\\ude00 \\/ \\"model\\": \\"x\\""}]}',
    "utf8": '{"messages":[{"role":"user","content":"%s – “größer” 東京 😀"}],"model":"chat-default","big":123456789012345678901}'.encode(),
    "model in text": b'{"messages":[{"role":"user","content":"%s {\\"model\\":\\"chat-default\\"}"}],"model":"chat-default"}',
    "nested model": b'{"metadata":{"model":"chat-default"},"messages":[{"role":"user","content":"%s"}],"model":"chat-default"}',
}


@pytest.mark.parametrize("shape", BODIES)
def test_model_is_rewritten_byte_exactly(stack, sub, shape):
    marker = sub.replace(" ", "-")
    sent = BODIES[shape].replace(b"%s", marker.encode())
    status, _, _ = stack.post(stack.person(marker), sent)
    assert status == 200
    (record,) = stack.received("alpha", marker)
    got = record["body"].encode()
    assert int(header(record, "content-length")[0]) == len(got)
    # Undo what the gateway may do: one insertion after the first brace, and the value of the outer "model".
    brace = sent.index(b"{") + 1
    key = b'"m\\u006fdel":' if shape == "escaped" else b'"model" :  ' if shape == "spaced" else b'"model":'
    value = b'"ch\\u0061t-default"' if shape == "escaped" else b'"chat-default"'
    where = sent.rindex(key + value)
    expected_rest = sent[brace:where] + key + b'"gpt-4o-mini"' + sent[where + len(key) + len(value) :]
    assert got.startswith(sent[:brace]) and got.endswith(expected_rest), got
    inserted = got[brace : len(got) - len(expected_rest)].strip()
    assert inserted.endswith(b",")
    assert json.loads(b"{" + inserted[:-1] + b"}") in ({"max_completion_tokens": 1024}, {"max_tokens": 1024})
    assert json.loads(got)["model"] == "gpt-4o-mini"


def test_ceiling_and_usage_are_written_into_the_request(stack, sdk, sub):
    token = stack.person(sub)
    list(ask(sdk, token, sub, stream=True))
    body = json.loads(stack.received("alpha", sub)[0]["body"])
    assert body["stream_options"]["include_usage"] is True
    assert body.get("max_completion_tokens", body.get("max_tokens")) == 1024


@pytest.mark.parametrize("options", [{"include_usage": False}, {"include_usage": True}, {"include_obfuscation": False}])
def test_usage_is_asked_for_whatever_the_client_said(stack, sdk, sub, settled, options):
    token = stack.person(sub)
    list(ask(sdk, token, f"{sub} [[completion_tokens=3 prompt_tokens=8]]", stream=True, stream_options=options))
    raw = stack.received("alpha", sub)[0]["body"]
    body = json.loads(raw)
    assert body["stream_options"] == {**options, "include_usage": True}
    assert raw.count('"stream_options"') == 1 and raw.count('"include_usage"') == 1
    assert settled(sub)["cost"] == 8 * ALPHA_IN + 3 * ALPHA_OUT


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_clients_own_ceiling_is_kept(stack, sdk, sub, name):
    token = stack.person(sub)
    answer = ask(sdk, token, f"{sub} [[completion_tokens=50]]", **{name: 7})
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 7
    body = json.loads(stack.received("alpha", sub)[0]["body"])
    assert body[name] == 7 and not ({"max_tokens", "max_completion_tokens"} - {name}) & set(body)


def test_stream_reaches_the_sdk_and_is_billed(stack, sdk, sub, settled):
    token = stack.person(sub)
    chunks = list(ask(sdk, token, f"{sub} [[prompt_tokens=12 completion_tokens=30]]", stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(text.split()) == 30
    row = settled(sub)
    assert row["cost"] == 12 * ALPHA_IN + 30 * ALPHA_OUT and row["known_by"] == "reported"
    assert row["ttft_us"] is not None and row["ttft_us"] >= 0


def test_tokens_arrive_one_by_one(stack, sub):
    """The gateway does not collect events: a piece is here before the provider has sent the next."""
    token, seen = stack.person(sub), 0
    with contextlib.ExitStack() as ended:
        gates = [ended.enter_context(stack.gate()) for _ in range(2)]
        for gate, after in zip(gates, (1, 3)):
            text = f"{sub} [[completion_tokens=8 {gate} gate_after={after}]]"
            body = {"model": "solo", "stream": True, "messages": [{"role": "user", "content": text}]}
            with httpx.stream(
                "POST", stack.gateway + "/v1/chat/completions", json=body, timeout=PATIENCE, headers={"Authorization": "Bearer " + token}
            ) as answer:
                seen = 0
                for line in answer.iter_lines():
                    if '"content":"' in line and '"content":""' not in line:
                        seen += 1
                        if seen == after:  # the next leaves the provider only now
                            assert stack.received("alpha", sub)[-1]["events_sent"] == after
                            gate.open()
            assert seen == 8


def test_unrouted_embeddings_are_refused(stack, sub):
    """What this gateway does not route is refused in the API's own shape, never passed on unmetered."""
    token = stack.person(sub)
    status, _, body = stack.post(token, {"model": "no-such", "input": sub}, path="/v1/embeddings")
    assert status in (400, 404) and json.loads(body)["error"]["message"]
    assert stack.received("alpha", sub) == []


def test_unknown_model(stack, sdk, sub):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(sdk, stack.person(sub), sub, model="gpt-9")
    assert caught.value.code == "model_not_found"
    assert stack.received("alpha", sub) == []


def test_one_row_a_request_and_one_an_attempt(stack, sdk, sub, settled):
    token = stack.person(sub)
    for _ in range(3):
        ask(sdk, token, sub)
    rows = settled(sub, 3)
    assert len({row["id"] for row in rows}) == 3
    for row in rows:
        (attempt,) = ledger.attempts(stack, row)
        assert attempt["provider"] == "alpha" and attempt["model"] == "gpt-4o-mini" and attempt["status"] == 200
