/* Ending holds, and corrections. */
#include "budget/internal.h"

static struct budget_use use_sum(const struct budget_use *a, const struct budget_use *b)
{
    return (struct budget_use){ sat_add(a->nano, b->nano), sat_add(a->tokens, b->tokens), sat_add(a->requests, b->requests) };
}

static struct budget_use use_clip(const struct budget_use *u, bool negative)
{
    struct budget_use r = { book_clip(u->nano), book_clip(u->tokens), book_clip(u->requests) };
    if (!negative) {
        r.nano = r.nano < 0 ? 0 : r.nano;
        r.tokens = r.tokens < 0 ? 0 : r.tokens;
        r.requests = r.requests < 0 ? 0 : r.requests;
    }
    return r;
}

/* What an entry's account sees of the real use. */
static int64_t entry_actual(const struct entry *e, const struct budget_use legs[2], const struct budget_use *all)
{
    const struct limit *l = e->account->limit;
    if (!l->by_target)
        return unit_of(all, l->unit);
    int64_t sum = 0;
    for (int leg = 0; leg < 2; leg++)
        if (e->legs & 1u << leg)
            sum += unit_of(&legs[leg], l->unit);
    return sum;
}

static void end_entries(struct budget *b, struct hold *h, const struct budget_use legs[2], const struct budget_use *all)
{
    bool late = false;
    for (unsigned i = 0; i < h->count; i++) {
        struct entry *e = &h->entries[i];
        struct account *a = e->account;
        if (a->limit->kind == KIND_BUCKET)
            account_roll(b, a);
        late |= !account_settle(a, e->window, e->amount, entry_actual(e, legs, all));
        a->holds--;
        budget_notice_check(b, a);
    }
    b->stats.late += late;
    hold_free(b, h);
}

static enum budget_end end(struct budget *b, struct budget_hold id, const struct budget_actual *actual, int64_t mono_us)
{
    struct hold *h = hold_find(b, id);
    budget_clock(b, INT64_MIN, mono_us);
    if (!h) {
        b->stats.double_ends++;
        return BUDGET_NOT_OPEN;
    }
    const struct budget_use none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
    if (!actual) {
        b->stats.released++;
        end_entries(b, h, none, none);
        return BUDGET_ENDED;
    }
    const struct budget_use legs[2] = { use_clip(&actual->primary, false), use_clip(&actual->fallback, false) };
    struct budget_use all = use_sum(&legs[0], &legs[1]);
    all.requests = h->use.requests;
    bool over = all.nano > h->use.nano || all.tokens > h->use.tokens;
    b->stats.settled++;
    if (over) {
        b->stats.overruns++;
        if (all.nano > h->use.nano)
            b->stats.overrun_nano = sat_add(b->stats.overrun_nano, all.nano - h->use.nano);
        if (all.tokens > h->use.tokens)
            b->stats.overrun_tokens = sat_add(b->stats.overrun_tokens, all.tokens - h->use.tokens);
    }
    end_entries(b, h, legs, &all);
    return over ? BUDGET_OVERRUN : BUDGET_ENDED;
}

enum budget_end budget_settle(struct budget *b, struct budget_hold hold, const struct budget_actual *actual, int64_t mono_us)
{
    pthread_mutex_lock(&b->lock);
    enum budget_end r = end(b, hold, actual, mono_us);
    pthread_mutex_unlock(&b->lock);
    return r;
}

enum budget_end budget_release(struct budget *b, struct budget_hold hold, int64_t mono_us)
{
    pthread_mutex_lock(&b->lock);
    enum budget_end r = end(b, hold, NULL, mono_us);
    pthread_mutex_unlock(&b->lock);
    return r;
}

void budget_adjust(struct budget *b, const struct budget_subjects *s, int64_t decided_us, const struct budget_use *delta, int64_t now_us,
                   int64_t mono_us)
{
    struct values v;
    struct budget_use d = use_clip(delta, true);
    values_fill(&v, s);
    pthread_mutex_lock(&b->lock);
    budget_clock(b, now_us, mono_us);
    for (unsigned i = 0; i < b->limit_count; i++) {
        struct limit *l = b->limits[i];
        struct account *seen = NULL;
        for (int leg = 0; leg < (l->by_target ? v.legs : 1); leg++) {
            struct account *a = limit_matches(l, &v, leg) ? account_get(b, l, &v, leg) : NULL;
            if (!a || a == seen || (l->kind == KIND_BUCKET && b->wall - decided_us > b->hold_max_us))
                continue;
            seen = a;
            int64_t window = account_window_at(b, a, decided_us);
            if (window == INT64_MIN && l->kind == KIND_CALENDAR && decided_us >= a->previous_start &&
                decided_us < a->previous_end)
                window = a->previous_start;
            account_commit(a, window, unit_of(&d, l->unit));
            budget_notice_check(b, a);
        }
    }
    pthread_mutex_unlock(&b->lock);
}
