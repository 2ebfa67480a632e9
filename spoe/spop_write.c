/* The writing half of the codec: values, actions, frames. */
#include "spop_codec.h"

#include <string.h>

enum { ACTION_SET_VAR = 1, ACTION_UNSET_VAR = 2, TYPE_TRUE = 0x10 | SPOP_BOOL };

static uint8_t *put_bytes(uint8_t *out, struct spop_bytes b)
{
    if (b.n != 0)
        memcpy(out, b.p, b.n);
    return out + b.n;
}

static size_t string_size(struct spop_bytes s)
{
    return spop_varint_size(s.n) + s.n;
}

/* Room is the caller's concern. */
static uint8_t *string_write(uint8_t *out, struct spop_bytes s)
{
    return put_bytes(out + spop_varint_encode(out, s.n), s);
}

static size_t value_size(const struct spop_value *v)
{
    switch (v->type) {
    case SPOP_INT32:
    case SPOP_UINT32:
    case SPOP_INT64:
    case SPOP_UINT64:
        return 1 + spop_varint_size(v->integer);
    case SPOP_IPV4:
    case SPOP_IPV6:
        return 1 + v->bytes.n;
    case SPOP_STRING:
    case SPOP_BINARY:
        return 1 + string_size(v->bytes);
    default:
        return 1;
    }
}

static uint8_t *value_write(uint8_t *out, const struct spop_value *v)
{
    *out++ = v->type == SPOP_BOOL && v->boolean ? TYPE_TRUE : (uint8_t)v->type;
    switch (v->type) {
    case SPOP_INT32:
    case SPOP_UINT32:
    case SPOP_INT64:
    case SPOP_UINT64:
        return out + spop_varint_encode(out, v->integer);
    case SPOP_IPV4:
    case SPOP_IPV6:
        return put_bytes(out, v->bytes);
    case SPOP_STRING:
    case SPOP_BINARY:
        return string_write(out, v->bytes);
    default:
        return out;
    }
}

size_t spop_put_string(uint8_t *out, size_t size, struct spop_bytes s)
{
    if (s.n > size || string_size(s) > size)
        return 0;
    return (size_t)(string_write(out, s) - out);
}

size_t spop_put_value(uint8_t *out, size_t size, const struct spop_value *v)
{
    bool has_bytes = v->type >= SPOP_IPV4;
    if ((unsigned)v->type > SPOP_BINARY || (has_bytes && v->bytes.n > size) || value_size(v) > size)
        return 0;
    if ((v->type == SPOP_IPV4 && v->bytes.n != 4) || (v->type == SPOP_IPV6 && v->bytes.n != 16))
        return 0;
    return (size_t)(value_write(out, v) - out);
}

/* --- actions --- */

struct spop_ack spop_ack_make(void *buffer, size_t size)
{
    return (struct spop_ack){ .p = buffer, .limit = size, .cap = size };
}

static bool name_is_good(enum spop_scope scope, struct spop_bytes name)
{
    /* "proc." and "sess." against "txn.", "req.", "res."; then one letter or more of prefix and its dot */
    size_t before = (scope <= SPOP_SESS ? 5 : 4) + 2;
    if (name.n == 0 || name.n > SPOP_VARIABLE_NAME_MAX - before)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_')
            return false;
    }
    return true;
}

/* Where `need` more bytes go. False when they do not fit. *out NULL: count only, for an answer nobody will read. */
static bool ack_reserve(struct spop_ack *a, size_t need, uint8_t **out)
{
    *out = NULL;
    if (need > a->limit - a->len)
        return false;
    if (a->p == NULL && a->grow == NULL)
        return true;
    if (need > a->cap - a->len && (a->grow == NULL || !a->grow(a, a->len + need)))
        return false;
    *out = a->p + a->len;
    return true;
}

static bool ack_set(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name, const struct spop_value *v)
{
    uint8_t *out;
    bool too_long = spop_is_text(v->type) && v->bytes.n > a->limit;
    size_t need = 3 + string_size(name) + (too_long ? 0 : value_size(v));
    if (too_long || !name_is_good(scope, name) || !ack_reserve(a, need, &out)) {
        a->dropped++;
        return false;
    }
    a->len += need;
    if (out == NULL)
        return true;
    *out++ = ACTION_SET_VAR;
    *out++ = 3;
    *out++ = (uint8_t)scope;
    value_write(string_write(out, name), v);
    return true;
}

bool spop_ack_set_string(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name, struct spop_bytes value)
{
    return ack_set(a, scope, name, &(struct spop_value){ .type = SPOP_STRING, .bytes = value });
}

bool spop_ack_set_binary(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name, struct spop_bytes value)
{
    return ack_set(a, scope, name, &(struct spop_value){ .type = SPOP_BINARY, .bytes = value });
}

bool spop_ack_set_int(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name, int64_t value)
{
    /* INT64 whatever the size: an INT32 that was not sign-extended to 64 bits is read as 2^32 - n */
    return ack_set(a, scope, name, &(struct spop_value){ .type = SPOP_INT64, .integer = (uint64_t)value });
}

bool spop_ack_set_bool(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name, bool value)
{
    return ack_set(a, scope, name, &(struct spop_value){ .type = SPOP_BOOL, .boolean = value });
}

bool spop_ack_unset(struct spop_ack *a, enum spop_scope scope, struct spop_bytes name)
{
    uint8_t *out;
    size_t need = 3 + string_size(name);
    if (!name_is_good(scope, name) || !ack_reserve(a, need, &out)) {
        a->dropped++;
        return false;
    }
    a->len += need;
    if (out == NULL)
        return true;
    *out++ = ACTION_UNSET_VAR;
    *out++ = 2;
    *out++ = (uint8_t)scope;
    string_write(out, name);
    return true;
}

void spop_ack_rewind(struct spop_ack *a, size_t len)
{
    if (len < a->len)
        a->len = len;
}

/* --- frames --- */

static const struct spop_bytes zero_ids = { .p = "\0\0", .n = 2 };

size_t spop_header_size(struct spop_bytes ids)
{
    return SPOP_LENGTH_BYTES + 1 + 4 + (ids.n != 0 ? ids.n : zero_ids.n);
}

static void put_u32(uint8_t *out, uint32_t v)
{
    out[0] = (uint8_t)(v >> 24);
    out[1] = (uint8_t)(v >> 16);
    out[2] = (uint8_t)(v >> 8);
    out[3] = (uint8_t)v;
}

size_t spop_header_encode(uint8_t *out, enum spop_frame_type type, struct spop_bytes ids, size_t payload)
{
    if (ids.n == 0)
        ids = zero_ids;
    put_u32(out, (uint32_t)(5 + ids.n + payload));
    out[4] = (uint8_t)type;
    put_u32(out + 5, SPOP_FIN);
    return (size_t)(put_bytes(out + 9, ids) - out);
}

size_t spop_frame_encode(uint8_t *out, size_t size, enum spop_frame_type type, struct spop_bytes ids, struct spop_bytes payload)
{
    size_t header = spop_header_size(ids);
    if (header > size || payload.n > size - header || payload.n > UINT32_MAX - header)
        return 0;
    put_bytes(out + spop_header_encode(out, type, ids, payload.n), payload);
    return header + payload.n;
}
