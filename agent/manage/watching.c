#include "manage/watching.h"

#include "admin/rpc_put.h"
#include "agent.h"
#include "base/arena.h"
#include "base/clock.h"
#include "budget/budget.h"
#include "ledger/ledger.h"
#include "observe/activity.h"
#include "outcome/routing.h"
#include "telemetry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEAREST = 8, ACCOUNTS_PER_STEP = 512, ACCOUNTS_LOOKED_AT = 20000, NAME_BYTES = 200 };

/* A copy of a view, which lives in an arena. */
struct near {
    int64_t ppm; /* used and held, of the amount */
    struct budget_view view;
    char limit[NAME_BYTES], subject[NAME_BYTES], window[32];
};

static void put_latency(msgpack_packer *p, const char *name, const int64_t v[3])
{
    rpc_put_name(p, name);
    msgpack_pack_array(p, 3);
    for (int i = 0; i < 3; i++)
        msgpack_pack_int64(p, v[i]);
}

static void put_row(msgpack_packer *p, const struct activity_row *r)
{
    const struct activity_figures *f = &r->sums;

    msgpack_pack_map(p, 12);
    rpc_put_cstr(p, "name", r->name);
    rpc_put_int(p, "allowed", f->allowed);
    rpc_put_int(p, "denied", f->denied);
    rpc_put_int(p, "answered", f->answered);
    rpc_put_int(p, "settled", f->settled);
    rpc_put_int(p, "failed", f->failed);
    rpc_put_int(p, "fallback", f->fallback);
    rpc_put_int(p, "input", f->input);
    rpc_put_int(p, "output", f->output);
    rpc_put_int(p, "cost_nano", f->cost_nano);
    put_latency(p, "ttft_us", r->ttft_us);
    put_latency(p, "tpot_ns", r->tpot_ns);
}

/* Keeps the NEAREST of all, the nearest first. */
static void nearest_add(struct near *best, size_t *count, const struct budget_view *v)
{
    const struct budget_state *s = &v->state;
    struct near n = { .view = *v };
    size_t at = *count;

    if (s->amount <= 0 || s->used + s->held <= 0)
        return;
    n.ppm = (int64_t)((__int128)(s->used + s->held) * 1000000 / s->amount);
    while (at > 0 && best[at - 1].ppm < n.ppm)
        at--;
    if (at == NEAREST)
        return;
    snprintf(n.limit, sizeof n.limit, "%s", s->limit);
    snprintf(n.subject, sizeof n.subject, "%.*s", SLICE_FMT(v->subject));
    snprintf(n.window, sizeof n.window, "%s", s->window);
    size_t keep = *count < NEAREST ? *count : NEAREST - 1;
    memmove(best + at + 1, best + at, (keep - at) * sizeof *best);
    best[at] = n;
    *count = keep + 1;
}

static size_t nearest(struct budget *b, struct near *best)
{
    struct arena *arena = arena_new(65536);
    size_t cursor = 0, count = 0, looked = 0, n = 0;
    struct budget_view *views;

    if (arena == NULL)
        return 0;
    do {
        arena_reset(arena, 65536);
        if (budget_list(b, clock_wall_us(), clock_mono_us(), ACCOUNTS_PER_STEP, &cursor, arena, &views, &n) != 0)
            break;
        for (size_t i = 0; i < n; i++)
            nearest_add(best, &count, &views[i]);
        looked += n;
    } while (cursor != 0 && looked < ACCOUNTS_LOOKED_AT);
    arena_free(arena);
    return count;
}

static void put_limits(msgpack_packer *p, struct budget *b)
{
    struct near best[NEAREST];
    size_t n = nearest(b, best);

    rpc_put_name(p, "limits");
    msgpack_pack_array(p, n);
    for (size_t i = 0; i < n; i++) {
        const struct budget_state *s = &best[i].view.state;
        msgpack_pack_map(p, 10);
        rpc_put_cstr(p, "limit", best[i].limit);
        rpc_put_cstr(p, "subject", best[i].subject);
        rpc_put_cstr(p, "window", best[i].window);
        rpc_put_cstr(p, "unit", budget_unit_name(s->unit));
        rpc_put_int(p, "used_ppm", best[i].ppm);
        rpc_put_int(p, "amount", s->amount);
        rpc_put_int(p, "used", s->used);
        rpc_put_int(p, "held", s->held);
        rpc_put_int(p, "left", s->left);
        rpc_put_int(p, "reset_us", s->reset_us);
    }
}

static void put_state(msgpack_packer *p, struct agent *a)
{
    struct ledger_status ledger;
    struct budget_stats budget;
    msgpack_object none = { .type = MSGPACK_OBJECT_ARRAY };

    ledger_status(a->ledger, &ledger);
    budget_stats_get(a->budget, &budget);
    rpc_put_cstr(p, "version", TOLLGATE_VERSION);
    rpc_put_int(p, "at_us", clock_wall_us());
    rpc_put_int(p, "uptime_s", (clock_wall_us() - a->started_us) / 1000000);
    rpc_put_int(p, "holds", (int64_t)budget.holds);
    rpc_put_cstr(p, "ledger", ledger.failing ? "failing" : "ok");
    rpc_put_int(p, "ledger_queued", (int64_t)ledger.queued);
    rpc_put_name(p, "targets");
    if (routing_status(a, &none, p) != NULL)
        msgpack_pack_array(p, 0);
}

static int by_cost(const void *a, const void *b)
{
    const struct activity_row *x = a, *y = b;
    int64_t n = x->sums.allowed + x->sums.denied + x->sums.settled, m = y->sums.allowed + y->sums.denied + y->sums.settled;

    if (x->sums.cost_nano != y->sums.cost_nano)
        return x->sums.cost_nano < y->sums.cost_nano ? 1 : -1;
    return n != m ? (n < m ? 1 : -1) : strcmp(x->name, y->name);
}

const char *watching_top(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    const msgpack_object *word = params->via.array.size == 1 ? &params->via.array.ptr[0] : NULL;
    enum activity_by by = ACTIVITY_TEAM;
    int64_t window_us, now = clock_mono_us();

    if (word != NULL && (word->type != MSGPACK_OBJECT_STR || !activity_by_word(slice_make(word->via.str.ptr, word->via.str.size), &by)))
        return "one of team, model, target, user";
    struct activity_row *rows = malloc((ACTIVITY_NAMES + 2) * sizeof *rows);
    if (rows == NULL)
        return "out of memory";
    activity_read(a->telemetry->activity, ACTIVITY_ALL, now, rows, 1, &window_us);
    size_t n = activity_read(a->telemetry->activity, by, now, rows + 1, ACTIVITY_NAMES + 1, &window_us);
    qsort(rows + 1, n, sizeof *rows, by_cost);
    msgpack_pack_map(p, 11);
    put_state(p, a);
    put_limits(p, a->budget);
    rpc_put_int(p, "window_us", window_us);
    rpc_put_name(p, "all");
    put_row(p, &rows[0]);
    rpc_put_name(p, "rows");
    msgpack_pack_array(p, n);
    for (size_t i = 1; i <= n; i++)
        put_row(p, &rows[i]);
    free(rows);
    return NULL;
}
