"""Clients as they are, through the gateway: what models they are shown, and the ways in which they say who they are and what they want."""

import base64
import json

import anthropic
import httpx2 as httpx
import openai
import pytest

import ledger
from machine import PATIENCE, QUIET_ZONE

SPEECH = b"RIFF\x00\x01\xff\xfe\r\n\x80WAVE" * 400
TARGET = "{provider: alpha, model: gpt-4o-mini}"
STACK = {
    "models": [
        "name: for-vips, targets: [{provider: alpha, model: gpt-4o-mini, when: {team: [vip]}}]",
        "name: partly, targets: [{provider: alpha, model: gpt-4o-mini, when: {team: [vip]}}, {provider: beta, model: gpt-4o, when: {max_input: 10}}]",
        f'name: "lab/small model", primary: {TARGET}',
        f"name: gpt-4o-mini, primary: {TARGET}",
    ],
    "limits": (
        f'name: two-counts, level: team, match: [counting], amount: "2 requests", window: day, time_zone: {QUIET_ZONE}',
        f'name: one-dollar, level: team, match: [counting], amount: "$1", window: day, time_zone: {QUIET_ZONE}',
        f'name: two-dictations, level: team, match: [dictating], amount: "$0.015", window: day, time_zone: {QUIET_ZONE}',
    ),
    "passthrough": (
        'path: /v1/audio, provider: alpha, methods: [POST], price: "0.006"',
        'path: /v1/files, provider: alpha, methods: [GET, POST], price: "0"',
        "path: /v1/batches, provider: alpha, methods: [POST]",
    ),
    "access": ("name: everybody, teams: [research, vip, counting, dictating]", "name: chatters, teams: [chatting], endpoints: [chat]"),
}


def azure(stack, token, **options):
    return openai.AzureOpenAI(
        azure_endpoint=stack.gateway, api_key=token, api_version="2024-10-21", max_retries=0, timeout=PATIENCE, **options
    )


def claude(stack, token):
    return anthropic.Anthropic(base_url=stack.gateway, api_key=token, max_retries=0, timeout=PATIENCE)


def test_openai_clients_list_what_they_may_use(stack, sub, sdk):
    mine = sdk(stack.person(sub))
    names = {model.id for model in mine.models.list()}
    assert names == {"chat-default", "solo", "partly", "lab/small model", "gpt-4o-mini"}
    assert {model.id for model in sdk(stack.person(sub + "-vip", team="vip")).models.list()} == names | {"for-vips"}
    one = mine.models.retrieve("lab/small model")
    assert (one.id, one.object, one.owned_by) == ("lab/small model", "model", "tollgate")
    for hidden in ("for-vips", "no-such-model"):
        with pytest.raises(openai.NotFoundError) as error:
            mine.models.retrieve(hidden)
        assert error.value.code == "model_not_found" and hidden not in str(error.value)


def test_anthropic_clients_list_what_they_may_use(stack, sub):
    with claude(stack, stack.person(sub)) as mine:
        page = mine.models.list()
        assert {model.id for model in page} == {"chat-default", "solo", "partly", "lab/small model", "gpt-4o-mini"}
        assert page.first_id == page.data[0].id and page.last_id == page.data[-1].id and not page.has_more
        one = mine.models.retrieve("lab/small model")
        assert (one.id, one.type) == ("lab/small model", "model")
        with pytest.raises(anthropic.NotFoundError) as error:
            mine.models.retrieve("for-vips")
        assert error.value.body["error"]["type"] == "not_found_error"
    with claude(stack, "not-a-token") as nobody, pytest.raises(anthropic.AuthenticationError):
        nobody.models.list()


@pytest.mark.parametrize("fixed", [False, True], ids=["model", "deployment"])
def test_azure_clients_name_a_deployment(stack, sub, settled, fixed):
    """With azure_deployment the SDK sends any model name in the body: the path is what counts, to the provider as well."""
    token = stack.person(sub)
    options = {"azure_deployment": "gpt-4o-mini"} if fixed else {}
    with azure(stack, token, **options) as client:
        answer = client.chat.completions.create(
            model="gpt-4.5-preview" if fixed else "solo", messages=[{"role": "user", "content": sub}]
        )
        assert answer.usage.total_tokens > 0
    sent = stack.received("alpha", sub)[-1]
    assert json.loads(sent["body"])["model"] == "gpt-4o-mini"
    assert sent["path"] == "/v1/chat/completions", "neither deployment nor api-version goes to a provider that has none"
    assert token not in json.dumps(sent["headers"])
    assert sent["query"] == ""
    assert settled(sub)["known_by"] == "reported"
    (row,) = stack.query("SELECT alias FROM request WHERE subject = ?", sub)
    assert row["alias"] == ("gpt-4o-mini" if fixed else "solo")


def test_azure_clients_reach_an_azure_target_in_its_own_form(stack, sub):
    token = stack.person(sub)
    stack.behave("alpha", status=500)
    with azure(stack, token) as client:
        stream = client.chat.completions.create(model="chat-default", messages=[{"role": "user", "content": sub}], stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        vectors = client.embeddings.create(model="chat-default", input=sub)
        assert vectors.data[0].embedding
    stack.behave("alpha")
    sent = stack.received("beta", sub)
    assert [(record["path"], record["query"]) for record in sent] == [
        ("/openai/deployments/gpt-4o/chat/completions", "api-version=2024-10-21"),
        ("/openai/deployments/gpt-4o/embeddings", "api-version=2024-10-21"),
    ]
    assert all(token not in json.dumps(record["headers"]) for record in sent)


def test_azure_version_1_paths(stack, sub):
    with openai.OpenAI(base_url=stack.gateway + "/openai/v1", api_key=stack.person(sub), max_retries=0) as client:
        assert client.chat.completions.create(model="solo", messages=[{"role": "user", "content": sub}]).choices
    assert stack.received("alpha", sub)[-1]["path"] == "/v1/chat/completions"


@pytest.mark.parametrize("path", ["/openai/deployments/solo/", "/openai/deployments//chat/completions", "/openai/files", "/openai/deployments/solo/../x"])
def test_other_paths_of_azure_are_refused(stack, sub, path):
    answer = httpx.post(stack.gateway + path, json={"model": "solo", "x": sub}, headers={"api-key": stack.person(sub)}, timeout=PATIENCE)
    assert answer.status_code in (400, 404) and answer.json()["error"]["message"]
    assert stack.received("alpha", sub) == []


def test_an_azure_client_without_a_good_token_is_refused(stack):
    with azure(stack, "not-a-token") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="solo", messages=[{"role": "user", "content": "hi"}])


def test_anthropic_clients_count_tokens(stack, sub, settled):
    """The gateway counts by itself: no provider hears of it, it is one request against limits and costs nothing."""
    ask = {"model": "solo", "system": "Be brief.", "messages": [{"role": "user", "content": sub}]}
    stack.behave("alpha", status=500)  # which nobody notices
    with claude(stack, stack.person(sub, team="counting")) as client:
        short = client.messages.count_tokens(**ask).input_tokens
        long = client.messages.count_tokens(**{**ask, "messages": [{"role": "user", "content": sub + " one two" * 1000}]}).input_tokens
        assert 8 < short < 80 and 2000 <= long - short < 3000
        with pytest.raises(anthropic.RateLimitError) as error:
            client.messages.count_tokens(**ask)
        assert "two-counts" in str(error.value)
    assert stack.received("alpha", sub) == []
    rows = settled(sub, 3)
    assert [row["state"] for row in rows] == ["settled", "settled", "denied"]
    for row, tokens in zip(rows, (short, long), strict=False):
        assert (row["cost"], row["hold"], row["outcome"], row["known_by"]) == (0, 0, "count_tokens", "none")
        assert (row["input_counted"], row["input"] or 0, row["status"], row["attempts"]) == (tokens, 0, 200, 0)
    (account,) = [a for a in ledger.accounts(stack, "two-counts") if "counting" in json.dumps(a)]
    assert (account["used"], account["held"]) == (2, 0)


def test_counting_tokens_needs_what_the_request_itself_would_need(stack, sub):
    ask = {"model": "solo", "messages": [{"role": "user", "content": sub}]}
    with claude(stack, stack.person(sub, team="chatting")) as client, pytest.raises(anthropic.PermissionDeniedError):
        client.messages.count_tokens(**ask)
    with claude(stack, "not-a-token") as nobody, pytest.raises(anthropic.AuthenticationError):
        nobody.messages.count_tokens(**ask)
    with claude(stack, stack.person(sub + "-2")) as client:
        with pytest.raises(anthropic.NotFoundError):
            client.messages.count_tokens(**{**ask, "model": "no-such-model"})
        with pytest.raises(anthropic.BadRequestError) as error:
            client.messages.count_tokens(model="solo", messages=[{"role": "user", "content": 5}])
        assert "messages[0].content" in str(error.value)
    assert httpx.get(stack.gateway + "/v1/messages/count_tokens", headers={"x-api-key": stack.person(sub + "-3")}, timeout=PATIENCE).status_code == 405


def transcribe(client, sub):
    return client.audio.transcriptions.create(model="whisper-1", prompt=sub, file=("speech.wav", SPEECH, "audio/wav"))


def test_pass_through_keeps_the_request_and_charges_its_price(stack, sub, sdk, settled):
    token = stack.person(sub, team="dictating")
    client = sdk(token)
    assert transcribe(client, sub).text == "hello"
    (sent,) = stack.received("alpha", sub)
    headers = {name.lower(): value for name, value in sent["headers"]}
    assert (sent["method"], sent["path"]) == ("POST", "/v1/audio/transcriptions")
    assert SPEECH in base64.b64decode(sent["body_base64"]), "binary parts arrive as they were sent"
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert headers["authorization"] == "Bearer " + stack.keys["alpha"] and token not in json.dumps(sent)
    row = settled(sub)
    assert (row["cost"], row["hold"], row["known_by"], row["outcome"]) == (6_000_000, 6_000_000, "counted", "ok")
    assert (row["model_asked"], row["provider"], row["input"] or 0) == ("/v1/audio", "alpha", 0)
    (name,) = stack.query("SELECT endpoint FROM request WHERE subject = ?", sub)
    assert name["endpoint"] == "passthrough"
    transcribe(client, sub)
    with pytest.raises(openai.APIStatusError) as error:
        transcribe(client, sub)
    assert error.value.status_code in (402, 429) and "two-dictations" in str(error.value)
    assert len(stack.received("alpha", sub)) == 2


def test_pass_through_that_the_provider_refuses_costs_nothing(stack, sub, sdk, settled):
    stack.behave("alpha", status=400)
    with pytest.raises(openai.BadRequestError):
        transcribe(sdk(stack.person(sub)), sub)
    row = settled(sub)
    assert (row["cost"], row["known_by"], row["outcome"], row["status"]) == (0, "none", "provider_error", 400)


def test_pass_through_keeps_the_query(stack, sub, sdk, settled):
    assert sdk(stack.person(sub)).files.list(limit=7, purpose=sub).data == []
    sent = [record for record in stack.received("alpha") if sub in record["query"]]
    assert [(record["method"], record["path"]) for record in sent] == [("GET", "/v1/files")] and "limit=7" in sent[0]["query"]
    assert settled(sub)["cost"] == 0


@pytest.mark.parametrize(
    ("method", "path", "team", "status", "code"),
    [
        ("DELETE", "/v1/files/file-1", "research", 405, "method_not_allowed"),
        ("POST", "/v1/batches", "research", 400, "model_not_priced"),
        ("GET", "/v1/files", "chatting", 403, "access_denied"),
        ("POST", "/v1/filesystem", "research", 404, "unknown_url"),
        ("POST", "/v1/files/%2e%2e/chat/completions", "research", 400, "invalid_path"),
        ("POST", "/v1/files//chat/completions", "research", 400, "invalid_path"),
        ("POST", "/v1/fine_tuning/jobs", "research", 404, "unknown_url"),
        ("GET", "/v1/files", None, 401, "invalid_api_key"),
    ],
)
def test_pass_through_is_refused(stack, sub, method, path, team, status, code):
    token = stack.person(sub, team=team) if team else "not-a-token"
    before = len(stack.received("alpha"))
    answer = httpx.request(method, stack.gateway + path, headers={"Authorization": "Bearer " + token}, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(stack.received("alpha")) == before


ALLOWED = (
    ("GET", "/v1/chat/completions", "POST"),
    ("PUT", "/v1/messages/count_tokens", "POST"),
    ("POST", "/v1/models", "GET"),
    ("DELETE", "/v1/models/solo", "GET"),
    ("POST", "/tollgate/v1/budget", "GET"),
    ("GET", "/tollgate/v1/backchannel-logout", "POST"),
    ("DELETE", "/v1/files/file-1", "GET, POST"),
    ("GET", "/v1/audio/speech", "POST"),
)


@pytest.mark.parametrize(("method", "path", "allow"), ALLOWED, ids=[f"{method} {path}" for method, path, _ in ALLOWED])
def test_a_wrong_method_is_told_the_right_ones(stack, sub, method, path, allow):
    answer = httpx.request(method, stack.gateway + path, headers={"Authorization": "Bearer " + stack.person(sub)}, timeout=PATIENCE)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert allow in answer.json()["error"]["message"]


def speak(stack, token, sub):
    return httpx.stream("POST", stack.gateway + "/v1/audio/speech", json={"input": sub}, headers={"Authorization": "Bearer " + token}, timeout=PATIENCE)


def test_pass_through_streams_as_it_comes(stack, sub, settled):
    """Events are passed on while the provider is still at it, and nothing in them is looked at."""
    stack.behave("alpha", stall_after=3)
    seen = b""
    with speak(stack, stack.person(sub), sub) as answer:
        for piece in answer.iter_raw():
            seen += piece
            if seen.count(b"\n\n") == 3:
                break
    assert seen == b"".join(b'data: {"type":"speech.audio.delta","audio":"%d"}\n\n' % i for i in range(3))
    row = settled(sub)
    assert (row["cost"], row["known_by"], row["status"]) == (6_000_000, "counted", 200)
    stack.behave("alpha")
    with speak(stack, stack.person(sub), sub) as answer:
        whole = answer.read()
    assert whole.count(b"\n\n") == 6 and whole.endswith(b'{"type":"speech.audio.done"}\n\n')
    row = settled(sub, 2)[-1]
    assert (row["cost"], row["known_by"], row["outcome"]) == (6_000_000, "counted", "ok")


def test_pass_through_has_no_second_try(stack, sub, settled):
    """It goes to its one provider, once: an upload is not repeated."""
    stack.behave("alpha", status=503)
    answer = httpx.post(stack.gateway + "/v1/audio/transcriptions", content=sub, headers={"Authorization": "Bearer " + stack.person(sub)}, timeout=PATIENCE)
    assert answer.headers["x-tollgate-attempt"] == "1" and len(stack.received("alpha", sub)) == 1 and not stack.received("beta", sub)
    assert settled(sub)["attempts"] == 1


def test_pass_through_must_fit_the_buffer(stack, sub):
    token = stack.person(sub)
    before = len(stack.received("alpha"))
    answer = httpx.post(stack.gateway + "/v1/files", content=b"x" * (stack.max_body + 1), headers={"Authorization": "Bearer " + token}, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert len(stack.received("alpha")) == before
