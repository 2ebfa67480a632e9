"""A 400 that says the prompt is too long goes to the second target where that one takes longer prompts; any other 400 is passed on as it came."""

import json

import pytest
from haproxy_stub.fixtures import gateway, shared_gateway, write_plan  # noqa: F401
from haproxy_stub.gateway import Gateway
from haproxy_stub.provider import answer, chunk, silence

OPENAI = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."

# What providers say when a prompt does not fit.
TOO_LONG = {
    "openai": {"error": {"message": OPENAI, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}},
    "code alone": {"error": {"message": "", "code": "context_length_exceeded"}},
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}},
    "anthropic sum": {"type": "error", "error": {"message": "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000"}},
    "vllm": {"error": {"message": OPENAI, "type": "BadRequestError", "param": None, "code": 400}},
    "old vllm": {"object": "error", "message": OPENAI, "type": "BadRequestError", "param": None, "code": 400},
    "bedrock": {"message": "Input is too long for requested model."},
    "google": [{"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                          "status": "INVALID_ARGUMENT"}}],
    "llama.cpp": {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "n_ctx": 4096}},
    "mistral": {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context"
                " length", "type": "invalid_request_prompt", "code": "3051"},
}  # fmt: skip

# Everything else is an answer to the client, whatever words stand in it.
OTHER = {
    "content filter": {"error": {"message": "The response was filtered due to the prompt triggering the content management policy.",
                                 "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
    "filter with the words": {"error": {"message": OPENAI + " context_length_exceeded", "code": "content_filter"}},
    "quoting the prompt": {"error": {"message": "Invalid prompt: \"context_length_exceeded\" prompt is too long", "code": None}},
    "another code": {"error": {"message": OPENAI, "code": "invalid_value"}},
    "sensitive prompt": {"message": "Prompt contains sensitive content"},
    "deeper down": {"error": {"message": "no", "details": {"error": {"code": "context_length_exceeded"}}}},
    "no code": {"error": {"message": "Unrecognized request argument", "code": None}},
}  # fmt: skip
OTHER_BYTES = {
    **{name: json.dumps(value, indent=2).encode() for name, value in OTHER.items()},
    "no json": b"Bad Request\r\n",
    "nothing": b"",
    "half of it": json.dumps(TOO_LONG["openai"]).encode()[:60],
    "larger than a buffer": b'{"error":{"message":"' + b"x" * 600_000 + b'","code":"context_length_exceeded"}}',
}


def too_long_bytes():
    return {name: json.dumps(value).encode() for name, value in TOO_LONG.items()}


@pytest.mark.parametrize("stream", [None, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", TOO_LONG)
def test_the_larger_model_is_asked(gateway, name, stream):  # noqa: F811
    gateway.providers["a"].script = answer(400, too_long_bytes()[name])
    gateway.allow_with_fallback(larger=True, stream=stream)
    status, headers, body = gateway.request(b'{"x":1}')
    assert status == 200 and json.loads(body)["id"] == "chatcmpl-1"
    assert (headers["x-tollgate-provider"], headers["x-tollgate-attempt"]) == ("b", "2")
    assert gateway.providers["b"].requests[0].body == b'{"x":1}'
    first, second = gateway.lines(2, headers, 2)
    assert (first["rst"], first["long"], second["rst"], second["long"]) == ("400", "1", "200", "-")


@pytest.mark.parametrize("stream", [None, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", OTHER_BYTES)
def test_any_other_400_is_passed_on_byte_for_byte(gateway, name, stream):  # noqa: F811
    gateway.providers["a"].script = answer(400, OTHER_BYTES[name], extra=("x-own: 1",))
    gateway.allow_with_fallback(larger=True, stream=stream)
    status, headers, body = gateway.request()
    assert (status, body) == (400, OTHER_BYTES[name])
    assert (headers["x-tollgate-provider"], headers["x-tollgate-attempt"], headers["x-own"]) == ("a", "1", "1")
    assert not gateway.providers["b"].requests


@pytest.mark.parametrize("name", TOO_LONG)
def test_without_a_larger_second_target_it_is_passed_on(gateway, name):  # noqa: F811
    data = too_long_bytes()[name]
    gateway.providers["a"].script = answer(400, data)
    gateway.allow_with_fallback()
    assert gateway.request()[::2] == (400, data)
    assert not gateway.providers["b"].requests


def test_both_find_it_too_long(gateway):  # noqa: F811
    gateway.providers["a"].script = answer(400, json.dumps(TOO_LONG["openai"]))
    gateway.providers["b"].script = answer(400, json.dumps(TOO_LONG["anthropic"]))
    gateway.allow_with_fallback(larger=True)
    status, headers, body = gateway.request()
    assert (status, json.loads(body), headers["x-tollgate-attempt"]) == (400, TOO_LONG["anthropic"], "2")


def test_another_failure_is_no_reason_to_look(gateway):  # noqa: F811
    """The second try after a 500 finds the prompt too long: its 400 is the answer, and a client cannot ask for the look."""
    gateway.providers["a"].script = answer(500)
    gateway.providers["b"].script = answer(400, json.dumps(TOO_LONG["openai"]))
    gateway.allow_with_fallback(larger=True)
    status, headers, body = gateway.request()
    assert (status, json.loads(body), headers["x-tollgate-attempt"]) == (400, TOO_LONG["openai"], "2")
    gateway.allow_with_fallback()
    gateway.providers["a"].script = answer(400, json.dumps(TOO_LONG["openai"]))
    status, headers, _ = gateway.request(headers={"x-tg-l": "1"})
    assert (status, headers["x-tollgate-attempt"]) == (400, "1")


def test_a_body_in_pieces_and_one_that_does_not_come(gateway):  # noqa: F811
    head = b"HTTP/1.1 400 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    data = json.dumps(TOO_LONG["openai"]).encode()

    async def pieces(request, writer):
        writer.write(head)
        for i in range(0, len(data), 40):
            writer.write(chunk(data[i : i + 40]))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    gateway.allow_with_fallback(larger=True)
    gateway.providers["a"].script = pieces
    assert gateway.request()[1]["x-tollgate-attempt"] == "2"
    # A head and then silence is no answer: a failed try.
    gateway.providers["hasty"].script = silence(head)
    gateway.allow_with_fallback(pri="hasty", larger=True)
    status, headers, _ = gateway.request()
    assert (status, headers["x-tollgate-attempt"]) == (200, "2")


def test_without_lua(write_plan):  # noqa: F811
    with Gateway(write_plan, lua=False) as g:
        g.providers["a"].script = answer(400, json.dumps(TOO_LONG["openai"]))
        g.allow_with_fallback(larger=True)
        assert g.request()[1]["x-tollgate-attempt"] == "2"
        g.providers["a"].script = answer(400, OTHER_BYTES["content filter"])
        status, headers, body = g.request()
        assert (status, body, headers["x-tollgate-attempt"]) == (400, OTHER_BYTES["content filter"], "1")
