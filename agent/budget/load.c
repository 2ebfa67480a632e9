/* Rebuilding books from the ledger. What is not known exactly is assumed to the limit's favour. */
#include "budget/internal.h"

static bool loads_slots(const struct limit *l)
{
    return l->loading && !limit_is_fine(l);
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

/* Where the replay of a bucket begins, in the deepest debt it can have: after twice the time to fill nothing of that is left. Before
 * `firm` an overrun of a request that was still open may have to come, so levels are taken as low as they look. */
static int64_t replay_firm(const struct budget *b, const struct limit *l)
{
    return b->wall - 2 * l->fill_us;
}

static int64_t replay_begin(const struct budget *b, const struct limit *l)
{
    return replay_firm(b, l) - b->hold_max_us - (limit_is_fine(l) ? 0 : BUDGET_SLOT_US);
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
        return replay_begin(b, l);
    default:
        return INT64_MIN;
    }
}

void budget_lookback(struct budget *b, struct budget_lookback *out)
{
    *out = (struct budget_lookback){ INT64_MAX, INT64_MAX };
    pthread_mutex_lock(&b->lock);
    for (unsigned i = 0; i < b->limit_count; i++) {
        struct limit *l = b->limits[i];
        if (!l->loading)
            continue;
        int64_t from = limit_lookback(b, l);
        if (limit_is_fine(l)) {
            out->events_from_us = from < out->events_from_us ? from : out->events_from_us;
        } else {
            from = from == INT64_MIN ? from : slot_floor(from);
            out->slots_from_us = from < out->slots_from_us ? from : out->slots_from_us;
        }
    }
    pthread_mutex_unlock(&b->lock);
}

/* A bucket takes a request that was allowed: right after its hold the level was not below 0 but for earlier overruns, so lower is not
 * believed. With that, and nothing else assumed, the level never ends above that of an engine that was not interrupted. */
static void replay(const struct budget *b, struct account *a, int64_t at_us, int64_t amount, int64_t over)
{
    const struct limit *l = a->limit;
    if (!a->replaying) {
        a->replaying = true;
        a->mono = replay_begin(b, l);
        a->level = -l->amount;
        a->part = 0;
    }
    account_bucket_refill(a, at_us);
    int64_t least = -l->amount;
    if (at_us >= replay_firm(b, l) && a->replay_over < l->amount)
        least = -a->replay_over;
    account_commit(a, 0, amount - over);
    if (a->level < least)
        a->level = least;
    account_commit(a, 0, over);
    a->replay_over = sat_add(a->replay_over, over);
}

static void load_amount(const struct budget *b, struct account *a, int64_t at_us, int64_t amount, int64_t over)
{
    int64_t window;
    if (amount == 0)
        return;
    if (a->limit->kind == KIND_BUCKET) {
        replay(b, a, at_us, amount, over);
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

int budget_load_slot(struct budget *b, const struct budget_subjects *s, int64_t slot_start_us, const struct budget_use *use)
{
    struct values v;
    unsigned count;
    values_fill(&v, s);
    pthread_mutex_lock(&b->lock);
    int r = budget_collect(b, b->limits, b->limit_count, &v, loads_slots, &count);
    for (unsigned i = 0; r == 0 && i < count; i++) {
        struct account *a = b->scratch[i].account;
        load_amount(b, a, slot_instant(b, slot_start_us), book_clip(unit_of(use, a->limit->unit)), 0);
    }
    pthread_mutex_unlock(&b->lock);
    return r;
}

int budget_load_event(struct budget *b, const struct budget_subjects *s, int64_t decided_us, const struct budget_use *use,
                      const struct budget_use *over)
{
    struct values v;
    unsigned count;
    values_fill(&v, s);
    pthread_mutex_lock(&b->lock);
    int64_t at = decided_us < b->wall ? decided_us : b->wall;
    int r = budget_collect(b, b->limits, b->limit_count, &v, loads_events, &count);
    for (unsigned i = 0; r == 0 && i < count; i++) {
        struct account *a = b->scratch[i].account;
        load_amount(b, a, at, book_clip(unit_of(use, a->limit->unit)), over ? book_clip(unit_of(over, a->limit->unit)) : 0);
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
            replay(b, a, h->decided_us, e->amount, 0);
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

/* Thresholds that were passed before the restart were reported then. */
static void mark_crossed(struct budget *b)
{
    for (size_t i = 0; i < b->chain_count; i++) {
        for (struct account *a = b->chains[i]; a; a = a->next) {
            int percent = a->limit->loading ? budget_percent(a) : 0;
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
    b->ready = true;
    b->rebuilding = false;
    pthread_mutex_unlock(&b->lock);
}
