#include "admin/csv.h"
#include "admin/period.h"
#include "admin/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void decimals_are_exact(void **state)
{
    static const struct {
        int64_t v;
        int scale, decimals;
        const char *text;
    } cases[] = {
        { 0, 9, 9, "0.000000000" }, { 1, 9, 9, "0.000000001" }, { -1, 9, 9, "-0.000000001" }, { 1500000000, 9, 2, "1.50" },
        { INT64_MAX, 9, 9, "9223372036.854775807" }, { INT64_MIN, 9, 9, "-9223372036.854775808" }, { INT64_MIN, 0, 0, "-9223372036854775808" },
        { 150000, 6, 3, "0.150" }, { 42, 0, 0, "42" },
    };
    char buf[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        table_decimal(buf, sizeof buf, cases[i].v, cases[i].scale, cases[i].decimals);
        assert_string_equal(buf, cases[i].text);
    }
}

/* The table's output as text, to be freed. */
static char *written(const struct table *t, enum table_format format, int expected)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    assert_non_null(out);
    assert_int_equal(table_write(t, format, "\"kind\":\"k\",", out), expected);
    fclose(out);
    return text;
}

static const struct table_column columns[] = { { "team", TABLE_TEXT, false }, { "n", TABLE_COUNT, true }, { "cost_usd", TABLE_USD, true } };

static void every_format_has_the_same_figures(void **state)
{
    struct table *t = table_new(columns, 3);

    (void)state;
    table_text(t, SLICE_LIT("a\",\nb"));
    table_int(t, 7);
    table_int(t, 1230000000);
    table_text(t, SLICE_NONE);
    table_null(t);
    table_int(t, -5000000);
    assert_int_equal(table_rows(t), 2);
    assert_int_equal(table_sum(t, 2), 1225000000);
    char *text = written(t, FORMAT_TABLE, 0);
    assert_string_equal(text, "TEAM   N  COST $\na\",?b  7   1.230\n-      -  -0.005\ntotal  7   1.225\n");
    free(text);
    text = written(t, FORMAT_CSV, 0);
    assert_string_equal(text, "team,n,cost_usd\r\n\"a\"\",\nb\",7,1.230000000\r\n,,-0.005000000\r\n");
    free(text);
    text = written(t, FORMAT_JSON, 0);
    assert_string_equal(text, "{\"kind\":\"k\",\"rows\":[{\"team\":\"a\\\",\\u000ab\",\"n\":7,\"cost_nano\":1230000000},"
                              "{\"team\":\"\",\"n\":null,\"cost_nano\":-5000000}],\"total\":{\"n\":7,\"cost_nano\":1225000000}}\n");
    free(text);
    table_free(t);
}

static void a_total_that_does_not_fit_is_refused(void **state)
{
    struct table *t = table_new(columns, 3);

    (void)state;
    for (int i = 0; i < 2; i++) {
        table_text(t, SLICE_LIT("a"));
        table_int(t, 1);
        table_int(t, INT64_MAX);
    }
    free(written(t, FORMAT_JSON, -1));
    free(written(t, FORMAT_TABLE, -1));
    table_free(t);
}

static void days_and_months(void **state)
{
    static const char *const refused[] = { "", "2026", "2026-1", "2026-00", "2026-13", "2026-02-29", "2026-02-30", "1969-12", "2100-01", "2026-11-23x",
                                           "2026-11-", "2026-11-2", "26-11-02", "2026/11/02", "-026-11" };
    struct period p;
    int64_t s;
    char text[24];

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_false(period_parse(refused[i], &p));
    assert_true(period_parse("2028-02-29", &p));
    assert_int_equal(p.end_s - p.start_s, 86400);
    assert_true(period_parse("2026-12", &p));
    assert_int_equal(p.start_s, 1796083200);
    assert_int_equal(p.end_s - p.start_s, 31 * 86400);
    p = period_month(p.start_s - 1);
    assert_int_equal(p.end_s, 1796083200);
    assert_true(period_instant("2026-12-01T01:02:03Z", &s));
    assert_int_equal(s, 1796083200 + 3723);
    assert_false(period_instant("2026-12-01T24:00", &s));
    assert_false(period_instant("2026-12-01T10", &s));
    assert_false(period_instant("2026-12-01Z", &s));
    period_instant_text(1796083200 + 3723, text, sizeof text);
    assert_string_equal(text, "2026-12-01T01:02:03Z");
    period_day_text(-1, text, sizeof text);
    assert_string_equal(text, "1969-12-31");
}

static void csv_records(void **state)
{
    char text[] = "\xEF\xBB\xBF" "a,b\r\n\r\n\"x \"\"y\"\", z\",\"\r\n\"\n,\n\"last\"";
    struct slice f[CSV_FIELDS_MAX];
    struct csv c;

    (void)state;
    csv_start(&c, text, sizeof text - 1);
    assert_int_equal(csv_next(&c, f), 2);
    assert_true(slice_eq_cstr(f[0], "a") && slice_eq_cstr(f[1], "b"));
    assert_int_equal(csv_next(&c, f), 2);
    assert_int_equal(c.line, 3);
    assert_true(slice_eq_cstr(f[0], "x \"y\", z") && slice_eq_cstr(f[1], "\r\n"));
    assert_int_equal(csv_next(&c, f), 2);
    assert_int_equal(c.line, 5);
    assert_true(f[0].n == 0 && f[1].n == 0);
    assert_int_equal(csv_next(&c, f), 1);
    assert_true(slice_eq_cstr(f[0], "last"));
    assert_int_equal(csv_next(&c, f), 0);
}

static void csv_that_is_none(void **state)
{
    static const char *const bad[] = { "\"a", "\"a\"b,c\n", "a,\"b\n", "\"" };
    struct slice f[CSV_FIELDS_MAX];
    struct csv c;
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "%s", bad[i]);
        csv_start(&c, text, strlen(text));
        assert_int_equal(csv_next(&c, f), -1);
    }
    memset(text, ',', CSV_FIELDS_MAX);
    csv_start(&c, text, CSV_FIELDS_MAX);
    assert_int_equal(csv_next(&c, f), -1);
    csv_start(&c, text, CSV_FIELDS_MAX - 1);
    assert_int_equal(csv_next(&c, f), CSV_FIELDS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_are_exact), cmocka_unit_test(every_format_has_the_same_figures), cmocka_unit_test(a_total_that_does_not_fit_is_refused),
        cmocka_unit_test(days_and_months), cmocka_unit_test(csv_records), cmocka_unit_test(csv_that_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
