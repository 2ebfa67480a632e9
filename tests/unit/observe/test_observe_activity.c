/* Activity: sums of the last minute and no more, percentiles within their bound, names beyond the number. */
#include "observe/activity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define S INT64_C(1000000)

static struct event settled(const char *team, int64_t cost, int64_t ttft_us, int64_t tpot_ns)
{
    struct event e = { .kind = EVENT_SETTLED, .reason = "ok", .cost_nano = cost, .ttft_us = ttft_us, .tpot_ns = tpot_ns,
                       .usage = { .input = 10, .input_cached = 5, .output = 3, .output_reasoning = 4 } };
    EVENT_TEXT(e.team, slice_cstr(team));
    EVENT_TEXT(e.user, SLICE_LIT("ann"));
    EVENT_TEXT(e.alias, SLICE_LIT("chat"));
    EVENT_TEXT(e.group, SLICE_LIT("alpha"));
    EVENT_TEXT(e.model, SLICE_LIT("gpt"));
    return e;
}

static struct activity_row one(struct activity *a, enum activity_by by, const char *name, int64_t now)
{
    static struct activity_row rows[ACTIVITY_NAMES + 1];
    int64_t window;
    size_t n = activity_read(a, by, now, rows, ACTIVITY_NAMES + 1, &window);

    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i];
    fail_msg("no row %s of %zu", name, n);
    return rows[0];
}

static void test_sums_by_dimension(void **state)
{
    struct activity *a = activity_new(0);
    struct event e = settled("red", 7, -1, -1);
    int64_t now = 1000 * S;

    (void)state;
    activity_count(a, &e, now);
    e.reason = "cut";
    e.fallback = true;
    activity_count(a, &e, now + 5 * S);
    e.kind = EVENT_DENIED;
    activity_count(a, &e, now + 15 * S);
    e.kind = EVENT_ALLOWED;
    activity_count(a, &e, now + 25 * S);
    static const struct {
        enum activity_by by;
        const char *name;
    } where[] = { { ACTIVITY_ALL, "" }, { ACTIVITY_TEAM, "red" }, { ACTIVITY_MODEL, "chat" }, { ACTIVITY_TARGET, "alpha/gpt" }, { ACTIVITY_USER, "red/ann" } };
    for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
        struct activity_row r = one(a, where[i].by, where[i].name, now + 26 * S);
        assert_int_equal(r.sums.settled, 2);
        assert_int_equal(r.sums.failed, 1);
        assert_int_equal(r.sums.fallback, 1);
        assert_int_equal(r.sums.denied, 1);
        assert_int_equal(r.sums.allowed, 1);
        assert_int_equal(r.sums.cost_nano, 14);
        assert_int_equal(r.sums.input, 30);
        assert_int_equal(r.sums.output, 14);
        assert_int_equal(r.ttft_us[0], -1);
    }
    activity_free(a);
}

static void test_only_the_last_minute(void **state)
{
    struct activity *a = activity_new(0);
    struct event e = settled("red", 1, -1, -1);
    struct activity_row rows[4];
    int64_t window;

    (void)state;
    for (int i = 0; i < 300; i++) /* one a second */
        activity_count(a, &e, i * S);
    activity_read(a, ACTIVITY_TEAM, 299 * S, rows, 4, &window);
    assert_int_equal(window, 69 * S);
    assert_int_equal(rows[0].sums.settled, 70); /* slots 23 to 29, the last one full but for an instant */
    assert_int_equal(activity_read(a, ACTIVITY_TEAM, 345 * S, rows, 4, &window), 1);
    assert_int_equal(rows[0].sums.settled, 20);
    assert_int_equal(activity_read(a, ACTIVITY_TEAM, 361 * S, rows, 4, &window), 0);
    assert_int_equal(activity_read(a, ACTIVITY_ALL, 361 * S, rows, 4, &window), 1);
    assert_int_equal(rows[0].sums.settled, 0);
    activity_free(a);
    a = activity_new(1000 * S); /* a young process: the window is its age */
    activity_read(a, ACTIVITY_ALL, 1003 * S, rows, 4, &window);
    assert_int_equal(window, 3 * S);
    activity_free(a);
}

static void within(int64_t value, int64_t expected)
{
    if (value * 10 < expected * 9 || value * 10 > expected * 11)
        fail_msg("%lld is not within 10 %% of %lld", (long long)value, (long long)expected);
}

static void test_percentiles(void **state)
{
    struct activity *a = activity_new(0);

    (void)state;
    for (int i = 1; i <= 1000; i++) {
        struct event e = settled("red", 0, i * INT64_C(1500), i * INT64_C(40000));
        activity_count(a, &e, 100 * S + i);
    }
    struct activity_row r = one(a, ACTIVITY_TEAM, "red", 101 * S);
    within(r.ttft_us[0], 750000);
    within(r.ttft_us[1], 1425000);
    within(r.ttft_us[2], 1485000);
    within(r.tpot_ns[0], 20000000);
    within(r.tpot_ns[2], 39600000);
    for (int i = 0; i < 10; i++) { /* out of all bounds */
        struct event e = settled("blue", 0, i < 9 ? 0 : INT64_MAX, INT64_MAX);
        activity_count(a, &e, 100 * S);
    }
    r = one(a, ACTIVITY_TEAM, "blue", 101 * S);
    assert_in_range(r.ttft_us[0], 0, 1023);
    assert_true(r.ttft_us[2] > 500 * S);
    activity_free(a);
}

static void test_more_names_than_there_are_places(void **state)
{
    struct activity *a = activity_new(0);
    char name[16];

    (void)state;
    for (int i = 0; i < ACTIVITY_NAMES + 50; i++) {
        snprintf(name, sizeof name, "team-%d", i);
        struct event e = settled(name, 1, -1, -1);
        activity_count(a, &e, 100 * S);
    }
    assert_int_equal(one(a, ACTIVITY_TEAM, "team-0", 101 * S).sums.settled, 1);
    assert_int_equal(one(a, ACTIVITY_TEAM, "_other", 101 * S).sums.settled, 50);
    assert_int_equal(one(a, ACTIVITY_ALL, "", 101 * S).sums.settled, ACTIVITY_NAMES + 50);
    struct event e = settled("late", 1, -1, -1); /* a minute later their places are free again */
    activity_count(a, &e, 200 * S);
    assert_int_equal(one(a, ACTIVITY_TEAM, "late", 201 * S).sums.settled, 1);
    activity_free(a);
}

static void test_words(void **state)
{
    enum activity_by by;

    (void)state;
    assert_true(activity_by_word(SLICE_LIT("target"), &by));
    assert_int_equal(by, ACTIVITY_TARGET);
    assert_false(activity_by_word(SLICE_LIT("targets"), &by));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_by_dimension), cmocka_unit_test(test_only_the_last_minute), cmocka_unit_test(test_percentiles),
        cmocka_unit_test(test_more_names_than_there_are_places), cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
