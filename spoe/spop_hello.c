/* The frames that are lists of keys and values: HELLO and DISCONNECT (doc/SPOE.txt 3.2.4 to 3.2.8). */
#include "spop_conn_private.h"

#include <string.h>

struct given {
    struct spop_bytes versions, capabilities;
    bool has_versions, has_capabilities, has_frame_size, negative_frame_size;
    uint64_t frame_size;
};

static struct spop_bytes trim(struct spop_bytes s)
{
    while (s.n != 0 && s.p[0] == ' ')
        s.p++, s.n--;
    while (s.n != 0 && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

/* Takes the next element off a comma list, without the spaces around it. False at the end. */
static bool next_element(struct spop_bytes *list, struct spop_bytes *element)
{
    if (list->p == NULL)
        return false;
    const char *comma = list->n != 0 ? memchr(list->p, ',', list->n) : NULL;
    size_t n = comma != NULL ? (size_t)(comma - list->p) : list->n;
    *element = trim((struct spop_bytes){ .p = list->p, .n = n });
    if (comma != NULL) {
        list->p += n + 1;
        list->n -= n + 1;
    } else {
        *list = (struct spop_bytes){ .p = NULL, .n = 0 };
    }
    return true;
}

/* Reads digits off the front; false when there are none. Saturates, so that no long number wraps round to 2. */
static bool read_number(struct spop_bytes *s, unsigned *value)
{
    size_t digits = 0;
    *value = 0;
    for (; s->n != 0 && s->p[0] >= '0' && s->p[0] <= '9'; s->p++, s->n--, digits++)
        *value = *value < 100000 ? *value * 10 + (unsigned)(s->p[0] - '0') : *value;
    return digits != 0;
}

/* Versions of one major number understand each other, so any 2.x will do. */
static bool offers_version_2(struct spop_bytes list)
{
    struct spop_bytes element;
    while (next_element(&list, &element)) {
        unsigned major, minor;
        if (!read_number(&element, &major) || element.n == 0 || element.p[0] != '.')
            continue;
        element.p++, element.n--;
        if (read_number(&element, &minor) && element.n == 0 && major == 2)
            return true;
    }
    return false;
}

static bool offers(struct spop_bytes list, struct spop_bytes capability)
{
    struct spop_bytes element;
    while (next_element(&list, &element))
        if (spop_bytes_eq(element, capability))
            return true;
    return false;
}

/* False when the key is known and its value has the wrong type. */
static bool hello_field(struct given *g, struct spop_hello *hello, struct spop_bytes key, const struct spop_value *v)
{
    if (spop_bytes_eq(key, SPOP_BYTES("supported-versions"))) {
        g->versions = v->bytes;
        g->has_versions = true;
        return v->type == SPOP_STRING;
    }
    if (spop_bytes_eq(key, SPOP_BYTES("max-frame-size"))) {
        bool is_signed = v->type == SPOP_INT32 || v->type == SPOP_INT64;
        g->frame_size = v->integer;
        g->negative_frame_size = is_signed && (int64_t)v->integer < 0;
        g->has_frame_size = true;
        return spop_is_integer(v->type);
    }
    if (spop_bytes_eq(key, SPOP_BYTES("capabilities"))) {
        g->capabilities = v->bytes;
        g->has_capabilities = true;
        return v->type == SPOP_STRING;
    }
    if (spop_bytes_eq(key, SPOP_BYTES("healthcheck"))) {
        hello->healthcheck = v->boolean;
        return v->type == SPOP_BOOL;
    }
    if (spop_bytes_eq(key, SPOP_BYTES("engine-id"))) {
        hello->engine_id = v->bytes;
        return v->type == SPOP_STRING;
    }
    return true;
}

static void refuse(struct hello_fields *f, enum spop_status status, const char *reason)
{
    f->status = status;
    f->reason = reason;
}

static void judge(struct hello_fields *f, const struct given *g, uint32_t own_max)
{
    if (!g->has_versions)
        refuse(f, SPOP_NO_VERSION, "HELLO has no supported-versions");
    else if (!offers_version_2(g->versions))
        refuse(f, SPOP_BAD_VERSION, "HELLO offers no version 2");
    else if (!g->has_frame_size)
        refuse(f, SPOP_NO_MAX_FRAME_SIZE, "HELLO has no max-frame-size");
    else if (g->negative_frame_size || g->frame_size < SPOP_MAX_FRAME_SIZE_MIN)
        refuse(f, SPOP_BAD_MAX_FRAME_SIZE, "HELLO offers a max-frame-size below 256");
    else if (!g->has_capabilities)
        refuse(f, SPOP_NO_CAPABILITIES, "HELLO has no capabilities");
    f->hello.max_frame_size = g->frame_size < own_max ? (uint32_t)g->frame_size : own_max;
    f->hello.pipelining = offers(g->capabilities, SPOP_BYTES("pipelining"));
}

struct hello_fields hello_parse(struct spop_bytes payload, uint32_t own_max_frame_size)
{
    struct hello_fields f = { .status = SPOP_NORMAL };
    struct given given = { .has_versions = false };
    struct spop_cursor c = spop_cursor_make(payload);
    while (spop_cursor_left(&c) != 0) {
        struct spop_bytes key = spop_read_string(&c);
        struct spop_value value = spop_read_value(&c);
        if (c.bad) {
            refuse(&f, SPOP_INVALID_FRAME, "HELLO is truncated or malformed");
            return f;
        }
        if (!hello_field(&given, &f.hello, key, &value)) {
            refuse(&f, SPOP_INVALID_FRAME, "a HELLO field has the wrong type");
            return f;
        }
    }
    judge(&f, &given, own_max_frame_size);
    return f;
}

int disconnect_parse(struct spop_bytes payload, unsigned *code, struct spop_bytes *message)
{
    *code = SPOP_UNKNOWN_ERROR;
    *message = (struct spop_bytes){ .p = NULL, .n = 0 };
    struct spop_cursor c = spop_cursor_make(payload);
    while (spop_cursor_left(&c) != 0) {
        struct spop_bytes key = spop_read_string(&c);
        struct spop_value value = spop_read_value(&c);
        if (spop_bytes_eq(key, SPOP_BYTES("status-code")) && spop_is_integer(value.type))
            *code = value.integer <= UINT32_MAX ? (unsigned)value.integer : SPOP_UNKNOWN_ERROR;
        else if (spop_bytes_eq(key, SPOP_BYTES("message")) && spop_is_text(value.type))
            *message = value.bytes;
    }
    return c.bad ? -1 : 0;
}

/* --- what we send: always below SPOP_MAX_FRAME_SIZE_MIN, so it fits whatever was negotiated --- */

struct payload {
    uint8_t bytes[SPOP_MAX_FRAME_SIZE_MIN - SPOP_FRAME_MIN];
    size_t len;
};

static void put_field(struct payload *p, struct spop_bytes key, const struct spop_value *value)
{
    p->len += spop_put_string(p->bytes + p->len, sizeof p->bytes - p->len, key);
    p->len += spop_put_value(p->bytes + p->len, sizeof p->bytes - p->len, value);
}

static void put_string(struct payload *p, struct spop_bytes key, struct spop_bytes s)
{
    put_field(p, key, &(struct spop_value){ .type = SPOP_STRING, .bytes = s });
}

static void put_uint32(struct payload *p, struct spop_bytes key, uint32_t v)
{
    put_field(p, key, &(struct spop_value){ .type = SPOP_UINT32, .integer = v });
}

static bool queue(struct byte_buffer *out, enum spop_frame_type type, const struct payload *p)
{
    if (!buffer_reserve(out, SPOP_LENGTH_BYTES + SPOP_MAX_FRAME_SIZE_MIN))
        return false;
    struct spop_bytes no_ids = { .p = NULL, .n = 0 };
    struct spop_bytes body = { .p = (const char *)p->bytes, .n = p->len };
    out->len += spop_frame_encode(buffer_end(out), out->cap - out->head - out->len, type, no_ids, body);
    return true;
}

bool hello_queue(struct byte_buffer *out, uint32_t max_frame_size)
{
    /* HAProxy 3 compares keys by prefix: no further key may begin with one of these. */
    struct payload p = { .len = 0 };
    put_string(&p, SPOP_BYTES("version"), SPOP_BYTES("2.0"));
    put_uint32(&p, SPOP_BYTES("max-frame-size"), max_frame_size);
    put_string(&p, SPOP_BYTES("capabilities"), SPOP_BYTES("pipelining"));
    return queue(out, SPOP_AGENT_HELLO, &p);
}

bool disconnect_queue(struct byte_buffer *out, unsigned code, const char *message)
{
    enum { MESSAGE_MAX = 128 };
    struct payload p = { .len = 0 };
    size_t n = strnlen(message, MESSAGE_MAX);
    put_uint32(&p, SPOP_BYTES("status-code"), code);
    put_string(&p, SPOP_BYTES("message"), (struct spop_bytes){ .p = message, .n = n });
    return queue(out, SPOP_AGENT_DISCONNECT, &p);
}
