#include "spop_codec.h"

#include <string.h>

bool spop_bytes_eq(struct spop_bytes a, struct spop_bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

const char *spop_status_text(unsigned code)
{
    switch ((enum spop_status)code) {
    case SPOP_NORMAL: return "normal";
    case SPOP_IO_ERROR: return "I/O error";
    case SPOP_TIMEOUT: return "a timeout occurred";
    case SPOP_FRAME_TOO_BIG: return "frame is too big";
    case SPOP_INVALID_FRAME: return "invalid frame received";
    case SPOP_NO_VERSION: return "version value not found";
    case SPOP_NO_MAX_FRAME_SIZE: return "max-frame-size value not found";
    case SPOP_NO_CAPABILITIES: return "capabilities value not found";
    case SPOP_BAD_VERSION: return "unsupported version";
    case SPOP_BAD_MAX_FRAME_SIZE: return "max-frame-size too big or too small";
    case SPOP_NO_FRAGMENTATION: return "fragmentation not supported";
    case SPOP_INTERLACED_FRAMES: return "invalid interlaced frames";
    case SPOP_NO_FRAME_ID: return "frame-id not found";
    case SPOP_NO_RESOURCES: return "resource allocation error";
    case SPOP_UNKNOWN_ERROR: break;
    }
    return "an unknown error occurred";
}

size_t spop_varint_encode(uint8_t *out, uint64_t v)
{
    if (v < 240) {
        out[0] = (uint8_t)v;
        return 1;
    }
    size_t n = 0;
    out[n++] = (uint8_t)(v | 240);
    v = (v - 240) >> 4;
    while (v >= 128) {
        out[n++] = (uint8_t)(v | 128);
        v = (v - 128) >> 7;
    }
    out[n++] = (uint8_t)v;
    return n;
}

size_t spop_varint_size(uint64_t v)
{
    size_t n = 1;
    if (v < 240)
        return n;
    for (v = (v - 240) >> 4; v >= 128; v = (v - 128) >> 7)
        n++;
    return n + 1;
}

int spop_varint_decode(const uint8_t *p, size_t n, uint64_t *v)
{
    if (n == 0)
        return 0;
    uint64_t r = p[0];
    if (r < 240) {
        *v = r;
        return 1;
    }
    unsigned shift = 4;
    for (size_t i = 1; i < SPOP_VARINT_MAX; i++, shift += 7) {
        if (i >= n)
            return 0;
        uint64_t group = p[i];
        /* shift is at most 60; what it would push out of 64 bits makes the value too big */
        if (group > UINT64_MAX >> shift || r > UINT64_MAX - (group << shift))
            return -1;
        r += group << shift;
        if (group < 128) {
            *v = r;
            return (int)i + 1;
        }
    }
    return -1;
}

struct spop_cursor spop_cursor_make(struct spop_bytes b)
{
    static const uint8_t nothing[1];
    const uint8_t *p = b.n != 0 ? (const uint8_t *)b.p : nothing;
    return (struct spop_cursor){ .p = p, .end = p + b.n };
}

static void spoil(struct spop_cursor *c)
{
    c->bad = true;
    c->p = c->end;
}

uint8_t spop_read_u8(struct spop_cursor *c)
{
    if (c->p == c->end) {
        spoil(c);
        return 0;
    }
    return *c->p++;
}

uint32_t spop_read_u32(struct spop_cursor *c)
{
    if (spop_cursor_left(c) < 4) {
        spoil(c);
        return 0;
    }
    uint32_t v = (uint32_t)c->p[0] << 24 | (uint32_t)c->p[1] << 16 | (uint32_t)c->p[2] << 8 | c->p[3];
    c->p += 4;
    return v;
}

static uint64_t long_varint(struct spop_cursor *c)
{
    uint64_t v = 0;
    int used = spop_varint_decode(c->p, spop_cursor_left(c), &v);
    if (used <= 0) {
        spoil(c);
        return 0;
    }
    c->p += used;
    return v;
}

/* The three below are inline here because a NOTIFY is little else than short strings. */
static inline uint64_t read_varint(struct spop_cursor *c)
{
    if (c->p != c->end && *c->p < 240)
        return *c->p++;
    return long_varint(c);
}

static inline struct spop_bytes read_bytes(struct spop_cursor *c, uint64_t n)
{
    if (n > spop_cursor_left(c)) {
        spoil(c);
        return (struct spop_bytes){ .p = NULL, .n = 0 };
    }
    struct spop_bytes b = { .p = (const char *)c->p, .n = (size_t)n };
    c->p += n;
    return b;
}

static inline struct spop_bytes read_string(struct spop_cursor *c)
{
    uint64_t n = read_varint(c);
    return read_bytes(c, n);
}

uint64_t spop_read_varint(struct spop_cursor *c)
{
    return read_varint(c);
}

struct spop_bytes spop_read_bytes(struct spop_cursor *c, size_t n)
{
    return read_bytes(c, n);
}

struct spop_bytes spop_read_string(struct spop_cursor *c)
{
    return read_string(c);
}

/* The type is in the low nibble and the flags in the high one, whatever the drawing in doc/SPOE.txt shows. */
enum { TYPE_MASK = 0x0f, FLAGS_MASK = 0xf0, FLAG_TRUE = 0x10 };

struct spop_value spop_read_value(struct spop_cursor *c)
{
    unsigned byte = spop_read_u8(c);
    struct spop_value v = { .type = (enum spop_type)(byte & TYPE_MASK) };
    switch (v.type) {
    case SPOP_NULL:
        return v;
    case SPOP_BOOL:
        v.boolean = (byte & FLAG_TRUE) != 0;
        return v;
    case SPOP_INT32:
    case SPOP_UINT32:
    case SPOP_INT64:
    case SPOP_UINT64:
        v.integer = read_varint(c);
        return v;
    case SPOP_IPV4:
        v.bytes = read_bytes(c, 4);
        return v;
    case SPOP_IPV6:
        v.bytes = read_bytes(c, 16);
        return v;
    case SPOP_STRING:
    case SPOP_BINARY:
        v.bytes = read_string(c);
        return v;
    }
    spoil(c); /* a reserved type has no known length */
    return (struct spop_value){ .type = SPOP_NULL };
}

int spop_frame_parse(struct spop_bytes frame, struct spop_frame *f)
{
    struct spop_cursor c = spop_cursor_make(frame);
    f->type = spop_read_u8(&c);
    f->flags = spop_read_u32(&c);
    const uint8_t *ids = c.p;
    f->stream_id = read_varint(&c);
    f->frame_id = read_varint(&c);
    f->ids = (struct spop_bytes){ .p = (const char *)ids, .n = (size_t)(c.p - ids) };
    f->payload = (struct spop_bytes){ .p = (const char *)c.p, .n = spop_cursor_left(&c) };
    return c.bad ? -1 : 0;
}

struct spop_messages spop_messages_make(struct spop_bytes payload)
{
    return (struct spop_messages){ .cursor = spop_cursor_make(payload) };
}

bool spop_next_message(struct spop_messages *it, struct spop_bytes *name)
{
    struct spop_bytes arg;
    struct spop_value value;
    while (spop_next_arg(it, &arg, &value))
        continue;
    if (spop_cursor_left(&it->cursor) == 0) {
        *name = (struct spop_bytes){ .p = NULL, .n = 0 };
        return false;
    }
    *name = read_string(&it->cursor);
    it->args_left = spop_read_u8(&it->cursor);
    return !it->cursor.bad;
}

bool spop_next_arg(struct spop_messages *it, struct spop_bytes *name, struct spop_value *value)
{
    if (it->args_left == 0 || it->cursor.bad)
        return false;
    it->args_left--;
    *name = read_string(&it->cursor);
    *value = spop_read_value(&it->cursor);
    return !it->cursor.bad;
}

bool spop_messages_valid(struct spop_bytes payload)
{
    struct spop_messages it = spop_messages_make(payload);
    struct spop_bytes name;
    while (spop_next_message(&it, &name))
        continue;
    return !it.cursor.bad;
}
