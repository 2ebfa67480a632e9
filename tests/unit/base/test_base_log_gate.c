/* The gate before lines that a peer can provoke: so many a second, none forgotten, whoever asks. */
#include "base/log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000, THREADS = 4, EACH = 20000, PER_SECOND = 100 };

static void test_so_many_a_second(void **state)
{
    struct log_gate g = { .second = 0 };
    unsigned held = 77;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(log_gate_open(&g, 5 * SECOND + i, 3, &held));
        assert_int_equal(held, 0);
    }
    for (int i = 0; i < 10; i++)
        assert_false(log_gate_open(&g, 6 * SECOND - 1, 3, &held));
    assert_true(log_gate_open(&g, 6 * SECOND, 3, &held));
    assert_int_equal(held, 10);
    assert_true(log_gate_open(&g, 6 * SECOND, 3, &held));
    assert_int_equal(held, 0);
}

static struct log_gate shared;

static void *ask(void *passed)
{
    unsigned *sum = passed, held;

    for (int i = 0; i < EACH; i++)
        if (log_gate_open(&shared, 9 * SECOND, PER_SECOND, &held))
            sum[0] += 1 + held;
    return NULL;
}

static void test_threads_share_one(void **state)
{
    pthread_t threads[THREADS];
    unsigned sums[THREADS] = { 0 }, held = 0, told = 0;

    (void)state;
    assert_true(log_gate_open(&shared, 9 * SECOND, PER_SECOND, &held));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &sums[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        told += sums[i];
    }
    assert_true(log_gate_open(&shared, 10 * SECOND, PER_SECOND, &held));
    /* Every question was either passed or is told of as held back. */
    assert_int_equal(told + held, THREADS * EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_so_many_a_second),
        cmocka_unit_test(test_threads_share_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
