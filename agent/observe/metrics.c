#include "observe/metrics_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS_MAX = 64, CACHE_LINE = 64 };

static const int64_t exemplar_age_us = 1000000;

static _Thread_local unsigned thread_shard;

struct metrics *metrics_new(unsigned series_max, unsigned shards)
{
    struct metrics *m = calloc(1, sizeof *m);

    assert(shards >= 1 && shards <= SHARDS_MAX);
    if (m == NULL)
        return NULL;
    pthread_mutex_init(&m->lock, NULL);
    m->series_max = series_max;
    m->shards = shards;
    m->last = &m->first;
    return m;
}

void metrics_thread(unsigned shard)
{
    thread_shard = shard;
}

static void series_free(struct metric_series *s)
{
    if (s == NULL)
        return;
    free(s->values);
    free(s->labels);
    free(s->exemplars);
    free(s->cells);
    free(s);
}

void metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    while (m->first != NULL) {
        struct metric *metric = m->first;
        m->first = metric->next;
        for (unsigned i = 0; i < atomic_load(&metric->count); i++)
            series_free(atomic_load(&metric->all[i]));
        series_free(metric->other);
        free(metric);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* Up to two bytes for each of the value's. */
static size_t escape(char *to, struct slice value)
{
    size_t n = 0;

    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\\' || c == '"' || c == '\n')
            to[n++] = '\\';
        to[n++] = c == '\n' ? 'n' : c;
    }
    return n;
}

static bool labels_fill(struct metric_series *s, const struct slice *values)
{
    const struct metric *m = s->metric;
    size_t total = 1, room = 1, n = 0;

    for (unsigned i = 0; i < m->label_count; i++) {
        total += values[i].n;
        room += strlen(m->spec.labels[i]) + 2 * values[i].n + 4;
    }
    s->values = malloc(total);
    s->labels = malloc(room);
    if (s->values == NULL || s->labels == NULL)
        return false;
    for (unsigned i = 0; i < m->label_count; i++) {
        size_t name = strlen(m->spec.labels[i]);
        if (values[i].n > 0)
            memcpy(s->values + n, values[i].p, values[i].n);
        n += values[i].n;
        s->value_len[i] = values[i].n;
        if (i > 0)
            s->labels[s->labels_len++] = ',';
        memcpy(s->labels + s->labels_len, m->spec.labels[i], name);
        memcpy(s->labels + s->labels_len + name, "=\"", 2);
        s->labels_len += name + 2;
        s->labels_len += escape(s->labels + s->labels_len, values[i]);
        s->labels[s->labels_len++] = '"';
    }
    return true;
}

static struct metric_series *series_new(const struct metric *metric, const struct slice *values)
{
    size_t bytes = metric->registry->shards * metric->stride * sizeof(atomic_llong);
    struct metric_series *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->metric = metric;
    s->cells = aligned_alloc(CACHE_LINE, bytes);
    if (metric->spec.exemplars)
        s->exemplars = calloc(metric->spec.bound_count + 1, sizeof *s->exemplars);
    if (s->cells == NULL || (metric->spec.exemplars && s->exemplars == NULL) || !labels_fill(s, values)) {
        series_free(s);
        return NULL;
    }
    memset(s->cells, 0, bytes);
    return s;
}

struct metric *metrics_add(struct metrics *m, const struct metric_spec *spec)
{
    struct slice other[METRIC_LABELS_MAX];
    unsigned series_max = spec->series_max > 0 ? spec->series_max : m->series_max;
    struct metric *metric = calloc(1, sizeof *metric + series_max * sizeof metric->all[0]);

    assert(spec->decimals <= 9);
    assert(spec->kind != METRIC_HISTOGRAM || (spec->bound_count > 0 && spec->bound_count <= METRIC_BOUNDS_MAX));
    assert(!spec->exemplars || spec->kind == METRIC_HISTOGRAM);
    if (metric == NULL)
        return NULL;
    metric->registry = m;
    metric->spec = *spec;
    metric->series_max = series_max;
    size_t cells = 1 + (spec->kind == METRIC_HISTOGRAM ? spec->bound_count + 1 : 0), line = CACHE_LINE / sizeof(atomic_llong);
    metric->stride = (cells + line - 1) / line * line;
    while (metric->label_count < METRIC_LABELS_MAX && spec->labels[metric->label_count] != NULL)
        other[metric->label_count++] = SLICE_LIT("_other");
    metric->other = series_new(metric, other);
    if (metric->other == NULL) {
        free(metric);
        return NULL;
    }
    atomic_store(&metric->other->used, metric->label_count == 0);
    *m->last = metric;
    m->last = &metric->next;
    return metric;
}

/* FNV-1a over the values, each ended by a byte that no UTF-8 text has. */
static unsigned place_of(const struct metric *metric, const struct slice *values)
{
    uint32_t h = 2166136261u;

    for (unsigned i = 0; i < metric->label_count; i++) {
        const unsigned char *p = (const void *)values[i].p;
        for (size_t k = 0; k < values[i].n; k++)
            h = (h ^ p[k]) * 16777619u;
        h = (h ^ 0xff) * 16777619u;
    }
    return (h ^ h >> 16) % METRIC_TABLE;
}

static bool same(const struct metric_series *s, unsigned count, const struct slice *values)
{
    const char *p = s->values;

    for (unsigned i = 0; i < count; p += s->value_len[i++])
        if (s->value_len[i] != values[i].n || (values[i].n > 0 && memcmp(p, values[i].p, values[i].n) != 0))
            return false;
    return true;
}

static struct metric_series *find(struct metric *metric, unsigned place, const struct slice *values)
{
    struct metric_series *s = atomic_load_explicit(&metric->table[place], memory_order_acquire);

    while (s != NULL && !same(s, metric->label_count, values))
        s = s->next;
    return s;
}

static struct metric_series *create(struct metric *metric, unsigned place, const struct slice *values)
{
    pthread_mutex_lock(&metric->registry->lock);
    struct metric_series *s = find(metric, place, values); /* another thread may have been first */
    unsigned count = atomic_load(&metric->count);
    if (s == NULL && count < metric->series_max) {
        s = series_new(metric, values);
        if (s != NULL) {
            atomic_store(&s->used, true);
            s->next = atomic_load(&metric->table[place]);
            atomic_store(&metric->all[count], s);
            atomic_store_explicit(&metric->table[place], s, memory_order_release);
            atomic_store(&metric->count, count + 1); /* last: who sees the metric full finds what filled it */
        }
    }
    pthread_mutex_unlock(&metric->registry->lock);
    return s;
}

struct metric_series *metric_series(struct metric *metric, const struct slice *values)
{
    bool fits = true;

    if (metric->label_count == 0)
        return metric->other;
    for (unsigned i = 0; i < metric->label_count; i++)
        fits = fits && values[i].n <= METRIC_LABEL_BYTES;
    unsigned place = fits ? place_of(metric, values) : 0;
    struct metric_series *s = fits ? find(metric, place, values) : NULL;
    /* A full metric is asked for what it lacks all the time: that must not take the lock. It may have become full with this very one. */
    if (s == NULL && fits)
        s = atomic_load(&metric->count) < metric->series_max ? create(metric, place, values) : find(metric, place, values);
    if (s == NULL) {
        s = metric->other;
        atomic_store_explicit(&s->used, true, memory_order_relaxed);
    }
    return s;
}

static atomic_llong *cells_of(const struct metric_series *s)
{
    return s->cells + thread_shard % s->metric->registry->shards * s->metric->stride;
}

void metric_add(struct metric_series *s, int64_t n)
{
    assert(s->metric->spec.kind == METRIC_COUNTER);
    atomic_fetch_add_explicit(cells_of(s), n, memory_order_relaxed);
}

void metric_set(struct metric_series *s, int64_t value)
{
    assert(s->metric->spec.kind != METRIC_HISTOGRAM);
    atomic_store_explicit(&s->cells[0], value, memory_order_relaxed);
    atomic_store_explicit(&s->touched, true, memory_order_relaxed);
    atomic_store_explicit(&s->used, true, memory_order_relaxed);
}

void metric_sweep(struct metric *metric)
{
    unsigned count = atomic_load(&metric->count);

    for (unsigned i = 0; i <= count; i++) {
        struct metric_series *s = i < count ? atomic_load(&metric->all[i]) : metric->other;
        if (!atomic_exchange_explicit(&s->touched, false, memory_order_relaxed))
            atomic_store_explicit(&s->used, false, memory_order_relaxed);
    }
}

static bool exemplar_fits(struct slice id)
{
    if (id.n == 0 || id.n > METRIC_EXEMPLAR_BYTES)
        return false;
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_'))
            return false;
    }
    return true;
}

static void exemplar_put(struct metric_exemplar *x, int64_t value, struct slice id, int64_t wall_us)
{
    uint64_t words[EXEMPLAR_WORDS] = { 0 };
    unsigned was = atomic_load_explicit(&x->sequence, memory_order_relaxed);
    int64_t before = atomic_load_explicit(&x->wall_us, memory_order_relaxed);

    if ((was & 1) != 0 || (before <= wall_us && wall_us - before < exemplar_age_us) || !exemplar_fits(id))
        return;
    if (!atomic_compare_exchange_strong_explicit(&x->sequence, &was, was + 1, memory_order_acquire, memory_order_relaxed))
        return;
    atomic_thread_fence(memory_order_release);
    memcpy(words, id.p, id.n);
    for (unsigned i = 0; i < EXEMPLAR_WORDS; i++)
        atomic_store_explicit(&x->id[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&x->length, (unsigned)id.n, memory_order_relaxed);
    atomic_store_explicit(&x->value, value, memory_order_relaxed);
    atomic_store_explicit(&x->wall_us, wall_us, memory_order_relaxed);
    atomic_store_explicit(&x->sequence, was + 2, memory_order_release);
}

void metric_observe(struct metric_series *s, int64_t value, struct slice request_id, int64_t wall_us)
{
    const struct metric_spec *spec = &s->metric->spec;
    atomic_llong *cells = cells_of(s);
    unsigned i = 0;

    assert(spec->kind == METRIC_HISTOGRAM);
    while (i < spec->bound_count && value > spec->bounds[i])
        i++;
    atomic_fetch_add_explicit(&cells[1 + i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cells[0], value, memory_order_relaxed);
    if (s->exemplars != NULL && request_id.n > 0)
        exemplar_put(&s->exemplars[i], value, request_id, wall_us);
}
