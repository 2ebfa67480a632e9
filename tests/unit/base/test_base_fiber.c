/* Fibers: stop anywhere, go on there; many at once; given up half-way; stacks that are used again hold nothing of the last one. */
#include "base/fiber.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { MANY = 20, STEPS = 50 };

struct work {
    int64_t sum;
    int steps;
    const void *stack; /* an address in it */
};

static int64_t deep(struct fiber *self, struct work *w, int depth)
{
    volatile char room[100];

    room[0] = (char)depth;
    w->stack = (const void *)(uintptr_t)room;
    fiber_pause(self);
    w->sum += depth;
    return (depth > 0 ? deep(self, w, depth - 1) : 0) + room[0];
}

static void count_down(struct fiber *self, void *arg)
{
    struct work *w = arg;
    double part = 1.5; /* a register of another kind is kept too */

    w->steps = (int)deep(self, w, STEPS - 1);
    fiber_pause(self);
    w->sum = (int64_t)((double)w->sum * part);
}

static void test_many_take_turns(void **state)
{
    struct fiber_pool *pool = fiber_pool_new();
    struct fiber *f[MANY];
    struct work w[MANY] = { { .sum = 0 } };
    unsigned turns = 0, left = MANY;

    (void)state;
    assert_non_null(pool);
    for (int i = 0; i < MANY; i++) {
        w[i].sum = i;
        f[i] = fiber_new(pool, count_down, &w[i]);
        assert_non_null(f[i]);
    }
    while (left > 0)
        for (int i = 0; i < MANY; i++, turns++) {
            if (f[i] == NULL || !fiber_resume(f[i]))
                continue;
            assert_true(fiber_resume(f[i])); /* it stays ended */
            fiber_free(f[i]);
            f[i] = NULL;
            left--;
        }
    assert_int_equal(turns, MANY * (STEPS + 2));
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(w[i].steps, STEPS * (STEPS - 1) / 2);
        assert_int_equal(w[i].sum, (i + STEPS * (STEPS - 1) / 2) * 3 / 2);
    }
    fiber_pool_free(pool);
}

static char *left_behind;

static void write_secret(struct fiber *self, void *arg)
{
    char text[64];

    snprintf(text, sizeof text, "%s", (const char *)arg);
    left_behind = text;
    fiber_pause(self);
    fail_msg("it was given up: %s", left_behind);
}

/* Given up half-way, its stack is wiped, and the next fiber gets it. */
static void test_given_up(void **state)
{
    struct fiber_pool *pool = fiber_pool_new();
    struct work w = { .sum = 0 };
    const void *first = NULL;

    (void)state;
    assert_non_null(pool);
    for (int round = 0; round < 3; round++) {
        struct fiber *f = fiber_new(pool, write_secret, "not to be found");
        assert_non_null(f);
        assert_false(fiber_resume(f));
        assert_string_equal(left_behind, "not to be found");
        fiber_free(f);
        assert_int_equal(left_behind[0], '\0');
        f = fiber_new(pool, count_down, &w);
        assert_non_null(f);
        assert_false(fiber_resume(f));
        assert_true(first == NULL || first == w.stack);
        first = w.stack;
        fiber_free(f);
        fiber_free(fiber_new(pool, count_down, &w)); /* never started */
    }
    fiber_free(NULL);
    fiber_pool_free(pool);
    fiber_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_many_take_turns), cmocka_unit_test(test_given_up) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
