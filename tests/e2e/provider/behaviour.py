"""What a stand-in provider does with a request: defaults, faults, and the figures it reports.

A listener has one Behaviour, set through the control API. A prompt may override single fields for its own request with
`[[field=value field=value]]`, so that concurrent tests need no shared state."""

import dataclasses
import re

OVERRIDE = re.compile(r"\[\[([^\]]*)\]\]")


@dataclasses.dataclass
class Behaviour:
    # Figures. None for prompt_tokens: three a message plus one a word, which never exceeds the real tokenizers' count.
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    completion_tokens: int = 12
    reasoning_tokens: int = 0
    image_tokens: int = -1  # of the completion's; -1: not told
    cost: float | None = None  # what the usage claims to have cost, USD
    # Pace, in seconds.
    accept_delay: float = 0.0  # between the whole request and the first byte of the response head
    first_token_delay: float = 0.0  # between the head and the first event
    opening_delay: float = 0.0  # between the empty opening event and the first content
    token_interval: float = 0.0  # between events
    # Waits for the control API to open the gate of this number: before the response head, or after so many content events of a stream.
    gate: int = 0
    gate_after: int = -1
    # Whole Authorization values that are let in; None: all. Anything else gets 401.
    accept: list | None = None
    # Faults. `times` > 0: only that many requests suffer, then the listener is well again.
    times: int = 0
    refuse: bool = False  # the listening socket is closed
    drop: bool = False  # close without a byte of response
    reset: bool = False  # the same with a TCP reset
    status: int = 0  # answer with this status and an error body
    retry_after: str = ""
    error_code: str = ""  # `code` of the error body
    partial_head: bool = False  # half a response head, then close
    cut_after: int = -1  # close after so many content events (streams) or bytes (plain)
    stall_after: int = -1  # say nothing more after so many content events
    malformed_after: int = -1  # one event that is not JSON after so many content events
    no_usage: bool = False
    no_done: bool = False
    gzip: bool = False
    content_type: str = ""
    error_in_200: bool = False  # status 200 with an error object as the body
    request_id: str = ""  # the x-request-id of its answers, instead of its own
    big_header: int = 0  # a response header of so many bytes
    ignore_ceiling: bool = False  # writes more tokens than it was allowed
    end_after: int = -1  # ends the stream in good order after so many content events, as if that were all
    error_event_after: int = -1  # an error event after so many content events, then the end
    half_close: bool = False  # closes its sending side without a byte, and keeps reading
    junk: bool = False  # answers with something that is not HTTP
    unframed: bool = False  # a stream that neither says its length nor comes in chunks: the end of the connection is its end

    FAULTS = (
        "drop",
        "reset",
        "status",
        "partial_head",
        "cut_after",
        "stall_after",
        "malformed_after",
        "no_usage",
        "no_done",
        "gzip",
        "content_type",
        "error_in_200",
        "big_header",
        "accept_delay",
        "first_token_delay",
        "opening_delay",
        "ignore_ceiling",
        "end_after",
        "error_event_after",
        "half_close",
        "junk",
        "unframed",
    )

    @classmethod
    def of(cls, fields):
        known = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ValueError(f"unknown behaviour {unknown}; known: {sorted(known)}")
        return cls(**fields)

    def for_request(self, prompt):
        """A copy with the prompt's own overrides."""
        found = OVERRIDE.search(prompt)
        if not found:
            return dataclasses.replace(self)
        changes = {}
        for pair in found.group(1).split():
            name, _, value = pair.partition("=")
            if not hasattr(self, name):
                raise ValueError(f"unknown behaviour {name!r} in the prompt")
            changes[name] = float(value) if "." in value else int(value)
        return dataclasses.replace(self, **changes)

    def spend(self):
        """Count one faulty request; well again after `times` of them."""
        if self.times > 0:
            self.times -= 1
            if self.times == 0:
                clean = Behaviour()
                for name in self.FAULTS:
                    setattr(self, name, getattr(clean, name))
