#include "settle/settle_record.h"

#include "settle/record_frame.h"

#include <msgpack.h>
#include <stdlib.h>

struct settle_reader {
    msgpack_unpacker unpacker;
    msgpack_unpacked current; /* the record given out last owns its memory until the next */
    struct record_frame frame;
    size_t max_record, ready;
    const char *broken;
};

struct settle_reader *settle_reader_new(size_t max_record)
{
    struct settle_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->max_record = max_record == 0 ? SETTLE_RECORD_MAX : max_record;
    if (!msgpack_unpacker_init(&r->unpacker, 8192)) {
        free(r);
        return NULL;
    }
    msgpack_unpacked_init(&r->current);
    return r;
}

void settle_reader_free(struct settle_reader *r)
{
    if (r == NULL)
        return;
    msgpack_unpacked_destroy(&r->current);
    msgpack_unpacker_destroy(&r->unpacker);
    free(r);
}

char *settle_reader_room(struct settle_reader *r, size_t want)
{
    if (msgpack_unpacker_buffer_capacity(&r->unpacker) < want && !msgpack_unpacker_reserve_buffer(&r->unpacker, want))
        return NULL;
    return msgpack_unpacker_buffer(&r->unpacker);
}

void settle_reader_take(struct settle_reader *r, size_t n)
{
    if (r->broken != NULL)
        return;
    const char *p = msgpack_unpacker_buffer(&r->unpacker);
    r->broken = record_frame_scan(&r->frame, (const unsigned char *)p, n, r->max_record, &r->ready);
    msgpack_unpacker_buffer_consumed(&r->unpacker, n);
}

bool settle_reader_pending(const struct settle_reader *r)
{
    return r->frame.size > 0;
}

static bool to_text(const msgpack_object *o, struct slice *out)
{
    if (o->type == MSGPACK_OBJECT_STR)
        *out = slice_make(o->via.str.ptr, o->via.str.size);
    else if (o->type == MSGPACK_OBJECT_BIN)
        *out = slice_make(o->via.bin.ptr, o->via.bin.size);
    else
        return false;
    return true;
}

/* Lua's numbers may come as doubles. */
static bool to_int(const msgpack_object *o, int64_t *out)
{
    switch (o->type) {
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        if (o->via.u64 > INT64_MAX)
            return false;
        *out = (int64_t)o->via.u64;
        return true;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        *out = o->via.i64;
        return true;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        if (!(o->via.f64 > -9e15 && o->via.f64 < 9e15))
            return false;
        *out = (int64_t)o->via.f64;
        return true;
    default:
        return false;
    }
}

static bool to_bool(const msgpack_object *o, bool *out)
{
    if (o->type != MSGPACK_OBJECT_BOOLEAN)
        return false;
    *out = o->via.boolean;
    return true;
}

static bool to_end(const msgpack_object *o, enum settle_end *out)
{
    struct slice s;
    if (!to_text(o, &s))
        return false;
    *out = slice_eq_cstr(s, "complete") ? SETTLE_END_COMPLETE : slice_eq_cstr(s, "cut") ? SETTLE_END_CUT : SETTLE_END_UNKNOWN;
    return true;
}

enum field_type { FIELD_TEXT, FIELD_INT, FIELD_BOOL, FIELD_END };

static const struct {
    const char *key;
    enum field_type type;
    size_t offset;
} fields[] = {
    { "id", FIELD_TEXT, offsetof(struct settle_record, id) },
    { "grp", FIELD_TEXT, offsetof(struct settle_record, group) },
    { "att", FIELD_INT, offsetof(struct settle_record, attempt) },
    { "st", FIELD_INT, offsetof(struct settle_record, status) },
    { "sse", FIELD_BOOL, offsetof(struct settle_record, sse) },
    { "done", FIELD_BOOL, offsetof(struct settle_record, done) },
    { "end", FIELD_END, offsetof(struct settle_record, end) },
    { "hdr_ms", FIELD_INT, offsetof(struct settle_record, headers_ms) },
    { "ttft_ms", FIELD_INT, offsetof(struct settle_record, first_ms) },
    { "last_ms", FIELD_INT, offsetof(struct settle_record, last_ms) },
    { "bytes", FIELD_INT, offsetof(struct settle_record, bytes) },
    { "events", FIELD_INT, offsetof(struct settle_record, events) },
    { "usage", FIELD_TEXT, offsetof(struct settle_record, usage) },
    { "usage2", FIELD_TEXT, offsetof(struct settle_record, first_usage) },
    { "failed", FIELD_BOOL, offsetof(struct settle_record, failed) },
    { "blamed", FIELD_BOOL, offsetof(struct settle_record, blamed) },
    { "dropped", FIELD_INT, offsetof(struct settle_record, dropped) },
    { "model", FIELD_TEXT, offsetof(struct settle_record, model) },
    { "body", FIELD_TEXT, offsetof(struct settle_record, body) },
    { "body_cut", FIELD_BOOL, offsetof(struct settle_record, body_cut) },
    { "rid", FIELD_TEXT, offsetof(struct settle_record, provider_id) },
    { "cenc", FIELD_TEXT, offsetof(struct settle_record, coding) },
    { "retry_after", FIELD_TEXT, offsetof(struct settle_record, retry_after) },
};

static bool field_set(struct settle_record *out, size_t i, const msgpack_object *v)
{
    void *at = (char *)out + fields[i].offset;
    if (v->type == MSGPACK_OBJECT_NIL)
        return true;
    switch (fields[i].type) {
    case FIELD_TEXT: return to_text(v, at);
    case FIELD_INT: return to_int(v, at);
    case FIELD_BOOL: return to_bool(v, at);
    default: return to_end(v, at);
    }
}

static const char *member_read(struct settle_record *out, struct slice key, const msgpack_object *v)
{
    int64_t version;

    if (slice_eq_cstr(key, "v"))
        return to_int(v, &version) && version == SETTLE_RECORD_VERSION ? NULL : "a record of another version: update the Lua files";
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (slice_eq_cstr(key, fields[i].key))
            return field_set(out, i, v) ? NULL : "a record's member has the wrong type";
    return NULL;
}

static const char *record_read(const msgpack_object *o, struct settle_record *out)
{
    *out = (struct settle_record){ .headers_ms = -1, .first_ms = -1, .last_ms = -1 };
    if (o->type != MSGPACK_OBJECT_MAP)
        return "a record is no map";
    const char *first = NULL;
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        struct slice key;
        const char *why = to_text(&kv->key, &key) ? member_read(out, key, &kv->val) : "a record's key is no string";
        if (first == NULL)
            first = why;
    }
    if (first == NULL && out->id.n == 0)
        first = "a record has no id";
    return first;
}

int settle_reader_next(struct settle_reader *r, struct settle_record *out, const char **why)
{
    /* What was whole before the break is still good. */
    if (r->ready == 0) {
        *why = r->broken;
        return r->broken != NULL ? -1 : 0;
    }
    r->ready--;
    if (msgpack_unpacker_next(&r->unpacker, &r->current) != MSGPACK_UNPACK_SUCCESS) {
        r->ready = 0;
        r->broken = *why = "not msgpack";
        return -1;
    }
    *why = record_read(&r->current.data, out);
    return *why == NULL ? 1 : -2;
}
