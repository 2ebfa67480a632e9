/* A connection fed with any bytes in any pieces: whatever comes, the two ways of feeding it agree, every answer is a well-formed frame
 * within the negotiated size, every NOTIFY is answered once, and an ended connection stays silent.
 *
 * Input: byte 0 seeds the piece sizes, byte 1 the options and the order of answers, the rest is what HAProxy sends. */
#include "spop_conn.h"

#include <stdlib.h>
#include <string.h>

enum { PENDING = 8 };

struct run {
    struct spop_conn *conn;
    bool take, late;
    unsigned notifies, answers, closings;
    struct spop_ticket pending[PENDING];
    unsigned pending_n;
    uint8_t *out;
    size_t out_n;
    unsigned seen; /* a checksum over all that was handed out */
};

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void mix(struct run *r, struct spop_bytes b)
{
    for (size_t i = 0; i < b.n; i++)
        r->seen = r->seen * 31 + (unsigned char)b.p[i];
}

static void answer(struct run *r, struct spop_ticket ticket)
{
    struct spop_ack ack;
    char value[200];
    memset(value, 'v', sizeof value);
    spop_conn_ack_begin(r->conn, ticket, &ack);
    require(spop_ack_set_bool(&ack, SPOP_TXN, SPOP_BYTES("ok"), true));
    (void)spop_ack_set_string(&ack, SPOP_TXN, SPOP_BYTES("v"), (struct spop_bytes){ value, r->answers % sizeof value });
    (void)spop_ack_set_int(&ack, SPOP_TXN, SPOP_BYTES("i"), -(int64_t)r->answers);
    spop_conn_ack_end(r->conn, &ack);
    r->answers++;
}

static void on_notify(void *user, struct spop_conn *conn, struct spop_notify *n)
{
    struct run *r = user;
    void *block = r->take ? spop_notify_take(conn, n) : NULL;
    struct spop_messages it = spop_messages_make(n->payload);
    struct spop_bytes name;
    struct spop_value value;
    while (spop_next_message(&it, &name)) {
        mix(r, name);
        while (spop_next_arg(&it, &name, &value)) {
            mix(r, name);
            mix(r, value.bytes);
            r->seen = r->seen * 31 + (unsigned)value.integer + value.boolean;
        }
    }
    require(!it.cursor.bad);
    free(block);
    r->notifies++;
    if (!r->late) {
        answer(r, n->ticket);
        return;
    }
    if (r->pending_n == PENDING)
        answer(r, r->pending[--r->pending_n]); /* the newest before the oldest */
    r->pending[r->pending_n++] = n->ticket;
}

static void on_closing(void *user, struct spop_conn *conn, const struct spop_close *why)
{
    struct run *r = user;
    (void)conn;
    r->closings++;
    require(why->reason != NULL);
    mix(r, why->peer_message);
    r->seen = r->seen * 31 + why->code;
}

static void collect(struct run *r, size_t at_most)
{
    const void *p;
    size_t n;
    if (!spop_conn_output(r->conn, &p, &n))
        return;
    n = n < at_most ? n : at_most;
    r->out = realloc(r->out, r->out_n + n + 1);
    require(r->out != NULL);
    memcpy(r->out + r->out_n, p, n);
    r->out_n += n;
    spop_conn_sent(r->conn, n);
}

/* All output is whole frames of the agent's types, FIN set, none over the limit, DISCONNECT only at the end. */
static void check_output(const struct run *r)
{
    struct spop_cursor c = spop_cursor_make((struct spop_bytes){ (const char *)r->out, r->out_n });
    unsigned acks = 0;
    bool ended = false;
    while (spop_cursor_left(&c) != 0) {
        uint32_t length = spop_read_u32(&c);
        struct spop_bytes bytes = spop_read_bytes(&c, length);
        struct spop_frame f;
        require(!c.bad && !ended && spop_frame_parse(bytes, &f) == 0 && f.flags == SPOP_FIN);
        require(length <= spop_conn_max_frame_size(r->conn));
        require(f.type == SPOP_AGENT_HELLO || f.type == SPOP_AGENT_DISCONNECT || f.type == SPOP_ACK);
        ended = f.type == SPOP_AGENT_DISCONNECT;
        acks += f.type == SPOP_ACK;
    }
    require(acks <= r->notifies);
}

static void run(struct run *r, const uint8_t *data, size_t size, unsigned seed, unsigned mode, bool pieces)
{
    static const struct spop_conn_handler handler = { .notify = on_notify, .closing = on_closing };
    struct spop_conn_options options = { .max_frame_size = (mode & 1) ? 300 : 0, .max_in_flight = (mode & 2) ? 3 : 0 };
    r->conn = spop_conn_new(&options, &handler, r);
    require(r->conn != NULL);
    r->take = (mode & 4) != 0;
    r->late = pieces && (mode & 8) != 0;
    for (size_t at = 0; at < size;) {
        seed = seed * 1103515245 + 12345;
        size_t n = pieces ? 1 + (seed >> 16) % ((seed >> 8) % 4 == 0 ? 700 : 9) : size;
        if (n > size - at)
            n = size - at;
        uint8_t *exact = malloc(n);
        require(exact != NULL);
        memcpy(exact, data + at, n);
        spop_conn_feed(r->conn, exact, n);
        free(exact);
        at += n;
        if (r->pending_n != 0 && (seed >> 20) % 3 == 0)
            answer(r, r->pending[--r->pending_n]);
        if (!pieces || (seed >> 24) % 4 == 0)
            collect(r, pieces ? (seed >> 10) % 60 : SIZE_MAX);
        (void)spop_conn_resume(r->conn);
    }
    do {
        while (r->pending_n != 0)
            answer(r, r->pending[--r->pending_n]);
        collect(r, SIZE_MAX);
    } while (spop_conn_resume(r->conn) || r->pending_n != 0);
    collect(r, SIZE_MAX);
    require(spop_conn_in_flight(r->conn) == 0 && r->answers == r->notifies);
    require(spop_conn_state(r->conn) != SPOP_CONN_CLOSING && r->closings <= 1);
    require((spop_conn_state(r->conn) == SPOP_CONN_CLOSED) == (r->closings == 1));
    check_output(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct run whole = { .take = false }, pieces = { .take = false };
    run(&whole, data + 2, size - 2, data[0], data[1], false);
    run(&pieces, data + 2, size - 2, data[0], data[1], true);
    require(whole.notifies == pieces.notifies && whole.seen == pieces.seen);
    require(spop_conn_state(whole.conn) == spop_conn_state(pieces.conn));
    if ((data[1] & 8) == 0) /* answered at once: then the very bytes agree */
        require(whole.out_n == pieces.out_n && (whole.out_n == 0 || memcmp(whole.out, pieces.out, whole.out_n) == 0));
    if (spop_conn_state(whole.conn) == SPOP_CONN_OPEN)
        spop_conn_shutdown(whole.conn);
    spop_conn_eof(pieces.conn);
    collect(&whole, SIZE_MAX);
    require(spop_conn_state(pieces.conn) == SPOP_CONN_CLOSED);
    spop_conn_free(whole.conn);
    spop_conn_free(pieces.conn);
    free(whole.out);
    free(pieces.out);
    return 0;
}
