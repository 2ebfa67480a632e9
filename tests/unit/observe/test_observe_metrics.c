#include "observe/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_text(struct metrics *m, const char *expected)
{
    size_t len;
    char *text = metrics_text(m, METRICS_OPENMETRICS, &len);

    assert_non_null(text);
    assert_string_equal(text, expected);
    assert_int_equal(len, strlen(expected));
    free(text);
}

static void test_literal(void **state)
{
    static const int64_t bounds[] = { 10000, 250000, 1000000 };
    struct metrics *m = metrics_new(10, 1);

    (void)state;
    assert_non_null(m);
    struct metric *cost = metrics_add(m, &(struct metric_spec){ .name = "tollgate_cost_usd", .help = "Cost.", .unit = "usd",
                                                                .kind = METRIC_COUNTER, .decimals = 9, .labels = { "alias" } });
    struct metric *holds = metrics_add(m, &(struct metric_spec){ .name = "tollgate_holds", .help = "Open holds.", .kind = METRIC_GAUGE });
    struct metric *time = metrics_add(m, &(struct metric_spec){ .name = "t_seconds", .help = "Time.", .unit = "seconds",
        .kind = METRIC_HISTOGRAM, .decimals = 6, .labels = { "stage" }, .bounds = bounds, .bound_count = 3 });
    assert_true(cost != NULL && holds != NULL && time != NULL);
    /* More digits than a double has. */
    metric_add(metric_series(cost, &SLICE_LIT("a\"b\\c\nd")), 9007199254740993);
    metric_add(metric_series(cost, &SLICE_LIT("small")), 1);
    metric_set(metric_series(holds, NULL), -3);
    struct metric_series *s = metric_series(time, &SLICE_LIT("identity"));
    metric_observe(s, 10000, SLICE_NONE, 0); /* bounds are inclusive */
    metric_observe(s, 10001, SLICE_NONE, 0);
    metric_observe(s, 2000000, SLICE_NONE, 0);
    assert_text(m, "# TYPE tollgate_cost_usd counter\n# UNIT tollgate_cost_usd usd\n# HELP tollgate_cost_usd Cost.\n"
                   "tollgate_cost_usd_total{alias=\"a\\\"b\\\\c\\nd\"} 9007199.254740993\n"
                   "tollgate_cost_usd_total{alias=\"small\"} 0.000000001\n"
                   "# TYPE tollgate_holds gauge\n# HELP tollgate_holds Open holds.\ntollgate_holds -3\n"
                   "# TYPE t_seconds histogram\n# UNIT t_seconds seconds\n# HELP t_seconds Time.\n"
                   "t_seconds_bucket{stage=\"identity\",le=\"0.01\"} 1\nt_seconds_bucket{stage=\"identity\",le=\"0.25\"} 2\n"
                   "t_seconds_bucket{stage=\"identity\",le=\"1\"} 2\nt_seconds_bucket{stage=\"identity\",le=\"+Inf\"} 3\n"
                   "t_seconds_count{stage=\"identity\"} 3\nt_seconds_sum{stage=\"identity\"} 2.020001\n# EOF\n");
    metrics_free(m);
}

static void test_cap(void **state)
{
    struct metrics *m = metrics_new(2, 3);
    char longer[METRIC_LABEL_BYTES + 1];

    (void)state;
    assert_non_null(m);
    struct metric *c = metrics_add(m, &(struct metric_spec){ .name = "c", .help = "C.", .labels = { "x", "y" } });
    assert_non_null(c);
    assert_text(m, "# TYPE c counter\n# HELP c C.\n# EOF\n");
    memset(longer, 'l', sizeof longer);
    metric_add(metric_series(c, (struct slice[]){ slice_make(longer, sizeof longer), SLICE_LIT("") }), 1);
    metric_add(metric_series(c, (struct slice[]){ SLICE_LIT("ab"), SLICE_LIT("c") }), 1);
    metric_add(metric_series(c, (struct slice[]){ SLICE_LIT("a"), SLICE_LIT("bc") }), 2);
    metric_add(metric_series(c, (struct slice[]){ SLICE_LIT("third"), SLICE_LIT("") }), 4);
    metric_add(metric_series(c, (struct slice[]){ SLICE_LIT("ab"), SLICE_LIT("c") }), 8);
    assert_text(m, "# TYPE c counter\n# HELP c C.\nc_total{x=\"ab\",y=\"c\"} 9\nc_total{x=\"a\",y=\"bc\"} 2\n"
                   "c_total{x=\"_other\",y=\"_other\"} 5\n# EOF\n");
    metrics_free(m);
}

enum { THREADS = 4, ROUNDS = 20000, NAMES = 50 };

static void *hammer(void *user)
{
    char name[16];
    static atomic_uint next;

    metrics_thread(atomic_fetch_add(&next, 1));
    for (int i = 0; i < ROUNDS; i++) {
        int n = snprintf(name, sizeof name, "n%d", i % NAMES);
        struct slice value = slice_make(name, (size_t)n);
        metric_add(metric_series(user, &value), 1);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct metrics *m = metrics_new(NAMES, 3);
    pthread_t threads[THREADS];
    char expected[64];
    size_t len;

    (void)state;
    assert_non_null(m);
    struct metric *c = metrics_add(m, &(struct metric_spec){ .name = "c", .help = "C.", .labels = { "x" } });
    assert_non_null(c);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, c), 0);
    for (int i = 0; i < 20; i++) { /* read while they write */
        char *text = metrics_text(m, METRICS_OPENMETRICS, &len);
        assert_non_null(text);
        assert_true(len >= 6 && strcmp(text + len - 6, "# EOF\n") == 0);
        free(text);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    char *text = metrics_text(m, METRICS_OPENMETRICS, &len);
    assert_non_null(text);
    assert_null(strstr(text, "_other"));
    for (int i = 0; i < NAMES; i++) {
        snprintf(expected, sizeof expected, "c_total{x=\"n%d\"} %d\n", i, THREADS * ROUNDS / NAMES);
        assert_non_null(strstr(text, expected));
    }
    free(text);
    metrics_free(m);
}

static void test_older_format(void **state)
{
    struct metrics *m = metrics_new(4, 1);
    size_t len;

    (void)state;
    assert_non_null(m);
    struct metric *c = metrics_add(m, &(struct metric_spec){ .name = "c_usd", .help = "C\\ost.\n", .unit = "usd", .decimals = 9 });
    assert_non_null(c);
    metric_add(metric_series(c, NULL), 1500000000);
    char *text = metrics_text(m, METRICS_TEXT, &len);
    assert_non_null(text);
    assert_string_equal(text, "# TYPE c_usd_total counter\n# HELP c_usd_total C\\\\ost.\\n\nc_usd_total 1.5\n");
    free(text);
    metrics_free(m);
}

static void test_exemplar(void **state)
{
    static const int64_t bounds[] = { 1000000 };
    struct metrics *m = metrics_new(4, 2);

    (void)state;
    assert_non_null(m);
    struct metric *h = metrics_add(m, &(struct metric_spec){ .name = "h_seconds", .help = "H.", .kind = METRIC_HISTOGRAM, .decimals = 6,
        .bounds = bounds, .bound_count = 1, .exemplars = true });
    assert_non_null(h);
    struct metric_series *s = metric_series(h, NULL);
    metric_observe(s, 250000, SLICE_LIT("first"), 10500000);
    metric_observe(s, 300000, SLICE_LIT("too-soon"), 11000000);
    metric_observe(s, 2000000, SLICE_LIT("not\"an id"), 12000000);
    metric_observe(s, 2500000, SLICE_LIT("0b1c-second"), 13000000);
    assert_text(m, "# TYPE h_seconds histogram\n# HELP h_seconds H.\n"
                   "h_seconds_bucket{le=\"1\"} 2 # {request_id=\"first\"} 0.25 10.5\n"
                   "h_seconds_bucket{le=\"+Inf\"} 4 # {request_id=\"0b1c-second\"} 2.5 13\n"
                   "h_seconds_count 4\nh_seconds_sum 5.05\n# EOF\n");
    metric_observe(s, 1, SLICE_LIT("later"), 11500000);
    size_t len;
    char *text = metrics_text(m, METRICS_OPENMETRICS, &len);
    assert_non_null(text);
    assert_non_null(strstr(text, "3 # {request_id=\"later\"} 0.000001 11.5\n"));
    free(text);
    metrics_free(m);
}

static void test_sweep(void **state)
{
    struct metrics *m = metrics_new(4, 1);

    (void)state;
    assert_non_null(m);
    struct metric *g = metrics_add(m, &(struct metric_spec){ .name = "g", .help = "G.", .kind = METRIC_GAUGE, .labels = { "x" } });
    assert_non_null(g);
    metric_set(metric_series(g, &SLICE_LIT("a")), 1);
    metric_set(metric_series(g, &SLICE_LIT("b")), 2);
    metric_sweep(g);
    metric_set(metric_series(g, &SLICE_LIT("b")), 3);
    metric_sweep(g);
    assert_text(m, "# TYPE g gauge\n# HELP g G.\ng{x=\"b\"} 3\n# EOF\n");
    metric_set(metric_series(g, &SLICE_LIT("a")), 4);
    metric_sweep(g);
    assert_text(m, "# TYPE g gauge\n# HELP g G.\ng{x=\"a\"} 4\n# EOF\n");
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literal), cmocka_unit_test(test_cap), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_older_format), cmocka_unit_test(test_exemplar), cmocka_unit_test(test_sweep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
