#include "manage/event_filter.h"

#include "admin/rpc_put.h"
#include "observe/event_fields.h"

#include <errno.h>
#include <stdlib.h>

bool event_filter_number(struct slice text, int64_t *out)
{
    char digits[24], *end;

    if (text.n == 0 || text.n >= sizeof digits)
        return false;
    memcpy(digits, text.p, text.n);
    digits[text.n] = '\0';
    errno = 0;
    *out = strtoll(digits, &end, 10);
    return errno == 0 && *end == '\0' && *out >= 0;
}

bool event_filter_set(struct event_filter *f, struct slice name, struct slice value)
{
    const struct {
        const char *name;
        struct slice *to;
    } texts[] = { { "team", &f->team }, { "user", &f->user }, { "model", &f->model }, { "provider", &f->provider },
                  { "request", &f->request }, { "kind", &f->kind }, { "outcome", &f->outcome } };

    if (slice_eq_cstr(name, "min_cost_nano"))
        return event_filter_number(value, &f->min_cost_nano);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (slice_eq_cstr(name, texts[i].name)) {
            *texts[i].to = value;
            return true;
        }
    return false;
}

/* Events keep the beginning of long texts. */
static bool is(struct slice wanted, const char *text, size_t room)
{
    return wanted.p == NULL || slice_eq_cstr(slice_make(wanted.p, wanted.n < room ? wanted.n : room - 1), text);
}
#define IS(wanted, member) is((wanted), (member), sizeof(member))

bool event_filter_passes(const struct event_filter *f, const struct event *e)
{
    bool settlement = e->kind == EVENT_SETTLED || e->kind == EVENT_CORRECTED;
    const char *kind = event_kind_name(e->kind);

    return IS(f->team, e->team) && IS(f->user, e->user) && IS(f->provider, e->provider) && IS(f->request, e->request_id) &&
           (IS(f->model, e->alias) || IS(f->model, e->model)) && (f->kind.p == NULL || slice_eq_cstr(f->kind, kind)) &&
           (f->outcome.p == NULL || slice_eq_cstr(f->outcome, kind) || slice_eq_cstr(f->outcome, e->reason != NULL ? e->reason : "")) &&
           (f->min_cost_nano < 0 || (settlement && e->cost_nano >= f->min_cost_nano));
}

void event_put(msgpack_packer *p, const struct event *e)
{
    struct log_field fields[EVENT_FIELDS_MAX];
    size_t n = event_fields(e, fields);

    msgpack_pack_map(p, n + 2 + (e->ledger_id > 0));
    rpc_put_int(p, "at_us", e->at_us);
    rpc_put_text(p, "event", slice_cstr(event_kind_name(e->kind)));
    if (e->ledger_id > 0)
        rpc_put_int(p, "ledger_id", e->ledger_id);
    for (size_t i = 0; i < n; i++) {
        if (fields[i].type == LOG_FIELD_STR) {
            rpc_put_text(p, fields[i].key, fields[i].s);
        } else if (fields[i].type == LOG_FIELD_INT) {
            rpc_put_int(p, fields[i].key, fields[i].i);
        } else {
            rpc_put_name(p, fields[i].key);
            fields[i].i ? msgpack_pack_true(p) : msgpack_pack_false(p);
        }
    }
}
