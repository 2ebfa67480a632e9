"""Settlement records: one for each response however it ends, with what the provider reported, handed over reliably."""
import asyncio
import json
import random
import socket
import threading

import pytest
from haproxy_stub.fixtures import gateway, shared_gateway, write_plan  # noqa: F401
from haproxy_stub.gateway import Gateway, wait_for
from haproxy_stub.provider import SSE_HEAD, USAGE, answer, chunk, completion, cut, drop, silence, stream
from machine import PATIENCE

CHUNK = '{"id":"c1","object":"chat.completion.chunk","model":"gpt-4o-2024","choices":[{"index":0,"delta":%s}],"usage":null}'


def event(data, name=None):
    return ((f"event: {name}\n" if name else "") + f"data: {data}\n\n").encode()


def chat_stream(tokens=5, usage=True, done=True):
    out = [event(CHUNK % '{"role":"assistant","content":""}')]
    out += [event(CHUNK % json.dumps({"content": f"t{i} "})) for i in range(tokens)]
    if usage:
        out.append(event(json.dumps({"id": "c1", "model": "gpt-4o-2024", "choices": [], "usage": USAGE})))
    if done:
        out.append(event("[DONE]"))
    return out


def run(gateway, script, **variables):
    gateway.providers["a"].script = script
    gateway.allow(**{"tap": 1, "cap": 65536, "stream": True, **variables})
    status, headers, body = gateway.request()
    return gateway.record(), status, headers, body


def test_plain(gateway):
    record, status, headers, body = run(gateway, answer(extra=("x-request-id: prov-7",)))
    assert status == 200
    assert json.loads(record.pop("usage")) == USAGE
    assert record.pop("hdr_ms") >= 0 and record.pop("ttft_ms") >= 0 and record.pop("last_ms") >= 0
    assert record == {"v": 1, "id": headers["x-tollgate-request-id"], "grp": "a", "att": 1, "st": 200, "sse": False, "done": True,
                      "end": "complete", "bytes": len(body), "events": 0, "model": "gpt-4o-2024", "rid": "prov-7"}


def test_plain_without_usage_brings_the_body(gateway):
    record, _, _, body = run(gateway, answer(body=completion(usage=False)))
    assert "usage" not in record
    assert record["body"] == body and record["body_cut"] is False


def test_body_is_cut_at_the_cap(gateway):
    record, _, _, body = run(gateway, answer(body=completion(usage=False)), cap=100)
    assert record["body"] == body[:100] and record["body_cut"] is True


def test_no_body_unless_asked_for(gateway):
    assert "body" not in run(gateway, answer(body=completion(usage=False)), tap=0)[0]


def test_nested_objects_cannot_pass_for_usage(gateway):
    spoof = {"prompt_tokens": 0, "completion_tokens": 0}
    body = {"model": "m", "tools": [{"parameters": {"usage": spoof, "response": {"usage": spoof}}}], "message": [{"usage": spoof}],
            "choices": [{"message": {"content": "\"usage\":{\"prompt_tokens\":0}", "usage": spoof}}], "usage": USAGE,
            "metadata": {"usage": spoof}, "text": {"format": {"schema": {"usage": spoof}}}}
    record = run(gateway, answer(body=json.dumps(body)))[0]
    assert json.loads(record["usage"]) == USAGE and record["model"] == "m"


def test_stream(gateway):
    pieces = chat_stream(tokens=20)
    record, status, _, body = run(gateway, stream(pieces))
    assert status == 200 and body == b"".join(pieces)
    assert json.loads(record["usage"]) == USAGE
    assert (record["sse"], record["done"], record["end"], record["events"]) == (True, True, "complete", 23)
    assert record["model"] == "gpt-4o-2024" and record["rid"] == "prov-1" and "body" not in record


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_stream_split_anywhere(gateway, size, newline):
    whole = b"".join(chat_stream(tokens=8)).replace(b"\n", newline)
    record, _, _, body = run(gateway, stream([whole[i:i + size] for i in range(0, len(whole), size)]))
    assert body == whole
    assert json.loads(record["usage"]) == USAGE
    assert (record["events"], record["done"], record["bytes"]) == (11, True, len(whole))


def test_stream_last_line_without_newline(gateway):
    whole = b"".join(chat_stream(tokens=2)).rstrip(b"\n")
    record = run(gateway, stream([whole]))[0]
    assert record["done"] is True and record["events"] == 5


def test_stream_without_usage_brings_the_text(gateway):
    pieces = chat_stream(usage=False)
    record = run(gateway, stream(pieces))[0]
    assert "usage" not in record and record["body"] == b"".join(pieces) and record["done"] is True


def test_stream_with_usage_in_every_chunk(gateway):
    pieces = [event(json.dumps({"choices": [], "usage": {"completion_tokens": i}})) for i in range(1, 6)]
    assert json.loads(run(gateway, stream(pieces))[0]["usage"]) == {"completion_tokens": 5}


def test_first_content_counts_not_first_event(gateway):
    role, *rest = chat_stream(tokens=3)
    record = run(gateway, stream([role, rest[-2], rest[-1]]))[0]
    assert record["events"] == 3 and record["ttft_ms"] == -1

    async def script(request, writer):
        writer.write(SSE_HEAD + chunk(role))
        await writer.drain()
        await asyncio.sleep(0.4)
        for piece in rest:
            writer.write(chunk(piece))
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def pause_was_seen():  # HAProxy may read all of it at once, when the machine is busy
        gateway.settle.forget()
        record = run(gateway, script)[0]
        assert 0 <= record["hdr_ms"] <= record["ttft_ms"] <= record["last_ms"]
        return record["ttft_ms"] - record["hdr_ms"] >= 300
    wait_for(pause_was_seen, what="the pause before the first content in the record")


def test_anthropic_stream(gateway):
    start = {"type": "message_start", "message": {"id": "m", "model": "claude-x", "usage": {"input_tokens": 25, "output_tokens": 1}}}
    pieces = [event(json.dumps(start), "message_start"), event('{"type":"ping"}', "ping"),
              event('{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}', "content_block_start"),
              event('{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}', "content_block_delta"),
              event('{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}', "message_delta"),
              event('{"type":"message_stop"}', "message_stop")]
    record = run(gateway, stream(pieces))[0]
    assert json.loads(record["usage2"]) == {"input_tokens": 25, "output_tokens": 1}
    assert json.loads(record["usage"]) == {"output_tokens": 15}
    assert record["model"] == "claude-x" and record["done"] is True and record["ttft_ms"] >= 0


def test_anthropic_stream_cut_before_its_end(gateway):
    start = {"type": "message_start", "message": {"id": "m", "model": "claude-x", "usage": {"input_tokens": 25, "output_tokens": 1}}}
    begun = event(json.dumps(start), "message_start")
    record = broken_off(gateway, SSE_HEAD + chunk(begun), begun)
    assert "usage" not in record and json.loads(record["usage2"])["input_tokens"] == 25 and record["end"] == "cut"


def test_responses_stream(gateway):
    answered = {"type": "response.completed", "response": {"id": "r", "model": "o9", "tools": [{"usage": {"input_tokens": 0}}],
                                                           "usage": {"input_tokens": 9, "output_tokens": 4}, "metadata": {}}}
    pieces = [event('{"type":"response.created","response":{"id":"r","model":"o9","usage":null}}', "response.created"),
              event('{"type":"response.output_text.delta","delta":"Hello"}', "response.output_text.delta"),
              event(json.dumps(answered), "response.completed")]
    record = run(gateway, stream(pieces))[0]
    assert json.loads(record["usage"]) == {"input_tokens": 9, "output_tokens": 4}
    assert record["model"] == "o9" and record["done"] is True and record["ttft_ms"] >= 0


def test_responses_final_event_of_2_mb(gateway):
    answered = {"type": "response.completed", "response": {"model": "o9", "output": "x" * 2_000_000, "usage": {"input_tokens": 9}}}
    record = run(gateway, stream([event(json.dumps(answered), "response.completed")]))[0]
    assert json.loads(record["usage"]) == {"input_tokens": 9} and record["done"] is True and record["events"] == 1


def test_error_event_inside_a_stream(gateway):
    pieces = chat_stream(tokens=2, usage=False, done=False) + [event('{"error":{"message":"overloaded","type":"server_error"}}')]
    record = run(gateway, stream(pieces))[0]
    assert record["failed"] is True and record["done"] is False and record["end"] == "complete"


@pytest.mark.parametrize("last", ['{"type":"error","error":{"type":"overloaded_error","message":"busy"}}',
                                  '{"id":"c1","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502}}',
                                  '{"type":"response.failed","response":{"error":{"code":"server_error"}}}', '{"error": "busy"}'])
def test_error_events_of_every_dialect(gateway, last):
    assert run(gateway, stream(chat_stream(tokens=2, usage=False, done=False) + [event(last)]))[0]["failed"] is True


def test_chunks_that_name_no_error(gateway):
    pieces = [event('{"choices":[{"index":0,"delta":{"content":"the \\"error\\": {"}}],"error":null}'),
              event('{"choices":[{"index":0,"delta":{"content":"x","error":{"code":1}}}],"error" : null}'), *chat_stream(tokens=1)]
    record = run(gateway, stream(pieces))[0]
    assert "failed" not in record and record["done"] is True


@pytest.mark.parametrize("body", ['{"error":{"message":"busy"}}', '{"error":"busy"}', '{"type":"error","error":{"type":"api_error"}}',
                                  '{"object":"error","message":"busy"}', '{"id":"r","error":{"code":"x"},"choices":[]}'])
def test_plain_error_with_status_200(gateway, body):
    record, status, _, got = run(gateway, answer(body=body))
    assert status == 200 and got == body.encode()
    assert record["failed"] is True and record["done"] is True and "body" not in record and "blamed" not in record


@pytest.mark.parametrize("word", ["content_filter", "context_length_exceeded", "invalid_request_error", "invalid_prompt", "content_policy_violation"])
def test_an_error_that_blames_the_request(gateway, word):
    error = json.dumps({"error": {"message": "no", "code": word}})
    gateway.allow(tap=1, cap=65536, stream=True)
    for n, script in enumerate((answer(body=error), stream([event(error)])), 1):
        gateway.providers["a"].script = script
        assert gateway.request()[2].decode().count(error) == 1
        record = gateway.record(n)
        assert record["blamed"] is True and record["failed"] is True


@pytest.mark.parametrize("body", ['{"error":null,"choices":[]}', '{"error":"","output":[]}', '{"output":[{"error":{}}],"error" : null}', "[]",
                                  '{"choices":[{"message":{}}],"error":{"code":1}}', '{"text":"\\"error\\":{}"}', '["error",{"error":{}}]'])
def test_plain_answer_that_tells_no_error(gateway, body):
    assert "failed" not in run(gateway, answer(body=body))[0]


def test_plain_of_3_mb(gateway):
    body = json.dumps({"object": "list", "data": [{"embedding": "A" * 3_000_000}], "model": "emb", "usage": {"prompt_tokens": 7}})
    record, status, _, got = run(gateway, answer(body=body), cap=1000)
    assert status == 200 and got == body.encode()
    assert json.loads(record["usage"]) == {"prompt_tokens": 7} and record["bytes"] == len(body) and "body" not in record


def test_stream_of_3_mb_without_usage(gateway):
    pieces = [event(CHUNK % json.dumps({"content": "w" * 1000})) for _ in range(2700)]
    record, _, _, got = run(gateway, stream(pieces), cap=1048576)
    assert got == b"".join(pieces)
    assert record["events"] == 2700 and record["body"] == got[:1048576] and record["body_cut"] is True


def open_request(gateway):
    s = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
    return s


def read_until(s, last):
    got = b""
    while last not in got:
        piece = s.recv(65536)
        assert piece, f"no {last} in {got}"
        got += piece
    return got


def broken_off(gateway, data, last):
    """The record of an answer that the provider breaks off after these bytes, once the client has seen their `last` part."""
    seen = threading.Event()
    gateway.providers["a"].script = cut(data, seen)
    gateway.allow(tap=1, cap=65536, stream=data.startswith(SSE_HEAD))
    with open_request(gateway) as s:
        got = read_until(s, last)
        seen.set()
        try:
            while piece := s.recv(65536):
                got += piece
        except ConnectionError:
            pass
    assert not got.endswith(b"0\r\n\r\n")
    return gateway.record()


def test_client_leaves_mid_stream(gateway):
    pieces = chat_stream(tokens=4)[:5]
    gateway.providers["a"].script = silence(SSE_HEAD + b"".join(map(chunk, pieces)))
    gateway.allow(tap=1, cap=65536, stream=True)
    with open_request(gateway) as s:
        read_until(s, b"t3 ")
    record = gateway.record()
    assert record["end"] == "cut" and record["done"] is False and record["events"] == 5
    assert record["body"] == b"".join(pieces) and record["bytes"] == len(record["body"])
    wait_for(lambda: gateway.providers["a"].closed_by_peer, what="the provider's connection closed")


def test_client_leaves_before_the_answer(gateway):
    gateway.providers["a"].script = silence()
    gateway.allow(tap=1, cap=1000)
    with open_request(gateway):
        wait_for(lambda: gateway.providers["a"].requests, what="the request at the provider")
    record = gateway.record()
    assert (record["st"], record["end"], record["done"], record["bytes"], record["hdr_ms"]) == (-1, "cut", False, 0, -1)


def test_provider_cuts_the_stream(gateway):
    pieces = chat_stream(tokens=40, usage=False, done=False)
    record = broken_off(gateway, SSE_HEAD + b"".join(map(chunk, pieces)), b"t39 ")
    assert record["end"] == "cut" and record["done"] is False and record["events"] == 41 and b"t39 " in record["body"]


def test_provider_cuts_a_plain_answer(gateway):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n"
    record = broken_off(gateway, head + b'{"model":"m",', b'{"model":"m",')
    assert record["end"] == "cut" and record["done"] is False and record["body"] == b'{"model":"m",'


def test_provider_error_with_retry_after(gateway):
    record, status, headers, _ = run(gateway, answer(429, '{"error":{"code":"rate_limit_exceeded"}}', extra=("retry-after: 17",)))
    assert status == 429 and headers["retry-after"] == "17"
    assert record["st"] == 429 and record["retry_after"] == "17" and b"rate_limit_exceeded" in record["body"]


def test_fallback_makes_one_record(gateway):
    gateway.providers["a"].script = drop()
    gateway.allow_with_fallback(tap=1, cap=1000)
    status, headers, _ = gateway.request()
    record = gateway.record()
    assert status == 200 and (record["grp"], record["att"], record["st"]) == ("b", 2, 200)
    # A second one that says something else would be noticed when the gateway ends.
    assert record["id"] == headers["x-tollgate-request-id"] and gateway.lines(1, headers)[0]["rc"] == "+1"


def test_provider_unreachable_makes_a_record(gateway):
    gateway.allow(pri="nowhere")
    assert gateway.request()[0] == 502
    record = gateway.record()
    assert record["st"] == 502 and record["grp"] == "nowhere"


def test_refusals_make_no_record_but_a_line(gateway):
    gateway.agent.decide = lambda args: {"ok": True, "deny": 429, "ebody": '{"error":{"message":"no"}}', "code": "budget"}
    status, headers, _ = gateway.request()
    assert status == 429
    line = gateway.line(1, headers)
    assert line["deny"] == "429" and line["code"] == "budget" and line["st"] == 429
    gateway.allow()
    allowed = gateway.request()[1]
    assert gateway.record_of(allowed) and [r["id"] for r in gateway.settle.records] == [allowed["x-tollgate-request-id"]]


# ---- the hand-off ----

def all_arrived(gateway, sent):
    wait_for(lambda: {r["id"] for r in gateway.settle.records} >= set(sent), what=f"{len(sent)} records")
    assert {r["id"] for r in gateway.settle.records} == set(sent), "records of nobody's request"
    # Over another connection it may: HAProxy may have given up the first before the acknowledgement was there.
    assert len(set(gateway.settle.taken)) == len(gateway.settle.taken), "sent twice over the connection on which it was acknowledged"


def test_receiver_down_then_up(gateway):
    gateway.loop.run(gateway.settle.stop())
    sent = [gateway.request()[1]["x-tollgate-request-id"] for _ in range(60)]
    gateway.loop.run(gateway.settle.start())
    all_arrived(gateway, sent)


def test_receiver_restarts_while_records_flow(gateway):
    gateway.settle.close_after = 7
    sent = [gateway.request()[1]["x-tollgate-request-id"] for _ in range(100)]
    all_arrived(gateway, sent)


def test_receiver_that_does_not_acknowledge(write_plan):  # noqa: F811
    with Gateway(write_plan, threads=1) as g:
        g.allow()
        g.settle.mute = True
        sent = [g.request()[1]["x-tollgate-request-id"] for _ in range(10)]
        wait_for(lambda: g.settle.swallowed, what="a record without an answer")
        g.loop.run(g.settle.stop())
        g.settle.mute = False
        g.loop.run(g.settle.start())
        all_arrived(g, sent)


def test_others_do_not_wait_for_one_whose_acknowledgement_is_late(write_plan):  # noqa: F811
    """Within one thread, whose records are else sent in their order."""
    with Gateway(write_plan, threads=1) as g:
        g.allow()

        def overtaken():  # on a busy machine the first may be sent again before the second is there
            g.settle.deaf_next = True
            first, second = (g.request()[1]["x-tollgate-request-id"] for _ in range(2))
            all_arrived(g, {r["id"] for r in g.settle.records} | {first, second})
            order = [id for _, id in g.settle.taken]
            return order.index(second) < order.index(first)
        wait_for(overtaken, what="a record to overtake one that waits")


def test_records_of_many_clients(gateway):
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(16) as pool:
        sent = list(pool.map(lambda _: gateway.request()[1]["x-tollgate-request-id"], range(400)))
    all_arrived(gateway, sent)


def leave_somewhere(gateway, r):
    """A client that leaves at once, or some while after one of the things that happen to its request; by chance."""
    seen, reached = len(gateway.agent.seen), len(gateway.providers["a"].requests)
    with open_request(gateway) as s:
        place = r.randrange(4)
        if place == 1:
            wait_for(lambda: len(gateway.agent.seen) > seen, what="the request at the agent")
        elif place == 2:
            wait_for(lambda: len(gateway.providers["a"].requests) > reached, what="the request at the provider")
        elif place == 3:
            read_until(s, b"HTTP/1.1 200 ")
        threading.Event().wait(r.random() * 0.01)


def test_every_request_that_reached_a_provider_has_a_record(gateway):
    """However early or late the client leaves. What never left HAProxy is told by its line: no server was chosen."""
    gateway.providers["a"].script = answer(delay=0.01)
    gateway.allow(tap=1, cap=1000)
    r = random.Random(5)
    for _ in range(120):
        leave_somewhere(gateway, r)

    def recorded():
        return {x["id"] for x in gateway.settle.records}

    def stayed():
        return {l["id"] for l in list(gateway.ring.lines) if l["t"] == 1 and l["srv"] == "<NOSRV>"}

    def reached():
        return {q.header("x-client-request-id") for q in gateway.providers["a"].requests}

    def settled():
        return {l["id"] for l in list(gateway.ring.lines) if l["t"] == 1} >= {a["id"] for a in gateway.agent.seen} <= stayed() | recorded()
    assert reached() and gateway.agent.seen
    wait_for(lambda: settled() and reached() <= recorded(), what="a line of each decision, and a record of each request at the provider")
    assert not stayed() & reached()
