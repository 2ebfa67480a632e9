/* What the client was really given, from a captured response body: for counting when no usage was reported.
 *
 * Reads event streams (text/event-stream, cut anywhere, also inside an event) and plain JSON (cut anywhere) of OpenAI chat, completions and
 * Responses and of Anthropic messages; the shape is seen from the body. Text is unescaped, joined for each choice in order of arrival.
 * A stream's last event counts as far as it was received: text up to the cut is text delivered. Linear time; memory is at most the body
 * once more, in the arena. Never fails on bad input: what cannot be read is not text, and `odd` says so. */
#ifndef TOLLGATE_SETTLE_DELIVERED_H
#define TOLLGATE_SETTLE_DELIVERED_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdint.h>

enum delivered_kind { DELIVERED_TEXT, DELIVERED_REASONING, DELIVERED_TOOL, DELIVERED_KINDS };

struct delivered_text {
    uint32_t choice;            /* index of the choice; 0 for Responses and Anthropic */
    enum delivered_kind kind;
    struct slice text;          /* UTF-8, lone surrogates as U+FFFD; may end inside a sequence when the capture was cut there */
};

struct delivered {
    const struct delivered_text *texts; /* at most one for each choice and kind, none empty */
    size_t text_count;
    uint32_t choices;           /* choices seen; 0: none */
    uint32_t tool_calls;        /* calls begun: each costs a few tokens beyond its text */
    bool terminal;              /* [DONE], message_stop, response.completed/incomplete/failed, or a whole JSON body */
    bool finished;              /* terminal, or a finish reason was told */
    bool chat;                  /* a member `choices` was there, empty or not */
    bool error;                 /* an error object or event came in-band */
    bool odd;                   /* something could not be read as JSON before the end of the body */
    bool cut;                   /* the body ends inside an event or a value */
    struct slice usage;         /* raw JSON of the last usage object; empty: none. For Anthropic the last one; see first_usage */
    struct slice first_usage;   /* message_start's when another followed: usage_merge(first, last) */
    struct slice model;         /* as the response names it, unescaped */
    struct slice type;          /* member `type` of the last event or of the body, as it stands there; empty: none */
};

/* `sse` says how the response was typed. 0, or -1 when memory is out. */
int delivered_read(struct slice body, bool sse, struct arena *arena, struct delivered *out) __attribute__((warn_unused_result));

#endif
