"""Who is asked, as one table: capabilities and features, people, size, time of day, members of bodies in every API; and the orders that look at
figures: cost of this request, and latency as it was seen of late."""

import base64
import datetime
import json
import struct
import zlib

import pytest

from routes import route
from machine import PATIENCE, wait_for

ALL = ("stream", "tools", "images", "audio", "files", "json_schema", "logprobs")


def png(width=8, height=8):
    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xff\x00\x00" * width for _ in range(height))
    head = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


def encoded(data):
    return base64.b64encode(data).decode()


def with_part(part):
    return lambda text: {"messages": [{"role": "user", "content": [{"type": "text", "text": text}, part]}]}


def more(**members):
    return lambda text: {"messages": [{"role": "user", "content": text}], **members}


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}
PLAIN = more()
FEATURES = {
    "stream": more(stream=True),
    "tools": more(tools=[{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]),
    "images": with_part({"type": "image_url", "image_url": {"url": "data:image/png;base64," + encoded(png())}}),
    "audio": with_part({"type": "input_audio", "input_audio": {"data": encoded(b"RIFF" + b"\0" * 200), "format": "wav"}}),
    "files": with_part({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + encoded(b"%PDF-1.4 ")}}),
    "json_schema": more(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}),
    "logprobs": more(logprobs=True, top_logprobs=2),
}

TODAY = datetime.datetime.now(datetime.timezone.utc).weekday()
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# Wherever the test runs past midnight, the day around stays within these, and the one opposite stays out.
NEAR, FAR = "-".join((DAYS[(TODAY - 1) % 7], DAYS[(TODAY + 2) % 7])), DAYS[(TODAY + 4) % 7]


def target(name, **options):
    model = {"alpha": "gpt-4o-mini", "beta": "gpt-4o"}[name]
    fields = {"provider": name, "model": model, "capabilities": list(ALL), **options}
    return "{" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in fields.items()) + "}"


def alias(name, *targets, **options):
    more = "".join(f"{key}: {value}, " for key, value in options.items())
    return f"name: {name}, {more}targets: [{', '.join(targets)}], max_output: 512"


def only(**when):
    """beta where the condition holds, else alpha."""
    return target("beta", when=when), target("alpha")


def with_model(name, model, **options):
    return target(name, model=model, **options)


PEOPLE = {
    "team": {"team": "vip"},
    "user": {},
    "application": {"azp": "batch"},
    "cost_center": {"cost_center": "cc-9"},
    "organization": {"organization": "umbrella"},
    "group": {"groups": ["llm-users", "early"]},
}
WHO = {"team": "vip", "user": "somebody-else", "application": "batch", "cost_center": "cc-9", "organization": "umbrella", "group": "early"}

# For each API: a body, and members of it that may be dropped, or refused.
APIS = {
    "chat": ("/v1/chat/completions", lambda t: {"messages": [{"role": "user", "content": t}]}, {"user": "u-1", "seed": 7}),
    "responses": ("/v1/responses", lambda t: {"input": t}, {"user": "u-1", "seed": 7}),
    "completions": ("/v1/completions", lambda t: {"prompt": t}, {"user": "u-1", "seed": 7}),
    "embeddings": ("/v1/embeddings", lambda t: {"input": t}, {"user": "u-1", "seed": 7}),
    "messages": ("/v1/messages", lambda t: {"max_tokens": 50, "messages": [{"role": "user", "content": t}]}, {"user": "u-1", "seed": 7}),
}


def extend(stack):
    """A provider with rules of its own for all its targets; it ends at alpha's stand-in."""
    url = f'url: "http://127.0.0.1:{stack.ports["alpha"]}/v1", credential: {{file: {stack.folder}/alpha.key}}'
    provider = f"name: gamma, price_as: openai, {url}, dialects: [chat, embeddings], drop: [user], refuse: [seed]"
    return [provider], [alias("by-provider", "{provider: gamma, model: gpt-4o-mini, drop: [top_k]}", target("beta"))]


STACK = {
    "extend": extend,
    "first_byte": "60s",
    "models": [
        *(alias(f"lacks-{f}", target("alpha", capabilities=[x for x in ALL if x != f]), target("beta")) for f in ALL),
        *(alias(f"wants-{f}", *only(features=[f])) for f in ALL),
        *(alias(f"without-{f}", *only(without=[f])) for f in ALL),
        *(alias(f"only-{key}", *only(**{key: [value]})) for key, value in WHO.items()),
        alias("several", *only(team=["vip", "ops"], application=["batch"])),
        alias("long", *only(min_input=200)),
        alias("short", *only(max_input=200)),
        alias("between", *only(min_input=100, max_input=400)),
        alias("nowadays", *only(hours=[{"at": f"{NEAR} 00:00-24:00"}])),
        alias("some-day", *only(hours=[{"at": "00:00-24:00", "days": [FAR]}])),
        alias("two-stretches", *only(hours=[{"days": [FAR]}, {"at": f"{NEAR} 00:00-24:00"}])),
        alias("far-east", *only(hours=[{"at": f"{NEAR} 00:00-24:00", "time_zone": "Pacific/Kiritimati"}])),
        alias("closed", target("alpha", when={"hours": [{"days": [FAR]}]})),
        alias("narrow", target("alpha", context_window=300), target("beta", context_window=900)),
        alias("dropping", target("alpha", drop=["user"])),
        alias("refusing", target("alpha", refuse=["seed"]), target("beta")),
        alias("refused", target("alpha", refuse=["seed"])),
        alias("by-user", target("alpha"), target("beta"), order="weight", sticky="user"),
        alias("weightless", target("alpha", weight=0), target("beta", weight=1), order="weight"),
        alias("no-canary", target("alpha"), target("beta", canary="0%")),
        alias("all-canary", target("alpha"), target("beta", canary="100%")),
        # Which of the two is cheaper depends on how much of a request is input: 0.25 and 2.00 dollars against 0.40 and 1.60.
        alias("cheapest", with_model("beta", "gpt-4.1-mini"), with_model("alpha", "gpt-5-mini"), order="cost"),
        *(
            alias(name, *(with_model(p, m) for p, m in (("alpha", one), ("beta", other))), order="latency")
            for name, one, other in (("quick", "gpt-4.1", "gpt-4.1"), ("quick-plain", "o3-mini", "o3-mini"))
        ),
        *(alias(f"{p}-{m}", with_model(p, m)) for p in ("alpha", "beta") for m in ("gpt-4.1", "o3-mini")),
    ],
}


def ask(stack, token, model, request=PLAIN, text="hello", path="/v1/chat/completions", **members):
    """Who answered, or the error's code."""
    status, headers, answer = stack.post(token, {"model": model, **request(text), **members}, path=path)
    if status == 200:
        assert headers["x-tollgate-attempt"] == "1", "passed over before it could fail"
        return headers["x-tollgate-provider"]
    error = json.loads(answer)["error"]
    return error.get("code") or error["type"]


@pytest.mark.parametrize("feature", ALL)
def test_features(stack, sub, feature):
    token = stack.person(sub)
    seen = {kind: (ask(stack, token, f"{kind}-{feature}", FEATURES[feature]), ask(stack, token, f"{kind}-{feature}"))
            for kind in ("lacks", "wants", "without")}  # fmt: skip
    assert seen == {"lacks": ("beta", "alpha"), "wants": ("beta", "alpha"), "without": ("alpha", "beta")}


@pytest.mark.parametrize("key", PEOPLE)
def test_people(stack, sub, key):
    who = "somebody-else" if key == "user" else sub
    meant = stack.person(who, **PEOPLE[key])
    assert ask(stack, meant, f"only-{key}") == "beta"
    assert ask(stack, stack.person(sub + "-other"), f"only-{key}") == "alpha"


def test_all_conditions_must_hold(stack, sub):
    people = {("vip", "batch"): "beta", ("ops", "batch"): "beta", ("vip", "chat"): "alpha", ("research", "batch"): "alpha"}
    for (team, application), where in people.items():
        assert ask(stack, stack.person(f"{sub}-{team}-{application}", team=team, azp=application), "several") == where


def test_size(stack, sub):
    token = stack.person(sub)
    texts = {"50": "word " * 50, "250": "word " * 250, "600": "word " * 600}
    for model, expected in (("long", "abb"), ("short", "baa"), ("between", "aba")):
        seen = [ask(stack, token, model, text=text) for text in texts.values()]
        assert seen == [{"a": "alpha", "b": "beta"}[letter] for letter in expected], model


def test_time_of_day(stack, sub):
    token = stack.person(sub)
    seen = {name: ask(stack, token, name) for name in ("nowadays", "some-day", "two-stretches", "far-east", "closed")}
    expected = {"nowadays": "beta", "some-day": "alpha", "two-stretches": "beta", "far-east": "beta", "closed": "model_not_allowed"}
    assert seen == expected


def test_a_window_that_is_too_small_is_skipped(stack, sub):
    token = stack.person(sub)
    assert [ask(stack, token, "narrow", text="word " * n) for n in (100, 500, 1200)] == ["alpha", "beta", "context_length_exceeded"]
    # The answer that is asked for counts as well.
    assert [ask(stack, token, "narrow", max_tokens=n) for n in (100, 500)] == ["alpha", "beta"]


@pytest.mark.parametrize("api", APIS)
def test_members_in_every_api(stack, sub, api):
    path, make, members = APIS[api]
    token = stack.person(sub)
    assert ask(stack, token, "dropping", make, sub, path, **members) == "alpha"
    (record,) = stack.received("alpha", sub)
    sent = json.loads(record["body"])
    assert "user" not in sent and sent["seed"] == 7
    kept = make(sub)
    assert {name: sent[name] for name in kept} == kept
    assert ask(stack, token, "refusing", make, sub, path, **members) == "beta"
    assert ask(stack, token, "refusing", make, sub, path, user="u-1") == "alpha"
    refusal = ask(stack, token, "refused", make, sub, path, **members)
    assert refusal == ("invalid_request_error" if api == "messages" else "unsupported_parameter")


def test_a_providers_own_rules(stack, sub):
    token = stack.person(sub)
    assert ask(stack, token, "by-provider", text=sub, user="u-1", top_k=3, top_p=0.5) == "gamma"
    (record,) = stack.received("alpha", sub)
    sent = json.loads(record["body"])
    assert "user" not in sent and "top_k" not in sent and sent["top_p"] == 0.5
    assert ask(stack, token, "by-provider", seed=7) == "beta"
    asked = {api: ask(stack, token, "by-provider", make, path=path) for api, (path, make, _) in APIS.items()}
    assert asked == {"chat": "gamma", "embeddings": "gamma", "responses": "beta", "completions": "beta", "messages": "beta"}


def test_shares_at_their_ends(stack, sub):
    people = [stack.person(f"{sub}-{i}") for i in range(24)]
    first = [ask(stack, token, "by-user") for token in people]
    assert set(first) == {"alpha", "beta"}, "one in eight million that all 24 are drawn alike"
    assert [ask(stack, token, "by-user", text="something else") for token in people] == first
    asked = {name: {ask(stack, token, name) for token in people[:6]} for name in ("weightless", "no-canary", "all-canary")}
    assert asked == {"weightless": {"beta"}, "no-canary": {"alpha"}, "all-canary": {"beta"}}
    route(stack, "drain", "beta/gpt-4o")
    try:
        assert ask(stack, people[0], "weightless") == "alpha", "weight 0: when no other is left"
    finally:
        route(stack, "enable", "beta/gpt-4o")


def test_least_cost_of_this_request(stack, sub):
    token = stack.person(sub)
    assert [ask(stack, token, "cheapest", text="word " * n) for n in (10, 3000, 10)] == ["beta", "alpha", "beta"]


def learn(stack, token, model, **members):
    """One more answer that the latencies of a target have heard of: they are told before the request is settled."""
    status, headers, answer = stack.post(token, {"model": model, **PLAIN("hello"), **members})
    assert (status, headers["x-tollgate-provider"]) == (200, model.partition("-")[0]), answer
    query = "SELECT 1 FROM request WHERE request_id = ? AND state = 'settled'"
    wait_for(lambda: stack.query(query, headers["x-tollgate-request-id"]), "the answer to be settled")


def test_least_latency_of_streams(stack, sub):
    """alpha begins late, beta writes slowly: for a short answer beta is quicker, for a long one alpha. What was seen last counts most."""
    token = stack.person(sub)
    stack.behave("alpha", opening_delay=2.0)
    stack.behave("beta", token_interval=0.5)

    def seen():
        """As soon as it is told by the answers, of which one may have come late for another reason."""
        for name in ("alpha", "beta"):
            learn(stack, token, f"{name}-gpt-4.1", stream=True)
        short = [ask(stack, token, "quick", stream=True, max_tokens=1) for _ in range(3)]
        return short == ["beta"] * 3 and [ask(stack, token, "quick", stream=True) for _ in range(3)] == ["alpha"] * 3

    wait_for(seen, "the quicker one to be asked", 3 * PATIENCE)
    stack.behave("beta")

    def quicker():
        learn(stack, token, "beta-gpt-4.1", stream=True)
        return ask(stack, token, "quick", stream=True) == "beta"

    wait_for(quicker, "beta's better days to outweigh the others", 3 * PATIENCE)


def test_least_latency_of_plain_answers(stack, sub):
    token = stack.person(sub)
    stack.behave("alpha", accept_delay=1.5)

    def seen():
        for name in ("alpha", "beta"):
            learn(stack, token, f"{name}-o3-mini")
        return [ask(stack, token, "quick-plain") for _ in range(3)] == ["beta"] * 3

    wait_for(seen, "the quicker one to be asked", 3 * PATIENCE)
    stack.behave("alpha")
    stack.behave("beta", accept_delay=1.5)

    def quicker():
        for name in ("alpha", "beta"):
            learn(stack, token, f"{name}-o3-mini")
        return ask(stack, token, "quick-plain") == "alpha"

    wait_for(quicker, "what was seen of late to count more", 3 * PATIENCE)
