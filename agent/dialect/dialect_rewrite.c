#include "dialect/dialect_rewrite.h"

#include "base/json_scan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_MEMBERS 16
/* Ours are 5 (model, ceiling and its key, usage, the insertion) and one for each member; a name the walk did not read may stand there more
 * often. */
#define MAX_EDITS 64

struct edit {
    size_t off, len;
    struct slice text;
};

struct rewrite {
    const struct ask *ask;
    struct slice body;
    struct arena *arena;
    struct edit edits[MAX_EDITS];
    size_t count;
    char *insert; /* members for behind the outer brace, each with a comma behind it */
    size_t inserted, room;
    bool emptied; /* no member of the client's is left */
    bool failed; /* memory is out, or more edits than fit */
};

static void edit_add(struct rewrite *r, size_t off, size_t len, struct slice text)
{
    if (text.p == NULL || r->count == MAX_EDITS)
        r->failed = true;
    else
        r->edits[r->count++] = (struct edit){ .off = off, .len = len, .text = text };
}

static void insert_add(struct rewrite *r, struct slice name, struct slice value)
{
    size_t need = name.n + value.n + 4;
    if (name.p == NULL || value.p == NULL)
        r->failed = true;
    if (r->failed)
        return;
    if (need > r->room - r->inserted) {
        size_t room = (r->room + need) * 2;
        char *grown = arena_alloc(r->arena, room);
        if (grown == NULL) {
            r->failed = true;
            return;
        }
        if (r->inserted > 0)
            memcpy(grown, r->insert, r->inserted);
        r->insert = grown;
        r->room = room;
    }
    r->insert[r->inserted++] = '"';
    memcpy(r->insert + r->inserted, name.p, name.n);
    r->inserted += name.n;
    r->insert[r->inserted++] = '"';
    r->insert[r->inserted++] = ':';
    memcpy(r->insert + r->inserted, value.p, value.n);
    r->inserted += value.n;
    r->insert[r->inserted++] = ',';
}

static struct slice quoted(struct arena *a, struct slice text)
{
    char *p = arena_alloc(a, text.n * 6 + 2);
    if (p == NULL)
        return SLICE_NONE;
    size_t n = 0;
    p[n++] = '"';
    n += json_escape_ascii(text, p + n);
    p[n++] = '"';
    return slice_make(p, n);
}

/* Puts `text` in place of a value, unless it stands there. */
static void edit_value(struct rewrite *r, struct span at, struct slice text)
{
    if (!slice_eq(slice_make(r->body.p + at.off, at.len), text))
        edit_add(r, at.off, at.len, text);
}

static const char *own_ceiling_key(enum endpoint e)
{
    switch (e) {
    case ENDPOINT_CHAT: return "max_completion_tokens";
    case ENDPOINT_RESPONSES: return "max_output_tokens";
    case ENDPOINT_COMPLETIONS:
    case ENDPOINT_MESSAGES: return "max_tokens";
    default: return NULL;
    }
}

/* The value of the outer object's member `name`; len 0: there is none. */
static struct span member_find(struct slice body, struct slice name)
{
    struct json_scan s;
    struct json_text key;
    struct slice value;

    json_scan_begin(&s, body);
    if (json_scan_enter(&s))
        while (json_scan_key(&s, &key) && json_scan_skip(&s, &value))
            if (json_text_is(key, name))
                return (struct span){ .off = (size_t)(value.p - body.p), .len = value.n };
    return (struct span){ 0 };
}

/* Gives the client's ceiling the name wished. A null may stand under that name already: then the two change places. */
static void ceiling_rename(struct rewrite *r, struct slice key, struct slice value)
{
    const struct ask *ask = r->ask;
    struct span other = member_find(r->body, key);

    if (other.len == 0) {
        edit_add(r, ask->at_max_output_key.off, ask->at_max_output_key.len, quoted(r->arena, key));
        edit_value(r, ask->at_max_output, value);
    } else if (other.off != ask->at_max_output.off) {
        edit_value(r, other, value);
        edit_value(r, ask->at_max_output, SLICE_LIT("null"));
    } else {
        edit_value(r, ask->at_max_output, value);
    }
}

static void ceiling(struct rewrite *r, const struct rewrite_wish *wish)
{
    const struct ask *ask = r->ask;
    const char *own = own_ceiling_key(ask->endpoint);
    const char *key = wish->ceiling_key != NULL ? wish->ceiling_key : own;
    bool given = ask->at_max_output.len > 0;

    if (own == NULL)
        return;
    struct slice value = slice_make(r->body.p + ask->at_max_output.off, ask->at_max_output.len);
    if (wish->output_ceiling >= 0) {
        /* An endpoint's documented default stays the smaller one. */
        bool smaller = ask->max_output >= 0 && ask->max_output <= wish->output_ceiling;
        if (!given || !smaller)
            value = arena_printf(r->arena, "%" PRId64, smaller ? ask->max_output : wish->output_ceiling);
    }
    if (!given && wish->output_ceiling >= 0)
        insert_add(r, slice_cstr(key), value);
    else if (given && !wish->rename_ceiling)
        edit_value(r, ask->at_max_output, value);
    if (given && wish->rename_ceiling)
        ceiling_rename(r, slice_cstr(key), value);
}

/* The first byte behind the brace at `off` that is no blank. */
static char first_in(struct slice body, size_t off)
{
    size_t i = off + 1;
    while (i < body.n && (body.p[i] == ' ' || body.p[i] == '\t' || body.p[i] == '\n' || body.p[i] == '\r'))
        i++;
    return i < body.n ? body.p[i] : '}';
}

static void usage(struct rewrite *r)
{
    const struct ask *ask = r->ask;

    if (!ask->stream || ask->include_usage || (ask->endpoint != ENDPOINT_CHAT && ask->endpoint != ENDPOINT_COMPLETIONS))
        return;
    if (ask->at_stream_options.len == 0)
        insert_add(r, SLICE_LIT("stream_options"), SLICE_LIT("{\"include_usage\":true}"));
    else if (r->body.p[ask->at_stream_options.off] != '{') /* null */
        edit_add(r, ask->at_stream_options.off, ask->at_stream_options.len, SLICE_LIT("{\"include_usage\":true}"));
    else if (ask->at_include_usage.len > 0)
        edit_add(r, ask->at_include_usage.off, ask->at_include_usage.len, SLICE_LIT("true"));
    else if (first_in(r->body, ask->at_stream_options.off) == '}')
        edit_add(r, ask->at_stream_options.off + 1, 0, SLICE_LIT("\"include_usage\":true"));
    else
        edit_add(r, ask->at_stream_options.off + 1, 0, SLICE_LIT("\"include_usage\":true,"));
}

static bool is_member(struct json_text key, const struct rewrite_member *m)
{
    return json_text_is(key, slice_cstr(m->name));
}

static bool dropped(const struct rewrite_wish *wish, struct json_text key)
{
    for (size_t i = 0; i < wish->member_count; i++)
        if (wish->members[i].json == NULL && is_member(key, &wish->members[i]))
            return true;
    return false;
}

/* Drops runs of members with one comma, walking the outer object once. A run ends before the key of the member that stays; the last run takes
 * the comma in front of it instead. */
struct run {
    size_t from;     /* where the first dropped key begins */
    size_t kept_end; /* where the last member that stays ends; 0: none yet */
    bool open;
};

static void drop_key(struct rewrite *r, const struct rewrite_wish *wish, struct run *run, struct json_text key)
{
    size_t at = (size_t)(key.raw.p - r->body.p) - 1;
    if (dropped(wish, key)) {
        if (!run->open)
            run->from = at;
        run->open = true;
        return;
    }
    if (run->open)
        edit_add(r, run->from, at - run->from, SLICE_LIT(""));
    run->open = false;
}

static void members(struct rewrite *r, const struct rewrite_wish *wish)
{
    struct json_scan s;
    struct json_text key;
    struct run run = { 0 };
    uint32_t done = 0;

    assert(wish->member_count <= MAX_MEMBERS);
    json_scan_begin(&s, r->body);
    if (!json_scan_enter(&s))
        return;
    size_t end = 0;
    while (json_scan_key(&s, &key)) {
        struct slice value;
        drop_key(r, wish, &run, key);
        if (!json_scan_skip(&s, &value))
            return;
        end = (size_t)(s.p - r->body.p);
        if (!run.open)
            run.kept_end = end;
        for (uint32_t i = 0; i < wish->member_count; i++) {
            const struct rewrite_member *m = &wish->members[i];
            if (m->json == NULL || !is_member(key, m))
                continue;
            done |= 1u << i;
            edit_add(r, end - value.n, value.n, slice_cstr(m->json));
        }
    }
    if (run.open) {
        size_t from = run.kept_end > 0 ? run.kept_end : run.from;
        edit_add(r, from, end - from, SLICE_LIT(""));
        r->emptied = run.kept_end == 0;
    }
    for (uint32_t i = 0; i < wish->member_count; i++)
        if (wish->members[i].json != NULL && !(done >> i & 1))
            insert_add(r, slice_cstr(wish->members[i].name), slice_cstr(wish->members[i].json));
}

static int by_offset_descending(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;
    if (x->off != y->off)
        return x->off < y->off ? 1 : -1;
    /* At the same place an insertion is written in front of what is replaced there, so it is applied after it. */
    return x->len < y->len ? 1 : x->len > y->len ? -1 : 0;
}

static int list_write(struct rewrite *r, struct slice *edits, int64_t *delta)
{
    size_t room = 1, n = 0;
    *delta = 0;
    for (size_t i = 0; i < r->count; i++)
        room += r->edits[i].text.n + 64;
    char *p = arena_alloc(r->arena, room);
    if (p == NULL)
        return -1;
    for (size_t i = 0; i < r->count; i++) {
        const struct edit *e = &r->edits[i];
        n += (size_t)snprintf(p + n, room - n, "%zu,%zu,%zu:", e->off, e->len, e->text.n);
        memcpy(p + n, e->text.p, e->text.n);
        n += e->text.n;
        p[n++] = ';';
        *delta += (int64_t)e->text.n - (int64_t)e->len;
    }
    p[n] = '\0';
    *edits = slice_make(p, n);
    return 0;
}

int dialect_rewrite(const struct ask *ask, struct slice body, const struct rewrite_wish *wish, struct arena *arena, struct slice *edits,
                    int64_t *delta)
{
    struct rewrite r = { .ask = ask, .body = body, .arena = arena };

    /* What the body says counts: the model asked for may have come from the path. */
    struct slice model = wish->model.n > 0 ? quoted(arena, wish->model) : SLICE_NONE;
    if (model.n > 0 && ask->at_model.len > 0 && !slice_eq(model, slice_make(body.p + ask->at_model.off, ask->at_model.len)))
        edit_add(&r, ask->at_model.off, ask->at_model.len, model);
    ceiling(&r, wish);
    if (wish->include_usage)
        usage(&r);
    if (wish->member_count > 0)
        members(&r, wish);
    if (r.failed)
        return -1;
    if (r.inserted > 0) {
        bool alone = r.emptied || first_in(body, ask->at_object.off) == '}';
        edit_add(&r, ask->at_object.off + 1, 0, slice_make(r.insert, r.inserted - (alone ? 1 : 0)));
    }
    qsort(r.edits, r.count, sizeof r.edits[0], by_offset_descending);
    return list_write(&r, edits, delta);
}

/* A number of the list, ended by `stop`. */
static bool list_number(struct slice *in, char stop, size_t *out)
{
    size_t v = 0, i = 0;
    for (; i < in->n && i < 15 && in->p[i] >= '0' && in->p[i] <= '9'; i++)
        v = v * 10 + (size_t)(in->p[i] - '0');
    if (i == 0 || i == in->n || in->p[i] != stop)
        return false;
    *in = slice_make(in->p + i + 1, in->n - i - 1);
    *out = v;
    return true;
}

static bool list_next(struct slice *in, struct edit *e)
{
    size_t n;
    if (!list_number(in, ',', &e->off) || !list_number(in, ',', &e->len) || !list_number(in, ':', &n) || n >= in->n ||
        in->p[n] != ';')
        return false;
    e->text = slice_make(in->p, n);
    *in = slice_make(in->p + n + 1, in->n - n - 1);
    for (size_t i = 0; i < n; i++)
        if (e->text.p[i] < 0x20 || e->text.p[i] > 0x7e)
            return false;
    return true;
}

int dialect_rewrite_apply(struct slice body, struct slice edits, struct arena *arena, struct slice *out)
{
    char *p = arena_alloc(arena, body.n + edits.n + 1);
    size_t n = body.n, last = body.n;

    if (p == NULL)
        return -1;
    if (n > 0)
        memcpy(p, body.p, n);
    while (edits.n > 0) {
        struct edit e;
        if (!list_next(&edits, &e) || e.off > last || e.len > last - e.off)
            return -1;
        memmove(p + e.off + e.text.n, p + e.off + e.len, n - e.off - e.len);
        memcpy(p + e.off, e.text.p, e.text.n);
        n = n - e.len + e.text.n;
        last = e.off;
    }
    *out = slice_make(p, n);
    return 0;
}

int dialect_rewrite_pieces(struct slice body, struct slice edits, bool (*piece)(void *user, struct slice s), void *user)
{
    struct edit all[MAX_EDITS];
    size_t n = 0, last = body.n, at = 0;

    while (edits.n > 0) {
        if (n == MAX_EDITS || !list_next(&edits, &all[n]) || all[n].off > last || all[n].len > last - all[n].off)
            return -1;
        last = all[n++].off;
    }
    while (n-- > 0) {
        if (!piece(user, slice_make(body.p + at, all[n].off - at)) || !piece(user, all[n].text))
            return -1;
        at = all[n].off + all[n].len;
    }
    return piece(user, slice_make(body.p + at, body.n - at)) ? 0 : -1;
}
