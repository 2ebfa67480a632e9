/* SPOP 2.0 encoding: varints, typed values, frames, the messages of a NOTIFY, the actions of an ACK (HAProxy doc/SPOE.txt 3).
 *
 * Pure functions over bytes: no I/O, no clock, no allocation. Everything decoded points into the caller's buffer and lives
 * as long as it. Decoding goes through a cursor with a sticky error: after the first malformed item every read gives zero or
 * empty, so one check at the end is enough. Nothing a peer sends reaches an assert. */
#ifndef SPOP_CODEC_H
#define SPOP_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SPOP_MUST_CHECK __attribute__((warn_unused_result))
#else
#define SPOP_MUST_CHECK
#endif

/* Somebody else's bytes, not NUL-terminated. `p` may be NULL only when n is 0. */
struct spop_bytes {
    const char *p;
    size_t n;
};
#define SPOP_BYTES(literal) ((struct spop_bytes){ .p = "" literal, .n = sizeof(literal) - 1 })
bool spop_bytes_eq(struct spop_bytes a, struct spop_bytes b);

enum {
    SPOP_VARINT_MAX = 10,       /* bytes of the longest varint, 2^64-1 */
    SPOP_LENGTH_BYTES = 4,      /* the length prefix, not counted in the length */
    SPOP_FRAME_MIN = 7,         /* smallest legal length: type 1, flags 4, stream-id 1, frame-id 1 */
    SPOP_MAX_FRAME_SIZE_MIN = 256, /* a smaller max-frame-size may not be negotiated */
    SPOP_VARIABLE_NAME_MAX = 63,   /* HAProxy drops longer "scope.prefix.name"s */
};

enum spop_frame_type { /* doc/SPOE.txt 3.2.2 */
    SPOP_UNSET = 0, /* the continuation of a fragmented frame, gone in HAProxy 3.1 */
    SPOP_HAPROXY_HELLO = 1,
    SPOP_HAPROXY_DISCONNECT = 2,
    SPOP_NOTIFY = 3,
    SPOP_AGENT_HELLO = 101,
    SPOP_AGENT_DISCONNECT = 102,
    SPOP_ACK = 103,
};
enum spop_flags { SPOP_FIN = 1, SPOP_ABRT = 2 };

enum spop_status { /* status-code of a DISCONNECT, doc/SPOE.txt 3.5; HAProxy reports 256 + code */
    SPOP_NORMAL = 0,
    SPOP_IO_ERROR = 1,
    SPOP_TIMEOUT = 2,
    SPOP_FRAME_TOO_BIG = 3,
    SPOP_INVALID_FRAME = 4,
    SPOP_NO_VERSION = 5,
    SPOP_NO_MAX_FRAME_SIZE = 6,
    SPOP_NO_CAPABILITIES = 7,
    SPOP_BAD_VERSION = 8,
    SPOP_BAD_MAX_FRAME_SIZE = 9,
    SPOP_NO_FRAGMENTATION = 10,
    SPOP_INTERLACED_FRAMES = 11,
    SPOP_NO_FRAME_ID = 12,
    SPOP_NO_RESOURCES = 13,
    SPOP_UNKNOWN_ERROR = 99,
};
/* The words of doc/SPOE.txt for a status code; never NULL. */
const char *spop_status_text(unsigned code);

/* --- varints: v < 240 is one byte, else 4 bits of the first byte and then groups of 7, low first --- */

/* Writes v; returns the bytes used, 1..SPOP_VARINT_MAX. */
size_t spop_varint_encode(uint8_t *out, uint64_t v);
size_t spop_varint_size(uint64_t v);
/* Bytes used; 0 when p ends inside the varint; -1 when it has more than 10 bytes or stands for more than 2^64-1. */
int spop_varint_decode(const uint8_t *p, size_t n, uint64_t *v);

/* --- the decode cursor --- */

struct spop_cursor {
    const uint8_t *p, *end;
    bool bad; /* sticky: set by the first truncated or malformed item, and p = end from then on */
};
struct spop_cursor spop_cursor_make(struct spop_bytes b);
static inline size_t spop_cursor_left(const struct spop_cursor *c)
{
    return (size_t)(c->end - c->p);
}
uint8_t spop_read_u8(struct spop_cursor *c);
uint32_t spop_read_u32(struct spop_cursor *c); /* big endian */
uint64_t spop_read_varint(struct spop_cursor *c);
struct spop_bytes spop_read_bytes(struct spop_cursor *c, size_t n);
/* A varint length and that many bytes: message, argument and variable names, strings. */
struct spop_bytes spop_read_string(struct spop_cursor *c);

/* --- typed values --- */

enum spop_type {
    SPOP_NULL = 0, /* a missing sample, or a failed converter */
    SPOP_BOOL = 1,
    SPOP_INT32 = 2,
    SPOP_UINT32 = 3,
    SPOP_INT64 = 4, /* the only integer HAProxy sends */
    SPOP_UINT64 = 5,
    SPOP_IPV4 = 6,
    SPOP_IPV6 = 7,
    SPOP_STRING = 8,
    SPOP_BINARY = 9,
};
struct spop_value {
    enum spop_type type;
    bool boolean;            /* SPOP_BOOL */
    uint64_t integer;        /* the four integer types: 64-bit two's complement as sent; cast to int64_t for INT32 and INT64 */
    struct spop_bytes bytes; /* STRING, BINARY; IPV4: 4 bytes, IPV6: 16 bytes, network order */
};
static inline bool spop_is_integer(enum spop_type t)
{
    return t >= SPOP_INT32 && t <= SPOP_UINT64;
}
/* True for STRING and BINARY: HAProxy sends text in either, after the sample's type. */
static inline bool spop_is_text(enum spop_type t)
{
    return t == SPOP_STRING || t == SPOP_BINARY;
}
/* Flags in the high nibble are ignored except BOOL's; types 10-15 cannot be skipped and set c->bad. */
struct spop_value spop_read_value(struct spop_cursor *c);

/* --- frames --- */

struct spop_frame {
    unsigned type;            /* as sent; may be none of enum spop_frame_type */
    uint32_t flags;
    struct spop_bytes ids;    /* stream-id and frame-id as they came: opaque, echoed byte by byte */
    uint64_t stream_id, frame_id;
    struct spop_bytes payload;
};
/* Parses what follows the length prefix. 0, or -1 when it is shorter than the metadata or a varint in it is malformed. */
SPOP_MUST_CHECK int spop_frame_parse(struct spop_bytes frame, struct spop_frame *f);

/* --- the messages of a NOTIFY ---
 *     struct spop_messages it = spop_messages_make(payload);
 *     while (spop_next_message(&it, &message))
 *         while (spop_next_arg(&it, &name, &value)) ...
 *     if (it.cursor.bad) malformed
 * A payload handed out by spop_conn has been walked before and is never bad. An empty payload holds no message (legal). */
struct spop_messages {
    struct spop_cursor cursor;
    unsigned args_left; /* of the current message */
};
struct spop_messages spop_messages_make(struct spop_bytes payload);
/* False at the end or when malformed. Skips what is left of the current message first. */
bool spop_next_message(struct spop_messages *it, struct spop_bytes *name);
/* False after the message's last argument or when malformed. The name is empty for an unnamed argument. */
bool spop_next_arg(struct spop_messages *it, struct spop_bytes *name, struct spop_value *value);
/* Walks everything; false when any of it is truncated or of a reserved type. */
bool spop_messages_valid(struct spop_bytes payload);

/* --- the actions of an ACK ---
 * HAProxy applies actions in order and stops silently at the first it dislikes, so set the verdict first and what is optional
 * last. A setter that does not fit writes nothing, counts the variable in `dropped` and returns false; smaller ones after it may
 * still fit, and what is in already stays. To take back a group of variables that only make sense together: remember `len` before
 * the first, then spop_ack_rewind. An ACK without any action hangs early HAProxy 3.1 until its timeout: set at least one.
 *
 * Names: 1 or more of [A-Za-z0-9._]; "scope.prefix.name" with the var-prefix of the SPOE file must stay within
 * SPOP_VARIABLE_NAME_MAX, HAProxy drops it silently otherwise. The prefix is unknown here and counted as one letter. A bad
 * name is refused (false) and counted too. */
enum spop_scope { SPOP_PROC = 0, SPOP_SESS = 1, SPOP_TXN = 2, SPOP_REQ = 3, SPOP_RES = 4 };

struct spop_ack {
    uint8_t *p;       /* the actions so far */
    size_t len;
    size_t limit;     /* the actions may never be longer */
    size_t cap;       /* bytes there are behind p now; below limit only when `grow` can provide more */
    unsigned dropped; /* variables that did not fit or had a bad name */
    /* NULL for a fixed buffer. Makes cap >= need, moving p if it must; false when it cannot. */
    bool (*grow)(struct spop_ack *ack, size_t need);
    void *grow_context;
};
/* Builds into the caller's buffer. Send the result with spop_conn_ack_send; `size` above spop_conn_ack_room is pointless. */
struct spop_ack spop_ack_make(void *buffer, size_t size);
bool spop_ack_set_string(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name, struct spop_bytes value);
bool spop_ack_set_binary(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name, struct spop_bytes value);
bool spop_ack_set_int(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name, int64_t value);
bool spop_ack_set_bool(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name, bool value);
bool spop_ack_unset(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name);
void spop_ack_rewind(struct spop_ack *a, size_t len);

/* --- writing frames --- */

/* A whole frame from its parts, length prefix included; ids NULL/0 stands for stream 0, frame 0. Bytes written, or 0 when they do
 * not fit into `size`. */
size_t spop_frame_encode(uint8_t *out, size_t size, enum spop_frame_type type, struct spop_bytes ids, struct spop_bytes payload);
/* Bytes before the payload, length prefix included, and their writing; `ids` as received. */
size_t spop_header_size(struct spop_bytes ids);
size_t spop_header_encode(uint8_t *out, enum spop_frame_type type, struct spop_bytes ids, size_t payload);

/* Appends to a payload under construction; `size` bytes at out. Bytes written, or 0 when they do not fit. */
size_t spop_put_string(uint8_t *out, size_t size, struct spop_bytes s);
size_t spop_put_value(uint8_t *out, size_t size, const struct spop_value *v);

#endif
