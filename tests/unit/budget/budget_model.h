/* The model for test_budget_property.c: the menu of limits, random steps, and what the rows alone say about each account. Included once. */
#ifndef TOLLGATE_TEST_BUDGET_MODEL_H
#define TOLLGATE_TEST_BUDGET_MODEL_H

#include "budget/budget.h"
#include "budget/zone.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>

#include <cmocka.h>

#define S INT64_C(1000000)
#define MIN (60 * S)
#define HOUR (60 * MIN)
#define DAY (24 * HOUR)
#define CENT INT64_C(10000000)
#define START (INT64_C(1792885000) * S) /* an hour before Berlin leaves summer time in 2026 */

enum { LIMITS = 14, STEPS = 500, RUNS = 200, ROWS = STEPS };

/* ---- the limits to choose from: `base` is scaled by a reload ------------------------------------------------------------- */

struct menu {
    const char *name, *level, *unit, *window, *zone, *within_level, *within_value, *action, *rate;
    enum budget_unit u;
    int64_t base;
    enum { M_CALENDAR, M_ROLLING, M_TOTAL, M_CONCURRENT, M_BUCKET } kind;
    enum budget_calendar calendar;
    int64_t slot;         /* M_ROLLING: sub-slot of 24 */
    int64_t per_minute;   /* M_BUCKET */
};

static const struct menu menu[LIMITS] = {
    { "org", "organization", "usd", "month", "Europe/Berlin", .u = BUDGET_USD, .base = 9000, .kind = M_CALENDAR, .calendar = BUDGET_MONTH },
    { "team", "team", "usd", "day", NULL, .u = BUDGET_USD, .base = 1500, .kind = M_CALENDAR, .calendar = BUDGET_DAY },
    { "user", "user", "usd", "hour", "America/New_York", .u = BUDGET_USD, .base = 800, .kind = M_CALENDAR, .calendar = BUDGET_HOUR },
    { "tpm", "user", "tokens", NULL, NULL, .rate = "6000/min", .u = BUDGET_TOKENS, .base = 8000, .kind = M_BUCKET, .per_minute = 6000 },
    { "roll1", "team", "requests", "rolling 1h", NULL, .u = BUDGET_REQUESTS, .base = 14, .kind = M_ROLLING, .slot = 150 * S },
    { "roll6", "model", "usd", "rolling 6h", NULL, .u = BUDGET_USD, .base = 2500, .kind = M_ROLLING, .slot = 15 * MIN },
    { "prov", "provider", "tokens", "hour", "Asia/Kathmandu", .u = BUDGET_TOKENS, .base = 30000, .kind = M_CALENDAR, .calendar = BUDGET_HOUR },
    { "rpm", "user", "requests", "minute", NULL, "team", "red", .u = BUDGET_REQUESTS, .base = 3, .kind = M_CALENDAR,
      .calendar = BUDGET_MINUTE },
    { "all", "global", "concurrent", NULL, NULL, .u = BUDGET_CONCURRENT, .base = 12, .kind = M_CONCURRENT },
    { "app", "application", "usd", "total", NULL, .u = BUDGET_USD, .base = 20000, .kind = M_TOTAL },
    { "cc", "cost_center", "tokens", "week", "Australia/Lord_Howe", .action = "soft", .u = BUDGET_TOKENS, .base = 60000, .kind = M_CALENDAR,
      .calendar = BUDGET_WEEK },
    { "alias", "alias", "usd", "quarter", "Australia/Lord_Howe", .u = BUDGET_USD, .base = 15000, .kind = M_CALENDAR,
      .calendar = BUDGET_QUARTER },
    { "provpar", "provider", "concurrent", NULL, NULL, .u = BUDGET_CONCURRENT, .base = 8, .kind = M_CONCURRENT },
    { "trpm", "team", "requests", NULL, NULL, .rate = "30/min", .u = BUDGET_REQUESTS, .base = 20, .kind = M_BUCKET, .per_minute = 30 },
};

static int64_t unit_amount(const struct menu *m, int64_t n)
{
    return m->u == BUDGET_USD ? n * CENT : n;
}

/* ---- steps ---------------------------------------------------------------------------------------------------------------- */

enum op { RESERVE, SETTLE, RELEASE, ADVANCE, STEP_CLOCK, CRASH, RELOAD, TICK, END_TWICE, CORRECT, OPS };
static const char *const op_names[] = { "reserve", "settle", "release", "advance", "step_clock", "crash", "reload", "tick", "end_twice",
                                        "correct" };
static const unsigned weights[OPS] = { 44, 26, 5, 12, 2, 2, 3, 3, 1, 2 };

struct step {
    enum op op;
    uint32_t a, b, c;
};

static uint32_t rnd(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s >> 24);
}

static void make_steps(uint64_t seed, struct step *steps, size_t n)
{
    uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    unsigned total = 0;
    for (int i = 0; i < OPS; i++)
        total += weights[i];
    for (size_t i = 0; i < n; i++) {
        unsigned pick = rnd(&s) % total;
        int op = 0;
        while (pick >= weights[op])
            pick -= weights[op++];
        steps[i] = (struct step){ (enum op)op, rnd(&s), rnd(&s), rnd(&s) };
    }
    steps[0].op = RELOAD;
}

/* ---- the model ------------------------------------------------------------------------------------------------------------ */

enum { OPEN, ENDED };

struct row {
    const char *v[7]; /* organization, team, user, application, cost_center, alias, global */
    const char *model[2], *provider[2];
    int legs, state;
    int64_t decided, mono, ended_mono, ended_wall;
    struct budget_use hold, actual[2], corrected; /* corrections are part of actual, and nobody was asked about them */
    bool released;
    struct budget_hold id, dead;
};

struct world {
    struct budget *b;
    int64_t wall, eff, mono;
    bool on[LIMITS];
    int64_t amount[LIMITS];    /* in the unit */
    int64_t epoch[LIMITS];     /* buckets: monotonic time from which the present size counts */
    int64_t settled_in[LIMITS]; /* buckets: no earlier, holds that are older than the bucket count from its beginning */
    int64_t trusted_mono;      /* from here on wall and monotonic time agree far enough for buckets to be replayed */
    struct row rows[ROWS];
    size_t count;
    struct budget_zone *zones[LIMITS];
    char why[512];
};

static const char *const levels[] = { "organization", "team", "user", "application", "cost_center", "alias", "global" };

static const char *row_value(const struct row *r, const char *level, int leg)
{
    if (strcmp(level, "model") == 0)
        return r->model[leg];
    if (strcmp(level, "provider") == 0)
        return r->provider[leg];
    for (int i = 0; i < 7; i++)
        if (strcmp(levels[i], level) == 0)
            return r->v[i];
    abort();
}

static bool by_target(const struct menu *m)
{
    return strcmp(m->level, "model") == 0 || strcmp(m->level, "provider") == 0;
}

/* Which legs of the row (bits) an account sees. */
static unsigned row_legs(const struct row *r, const struct menu *m, const char *account)
{
    unsigned legs = 0;
    if (m->within_level && strcmp(row_value(r, m->within_level, 0), m->within_value) != 0)
        return 0;
    if (!by_target(m))
        return strcmp(row_value(r, m->level, 0), account) == 0 ? 3 : 0;
    for (int leg = 0; leg < r->legs; leg++)
        if (strcmp(row_value(r, m->level, leg), account) == 0)
            legs |= 1u << leg;
    return legs;
}

static int64_t pick(const struct budget_use *u, enum budget_unit unit)
{
    return unit == BUDGET_USD ? u->nano : unit == BUDGET_TOKENS ? u->tokens : u->requests;
}

static int64_t row_actual(const struct row *r, const struct menu *m, unsigned legs)
{
    if (m->u == BUDGET_REQUESTS && legs == 3 && !by_target(m))
        return r->released ? 0 : r->hold.requests;
    int64_t sum = 0;
    for (int leg = 0; leg < 2; leg++)
        if (legs & 1u << leg)
            sum += pick(&r->actual[leg], m->u);
    return sum;
}

static int64_t row_settled(const struct row *r, const struct menu *m, unsigned legs)
{
    return row_actual(r, m, legs) - pick(&r->corrected, m->u);
}

static int64_t floor_to(int64_t t, int64_t step)
{
    return t - t % step;
}

static bool in_window(const struct world *w, int l, const struct row *r)
{
    const struct menu *m = &menu[l];
    int64_t start, end;
    switch (m->kind) {
    case M_CALENDAR:
        budget_calendar_window(w->zones[l], m->calendar, w->eff, &start, &end);
        return r->decided >= start;
    case M_ROLLING:
        return floor_to(r->decided, m->slot) >= floor_to(w->eff, m->slot) - 24 * m->slot;
    default:
        return true;
    }
}

static void sums(const struct world *w, int l, const char *account, int64_t *used, int64_t *held)
{
    const struct menu *m = &menu[l];
    *used = *held = 0;
    for (size_t i = 0; i < w->count; i++) {
        const struct row *r = &w->rows[i];
        unsigned legs = row_legs(r, m, account);
        if (!legs || !in_window(w, l, r))
            continue;
        if (r->state == OPEN)
            *held += pick(&r->hold, m->u);
        else if (m->kind != M_CONCURRENT)
            *used += row_actual(r, m, legs);
    }
}

static bool fail_with(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fail_with(struct world *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->why, sizeof w->why, fmt, ap);
    va_end(ap);
    return false;
}

/* Whatever was taken from a bucket since any earlier moment is bounded by its size, its refill, and what earlier holds gave back. */
static bool bucket_bound(struct world *w, int l, const char *account)
{
    const struct menu *m = &menu[l];
    int64_t taken = 0;
    for (size_t i = w->count; i-- > 0;) {
        const struct row *from = &w->rows[i];
        if (from->mono < w->epoch[l])
            break;
        unsigned legs = row_legs(from, m, account);
        if (!legs)
            continue;
        int64_t cost = from->state == OPEN ? pick(&from->hold, m->u) : row_settled(from, m, legs);
        taken += cost < pick(&from->hold, m->u) ? cost : pick(&from->hold, m->u);
        int64_t back = 0;
        for (size_t k = 0; k < i; k++) {
            const struct row *r = &w->rows[k];
            unsigned other = row_legs(r, m, account);
            if (other && r->state == ENDED && r->ended_mono >= from->mono && row_settled(r, m, other) < pick(&r->hold, m->u))
                back += pick(&r->hold, m->u) - row_settled(r, m, other);
        }
        int64_t bound = w->amount[l] + (w->mono - from->mono) * m->per_minute / MIN + 1 + back;
        if (taken > bound)
            return fail_with(w, "bucket %s of %s: %" PRId64 " taken where %" PRId64 " is the bound", m->name, account, taken, bound);
    }
    return true;
}

#endif
