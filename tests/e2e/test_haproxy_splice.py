"""The body a provider receives is exactly the client's body with the agent's edits applied."""
import random
import subprocess

import pytest
from haproxy_stub.fixtures import gateway, shared_gateway, write_plan  # noqa: F401
from haproxy_stub.gateway import Gateway
from haproxy_stub.provider import answer
from machine import PATIENCE

MAX_BODY = 262144


def edit_list(edits):
    return ";".join(f"{off},{length},{len(text)}:{text}" for off, length, text in sorted(edits, reverse=True))


def apply(body, edits):
    for off, length, text in sorted(edits, reverse=True):
        body = body[:off] + text.encode() + body[off + length:]
    return body


def delta(edits):
    return sum(len(text) - length for _, length, text in edits)


def body_of(size, seed=1):
    """JSON-like bytes of that size, with every byte value somewhere."""
    r = random.Random(seed)
    head = b'{"model":"chat-default","messages":"'
    return head + bytes(r.randrange(256) for _ in range(max(0, size - len(head) - 2))) + b'"}'


def random_edits(size, count, seed):
    r = random.Random(seed)
    places = sorted(r.sample(range(size + 1), min(2 * count, size + 1)))
    edits = []
    for start, end in zip(places[::2], places[1::2]):
        length = r.choice((0, min(end - start, r.randrange(60))))
        text = "".join(r.choice('abc ,;:"{}[]\\|=%0123456789') for _ in range(r.choice((0, 1, 7, 40))))
        if length or text:
            edits.append((start, length, text))
    return edits


def send(gateway, body, how):
    if how == "h2":
        file = gateway.dir / "body.bin"
        file.write_bytes(body)
        out = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code}", "-H", "expect:",
                              "-H", "content-type: application/json", "--data-binary", f"@{file}",
                              f"http://127.0.0.1:{gateway.h2_port}/v1/chat/completions"], capture_output=True, text=True, timeout=PATIENCE)
        return int(out.stdout)
    return gateway.request(body, chunked=how == "chunked")[0]


def check(gateway, body, edits, how):
    gateway.allow(pedit=edit_list(edits), pdelta=delta(edits))
    assert send(gateway, body, how) == 200
    got = gateway.providers["a"].requests[-1]
    assert got.body == apply(body, edits)
    if how != "chunked" and got.header("content-length") is not None:
        assert int(got.header("content-length")) == len(got.body)


CASES = {
    "replace same length": [(9, 14, '"gpt-4o-mini1"')],
    "replace longer": [(9, 14, '"' + "m" * 300 + '"')],
    "replace shorter": [(9, 14, '"x"')],
    "insert after the brace": [(1, 0, '"max_tokens":4096,')],
    "insert at the very end": [(38, 0, " tail ")],
    "insert at the very start": [(0, 0, "   ")],
    "remove": [(1, 23, "")],
    "three kinds at once": [(1, 0, '"stream_options":{"include_usage":true},'), (9, 14, '"gpt"'), (24, 3, "")],
    "adjacent": [(1, 8, "A"), (9, 14, "BB"), (23, 1, "CCC")],
    "text with the list's own marks": [(9, 14, '";,:1,2,3:x;"')],
    "text that ends in blanks": [(9, 14, '"y"   ')],
    "two inserts side by side": [(1, 0, "first"), (2, 0, "second")],
    "nothing changes": [(9, 0, "")],
}


@pytest.mark.parametrize("how", ["length", "chunked", "h2"])
@pytest.mark.parametrize("case", CASES)
def test_edits_small(gateway, case, how):
    check(gateway, b'{"model":"chat-default","messages":""}', CASES[case], how)


@pytest.mark.parametrize("how", ["length", "chunked", "h2"])
@pytest.mark.parametrize("size", [60, 1000, 7000, 15000, 16384, 66000, 131072, 200000, MAX_BODY - 1, MAX_BODY])
def test_edits_random(gateway, size, how):
    for seed in range(3):
        body = body_of(size, seed)
        check(gateway, body, random_edits(size, 1 + 5 * seed, seed), how)


@pytest.mark.parametrize("how", ["length", "chunked", "h2"])
def test_edits_growth_at_the_limit(gateway, how):
    check(gateway, body_of(MAX_BODY), [(1, 0, "g" * 4000), (9, 14, '"' + "m" * 200 + '"')], how)


@pytest.mark.parametrize("how", ["length", "chunked", "h2"])
def test_fallback_gets_its_own_edits_of_the_original_body(gateway, how):
    body = body_of(50000)
    primary, fallback = [(9, 14, '"primary-model"'), (1, 0, '"n":1,')], [(9, 14, '"fb"')]
    gateway.providers["a"].script = answer(500, "{}")
    gateway.allow_with_fallback(pedit=edit_list(primary), pdelta=delta(primary), fedit=edit_list(fallback), fdelta=delta(fallback))
    assert send(gateway, body, how) == 200
    assert gateway.providers["a"].requests[-1].body == apply(body, primary)
    assert gateway.providers["b"].requests[-1].body == apply(body, fallback)


def test_no_edits_no_change(gateway):
    body = body_of(30000)
    gateway.allow()
    assert gateway.request(body)[0] == 200
    assert gateway.providers["a"].requests[-1].body == body


def test_a_bad_edit_list_never_reaches_the_provider(write_plan):  # noqa: F811
    with Gateway(write_plan) as g:
        g.lua_errors_expected = True
        for bad in ("nonsense", "1,0,99:short", "9,14,1:x;5,9,1:y", "9,9999999,1:x", "1,0,3:abcd", "9,14"):
            for chunked in (False, True):
                g.allow(pedit=bad, pdelta=0)
                status, _, body = g.request(b'{"model":"chat-default","messages":""}', chunked=chunked)
                assert status in (400, 500, 502) and b'"error"' in body
        assert not g.providers["a"].requests
