/* Deciding: all limits of a request are looked at, then all are booked, or none. */
#include "budget/internal.h"

/* True when this limit can stop a request. */
static bool in_force(const struct limit *l)
{
    return l->action == ACTION_HARD && !l->loading;
}

static int64_t leg_amount(const struct budget_use *u, const struct limit *l)
{
    return unit_of(u, l->unit);
}

int budget_collect(struct budget *b, struct limit *const *limits, unsigned limit_count, struct values *v,
                   bool (*only)(const struct limit *), unsigned *count)
{
    unsigned n = 0;
    for (unsigned i = 0; i < limit_count; i++) {
        struct limit *l = limits[i];
        if (only && !only(l))
            continue;
        unsigned first = n;
        int legs = l->by_target ? v->legs : 1;
        for (int leg = 0; leg < legs; leg++) {
            if (!limit_matches(l, v, leg))
                continue;
            struct account *a = account_get(b, l, v, leg);
            if (!a)
                return -1;
            if (n > first && b->scratch[first].account == a) {
                b->scratch[first].legs |= 1u << leg;
                continue;
            }
            b->scratch[n++] = (struct entry){ .account = a, .legs = l->by_target ? 1u << leg : 3u };
        }
    }
    *count = n;
    return 0;
}

int budget_attach(struct budget *b, struct hold *h, unsigned count, int64_t decided_us)
{
    if (hold_reserve_entries(h, h->count + count) != 0)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        struct entry *e = &h->entries[h->count++];
        *e = b->scratch[i];
        e->window = account_window_at(b, e->account, decided_us);
        e->account->holds++;
        account_hold(e->account, e->window, e->amount);
    }
    return 0;
}

static bool use_valid(const struct budget_use *u)
{
    return u->nano >= 0 && u->tokens >= 0 && u->requests >= 0 && u->nano <= BUDGET_ASK_MAX && u->tokens <= BUDGET_ASK_MAX &&
           u->requests <= BUDGET_ASK_MAX;
}

static bool clamp_valid(const struct budget_clamp *c)
{
    return c->floor >= 0 && c->ceiling > c->floor && c->choices >= 1 && c->fixed_nano >= 0 && c->fixed_tokens >= 0 &&
           c->pico_per_output >= 0;
}

/* ---- refusing ----------------------------------------------------------------------------------------------------------- */

static int64_t rolling_wait(const struct account *a, int64_t need)
{
    const struct limit *l = a->limit;
    int64_t avail = account_avail(a), oldest = a->start - (l->ring_len - 1) * l->slot_us;
    for (uint32_t k = 0; k < l->ring_len; k++) {
        int64_t start = oldest + k * l->slot_us;
        for (uint32_t i = 0; i < l->ring_len; i++)
            if (a->ring[i].start == start)
                avail = sat_add(avail, sat_add(a->ring[i].committed, a->ring[i].held));
        if (avail >= need)
            return start + l->ring_len * l->slot_us;
    }
    return INT64_MAX;
}

/* Microseconds until `need` fits if nothing else happens; -1: never. */
static int64_t wait_us(const struct budget *b, const struct account *a, int64_t need, bool transient)
{
    const struct limit *l = a->limit;
    if (need > l->amount)
        return -1;
    if (transient)
        return 1;
    int64_t at;
    switch (l->kind) {
    case KIND_CALENDAR:
        return a->end - b->wall;
    case KIND_BUCKET:
        return (int64_t)(((__int128)(need - a->level) * l->period_us + l->refill - 1) / l->refill);
    case KIND_ROLLING:
        at = rolling_wait(a, need);
        return at == INT64_MAX ? -1 : at - b->wall;
    default:
        return -1;
    }
}

static void refuse(const struct budget *b, const struct entry *e, int64_t need, struct budget_answer *answer)
{
    const struct account *a = e->account;
    /* What is held may come back at any moment; only what is used must wait for the window. */
    bool transient = a->limit->kind != KIND_BUCKET && need <= a->limit->amount &&
                     sat_add(a->limit->kind == KIND_CONCURRENT ? 0 : account_used(a), need) <= a->limit->amount;
    int64_t wait = wait_us(b, a, need, transient);
    int64_t seconds = wait < 0 ? -1 : wait <= 1000000 ? 1 : (wait + 999999) / 1000000;
    struct budget_refused *r = &answer->refused;
    bool worse = answer->refused_count == 0 || (seconds < 0 && r->retry_after_s >= 0) ||
                 (r->retry_after_s >= 0 && seconds > r->retry_after_s);
    answer->refused_count++;
    if (!worse)
        return;
    account_state(b, a, &r->state);
    r->asked = need;
    r->retry_after_s = seconds;
    r->too_large = need > a->limit->amount;
    r->transient = transient;
}

static bool fits(const struct account *a, int64_t need)
{
    int64_t avail = account_avail(a);
    return need <= (avail > 0 ? avail : 0);
}

/* ---- clamping ----------------------------------------------------------------------------------------------------------- */

/* The use with `output` tokens as the ceiling; false when it does not fit in 64 bits. */
static bool use_at(const struct budget_ask *ask, int64_t output, struct budget_use *u)
{
    __int128 tokens = (__int128)output * ask->clamp.choices;
    __int128 nano = (tokens * ask->clamp.pico_per_output + 999) / 1000 + ask->clamp.fixed_nano;
    tokens += ask->clamp.fixed_tokens;
    if (nano > BUDGET_ASK_MAX || tokens > BUDGET_ASK_MAX)
        return false;
    *u = (struct budget_use){ (int64_t)nano, (int64_t)tokens, ask->hold.requests };
    return true;
}

/* The highest ceiling one limit affords; -1 when it cannot be helped. */
static int64_t ceiling_for(const struct budget_ask *ask, const struct account *a)
{
    const struct budget_clamp *c = &ask->clamp;
    const struct limit *l = a->limit;
    int64_t avail = account_avail(a);
    if (l->clamp_floor < 0)
        return -1;
    __int128 n;
    if (l->unit == BUDGET_USD) {
        if (avail < c->fixed_nano || c->pico_per_output == 0)
            return -1;
        n = (__int128)(avail - c->fixed_nano) * 1000 / c->pico_per_output / c->choices;
    } else if (l->unit == BUDGET_TOKENS && avail >= c->fixed_tokens) {
        n = (avail - c->fixed_tokens) / c->choices;
    } else {
        return -1;
    }
    int64_t floor = l->clamp_floor > c->floor ? l->clamp_floor : c->floor;
    /* No lower than before: the hold and its parts contradict each other. */
    return floor == 0 || n < floor || n >= c->ceiling ? -1 : (int64_t)n;
}

/* Lowers the ceiling until every limit in b->scratch has room. False: refuse. */
static bool clamp(struct budget *b, const struct budget_ask *ask, unsigned count, struct budget_use *use, struct budget_answer *answer)
{
    int64_t lowest = ask->clamp.ceiling;
    const struct account *by = NULL;
    if (!clamp_valid(&ask->clamp))
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct account *a = b->scratch[i].account;
        if (!in_force(a->limit) || fits(a, leg_amount(&ask->hold, a->limit)))
            continue;
        int64_t n = ceiling_for(ask, a);
        if (n < 0)
            return false;
        if (!by || n < lowest) {
            lowest = n;
            by = a;
        }
    }
    if (!by || !use_at(ask, lowest, use))
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct account *a = b->scratch[i].account;
        if (in_force(a->limit) && !fits(a, leg_amount(use, a->limit)))
            return false;
    }
    answer->output_ceiling = lowest;
    account_state(b, by, &answer->clamped_by);
    return true;
}

/* ---- the decision ------------------------------------------------------------------------------------------------------- */

static bool downgrade(const struct budget *b, unsigned count, struct budget_answer *answer)
{
    for (unsigned i = 0; i < count; i++) {
        const struct account *a = b->scratch[i].account;
        if (a->limit->action != ACTION_DOWNGRADE || a->limit->loading || budget_percent(a) == 0)
            continue;
        memcpy(answer->downgrade_to, a->limit->downgrade_to, sizeof answer->downgrade_to);
        account_state(b, a, &answer->downgrade_by);
        return true;
    }
    return false;
}

void budget_answer_tight(const struct budget *b, unsigned count, struct budget_answer *answer)
{
    const struct account *tight[4] = { NULL };
    int64_t left[4] = { 0 };
    for (unsigned i = 0; i < count; i++) {
        const struct account *a = b->scratch[i].account;
        const struct limit *l = a->limit;
        if (in_force(l)) {
            int64_t avail = account_avail(a);
            if (!tight[l->unit] || avail < left[l->unit]) {
                tight[l->unit] = a;
                left[l->unit] = avail;
            }
        } else if (l->action != ACTION_HARD) {
            int percent = budget_percent(a);
            if (percent > answer->warn_percent) {
                answer->warn_percent = percent;
                account_state(b, a, &answer->warn);
            }
        }
    }
    for (int u = 0; u < 4; u++) {
        answer->tight_known[u] = tight[u] != NULL;
        if (tight[u])
            account_state(b, tight[u], &answer->tight[u]);
    }
}

static bool overfull(const struct budget *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (b->scratch[i].account->held > INT64_MAX / 2)
            return true;
    return false;
}

static enum budget_verdict decide(struct budget *b, const struct budget_ask *ask, struct values *v, unsigned count,
                                  struct budget_hold *out, struct budget_answer *answer)
{
    struct budget_use use = ask->hold;
    bool clamped = false;
    if (!ask->downgraded && downgrade(b, count, answer))
        return BUDGET_DOWNGRADE;
    for (unsigned i = 0; i < count; i++) {
        const struct account *a = b->scratch[i].account;
        if (in_force(a->limit) && !fits(a, leg_amount(&use, a->limit)))
            refuse(b, &b->scratch[i], leg_amount(&use, a->limit), answer);
    }
    if (answer->refused_count > 0) {
        clamped = clamp(b, ask, count, &use, answer);
        if (!clamped)
            return BUDGET_REFUSED;
        answer->refused_count = 0;
    }
    struct hold *h = overfull(b, count) ? NULL : hold_new(b, v);
    if (!h)
        return BUDGET_NO_ROOM;
    for (unsigned i = 0; i < count; i++)
        b->scratch[i].amount = leg_amount(&use, b->scratch[i].account->limit);
    h->use = use;
    h->decided_us = b->wall;
    if (budget_attach(b, h, count, b->wall) != 0) {
        hold_free(b, h);
        return BUDGET_NO_ROOM;
    }
    answer->held = use;
    *out = hold_id(h);
    return clamped ? BUDGET_CLAMPED : BUDGET_ALLOWED;
}

static void count_verdict(struct budget_stats *s, enum budget_verdict verdict)
{
    s->reserved += verdict == BUDGET_ALLOWED || verdict == BUDGET_CLAMPED;
    s->clamped += verdict == BUDGET_CLAMPED;
    s->refused += verdict == BUDGET_REFUSED;
    s->downgraded += verdict == BUDGET_DOWNGRADE;
}

/* Only the parts that are read before they are written; the large states stay as they are until needed. */
static void answer_clear(struct budget_answer *a, int64_t ceiling)
{
    a->held = (struct budget_use){ 0, 0, 0 };
    a->output_ceiling = ceiling;
    a->refused_count = 0;
    a->downgrade_to[0] = '\0';
    a->warn_percent = 0;
    memset(a->tight_known, 0, sizeof a->tight_known);
}

enum budget_verdict budget_reserve(struct budget *b, const struct budget_ask *ask, int64_t now_us, int64_t mono_us,
                                   struct budget_hold *hold, struct budget_answer *answer)
{
    struct values v;
    unsigned count;
    enum budget_verdict verdict;
    hold->id = 0;
    answer_clear(answer, ask->clamp.ceiling);
    if (!use_valid(&ask->hold))
        return answer->verdict = BUDGET_BAD_ASK;
    values_fill(&v, &ask->subjects);
    pthread_mutex_lock(&b->lock);
    budget_clock(b, now_us, mono_us);
    if (!b->ready) {
        verdict = BUDGET_NOT_READY;
    } else if (budget_collect(b, b->limits, b->limit_count, &v, NULL, &count) != 0) {
        verdict = BUDGET_NO_ROOM;
    } else {
        verdict = decide(b, ask, &v, count, hold, answer);
        budget_answer_tight(b, count, answer);
        for (unsigned i = 0; hold->id && i < count; i++)
            if (b->scratch[i].account->limit->kind == KIND_CONCURRENT)
                budget_notice_check(b, b->scratch[i].account);
    }
    count_verdict(&b->stats, verdict);
    pthread_mutex_unlock(&b->lock);
    return answer->verdict = verdict;
}

enum budget_verdict budget_peek(struct budget *b, const struct budget_subjects *s, int64_t now_us, int64_t mono_us, struct budget_answer *answer)
{
    struct values v;
    unsigned count;

    answer_clear(answer, 0);
    values_fill(&v, s);
    pthread_mutex_lock(&b->lock);
    budget_clock(b, now_us, mono_us);
    answer->verdict = !b->ready ? BUDGET_NOT_READY
                      : budget_collect(b, b->limits, b->limit_count, &v, NULL, &count) != 0 ? BUDGET_NO_ROOM : BUDGET_ALLOWED;
    if (answer->verdict == BUDGET_ALLOWED)
        budget_answer_tight(b, count, answer);
    pthread_mutex_unlock(&b->lock);
    return answer->verdict;
}
