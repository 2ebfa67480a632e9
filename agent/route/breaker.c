#include "route/breaker.h"

#include <stdlib.h>
#include <uthash.h>

static const int64_t probe_every_us = 1000000;
static const int64_t stale_us = 60 * INT64_C(1000000);

enum { SLICES = 10, NO_SAMPLE = -1 };

static const char *const reasons[] = { "", "consecutive_failures", "error_rate", "slow", "retry_after", "probe_failed", "restored" };
enum { REASON_NONE, REASON_FAILURES, REASON_RATE, REASON_SLOW, REASON_RETRY_AFTER, REASON_PROBE, REASON_RESTORED, REASONS };

struct counts {
    int64_t slice; /* number of the stretch of time it counts */
    int requests, errors;
};

struct breaker {
    UT_hash_handle hh;
    struct slice group, model;
    /* Read by workers. */
    _Atomic int64_t open_until_us; /* 0: not open */
    atomic_bool half_open;         /* open until open_until_us, then to be probed */
    atomic_bool drained;
    _Atomic int64_t probe_us;      /* the next probe not before */
    _Atomic int64_t ttft_us, tpot_ns, plain_us, output, seen_us; /* NO_SAMPLE: never */
    atomic_bool changed;           /* also set by the ledger's thread */
    atomic_int keeping;            /* operations on their way to the ledger */
    /* The control thread's. */
    struct breaker_options o;
    int reason, openings, failures_in_row, good_probes;
    struct counts window[SLICES];
    int64_t ttfts[BREAKER_TTFT_KEPT];
    size_t ttft_count;
    char key[];
};

struct breaker_table {
    struct breaker *all;
    struct breaker *list[BREAKER_TABLE_MAX];
    size_t count;
};

const char *breaker_state_word(enum breaker_state s)
{
    static const char *const words[] = { "closed", "open", "half_open" };
    return words[s];
}

struct breaker_table *breaker_table_new(void)
{
    return calloc(1, sizeof(struct breaker_table));
}

void breaker_table_free(struct breaker_table *t)
{
    if (t == NULL)
        return;
    HASH_CLEAR(hh, t->all);
    for (size_t i = 0; i < t->count; i++)
        free(t->list[i]);
    free(t);
}

/* Group names hold no NUL, so the two together with one between them are unique. */
static size_t key_make(struct slice group, struct slice model, char *out)
{
    memcpy(out, group.p, group.n);
    out[group.n] = '\0';
    memcpy(out + group.n + 1, model.p, model.n);
    return group.n + 1 + model.n;
}

enum { KEY_MAX = 8192 };

struct breaker *breaker_find(struct breaker_table *t, struct slice group, struct slice model)
{
    struct breaker *b = NULL;
    char key[KEY_MAX];

    if (group.n == 0 || model.n == 0 || group.n + model.n + 1 > sizeof key)
        return NULL;
    size_t n = key_make(group, model, key);
    HASH_FIND(hh, t->all, key, n, b);
    return b;
}

struct breaker *breaker_get(struct breaker_table *t, struct slice group, struct slice model)
{
    struct breaker *b = breaker_find(t, group, model);

    if (b != NULL || group.n == 0 || model.n == 0 || group.n + model.n + 1 > KEY_MAX || t->count == BREAKER_TABLE_MAX)
        return b;
    b = calloc(1, sizeof *b + group.n + model.n + 1);
    if (b == NULL)
        return NULL;
    size_t n = key_make(group, model, b->key);
    b->group = slice_make(b->key, group.n);
    b->model = slice_make(b->key + group.n + 1, model.n);
    atomic_init(&b->ttft_us, NO_SAMPLE);
    atomic_init(&b->tpot_ns, NO_SAMPLE);
    atomic_init(&b->plain_us, NO_SAMPLE);
    atomic_init(&b->output, NO_SAMPLE);
    atomic_init(&b->seen_us, NO_SAMPLE);
    HASH_ADD_KEYPTR(hh, t->all, b->key, n, b);
    t->list[t->count++] = b;
    return b;
}

struct breaker *breaker_at(struct breaker_table *t, size_t i)
{
    return i < t->count ? t->list[i] : NULL;
}

void breaker_configure(struct breaker *b, const struct breaker_options *o)
{
    b->o = *o;
}

static int64_t get(const _Atomic int64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static void set(_Atomic int64_t *v, int64_t to)
{
    atomic_store_explicit(v, to, memory_order_relaxed);
}

enum route_state breaker_route_state(const struct breaker *b, int64_t now_us)
{
    if (b == NULL)
        return ROUTE_USABLE;
    if (atomic_load_explicit(&b->drained, memory_order_relaxed))
        return ROUTE_DRAINED;
    if (!atomic_load_explicit(&b->half_open, memory_order_acquire))
        return ROUTE_USABLE;
    return now_us >= get(&b->open_until_us) && now_us >= get(&b->probe_us) ? ROUTE_PROBE : ROUTE_OPEN;
}

bool breaker_probe_take(struct breaker *b, int64_t now_us)
{
    int64_t due = get(&b->probe_us);
    return now_us >= due && atomic_compare_exchange_strong(&b->probe_us, &due, now_us + probe_every_us);
}

int64_t breaker_wait_us(const struct breaker *b, bool stream, int64_t output, int64_t now_us, bool *stale)
{
    *stale = true;
    if (b == NULL || get(&b->seen_us) == NO_SAMPLE)
        return -1;
    int64_t each_ns = get(&b->tpot_ns), first_us = get(&b->ttft_us), plain_us = get(&b->plain_us);
    *stale = now_us - get(&b->seen_us) > stale_us;
    if (first_us < 0 || (!stream && plain_us >= 0))
        return plain_us;
    return first_us + (each_ns > 0 && output > 0 ? (int64_t)((__int128)each_ns * output / 1000) : 0);
}

int64_t breaker_output(const struct breaker *b)
{
    return b == NULL ? -1 : get(&b->output);
}

static void open_until(struct breaker *b, int reason, int64_t until_us)
{
    b->reason = reason;
    b->openings++;
    b->good_probes = b->failures_in_row = 0;
    b->ttft_count = 0;
    memset(b->window, 0, sizeof b->window);
    set(&b->open_until_us, until_us);
    atomic_store_explicit(&b->half_open, true, memory_order_release);
    atomic_store(&b->changed, true);
}

/* Twice as long with each opening that no full recovery lies between. */
static void open_for_a_while(struct breaker *b, int reason, int64_t now_us)
{
    int64_t us = b->o.open_us;

    for (int i = 0; i < b->openings && us < b->o.open_max_us; i++)
        us *= 2;
    open_until(b, reason, now_us + (us > b->o.open_max_us ? b->o.open_max_us : us));
}

static void close_it(struct breaker *b)
{
    b->openings = b->good_probes = b->failures_in_row = 0;
    atomic_store_explicit(&b->half_open, false, memory_order_release);
    set(&b->open_until_us, 0);
    atomic_store(&b->changed, true);
}

static bool is_open(const struct breaker *b)
{
    return atomic_load_explicit(&b->half_open, memory_order_relaxed);
}

static int64_t slice_of(const struct breaker *b, int64_t now_us)
{
    int64_t each = b->o.window_us / SLICES;
    return now_us / (each > 0 ? each : 1);
}

static void window_add(struct breaker *b, bool failed, int64_t now_us)
{
    int64_t n = slice_of(b, now_us);
    struct counts *c = &b->window[(size_t)n % SLICES];

    if (c->slice != n)
        *c = (struct counts){ .slice = n };
    c->requests++;
    c->errors += failed;
}

static struct counts window_sum(const struct breaker *b, int64_t now_us)
{
    struct counts sum = { 0 };
    int64_t n = slice_of(b, now_us);

    for (size_t i = 0; i < SLICES; i++)
        if (b->window[i].slice > n - SLICES && b->window[i].slice <= n) {
            sum.requests += b->window[i].requests;
            sum.errors += b->window[i].errors;
        }
    return sum;
}

static bool good(struct breaker *b, int64_t now_us)
{
    b->failures_in_row = 0;
    if (is_open(b) && now_us >= get(&b->open_until_us) && ++b->good_probes >= b->o.probes) {
        close_it(b);
        return true;
    }
    return false;
}

static bool failed(struct breaker *b, int64_t now_us)
{
    struct counts c = window_sum(b, now_us);

    b->failures_in_row++;
    if (is_open(b)) {
        if (now_us < get(&b->open_until_us)) /* sent before it opened, or with no other target left */
            return false;
        open_for_a_while(b, REASON_PROBE, now_us);
        return true;
    }
    if (b->o.failures > 0 && b->failures_in_row >= b->o.failures)
        open_for_a_while(b, REASON_FAILURES, now_us);
    else if (b->o.error_percent > 0 && c.requests >= b->o.min_requests && c.errors * 100 >= b->o.error_percent * c.requests)
        open_for_a_while(b, REASON_RATE, now_us);
    return is_open(b);
}

bool breaker_attempt(struct breaker *b, enum breaker_outcome outcome, int64_t retry_after_us, int64_t now_us)
{
    if (outcome == BREAKER_NEUTRAL)
        return false;
    window_add(b, outcome == BREAKER_FAILED, now_us);
    if (outcome == BREAKER_GOOD)
        return good(b, now_us);
    if (retry_after_us > b->o.retry_after_us) {
        int64_t until = now_us + (retry_after_us < b->o.retry_after_max_us ? retry_after_us : b->o.retry_after_max_us);
        if (until <= get(&b->open_until_us))
            return false;
        open_until(b, REASON_RETRY_AFTER, until);
        return true;
    }
    if (retry_after_us >= 0)
        return false; /* throttled for a moment: nothing is wrong with it */
    return failed(b, now_us);
}

/* An eighth of the new sample: the last 20 or so decide. */
static void decay(_Atomic int64_t *v, int64_t sample)
{
    int64_t old = get(v);
    set(v, old < 0 ? sample : old + (sample - old) / 8);
}

static int ascending(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Judged over full sets of BREAKER_TTFT_KEPT / 4 and more, so that one slow answer says nothing. */
static bool too_slow(struct breaker *b)
{
    int64_t sorted[BREAKER_TTFT_KEPT];
    size_t n = b->ttft_count < BREAKER_TTFT_KEPT ? b->ttft_count : BREAKER_TTFT_KEPT;

    if (b->o.ttft_us <= 0 || n < BREAKER_TTFT_KEPT / 4)
        return false;
    memcpy(sorted, b->ttfts, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, ascending);
    return sorted[(n - 1) * (size_t)b->o.ttft_percentile / 100] > b->o.ttft_us;
}

bool breaker_latency(struct breaker *b, const struct breaker_answer *answer, int64_t now_us)
{
    if (answer->output >= 0)
        decay(&b->output, answer->output);
    if (answer->stream && answer->tpot_ns >= 0)
        decay(&b->tpot_ns, answer->tpot_ns);
    if (!answer->stream && answer->total_us >= 0) {
        decay(&b->plain_us, answer->total_us);
        set(&b->seen_us, now_us);
    }
    if (!answer->stream || answer->ttft_us < 0)
        return false;
    decay(&b->ttft_us, answer->ttft_us);
    set(&b->seen_us, now_us);
    b->ttfts[b->ttft_count++ % BREAKER_TTFT_KEPT] = answer->ttft_us;
    if (is_open(b) || !too_slow(b))
        return false;
    open_for_a_while(b, REASON_SLOW, now_us);
    return true;
}

void breaker_drain(struct breaker *b, bool drained)
{
    if (atomic_exchange(&b->drained, drained) != drained)
        atomic_store(&b->changed, true);
}

void breaker_reset(struct breaker *b)
{
    if (is_open(b))
        close_it(b);
    b->openings = b->failures_in_row = 0;
    memset(b->window, 0, sizeof b->window);
    b->ttft_count = 0;
}

bool breaker_tick(struct breaker *b, int64_t now_us)
{
    int64_t until = get(&b->open_until_us);

    if (!is_open(b) || until == 0 || now_us < until)
        return false;
    set(&b->open_until_us, 0);
    atomic_store(&b->changed, true);
    return true;
}

void breaker_view(const struct breaker *b, int64_t now_us, struct breaker_view *out)
{
    struct counts c = window_sum(b, now_us);
    int64_t until = get(&b->open_until_us);

    *out = (struct breaker_view){
        .group = b->group, .model = b->model,
        .state = !is_open(b) ? BREAKER_CLOSED : now_us < until ? BREAKER_OPEN : BREAKER_HALF_OPEN,
        .drained = atomic_load_explicit(&b->drained, memory_order_relaxed),
        .reason = reasons[b->reason], .open_until_us = now_us < until ? until : 0, .openings = b->openings,
        .failures_in_row = b->failures_in_row, .requests = c.requests, .errors = c.errors, .ttft_us = get(&b->ttft_us),
        .tpot_ns = get(&b->tpot_ns), .plain_us = get(&b->plain_us), .output = get(&b->output), .changed = atomic_load(&b->changed),
    };
    out->kept = !out->changed && atomic_load(&b->keeping) == 0;
}

void breaker_keep_begin(struct breaker *b)
{
    atomic_store(&b->changed, false);
    atomic_fetch_add(&b->keeping, 1);
}

void breaker_keep_end(struct breaker *b, bool kept)
{
    if (!kept)
        atomic_store(&b->changed, true);
    atomic_fetch_sub(&b->keeping, 1);
}

void breaker_restore(struct breaker *b, const struct breaker_view *v, int64_t now_us)
{
    atomic_store(&b->drained, v->drained);
    b->reason = REASON_RESTORED;
    for (int i = 0; i < REASONS; i++)
        if (strcmp(reasons[i], v->reason) == 0)
            b->reason = i;
    set(&b->ttft_us, v->ttft_us);
    set(&b->tpot_ns, v->tpot_ns);
    set(&b->plain_us, v->plain_us);
    set(&b->output, v->output);
    if (v->ttft_us >= 0 || v->plain_us >= 0)
        set(&b->seen_us, now_us - stale_us - 1);
    if (v->state == BREAKER_CLOSED)
        return;
    b->openings = v->openings;
    set(&b->open_until_us, v->open_until_us > now_us ? v->open_until_us : 0);
    atomic_store_explicit(&b->half_open, true, memory_order_release);
}
