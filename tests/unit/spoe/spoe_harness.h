/* A connection under test with what it said and did, and the bytes a peer would send. Buffers are of exact size, so that a sanitizer
 * sees any read past them. */
#ifndef SPOE_HARNESS_H
#define SPOE_HARNESS_H

#include "spoe_vectors.h"
#include "spop_conn_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TICKETS = 4096 };

struct peer {
    struct spop_conn *conn;
    bool answer_now;                 /* ACK inside the callback: 01 03 02 "ok" true */
    bool take;                       /* take every payload */
    bool close_in_notify;
    unsigned hellos, notifies, closings;
    struct spop_hello hello;
    struct spop_close close;
    struct spop_ticket tickets[TICKETS];
    uint64_t stream_id, frame_id;    /* of the last NOTIFY */
    bool last_was_cheap;
    uint8_t payload[4096];           /* of the last NOTIFY, cut */
    size_t payload_n;
    char peer_message[128];
    uint8_t *out;                    /* all that was sent */
    size_t out_n;
};

static inline void answer(struct peer *t, unsigned i)
{
    struct spop_ack ack;
    spop_conn_ack_begin(t->conn, t->tickets[i], &ack);
    assert_true(spop_ack_set_bool(&ack, SPOP_TXN, SPOP_BYTES("ok"), true));
    spop_conn_ack_end(t->conn, &ack);
}

static inline void on_test_hello(void *user, struct spop_conn *conn, const struct spop_hello *hello)
{
    struct peer *t = user;
    (void)conn;
    t->hellos++;
    t->hello = *hello;
    t->hello.engine_id.p = NULL;
}

static inline void on_test_notify(void *user, struct spop_conn *conn, struct spop_notify *n)
{
    struct peer *t = user;
    unsigned i = t->notifies++;
    if (i < TICKETS)
        t->tickets[i] = n->ticket;
    t->stream_id = n->stream_id;
    t->frame_id = n->frame_id;
    t->last_was_cheap = n->cheap_take;
    void *block = NULL;
    if (t->take) {
        block = spop_notify_take(conn, n);
        assert_non_null(block);
    }
    if (t->close_in_notify)
        spop_conn_close(conn, SPOP_UNKNOWN_ERROR, "test");
    t->payload_n = n->payload.n;
    memcpy(t->payload, n->payload.p, n->payload.n < sizeof t->payload ? n->payload.n : sizeof t->payload);
    free(block);
    if (t->answer_now)
        answer(t, i);
}

static inline void on_test_closing(void *user, struct spop_conn *conn, const struct spop_close *why)
{
    struct peer *t = user;
    (void)conn;
    t->closings++;
    t->close = *why;
    snprintf(t->peer_message, sizeof t->peer_message, "%.*s", (int)why->peer_message.n,
             why->peer_message.n != 0 ? why->peer_message.p : "");
    t->close.peer_message.p = NULL;
}

static inline struct peer *peer_new_with(const struct spop_conn_options *options)
{
    static const struct spop_conn_handler handler = { on_test_hello, on_test_notify, on_test_closing };
    struct peer *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->answer_now = true;
    t->conn = spop_conn_new(options, &handler, t);
    assert_non_null(t->conn);
    return t;
}

static inline struct peer *peer_new(void)
{
    return peer_new_with(NULL);
}

static inline void peer_free(struct peer *t)
{
    spop_conn_free(t->conn);
    free(t->out);
    free(t);
}

/* The owner's write. */
static inline void flush(struct peer *t)
{
    const void *p;
    size_t n;
    while (spop_conn_output(t->conn, &p, &n)) {
        t->out = realloc(t->out, t->out_n + n);
        assert_non_null(t->out);
        memcpy(t->out + t->out_n, p, n);
        t->out_n += n;
        spop_conn_sent(t->conn, n);
    }
}

static inline void feed(struct peer *t, const void *bytes, size_t n)
{
    uint8_t *exact = malloc(n != 0 ? n : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, n);
    spop_conn_feed(t->conn, exact, n);
    free(exact);
    flush(t);
}

static inline void feed_in_pieces(struct peer *t, const void *bytes, size_t n, size_t piece)
{
    for (size_t at = 0; at < n; at += piece)
        feed(t, (const uint8_t *)bytes + at, piece < n - at ? piece : n - at);
}

/* An open connection, its AGENT-HELLO taken off the output. */
static inline struct peer *peer_open_with(const struct spop_conn_options *options)
{
    struct peer *t = peer_new_with(options);
    feed(t, BYTES(HELLO_26));
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_OPEN);
    t->out_n = 0;
    return t;
}

static inline struct peer *peer_open(void)
{
    return peer_open_with(NULL);
}

/* Appends a frame to b; returns its size. */
static inline size_t put_frame(uint8_t *b, unsigned type, uint32_t flags, uint64_t sid, uint64_t fid, const void *payload, size_t n)
{
    size_t at = 9;
    at += spop_varint_encode(b + at, sid);
    at += spop_varint_encode(b + at, fid);
    memcpy(b + at, payload, n);
    at += n;
    uint32_t words[2] = { __builtin_bswap32((uint32_t)(at - 4)), __builtin_bswap32(flags) };
    memcpy(b, &words[0], 4);
    b[4] = (uint8_t)type;
    memcpy(b + 5, &words[1], 4);
    return at;
}

/* The status code in the AGENT-DISCONNECT that `frame` is; -1 when it is something else. */
static inline int disconnect_code(const uint8_t *frame, size_t n)
{
    struct spop_frame f;
    unsigned code;
    struct spop_bytes message;
    if (n < 4 || spop_frame_parse((struct spop_bytes){ (const char *)frame + 4, n - 4 }, &f) != 0)
        return -1;
    if (f.type != SPOP_AGENT_DISCONNECT || f.flags != SPOP_FIN || f.stream_id != 0 || f.frame_id != 0)
        return -1;
    if (disconnect_parse(f.payload, &code, &message) != 0 || message.n == 0)
        return -1;
    return (int)code;
}

/* All output is one DISCONNECT with this code, and the connection is over. */
#define assert_refused(t, want)                                                                                        \
    do {                                                                                                               \
        assert_int_equal(disconnect_code((t)->out, (t)->out_n), want);                                                 \
        assert_int_equal(__builtin_bswap32(*(uint32_t *)(t)->out) + 4, (t)->out_n);                                    \
        assert_int_equal(spop_conn_state((t)->conn), SPOP_CONN_CLOSED);                                                \
        assert_int_equal((t)->closings, 1);                                                                            \
        assert_int_equal((t)->close.cause, SPOP_CLOSE_PROTOCOL_ERROR);                                                 \
        assert_int_equal((t)->close.code, want);                                                                       \
    } while (0)

#define assert_output(t, literal)                                                                                      \
    do {                                                                                                               \
        assert_int_equal((t)->out_n, sizeof(literal) - 1);                                                             \
        assert_memory_equal((t)->out, literal, sizeof(literal) - 1);                                                   \
    } while (0)

#endif
