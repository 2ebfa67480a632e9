/* Exports of providers: numbers as programs write them, days, names of models, which column is what. */
#include "admin/invoice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void numbers_are_exact_and_rounded_once(void **state)
{
    static const struct {
        const char *text;
        int scale;
        int64_t value;
        int exponent;
    } good[] = {
        { "0", 9, 0, 0 },
        { "12.34", 9, 12340000000, -2 },
        { "-0.50", 9, -500000000, -2 },
        { "+3.0", 3, 3000, -1 },
        { ".5", 9, 500000000, -1 },
        { "5.", 9, 5000000000, 0 },
        { "9.5e-05", 9, 95000, -6 },
        { "1E3", 0, 1000, 0 },
        { "1.5e2", 0, 150, 0 },
        { "0.003835980000000000000000000000", 9, 3835980, -20 },
        { "0.0000000005", 9, 1, -10 },
        { "0.00000000049999999999999999999", 9, 0, -27 },
        { "0.0000000004999999999999999999999", 9, 0, -27 },
        { "-0.0000000005", 9, -1, -10 },
        { "0.99999999999999999999999", 9, 1000000000, -18 },
        { "99999999.999999999", 9, 99999999999999999, -9 },
        { "1e-999", 9, 0, -999 },
        { "0e99", 9, 0, 0 },
        { "100000000000000000", 0, 100000000000000000, 0 },
    };
    static const char *const bad[] = { "", ".", "-", "1,5", "$1", "1 ", " 1", "0x10", "1e", "1e+", "1e1000", "--1", "1.2.3", "nan", "inf", "1e99",
                                       "100000000000000001", "1000000000000000000000" };
    int64_t v;
    int exponent;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!invoice_number(slice_cstr(good[i].text), good[i].scale, &v, &exponent))
            fail_msg("%s is refused", good[i].text);
        if (v != good[i].value || exponent != good[i].exponent)
            fail_msg("%s: %lld, last digit 10^%d", good[i].text, (long long)v, exponent);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (invoice_number(slice_cstr(bad[i]), 0, &v, &exponent))
            fail_msg("%s is taken for %lld", bad[i], (long long)v);
}

static void models_are_matched_by_one_name(void **state)
{
    static const char *const names[][2] = {
        { "gpt-4o-2024-11-20", "gpt-4o" },
        { "claude-haiku-4-5-20251001", "claude-haiku-4-5" },
        { "Claude Haiku 4.5", "claude-haiku-4-5" },
        { "Claude 3.5 Sonnet 2024-10-22", "claude-3-5-sonnet" },
        { "anthropic/claude-opus-4.7", "claude-opus-4-7" },
        { "a/b/c", "c" },
        { "/v1/audio/speech", "/v1/audio/speech" },
        { "vendor/", "vendor/" },
        { "2024-11-20", "2024-11-20" },
        { "-2024-11-20", "-2024-11-20" },
        { "", "" },
    };
    char buf[64];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = invoice_model(slice_cstr(names[i][0]), buf, sizeof buf);
        assert_string_equal(buf, names[i][1]);
        assert_int_equal(n, strlen(buf));
    }
    assert_int_equal(invoice_model(SLICE_LIT("abcdefgh"), buf, 4), 3);
    assert_string_equal(buf, "abc");
}

static size_t split(char *text, struct slice fields[CSV_FIELDS_MAX])
{
    struct csv csv;

    csv_start(&csv, text, strlen(text));
    int n = csv_next(&csv, fields);
    assert_true(n > 0);
    return (size_t)n;
}

static struct invoice_line line_of(const char *heading, const char *line)
{
    struct slice fields[CSV_FIELDS_MAX];
    struct invoice_heading h;
    static char text[512];
    static struct invoice_line out;
    char why[300], head[512];

    snprintf(head, sizeof head, "%s", heading);
    size_t n = split(head, fields);
    if (!invoice_heading_read(fields, (int)n, &h, why, sizeof why))
        fail_msg("%s", why);
    snprintf(text, sizeof text, "%s", line);
    n = split(text, fields);
    if (!invoice_line_read(&h, fields, (int)n, &out, why, sizeof why))
        fail_msg("%s", why);
    return out;
}

static void days_are_dates_or_instants(void **state)
{
    static const struct {
        const char *text, *day;
        bool instant;
        int64_t start;
    } days[] = {
        { "2026-10-01", "2026-10-01", false, 0 },
        { "2026-10-01T07:00", "2026-10-01", false, 1790838000 },
        { "2026-10-01T07:00:01.123", "2026-10-01", false, 1790838001 },
        { "2026-10-01T07:00:01Z", "2026-10-01", true, 1790838001 },
        { "2026-10-01 07:00:01.5+00:00", "2026-10-01", true, 1790838001 },
        { "2026-10-01T00:00:00+02:00", "2026-10-01", true, 1790805600 },
        { "2026-10-01T00:00:00-0730", "2026-10-01", true, 1790839800 },
        { "1790838001", "2026-10-01", true, 1790838001 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
        char text[80];
        snprintf(text, sizeof text, "%s,m,1", days[i].text);
        struct invoice_line line = line_of("date,model,cost", text);
        assert_string_equal(line.day, days[i].day);
        assert_int_equal(line.instant, days[i].instant);
        if (days[i].start != 0)
            assert_int_equal(line.start_s, days[i].start);
    }
}

static void columns_are_added_as_the_vendor_means_them(void **state)
{
    (void)state;
    struct invoice_line line = line_of("date,model,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,"
                                       "usage_input_tokens_cache_read,usage_output_tokens", "2026-10-01,m,1,20,300,4000,5");
    assert_int_equal(line.input, 4321); /* Anthropic: input is what came from no cache */
    assert_int_equal(line.cached, 4000);
    assert_int_equal(line.output, 5);
    line = line_of("date,model,input_tokens,input_cached_tokens,input_uncached_tokens,output_tokens,num_model_requests", "2026-10-01,m,100,60,40,5,3.0");
    assert_int_equal(line.input, 100); /* OpenAI: the cached ones are part of it */
    assert_int_equal(line.cached, 60);
    assert_int_equal(line.requests, 3);
    line = line_of("start_time,start_time_iso,line_item,amount_value,amount_currency,api_key_id",
                   "5,2026-10-01T00:00:00+00:00,\"gpt-4o-2024-08-06, cached input\",0.25,usd,key_1");
    assert_true(slice_eq_cstr(line.model, "gpt-4o-2024-08-06") && slice_eq_cstr(line.key_id, "key_1") && line.key.n == 0);
    assert_int_equal(line.cost_nano, 250000000);
    assert_int_equal(line.unit_nano, 10000000);
    assert_false(line.empty);
    line = line_of("date,model,cost", "2026-10-01,,");
    assert_true(line.empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_exact_and_rounded_once),
        cmocka_unit_test(models_are_matched_by_one_name),
        cmocka_unit_test(days_are_dates_or_instants),
        cmocka_unit_test(columns_are_added_as_the_vendor_means_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
