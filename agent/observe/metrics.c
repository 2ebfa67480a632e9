#include "observe/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_SIZE = 256 };

struct metric_series {
    struct metric_series *next;  /* of its place in the table; set before the series is published */
    const struct metric_spec *spec;
    char *labels[METRIC_LABELS_MAX];
    size_t label_len[METRIC_LABELS_MAX];
    atomic_bool used;
    atomic_llong value;          /* histograms: the sum */
    atomic_ullong buckets[];     /* histograms: bound_count + 1, not cumulated */
};

struct metric {
    struct metric *next;
    struct metrics *registry;
    struct metric_spec spec;
    unsigned label_count;
    struct metric_series *other; /* shared; the only one of a metric without labels */
    _Atomic(struct metric_series *) table[TABLE_SIZE];
    atomic_uint count;
    _Atomic(struct metric_series *) all[]; /* in the order of creation */
};

struct metrics {
    pthread_mutex_t lock; /* held to create a series */
    unsigned series_max;
    struct metric *first, **last;
};

struct metrics *metrics_new(unsigned series_max)
{
    struct metrics *m = calloc(1, sizeof *m);

    if (m == NULL)
        return NULL;
    pthread_mutex_init(&m->lock, NULL);
    m->series_max = series_max;
    m->last = &m->first;
    return m;
}

static void series_free(struct metric_series *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < METRIC_LABELS_MAX; i++)
        free(s->labels[i]);
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

static struct metric_series *series_new(const struct metric *metric, const struct slice *values)
{
    size_t buckets = metric->spec.kind == METRIC_HISTOGRAM ? metric->spec.bound_count + 1 : 0;
    struct metric_series *s = calloc(1, sizeof *s + buckets * sizeof s->buckets[0]);

    if (s == NULL)
        return NULL;
    s->spec = &metric->spec;
    for (unsigned i = 0; i < metric->label_count; i++) {
        s->labels[i] = malloc(values[i].n + 1);
        if (s->labels[i] == NULL) {
            series_free(s);
            return NULL;
        }
        if (values[i].n > 0)
            memcpy(s->labels[i], values[i].p, values[i].n);
        s->labels[i][values[i].n] = '\0';
        s->label_len[i] = values[i].n;
    }
    return s;
}

struct metric *metrics_add(struct metrics *m, const struct metric_spec *spec)
{
    struct slice other[METRIC_LABELS_MAX];
    struct metric *metric = calloc(1, sizeof *metric + m->series_max * sizeof metric->all[0]);

    assert(spec->decimals <= 9);
    assert(spec->kind != METRIC_HISTOGRAM || (spec->bound_count > 0 && spec->bound_count <= METRIC_BOUNDS_MAX));
    if (metric == NULL)
        return NULL;
    metric->registry = m;
    metric->spec = *spec;
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
    return (h ^ h >> 16) % TABLE_SIZE;
}

static struct metric_series *find(struct metric *metric, unsigned place, const struct slice *values)
{
    struct metric_series *s = atomic_load_explicit(&metric->table[place], memory_order_acquire);

    for (; s != NULL; s = s->next) {
        unsigned i = 0;
        while (i < metric->label_count && s->label_len[i] == values[i].n &&
               (values[i].n == 0 || memcmp(s->labels[i], values[i].p, values[i].n) == 0))
            i++;
        if (i == metric->label_count)
            return s;
    }
    return NULL;
}

static struct metric_series *create(struct metric *metric, unsigned place, const struct slice *values)
{
    pthread_mutex_lock(&metric->registry->lock);
    struct metric_series *s = find(metric, place, values); /* another thread may have been first */
    unsigned count = atomic_load(&metric->count);
    if (s == NULL && count < metric->registry->series_max) {
        s = series_new(metric, values);
        if (s != NULL) {
            atomic_store(&s->used, true);
            s->next = atomic_load(&metric->table[place]);
            atomic_store(&metric->all[count], s);
            atomic_store(&metric->count, count + 1);
            atomic_store_explicit(&metric->table[place], s, memory_order_release);
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
    /* A full metric is asked for what it lacks all the time: that must not take the lock. */
    if (s == NULL && fits && atomic_load_explicit(&metric->count, memory_order_relaxed) < metric->registry->series_max)
        s = create(metric, place, values);
    if (s == NULL) {
        s = metric->other;
        atomic_store_explicit(&s->used, true, memory_order_relaxed);
    }
    return s;
}

void metric_add(struct metric_series *s, int64_t n)
{
    assert(s->spec->kind != METRIC_HISTOGRAM);
    atomic_fetch_add_explicit(&s->value, n, memory_order_relaxed);
}

void metric_set(struct metric_series *s, int64_t value)
{
    assert(s->spec->kind == METRIC_GAUGE);
    atomic_store_explicit(&s->value, value, memory_order_relaxed);
}

void metric_observe(struct metric_series *s, int64_t value)
{
    unsigned i = 0;

    assert(s->spec->kind == METRIC_HISTOGRAM);
    while (i < s->spec->bound_count && value > s->spec->bounds[i])
        i++;
    atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->value, value, memory_order_relaxed);
}

/* "1.5", "0.000000001", "-2": no zeros at the end. */
static void put_decimal(FILE *f, int64_t value, unsigned decimals)
{
    uint64_t v = value < 0 ? 0 - (uint64_t)value : (uint64_t)value, scale = 1;

    for (unsigned i = 0; i < decimals; i++)
        scale *= 10;
    uint64_t part = v % scale;
    while (part > 0 && part % 10 == 0) {
        part /= 10;
        decimals--;
    }
    fprintf(f, "%s%" PRIu64, value < 0 ? "-" : "", v / scale);
    if (part > 0)
        fprintf(f, ".%0*" PRIu64, (int)decimals, part);
}

static void put_escaped(FILE *f, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        switch (p[i]) {
        case '\\': fputs("\\\\", f); break;
        case '"': fputs("\\\"", f); break;
        case '\n': fputs("\\n", f); break;
        default: fputc(p[i], f);
        }
}

/* The name with its labels and what stands before the value; with `le`, up to the opening quote of its bound. */
static void put_name(FILE *f, const struct metric *metric, const struct metric_series *s, const char *suffix, bool le)
{
    fprintf(f, "%s%s", metric->spec.name, suffix);
    if (metric->label_count > 0 || le)
        fputc('{', f);
    for (unsigned i = 0; i < metric->label_count; i++) {
        fprintf(f, "%s%s=\"", i > 0 ? "," : "", metric->spec.labels[i]);
        put_escaped(f, s->labels[i], s->label_len[i]);
        fputc('"', f);
    }
    if (le)
        fprintf(f, "%sle=\"", metric->label_count > 0 ? "," : "");
    else
        fputs(metric->label_count > 0 ? "} " : " ", f);
}

static void put_histogram(FILE *f, const struct metric *metric, struct metric_series *s)
{
    const struct metric_spec *spec = &metric->spec;
    uint64_t sum = 0;

    for (unsigned i = 0; i <= spec->bound_count; i++) {
        sum += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        put_name(f, metric, s, "_bucket", true);
        if (i < spec->bound_count)
            put_decimal(f, spec->bounds[i], spec->decimals);
        else
            fputs("+Inf", f);
        fprintf(f, "\"} %" PRIu64 "\n", sum);
    }
    put_name(f, metric, s, "_count", false);
    fprintf(f, "%" PRIu64 "\n", sum);
    put_name(f, metric, s, "_sum", false);
    put_decimal(f, atomic_load_explicit(&s->value, memory_order_relaxed), spec->decimals);
    fputc('\n', f);
}

static void put_series(FILE *f, const struct metric *metric, struct metric_series *s)
{
    if (!atomic_load_explicit(&s->used, memory_order_relaxed))
        return;
    if (metric->spec.kind == METRIC_HISTOGRAM) {
        put_histogram(f, metric, s);
        return;
    }
    put_name(f, metric, s, metric->spec.kind == METRIC_COUNTER ? "_total" : "", false);
    put_decimal(f, atomic_load_explicit(&s->value, memory_order_relaxed), metric->spec.decimals);
    fputc('\n', f);
}

char *metrics_text(struct metrics *m, size_t *len)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    char *text = NULL;
    FILE *f = open_memstream(&text, len);

    if (f == NULL)
        return NULL;
    for (struct metric *metric = m->first; metric != NULL; metric = metric->next) {
        const struct metric_spec *spec = &metric->spec;
        fprintf(f, "# TYPE %s %s\n", spec->name, kinds[spec->kind]);
        if (spec->unit != NULL)
            fprintf(f, "# UNIT %s %s\n", spec->name, spec->unit);
        fprintf(f, "# HELP %s ", spec->name);
        put_escaped(f, spec->help, strlen(spec->help));
        fputc('\n', f);
        unsigned count = atomic_load(&metric->count);
        for (unsigned i = 0; i < count; i++)
            put_series(f, metric, atomic_load(&metric->all[i]));
        put_series(f, metric, metric->other);
    }
    fputs("# EOF\n", f);
    bool whole = ferror(f) == 0;
    if (fclose(f) != 0 || !whole) {
        free(text);
        return NULL;
    }
    return text;
}
