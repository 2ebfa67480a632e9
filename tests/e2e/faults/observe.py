"""One request of an SDK through the gateway, and everything that could be seen of it by the client."""

import dataclasses
import gzip
import json

import httpx2 as httpx
import openai

from provider.dialects import WORDS
from machine import PATIENCE


def text_of(tokens):
    """What a stand-in provider writes in so many tokens."""
    return "".join((" " if i else "") + WORDS[i % len(WORDS)] for i in range(tokens))


@dataclasses.dataclass
class Seen:
    status: int = 0  # of the answer; 0 when none came
    error: str = ""  # name of the exception the SDK raised
    code: str = ""  # `code` of the error object, in the body or in the stream
    text: str = ""
    finished: bool = False  # the client was told that the answer is whole: a finish reason, and for streams a [DONE] too
    headers: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        if self.error:
            told = " ".join(filter(None, (self.error, str(self.status or ""), self.code)))
            return f"{len(self.text.split())} tokens, then {told}" if self.text else told
        return f"{self.status}, {len(self.text.split())} tokens{'' if self.finished else ', no end'}"


class Recorder(httpx.HTTPTransport):
    """Keeps the bytes of the answer: the SDK does not tell whether a stream had its [DONE]."""

    def __init__(self):
        super().__init__()
        self.got, self.compressed = [], False

    def handle_request(self, request):
        response = super().handle_request(request)
        self.compressed = response.headers.get("content-encoding") == "gzip"
        response.stream = Copy(response.stream, self.got)
        return response

    def body(self):
        data = b"".join(self.got)
        return gzip.decompress(data) if self.compressed else data


class Copy(httpx.SyncByteStream):
    def __init__(self, stream, got):
        self.stream, self.got = stream, got

    def __iter__(self):
        for piece in self.stream:
            self.got.append(piece)
            yield piece

    def close(self):
        self.stream.close()


def code_in(error):
    body = getattr(error, "body", None)
    return str(body.get("code") or "") if isinstance(body, dict) else ""


def ask(stack, token, model, text, stream):
    """Asks once, never again, and reads to the end. An end that does not come in PATIENCE is a TimeoutError of the test."""
    seen, recorder = Seen(), Recorder()
    with (
        httpx.Client(transport=recorder, timeout=PATIENCE) as http,
        openai.OpenAI(base_url=stack.gateway + "/v1", api_key=token, max_retries=0, timeout=PATIENCE, http_client=http) as sdk,
    ):
        try:
            raw = sdk.chat.completions.with_raw_response.create(
                model=model, stream=stream, messages=[{"role": "user", "content": text}]
            )
            seen.status, seen.headers = raw.status_code, dict(raw.headers)
            if stream:
                read_stream(raw.parse(), seen, recorder)
            else:
                read_plain(raw, seen)
        except openai.APITimeoutError as error:
            raise TimeoutError(f"the client was left alone for {PATIENCE} s") from error
        except (openai.APIError, httpx.HTTPError, ValueError) as error:
            response = getattr(error, "response", None)
            if response is not None:
                seen.status, seen.headers = response.status_code, dict(response.headers)
            seen.error, seen.code, seen.finished = type(error).__name__, code_in(error), False
    return seen


def read_stream(events, seen, recorder):
    reason = None
    for event in events:
        for choice in event.choices or []:
            seen.text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    seen.finished = reason is not None and recorder.body().endswith(b"data: [DONE]\n\n")


def read_plain(raw, seen):
    value = json.loads(raw.content)
    error = value.get("error")
    if error:
        seen.code = str(error.get("code") or error.get("type") or "error")
        return
    seen.text = value["choices"][0]["message"]["content"]
    seen.finished = value["choices"][0]["finish_reason"] is not None
