"""The table of provider faults: what goes wrong, what a correct gateway does about it, and what client, provider and ledger must see.

Two stand-in providers, alpha first and beta second; without a word about beta it is well and answers with 12 tokens."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Sees:
    """Of one request. Exactly one of `whole` and `error` and `open_end` describes how it ended for the client."""

    tokens: int = 0  # delivered
    whole: bool = False  # told to be complete: finish reason, for streams [DONE]
    open_end: bool = False  # the client's SDK raised nothing, but nothing told it that the answer is complete
    error: str = ""  # exception of the openai SDK
    status: int = 200
    code: str = ""  # `code` (or type) of the error object
    provider: str | None = None  # x-tollgate-provider; None: not looked at
    attempt: str | None = None  # x-tollgate-attempt
    asked: tuple = (1, 0)  # times that alpha and beta were asked
    outcome: str = "ok"  # in the ledger
    known_by: str = "reported"


def alpha(tokens=12, **more):
    return Sees(**{"tokens": tokens, "whole": True, "provider": "alpha", "attempt": "1", **more})


def beta(**more):
    """The fallback's whole answer after alpha was asked once."""
    return Sees(**{"tokens": 12, "whole": True, "provider": "beta", "attempt": "2", "asked": (1, 1), **more})


def broken(tokens, code, outcome, **more):
    """Begun, given up, and told so in the stream."""
    return Sees(
        **{
            "tokens": tokens, "error": "APIError", "code": code, "provider": "alpha", "attempt": "1", "outcome": outcome,
            "known_by": "counted", **more,
        }
    )  # fmt: skip


def refused(error, status, code="", **more):
    """An HTTP error that costs nothing."""
    return Sees(**{"error": error, "status": status, "code": code, "outcome": "provider_error", "known_by": "none", **more})


# What was delivered is counted if HAProxy still showed it to the tap, else the hold is the cost.
CUT_PLAIN = tuple(Sees(error="APIConnectionError", status=0, outcome="cut", known_by=known) for known in ("counted", "bounded"))
# Both tries' limits end in the same moment as the waiting of the tier before: which of them speaks is chance.
SILENT = tuple(
    refused("InternalServerError", status, code, asked=(1, 1)) for status, code in ((504, "provider_timeout"), (502, "provider_error"))
)

STRAIGHT = beta(attempt="1", asked=(0, 1))  # alpha is left alone


@dataclasses.dataclass(frozen=True)
class Step:
    """A request, or several alike, and what is done before them."""

    sees: Sees | tuple  # a tuple: any of them
    alpha: dict | None = None  # behaviours from here on; None: as before
    beta: dict | None = None
    times: int = 1
    until: Callable | None = None  # (last Seen, breaker's state): repeated until it holds
    breaker: str = ""  # the state that is waited for first


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    correct: str
    alpha: dict
    plain: Sees | tuple | list | None = None  # None: the fault cannot be had there
    stream: Sees | tuple | list | None = None
    beta: dict = dataclasses.field(default_factory=dict)
    model: str = "chat-default"


def both(sees):
    return {"plain": sees, "stream": sees}


DOWN, WELL = {"status": 503}, {}
LATE = 300.0  # seconds: longer than any limit of the stack and any test
SLOW = 0.5

FLAPPING = [
    Step((beta(), STRAIGHT), alpha={"status": 500}, until=lambda seen, state: state == "open"),
    Step((beta(), STRAIGHT), until=lambda seen, state: seen.headers["x-tollgate-attempt"] == "1"),
    Step((alpha(provider="flapping"), STRAIGHT), alpha=WELL, until=lambda seen, state: state == "closed" and seen.headers["x-tollgate-attempt"] == "1"
         and seen.headers["x-tollgate-provider"] == "flapping"),
]  # fmt: skip

FAULTS = [
    Fault("429 with Retry-After", "fallback; alpha is left alone for as long as it says", {"status": 429, "retry_after": "40"},
          **both([Step(beta()), Step(STRAIGHT, times=2, breaker="open")]), model="watched"),
    Fault("429 without Retry-After", "fallback, each time", {"status": 429}, **both([Step(beta(), times=2)])),
    Fault("429 from both", "the second one's 429 with its Retry-After", {"status": 429, "retry_after": "7"},
          **both(refused("RateLimitError", 429, attempt="2", asked=(1, 1))), beta={"status": 429, "retry_after": "7"}),
    Fault("408 request timeout", "fallback", {"status": 408}, **both(beta())),
    Fault("500 once", "fallback once, then alpha again", {"status": 500, "times": 1}, **both([Step(beta()), Step(alpha())])),
    Fault("503 for a minute", "fallback; after three the breaker opens and alpha is left alone", DOWN,
          **both([Step(beta(), times=3), Step(STRAIGHT, times=6, breaker="open")]), model="watched"),
    Fault("flapping", "no client sees an error; alpha is left alone while it is down, and asked again when it is well", {},
          **both(FLAPPING), model="flapping"),
    Fault("connection refused", "fallback", {"refuse": True}, **both(beta(asked=(0, 1)))),
    Fault("closed before headers", "fallback", {"drop": True}, **both(beta())),
    Fault("reset before headers", "fallback", {"reset": True}, **both(beta())),
    Fault("half-close", "fallback", {"half_close": True}, **both(beta())),
    Fault("half a head", "fallback", {"partial_head": True}, **both(beta())),
    Fault("not HTTP", "fallback", {"junk": True}, **both(beta())),
    Fault("oversized headers", "fallback", {"big_header": 300_000}, **both(beta())),
    Fault("silence", "fallback after the first-byte limit", {"accept_delay": LATE}, **both(beta())),
    Fault("headers, then silence", "fallback after the first-byte limit", {"first_token_delay": LATE}, stream=beta()),
    Fault("headers, then silence in a plain answer", "fallback after the first-byte limit", {"stall_after": 0}, plain=beta()),
    Fault("headers, then the end in a plain answer", "fallback", {"cut_after": 0}, plain=beta()),
    Fault("first token too late", "fallback after the first-byte limit", {"opening_delay": LATE}, stream=beta()),
    Fault("slow first token", "waits: it is within the limit", {"opening_delay": SLOW, "accept_delay": SLOW}, **both(alpha())),
    Fault("error before the first token", "fallback", {"error_event_after": 0}, stream=beta()),
    Fault("error after five tokens", "the provider's error, as it came", {"error_event_after": 5},
          stream=broken(5, "", "stream_error")),
    Fault("errors after five tokens, again and again", "after three the breaker opens and alpha is left alone", {"error_event_after": 5},
          stream=[Step(broken(5, "", "stream_error", provider="watched"), times=3), Step(STRAIGHT, times=2, breaker="open")], model="watched"),
    Fault("cut after 40 of 60 tokens", "an error event; beta is not asked for what was begun", {"completion_tokens": 60, "cut_after": 40},
          stream=broken(40, "stream_interrupted", "cut")),
    Fault("cut, end told by closing", "an error event: the closing alone is no end", {"completion_tokens": 60, "cut_after": 40, "unframed": True},
          stream=broken(40, "stream_interrupted", "cut")),
    Fault("cut in a plain answer", "the connection ends, short of the length that was announced", {"cut_after": 200}, plain=CUT_PLAIN),
    Fault("end told by closing", "the whole answer", {"unframed": True}, stream=alpha()),
    Fault("end without a finish reason", "an error event", {"end_after": 5}, stream=broken(5, "stream_interrupted", "cut")),
    Fault("stall", "an error event after the stall limit", {"stall_after": 5}, stream=broken(5, "stream_stalled", "stalled")),
    Fault("stall in a plain answer", "the connection ends, short of the length that was announced", {"stall_after": 200}, plain=CUT_PLAIN),
    # The SDK hangs up at the malformed event: the rest of the answer may have come before that, or not.
    Fault("malformed event", "passed on as it came; billed as reported, or what was delivered to a client that leaves", {"malformed_after": 5},
          stream=tuple(Sees(tokens=5, error="JSONDecodeError", provider="alpha", attempt="1", outcome=outcome, known_by=known)
                       for outcome, known in (("ok", "reported"), ("client_abort", "counted")))),
    Fault("missing [DONE]", "no [DONE] is made up; the ledger says so", {"no_done": True},
          stream=Sees(tokens=12, open_end=True, provider="alpha", attempt="1", outcome="no_terminal_event")),
    Fault("no usage", "the whole answer; billed by its own tokens", {"no_usage": True}, **both(alpha(known_by="counted"))),
    Fault("context length", "passed on, not tried again", {"status": 400, "error_code": "context_length_exceeded"},
          **both(refused("BadRequestError", 400, "context_length_exceeded", attempt="1"))),
    Fault("content filter", "passed on, never routed around", {"status": 400, "error_code": "content_filter"},
          **both(refused("BadRequestError", 400, "content_filter", attempt="1"))),
    Fault("context length, a larger model behind", "fallback", {"status": 400, "error_code": "context_length_exceeded"}, **both(beta()),
          model="roomy"),
    Fault("content filter, a larger model behind", "passed on, never routed around", {"status": 400, "error_code": "content_filter"},
          **both(refused("BadRequestError", 400, "content_filter", attempt="1")), model="roomy"),
    Fault("both down", "the second one's error", DOWN, **both(refused("InternalServerError", 500, attempt="2", asked=(1, 1))),
          beta={"status": 500}),
    Fault("both refused", "an error of the gateway's own", {"refuse": True},
          **both(refused("InternalServerError", 502, "provider_error", asked=(0, 0))), beta={"refuse": True}),
    Fault("both silent", "an error of the gateway's own", {"accept_delay": LATE},
          **both(SILENT), beta={"accept_delay": LATE}),
    Fault("wrong content type", "passed on: its body is what was asked for", {"content_type": "text/html"}, **both(alpha())),
    Fault("cut with a wrong content type", "the connection ends: no end is made up", {"content_type": "text/html", "completion_tokens": 60, "cut_after": 40},
          stream=tuple(Sees(tokens=40, error="APIConnectionError", provider="alpha", attempt="1", outcome="cut", known_by=known)
                       for known in ("counted", "bounded"))),
    Fault("stall with a wrong content type", "the connection ends", {"content_type": "text/html", "stall_after": 5},
          stream=Sees(tokens=5, error="APIConnectionError", provider="alpha", attempt="1", outcome="cut", known_by="counted")),
    Fault("gzip despite identity", "plain: passed on, costs its hold as nobody can count it; stream: fallback, as nobody can watch it",
          {"gzip": True}, plain=alpha(known_by="bounded"), stream=beta()),
    Fault("200 with an error body", "fallback", {"error_in_200": True}, **both(beta())),
    Fault("200 with an error body, again and again", "fallback; after three the breaker opens and alpha is left alone", {"error_in_200": True},
          **both([Step(beta(), times=3), Step(STRAIGHT, times=2, breaker="open")]), model="watched"),
    Fault("200 with a content filter's error", "passed on, never routed around; stream: with status 400", {"error_in_200": True, "error_code": "content_filter"},
          plain=Sees(open_end=True, code="content_filter", provider="alpha", attempt="1", outcome="error_body", known_by="none"),
          stream=refused("BadRequestError", 400, "content_filter", attempt="1")),
    Fault("200 with an error body, both", "plain: passed on, costs nothing; stream: an HTTP error, as a reader of events would see nothing",
          {"error_in_200": True}, plain=Sees(open_end=True, code="server_error", provider="beta", attempt="2", asked=(1, 1), outcome="error_body",
                                             known_by="none"),
          stream=refused("InternalServerError", 503, "provider_error", asked=(1, 1)), beta={"error_in_200": True}),
    Fault("name not in the DNS", "fallback", {}, **both(beta(asked=(0, 1))), model="unknown-name"),
    Fault("certificate expired", "fallback; nothing is sent to alpha", {}, **both(beta(asked=(0, 1))), model="expired"),
    Fault("certificate well", "alpha answers: it is the date that counts above", {}, **both(alpha(provider="fresh")), model="fresh"),
]  # fmt: skip
