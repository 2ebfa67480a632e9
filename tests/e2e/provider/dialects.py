"""The bodies a provider sends: chat completions, responses, embeddings and messages, whole and as event streams.

Everything is a function of the request and the Behaviour, so the same request gets the same bytes."""

import json

WORDS = (
    " the river runs past a small house and then turns to the north where old trees stand in long rows and people walk"
    " every day with their dogs"
).split(" ")[1:]


class Ask:
    """What the provider understood of a request."""

    def __init__(self, kind, body, deployment=None):
        self.kind = kind
        self.json = json.loads(body) if body else {}
        self.model = deployment or self.json.get("model", "unknown")
        self.stream = bool(self.json.get("stream"))
        self.ceiling = next(
            (
                self.json[k]
                for k in ("max_completion_tokens", "max_tokens", "max_output_tokens")
                if self.json.get(k) is not None
            ),
            None,
        )
        options = self.json.get("stream_options") or {}
        self.include_usage = bool(options.get("include_usage"))
        self.choices = self.json.get("n") or 1
        self.text = " ".join(self._texts())
        self.messages = len(self.json.get("messages") or [1])

    def _texts(self):
        body = self.json
        items = body.get("messages") or body.get("input") or body.get("prompt") or []
        for item in [items] if isinstance(items, str) else items:
            content = item.get("content", "") if isinstance(item, dict) else item
            if isinstance(content, list):
                yield from (part.get("text", "") for part in content if isinstance(part, dict))
            elif isinstance(content, str):
                yield content


class Answer:
    """The figures and the words of one answer."""

    def __init__(self, ask, behaviour, number):
        b = behaviour
        self.ask, self.id = ask, f"{number:08x}"
        self.prompt = b.prompt_tokens if b.prompt_tokens is not None else 3 * ask.messages + len(ask.text.split())
        self.cached = b.cached_tokens
        wanted = b.completion_tokens + b.reasoning_tokens
        self.cut_by_ceiling = ask.ceiling is not None and wanted > ask.ceiling and not b.ignore_ceiling
        total = ask.ceiling if self.cut_by_ceiling else wanted
        self.reasoning = min(b.reasoning_tokens, total)
        self.output = total
        self.words = [(" " if i else "") + WORDS[i % len(WORDS)] for i in range(total - self.reasoning)]
        self.with_usage = not b.no_usage
        self.cost = b.cost
        self.image_tokens = b.image_tokens

    @property
    def text(self):
        return "".join(self.words)

    def chat_usage(self):
        n = self.ask.choices
        return {
            **({} if self.cost is None else {"cost": self.cost}),
            "prompt_tokens": self.prompt,
            "completion_tokens": self.output * n,
            "total_tokens": self.prompt + self.output * n,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning * n,
                "audio_tokens": 0,
                **({} if self.image_tokens < 0 else {"image_tokens": self.image_tokens * n}),
            },
        }

    def finish(self):
        return "length" if self.cut_by_ceiling else "stop"

    # ---- chat completions
    def chat_whole(self):
        body = {
            "id": "chatcmpl-" + self.id,
            "object": "chat.completion",
            "created": 1700000000,
            "model": self.ask.model,
            "choices": [
                {
                    "index": i,
                    "message": {"role": "assistant", "content": self.text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": self.finish(),
                }
                for i in range(self.ask.choices)
            ],
        }
        if self.with_usage:
            body["usage"] = self.chat_usage()
        return body

    def chat_events(self):
        """(is_content, json) pairs in order; the last one carries usage if the request asked for it."""

        def chunk(choices, **more):
            head = {
                "id": "chatcmpl-" + self.id,
                "object": "chat.completion.chunk",
                "created": 1700000000,
                "model": self.ask.model,
                "choices": choices,
            }
            if self.ask.include_usage and self.with_usage:
                head["usage"] = None
            head.update(more)
            return head

        yield False, chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        for word in self.words:
            yield True, chunk([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
        yield False, chunk([{"index": 0, "delta": {}, "finish_reason": self.finish()}])
        if self.ask.include_usage and self.with_usage:
            yield False, chunk([], usage=self.chat_usage())

    # ---- responses
    def responses_whole(self, status="completed"):
        body = {
            "id": "resp_" + self.id,
            "object": "response",
            "created_at": 1700000000,
            "status": status,
            "model": self.ask.model,
            "output": [
                {
                    "type": "message",
                    "id": "msg_" + self.id,
                    "role": "assistant",
                    "status": status,
                    "content": [{"type": "output_text", "text": self.text, "annotations": []}],
                }
            ],
        }
        if self.with_usage:
            body["usage"] = {
                "input_tokens": self.prompt,
                "input_tokens_details": {"cached_tokens": self.cached},
                "output_tokens": self.output,
                "output_tokens_details": {"reasoning_tokens": self.reasoning},
                "total_tokens": self.prompt + self.output,
            }
        return body

    def responses_events(self):
        start = {
            "id": "resp_" + self.id,
            "object": "response",
            "status": "in_progress",
            "model": self.ask.model,
            "output": [],
        }
        yield False, {"type": "response.created", "sequence_number": 0, "response": start}
        number = 0
        for number, word in enumerate(self.words, 1):
            yield (
                True,
                {
                    "type": "response.output_text.delta",
                    "sequence_number": number,
                    "item_id": "msg_" + self.id,
                    "output_index": 0,
                    "content_index": 0,
                    "delta": word,
                },
            )
        yield False, {"type": "response.completed", "sequence_number": number + 1, "response": self.responses_whole()}

    # ---- messages (Anthropic)
    def messages_usage(self):
        return {
            "input_tokens": self.prompt - self.cached,
            "cache_read_input_tokens": self.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": self.output,
        }

    def messages_whole(self):
        body = {
            "id": "msg_" + self.id,
            "type": "message",
            "role": "assistant",
            "model": self.ask.model,
            "content": [{"type": "text", "text": self.text}],
            "stop_reason": "max_tokens" if self.cut_by_ceiling else "end_turn",
            "stop_sequence": None,
        }
        if self.with_usage:
            body["usage"] = self.messages_usage()
        return body

    def messages_events(self):
        opened = dict(self.messages_whole(), content=[], stop_reason=None)
        if self.with_usage:
            opened["usage"] = dict(self.messages_usage(), output_tokens=1)
        yield False, {"type": "message_start", "message": opened}
        yield False, {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        for word in self.words:
            yield True, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        yield False, {"type": "content_block_stop", "index": 0}
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
        if self.with_usage:
            end["usage"] = {"output_tokens": self.output}
        yield False, end
        yield False, {"type": "message_stop"}

    # ---- embeddings, legacy completions
    def embeddings_whole(self):
        asked = self.ask.json.get("input")
        count = len(asked) if isinstance(asked, list) and asked and not isinstance(asked[0], int) else 1
        body = {
            "object": "list",
            "model": self.ask.model,
            "data": [{"object": "embedding", "index": i, "embedding": [0.5, -0.25, 0.125]} for i in range(count)],
        }
        if self.with_usage:
            body["usage"] = {"prompt_tokens": self.prompt, "total_tokens": self.prompt}
        return body

    def completions_whole(self):
        body = {
            "id": "cmpl-" + self.id,
            "object": "text_completion",
            "created": 1700000000,
            "model": self.ask.model,
            "choices": [{"index": 0, "text": self.text, "logprobs": None, "finish_reason": self.finish()}],
        }
        if self.with_usage:
            body["usage"] = self.chat_usage()
        return body

    def whole(self):
        return getattr(self, self.ask.kind + "_whole")()

    def events(self):
        return getattr(self, self.ask.kind + "_events")()

    def encode_event(self, event):
        data = b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
        named = self.ask.kind in ("responses", "messages")
        return b"event: " + event["type"].encode() + b"\n" + data if named else data

    def error_body(self, code=None):
        """What stands in place of an answer, with the status of one."""
        error = {"error": {"message": "simulated", "type": "server_error", **({"code": code} if code else {})}}
        return {"type": "error", **error} if self.ask.kind == "messages" else error

    def error_event(self, code=None):
        """What a provider says in the middle of a stream when it cannot go on."""
        if self.ask.kind == "responses" and code:
            error = {"code": code, "message": "simulated"}
            return self.encode_event({"type": "response.failed", "sequence_number": 1, "response": {"status": "failed", "error": error}})
        if self.ask.kind == "messages":
            event = {"type": "error", "error": {"type": "overloaded_error", "message": "simulated overload"}}
        else:
            event = {"error": {"message": "simulated overload", "type": "server_error", "param": None, "code": code}}
        named = b"event: error\n" if self.ask.kind == "messages" else b""
        return named + b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"

    def done(self):
        return b"data: [DONE]\n\n" if self.ask.kind in ("chat", "completions") else b""


def kind_of(path):
    """(kind, deployment) of a request path, or (None, None)."""
    plain = {
        "/v1/chat/completions": "chat",
        "/v1/responses": "responses",
        "/v1/embeddings": "embeddings",
        "/v1/messages": "messages",
        "/v1/completions": "completions",
    }
    if path in plain:
        return plain[path], None
    if path.startswith("/openai/v1/"):  # Amazon Bedrock's OpenAI-compatible endpoint
        return plain.get(path[len("/openai") :]), None
    parts = path.split("/")
    if path.startswith("/openai/deployments/") and len(parts) >= 5:
        return plain.get("/v1/" + "/".join(parts[4:])), parts[3]
    return None, None
