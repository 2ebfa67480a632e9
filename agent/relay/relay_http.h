/* As much of HTTP/1.1 (RFC 9112) as stands between two tiers of one HAProxy: heads, and the chunked coding of response bodies.
 *
 * Pure functions over bytes. HAProxy has parsed and rewritten every message before it comes here, so what is not well-formed is an
 * error, never repaired. Slices point into the input. */
#ifndef TOLLGATE_RELAY_HTTP_H
#define TOLLGATE_RELAY_HTTP_H

#include "base/slice.h"

#include <stdint.h>

#define RELAY_HEAD_MAX ((size_t)128 << 10) /* tune.maxrewrite and the largest headers let through fit well */

/* What is of interest in a request's head. */
struct relay_request {
    size_t size;        /* of the head, with its empty line */
    struct slice path;  /* of the target, without the query */
    struct slice id;    /* x-tg-id: the request's id */
    bool larger;        /* x-tg-l: the second try's target takes longer prompts */
    bool again;         /* x-tg-a: the second try is for few reasons, none of which shows in events */
    bool pause;         /* x-tg-w: the second try may wait for as long as the provider asked */
    struct slice groups[2]; /* x-tg-pg, x-tg-fg: provider groups of the first and the second try */
};

struct relay_response {
    size_t size;
    int status;
    bool event_stream;  /* content-type: text/event-stream */
    bool json;          /* content-type: application/json */
    bool chunked;       /* transfer-encoding: chunked */
    bool coded;         /* content-encoding: anything but identity */
    int64_t length;     /* content-length; -1: none is named */
};

/* 1: the head is whole and *out filled; 0: more bytes are needed; -1: this is no HTTP/1 head, or one beyond RELAY_HEAD_MAX. */
int relay_request_parse(struct slice bytes, struct relay_request *out) __attribute__((warn_unused_result));
int relay_response_parse(struct slice bytes, struct relay_response *out) __attribute__((warn_unused_result));

enum relay_chunk_state { RELAY_CHUNK_SIZE, RELAY_CHUNK_DATA, RELAY_CHUNK_DATA_END, RELAY_CHUNK_TRAILER, RELAY_CHUNK_DONE, RELAY_CHUNK_BAD };

/* Decoder of the chunked coding. Zeroed memory is its beginning. */
struct relay_chunks {
    enum relay_chunk_state state;
    uint64_t left;      /* of the chunk */
    unsigned line;      /* bytes of the line being read */
    bool digits, extension;
};

/* Takes bytes off the front of *in until some data is found (returned), or all is used up, or the body is over (state DONE) or broken
 * (state BAD): then empty. Trailers are dropped. */
struct slice relay_chunks_next(struct relay_chunks *c, struct slice *in);

#endif
