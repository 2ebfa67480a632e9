/* Sessions: whose cookie it is, until when, and what happens when there are too many. */
#include "console/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct console_person ann = { .user = "ann", .team = "search", .role = CONSOLE_VIEWER };

static void a_cookie_is_good_until_its_end(void **state)
{
    struct sessions *s = sessions_new();
    struct console_person who;
    char cookie[SESSION_COOKIE], other[SESSION_COOKIE];

    (void)state;
    assert_non_null(s);
    assert_true(sessions_begin(s, &ann, 1000, 10, cookie));
    assert_true(sessions_begin(s, &ann, 1000, 10, other));
    assert_string_not_equal(cookie, other);
    assert_true(sessions_find(s, slice_cstr(cookie), 999, &who));
    assert_string_equal(who.user, "ann");
    assert_int_equal(who.role, CONSOLE_VIEWER);
    assert_false(sessions_find(s, slice_cstr(cookie), 1000, &who));
    assert_false(sessions_find(s, slice_cstr(""), 10, &who));
    assert_false(sessions_find(s, SLICE_NONE, 10, &who));
    assert_false(sessions_find(s, slice_make(cookie, 42), 10, &who));
    cookie[0] = cookie[0] == 'A' ? 'B' : 'A';
    assert_false(sessions_find(s, slice_cstr(cookie), 10, &who));
    sessions_free(s);
}

static void sign_out_ends_one_and_clear_all(void **state)
{
    struct sessions *s = sessions_new();
    struct console_person who;
    char one[SESSION_COOKIE], two[SESSION_COOKIE];

    (void)state;
    assert_non_null(s);
    assert_true(sessions_begin(s, &ann, 1000, 10, one) && sessions_begin(s, &ann, 1000, 10, two));
    sessions_end(s, slice_cstr(one));
    assert_false(sessions_find(s, slice_cstr(one), 10, &who));
    assert_true(sessions_find(s, slice_cstr(two), 10, &who));
    assert_int_equal(sessions_count(s, 10), 1);
    sessions_clear(s);
    assert_false(sessions_find(s, slice_cstr(two), 10, &who));
    sessions_free(s);
}

static void a_full_table_gives_up_the_one_that_ends_first(void **state)
{
    struct sessions *s = sessions_new();
    struct console_person who;
    char first[SESSION_COOKIE], second[SESSION_COOKIE], cookie[SESSION_COOKIE];

    (void)state;
    assert_non_null(s);
    assert_true(sessions_begin(s, &ann, 500, 10, first) && sessions_begin(s, &ann, 600, 10, second));
    for (int i = 2; i < SESSIONS_MAX; i++)
        assert_true(sessions_begin(s, &ann, 1000 + i, 10, cookie));
    assert_true(sessions_find(s, slice_cstr(first), 10, &who));
    assert_true(sessions_begin(s, &ann, 700, 10, cookie));
    assert_false(sessions_find(s, slice_cstr(first), 10, &who));
    assert_true(sessions_find(s, slice_cstr(second), 10, &who));
    assert_int_equal(sessions_count(s, 10), SESSIONS_MAX);
    sessions_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cookie_is_good_until_its_end),
        cmocka_unit_test(sign_out_ends_one_and_clear_all),
        cmocka_unit_test(a_full_table_gives_up_the_one_that_ends_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
