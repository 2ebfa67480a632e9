/* Metrics: how long a scrape of 10,000 series takes, alone and while threads count, and what counting costs. */
#include "base/clock.h"
#include "observe/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHARDS = 5, COUNTERS = 5000, HISTOGRAMS = 294, SCRAPES = 51, ROUNDS = 2000000, BOUNDS = 14 };

static int64_t bounds[BOUNDS];
static atomic_bool stop;

struct job {
    struct metric_series *counter, *histogram;
    unsigned shard;
    double ns;
};

static void *count(void *user)
{
    struct job *j = user;
    int64_t before = clock_mono_us();
    long n = 0;

    metrics_thread(j->shard);
    for (; n < ROUNDS || !atomic_load_explicit(&stop, memory_order_relaxed); n++) {
        metric_add(j->counter, 1);
        metric_observe(j->histogram, n % 1000, SLICE_LIT("0191c0de-0000-7000-8000-000000000000"), n);
    }
    j->ns = (double)(clock_mono_us() - before) * 1000 / (double)n;
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void scrape(struct metrics *m, const char *when)
{
    int64_t us[SCRAPES];
    size_t len = 0;

    for (int i = 0; i < SCRAPES; i++) {
        int64_t before = clock_mono_us();
        char *text = metrics_text(m, METRICS_OPENMETRICS, &len);
        us[i] = clock_mono_us() - before;
        free(text);
    }
    qsort(us, SCRAPES, sizeof *us, compare);
    printf("scrape of 10,000 series (%zu KB), %s: median %.1f ms, worst of %d %.1f ms\n", len / 1024, when, (double)us[SCRAPES / 2] / 1000,
           SCRAPES, (double)us[SCRAPES - 1] / 1000);
}

int main(void)
{
    struct metrics *m = metrics_new(COUNTERS, SHARDS);
    struct metric_spec c = { .name = "bench_requests", .help = "Requests.", .labels = { "team", "provider", "model" } };
    struct metric_spec h = { .name = "bench_seconds", .help = "Time.", .kind = METRIC_HISTOGRAM, .decimals = 6, .bounds = bounds,
                             .bound_count = BOUNDS, .labels = { "team", "provider", "model" }, .exemplars = true };
    struct job jobs[2];
    pthread_t threads[2];
    char team[32];

    for (int i = 0; i < BOUNDS; i++)
        bounds[i] = INT64_C(1) << i;
    struct metric *counters = m == NULL ? NULL : metrics_add(m, &c), *histograms = m == NULL ? NULL : metrics_add(m, &h);
    if (counters == NULL || histograms == NULL)
        return 1;
    for (int i = 0; i < COUNTERS; i++) {
        struct slice labels[] = { slice_make(team, (size_t)snprintf(team, sizeof team, "team-%d", i)), SLICE_LIT("openai"),
                                  SLICE_LIT("gpt-4o-mini") };
        metric_add(metric_series(counters, labels), i);
        if (i < HISTOGRAMS) /* 17 series each: buckets, sum, count */
            metric_observe(metric_series(histograms, labels), i, SLICE_LIT("0191c0de-0000-7000-8000-000000000000"), 1);
        for (int k = 0; k < 2 && i == 0; k++)
            jobs[k] = (struct job){ metric_series(counters, labels), metric_series(histograms, labels), (unsigned)k + 1, 0 };
    }
    scrape(m, "alone");
    for (int k = 0; k < 2; k++)
        if (pthread_create(&threads[k], NULL, count, &jobs[k]) != 0)
            return 1;
    scrape(m, "while 2 threads count");
    atomic_store(&stop, true);
    for (int k = 0; k < 2; k++)
        pthread_join(threads[k], NULL);
    printf("a counter and a histogram, two threads on the same series: %.0f and %.0f ns\n", jobs[0].ns, jobs[1].ns);
    metrics_free(m);
    return 0;
}
