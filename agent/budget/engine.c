/* The engine's life, its clock, thresholds and counters. */
#include "budget/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void budget_clock(struct budget *b, int64_t now_us, int64_t mono_us)
{
    if (now_us > b->wall)
        b->wall = now_us;
    if (mono_us > b->mono)
        b->mono = mono_us;
}

/* All of it, or NULL with `why`. */
static struct limit **compile_all(const struct budget_options *o, uint64_t seed, char *why, size_t why_size)
{
    if (budget_options_check(o, why, why_size))
        return NULL;
    struct limit **limits = calloc(o->limits_count + 1, sizeof *limits);
    if (!limits) {
        snprintf(why, why_size, "memory is out");
        return NULL;
    }
    for (unsigned i = 0; i < o->limits_count; i++) {
        limits[i] = limit_compile(&o->limits[i], o->zoneinfo, why, why_size);
        if (!limits[i]) {
            while (i-- > 0)
                limit_free(limits[i]);
            free(limits);
            return NULL;
        }
        uint64_t h = seed;
        for (const char *p = limits[i]->name; *p; p++)
            h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
        limits[i]->seed = h ^ h >> 32;
    }
    return limits;
}

static size_t max_accounts(const struct budget_options *o)
{
    return o->max_accounts ? o->max_accounts : 1000000;
}

static int64_t hold_max(const struct budget_options *o)
{
    return o->hold_max_us ? o->hold_max_us : INT64_C(3600) * 1000000;
}

struct budget *budget_new(const struct budget_options *o, int64_t now_us, int64_t mono_us, char *why, size_t why_size)
{
    struct budget *b = calloc(1, sizeof *b);
    if (!b)
        goto out_of_memory;
    if (getrandom(&b->seed, sizeof b->seed, 0) != sizeof b->seed)
        b->seed = (uint64_t)(uintptr_t)b ^ (uint64_t)now_us << 20;
    pthread_mutex_init(&b->lock, NULL);
    b->wall = now_us;
    b->mono = mono_us;
    b->max_accounts = max_accounts(o);
    b->hold_max_us = hold_max(o);
    b->limits = compile_all(o, b->seed, why, why_size);
    if (!b->limits) {
        budget_free(b);
        return NULL;
    }
    b->limit_count = o->limits_count;
    b->notices = calloc(NOTICES_MAX, sizeof *b->notices);
    b->scratch = calloc(2 * (size_t)b->limit_count + 1, sizeof *b->scratch);
    if (!b->notices || !b->scratch)
        goto out_of_memory;
    b->rebuilding = true;
    for (unsigned i = 0; i < b->limit_count; i++)
        b->limits[i]->loading = limit_needs_load(b->limits[i]);
    return b;
out_of_memory:
    snprintf(why, why_size, "memory is out");
    budget_free(b);
    return NULL;
}

static void reap(struct budget *b)
{
    struct limit **at = &b->retired;
    while (*at) {
        struct limit *l = *at;
        if (l->accounts == 0) {
            *at = l->next_retired;
            limit_free(l);
        } else {
            at = &l->next_retired;
        }
    }
}

void budget_free(struct budget *b)
{
    if (!b)
        return;
    accounts_free(b);
    holds_free(b);
    reap(b);
    for (unsigned i = 0; i < b->limit_count; i++)
        limit_free(b->limits[i]);
    free(b->limits);
    free(b->scratch);
    free(b->notices);
    free(b->overruns);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void budget_tick(struct budget *b, int64_t now_us, int64_t mono_us)
{
    pthread_mutex_lock(&b->lock);
    budget_clock(b, now_us, mono_us);
    account_sweep(b, b->chain_count / 64 + 256);
    reap(b);
    pthread_mutex_unlock(&b->lock);
}

int64_t budget_clock_lag(struct budget *b, int64_t now_us)
{
    pthread_mutex_lock(&b->lock);
    int64_t lag = b->wall - now_us;
    pthread_mutex_unlock(&b->lock);
    return lag > 0 ? lag : 0;
}

void budget_stats_get(struct budget *b, struct budget_stats *out)
{
    pthread_mutex_lock(&b->lock);
    *out = b->stats;
    pthread_mutex_unlock(&b->lock);
}

/* ---- reload ------------------------------------------------------------------------------------------------------------- */

static struct limit *find_same(const struct budget *b, const struct limit *l)
{
    for (unsigned i = 0; i < b->limit_count; i++)
        if (limit_same(b->limits[i], l))
            return b->limits[i];
    return NULL;
}

static struct hold *nth_hold(const struct budget *b, size_t i)
{
    return &b->chunks[i / HOLDS_PER_CHUNK][i % HOLDS_PER_CHUNK];
}

/* Open holds count on new limits too. */
static int attach_open_holds(struct budget *b, struct limit *const *fresh, unsigned count)
{
    for (size_t i = 0; i < b->chunk_count * HOLDS_PER_CHUNK; i++) {
        struct hold *h = nth_hold(b, i);
        struct values v;
        unsigned n;
        if (!h->open)
            continue;
        hold_values(h, &v);
        if (budget_collect(b, fresh, count, &v, NULL, &n) != 0)
            return -1;
        for (unsigned k = 0; k < n; k++)
            b->scratch[k].amount = unit_of(&h->use, b->scratch[k].account->limit->unit);
        if (budget_attach(b, h, n, h->decided_us) != 0)
            return -1;
    }
    return 0;
}

static void retire(struct budget *b, struct limit *l)
{
    l->retired = true;
    l->next_retired = b->retired;
    b->retired = l;
}

/* Undoes attach_open_holds: entries of new limits are the last ones of each hold. */
static void detach_fresh(struct budget *b, struct limit *const *fresh, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        retire(b, fresh[i]);
    for (size_t i = 0; i < b->chunk_count * HOLDS_PER_CHUNK; i++) {
        struct hold *h = nth_hold(b, i);
        for (unsigned k = 0; h->open && k < count; k++)
            while (h->count > 0 && h->entries[h->count - 1].account->limit == fresh[count - 1 - k])
                h->entries[--h->count].account->holds--;
    }
}

static void update(struct budget *b, struct limit *l, const struct limit *to)
{
    int64_t old = l->amount;
    bool changed = old != to->amount || l->refill != to->refill || l->period_us != to->period_us ||
                   l->threshold_count != to->threshold_count ||
                   memcmp(l->thresholds, to->thresholds, sizeof l->thresholds) != 0;
    for (size_t i = 0; changed && i < b->chain_count; i++)
        for (struct account *a = b->chains[i]; a; a = a->next)
            if (a->limit == l)
                account_roll(b, a); /* at the old rate */
    l->amount = to->amount;
    l->refill = to->refill;
    l->period_us = to->period_us;
    l->fill_us = to->fill_us;
    l->action = to->action;
    memcpy(l->downgrade_to, to->downgrade_to, sizeof l->downgrade_to);
    memcpy(l->thresholds, to->thresholds, sizeof l->thresholds);
    l->threshold_count = to->threshold_count;
    limit_set_passes(l);
    l->clamp_floor = to->clamp_floor;
    for (size_t i = 0; changed && i < b->chain_count; i++)
        for (struct account *a = b->chains[i]; a; a = a->next)
            if (a->limit == l)
                account_resize(a, old);
}

/* Puts `limits` in place. Cannot fail any more. */
static void install(struct budget *b, struct limit **limits, unsigned count)
{
    for (unsigned i = 0; i < b->limit_count; i++)
        b->limits[i]->kept = false;
    for (unsigned i = 0; i < count; i++) {
        struct limit *same = find_same(b, limits[i]);
        if (same) {
            same->kept = true;
            update(b, same, limits[i]);
            limit_free(limits[i]);
            limits[i] = same;
        }
    }
    for (unsigned i = 0; i < b->limit_count; i++)
        if (!b->limits[i]->kept)
            retire(b, b->limits[i]);
    free(b->limits);
    b->limits = limits;
    b->limit_count = count;
}

int budget_reload(struct budget *b, const struct budget_options *o, int64_t now_us, int64_t mono_us, unsigned *fresh, char *why,
                  size_t why_size)
{
    struct limit **limits = compile_all(o, b->seed, why, why_size);
    struct limit **added = calloc(o->limits_count + 1, sizeof *added);
    struct entry *scratch = calloc(2 * (size_t)o->limits_count + 1, sizeof *scratch);
    unsigned n = 0;
    *fresh = 0;
    if (!limits || !added || !scratch)
        goto bad;
    pthread_mutex_lock(&b->lock);
    budget_clock(b, now_us, mono_us);
    for (unsigned i = 0; i < o->limits_count; i++) {
        if (find_same(b, limits[i]))
            continue;
        /* A bucket that did not exist yet starts full, and open requests are known: only windows have a past to load. */
        limits[i]->loading = limits[i]->kind != KIND_CONCURRENT && (limits[i]->kind != KIND_BUCKET || b->rebuilding);
        *fresh += limits[i]->loading;
        added[n++] = limits[i];
    }
    struct entry *old = b->scratch;
    b->scratch = scratch;
    if (attach_open_holds(b, added, n) != 0) {
        b->scratch = old;
        detach_fresh(b, added, n);
        pthread_mutex_unlock(&b->lock);
        for (unsigned i = 0; i < o->limits_count; i++)
            if (limits[i]->retired)
                limits[i] = NULL; /* the retired list owns it until its accounts are gone */
        snprintf(why, why_size, "memory is out, or max_accounts is reached");
        goto bad;
    }
    install(b, limits, o->limits_count);
    b->max_accounts = max_accounts(o);
    b->hold_max_us = hold_max(o);
    pthread_mutex_unlock(&b->lock);
    free(old);
    free(added);
    return 0;
bad:
    for (unsigned i = 0; limits && i < o->limits_count; i++)
        limit_free(limits[i]);
    if (limits && (!added || !scratch))
        snprintf(why, why_size, "memory is out");
    free(limits);
    free(added);
    free(scratch);
    *fresh = 0;
    return -1;
}

void budget_rebase(struct budget *b, int64_t now_us, int64_t mono_us)
{
    pthread_mutex_lock(&b->lock);
    budget_clock(b, INT64_MIN, mono_us);
    b->wall = now_us;
    b->ready = false;
    for (unsigned i = 0; i < b->limit_count; i++) {
        struct limit *l = b->limits[i];
        l->loading = l->kind != KIND_CONCURRENT && l->kind != KIND_BUCKET;
    }
    for (size_t i = 0; i < b->chain_count; i++)
        for (struct account *a = b->chains[i]; a; a = a->next)
            account_forget(b, a);
    for (size_t i = 0; i < b->chunk_count * HOLDS_PER_CHUNK; i++) {
        struct hold *h = nth_hold(b, i);
        if (!h->open)
            continue;
        if (h->decided_us > now_us)
            h->decided_us = now_us;
        for (unsigned k = 0; k < h->count; k++) {
            struct entry *e = &h->entries[k];
            enum budget_kind kind = e->account->limit->kind;
            e->window = account_window_at(b, e->account, h->decided_us);
            if (kind != KIND_BUCKET && kind != KIND_CONCURRENT)
                account_hold(e->account, e->window, e->amount);
        }
    }
    pthread_mutex_unlock(&b->lock);
}
