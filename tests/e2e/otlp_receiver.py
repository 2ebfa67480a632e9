"""A strict OTLP/HTTP receiver: takes the JSON encoding of traces, and nothing that a collector could stumble over.

The rules are those of opentelemetry-proto's docs/specification.md: lower-case hexadecimal ids, 64-bit integers as decimal strings,
enumerations as numbers, no unknown field. What it was sent is decoded by protobuf's own parser into opentelemetry-proto's messages."""

import base64
import gzip
import http.server
import json
import re
import threading

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from machine import PATIENCE, wait_for

IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}
LONG = {"startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "intValue"}


def strict(value):
    """The same document as protobuf's JSON has it (ids in base64); fails on what OTLP's JSON forbids."""
    if isinstance(value, list):
        return [strict(part) for part in value]
    if not isinstance(value, dict):
        assert value is not None
        return value
    done = {}
    for name, part in value.items():
        if name in IDS:
            assert re.fullmatch(rf"[0-9a-f]{{{IDS[name]}}}", part) and set(part) != {"0"}, (name, part)
            part = base64.b64encode(bytes.fromhex(part)).decode()
        elif name in LONG:
            assert isinstance(part, str) and re.fullmatch(r"-?[0-9]+", part), (name, part)
        elif name in ("kind", "code"):
            assert isinstance(part, int), (name, part)
        done[name] = strict(part)
    return done


def no_duplicates(pairs):
    assert len({name for name, _ in pairs}) == len(pairs), pairs
    return dict(pairs)


class Span:
    """A span with its attributes as a dictionary."""

    def __init__(self, span, resource):
        self.span, self.resource = span, resource
        self.name, self.kind, self.status, self.flags = span.name, span.kind, span.status, span.flags
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.state, self.start, self.end = span.trace_state, span.start_time_unix_nano, span.end_time_unix_nano
        keys = [pair.key for pair in span.attributes]
        assert len(set(keys)) == len(keys), keys
        self.attributes = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}

    def __getitem__(self, key):
        return self.attributes[key]

    def __contains__(self, key):
        return key in self.attributes

    def __repr__(self):
        return f"<{self.name} {self.trace} {self.id} {self.attributes}>"


class Receiver:
    """`reply` is what the next requests are answered with: (status, headers, body). `gate` is closed while nobody is answered."""

    GOOD = (200, {"content-type": "application/json"}, b'{"partialSuccess":{}}')

    def __init__(self, port=0):
        self.requests, self.problems, self.lock = [], [], threading.Lock()
        self.reply, self.gate = self.GOOD, threading.Event()
        self.gate.set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status, headers, text = receiver.take(self.path, self.headers, body)
                receiver.gate.wait(PATIENCE)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/traces"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def take(self, path, headers, body):
        try:
            assert path == "/v1/traces" and headers["content-type"] == "application/json", (path, headers)
            assert headers.get("content-encoding") in (None, "gzip")
            if "content-encoding" in headers:
                packed, body = body, gzip.decompress(body)
                assert len(packed) < len(body)
            document = json.loads(body, object_pairs_hook=no_duplicates)
            request = json_format.ParseDict(strict(document), ExportTraceServiceRequest(), ignore_unknown_fields=False)
            spans = [
                Span(span, {pair.key: pair.value.string_value for pair in group.resource.attributes})
                for group in request.resource_spans
                for scope in group.scope_spans
                for span in scope.spans
            ]
            assert spans
        except Exception as problem:  # noqa: BLE001 what is wrong with a request is for the test to say
            self.problems.append((problem, body))
            return 400, {}, b""
        reply = self.reply
        with self.lock:
            self.requests.append((reply[0], dict(headers.items()), spans))
        return reply

    def spans(self, condition=lambda span: True, status=200):
        """Spans of answered requests that fit, in order."""
        assert not self.problems, self.problems
        with self.lock:
            return [span for answered, _, spans in self.requests for span in spans if answered == status and condition(span)]

    def wait(self, condition, count=1):
        """Exactly `count` spans that fit."""
        found = wait_for(lambda: (s := self.spans(condition)) and len(s) >= count and s, f"{count} spans")
        assert len(found) == count, found
        return found

    def stop(self):
        self.gate.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
