/* Settlement records: what HAProxy's Lua tap says of one response, as one msgpack map (haproxy/lua/tollgate.lua writes it).
 *
 * The unpacker takes a byte stream and gives records one by one; it owns the bytes, and a record's slices live until the next call.
 * Memory is bounded: a record larger than the limit, or bytes that are no msgpack map with an id, end the stream with a reason. Unknown
 * keys are skipped, a known key of the wrong type is an error, whatever is absent has the value its comment names. */
#ifndef TOLLGATE_SETTLE_RECORD_H
#define TOLLGATE_SETTLE_RECORD_H

#include "base/slice.h"

#include <stdint.h>

struct settle_record {
    struct slice id;             /* required: HAProxy's unique-id */
    struct slice group;          /* "grp": provider group that served; empty: none did */
    int64_t attempt;             /* "att": 1 primary, 2 fallback; 0 unknown */
    int64_t status;              /* "st": HTTP status the client got; -1 none */
    bool sse;
    bool done;                   /* JSON body complete; stream: [DONE], message_stop, response.completed seen */
    bool cut;                    /* "end" is "cut": the response did not end as HTTP wants it to */
    bool failed;                 /* an error event was seen in the stream */
    int64_t header_ms, ttft_ms, last_ms; /* since the request; ttft: first content event; -1 unknown */
    int64_t bytes, events;       /* of the response */
    struct slice usage;          /* raw JSON of the last usage object; empty: none was seen */
    struct slice usage2;         /* Anthropic: the usage of message_start */
    struct slice model;          /* as the response names it */
    struct slice body;           /* only when no usage was found or the response was cut */
    bool body_cut;               /* body is only the beginning */
    struct slice provider_request_id; /* "rid" */
    struct slice retry_after;
    struct slice content_encoding; /* "cenc" */
    int64_t dropped;             /* records the tap had to give up since it was loaded */
};

struct settle_unpacker;

/* `max_record` bytes of one record; 0: 8 MiB. NULL when memory is out. */
struct settle_unpacker *settle_unpacker_new(size_t max_record) __attribute__((warn_unused_result));
/* NULL is allowed. */
void settle_unpacker_free(struct settle_unpacker *u);
/* Appends. False: memory is out or the stream has already ended with an error. */
bool settle_unpacker_feed(struct settle_unpacker *u, const void *p, size_t n) __attribute__((warn_unused_result));
/* 1: *out is the next record; 0: more bytes are needed; -1: the stream is broken, settle_unpacker_error says why: close it. */
int settle_unpacker_next(struct settle_unpacker *u, struct settle_record *out) __attribute__((warn_unused_result));
/* Static text; "" when there was no error. */
const char *settle_unpacker_error(const struct settle_unpacker *u);

#endif
