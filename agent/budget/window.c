/* An account's books: windows, sub-slots, buckets. */
#include "budget/internal.h"

static int64_t floor_to(int64_t t, int64_t step)
{
    int64_t r = t % step;
    return t - (r < 0 ? r + step : r);
}

void account_bucket_refill(struct account *a, int64_t mono)
{
    const struct limit *l = a->limit;
    int64_t passed = mono - a->mono;
    if (passed <= 0)
        return;
    a->mono = mono;
    /* Debt is at most one size, so twice the time to fill is all that can matter: no overflow however long the gap. */
    if (passed > 2 * l->fill_us) {
        a->level = l->amount;
        a->part = 0;
        return;
    }
    __int128 grown = (__int128)passed * l->refill + a->part;
    __int128 level = a->level + grown / l->period_us;
    a->part = (int64_t)(grown % l->period_us);
    if (level >= l->amount) {
        level = l->amount;
        a->part = 0;
    }
    a->level = (int64_t)level;
}

static void bucket_add(struct account *a, int64_t delta)
{
    a->level = sat_add(a->level, delta);
    if (a->level >= a->limit->amount) {
        a->level = a->limit->amount;
        a->part = 0;
    }
    if (a->level < -a->limit->amount)
        a->level = -a->limit->amount;
}

static struct slot *ring_slot(const struct account *a, int64_t start)
{
    return &a->ring[(uint64_t)(start / a->limit->slot_us) % a->limit->ring_len];
}

static void rolling_roll(struct account *a, int64_t wall)
{
    const struct limit *l = a->limit;
    int64_t newest = floor_to(wall, l->slot_us), oldest = newest - (l->ring_len - 1) * l->slot_us;
    if (a->start == newest)
        return;
    a->start = newest;
    for (uint32_t i = 0; i < l->ring_len; i++) {
        struct slot *s = &a->ring[i];
        if (s->start == INT64_MIN || s->start >= oldest)
            continue;
        a->committed = sat_add(a->committed, -s->committed);
        a->held -= s->held;
        *s = (struct slot){ .start = INT64_MIN };
    }
}

static void calendar_roll(struct budget *b, struct account *a)
{
    struct limit *l = a->limit;
    if (b->wall >= l->end_us || b->wall < l->start_us || l->end_us == 0)
        budget_calendar_window(l->zone, l->calendar, b->wall, &l->start_us, &l->end_us);
    if (a->start == l->start_us)
        return;
    if (a->start != INT64_MIN) {
        a->previous_start = a->start;
        a->previous_end = a->end;
        a->previous = a->committed;
    }
    a->start = l->start_us;
    a->end = l->end_us;
    a->committed = a->held = 0;
    a->crossed = 0;
}

void account_roll(struct budget *b, struct account *a)
{
    switch (a->limit->kind) {
    case KIND_CALENDAR:
        calendar_roll(b, a);
        break;
    case KIND_ROLLING:
        rolling_roll(a, b->wall);
        break;
    case KIND_BUCKET:
        if (!a->replaying)
            account_bucket_refill(a, b->mono);
        break;
    default:
        break;
    }
}

int64_t account_used(const struct account *a)
{
    int64_t used;
    switch (a->limit->kind) {
    case KIND_BUCKET:
        used = a->limit->amount - a->level - a->held;
        return used > 0 ? used : 0;
    case KIND_CONCURRENT:
        return a->held;
    default:
        return a->committed > 0 ? a->committed : 0;
    }
}

int64_t account_avail(const struct account *a)
{
    if (a->limit->kind == KIND_BUCKET)
        return a->level;
    int64_t taken = sat_add(a->committed > 0 ? a->committed : 0, a->held);
    return a->limit->amount - taken;
}

int64_t account_window_at(const struct budget *b, const struct account *a, int64_t at_us)
{
    if (at_us > b->wall)
        at_us = b->wall;
    if (a->limit->kind == KIND_CALENDAR)
        return at_us >= a->start ? a->start : INT64_MIN;
    if (a->limit->kind != KIND_ROLLING)
        return 0;
    int64_t start = floor_to(at_us, a->limit->slot_us);
    return start >= a->start - (a->limit->ring_len - 1) * a->limit->slot_us ? start : INT64_MIN;
}

/* The slot of a rolling window, made when it is a current one; NULL when it has gone. */
static struct slot *slot_at(const struct account *a, int64_t window)
{
    if (window == INT64_MIN || window > a->start || window < a->start - (a->limit->ring_len - 1) * a->limit->slot_us)
        return NULL;
    struct slot *s = ring_slot(a, window);
    if (s->start != window)
        *s = (struct slot){ .start = window };
    return s;
}

/* Books on the window if it is current; false when it has gone. */
static bool book(struct account *a, int64_t window, int64_t committed, int64_t held)
{
    if (a->limit->kind == KIND_CALENDAR && window != a->start) {
        if (window != a->previous_start || window == INT64_MIN)
            return false;
        a->previous = sat_add(a->previous, committed);
        return false;
    }
    if (a->limit->kind == KIND_ROLLING) {
        struct slot *s = slot_at(a, window);
        if (!s)
            return false;
        s->committed = sat_add(s->committed, committed);
        s->held += held;
    }
    a->committed = sat_add(a->committed, committed);
    a->held += held;
    return true;
}

void account_hold(struct account *a, int64_t window, int64_t amount)
{
    if (a->limit->kind == KIND_BUCKET) {
        a->held += amount;
        bucket_add(a, -amount);
    } else {
        book(a, window, 0, amount);
    }
}

bool account_settle(struct account *a, int64_t window, int64_t amount, int64_t actual)
{
    if (a->limit->kind == KIND_BUCKET) {
        a->held -= amount;
        bucket_add(a, amount - actual);
        return true;
    }
    return book(a, window, a->limit->kind == KIND_CONCURRENT ? 0 : actual, -amount);
}

void account_commit(struct account *a, int64_t window, int64_t amount)
{
    if (a->limit->kind == KIND_BUCKET)
        bucket_add(a, -amount);
    else if (a->limit->kind != KIND_CONCURRENT)
        book(a, window, amount, 0);
}

void account_resize(struct account *a, int64_t old_amount)
{
    if (a->limit->kind == KIND_BUCKET) {
        a->part = 0;
        bucket_add(a, a->limit->amount - old_amount);
    }
    a->crossed = 0;
}

void account_forget(struct budget *b, struct account *a)
{
    const struct limit *l = a->limit;
    if (l->kind == KIND_BUCKET || l->kind == KIND_CONCURRENT)
        return;
    a->committed = a->held = 0;
    a->crossed = 0;
    for (uint32_t i = 0; i < l->ring_len; i++)
        a->ring[i] = (struct slot){ .start = INT64_MIN };
    a->start = l->kind == KIND_TOTAL ? 0 : INT64_MIN;
    account_roll(b, a);
    a->previous_start = INT64_MIN;
}

/* The first sub-slot with something in it leaves at this instant; 0: none. */
static int64_t rolling_reset(const struct account *a)
{
    int64_t oldest = INT64_MAX;
    for (uint32_t i = 0; i < a->limit->ring_len; i++) {
        const struct slot *s = &a->ring[i];
        if (s->start != INT64_MIN && s->start < oldest && (s->committed != 0 || s->held != 0))
            oldest = s->start;
    }
    return oldest == INT64_MAX ? 0 : oldest + a->limit->ring_len * a->limit->slot_us;
}

static int64_t reset_at(const struct budget *b, const struct account *a)
{
    const struct limit *l = a->limit;
    switch (l->kind) {
    case KIND_CALENDAR:
        return a->end;
    case KIND_ROLLING:
        return rolling_reset(a);
    case KIND_BUCKET:
        return b->wall + (int64_t)(((__int128)(l->amount - a->level) * l->period_us + l->refill - 1) / l->refill);
    default:
        return 0;
    }
}

void account_state(const struct budget *b, const struct account *a, struct budget_state *out)
{
    const struct limit *l = a->limit;
    int64_t avail = account_avail(a);
    memcpy(out->limit, l->name, sizeof out->limit);
    out->level = budget_level_name(l->scopes[0].level);
    out->window = limit_window_name(l);
    out->unit = l->unit;
    out->amount = l->amount;
    out->used = l->kind == KIND_CONCURRENT ? 0 : account_used(a);
    out->held = a->held;
    out->left = avail > 0 ? avail : 0;
    out->reset_us = reset_at(b, a);
}
