/* What metrics.c (registry) and metrics_text.c (exposition) share. */
#ifndef TOLLGATE_OBSERVE_METRICS_PRIVATE_H
#define TOLLGATE_OBSERVE_METRICS_PRIVATE_H

#include "observe/metrics.h"

#include <pthread.h>
#include <stdatomic.h>

enum { METRIC_TABLE = 256, EXEMPLAR_WORDS = METRIC_EXEMPLAR_BYTES / 8 };

/* A request id beside a bucket, behind a sequence lock: odd while it is written. Writers that find it taken go without. */
struct metric_exemplar {
    atomic_uint sequence, length;
    atomic_llong value, wall_us;
    atomic_ullong id[EXEMPLAR_WORDS];
};

struct metric_series {
    struct metric_series *next;        /* of its place in the table; set before the series is published */
    const struct metric *metric;
    char *values;                      /* label values, one after the other */
    size_t value_len[METRIC_LABELS_MAX];
    char *labels;                      /* as printed: a="x",b="y" */
    size_t labels_len;
    atomic_bool used, touched;
    struct metric_exemplar *exemplars; /* bound_count + 1, or NULL */
    /* One stride for each shard: [0] the value or the histogram's sum, then its buckets, not cumulated. */
    atomic_llong *cells;
};

struct metric {
    struct metric *next;
    struct metrics *registry;
    struct metric_spec spec;
    unsigned label_count, series_max;
    size_t stride;                     /* cells of a shard */
    struct metric_series *other;       /* shared; the only one of a metric without labels */
    _Atomic(struct metric_series *) table[METRIC_TABLE];
    atomic_uint count;
    _Atomic(struct metric_series *) all[]; /* in the order of creation */
};

struct metrics {
    pthread_mutex_t lock;              /* held to create a series */
    unsigned series_max, shards;
    struct metric *first, **last;
};

#endif
