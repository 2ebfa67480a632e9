#include "route/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define S INT64_C(1000000)

static const struct breaker_options options = {
    .failures = 3, .error_percent = 50, .min_requests = 10, .window_us = 10 * S, .ttft_us = 2 * S, .ttft_percentile = 75,
    .open_us = 2 * S, .open_max_us = 8 * S, .retry_after_us = 2 * S, .retry_after_max_us = 60 * S, .probes = 2,
};
static const int64_t t0 = 1000 * S;

struct fixture {
    struct breaker_table *table;
    struct breaker *b;
};

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    f->table = breaker_table_new();
    f->b = breaker_get(f->table, SLICE_LIT("alpha"), SLICE_LIT("gpt"));
    breaker_configure(f->b, &options);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    breaker_table_free(f->table);
    free(f);
    return 0;
}

static struct breaker_view view(const struct breaker *b, int64_t now)
{
    struct breaker_view v;
    breaker_view(b, now, &v);
    return v;
}

static void failures(struct breaker *b, int n, int64_t now)
{
    for (int i = 0; i < n; i++)
        breaker_attempt(b, BREAKER_FAILED, -1, now);
}

static void test_table(void **state)
{
    struct fixture *f = *state;
    assert_ptr_equal(breaker_get(f->table, SLICE_LIT("alpha"), SLICE_LIT("gpt")), f->b);
    assert_null(breaker_find(f->table, SLICE_LIT("alpha"), SLICE_LIT("gp")));
    assert_null(breaker_get(f->table, SLICE_LIT("alpha"), SLICE_NONE));
    struct breaker *other = breaker_get(f->table, SLICE_LIT("alph"), SLICE_LIT("agpt"));
    assert_ptr_not_equal(other, f->b);
    assert_ptr_equal(breaker_at(f->table, 1), other);
    assert_null(breaker_at(f->table, 2));
    assert_int_equal(breaker_route_state(NULL, t0), ROUTE_USABLE);
}

static void test_failures_in_a_row_open_it_and_probes_close_it(void **state)
{
    struct breaker *b = ((struct fixture *)*state)->b;

    failures(b, 2, t0);
    breaker_attempt(b, BREAKER_NEUTRAL, -1, t0); /* a client that left says nothing */
    assert_int_equal(breaker_route_state(b, t0), ROUTE_USABLE);
    assert_true(breaker_attempt(b, BREAKER_FAILED, -1, t0));
    assert_string_equal(view(b, t0).reason, "consecutive_failures");
    assert_int_equal(breaker_route_state(b, t0 + 2 * S - 1), ROUTE_OPEN);
    assert_int_equal(view(b, t0).state, BREAKER_OPEN);
    int64_t later = t0 + 2 * S;
    assert_int_equal(view(b, later).state, BREAKER_HALF_OPEN);
    assert_int_equal(breaker_route_state(b, later), ROUTE_PROBE);
    assert_true(breaker_probe_take(b, later));
    assert_false(breaker_probe_take(b, later)); /* one a second */
    assert_int_equal(breaker_route_state(b, later), ROUTE_OPEN);
    assert_false(breaker_attempt(b, BREAKER_GOOD, -1, later));
    later += S;
    assert_int_equal(breaker_route_state(b, later), ROUTE_PROBE);
    assert_true(breaker_attempt(b, BREAKER_GOOD, -1, later));
    assert_int_equal(breaker_route_state(b, later), ROUTE_USABLE);
    assert_int_equal(view(b, later).openings, 0);
}

static void test_a_good_answer_between_failures(void **state)
{
    struct breaker *b = ((struct fixture *)*state)->b;
    for (int i = 0; i < 3; i++) {
        failures(b, 2, t0);
        breaker_attempt(b, BREAKER_GOOD, -1, t0);
    }
    /* Two thirds failed: too many as soon as there are ten, although never three in a row. */
    assert_string_equal(view(b, t0).reason, "");
    failures(b, 1, t0);
    assert_string_equal(view(b, t0).reason, "error_rate");
    assert_int_equal(breaker_route_state(b, t0), ROUTE_OPEN);
}

static void test_the_window_slides(void **state)
{
    struct breaker *b = ((struct fixture *)*state)->b;
    for (int i = 0; i < 3; i++) {
        failures(b, 2, t0);
        breaker_attempt(b, BREAKER_GOOD, -1, t0);
    }
    assert_int_equal(view(b, t0 + 8 * S).requests, 9);
    assert_int_equal(view(b, t0 + 11 * S).requests, 0);
    failures(b, 1, t0 + 11 * S);
    assert_int_equal(breaker_route_state(b, t0 + 11 * S), ROUTE_USABLE);
}

static void test_a_failed_probe_opens_it_twice_as_long(void **state)
{
    struct breaker *b = ((struct fixture *)*state)->b;
    int64_t now = t0, expect[] = { 2 * S, 4 * S, 8 * S, 8 * S };

    failures(b, 3, now);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(view(b, now).open_until_us - now, expect[i]);
        failures(b, 5, now + expect[i] - 1); /* sent before it opened: counts no more */
        now += expect[i];
        assert_int_equal(breaker_route_state(b, now), ROUTE_PROBE);
        failures(b, 1, now);
    }
    assert_string_equal(view(b, now).reason, "probe_failed");
}

static void test_retry_after(void **state)
{
    struct breaker *b = ((struct fixture *)*state)->b;
    for (int i = 0; i < 9; i++)
        assert_false(breaker_attempt(b, BREAKER_FAILED, 2 * S, t0)); /* short ones are tolerated */
    assert_true(breaker_attempt(b, BREAKER_FAILED, 30 * S, t0));
    assert_string_equal(view(b, t0).reason, "retry_after");
    assert_int_equal(view(b, t0).open_until_us, t0 + 30 * S);
    assert_false(breaker_attempt(b, BREAKER_FAILED, 10 * S, t0 + S)); /* never sooner than said before */
    assert_true(breaker_attempt(b, BREAKER_FAILED, 3600 * S, t0 + S));
    assert_int_equal(view(b, t0).open_until_us, t0 + 61 * S); /* cut to the limit */
}

static void test_slow_first_tokens(void **state)
{
    struct breaker *b = ((struct fixture *)*state)->b;
    struct breaker_answer fast = { .stream = true, .ttft_us = S, .tpot_ns = 20000000, .total_us = 3 * S, .output = 100 }, slow = fast;
    bool opened = false;

    slow.ttft_us = 3 * S;
    for (int i = 0; i < 40; i++)
        assert_false(breaker_latency(b, i % 5 == 0 ? &slow : &fast, t0)); /* a fifth is slow: below the quarter that is too many */
    for (int i = 0; i < 40 && !opened; i++)
        opened = breaker_latency(b, &slow, t0);
    assert_true(opened);
    assert_string_equal(view(b, t0).reason, "slow");
}

static void test_latencies(void **state)
{
    struct breaker *b = ((struct fixture *)*state)->b;
    struct breaker_answer stream = { .stream = true, .ttft_us = 400000, .tpot_ns = 20000000, .total_us = S, .output = 100 },
                          plain = { .ttft_us = 900000, .tpot_ns = 1, .total_us = 5 * S, .output = 100 };
    bool stale;

    assert_int_equal(breaker_wait_us(b, true, 10, t0, &stale), -1);
    breaker_latency(b, &plain, t0);
    assert_int_equal(breaker_wait_us(b, true, 10, t0, &stale), 5 * S);
    breaker_latency(b, &stream, t0);
    assert_int_equal(breaker_wait_us(b, true, 50, t0, &stale), 400000 + 50 * 20000);
    assert_int_equal(breaker_wait_us(b, false, 50, t0, &stale), 5 * S);
    assert_false(stale);
    breaker_wait_us(b, false, 50, t0 + 61 * S, &stale);
    assert_true(stale);
    stream.ttft_us = 1200000;
    breaker_latency(b, &stream, t0);
    assert_int_equal(view(b, t0).ttft_us, 500000); /* an eighth of the new */
    assert_int_equal(breaker_output(b), 100);
}

static void test_drain_keep_and_restore(void **state)
{
    struct fixture *f = *state;
    assert_true(view(f->b, t0).kept);
    breaker_drain(f->b, true);
    failures(f->b, 3, t0);
    struct breaker_view v = view(f->b, t0);
    assert_true(v.changed && !v.kept && v.drained);
    assert_int_equal(breaker_route_state(f->b, t0), ROUTE_DRAINED);
    breaker_keep_begin(f->b);
    assert_false(view(f->b, t0).changed || view(f->b, t0).kept);
    breaker_keep_end(f->b, false);
    assert_true(view(f->b, t0).changed);
    breaker_keep_begin(f->b);
    breaker_keep_end(f->b, true);
    assert_true(view(f->b, t0).kept);

    struct breaker *again = breaker_get(f->table, SLICE_LIT("alpha"), SLICE_LIT("restored"));
    breaker_configure(again, &options);
    breaker_restore(again, &v, t0);
    assert_int_equal(breaker_route_state(again, t0), ROUTE_DRAINED);
    breaker_drain(again, false);
    assert_int_equal(breaker_route_state(again, t0 + 2 * S - 1), ROUTE_OPEN);
    assert_int_equal(breaker_route_state(again, t0 + 2 * S), ROUTE_PROBE);
    assert_string_equal(view(again, t0).reason, "consecutive_failures");
    breaker_reset(again);
    assert_int_equal(breaker_route_state(again, t0), ROUTE_USABLE);
    v.open_until_us = 0; /* its time is over: it still has to prove itself */
    breaker_restore(again, &v, t0);
    breaker_drain(again, false);
    assert_int_equal(breaker_route_state(again, t0), ROUTE_PROBE);
}

static void test_retry_after_values(void **state)
{
    (void)state;
    const int64_t now = 784111777 * S; /* Sun, 06 Nov 1994 08:49:37 GMT */
    const struct {
        const char *text;
        int64_t us;
    } cases[] = { { "7", 7 * S }, { " 120 ", 120 * S }, { "0", 0 }, { "Sun, 06 Nov 1994 08:50:07 GMT", 30 * S },
                  { "Sun, 06 Nov 1994 08:49:07 GMT", 0 }, { "", -1 }, { "soon", -1 }, { "-5", -1 }, { "1.5", -1 },
                  { "99999999999", -1 }, { "Sun, 06 Nox 1994 08:50:07 GMT", -1 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(breaker_retry_after_us(slice_cstr(cases[i].text), now), cases[i].us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures_in_a_row_open_it_and_probes_close_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_good_answer_between_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_window_slides, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_failed_probe_opens_it_twice_as_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retry_after, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_first_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_latencies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drain_keep_and_restore, setup, teardown),
        cmocka_unit_test(test_retry_after_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
