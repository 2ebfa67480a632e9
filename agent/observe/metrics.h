/* Metrics: counters, gauges and histograms, and their text as OpenMetrics or in Prometheus' older format.
 *
 * Values are int64 in the metric's raw unit; `decimals` says how many of the digits stand behind the point when printed (9: nano-dollars
 * as dollars, 6: microseconds as seconds). Nothing passes through double, so sums of money are exact.
 * Metrics are added before other threads use the registry. From then on series are found without a lock, changed with relaxed atomics in
 * the calling thread's own shard (cache lines no other shard writes) and never removed; only a label set met for the first time takes
 * the registry's mutex. The text is made without it, by adding up the shards: whoever reads metrics holds up nobody. A metric has at
 * most `series_max` label sets; further ones share one series whose labels are all "_other". When memory runs out the same series is
 * used: nothing here fails after metrics_add. */
#ifndef TOLLGATE_OBSERVE_METRICS_H
#define TOLLGATE_OBSERVE_METRICS_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { METRIC_LABELS_MAX = 6, METRIC_BOUNDS_MAX = 32, METRIC_LABEL_BYTES = 128, METRIC_EXEMPLAR_BYTES = 64 };

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* All strings and `bounds` must outlive the registry. */
struct metric_spec {
    const char *name;                      /* the family: without _total, _bucket, ...; ends in _UNIT when there is a unit */
    const char *help;
    const char *unit;                      /* "seconds", "usd"; NULL: none */
    enum metric_kind kind;
    unsigned decimals;                     /* 0 to 9 */
    const char *labels[METRIC_LABELS_MAX]; /* names; the first NULL ends them */
    const int64_t *bounds;                 /* histograms: upper bounds, inclusive, ascending, raw; +Inf is implied */
    unsigned bound_count;                  /* 1 to METRIC_BOUNDS_MAX for histograms */
    bool exemplars;                        /* histograms: each bucket keeps the request id of a recent observation */
    unsigned series_max;                   /* 0: the registry's */
};

struct metric;
struct metric_series;
struct metrics;

/* `shards`: 1 to 64. NULL: out of memory. */
struct metrics *metrics_new(unsigned series_max, unsigned shards) __attribute__((warn_unused_result));
void metrics_free(struct metrics *m);

/* The calling thread counts in this shard (modulo their number) from now on; threads that never say use shard 0. */
void metrics_thread(unsigned shard);

/* Owned by the registry. NULL: out of memory. A metric without labels is printed from the start, with 0. */
struct metric *metrics_add(struct metrics *m, const struct metric_spec *spec) __attribute__((warn_unused_result));

/* Any thread. The series with these label values, one for each name, valid UTF-8 (NULL when there are no labels); values longer than
 * METRIC_LABEL_BYTES go to the shared series. Never NULL; stays valid as long as the registry, so callers may keep it. */
struct metric_series *metric_series(struct metric *metric, const struct slice *values);

/* Any thread. Counters: n >= 0. */
void metric_add(struct metric_series *s, int64_t n);
/* Gauges, and counters whose count is kept elsewhere and only grows; one thread sets a series, and nobody adds to it. */
void metric_set(struct metric_series *s, int64_t value);
/* The thread that sets them: series of this metric that were not set since the last sweep are no longer printed, until they are. */
void metric_sweep(struct metric *metric);
/* Any thread. Histograms only. `request_id` (at most METRIC_EXEMPLAR_BYTES of [0-9A-Za-z_-]; empty: none) becomes the bucket's exemplar
 * unless one of the last second is there; `wall_us` dates it. */
void metric_observe(struct metric_series *s, int64_t value, struct slice request_id, int64_t wall_us);

enum metrics_format {
    METRICS_TEXT,       /* Prometheus text format 0.0.4: what promtool check metrics reads; no exemplars */
    METRICS_OPENMETRICS /* OpenMetrics 1.0.0 */
};
#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* Any thread. The exposition, NUL-terminated; the caller frees it. NULL: out of memory. A histogram's buckets and count always fit each
 * other; its sum may be some observations ahead or behind while others write. */
char *metrics_text(struct metrics *m, enum metrics_format format, size_t *len) __attribute__((warn_unused_result));

#endif
