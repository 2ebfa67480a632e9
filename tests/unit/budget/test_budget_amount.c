/* Amounts, rates and durations as people write them, and the messages for what cannot be read. */
#include "budget/options.h"

#include <stdarg.h>
#include <stdlib.h>
#include <setjmp.h>

#include <cmocka.h>

struct amount_case {
    const char *text;
    enum budget_unit unit;
    int64_t want; /* -1: refused */
};

static const struct amount_case amounts[] = {
    { "$50", BUDGET_USD, INT64_C(50000000000) },
    { "$0.25", BUDGET_USD, 250000000 },
    { "0.25 USD", BUDGET_USD, 250000000 },
    { " $ 1.5k ", BUDGET_USD, INT64_C(1500000000000) },
    { "12 dollars", BUDGET_USD, INT64_C(12000000000) },
    { "0.000000001", BUDGET_USD, 1 },
    { "0.0000000010", BUDGET_USD, 1 },
    { "$0.0000000001", BUDGET_USD, -1 },
    { "$1000M", BUDGET_USD, INT64_C(1000000000000000000) },
    { "$1000000001", BUDGET_USD, -1 },
    { "0", BUDGET_USD, 0 },
    { "$-1", BUDGET_USD, -1 },
    { "-1", BUDGET_TOKENS, -1 },
    { "1.5M tokens", BUDGET_TOKENS, 1500000 },
    { "1.5Mtokens", BUDGET_TOKENS, -1 },
    { "200k", BUDGET_TOKENS, 200000 },
    { "200K", BUDGET_TOKENS, 200000 },
    { "2G", BUDGET_TOKENS, INT64_C(2000000000) },
    { "1_000_000", BUDGET_TOKENS, 1000000 },
    { "1_000_", BUDGET_TOKENS, -1 },
    { "1,000", BUDGET_TOKENS, -1 },
    { "0.5 tokens", BUDGET_TOKENS, -1 },
    { "0.5k tokens", BUDGET_TOKENS, 500 },
    { "1m", BUDGET_TOKENS, -1 },
    { "1.", BUDGET_TOKENS, -1 },
    { ".5", BUDGET_TOKENS, -1 },
    { "", BUDGET_TOKENS, -1 },
    { "ten", BUDGET_TOKENS, -1 },
    { "5 apples", BUDGET_TOKENS, -1 },
    { "5 tokens or so", BUDGET_TOKENS, -1 },
    { "$5", BUDGET_TOKENS, -1 },
    { "100 requests", BUDGET_REQUESTS, 100 },
    { "100 tokens", BUDGET_REQUESTS, -1 },
    { "10", BUDGET_CONCURRENT, 10 },
    { "1e3", BUDGET_TOKENS, -1 },
    { "99999999999999999999999999999", BUDGET_TOKENS, -1 },
};

static void amounts_are_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        const struct amount_case *c = &amounts[i];
        int64_t v = -1;
        char why[160] = "";
        int r = budget_parse_amount(slice_cstr(c->text), c->unit, &v, why, sizeof why);
        if (c->want < 0 ? r == 0 : r != 0 || v != c->want)
            fail_msg("\"%s\": got %d, %lld, %s", c->text, r, (long long)v, why);
        if (r != 0)
            assert_true(why[0] == '"');
    }
}

static void durations_are_exact(void **state)
{
    static const struct { const char *text; int64_t want; } cases[] = {
        { "500ms", 500000 }, { "30s", 30000000 }, { "15 min", INT64_C(900000000) }, { "5m", INT64_C(300000000) },
        { "24h", INT64_C(86400000000) }, { "7d", INT64_C(604800000000) }, { "2w", INT64_C(1209600000000) },
        { "1h30m", INT64_C(5400000000) }, { "1 hour 30 minutes", INT64_C(5400000000) }, { "1.5h", INT64_C(5400000000) },
        { "7us", 7 }, { "0.5us", -1 }, { "0s", -1 }, { "", -1 }, { "5", -1 }, { "5 months", -1 }, { "h", -1 }, { "36500d", INT64_C(3153600000000000) },
        { "36501d", -1 }, { "36500d 1us", -1 }, { "1h30", -1 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t v = -1;
        char why[160] = "";
        int r = budget_parse_duration(slice_cstr(cases[i].text), &v, why, sizeof why);
        if (cases[i].want < 0 ? r == 0 : r != 0 || v != cases[i].want)
            fail_msg("\"%s\": got %d, %lld, %s", cases[i].text, r, (long long)v, why);
    }
}

static void rates_have_amount_and_period(void **state)
{
    static const struct { const char *text; enum budget_unit unit; int64_t amount, period; } cases[] = {
        { "50000/min", BUDGET_TOKENS, 50000, 60000000 },
        { "$1 / hour", BUDGET_USD, 1000000000, INT64_C(3600000000) },
        { "100k tokens per minute", BUDGET_TOKENS, 100000, 60000000 },
        { "600 per minute", BUDGET_REQUESTS, 600, 60000000 },
        { "10/5s", BUDGET_REQUESTS, 10, 5000000 },
        { "10 requests/ 1h30m", BUDGET_REQUESTS, 10, INT64_C(5400000000) },
        { "10", BUDGET_REQUESTS, -1, 0 },
        { "10/", BUDGET_REQUESTS, -1, 0 },
        { "/min", BUDGET_REQUESTS, -1, 0 },
        { "10/min/min", BUDGET_REQUESTS, -1, 0 },
        { "10 for minute", BUDGET_REQUESTS, -1, 0 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t amount = -1, period = 0;
        char why[160] = "";
        int r = budget_parse_rate(slice_cstr(cases[i].text), cases[i].unit, &amount, &period, why, sizeof why);
        if (cases[i].amount < 0 ? r == 0 : r != 0 || amount != cases[i].amount || period != cases[i].period)
            fail_msg("\"%s\": got %d, %lld, %lld, %s", cases[i].text, r, (long long)amount, (long long)period, why);
    }
}

static void amounts_are_shown_in_full(void **state)
{
    static const struct { int64_t v; enum budget_unit unit; const char *want; } cases[] = {
        { INT64_C(12500000000), BUDGET_USD, "$12.50" }, { 1, BUDGET_USD, "$0.000000001" }, { 0, BUDGET_USD, "$0.00" },
        { -1500000000, BUDGET_USD, "-$1.50" }, { 123450000, BUDGET_USD, "$0.12345" }, { 42, BUDGET_TOKENS, "42" },
        { INT64_MIN, BUDGET_USD, "-$9223372036.854775808" },
    };
    char buf[32];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(budget_format_amount(cases[i].v, cases[i].unit, buf, sizeof buf), cases[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts_are_exact),
        cmocka_unit_test(durations_are_exact),
        cmocka_unit_test(rates_have_amount_and_period),
        cmocka_unit_test(amounts_are_shown_in_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
