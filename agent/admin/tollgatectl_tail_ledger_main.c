#include "admin/tollgatectl_tail.h"

#include "admin/tollgatectl.h"
#include "manage/recalling.h"
#include "observe/recent.h"

#include <stdlib.h>

enum { KINDS = EVENT_CORRECTED + 1, REMEMBERED = 2 * RECENT_EVENTS };

struct tail_shown {
    int64_t ids[KINDS][REMEMBERED]; /* of rows, which ascend: a newer one takes an old one's place */
};

struct recalled {
    const struct event_filter *wanted;
    struct tail_shown *shown;
    tail_show_fn *show;
    void *user;
    msgpack_sbuffer packed;
    bool failed;
};

struct tail_shown *tail_shown_new(void)
{
    return calloc(1, sizeof(struct tail_shown));
}

void tail_shown_free(struct tail_shown *s)
{
    free(s);
}

bool tail_shown_has(const struct tail_shown *s, const msgpack_object *event)
{
    struct slice kind = ctl_text(event, "event");
    int64_t id = ctl_number(event, "ledger_id");

    for (int k = 0; id > 0 && k < KINDS; k++)
        if (slice_eq_cstr(kind, event_kind_name((enum event_kind)k)))
            return s->ids[k][id % REMEMBERED] == id;
    return false;
}

static bool each(void *user, const struct event *e)
{
    struct recalled *r = user;
    msgpack_unpacked held;
    msgpack_packer p;
    bool more;

    if (!event_filter_passes(r->wanted, e))
        return true;
    r->shown->ids[e->kind][e->ledger_id % REMEMBERED] = e->ledger_id;
    msgpack_sbuffer_clear(&r->packed);
    msgpack_packer_init(&p, &r->packed, msgpack_sbuffer_write);
    event_put(&p, e);
    msgpack_unpacked_init(&held);
    r->failed = msgpack_unpack_next(&held, r->packed.data, r->packed.size, NULL) != MSGPACK_UNPACK_SUCCESS;
    more = !r->failed && r->show(r->user, &held.data);
    msgpack_unpacked_destroy(&held);
    return more;
}

bool tail_recall(const char *ledger, int64_t since_us, int64_t until_us, const struct event_filter *wanted, struct tail_shown *shown,
                 tail_show_fn *show, void *user, char *why, size_t why_size)
{
    struct recalled r = { .wanted = wanted, .shown = shown, .show = show, .user = user };
    struct ledger_reader *reader = ledger_reader_open(ledger, why, why_size);

    if (reader == NULL)
        return false;
    msgpack_sbuffer_init(&r.packed);
    bool ok = recalling_events(reader, since_us, until_us, each, &r) == 0 && !r.failed;
    if (!ok)
        snprintf(why, why_size, "%s: %s", ledger, r.failed ? "out of memory" : ledger_reader_error(reader));
    msgpack_sbuffer_destroy(&r.packed);
    ledger_reader_close(reader);
    return ok;
}
