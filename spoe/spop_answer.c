/* Unanswered NOTIFYs and their answers. */
#include "spop_conn_private.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 16, ACK_ROOM_AT_FIRST = 512 };

static bool slots_grow(struct spop_conn *conn)
{
    uint32_t count = conn->slot_count != 0 ? conn->slot_count * 2 : FIRST_SLOTS;
    struct slot *slots = realloc(conn->slots, count * sizeof *slots);
    if (slots == NULL)
        return false;
    for (uint32_t i = conn->slot_count; i < count; i++) {
        slots[i].generation = 0;
        slots[i].next_free = i + 1 < count ? i + 1 : NO_SLOT;
    }
    conn->first_free = conn->slot_count;
    conn->slots = slots;
    conn->slot_count = count;
    return true;
}

bool slot_open(struct spop_conn *conn, const struct spop_frame *frame, struct spop_ticket *ticket)
{
    if (conn->first_free == NO_SLOT && !slots_grow(conn))
        return false;
    struct slot *s = &conn->slots[conn->first_free];
    *ticket = (struct spop_ticket){ .slot = conn->first_free, .generation = ++s->generation };
    conn->first_free = s->next_free;
    s->payload = frame->payload.n;
    s->ids_n = (uint8_t)frame->ids.n;
    memcpy(s->ids, frame->ids.p, frame->ids.n);
    conn->in_flight++;
    conn->in_flight_bytes += s->payload;
    return true;
}

static struct slot *slot_of(const struct spop_conn *conn, struct spop_ticket ticket)
{
    SPOP_MUST(ticket.slot < conn->slot_count);
    struct slot *s = &conn->slots[ticket.slot];
    SPOP_MUST(s->generation == ticket.generation && (s->generation & 1) != 0); /* answered exactly once */
    return s;
}

static void slot_close(struct spop_conn *conn, struct spop_ticket ticket)
{
    struct slot *s = slot_of(conn, ticket);
    s->generation++;
    s->next_free = conn->first_free;
    conn->first_free = ticket.slot;
    conn->in_flight--;
    conn->in_flight_bytes -= s->payload;
}

static struct spop_bytes slot_ids(const struct slot *s)
{
    return (struct spop_bytes){ .p = (const char *)s->ids, .n = s->ids_n };
}

/* The length prefix does not count against max-frame-size. */
static size_t room_for(const struct spop_conn *conn, const struct slot *s)
{
    return conn->frame_limit - (spop_header_size(slot_ids(s)) - SPOP_LENGTH_BYTES);
}

size_t spop_conn_ack_room(const struct spop_conn *conn, struct spop_ticket ticket)
{
    const struct slot *s = slot_of(conn, ticket);
    return conn->state == SPOP_CONN_OPEN ? room_for(conn, s) : 0;
}

static void ack_attach(struct spop_conn *conn, struct spop_ack *ack)
{
    const struct byte_buffer *out = &conn->out;
    ack->p = buffer_end(out) + conn->build_header;
    ack->cap = out->cap - out->head - out->len - conn->build_header;
}

static bool ack_grow(struct spop_ack *ack, size_t need)
{
    struct spop_conn *conn = ack->grow_context;
    size_t built = conn->build_header + ack->len;
    /* what is built lies behind the end of the output: count it while the buffer may move */
    conn->out.len += built;
    bool ok = buffer_reserve(&conn->out, need - ack->len);
    conn->out.len -= built;
    ack_attach(conn, ack);
    return ok;
}

void spop_conn_ack_begin(struct spop_conn *conn, struct spop_ticket ticket, struct spop_ack *ack)
{
    const struct slot *s = slot_of(conn, ticket);
    SPOP_MUST(!conn->building);
    conn->building = true;
    conn->build_ticket = ticket;
    conn->build_header = spop_header_size(slot_ids(s));
    *ack = (struct spop_ack){ .limit = room_for(conn, s) };
    if (conn->state != SPOP_CONN_OPEN)
        return;
    conn->build_failed = !buffer_reserve(&conn->out, conn->build_header + ACK_ROOM_AT_FIRST);
    if (conn->build_failed)
        return; /* the actions go nowhere, ack_end tells */
    ack->grow = ack_grow;
    ack->grow_context = conn;
    ack_attach(conn, ack);
}

void spop_conn_ack_end(struct spop_conn *conn, struct spop_ack *ack)
{
    SPOP_MUST(conn->building);
    conn->building = false;
    bool failed = conn->build_failed;
    conn->build_failed = false;
    if (conn->state == SPOP_CONN_OPEN && !failed) {
        const struct slot *s = slot_of(conn, conn->build_ticket);
        SPOP_MUST(ack->len <= room_for(conn, s));
        spop_header_encode(buffer_end(&conn->out), SPOP_ACK, slot_ids(s), ack->len);
        conn->out.len += conn->build_header + ack->len;
    }
    slot_close(conn, conn->build_ticket);
    if (failed)
        conn_fail_memory(conn, "no memory for an ACK");
    conn_finish_if_drained(conn);
}

int spop_conn_ack_send(struct spop_conn *conn, struct spop_ticket ticket, const void *actions, size_t n)
{
    const struct slot *s = slot_of(conn, ticket);
    SPOP_MUST(!conn->building);
    bool failed = false;
    if (conn->state == SPOP_CONN_OPEN) {
        if (n > room_for(conn, s))
            return -1;
        size_t header = spop_header_size(slot_ids(s));
        struct spop_bytes body = { .p = actions, .n = n };
        failed = !buffer_reserve(&conn->out, header + n);
        if (!failed)
            conn->out.len += spop_frame_encode(buffer_end(&conn->out), header + n, SPOP_ACK, slot_ids(s), body);
    }
    slot_close(conn, ticket);
    if (failed)
        conn_fail_memory(conn, "no memory for an ACK");
    conn_finish_if_drained(conn);
    return 0;
}

void spop_conn_ack_drop(struct spop_conn *conn, struct spop_ticket ticket)
{
    SPOP_MUST(!conn->building);
    slot_close(conn, ticket);
    conn_finish_if_drained(conn);
}

unsigned spop_conn_in_flight(const struct spop_conn *conn)
{
    return conn->in_flight;
}
