#include "observe/activity.h"

#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

/* Seven slots: the one that fills and six before it. Latency buckets: four an octave, from 2^10 us and 2^14 ns on. */
enum { SLOTS = 7, BUCKETS = 80, TTFT_FROM = 10, TPOT_FROM = 14 };

static const int64_t slot_us = 10 * INT64_C(1000000);

struct slot {
    int64_t epoch; /* -1: empty */
    struct activity_figures sums;
    uint32_t ttft[BUCKETS], tpot[BUCKETS];
};

struct entry {
    UT_hash_handle hh;
    char name[ACTIVITY_NAME];
    struct slot slots[SLOTS];
};

struct dimension {
    struct entry *entries;
    unsigned count;
};

struct activity {
    pthread_mutex_t lock;
    int64_t started_us;
    struct dimension by[ACTIVITY_DIMENSIONS];
};

struct activity *activity_new(int64_t mono_us)
{
    struct activity *a = calloc(1, sizeof *a);

    if (a == NULL)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    a->started_us = mono_us;
    return a;
}

void activity_free(struct activity *a)
{
    struct entry *e, *next;

    if (a == NULL)
        return;
    for (int by = 0; by < ACTIVITY_DIMENSIONS; by++)
        HASH_ITER(hh, a->by[by].entries, e, next) {
            HASH_DEL(a->by[by].entries, e);
            free(e);
        }
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static unsigned bucket_of(int64_t v, int from)
{
    if (v < INT64_C(1) << from)
        return 0;
    int octave = 63 - __builtin_clzll((unsigned long long)v);
    unsigned quarter = (unsigned)(v >> (octave - 2)) & 3, b = 1 + (unsigned)(octave - from) * 4 + quarter;
    return b < BUCKETS ? b : BUCKETS - 1;
}

/* The middle of a bucket. */
static int64_t bucket_value(unsigned b, int from)
{
    if (b == 0)
        return INT64_C(1) << (from - 1);
    int64_t quarter = INT64_C(1) << (from + (int)(b - 1) / 4 - 2);
    return quarter * (4 + (b - 1) % 4) + quarter / 2;
}

static bool idle(const struct entry *e, int64_t epoch)
{
    for (int i = 0; i < SLOTS; i++)
        if (e->slots[i].epoch > epoch - SLOTS)
            return false;
    return true;
}

static void entry_clear(struct entry *e)
{
    for (int i = 0; i < SLOTS; i++)
        e->slots[i].epoch = -1;
}

/* A place for a new name when all are in use: one that had nothing for a minute. */
static struct entry *place_again(struct dimension *d, int64_t epoch)
{
    struct entry *e, *next;

    HASH_ITER(hh, d->entries, e, next)
        if (idle(e, epoch)) {
            HASH_DEL(d->entries, e);
            return e;
        }
    return NULL;
}

static struct entry *entry_of(struct dimension *d, const char *name, int64_t epoch)
{
    size_t n = strlen(name);
    struct entry *e;

    HASH_FIND(hh, d->entries, name, n, e);
    if (e != NULL)
        return e;
    if (d->count >= ACTIVITY_NAMES && strcmp(name, "_other") != 0) {
        e = place_again(d, epoch);
        if (e == NULL)
            return entry_of(d, "_other", epoch);
    } else {
        e = malloc(sizeof *e);
        if (e == NULL)
            return NULL;
        d->count++;
    }
    memcpy(e->name, name, n + 1);
    entry_clear(e);
    HASH_ADD_KEYPTR(hh, d->entries, e->name, n, e);
    return e;
}

static void slot_count(struct slot *s, const struct event *e)
{
    struct activity_figures *f = &s->sums;

    switch (e->kind) {
    case EVENT_ALLOWED: f->allowed++; return;
    case EVENT_DENIED: f->denied++; return;
    case EVENT_ANSWERED: f->answered++; return;
    case EVENT_SETTLED:
        f->settled++;
        f->failed += e->reason == NULL || (strcmp(e->reason, "ok") != 0 && strcmp(e->reason, "count_tokens") != 0);
        f->fallback += e->fallback;
        if (e->ttft_us >= 0)
            s->ttft[bucket_of(e->ttft_us, TTFT_FROM)]++;
        if (e->tpot_ns >= 0)
            s->tpot[bucket_of(e->tpot_ns, TPOT_FROM)]++;
        break;
    case EVENT_CORRECTED: break;
    }
    f->input += token_usage_input(&e->usage);
    f->output += token_usage_output(&e->usage);
    f->cost_nano += e->cost_nano;
}

static void count(struct dimension *d, const char *name, const struct event *e, int64_t epoch)
{
    struct entry *at = entry_of(d, name, epoch);

    if (at == NULL)
        return;
    struct slot *s = &at->slots[epoch % SLOTS];
    if (s->epoch != epoch)
        *s = (struct slot){ .epoch = epoch };
    slot_count(s, e);
}

/* "a/b", or "a"; cut. This runs with every decision. */
static void join(char out[ACTIVITY_NAME], const char *a, const char *b)
{
    size_t n = strlen(a), more = strlen(b);

    memcpy(out, a, n); /* texts of events are shorter */
    if (more > 0) {
        out[n++] = '/';
        more = more < ACTIVITY_NAME - 1 - n ? more : ACTIVITY_NAME - 1 - n;
        memcpy(out + n, b, more);
    }
    out[n + more] = '\0';
}

void activity_count(struct activity *a, const struct event *e, int64_t mono_us)
{
    char target[ACTIVITY_NAME], user[ACTIVITY_NAME];
    int64_t epoch = mono_us / slot_us;

    _Static_assert(sizeof e->group < ACTIVITY_NAME && sizeof e->team < ACTIVITY_NAME, "their texts fit");
    join(target, e->group, e->model);
    join(user, e->team, e->user);
    pthread_mutex_lock(&a->lock);
    count(&a->by[ACTIVITY_ALL], "", e, epoch);
    count(&a->by[ACTIVITY_TEAM], e->team, e, epoch);
    count(&a->by[ACTIVITY_MODEL], e->group[0] != '\0' ? e->alias : "", e, epoch); /* else it is any text that a client made up */
    count(&a->by[ACTIVITY_TARGET], target, e, epoch);
    count(&a->by[ACTIVITY_USER], user, e, epoch);
    pthread_mutex_unlock(&a->lock);
}

/* The value that `percent` of all are at or below, by nearest rank. */
static int64_t percentile(const uint64_t buckets[BUCKETS], uint64_t all, unsigned percent, int from)
{
    uint64_t rank = (all * percent + 99) / 100, seen = 0;

    for (unsigned b = 0; b < BUCKETS; b++) {
        seen += buckets[b];
        if (seen >= rank && seen > 0)
            return bucket_value(b, from);
    }
    return -1;
}

static void percentiles(const struct entry *e, int64_t epoch, size_t offset, int from, int64_t out[3])
{
    static const unsigned percents[3] = { 50, 95, 99 };
    uint64_t buckets[BUCKETS] = { 0 }, all = 0;

    for (int i = 0; i < SLOTS; i++) {
        const uint32_t *counts = (const uint32_t *)((const char *)&e->slots[i] + offset);
        for (unsigned b = 0; e->slots[i].epoch > epoch - SLOTS && b < BUCKETS; b++) {
            buckets[b] += counts[b];
            all += counts[b];
        }
    }
    for (int i = 0; i < 3; i++)
        out[i] = all > 0 ? percentile(buckets, all, percents[i], from) : -1;
}

static bool row_of(const struct entry *e, int64_t epoch, struct activity_row *out)
{
    struct activity_figures *f = &out->sums;

    *out = (struct activity_row){ .name = "" };
    if (idle(e, epoch))
        return false;
    memcpy(out->name, e->name, sizeof out->name);
    for (int i = 0; i < SLOTS; i++) {
        const struct activity_figures *s = &e->slots[i].sums;
        if (e->slots[i].epoch <= epoch - SLOTS)
            continue;
        f->allowed += s->allowed, f->denied += s->denied, f->answered += s->answered;
        f->settled += s->settled, f->failed += s->failed, f->fallback += s->fallback;
        f->input += s->input, f->output += s->output, f->cost_nano += s->cost_nano;
    }
    percentiles(e, epoch, offsetof(struct slot, ttft), TTFT_FROM, out->ttft_us);
    percentiles(e, epoch, offsetof(struct slot, tpot), TPOT_FROM, out->tpot_ns);
    return true;
}

size_t activity_read(struct activity *a, enum activity_by by, int64_t mono_us, struct activity_row *out, size_t max, int64_t *window_us)
{
    int64_t epoch = mono_us / slot_us;
    struct entry *e, *next;
    size_t n = 0;

    *window_us = (SLOTS - 1) * slot_us + mono_us % slot_us;
    if (*window_us > mono_us - a->started_us)
        *window_us = mono_us > a->started_us ? mono_us - a->started_us : 1;
    pthread_mutex_lock(&a->lock);
    HASH_ITER(hh, a->by[by].entries, e, next)
        if (n < max && row_of(e, epoch, &out[n]))
            n++;
    pthread_mutex_unlock(&a->lock);
    if (by == ACTIVITY_ALL && n == 0 && max > 0)
        out[n++] = (struct activity_row){ .ttft_us = { -1, -1, -1 }, .tpot_ns = { -1, -1, -1 } };
    return n;
}

bool activity_by_word(struct slice word, enum activity_by *out)
{
    static const char *const words[ACTIVITY_DIMENSIONS] = { "all", "team", "model", "target", "user" };

    for (int i = 0; i < ACTIVITY_DIMENSIONS; i++)
        if (slice_eq_cstr(word, words[i])) {
            *out = (enum activity_by)i;
            return true;
        }
    return false;
}
