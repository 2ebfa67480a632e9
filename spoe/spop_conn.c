#include "spop_conn_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_FRAME_SIZE = 4 * 1024 * 1024 + 64 * 1024,
    DEFAULT_IN_FLIGHT = 1024,
    DEFAULT_IN_FLIGHT_BYTES = 64 * 1024 * 1024,
    DEFAULT_OUTPUT = 4 * 1024 * 1024,
};

void spop_bug(const char *condition, const char *file, int line)
{
    fprintf(stderr, "spoe: bug at %s:%d: not %s\n", file, line, condition);
    abort();
}

struct spop_conn *spop_conn_new(const struct spop_conn_options *options, const struct spop_conn_handler *handler, void *user)
{
    struct spop_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return NULL;
    struct spop_conn_options *o = &conn->options;
    if (options != NULL)
        *o = *options;
    if (o->max_frame_size == 0)
        o->max_frame_size = DEFAULT_FRAME_SIZE;
    if (o->max_frame_size < SPOP_MAX_FRAME_SIZE_MIN)
        o->max_frame_size = SPOP_MAX_FRAME_SIZE_MIN;
    if (o->max_in_flight == 0)
        o->max_in_flight = DEFAULT_IN_FLIGHT;
    if (o->max_in_flight_bytes == 0)
        o->max_in_flight_bytes = DEFAULT_IN_FLIGHT_BYTES;
    if (o->max_output == 0)
        o->max_output = DEFAULT_OUTPUT;
    if (o->memory.alloc == NULL)
        o->memory = (struct spop_memory){ .alloc = malloc, .free = free };
    conn->in.memory = conn->waiting.memory = conn->out.memory = &o->memory;
    conn->handler = handler;
    conn->user = user;
    conn->frame_limit = o->max_frame_size;
    conn->first_free = NO_SLOT;
    return conn;
}

void spop_conn_free(struct spop_conn *conn)
{
    if (conn == NULL)
        return;
    SPOP_MUST(!conn->consuming && !conn->building);
    buffer_free(&conn->in);
    buffer_free(&conn->waiting);
    buffer_free(&conn->out);
    free(conn->slots);
    free(conn);
}

/* --- ends --- */

static bool is_over(const struct spop_conn *conn)
{
    return conn->state >= SPOP_CONN_CLOSING;
}

void conn_drop_input(struct spop_conn *conn)
{
    buffer_reset(&conn->in);
    buffer_reset(&conn->waiting);
    conn->skip = 0;
}

void conn_end(struct spop_conn *conn, const struct spop_close *why, int sent)
{
    if (is_over(conn))
        return;
    if (sent >= 0)
        (void)disconnect_queue(&conn->out, (unsigned)sent, why->reason); /* without memory it ends without a word */
    conn->state = conn->out.len != 0 ? SPOP_CONN_CLOSING : SPOP_CONN_CLOSED;
    if (conn->handler->closing != NULL)
        conn->handler->closing(conn->user, conn, why);
    if (!conn->consuming)
        conn_drop_input(conn);
}

void conn_fail(struct spop_conn *conn, unsigned code, const char *reason)
{
    struct spop_close why = { .cause = SPOP_CLOSE_PROTOCOL_ERROR, .code = code, .reason = reason };
    conn_end(conn, &why, (int)code);
}

void conn_fail_memory(struct spop_conn *conn, const char *reason)
{
    struct spop_close why = { .cause = SPOP_CLOSE_NO_MEMORY, .code = SPOP_NO_RESOURCES, .reason = reason };
    conn_end(conn, &why, SPOP_NO_RESOURCES);
}

void conn_finish_if_drained(struct spop_conn *conn)
{
    /* While input is being handled the next frame of the same read may still want an answer. */
    if (!conn->draining || conn->consuming || conn->in_flight != 0 || is_over(conn))
        return;
    struct spop_close why = { .cause = SPOP_CLOSE_SHUTDOWN, .code = SPOP_NORMAL, .reason = "shutting down" };
    conn_end(conn, &why, SPOP_NORMAL);
}

void spop_conn_shutdown(struct spop_conn *conn)
{
    if (conn->state == SPOP_CONN_HELLO) {
        struct spop_close why = { .cause = SPOP_CLOSE_SHUTDOWN, .code = SPOP_NORMAL, .reason = "shutting down" };
        conn_end(conn, &why, -1);
        return;
    }
    conn->draining = true;
    conn_finish_if_drained(conn);
}

void spop_conn_close(struct spop_conn *conn, unsigned code, const char *reason)
{
    SPOP_MUST(!conn->building);
    struct spop_close why = { .cause = SPOP_CLOSE_OWNER, .code = code, .reason = reason };
    conn_end(conn, &why, (int)(code & INT32_MAX));
}

void spop_conn_eof(struct spop_conn *conn)
{
    SPOP_MUST(!conn->consuming && !conn->building);
    buffer_reset(&conn->out);
    struct spop_close why = { .cause = SPOP_CLOSE_EOF, .code = SPOP_NORMAL, .reason = "closed by HAProxy" };
    conn_end(conn, &why, -1);
    conn->state = SPOP_CONN_CLOSED;
}

/* --- frames --- */

static void on_hello(struct spop_conn *conn, struct spop_bytes payload)
{
    struct hello_fields f = hello_parse(payload, conn->options.max_frame_size);
    if (f.status != SPOP_NORMAL) {
        conn_fail(conn, f.status, f.reason);
        return;
    }
    if (!hello_queue(&conn->out, f.hello.max_frame_size)) {
        conn_fail_memory(conn, "no memory for AGENT-HELLO");
        return;
    }
    size_t n = f.hello.engine_id.n < ENGINE_ID_MAX ? f.hello.engine_id.n : ENGINE_ID_MAX;
    if (n != 0)
        memcpy(conn->engine_id, f.hello.engine_id.p, n);
    conn->engine_id_n = (uint8_t)n;
    conn->frame_limit = f.hello.max_frame_size;
    conn->negotiated = true;
    conn->state = SPOP_CONN_OPEN;
    if (conn->handler->hello != NULL)
        conn->handler->hello(conn->user, conn, &f.hello);
    if (f.hello.healthcheck) {
        struct spop_close why = { .cause = SPOP_CLOSE_HEALTHCHECK, .code = SPOP_NORMAL, .reason = "healthcheck answered" };
        conn_end(conn, &why, -1);
    }
}

static void on_disconnect(struct spop_conn *conn, struct spop_bytes payload)
{
    struct spop_close why = { .cause = SPOP_CLOSE_PEER, .reason = "HAProxy disconnected" };
    if (disconnect_parse(payload, &why.code, &why.peer_message) != 0)
        conn_fail(conn, SPOP_INVALID_FRAME, "DISCONNECT is truncated or malformed");
    else
        conn_end(conn, &why, SPOP_NORMAL);
}

static void on_notify(struct spop_conn *conn, const struct spop_frame *frame, bool own)
{
    if (!spop_messages_valid(frame->payload)) {
        conn_fail(conn, SPOP_INVALID_FRAME, "NOTIFY is truncated or malformed");
        return;
    }
    struct spop_notify n = { .stream_id = frame->stream_id, .frame_id = frame->frame_id, .payload = frame->payload };
    /* a small frame in a large kept buffer is cheaper copied than given away */
    n.cheap_take = own && conn->in.len > conn->in.cap / 2;
    if (!slot_open(conn, frame, &n.ticket)) {
        conn_fail_memory(conn, "no memory for a NOTIFY");
        return;
    }
    conn->handler->notify(conn->user, conn, &n);
}

void *spop_notify_take(struct spop_conn *conn, struct spop_notify *n)
{
    if (n->cheap_take) {
        void *block = conn->in.p;
        conn->in = (struct byte_buffer){ .memory = &conn->options.memory };
        n->cheap_take = false;
        return block;
    }
    char *copy = conn->options.memory.alloc(n->payload.n != 0 ? n->payload.n : 1);
    if (copy == NULL)
        return NULL;
    if (n->payload.n != 0)
        memcpy(copy, n->payload.p, n->payload.n);
    n->payload.p = copy;
    return copy;
}

void conn_handle_frame(struct spop_conn *conn, struct spop_bytes bytes, bool own)
{
    struct spop_frame frame;
    if (spop_frame_parse(bytes, &frame) != 0) {
        conn_fail(conn, SPOP_INVALID_FRAME, "malformed stream-id or frame-id");
        return;
    }
    bool no_ids = frame.stream_id == 0 && frame.frame_id == 0;
    if (frame.type == SPOP_NOTIFY) {
        /* stream-id alone may be 0: HAProxy 2.x counts its streams from there */
        if (no_ids)
            conn_fail(conn, SPOP_INVALID_FRAME, "NOTIFY without stream-id and frame-id");
        else
            on_notify(conn, &frame, own);
    } else if (!no_ids) {
        conn_fail(conn, SPOP_INVALID_FRAME, "HELLO or DISCONNECT with a stream-id or frame-id");
    } else if (frame.type == SPOP_HAPROXY_HELLO) {
        on_hello(conn, frame.payload);
    } else {
        on_disconnect(conn, frame.payload);
    }
}

/* --- what the owner asks --- */

bool spop_conn_output(const struct spop_conn *conn, const void **p, size_t *n)
{
    *p = conn->out.len != 0 ? conn->out.p + conn->out.head : NULL;
    *n = conn->out.len;
    return *n != 0;
}

void spop_conn_sent(struct spop_conn *conn, size_t n)
{
    SPOP_MUST(n <= conn->out.len && !conn->building);
    buffer_drop_front(&conn->out, n);
    if (conn->state == SPOP_CONN_CLOSING && conn->out.len == 0)
        conn->state = SPOP_CONN_CLOSED;
}

enum spop_conn_state spop_conn_state(const struct spop_conn *conn)
{
    return conn->state;
}

bool spop_conn_negotiated(const struct spop_conn *conn)
{
    return conn->negotiated;
}

uint32_t spop_conn_max_frame_size(const struct spop_conn *conn)
{
    return conn->frame_limit;
}

struct spop_bytes spop_conn_engine_id(const struct spop_conn *conn)
{
    return (struct spop_bytes){ .p = conn->engine_id, .n = conn->engine_id_n };
}
