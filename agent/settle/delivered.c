#include "settle/delivered.h"

#include "base/json_scan.h"
#include "settle/sse.h"

#include <stdlib.h>

/* Choices beyond this are counted as this one. */
#define CHOICE_MOST 65535

/* A stretch of text as it stands in the body. */
struct piece {
    uint32_t choice;
    enum delivered_kind kind;
    bool escaped;
    size_t order;
    struct slice raw;
};

/* One JSON value of the body: an event's payload, or all of it. */
struct reader {
    struct json_scan s;
    struct arena *arena;
    struct delivered *out;
    struct piece *pieces;
    size_t count, room;
    size_t event;    /* first piece of this event */
    bool no_memory, from_event;
    struct json_text type; /* of the event */
};

static bool is(struct json_text t, const char *name)
{
    return json_text_is(t, slice_cstr(name));
}

static void piece_add(struct reader *r, enum delivered_kind kind, struct slice raw, bool escaped)
{
    if (raw.n == 0)
        return;
    if (r->count == r->room) {
        size_t room = r->room == 0 ? 64 : r->room * 2;
        struct piece *grown = arena_alloc(r->arena, room * sizeof *grown);
        if (grown == NULL) {
            r->no_memory = true;
            json_scan_fail(&r->s, "has no memory");
            return;
        }
        if (r->count > 0)
            memcpy(grown, r->pieces, r->count * sizeof *grown);
        r->pieces = grown;
        r->room = room;
    }
    r->pieces[r->count] = (struct piece){ .kind = kind, .escaped = escaped, .order = r->count, .raw = raw };
    r->count++;
}

/* Without an escape that the cut went through. */
static struct slice whole_escapes(struct slice raw)
{
    size_t i = 0;
    while (i < raw.n) {
        const char *q = memchr(raw.p + i, '\\', raw.n - i);
        if (q == NULL)
            return raw;
        i = (size_t)(q - raw.p);
        size_t need = i + 1 < raw.n && raw.p[i + 1] == 'u' ? 6 : 2;
        if (raw.n - i < need)
            return slice_make(raw.p, i);
        i += need;
    }
    return raw;
}

/* The value at the cursor as text, if it is one; also the start of one that the end of the body cuts. */
static void text(struct reader *r, enum delivered_kind kind)
{
    struct json_text t;

    if (r->s.error != NULL)
        return;
    if (r->s.p == r->s.end || *r->s.p != '"') {
        json_scan_skip(&r->s, NULL);
        return;
    }
    const char *start = r->s.p + 1;
    if (json_scan_string(&r->s, &t))
        piece_add(r, kind, t.raw, t.escaped);
    else if (r->s.truncated)
        piece_add(r, kind, whole_escapes(slice_make(start, (size_t)(r->s.end - start))), true);
}

/* A value that is text, whatever it is: tool arguments given as an object. */
static void verbatim(struct reader *r, enum delivered_kind kind)
{
    struct slice raw;

    if (r->s.p < r->s.end && *r->s.p == '"') {
        text(r, kind);
        return;
    }
    const char *start = r->s.p;
    if (json_scan_skip(&r->s, &raw)) {
        if (!slice_eq_cstr(raw, "{}") && !slice_eq_cstr(raw, "null"))
            piece_add(r, kind, raw, false);
    } else if (r->s.truncated) {
        piece_add(r, kind, slice_make(start, (size_t)(r->s.end - start)), false);
    }
}

/* Enters the object or array at the cursor; another kind is passed over. */
static bool enter(struct reader *r, enum json_kind k)
{
    if (json_scan_kind(&r->s) == k)
        return json_scan_enter(&r->s);
    json_scan_skip(&r->s, NULL);
    return false;
}

static void string(struct reader *r, struct json_text *out)
{
    if (!json_scan_string(&r->s, out))
        json_scan_skip(&r->s, NULL);
}

static void model(struct reader *r)
{
    struct json_text t = { 0 };
    string(r, &t);
    if (t.raw.n == 0 || r->out->model.n > 0)
        return;
    r->out->model = json_text_decode(t, r->arena);
    if (r->out->model.p == NULL)
        r->no_memory = true;
}

static void usage(struct reader *r, struct slice *into)
{
    struct slice raw;
    bool object = json_scan_kind(&r->s) == JSON_OBJECT;
    if (json_scan_skip(&r->s, &raw) && object)
        *into = raw;
}

static void function(struct reader *r)
{
    struct json_text key;
    if (!enter(r, JSON_OBJECT))
        return;
    while (json_scan_key(&r->s, &key)) {
        if (is(key, "name"))
            text(r, DELIVERED_TOOL);
        else if (is(key, "arguments") || is(key, "input"))
            verbatim(r, DELIVERED_TOOL);
        else
            json_scan_skip(&r->s, NULL);
    }
}

/* A call begins where its id stands: later chunks of it carry none. */
static void tool_calls(struct reader *r)
{
    struct json_text key;
    if (!enter(r, JSON_ARRAY))
        return;
    while (json_scan_element(&r->s)) {
        if (!enter(r, JSON_OBJECT))
            continue;
        while (json_scan_key(&r->s, &key)) {
            if (is(key, "function") || is(key, "custom")) {
                function(r);
            } else {
                if (is(key, "id") && json_scan_kind(&r->s) == JSON_STRING)
                    r->out->tool_calls++;
                json_scan_skip(&r->s, NULL);
            }
        }
    }
}

static void content(struct reader *r);

/* A chat delta or message. */
static void chat_message(struct reader *r)
{
    struct json_text key;
    if (!enter(r, JSON_OBJECT))
        return;
    while (json_scan_key(&r->s, &key)) {
        if (is(key, "content"))
            content(r);
        else if (is(key, "refusal"))
            text(r, DELIVERED_TEXT);
        else if (is(key, "reasoning_content") || is(key, "reasoning"))
            text(r, DELIVERED_REASONING);
        else if (is(key, "tool_calls"))
            tool_calls(r);
        else if (is(key, "function_call"))
            function(r);
        else
            json_scan_skip(&r->s, NULL);
    }
}

/* The member at the cursor, whatever it is. */
static void finish_reason(struct reader *r, struct json_text key)
{
    if ((is(key, "finish_reason") || is(key, "stop_reason")) && json_scan_kind(&r->s) == JSON_STRING)
        r->out->finished = true;
    json_scan_skip(&r->s, NULL);
}

static void choice(struct reader *r)
{
    struct json_text key;
    struct slice raw;
    int64_t index = 0;
    size_t first = r->count;

    if (!enter(r, JSON_OBJECT))
        return;
    while (json_scan_key(&r->s, &key)) {
        if (is(key, "index")) {
            if (json_scan_skip(&r->s, &raw) && (!json_number_int(raw, &index) || index < 0))
                index = 0;
        } else if (is(key, "delta") || is(key, "message")) {
            chat_message(r);
        } else if (is(key, "text")) {
            text(r, DELIVERED_TEXT);
        } else {
            finish_reason(r, key);
        }
    }
    if (index > CHOICE_MOST)
        index = CHOICE_MOST;
    for (size_t i = first; i < r->count; i++)
        r->pieces[i].choice = (uint32_t)index;
    if ((uint32_t)index + 1 > r->out->choices)
        r->out->choices = (uint32_t)index + 1;
}

static void choices(struct reader *r)
{
    r->out->chat = true;
    if (!enter(r, JSON_ARRAY))
        return;
    while (json_scan_element(&r->s))
        choice(r);
}

static void summary(struct reader *r)
{
    struct json_text key;
    if (!enter(r, JSON_ARRAY))
        return;
    while (json_scan_element(&r->s)) {
        if (!enter(r, JSON_OBJECT))
            continue;
        while (json_scan_key(&r->s, &key)) {
            if (is(key, "text"))
                text(r, DELIVERED_REASONING);
            else
                json_scan_skip(&r->s, NULL);
        }
    }
}

/* A content block of Anthropic, a content part, or an output item of Responses: told by members. */
static void block(struct reader *r)
{
    struct json_text key, type = { 0 };
    size_t first = r->count;

    if (!enter(r, JSON_OBJECT))
        return;
    while (json_scan_key(&r->s, &key)) {
        if (is(key, "type"))
            string(r, &type);
        else if (is(key, "text") || is(key, "refusal"))
            text(r, DELIVERED_TEXT);
        else if (is(key, "thinking"))
            text(r, DELIVERED_REASONING);
        else if (is(key, "summary"))
            summary(r);
        else if (is(key, "name"))
            text(r, DELIVERED_TOOL);
        else if (is(key, "input") || is(key, "arguments"))
            verbatim(r, DELIVERED_TOOL);
        else
            json_scan_skip(&r->s, NULL);
    }
    if (is(type, "tool_use") || is(type, "server_tool_use") || is(type, "function_call") || is(type, "custom_tool_call"))
        r->out->tool_calls++;
    if (is(type, "reasoning"))
        for (size_t i = first; i < r->count; i++)
            r->pieces[i].kind = DELIVERED_REASONING;
}

/* Text, or an array of blocks. */
static void content(struct reader *r)
{
    if (json_scan_kind(&r->s) != JSON_ARRAY) {
        text(r, DELIVERED_TEXT);
        return;
    }
    if (!json_scan_enter(&r->s))
        return;
    while (json_scan_element(&r->s))
        block(r);
}

/* Output of Responses: items whose `content` holds parts. */
static void output(struct reader *r)
{
    struct json_text key, type;
    if (!enter(r, JSON_ARRAY))
        return;
    while (json_scan_element(&r->s)) {
        size_t first = r->count;
        type = (struct json_text){ 0 };
        if (!enter(r, JSON_OBJECT))
            continue;
        while (json_scan_key(&r->s, &key)) {
            if (is(key, "content"))
                content(r);
            else if (is(key, "summary"))
                summary(r);
            else if (is(key, "name"))
                text(r, DELIVERED_TOOL);
            else if (is(key, "arguments") || is(key, "input"))
                verbatim(r, DELIVERED_TOOL);
            else if (is(key, "type"))
                string(r, &type);
            else
                json_scan_skip(&r->s, NULL);
        }
        if (is(type, "function_call") || is(type, "custom_tool_call"))
            r->out->tool_calls++;
        for (size_t i = first; is(type, "reasoning") && i < r->count; i++)
            r->pieces[i].kind = DELIVERED_REASONING;
    }
}

/* Anthropic's delta of a block: an object. Responses': text. */
static void delta(struct reader *r)
{
    struct json_text key;
    if (json_scan_kind(&r->s) == JSON_STRING) {
        text(r, DELIVERED_TEXT); /* its kind is set by the event's type */
        return;
    }
    if (!enter(r, JSON_OBJECT))
        return;
    while (json_scan_key(&r->s, &key)) {
        if (is(key, "text"))
            text(r, DELIVERED_TEXT);
        else if (is(key, "thinking"))
            text(r, DELIVERED_REASONING);
        else if (is(key, "partial_json"))
            text(r, DELIVERED_TOOL);
        else
            finish_reason(r, key);
    }
}

/* message_start's message, and the response of response.* events; what they hold as output is said by other events too. */
static void envelope(struct reader *r, struct slice *into)
{
    struct json_text key;
    if (!enter(r, JSON_OBJECT))
        return;
    while (json_scan_key(&r->s, &key)) {
        if (is(key, "model"))
            model(r);
        else if (is(key, "usage"))
            usage(r, into);
        else
            json_scan_skip(&r->s, NULL);
    }
}

static void error_member(struct reader *r)
{
    if (json_scan_kind(&r->s) != JSON_NULL)
        r->out->error = true;
    json_scan_skip(&r->s, NULL);
}

static void top_member(struct reader *r, struct json_text key)
{
    if (is(key, "type"))
        string(r, &r->type);
    else if (is(key, "choices"))
        choices(r);
    else if (is(key, "delta"))
        delta(r);
    else if (is(key, "usage"))
        usage(r, &r->out->usage);
    else if (is(key, "model"))
        model(r);
    else if (is(key, "error"))
        error_member(r);
    else if (is(key, "message"))
        envelope(r, &r->out->first_usage);
    else if (is(key, "response"))
        envelope(r, &r->out->usage);
    else if (is(key, "content_block") || is(key, "item"))
        block(r);
    else if (is(key, "content") && !r->from_event)
        content(r);
    else if (is(key, "output") && !r->from_event)
        output(r);
    else
        json_scan_skip(&r->s, NULL);
}

/* Whether the value of a response event's text is output; the .done events say it all again. */
static bool event_kind(struct json_text type, enum delivered_kind *kind)
{
    static const struct {
        const char *type;
        enum delivered_kind kind;
    } deltas[] = {
        { "response.output_text.delta", DELIVERED_TEXT },
        { "response.refusal.delta", DELIVERED_TEXT },
        { "response.reasoning_text.delta", DELIVERED_REASONING },
        { "response.reasoning_summary_text.delta", DELIVERED_REASONING },
        { "response.function_call_arguments.delta", DELIVERED_TOOL },
        { "response.custom_tool_call_input.delta", DELIVERED_TOOL },
        { "response.mcp_call_arguments.delta", DELIVERED_TOOL },
        { "response.code_interpreter_call_code.delta", DELIVERED_TOOL },
    };
    for (size_t i = 0; i < sizeof deltas / sizeof *deltas; i++)
        if (is(type, deltas[i].type)) {
            *kind = deltas[i].kind;
            return true;
        }
    return false;
}

/* What the event's type, which may come last, says about the pieces it brought. */
static void event_finish(struct reader *r)
{
    static const struct slice response = { .p = "response.", .n = 9 };
    enum delivered_kind kind;

    if (event_kind(r->type, &kind)) {
        for (size_t i = r->event; i < r->count; i++)
            r->pieces[i].kind = kind;
    } else if (slice_starts(r->type.raw, response) && !is(r->type, "response.output_item.added")) {
        r->count = r->event;
    }
    if (r->count > r->event && r->out->choices == 0)
        r->out->choices = 1;
    if (is(r->type, "message_stop") || is(r->type, "response.completed") || is(r->type, "response.incomplete") ||
        is(r->type, "response.failed"))
        r->out->terminal = true;
    if (is(r->type, "error") || is(r->type, "response.failed"))
        r->out->error = true;
    r->out->type = r->type.raw;
}

static void value(struct reader *r, struct slice json, bool cut)
{
    struct json_text key;
    uint32_t calls = r->out->tool_calls;

    r->event = r->count;
    r->type = (struct json_text){ 0 };
    json_scan_begin(&r->s, json);
    if (enter(r, JSON_OBJECT))
        while (json_scan_key(&r->s, &key))
            top_member(r, key);
    bool whole = json_scan_end(&r->s);
    event_finish(r);
    if (r->count == r->event && slice_starts(r->type.raw, slice_cstr("response.output_item.done")))
        r->out->tool_calls = calls;
    if (!r->from_event)
        r->out->terminal = whole;
    if (whole)
        return;
    if (r->s.truncated && (cut || !r->from_event))
        r->out->cut = true;
    else
        r->out->odd = true;
}

static int by_choice(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    if (x->choice != y->choice)
        return x->choice < y->choice ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* From `i` on, the pieces of one choice and kind. */
static size_t group_end(const struct reader *r, size_t i, size_t *bytes)
{
    size_t j = i;
    *bytes = 0;
    while (j < r->count && r->pieces[j].choice == r->pieces[i].choice && r->pieces[j].kind == r->pieces[i].kind)
        *bytes += r->pieces[j++].raw.n;
    return j;
}

static int join(struct reader *r)
{
    size_t bytes, groups = 0;

    if (r->count == 0)
        return 0;
    qsort(r->pieces, r->count, sizeof r->pieces[0], by_choice);
    for (size_t i = 0; i < r->count; i = group_end(r, i, &bytes))
        groups++;
    struct delivered_text *texts = arena_alloc(r->arena, groups * sizeof *texts);
    if (texts == NULL)
        return -1;
    r->out->texts = texts;
    for (size_t i = 0, j; i < r->count; i = j) {
        j = group_end(r, i, &bytes);
        char *p = arena_alloc(r->arena, bytes);
        size_t n = 0;
        if (p == NULL)
            return -1;
        for (size_t k = i; k < j; k++) {
            const struct piece *from = &r->pieces[k];
            if (from->escaped) {
                n += json_unescape(from->raw, p + n);
            } else {
                memcpy(p + n, from->raw.p, from->raw.n);
                n += from->raw.n;
            }
        }
        *texts++ = (struct delivered_text){ .choice = r->pieces[i].choice, .kind = r->pieces[i].kind, .text = slice_make(p, n) };
    }
    r->out->text_count = groups;
    return 0;
}

static bool looks_like_json(struct slice body)
{
    size_t i = 0;
    while (i < body.n && (body.p[i] == ' ' || body.p[i] == '\n' || body.p[i] == '\r' || body.p[i] == '\t'))
        i++;
    return i < body.n && body.p[i] == '{';
}

static int events(struct reader *r, struct slice body)
{
    struct sse_event e;
    int rc;

    r->from_event = true;
    while ((rc = sse_next(&body, r->arena, &e)) > 0) {
        if (slice_eq_cstr(e.data, "[DONE]")) {
            r->out->terminal = true;
            continue;
        }
        if (e.cut)
            r->out->cut = true;
        value(r, e.data, e.cut);
        if (r->no_memory)
            return -1;
    }
    return rc;
}

int delivered_read(struct slice body, bool sse, struct arena *arena, struct delivered *out)
{
    struct reader r = { .arena = arena, .out = out };

    *out = (struct delivered){ 0 };
    if (body.n == 0)
        return 0;
    /* An error body under the wrong content type is JSON all the same. */
    if (!sse || looks_like_json(body))
        value(&r, body, true);
    else if (events(&r, body) != 0)
        return -1;
    if (r.no_memory || join(&r) != 0)
        return -1;
    out->finished = out->finished || out->terminal;
    if (out->usage.n == 0) {
        out->usage = out->first_usage;
        out->first_usage = SLICE_NONE;
    }
    return 0;
}
