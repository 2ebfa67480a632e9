/* Metrics: counters, gauges and histograms, and their text in OpenMetrics format.
 *
 * Values are int64 in the metric's raw unit; `decimals` says how many of the digits stand behind the point when printed (9: nano-dollars
 * as dollars, 6: microseconds as seconds). Nothing passes through double, so sums of money are exact.
 * Metrics are added before other threads use the registry. From then on series are found without a lock, changed with relaxed atomics
 * and never removed; only a label set met for the first time takes the registry's mutex. The text is made without it: whoever
 * reads metrics holds up nobody. A metric has at most `series_max` label sets; further ones share one series whose labels are all
 * "_other". When memory runs out the same series is used: nothing here fails after metrics_add. */
#ifndef TOLLGATE_OBSERVE_METRICS_H
#define TOLLGATE_OBSERVE_METRICS_H

#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>

enum { METRIC_LABELS_MAX = 6, METRIC_BOUNDS_MAX = 32, METRIC_LABEL_BYTES = 128 };

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
};

struct metric;
struct metric_series;
struct metrics;

/* NULL: out of memory. */
struct metrics *metrics_new(unsigned series_max) __attribute__((warn_unused_result));
void metrics_free(struct metrics *m);

/* Owned by the registry. NULL: out of memory. A metric without labels is printed from the start, with 0. */
struct metric *metrics_add(struct metrics *m, const struct metric_spec *spec) __attribute__((warn_unused_result));

/* Any thread. The series with these label values, one for each name, valid UTF-8 (NULL when there are no labels); values longer than
 * METRIC_LABEL_BYTES go to the shared series. Never NULL; stays valid as long as the registry, so callers may keep it. */
struct metric_series *metric_series(struct metric *metric, const struct slice *values);

/* Any thread. Counters: n >= 0. */
void metric_add(struct metric_series *s, int64_t n);
/* Any thread. Gauges only. */
void metric_set(struct metric_series *s, int64_t value);
/* Any thread. Histograms only. */
void metric_observe(struct metric_series *s, int64_t value);

/* Any thread. The exposition, ended by "# EOF\n"; the caller frees it. NULL: out of memory. A histogram's buckets and count always fit
 * each other; its sum may be some observations ahead or behind while others write. */
char *metrics_text(struct metrics *m, size_t *len) __attribute__((warn_unused_result));

#define METRICS_CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

#endif
