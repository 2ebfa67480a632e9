#include "manage/following.h"

#include "admin/rpc_put.h"
#include "agent.h"
#include "ledger/ledger.h"
#include "manage/event_filter.h"
#include "observe/recent.h"
#include "telemetry.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { SCANNED = 1024, AT_ONCE = 64 };

struct follower {
    int64_t boot, since_us, cursor; /* -1: not given */
    struct event_filter wanted;
};

static bool parameter(struct follower *f, struct slice name, struct slice value)
{
    const struct {
        const char *name;
        int64_t *number;
    } own[] = { { "boot", &f->boot }, { "cursor", &f->cursor }, { "since_us", &f->since_us } };

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (slice_eq_cstr(name, own[i].name))
            return event_filter_number(value, own[i].number);
    return event_filter_set(&f->wanted, name, value);
}

static bool parameters(const msgpack_object *params, struct follower *f)
{
    *f = (struct follower){ .boot = -1, .since_us = -1, .cursor = -1, .wanted = EVENT_FILTER_ANY };
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
            if (event_filter_passes(&f->wanted, &room[i])) {
                event_put(out, &room[i]);
                found++;
            }
    }
    return found;
}

/* Where the follower begins, and from when on nothing is missing there: of an earlier time the ledger tells. */
static uint64_t begin(struct agent *a, const struct follower *f, bool *reaches, int64_t *begins_us)
{
    struct recent *r = a->telemetry->recent;
    bool overwritten;

    *reaches = true;
    *begins_us = a->started_us;
    if (f->boot >= 0)
        return f->cursor >= 0 && f->boot == a->started_us ? (uint64_t)f->cursor : 0 /* of a process before this one */;
    if (f->since_us < 0)
        return recent_end(r);
    uint64_t cursor = recent_since(r, f->since_us, &overwritten, begins_us);
    if (!overwritten)
        *begins_us = a->started_us;
    *reaches = f->since_us >= *begins_us;
    return cursor;
}

const char *following_events(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct recent *r = a->telemetry->recent;
    struct follower f;
    bool reaches;
    char path[PATH_MAX];
    int64_t begins_us;
    uint64_t lost;
    msgpack_sbuffer events;
    msgpack_packer pack;

    if (!parameters(params, &f))
        return "parameters are name=value; are both of the same version?";
    struct event *room = malloc(AT_ONCE * sizeof *room);
    if (room == NULL)
        return "out of memory";
    uint64_t cursor = begin(a, &f, &reaches, &begins_us);
    msgpack_sbuffer_init(&events);
    msgpack_packer_init(&pack, &events, msgpack_sbuffer_write);
    size_t found = scan(r, &f, &cursor, &lost, &pack, room);
    free(room);
    msgpack_pack_map(p, 8);
    rpc_put_int(p, "boot", a->started_us);
    rpc_put_int(p, "cursor", (int64_t)cursor);
    rpc_put_int(p, "lost", (int64_t)lost);
    rpc_put_int(p, "more", cursor < recent_end(r));
    rpc_put_int(p, "reaches", reaches);
    rpc_put_int(p, "begins_us", begins_us);
    rpc_put_cstr(p, "ledger", realpath(ledger_file(a->ledger), path) != NULL ? path : "");
    rpc_put_name(p, "events");
    msgpack_pack_array(p, found);
    p->callback(p->data, events.data, events.size);
    msgpack_sbuffer_destroy(&events);
    return NULL;
}
