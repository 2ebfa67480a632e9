/* Calendar windows at the borders where daylight-saving time, month ends and odd zones matter. The expected instants were computed by
 * stepping through Python's zoneinfo in quarter hours. */
#include "budget/zone.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>

#include <cmocka.h>

struct window_case {
    const char *zone;
    enum budget_calendar kind;
    int64_t now, start, end; /* seconds since 1970 */
};

static const struct window_case cases[] = {
    { "Europe/Berlin", BUDGET_DAY, 1774785600, 1774738800, 1774821600 }, /* 2026-03-29T12:00: 2026-03-28T23:00 .. 2026-03-29T22:00 */
    { "Europe/Berlin", BUDGET_DAY, 1792929600, 1792879200, 1792969200 }, /* 2026-10-25T12:00: 2026-10-24T22:00 .. 2026-10-25T23:00 */
    { "Europe/Berlin", BUDGET_DAY, 1782945000, 1782943200, 1783029600 }, /* 2026-07-01T22:30: 2026-07-01T22:00 .. 2026-07-02T22:00 */
    { "Europe/Berlin", BUDGET_HOUR, 1792888200, 1792886400, 1792893600 }, /* 2026-10-25T00:30: 2026-10-25T00:00 .. 2026-10-25T02:00 */
    { "Europe/Berlin", BUDGET_HOUR, 1792891800, 1792886400, 1792893600 }, /* 2026-10-25T01:30: 2026-10-25T00:00 .. 2026-10-25T02:00 */
    { "Europe/Berlin", BUDGET_HOUR, 1774745940, 1774742400, 1774746000 }, /* 2026-03-29T00:59: 2026-03-29T00:00 .. 2026-03-29T01:00 */
    { "Europe/Berlin", BUDGET_HOUR, 1774746000, 1774746000, 1774749600 }, /* 2026-03-29T01:00: 2026-03-29T01:00 .. 2026-03-29T02:00 */
    { "Europe/Berlin", BUDGET_MONTH, 1774996200, 1774994400, 1777586400 }, /* 2026-03-31T22:30: 2026-03-31T22:00 .. 2026-04-30T22:00 */
    { "Europe/Berlin", BUDGET_MONTH, 1835438400, 1832972400, 1835478000 }, /* 2028-02-29T12:00: 2028-01-31T23:00 .. 2028-02-29T23:00 */
    { "Europe/Berlin", BUDGET_QUARTER, 1795996800, 1790805600, 1798758000 }, /* 2026-11-30T00:00: 2026-09-30T22:00 .. 2026-12-31T23:00 */
    { "Europe/Berlin", BUDGET_WEEK, 1792971000, 1792969200, 1793574000 }, /* 2026-10-25T23:30: 2026-10-25T23:00 .. 2026-11-01T23:00 */
    { "Europe/Berlin", BUDGET_WEEK, 1792967400, 1792360800, 1792969200 }, /* 2026-10-25T22:30: 2026-10-18T22:00 .. 2026-10-25T23:00 */
    { "Europe/Berlin", BUDGET_YEAR, 1798759800, 1798758000, 1830294000 }, /* 2026-12-31T23:30: 2026-12-31T23:00 .. 2027-12-31T23:00 */
    { "Europe/Berlin", BUDGET_DAY, 2216289600, 2216242800, 2216325600 }, /* 2040-03-25T12:00: 2040-03-24T23:00 .. 2040-03-25T22:00 */
    { "Europe/Berlin", BUDGET_DAY, 7252459200, 7252408800, 7252498800 }, /* 2199-10-27T12:00: 2199-10-26T22:00 .. 2199-10-27T23:00 */
    { "America/New_York", BUDGET_DAY, 1772971200, 1772946000, 1773028800 }, /* 2026-03-08T12:00: 2026-03-08T05:00 .. 2026-03-09T04:00 */
    { "America/New_York", BUDGET_DAY, 1793534400, 1793505600, 1793595600 }, /* 2026-11-01T12:00: 2026-11-01T04:00 .. 2026-11-02T05:00 */
    { "America/New_York", BUDGET_DAY, 1795402800, 1795323600, 1795410000 }, /* 2026-11-23T03:00: 2026-11-22T05:00 .. 2026-11-23T05:00 */
    { "America/New_York", BUDGET_MONTH, 1796097600, 1793505600, 1796101200 }, /* 2026-12-01T04:00: 2026-11-01T04:00 .. 2026-12-01T05:00 */
    { "America/New_York", BUDGET_QUARTER, 1775015940, 1767243600, 1775016000 }, /* 2026-04-01T03:59: 2026-01-01T05:00 .. 2026-04-01T04:00 */
    { "America/New_York", BUDGET_QUARTER, 1775016000, 1775016000, 1782878400 }, /* 2026-04-01T04:00: 2026-04-01T04:00 .. 2026-07-01T04:00 */
    { "Australia/Lord_Howe", BUDGET_DAY, 1775325600, 1775307600, 1775395800 }, /* 2026-04-04T18:00: 2026-04-04T13:00 .. 2026-04-05T13:30 */
    { "Australia/Lord_Howe", BUDGET_DAY, 1791057600, 1791034200, 1791118800 }, /* 2026-10-03T20:00: 2026-10-03T13:30 .. 2026-10-04T13:00 */
    { "Australia/Lord_Howe", BUDGET_HOUR, 1775315700, 1775311200, 1775316600 }, /* 2026-04-04T15:15: 2026-04-04T14:00 .. 2026-04-04T15:30 */
    { "Australia/Lord_Howe", BUDGET_HOUR, 1791042300, 1791041400, 1791043200 }, /* 2026-10-03T15:45: 2026-10-03T15:30 .. 2026-10-03T16:00 */
    { "Australia/Lord_Howe", BUDGET_DAY, 2537654400, 2537616600, 2537703000 }, /* 2050-06-01T00:00: 2050-05-31T13:30 .. 2050-06-01T13:30 */
    { "Asia/Kathmandu", BUDGET_DAY, 1767225600, 1767204900, 1767291300 }, /* 2026-01-01T00:00: 2025-12-31T18:15 .. 2026-01-01T18:15 */
    { "America/Havana", BUDGET_DAY, 1772971200, 1772946000, 1773028800 }, /* 2026-03-08T12:00: 2026-03-08T05:00 .. 2026-03-09T04:00 */
    { "America/Sao_Paulo", BUDGET_DAY, 1541332800, 1541300400, 1541383200 }, /* 2018-11-04T12:00: 2018-11-04T03:00 .. 2018-11-05T02:00 */
    { "Pacific/Apia", BUDGET_DAY, 1325246400, 1325239200, 1325325600 }, /* 2011-12-30T12:00: 2011-12-30T10:00 .. 2011-12-31T10:00 */
    { "Pacific/Apia", BUDGET_WEEK, 1325246400, 1324893600, 1325412000 }, /* 2011-12-30T12:00: 2011-12-26T10:00 .. 2012-01-01T10:00 */
    { "Asia/Beirut", BUDGET_DAY, 1792877400, 1792789200, 1792879200 }, /* 2026-10-24T21:30: 2026-10-23T21:00 .. 2026-10-24T22:00 */
    { "Asia/Beirut", BUDGET_DAY, 1774742400, 1774735200, 1774818000 }, /* 2026-03-29T00:00: 2026-03-28T22:00 .. 2026-03-29T21:00 */
    { "Africa/Casablanca", BUDGET_DAY, 1771156800, 1771110000, 1771200000 }, /* 2026-02-15T12:00: 2026-02-14T23:00 .. 2026-02-16T00:00 */
    { "Europe/Dublin", BUDGET_DAY, 2392891200, 2392844400, 2392934400 }, /* 2045-10-29T12:00: 2045-10-28T23:00 .. 2045-10-30T00:00 */
    { "UTC", BUDGET_QUARTER, 1798761540, 1790812800, 1798761600 }, /* 2026-12-31T23:59: 2026-10-01T00:00 .. 2027-01-01T00:00 */
    { "UTC", BUDGET_MONTH, 4107542340, 4105123200, 4107542400 }, /* 2100-02-28T23:59: 2100-02-01T00:00 .. 2100-03-01T00:00 */
    { "America/St_Johns", BUDGET_DAY, 1162089900, 1162089000, 1162179000 }, /* 2006-10-29T02:45: 2006-10-29T02:30 .. 2006-10-30T03:30 */
};

static struct budget_zone *load(const char *name)
{
    char why[256];
    struct budget_zone *z = budget_zone_load(NULL, name, why, sizeof why);
    if (!z)
        fail_msg("%s: %s", name, why);
    return z;
}

static void windows_match_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct window_case *c = &cases[i];
        struct budget_zone *z = load(c->zone);
        int64_t start, end;
        budget_calendar_window(z, c->kind, c->now * 1000000 + 999999, &start, &end);
        if (start != c->start * 1000000 || end != c->end * 1000000)
            fail_msg("%s kind %d at %lld: got %lld .. %lld", c->zone, (int)c->kind, (long long)c->now, (long long)(start / 1000000),
                     (long long)(end / 1000000));
        budget_zone_free(z);
    }
}

/* Windows tile the time line: no gap, no overlap, and every instant of a window gives the same window. */
static void windows_follow_each_other(void **state)
{
    static const char *const zones[] = { "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut",
                                         "America/Havana", "Africa/Casablanca", "Pacific/Apia", "Europe/Dublin" };
    (void)state;
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        struct budget_zone *z = load(zones[i]);
        for (int kind = BUDGET_HOUR; kind <= BUDGET_YEAR; kind++) {
            int64_t t = INT64_C(1300000000) * 1000000, start, end, again_start, again_end;
            for (int n = 0; n < (kind == BUDGET_HOUR ? 20000 : 400); n++) {
                budget_calendar_window(z, (enum budget_calendar)kind, t, &start, &end);
                assert_true(start <= t && t < end);
                if (n > 0)
                    assert_int_equal(start, t);
                budget_calendar_window(z, (enum budget_calendar)kind, end - 1, &again_start, &again_end);
                assert_int_equal(again_start, start);
                assert_int_equal(again_end, end);
                t = end;
            }
        }
        budget_zone_free(z);
    }
}

static void bad_names_and_files_are_refused(void **state)
{
    static const char *const names[] = { "", "Nowhere/City", "../../etc/passwd", "/etc/passwd", "Europe/Berlin\n", "Europe" };
    char why[256];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        why[0] = '\0';
        assert_null(budget_zone_load(NULL, names[i], why, sizeof why));
        assert_non_null(strstr(why, "IANA name"));
    }
    unsigned char junk[64] = "TZif2";
    for (size_t n = 0; n <= sizeof junk; n++)
        assert_null(budget_zone_parse(junk, n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_match_the_table),
        cmocka_unit_test(windows_follow_each_other),
        cmocka_unit_test(bad_names_and_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
