/* A gateway key's own budget: what people may write, what is kept of it, and that the budget engine takes the limit made of it. */
#include "access/key_budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct {
    const char *text, *kept, *name; /* kept NULL: refused, name is part of the reason */
} cases[] = {
    { "$50 per month", "$50.00 month", "key-usd-50.00-month" },
    { "$50/month", "$50.00 month", "key-usd-50.00-month" },
    { "$50.00 month", "$50.00 month", "key-usd-50.00-month" },
    { "0.25 USD per day", "$0.25 day", "key-usd-0.25-day" },
    { "1.5M tokens per day", "1500000 tokens day", "key-1500000-tokens-day" },
    { "1000 requests / hour", "1000 requests hour", "key-1000-requests-hour" },
    { "$5 total", "$5.00 total", "key-usd-5.00-total" },
    { "$50", NULL, "says no window" },
    { "50 per month", NULL, "has no unit" },
    { "$50 per fortnight", NULL, "says no window" },
    { "$-1 per day", NULL, "amount" },
    { "$ per day", NULL, "amount" },
    { "month", NULL, "says no window" },
    { "", NULL, "says no window" },
    { "$1000000000000000000 per day", NULL, "amount" },
};

static void test_every_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char kept[KEY_BUDGET_MAX], why[256] = "";
        bool good = key_budget_parse(cases[i].text, kept, why, sizeof why);
        if (good != (cases[i].kept != NULL) || (!good && strstr(why, cases[i].name) == NULL))
            fail_msg("\"%s\": %s%s", cases[i].text, good ? kept : "", why);
        if (!good)
            continue;
        assert_string_equal(kept, cases[i].kept);
        struct arena *a = arena_new(1024);
        struct budget_limit l;
        assert_true(key_budget_limit(slice_cstr(kept), a, &l));
        assert_string_equal(l.name, cases[i].name);
        struct budget_options o = { .limits = &l, .limits_count = 1 };
        const char *refused = budget_options_check(&o, why, sizeof why);
        if (refused != NULL)
            fail_msg("\"%s\": %s", kept, refused);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_text) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
