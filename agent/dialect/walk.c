#include "dialect/walk.h"

#include "dialect/dialect.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { KEY_WORK = 64 /* to find a key among those known, see base/json_scan.h */ };

struct slice walk_place_text(struct walk *w)
{
    char out[256];
    size_t n = 0;

    for (unsigned i = 0; i < w->depth && i < WALK_DEPTH; i++) {
        const struct walk_place *at = &w->path[i];
        int more;
        if (at->key.n > 0)
            more = snprintf(out + n, sizeof out - n, "%s%.*s", n > 0 ? "." : "", SLICE_FMT(at->key));
        else if (at->index >= 0)
            more = snprintf(out + n, sizeof out - n, "[%" PRId64 "]", at->index);
        else
            continue;
        if (more < 0 || (size_t)more >= sizeof out - n)
            break;
        n += (size_t)more;
    }
    return arena_copy(w->arena, slice_make(out, n));
}

static void refuse_with(struct walk *w, int status, const char *type, const char *code, const char *param, struct slice message,
                        const char *reason)
{
    if (w->refused)
        return;
    w->refused = true;
    json_scan_fail(&w->s, "is refused");
    *w->why = (struct refusal){ .status = status, .type = type, .code = code, .param = param, .message = message,
                                .retry_after_s = -1, .reason = reason };
}

void walk_no_memory(struct walk *w)
{
    refuse_with(w, 500, "server_error", NULL, NULL, SLICE_LIT("The gateway is out of memory."), "memory");
}

void walk_refuse(struct walk *w, const char *code, const char *param, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (w->refused || w->s.error != NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (param == NULL && w->depth > 0) {
        param = walk_place_text(w).p;
        if (param != NULL && *param == '\0')
            param = NULL;
    }
    struct slice message = arena_copy(w->arena, slice_cstr(text));
    if (message.p == NULL)
        walk_no_memory(w);
    else
        refuse_with(w, 400, "invalid_request_error", code, param, message, code);
}

static const char *kind_name(enum json_kind k)
{
    static const char *const names[] = { "nothing", "an object", "an array", "a string", "a number", "a boolean", "a boolean", "null" };
    return names[k];
}

void walk_wrong_type(struct walk *w, const char *expected)
{
    enum json_kind k = json_scan_kind(&w->s);
    if (k == JSON_INVALID)
        return;
    struct slice place = walk_place_text(w);
    if (place.n == 0)
        walk_refuse(w, "invalid_type", NULL, "Invalid type for the request body: expected %s, but got %s.", expected, kind_name(k));
    else
        walk_refuse(w, "invalid_type", NULL, "Invalid type for '%.*s': expected %s, but got %s.", SLICE_FMT(place), expected,
                    kind_name(k));
}

static bool enter(struct walk *w, enum json_kind k, const char *expected)
{
    if (json_scan_kind(&w->s) != k) {
        walk_wrong_type(w, expected);
        return false;
    }
    if (w->depth == WALK_DEPTH) {
        json_scan_fail(&w->s, "nests too deeply");
        return false;
    }
    w->path[w->depth++] = (struct walk_place){ .index = -1 };
    return json_scan_enter(&w->s);
}

bool walk_object(struct walk *w, const char *expected)
{
    return enter(w, JSON_OBJECT, expected);
}

bool walk_array(struct walk *w, const char *expected)
{
    return enter(w, JSON_ARRAY, expected);
}

static bool same_but_case(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        unsigned char x = (unsigned char)a.p[i], y = (unsigned char)b.p[i];
        if (x != y && !((x ^ y) == 32 && (x | 32) >= 'a' && (x | 32) <= 'z'))
            return false;
    }
    return true;
}

/* Index of the key among the names; `known` when it is none; -1 - i when it is name i, which is read, but for its case. */
static int find(const struct fields *f, struct slice key)
{
    for (unsigned i = 0; i < f->known; i++)
        if (slice_eq(f->names[i], key))
            return (int)i;
    for (unsigned i = 0; i < f->read; i++)
        if (same_but_case(f->names[i], key))
            return -1 - (int)i;
    return (int)f->known;
}

static void unknown_member(struct walk *w, const struct fields *f)
{
    enum json_kind k = json_scan_kind(&w->s);
    if (f->count_unknown && (k == JSON_STRING || k == JSON_OBJECT || k == JSON_ARRAY))
        walk_json(w, IN_OTHER);
    else
        walk_skip(w, NULL);
}

int walk_field(struct walk *w, struct fields *f)
{
    struct json_text key;
    char buffer[256];

    while (json_scan_key(&w->s, &key)) {
        struct slice name = key.raw;
        if (key.escaped)
            name = key.raw.n <= sizeof buffer ? slice_make(buffer, json_unescape(key.raw, buffer)) : SLICE_NONE;
        json_scan_spend(&w->s, KEY_WORK);
        int i = find(f, name);
        if (i < 0) {
            struct slice right = f->names[-1 - i];
            w->path[w->depth - 1].key = right;
            walk_refuse(w, "unknown_parameter", NULL, "Unknown parameter: '%.*s'. Write '%.*s'.", SLICE_FMT(name), SLICE_FMT(right));
            return -1;
        }
        if ((unsigned)i >= f->read) {
            w->path[w->depth - 1].key = SLICE_NONE;
            if ((unsigned)i == f->known)
                unknown_member(w, f);
            else
                walk_skip(w, NULL);
            continue;
        }
        w->path[w->depth - 1].key = f->names[i];
        w->key = walk_span(w, slice_make(key.raw.p - 1, key.raw.n + 2));
        if (f->seen >> i & 1) {
            walk_refuse(w, "duplicate_key", NULL, "Duplicate key: '%.*s' is given twice in the same object. Give it once.",
                        SLICE_FMT(f->names[i]));
            return -1;
        }
        f->seen |= (uint64_t)1 << i;
        return i;
    }
    if (w->s.error == NULL)
        w->depth--;
    return -1;
}

bool walk_element(struct walk *w)
{
    if (json_scan_element(&w->s)) {
        w->path[w->depth - 1].index++;
        return true;
    }
    if (w->s.error == NULL)
        w->depth--;
    return false;
}

bool walk_is(struct walk *w, enum json_kind k)
{
    return json_scan_kind(&w->s) == k;
}

bool walk_null(struct walk *w)
{
    return walk_is(w, JSON_NULL) && walk_skip(w, NULL);
}

bool walk_skip(struct walk *w, struct slice *raw)
{
    return json_scan_skip(&w->s, raw);
}

bool walk_string(struct walk *w, struct json_text *out)
{
    if (json_scan_string(&w->s, out))
        return true;
    walk_wrong_type(w, "a string");
    return false;
}

bool walk_decoded(struct walk *w, struct slice *out)
{
    struct json_text t;
    if (!walk_string(w, &t))
        return false;
    struct slice s = json_text_decode(t, w->arena);
    if (s.p == NULL) {
        walk_no_memory(w);
        return false;
    }
    *out = s;
    return true;
}

bool walk_bool(struct walk *w, bool *out)
{
    enum json_kind k = json_scan_kind(&w->s);
    if (k != JSON_TRUE && k != JSON_FALSE) {
        walk_wrong_type(w, "a boolean");
        return false;
    }
    *out = k == JSON_TRUE;
    return walk_skip(w, NULL);
}

bool walk_int(struct walk *w, int64_t least, int64_t most, int64_t *out)
{
    struct slice raw;
    int64_t v;

    if (!walk_is(w, JSON_NUMBER)) {
        walk_wrong_type(w, "an integer");
        return false;
    }
    if (!walk_skip(w, &raw))
        return false;
    if (json_number_int(raw, &v) && v >= least && v <= most) {
        *out = v;
        return true;
    }
    bool whole = true;
    for (size_t i = 0; i < raw.n; i++)
        whole = whole && raw.p[i] != '.' && raw.p[i] != 'e' && raw.p[i] != 'E';
    struct slice place = walk_place_text(w);
    if (!whole)
        walk_refuse(w, "invalid_type", NULL, "Invalid type for '%.*s': expected an integer, written without fraction or exponent.",
                    SLICE_FMT(place));
    else
        walk_refuse(w, "invalid_value", NULL, "Invalid value for '%.*s': expected an integer from %" PRId64 " to %" PRId64 ".",
                    SLICE_FMT(place), least, most);
    return false;
}

struct span walk_span(const struct walk *w, struct slice raw)
{
    return (struct span){ .off = (size_t)(raw.p - w->s.begin), .len = raw.n };
}

/* Parts stay where they are: only the places of the chunks move when there are more of them. */
static bool chunk_add(struct walk *w)
{
    size_t n = w->count / ASK_PARTS_CHUNK;

    if (n == w->room) {
        size_t room = n == 0 ? 8 : n * 2;
        struct ask_part **grown = arena_alloc(w->arena, room * sizeof *grown);
        if (grown == NULL)
            return false;
        if (n > 0)
            memcpy(grown, w->chunks, n * sizeof *grown);
        w->chunks = grown;
        w->room = room;
    }
    w->chunks[n] = arena_alloc(w->arena, ASK_PARTS_CHUNK * sizeof **w->chunks);
    return w->chunks[n] != NULL;
}

struct ask_part *walk_part(struct walk *w, enum ask_part_kind kind, enum ask_place place)
{
    if (w->refused || w->s.error != NULL)
        return NULL;
    if (w->count % ASK_PARTS_CHUNK == 0 && !chunk_add(w)) {
        walk_no_memory(w);
        return NULL;
    }
    struct ask_part *p = &w->chunks[w->count / ASK_PARTS_CHUNK][w->count % ASK_PARTS_CHUNK];
    w->count++;
    *p = (struct ask_part){ .kind = kind, .place = place, .message = w->message };
    return p;
}

void walk_text_read(struct walk *w, struct json_text t, enum ask_place place)
{
    struct ask_part *p = t.raw.n > 0 ? walk_part(w, PART_TEXT, place) : NULL;
    if (p != NULL) {
        p->raw = t.raw;
        p->escaped = t.escaped;
    }
}

void walk_text(struct walk *w, enum ask_place place)
{
    struct json_text t;
    if (walk_string(w, &t))
        walk_text_read(w, t, place);
}

void walk_json(struct walk *w, enum ask_place place)
{
    struct slice raw;
    if (!walk_skip(w, &raw))
        return;
    struct ask_part *p = walk_part(w, PART_JSON, place);
    if (p != NULL)
        p->raw = raw;
}

void walk_unknown(struct walk *w, enum ask_place place)
{
    if (walk_skip(w, NULL))
        (void)walk_part(w, PART_UNKNOWN, place);
}

void walk_model(struct walk *w)
{
    const char *start = w->s.p;
    if (!walk_decoded(w, &w->ask->model))
        return;
    w->ask->at_model = walk_span(w, slice_make(start, (size_t)(w->s.p - start)));
    if (w->ask->model.n == 0 || w->ask->model.n > 256)
        walk_refuse(w, "invalid_value", NULL, "Invalid value for 'model': expected a name of 1 to 256 bytes.");
}

void walk_max_output(struct walk *w, int64_t least)
{
    const char *start = w->s.p;
    struct span key = w->key;
    int64_t v = -1;

    if (!walk_null(w) && !walk_int(w, least, DIALECT_MAX_OUTPUT, &v))
        return;
    /* A null beside a number under the other name says nothing. */
    if (v < 0 && w->ask->at_max_output.len > 0)
        return;
    w->ask->max_output = v;
    w->ask->at_max_output = walk_span(w, slice_make(start, (size_t)(w->s.p - start)));
    w->ask->at_max_output_key = key;
}

void walk_choices(struct walk *w)
{
    int64_t n = 1;
    if (!walk_null(w) && walk_int(w, 1, DIALECT_MAX_CHOICES, &n) && n > w->ask->choices)
        w->ask->choices = n;
}

void walk_stream(struct walk *w)
{
    if (!walk_null(w) && walk_bool(w, &w->ask->stream) && w->ask->stream)
        w->ask->features |= ASK_STREAM;
}

void walk_stream_options(struct walk *w)
{
    static const struct slice names[] = { FIELD("include_usage") };
    struct fields f = FIELDS(names, 1, false);
    const char *start = w->s.p;

    if (!walk_null(w)) {
        if (!walk_object(w, "an object"))
            return;
        while (walk_field(w, &f) >= 0) {
            const char *value = w->s.p;
            if (walk_null(w) || walk_bool(w, &w->ask->include_usage))
                w->ask->at_include_usage = walk_span(w, slice_make(value, (size_t)(w->s.p - value)));
        }
    }
    w->ask->at_stream_options = walk_span(w, slice_make(start, (size_t)(w->s.p - start)));
}

void walk_optional(struct walk *w, struct slice *out)
{
    if (!walk_null(w))
        walk_decoded(w, out);
}

void walk_optional_text(struct walk *w, struct json_text *out)
{
    if (!walk_null(w))
        walk_string(w, out);
}

bool walk_text_among(struct json_text t, const struct slice *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (json_text_is(t, names[i]))
            return true;
    return false;
}

void walk_messages(struct walk *w, void (*message)(struct walk *))
{
    if (!walk_array(w, "an array of messages"))
        return;
    for (w->message = 0; walk_element(w); w->message++)
        message(w);
    w->ask->message_count = w->message;
    w->message = UINT32_MAX;
    if (w->ask->message_count == 0)
        walk_refuse(w, "invalid_value", "messages", "Invalid 'messages': empty array. Expected at least one message.");
}

static void tool(struct walk *w, bool (*own)(struct json_text type))
{
    static const struct slice names[] = { FIELD("type") };
    struct fields f = FIELDS(names, 1, false);
    struct json_text type = { 0 };
    const char *start = w->s.p;

    if (!walk_object(w, "an object"))
        return;
    while (walk_field(w, &f) >= 0)
        walk_optional_text(w, &type);
    struct ask_part *p = walk_part(w, PART_JSON, IN_TOOLS);
    if (p != NULL)
        p->raw = slice_make(start, (size_t)(w->s.p - start));
    static const struct slice image_tool = FIELD("image_generation");
    if (w->ask->endpoint == ENDPOINT_RESPONSES && json_text_is(type, image_tool))
        w->ask->images_out = ASK_IMAGES_WANTED;
    if (!own(type))
        (void)walk_part(w, PART_UNKNOWN, IN_TOOLS);
    w->ask->features |= ASK_TOOLS;
}

void walk_tools(struct walk *w, bool (*own)(struct json_text type))
{
    if (walk_null(w) || !walk_array(w, "an array of tools"))
        return;
    while (walk_element(w))
        tool(w, own);
}

void walk_require(struct walk *w, const struct fields *f, unsigned i)
{
    if (f->seen >> i & 1 || w->s.error != NULL)
        return;
    struct slice place = walk_place_text(w);
    struct slice name = arena_printf(w->arena, "%.*s%s%.*s", SLICE_FMT(place), place.n > 0 ? "." : "", SLICE_FMT(f->names[i]));
    walk_refuse(w, "missing_required_parameter", name.p, "Missing required parameter: '%.*s'.", SLICE_FMT(name));
}
