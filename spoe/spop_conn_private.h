/* What the files of the connection share; nobody else includes it. */
#ifndef SPOP_CONN_PRIVATE_H
#define SPOP_CONN_PRIVATE_H

#include "spop_conn.h"

/* For our own bugs only, and kept in release builds: an answer sent twice would go to somebody else's request. */
#define SPOP_MUST(condition) ((condition) ? (void)0 : spop_bug(#condition, __FILE__, __LINE__))
_Noreturn void spop_bug(const char *condition, const char *file, int line);

enum {
    IDS_MAX = 2 * SPOP_VARINT_MAX,
    ENGINE_ID_MAX = 64,
    HEAD_BYTES = 9,          /* length, type, flags: enough to refuse or skip a frame before its body comes */
    KEEP_BUFFER = 16 * 1024, /* empty buffers up to this size stay with an idle connection */
};
#define NO_SLOT UINT32_MAX

struct byte_buffer {
    uint8_t *p;
    size_t head; /* where the first byte is */
    size_t len, cap;
    const struct spop_memory *memory;
};
/* Makes room for n more bytes after the last; false when out of memory. Grows by doubling. */
bool buffer_reserve(struct byte_buffer *b, size_t n);
/* Moves it into cap bytes; false when out of memory. */
bool buffer_resize(struct byte_buffer *b, size_t cap);
void buffer_drop_front(struct byte_buffer *b, size_t n);
/* Empties and wipes it, and gives large memory back. */
void buffer_reset(struct byte_buffer *b);
void buffer_free(struct byte_buffer *b);
static inline uint8_t *buffer_end(const struct byte_buffer *b)
{
    return b->p + b->head + b->len;
}

/* An unanswered NOTIFY. */
struct slot {
    uint32_t generation; /* odd while open, so that a ticket used twice is noticed */
    uint32_t next_free;
    size_t payload;
    uint8_t ids_n;
    uint8_t ids[IDS_MAX];
};

struct spop_conn {
    struct spop_conn_options options;
    const struct spop_conn_handler *handler;
    void *user;
    enum spop_conn_state state;
    bool negotiated;
    bool draining;  /* shutdown asked for */
    bool consuming; /* inside feed or resume: input must stay where it is */
    bool building;  /* between ack_begin and ack_end */
    bool build_failed;
    uint32_t frame_limit;

    struct byte_buffer in;      /* one unfinished frame, never more */
    struct byte_buffer waiting; /* input that came when a limit was reached */
    size_t skip;                /* bytes left of a frame of unknown type */
    struct byte_buffer out;

    struct slot *slots;
    uint32_t slot_count, first_free;
    unsigned in_flight;
    size_t in_flight_bytes;
    struct spop_ticket build_ticket;
    size_t build_header;

    uint8_t engine_id_n;
    char engine_id[ENGINE_ID_MAX];
};

/* The one way out: queues AGENT-DISCONNECT `sent` unless it is negative, reports `why` to the handler, once. */
void conn_end(struct spop_conn *conn, const struct spop_close *why, int sent);
void conn_fail(struct spop_conn *conn, unsigned code, const char *reason);
void conn_fail_memory(struct spop_conn *conn, const char *reason);
void conn_drop_input(struct spop_conn *conn);
/* Ends a connection that is shutting down once all is answered. */
void conn_finish_if_drained(struct spop_conn *conn);
/* Handles one whole, length-checked frame, without its length prefix. `own`: it is all that conn->in holds. */
void conn_handle_frame(struct spop_conn *conn, struct spop_bytes frame, bool own);

/* Registers a NOTIFY; false when out of memory. */
bool slot_open(struct spop_conn *conn, const struct spop_frame *frame, struct spop_ticket *ticket);

/* The fields of a HAPROXY-HELLO. */
struct hello_fields {
    struct spop_hello hello;
    unsigned status;    /* SPOP_NORMAL, or why it is refused */
    const char *reason; /* set when it is refused */
};
struct hello_fields hello_parse(struct spop_bytes payload, uint32_t own_max_frame_size);
/* 0, or -1 when malformed. */
int disconnect_parse(struct spop_bytes payload, unsigned *code, struct spop_bytes *message);
/* Appends the frame to the output; false when out of memory. */
bool hello_queue(struct byte_buffer *out, uint32_t max_frame_size);
bool disconnect_queue(struct byte_buffer *out, unsigned code, const char *message);

#endif
