/* Settlement records: what HAProxy's Lua tap saw of one response, one msgpack map for each.
 *
 * The reader takes bytes as they come from the socket and gives back whole records; msgpack-c's streaming unpacker does the framing.
 * Memory is bounded by the record limit: a longer record, nesting deeper than 16, more than 4096 values or bytes that are no msgpack map
 * are errors after which the connection must be closed. Keys may come in any order; all but "id" may be missing; unknown keys are skipped;
 * a known key of the wrong type makes its record unusable. */
#ifndef TOLLGATE_SETTLE_SETTLE_RECORD_H
#define TOLLGATE_SETTLE_SETTLE_RECORD_H

#include "base/slice.h"

#include <stdint.h>

#define SETTLE_RECORD_VERSION 1
#define SETTLE_RECORD_MAX ((size_t)8 << 20)

enum settle_end { SETTLE_END_UNKNOWN, SETTLE_END_COMPLETE, SETTLE_END_CUT };

/* Slices live until the next call of settle_reader_next, settle_reader_take or settle_reader_free. */
struct settle_record {
    struct slice id;          /* "id": HAProxy's unique-id, never empty */
    struct slice group;       /* "grp": provider group that served */
    int64_t attempt;          /* "att": 1, 2; 0 unknown */
    int64_t status;           /* "st": HTTP status the client got; 0 unknown */
    bool sse;                 /* "sse": an event stream */
    bool done;                /* "done": JSON body complete, or [DONE] / message_stop seen */
    enum settle_end end;      /* "end": "complete" or "cut" */
    int64_t headers_ms, first_ms, last_ms; /* "hdr_ms", "ttft_ms", "last_ms": since the request began; -1 unknown */
    int64_t bytes, events;    /* "bytes", "events" */
    struct slice usage;       /* "usage": raw JSON of the last usage object; empty: none found */
    struct slice first_usage; /* "usage2": message_start's, when another object followed (Anthropic) */
    bool failed;              /* "failed": an error event in the stream, or an error object as the whole plain answer */
    bool blamed;              /* "blamed": that error is the request's own: a content filter, a prompt that is too long */
    int64_t dropped;          /* "dropped": records the tap had to give up since the one before */
    struct slice model;       /* "model": as the response names it */
    struct slice body;        /* "body": captured response body */
    bool body_cut;            /* "body_cut": body is not all of it */
    struct slice provider_id; /* "rid": the provider's x-request-id */
    struct slice retry_after; /* "retry_after": header value */
    struct slice coding;      /* "cenc": content coding of the body; empty: none */
};

struct settle_reader;

/* max_record 0: SETTLE_RECORD_MAX. NULL when memory is out. */
struct settle_reader *settle_reader_new(size_t max_record) __attribute__((warn_unused_result));
void settle_reader_free(struct settle_reader *r);
/* Room for at least `want` bytes to read into, then how many were read. NULL when memory is out. Never more than the limit is held
 * as long as settle_reader_next is called until it returns 0 after each take. */
char *settle_reader_room(struct settle_reader *r, size_t want) __attribute__((warn_unused_result));
void settle_reader_take(struct settle_reader *r, size_t n);
/* 1: *out is the next record; 0: more bytes are needed; -1: the stream is broken for good, *why is a static phrase; -2: a whole record that
 * cannot be used (no id, wrong type, other version): *why says so, out->id is set if it had one, and the stream goes on. Acknowledge it, or
 * the tap sends it for ever. */
int settle_reader_next(struct settle_reader *r, struct settle_record *out, const char **why) __attribute__((warn_unused_result));
/* A record has begun and is not whole (for telling a clean close from a cut one). */
bool settle_reader_pending(const struct settle_reader *r);

#endif
