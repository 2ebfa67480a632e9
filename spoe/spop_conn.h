/* One SPOP connection seen from the agent: bytes in, events and bytes out (HAProxy doc/SPOE.txt 3).
 *
 * The owner has the socket. It feeds what it read, answers NOTIFYs now or later in any order, and writes what is queued, once
 * per turn of its loop. This side frames, checks every rule of the protocol, negotiates, keeps count of what is unanswered, and
 * turns every violation into the right AGENT-DISCONNECT and an end. It has no clock: deadlines are the owner's (see below).
 * A connection belongs to one thread. Failing allocations end the connection with status 13, never the process.
 *
 * The owner's loop, per readable socket:
 *     n = read(fd, shared_buffer); n > 0 ? spop_conn_feed(conn, buffer, n) : spop_conn_eof(conn);
 *   and at the end of the turn, for every connection touched (fed, writable, or answered):
 *     spop_conn_resume(conn);
 *     while (spop_conn_output(conn, &p, &n)) { k = write(fd, p, n); if (k <= 0) break; spop_conn_sent(conn, k); }
 *     if (spop_conn_state(conn) == SPOP_CONN_CLOSED) close(fd); and free when spop_conn_in_flight(conn) is 0
 *     watch for reading only while spop_conn_wants_input(conn), for writing only while output is left
 *
 * A close right after the last write may reset the connection and lose the DISCONNECT while input is unread in the socket: where that
 * matters, shutdown(fd, SHUT_WR) and read on to EOF for a moment.
 *
 * Owner's deadlines: not spop_conn_negotiated some seconds after accept: close, no log (checkers that only connect are
 * normal); output unsent, or spop_conn_state CLOSING, for long: close; spop_conn_partial() unchanged for long: close. */
#ifndef SPOP_CONN_H
#define SPOP_CONN_H

#include "spop_codec.h"

struct spop_conn;

enum spop_conn_state {
    SPOP_CONN_HELLO,   /* waiting for HAPROXY-HELLO */
    SPOP_CONN_OPEN,    /* negotiated; also while a shutdown waits for its last answers */
    SPOP_CONN_CLOSING, /* nothing more is read or answered; output is left to flush */
    SPOP_CONN_CLOSED,  /* nothing left to do: close the socket */
};

/* Where input, output and taken payloads stand; both or neither. Buffers are wiped when they are empty; what `free` gets is not. */
struct spop_memory {
    void *(*alloc)(size_t n); /* NULL: malloc */
    void (*free)(void *p);
};

struct spop_conn_options {
    uint32_t max_frame_size;     /* what we accept at most; 0: 4 MiB + 64 KiB. At least 256 */
    unsigned max_in_flight;      /* unanswered NOTIFYs before input pauses; 0: 1024 */
    size_t max_in_flight_bytes;  /* their payloads together before input pauses (one is always let in); 0: 64 MiB */
    struct spop_memory memory;
    size_t max_output;           /* unsent output before no more is read (what was fed is still handled); 0: 4 MiB */
};

/* Names one NOTIFY of one connection until it is answered. Copy freely; each is answered exactly once. */
struct spop_ticket {
    uint32_t slot, generation;
};

struct spop_notify {
    struct spop_ticket ticket;
    uint64_t stream_id, frame_id; /* for logs only: neither identifies a request */
    /* Walk with spop_messages_make; known to be well formed. Valid until the callback returns, unless taken. */
    struct spop_bytes payload;
    bool cheap_take; /* spop_notify_take costs no copy now */
};

struct spop_hello {
    uint32_t max_frame_size;     /* as negotiated */
    bool healthcheck;
    bool pipelining;             /* announced by HAProxy */
    struct spop_bytes engine_id; /* may be empty; valid during the callback, see spop_conn_engine_id */
};

enum spop_close_cause {
    SPOP_CLOSE_HEALTHCHECK,    /* answered; nothing to log */
    SPOP_CLOSE_PEER,           /* HAPROXY-DISCONNECT: code and peer_message are HAProxy's */
    SPOP_CLOSE_PROTOCOL_ERROR, /* code is what we sent, reason says what was wrong */
    SPOP_CLOSE_SHUTDOWN,       /* spop_conn_shutdown finished */
    SPOP_CLOSE_OWNER,          /* spop_conn_close */
    SPOP_CLOSE_NO_MEMORY,
    SPOP_CLOSE_EOF,            /* the peer closed without a DISCONNECT: normal, 3.1+ idles out so */
};
struct spop_close {
    enum spop_close_cause cause;
    unsigned code;                  /* enum spop_status */
    const char *reason;             /* our words, static */
    struct spop_bytes peer_message; /* peer text: escape it; valid during the callback */
};

/* Called from inside spop_conn_feed, _resume, _eof, _close, _shutdown and the answering functions. They may answer, shut down and
 * close, but not feed, resume or free. Any may be NULL except notify. `closing` comes once, when no NOTIFY will follow; tickets that
 * are open then may still be answered or dropped (nothing is sent). */
struct spop_conn_handler {
    void (*hello)(void *user, struct spop_conn *conn, const struct spop_hello *hello);
    void (*notify)(void *user, struct spop_conn *conn, struct spop_notify *notify);
    void (*closing)(void *user, struct spop_conn *conn, const struct spop_close *why);
};

/* `handler` must outlive the connection; options may be NULL. NULL when out of memory. */
struct spop_conn *spop_conn_new(const struct spop_conn_options *options, const struct spop_conn_handler *handler, void *user);
/* Only with no ticket open that somebody could still use. NULL is fine. */
void spop_conn_free(struct spop_conn *conn);

/* --- input --- */

/* Takes all n bytes: frames that are whole inside them are handled in place, the rest is kept. No-op when closing or closed. */
void spop_conn_feed(struct spop_conn *conn, const void *bytes, size_t n);
/* The peer has closed its side. What is queued is dropped: state becomes CLOSED. */
void spop_conn_eof(struct spop_conn *conn);
/* False while a limit of the options is reached: stop reading the socket. Past max_in_flight the rest of a feed waits inside. */
bool spop_conn_wants_input(const struct spop_conn *conn);
/* Handles input that waited; call once per loop turn after answering, before writing. True when it did something. */
bool spop_conn_resume(struct spop_conn *conn);
/* Bytes held of an unfinished frame. */
size_t spop_conn_partial(const struct spop_conn *conn);

/* Inside the notify callback: makes the payload the caller's. n->payload then points into the returned block (or a copy in it),
 * which the caller frees as options.memory says. NULL when out of memory. No copy when n->cheap_take: big frames come that way. */
SPOP_MUST_CHECK void *spop_notify_take(struct spop_conn *conn, struct spop_notify *n);

/* --- answers: each ticket gets exactly one of _ack_begin.._ack_end, a successful _ack_send, or _ack_drop --- */

/* Bytes of actions an answer may hold: the negotiated max-frame-size less the header. 0 when the connection is past answering. */
size_t spop_conn_ack_room(const struct spop_conn *conn, struct spop_ticket ticket);
/* Starts an ACK directly in the output. Between begin and end use only spop_ack_ functions on `ack`, nothing on `conn`. When the
 * connection is past answering the actions go nowhere and all calls still succeed. */
void spop_conn_ack_begin(struct spop_conn *conn, struct spop_ticket ticket, struct spop_ack *ack);
void spop_conn_ack_end(struct spop_conn *conn, struct spop_ack *ack);
/* Queues an ACK with actions built elsewhere. 0; -1 when n > spop_conn_ack_room on an open connection: nothing is sent and the ticket
 * stays open. Past answering it is 0 and the ticket is gone. */
SPOP_MUST_CHECK int spop_conn_ack_send(struct spop_conn *conn, struct spop_ticket ticket, const void *actions, size_t n);
/* Gives a ticket up without an answer: only for a connection that is closing or closed (HAProxy would wait out its timeout). */
void spop_conn_ack_drop(struct spop_conn *conn, struct spop_ticket ticket);
unsigned spop_conn_in_flight(const struct spop_conn *conn);

/* --- output --- */

/* All that is queued, contiguous; false when there is nothing. Valid until the next call on conn. */
bool spop_conn_output(const struct spop_conn *conn, const void **p, size_t *n);
void spop_conn_sent(struct spop_conn *conn, size_t n);

/* --- ends --- */

/* Graceful: AGENT-DISCONNECT 0 as soon as nothing is in flight, perhaps now. NOTIFYs that still arrive are handed out and counted
 * too; at its deadline the owner stops feeding (what is in flight then drains) or calls spop_conn_close. Before HELLO it just closes. */
void spop_conn_shutdown(struct spop_conn *conn);
/* At once: AGENT-DISCONNECT `code` after what is queued; unanswered NOTIFYs get no ACK. `reason` is static text, sent to the peer. */
void spop_conn_close(struct spop_conn *conn, unsigned code, const char *reason);

enum spop_conn_state spop_conn_state(const struct spop_conn *conn);
/* True once a HELLO was accepted, whatever came after. */
bool spop_conn_negotiated(const struct spop_conn *conn);
uint32_t spop_conn_max_frame_size(const struct spop_conn *conn);
/* At most 64 bytes of HAProxy's engine-id, empty when it sent none; peer text. */
struct spop_bytes spop_conn_engine_id(const struct spop_conn *conn);

#endif
