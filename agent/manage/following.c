#include "manage/following.h"

#include "admin/rpc_put.h"
#include "agent.h"
#include "observe/event_fields.h"
#include "observe/recent.h"
#include "telemetry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SCANNED = 1024, AT_ONCE = 64 };

struct follower {
    int64_t boot, since_us, min_cost_nano; /* -1: not given */
    int64_t cursor;
    struct slice team, user, model, provider, request, kind, outcome; /* p NULL: any */
};

static bool number(struct slice v, int64_t *out)
{
    char text[24], *end;

    if (v.n == 0 || v.n >= sizeof text)
        return false;
    memcpy(text, v.p, v.n);
    text[v.n] = '\0';
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' && *out >= 0;
}

static bool parameter(struct follower *f, struct slice name, struct slice value)
{
    const struct {
        const char *name;
        int64_t *number;
        struct slice *text;
    } known[] = { { "boot", &f->boot, NULL },         { "cursor", &f->cursor, NULL },     { "since_us", &f->since_us, NULL },
                  { "min_cost_nano", &f->min_cost_nano, NULL }, { "team", NULL, &f->team }, { "user", NULL, &f->user },
                  { "model", NULL, &f->model },       { "provider", NULL, &f->provider }, { "request", NULL, &f->request },
                  { "kind", NULL, &f->kind },         { "outcome", NULL, &f->outcome } };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!slice_eq_cstr(name, known[i].name))
            continue;
        if (known[i].number != NULL)
            return number(value, known[i].number);
        *known[i].text = value;
        return true;
    }
    return false;
}

static bool parameters(const msgpack_object *params, struct follower *f)
{
    *f = (struct follower){ .boot = -1, .since_us = -1, .min_cost_nano = -1, .cursor = -1 };
    for (uint32_t i = 0; i < params->via.array.size; i++) {
        const msgpack_object *o = &params->via.array.ptr[i];
        const char *eq = o->type == MSGPACK_OBJECT_STR && o->via.str.size > 0 ? memchr(o->via.str.ptr, '=', o->via.str.size) : NULL;
        if (eq == NULL)
            return false;
        size_t n = (size_t)(eq - o->via.str.ptr);
        if (!parameter(f, slice_make(o->via.str.ptr, n), slice_make(eq + 1, o->via.str.size - n - 1)))
            return false;
    }
    return true;
}

/* Events keep the beginning of long texts. */
static bool is(struct slice wanted, const char *text, size_t room)
{
    return wanted.p == NULL || slice_eq_cstr(slice_make(wanted.p, wanted.n < room ? wanted.n : room - 1), text);
}
#define IS(wanted, member) is((wanted), (member), sizeof(member))

static bool wanted(const struct follower *f, const struct event *e)
{
    bool settlement = e->kind == EVENT_SETTLED || e->kind == EVENT_CORRECTED;
    const char *kind = event_kind_name(e->kind);

    return IS(f->team, e->team) && IS(f->user, e->user) && IS(f->provider, e->provider) && IS(f->request, e->request_id) &&
           (IS(f->model, e->alias) || IS(f->model, e->model)) && (f->kind.p == NULL || slice_eq_cstr(f->kind, kind)) &&
           (f->outcome.p == NULL || slice_eq_cstr(f->outcome, kind) || slice_eq_cstr(f->outcome, e->reason != NULL ? e->reason : "")) &&
           (f->min_cost_nano < 0 || (settlement && e->cost_nano >= f->min_cost_nano));
}

static void put_event(msgpack_packer *p, const struct event *e)
{
    struct log_field fields[EVENT_FIELDS_MAX];
    size_t n = event_fields(e, fields);
    const char *kind = event_kind_name(e->kind);

    msgpack_pack_map(p, n + 2);
    rpc_put_name(p, "at_us");
    msgpack_pack_int64(p, e->at_us);
    rpc_put_name(p, "event");
    msgpack_pack_str_with_body(p, kind, strlen(kind));
    for (size_t i = 0; i < n; i++) {
        rpc_put_name(p, fields[i].key);
        if (fields[i].type == LOG_FIELD_STR)
            msgpack_pack_str_with_body(p, fields[i].s.p, fields[i].s.n);
        else if (fields[i].type == LOG_FIELD_INT)
            msgpack_pack_int64(p, fields[i].i);
        else if (fields[i].i)
            msgpack_pack_true(p);
        else
            msgpack_pack_false(p);
    }
}

/* The matching ones of the next SCANNED events, packed into `out`. */
static size_t scan(struct recent *r, const struct follower *f, uint64_t *cursor, uint64_t *lost, msgpack_packer *out, struct event *room)
{
    size_t found = 0, scanned = 0, n;
    uint64_t missed;

    *lost = 0;
    while (scanned < SCANNED && (n = recent_read(r, cursor, room, AT_ONCE, &missed)) > 0) {
        *lost += missed;
        scanned += n;
        for (size_t i = 0; i < n; i++)
            if (wanted(f, &room[i])) {
                put_event(out, &room[i]);
                found++;
            }
    }
    return found;
}

const char *following_events(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct recent *r = a->telemetry->recent;
    struct follower f;
    bool reaches = true;
    uint64_t cursor, lost;
    msgpack_sbuffer events;
    msgpack_packer pack;

    if (!parameters(params, &f))
        return "parameters are name=value; are both of the same version?";
    struct event *room = malloc(AT_ONCE * sizeof *room);
    if (room == NULL)
        return "out of memory";
    if (f.cursor >= 0 && f.boot == a->started_us)
        cursor = (uint64_t)f.cursor;
    else if (f.boot >= 0)
        cursor = 0; /* of a process before this one */
    else
        cursor = f.since_us >= 0 ? recent_since(r, f.since_us, &reaches) : recent_end(r);
    msgpack_sbuffer_init(&events);
    msgpack_packer_init(&pack, &events, msgpack_sbuffer_write);
    size_t found = scan(r, &f, &cursor, &lost, &pack, room);
    free(room);
    msgpack_pack_map(p, 6);
    rpc_put_int(p, "boot", a->started_us);
    rpc_put_int(p, "cursor", (int64_t)cursor);
    rpc_put_int(p, "lost", (int64_t)lost);
    rpc_put_int(p, "more", cursor < recent_end(r));
    rpc_put_int(p, "reaches", reaches && !(f.since_us >= 0 && f.since_us < a->started_us));
    rpc_put_name(p, "events");
    msgpack_pack_array(p, found);
    p->callback(p->data, events.data, events.size);
    msgpack_sbuffer_destroy(&events);
    return NULL;
}
