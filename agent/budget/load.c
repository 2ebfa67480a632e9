/* Rebuilding books from the ledger. What is not known exactly is assumed to the limit's favour. */
#include "budget/internal.h"

#include <stdlib.h>

static bool loads_slots(const struct limit *l)
{
    return l->loading && !limit_is_fine(l) && !limit_has_alias(l);
}

static bool loads_alias_slots(const struct limit *l)
{
    return l->loading && !limit_is_fine(l) && limit_has_alias(l);
}

static bool loads_events(const struct limit *l)
{
    return l->loading && limit_is_fine(l);
}

static int64_t slot_floor(int64_t t)
{
    int64_t r = t % BUDGET_SLOT_US;
    return t - (r < 0 ? r + BUDGET_SLOT_US : r);
}

/* The replay of a bucket begins here, in the deepest debt it can have, of which nothing is left after twice the time to fill. */
static int64_t replay_begin(const struct budget *b, const struct limit *l)
{
    return b->wall - 4 * l->fill_us;
}

static int64_t limit_lookback(struct budget *b, struct limit *l)
{
    int64_t start, end;
    switch (l->kind) {
    case KIND_CALENDAR:
        budget_calendar_window(l->zone, l->calendar, b->wall, &start, &end);
        return start;
    case KIND_ROLLING:
        return b->wall - (int64_t)l->ring_len * l->slot_us;
    case KIND_BUCKET:
        /* Holds taken earlier may have been overrun later. */
        return replay_begin(b, l) - b->hold_max_us;
    default:
        return INT64_MIN;
    }
}

void budget_lookback(struct budget *b, struct budget_lookback *out)
{
    *out = (struct budget_lookback){ INT64_MAX, INT64_MAX, INT64_MAX };
    pthread_mutex_lock(&b->lock);
    for (unsigned i = 0; i < b->limit_count; i++) {
        struct limit *l = b->limits[i];
        if (!l->loading)
            continue;
        int64_t from = limit_lookback(b, l);
        if (limit_is_fine(l)) {
            out->events_from_us = from < out->events_from_us ? from : out->events_from_us;
        } else {
            int64_t *first = limit_has_alias(l) ? &out->alias_slots_from_us : &out->slots_from_us;
            from = from == INT64_MIN ? from : slot_floor(from);
            *first = from < *first ? from : *first;
        }
    }
    pthread_mutex_unlock(&b->lock);
}

static void replay_start(const struct budget *b, struct account *a)
{
    if (a->replaying)
        return;
    a->replaying = true;
    a->mono = replay_begin(b, a->limit);
    a->level = -a->limit->amount;
    a->part = 0;
}

/* A bucket takes a request that was allowed: right after its hold the level was not below 0, so lower is not believed. With that, and
 * nothing else assumed, the level never ends above that of an engine that was not interrupted. Open holds come out of their order,
 * when an overrun may have been taken that they did not see: for them the level is taken as it looks. */
static void replay(const struct budget *b, struct account *a, int64_t at_us, int64_t amount, bool open)
{
    replay_start(b, a);
    if (at_us < replay_begin(b, a->limit))
        return;
    account_bucket_refill(a, at_us);
    account_commit(a, 0, amount);
    if (a->level < 0 && !open)
        a->level = 0;
}

/* ---- overruns: a heap by time ------------------------------------------------------------------------------------------- */

static int overrun_push(struct budget *b, struct account *a, int64_t at_us, int64_t amount)
{
    if (b->overrun_count == b->overrun_capacity) {
        size_t capacity = b->overrun_capacity ? 2 * b->overrun_capacity : 64;
        struct overrun *o = realloc(b->overruns, capacity * sizeof *o);
        if (!o)
            return -1;
        b->overruns = o;
        b->overrun_capacity = capacity;
    }
    size_t i = b->overrun_count++;
    for (; i > 0 && b->overruns[(i - 1) / 2].at > at_us; i = (i - 1) / 2)
        b->overruns[i] = b->overruns[(i - 1) / 2];
    b->overruns[i] = (struct overrun){ at_us, amount, a };
    return 0;
}

static struct overrun overrun_pop(struct budget *b)
{
    struct overrun first = b->overruns[0], last = b->overruns[--b->overrun_count];
    size_t i = 0, n = b->overrun_count;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && b->overruns[child + 1].at < b->overruns[child].at)
            child++;
        if (b->overruns[child].at >= last.at)
            break;
        b->overruns[i] = b->overruns[child];
    }
    if (n > 0)
        b->overruns[i] = last;
    return first;
}

/* Those before `at_us`. At the same instant the request goes first: taken later, an overrun weighs more. */
static void overruns_before(struct budget *b, int64_t at_us)
{
    while (b->overrun_count > 0 && b->overruns[0].at < at_us) {
        struct overrun o = overrun_pop(b);
        replay_start(b, o.account);
        if (o.at < replay_begin(b, o.account->limit))
            continue;
        account_bucket_refill(o.account, o.at);
        account_commit(o.account, 0, o.amount);
    }
}

static void load_amount(const struct budget *b, struct account *a, int64_t at_us, int64_t amount)
{
    int64_t window;
    if (amount == 0)
        return;
    if (a->limit->kind == KIND_BUCKET) {
        replay(b, a, at_us, amount, false);
        return;
    }
    window = account_window_at(b, a, at_us);
    if (window != INT64_MIN)
        account_commit(a, window, amount);
}

/* The instant at which a slot's use is booked: the latest one possible. */
static int64_t slot_instant(const struct budget *b, int64_t slot_start_us)
{
    int64_t last = slot_start_us + BUDGET_SLOT_US - 1;
    return last < b->wall ? last : b->wall;
}

static int load_slot(struct budget *b, const struct budget_subjects *s, int64_t slot_start_us, const struct budget_use *use,
                     bool (*which)(const struct limit *))
{
    struct values v;
    unsigned count;
    values_fill(&v, s);
    pthread_mutex_lock(&b->lock);
    int r = budget_collect(b, b->limits, b->limit_count, &v, which, &count);
    for (unsigned i = 0; r == 0 && i < count; i++) {
        struct account *a = b->scratch[i].account;
        int64_t amount = book_clip(unit_of(use, a->limit->unit));
        if (amount > 0 || a->limit->kind != KIND_BUCKET) /* what a bucket gets back out of its order could be too much */
            load_amount(b, a, slot_instant(b, slot_start_us), amount);
    }
    pthread_mutex_unlock(&b->lock);
    return r;
}

int budget_load_slot(struct budget *b, const struct budget_subjects *s, int64_t slot_start_us, const struct budget_use *use)
{
    return load_slot(b, s, slot_start_us, use, loads_slots);
}

int budget_load_alias_slot(struct budget *b, const struct budget_subjects *s, int64_t slot_start_us, const struct budget_use *use)
{
    return load_slot(b, s, slot_start_us, use, loads_alias_slots);
}

int budget_load_event(struct budget *b, const struct budget_subjects *s, int64_t decided_us, const struct budget_use *use,
                      const struct budget_over *over)
{
    struct values v;
    unsigned count;
    values_fill(&v, s);
    pthread_mutex_lock(&b->lock);
    int64_t at = decided_us < b->wall ? decided_us : b->wall;
    overruns_before(b, at);
    int r = budget_collect(b, b->limits, b->limit_count, &v, loads_events, &count);
    for (unsigned i = 0; r == 0 && i < count; i++) {
        struct account *a = b->scratch[i].account;
        int64_t amount = book_clip(unit_of(use, a->limit->unit));
        int64_t late = over && a->limit->kind == KIND_BUCKET ? book_clip(unit_of(&over->use, a->limit->unit)) : 0;
        if (late > 0)
            r = overrun_push(b, a, over->settled_us < at ? at : over->settled_us < b->wall ? over->settled_us : b->wall, late);
        if (r == 0)
            load_amount(b, a, at, amount - (late > 0 ? late : 0));
    }
    pthread_mutex_unlock(&b->lock);
    return r;
}

static void load_held(struct budget *b, struct hold *h)
{
    for (unsigned i = 0; i < h->count; i++) {
        struct entry *e = &h->entries[i];
        struct account *a = e->account;
        a->holds++;
        e->window = account_window_at(b, a, h->decided_us);
        if (a->limit->kind == KIND_BUCKET && a->limit->loading) {
            replay(b, a, h->decided_us, e->amount, true);
            a->held += e->amount;
        } else {
            account_hold(a, e->window, e->amount);
        }
    }
}

int budget_load_hold(struct budget *b, const struct budget_subjects *s, int64_t decided_us, const struct budget_use *held,
                     struct budget_hold *hold)
{
    struct values v;
    struct hold *h = NULL;
    unsigned count;
    hold->id = 0;
    values_fill(&v, s);
    pthread_mutex_lock(&b->lock);
    if (budget_collect(b, b->limits, b->limit_count, &v, NULL, &count) == 0)
        h = hold_new(b, &v);
    if (h && hold_reserve_entries(h, count) != 0) {
        hold_free(b, h);
        h = NULL;
    }
    if (h) {
        h->use = *held;
        h->decided_us = decided_us < b->wall ? decided_us : b->wall;
        for (unsigned i = 0; i < count; i++) {
            h->entries[i] = b->scratch[i];
            h->entries[i].amount = unit_of(held, b->scratch[i].account->limit->unit);
        }
        h->count = count;
        load_held(b, h);
        *hold = hold_id(h);
    }
    pthread_mutex_unlock(&b->lock);
    return h ? 0 : -1;
}

static void finish_replays(struct budget *b)
{
    overruns_before(b, INT64_MAX);
    for (size_t i = 0; i < b->chain_count; i++) {
        for (struct account *a = b->chains[i]; a; a = a->next) {
            if (!a->replaying)
                continue;
            account_bucket_refill(a, b->wall);
            a->replaying = false;
            a->mono = b->mono;
        }
    }
}

/* What a bucket passed before the restart was reported then. Of windows nobody knows: a crash may have come before the report. */
static void mark_crossed(struct budget *b)
{
    for (size_t i = 0; i < b->chain_count; i++) {
        for (struct account *a = b->chains[i]; a; a = a->next) {
            bool rate = a->limit->kind == KIND_BUCKET || a->limit->kind == KIND_CONCURRENT;
            int percent = rate && a->limit->loading ? budget_percent(a) : 0;
            for (unsigned t = 0; t < a->limit->threshold_count; t++)
                if (a->limit->thresholds[t] <= percent)
                    a->crossed |= 1u << t;
        }
    }
}

void budget_load_done(struct budget *b, int64_t now_us, int64_t mono_us)
{
    pthread_mutex_lock(&b->lock);
    budget_clock(b, now_us, mono_us);
    finish_replays(b);
    mark_crossed(b);
    for (unsigned i = 0; i < b->limit_count; i++)
        b->limits[i]->loading = false;
    for (size_t i = 0; i < b->chain_count; i++)
        for (struct account *a = b->chains[i]; a; a = a->next)
            budget_notice_check(b, a);
    b->ready = true;
    b->rebuilding = false;
    pthread_mutex_unlock(&b->lock);
}
