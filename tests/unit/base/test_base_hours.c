/* Hours of the week: what is taken, what is not, and when they hold. */
#include "base/hours.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
    const char *text;
    int day, minute; /* 0: Monday */
    bool holds;
} clock_cases[] = {
    { "Mon-Fri 08:00-18:00", 0, 480, true },   { "Mon-Fri 08:00-18:00", 0, 479, false },  { "Mon-Fri 08:00-18:00", 4, 1079, true },
    { "Mon-Fri 08:00-18:00", 5, 600, false },  { "Sat,Sun 10:00-24:00", 6, 1439, true },  { "Sat-Mon 00:00-24:00", 0, 0, true },
    { "Sat-Mon 00:00-24:00", 1, 0, false },    { "22:00-06:00", 2, 1320, true },          { "22:00-06:00", 2, 359, true },
    { "22:00-06:00", 2, 360, false },          { "Fri 22:00-06:00", 5, 100, true },       { "Fri 22:00-06:00", 4, 100, false },
    { "sun 22:00-06:00", 0, 100, true },       { "22:00-00:00", 3, 1439, true },          { "22:00-00:00", 3, 0, false },
};

static void test_hours(void **state)
{
    static const char *const bad[] = { "", "Mon", "Mon 8:00-18:00", "Mon 08:00", "Mon 08:00-25:00", "Mon 08:60-10:00", "Mon-", "Mon-Foo 08:00-10:00",
                                       "Mon08:00-10:00", "Mon 24:00-08:00", "Mon 08:00-10:00 ", "Mon-Fri-Sun 08:00-10:00", "Mon, 08:00-10:00",
                                       "Mon,08:00-10:00", " 8:00-18:00", "+8:00-18:00", "08:00 -18:00", "08:00- 6:00", "09:00-09:00", "24:00-06:00" };
    struct hours h;

    (void)state;
    for (size_t i = 0; i < sizeof clock_cases / sizeof clock_cases[0]; i++) {
        assert_null(hours_parse(clock_cases[i].text, &h));
        int64_t monday = 4 * 86400; /* 1970-01-05 */
        int64_t at = monday + (int64_t)clock_cases[i].day * 86400 + clock_cases[i].minute * 60;
        int now = hours_minute_of_week(at), before_1970 = hours_minute_of_week(at - 52 * 7 * 86400);
        assert_int_equal(now, clock_cases[i].day * 1440 + clock_cases[i].minute);
        assert_int_equal(now, before_1970);
        if (hours_hold(&h, now) != clock_cases[i].holds)
            fail_msg("%zu: %s", i, clock_cases[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (hours_parse(bad[i], &h) == NULL)
            fail_msg("\"%s\" is taken", bad[i]);
}

static void test_text(void **state)
{
    char text[16];

    (void)state;
    hours_text(hours_minute_of_week(2 * 86400 + 10 * 3600 + 12 * 60 + 59), text); /* 1970-01-03 */
    assert_string_equal(text, "Sat 10:12");
    hours_text(hours_minute_of_week(-1), text);
    assert_string_equal(text, "Wed 23:59");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hours),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
