#include "observe/metrics_private.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 64 * 1024, NUMBER_BYTES = 40 };

struct text {
    char *p;
    size_t n, room;
    bool failed;
    enum metrics_format format;
};

/* Where `n` more bytes go; NULL when memory is out. */
static char *space(struct text *t, size_t n)
{
    if (t->room - t->n < n) {
        size_t room = t->room * 2 + n;
        char *p = t->failed ? NULL : realloc(t->p, room);
        if (p == NULL) {
            t->failed = true;
            return NULL;
        }
        t->p = p;
        t->room = room;
    }
    return t->p + t->n;
}

static void put(struct text *t, const char *p, size_t n)
{
    char *to = space(t, n);

    if (to != NULL && n > 0) {
        memcpy(to, p, n);
        t->n += n;
    }
}

static void put_text(struct text *t, const char *s)
{
    put(t, s, strlen(s));
}

/* "1.5", "0.000000001", "-2": no zeros at the end. */
static void put_decimal(struct text *t, int64_t value, unsigned decimals)
{
    char digits[NUMBER_BYTES], *end = digits + sizeof digits, *p = end;
    uint64_t v = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    for (bool any = false; decimals > 0; decimals--, v /= 10)
        if (any || v % 10 > 0) {
            any = true;
            *--p = (char)('0' + v % 10);
        }
    if (p < end)
        *--p = '.';
    do
        *--p = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    if (value < 0)
        *--p = '-';
    put(t, p, (size_t)(end - p));
}

/* Help texts: backslash and newline are escaped in both formats. */
static void put_help(struct text *t, const char *s)
{
    for (; *s != '\0'; s++)
        if (*s == '\n')
            put(t, "\\n", 2);
        else if (*s == '\\')
            put(t, "\\\\", 2);
        else
            put(t, s, 1);
}

static void put_name(struct text *t, const struct metric_series *s, const char *suffix)
{
    put_text(t, s->metric->spec.name);
    put_text(t, suffix);
    if (s->labels_len > 0) {
        put(t, "{", 1);
        put(t, s->labels, s->labels_len);
        put(t, "} ", 2);
    } else {
        put(t, " ", 1);
    }
}

static int64_t sum_of(const struct metric_series *s, unsigned cell)
{
    int64_t sum = 0;

    for (unsigned i = 0; i < s->metric->registry->shards; i++)
        sum += atomic_load_explicit(&s->cells[i * s->metric->stride + cell], memory_order_relaxed);
    return sum;
}

/* " # {request_id="..."} VALUE TIME"; nothing while it is being written. */
static void put_exemplar(struct text *t, const struct metric_exemplar *x, unsigned decimals)
{
    uint64_t id[EXEMPLAR_WORDS];
    unsigned before = atomic_load_explicit(&x->sequence, memory_order_acquire);

    for (unsigned i = 0; i < EXEMPLAR_WORDS; i++)
        id[i] = atomic_load_explicit(&x->id[i], memory_order_relaxed);
    unsigned n = atomic_load_explicit(&x->length, memory_order_relaxed);
    int64_t value = atomic_load_explicit(&x->value, memory_order_relaxed);
    int64_t wall_us = atomic_load_explicit(&x->wall_us, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (before == 0 || (before & 1) != 0 || atomic_load_explicit(&x->sequence, memory_order_relaxed) != before)
        return;
    put_text(t, " # {request_id=\"");
    put(t, (const char *)id, n);
    put_text(t, "\"} ");
    put_decimal(t, value, decimals);
    put(t, " ", 1);
    put_decimal(t, wall_us, 6);
}

static void put_bucket_name(struct text *t, const struct metric_series *s)
{
    put_text(t, s->metric->spec.name);
    put_text(t, "_bucket{");
    put(t, s->labels, s->labels_len);
    put_text(t, s->labels_len > 0 ? ",le=\"" : "le=\"");
}

static void put_histogram(struct text *t, const struct metric_series *s)
{
    const struct metric_spec *spec = &s->metric->spec;
    int64_t sum = 0;

    for (unsigned i = 0; i <= spec->bound_count; i++) {
        sum += sum_of(s, 1 + i);
        put_bucket_name(t, s);
        if (i < spec->bound_count)
            put_decimal(t, spec->bounds[i], spec->decimals);
        else
            put_text(t, "+Inf");
        put_text(t, "\"} ");
        put_decimal(t, sum, 0);
        if (s->exemplars != NULL && t->format == METRICS_OPENMETRICS)
            put_exemplar(t, &s->exemplars[i], spec->decimals);
        put(t, "\n", 1);
    }
    put_name(t, s, "_count");
    put_decimal(t, sum, 0);
    put(t, "\n", 1);
    put_name(t, s, "_sum");
    put_decimal(t, sum_of(s, 0), spec->decimals);
    put(t, "\n", 1);
}

static void put_series(struct text *t, const struct metric_series *s)
{
    const struct metric_spec *spec = &s->metric->spec;

    if (!atomic_load_explicit(&s->used, memory_order_relaxed))
        return;
    if (spec->kind == METRIC_HISTOGRAM) {
        put_histogram(t, s);
        return;
    }
    put_name(t, s, spec->kind == METRIC_COUNTER ? "_total" : "");
    put_decimal(t, sum_of(s, 0), spec->decimals);
    put(t, "\n", 1);
}

/* In the older format a counter's family has the suffix too. */
static void put_head(struct text *t, const struct metric_spec *spec)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    const char *suffix = spec->kind == METRIC_COUNTER && t->format == METRICS_TEXT ? "_total" : "";
    const char *const type[] = { "# TYPE ", spec->name, suffix, " ", kinds[spec->kind], "\n" };
    const char *const unit[] = { "# UNIT ", spec->name, " ", spec->unit, "\n" };
    const char *const help[] = { "# HELP ", spec->name, suffix, " " };

    for (size_t i = 0; i < sizeof type / sizeof *type; i++)
        put_text(t, type[i]);
    for (size_t i = 0; spec->unit != NULL && t->format == METRICS_OPENMETRICS && i < sizeof unit / sizeof *unit; i++)
        put_text(t, unit[i]);
    for (size_t i = 0; i < sizeof help / sizeof *help; i++)
        put_text(t, help[i]);
    put_help(t, spec->help);
    put(t, "\n", 1);
}

char *metrics_text(struct metrics *m, enum metrics_format format, size_t *len)
{
    struct text t = { .p = malloc(FIRST_BYTES), .room = FIRST_BYTES, .format = format };

    if (t.p == NULL)
        return NULL;
    for (struct metric *metric = m->first; metric != NULL; metric = metric->next) {
        put_head(&t, &metric->spec);
        unsigned count = atomic_load(&metric->count);
        for (unsigned i = 0; i < count; i++)
            put_series(&t, atomic_load(&metric->all[i]));
        put_series(&t, metric->other);
    }
    if (format == METRICS_OPENMETRICS)
        put_text(&t, "# EOF\n");
    put(&t, "", 1);
    if (t.failed) {
        free(t.p);
        return NULL;
    }
    *len = t.n - 1;
    return t.p;
}
