/* Options that are refused, reloads under way, and books rebuilt from the ledger. */
#include "budget/budget.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>

#include <cmocka.h>

#define S INT64_C(1000000)
#define MIN (60 * S)
#define HOUR (60 * MIN)
#define USD INT64_C(1000000000)
#define NOON (INT64_C(1795435200) * S) /* Monday 2026-11-23 12:00:00 UTC */

static const struct budget_limit day50 = { .name = "day", .scope = { .level = "team" }, .unit = "usd", .amount = "$50", .window = "day" };
static const struct budget_limit bucket = { .name = "tpm", .scope = { .level = "user" }, .unit = "tokens", .amount = "600/min" };

static struct budget *fresh_engine(const struct budget_limit *l, unsigned n, int64_t now, int64_t mono)
{
    char why[256] = "";
    struct budget_options o = { .limits = l, .limits_count = n };
    struct budget *b = budget_new(&o, now, mono, why, sizeof why);
    if (!b)
        fail_msg("%s", why);
    return b;
}

static struct identity red = { .team = SLICE_LIT("red"), .user = SLICE_LIT("ann"), .organization = SLICE_LIT("acme") };
static const struct budget_subjects subjects = { &red, SLICE_LIT("chat"), NULL, NULL };

static enum budget_verdict ask(struct budget *b, int64_t nano, int64_t tokens, int64_t now, struct budget_hold *h, struct budget_answer *a)
{
    struct budget_ask q = { .subjects = subjects, .hold = { nano, tokens, 1 } };
    return budget_reserve(b, &q, now, now - NOON, h, a);
}

static void settle(struct budget *b, struct budget_hold h, int64_t nano, int64_t tokens, int64_t mono)
{
    struct budget_actual actual = { .primary = { nano, tokens, 1 } };
    assert_int_equal(budget_settle(b, h, &actual, mono), BUDGET_ENDED);
}

static unsigned reload(struct budget *b, const struct budget_limit *l, unsigned n, int64_t now)
{
    char why[256] = "";
    unsigned fresh;
    struct budget_options o = { .limits = l, .limits_count = n };
    if (budget_reload(b, &o, now, now - NOON, &fresh, why, sizeof why) != 0)
        fail_msg("%s", why);
    return fresh;
}

static void wrong_options_are_named(void **state)
{
    static const int bad_percent[] = { 0 };
    static const char *bad_match[] = { "a*b" };
    static const struct { struct budget_limit l; const char *want; } cases[] = {
        { { .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "day" }, "name: is missing" },
        { { .name = "a b", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "day" }, "limit \"a b\": name:" },
        { { .name = "x", .unit = "usd", .amount = "$5", .window = "day" }, "level: is missing; allowed are organization" },
        { { .name = "x", .scope = { .level = "squad" }, .unit = "usd", .amount = "$5", .window = "day" }, "level: \"squad\" is no level" },
        { { .name = "x", .scope = { .level = "team" }, .amount = "$5", .window = "day" }, "unit: is missing, and the amount does not say it ($50, 1.5M tokens, 1000 requests); allowed are usd" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "eur", .amount = "5", .window = "day" }, "unit: \"eur\" is no unit" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5" }, "window: is missing" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "fortnight" }, "window: \"fortnight\" is no window" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "rolling" }, "window: \"rolling\" is no window" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "rolling 400d" }, "366 days" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .window = "day" }, "amount: is missing" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5/day", .window = "day" }, "amount: \"$5/day\" is a rate" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "bucket" }, "amount: \"$5\" is not a rate" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$0/day" }, "never refills" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$1/day", .burst = "$1000" }, "burst: takes more than 366 days" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "day", .burst = "$9" }, "burst: only a bucket" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "day", .timezone = "Mars/Base" },
          "timezone: \"Mars/Base\" is not among the installed" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "concurrent", .amount = "5", .window = "day" }, "window: a limit on concurrent" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "day", .action = "stop" }, "action: \"stop\"" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "day", .action = "downgrade" },
          "downgrade_to: is missing" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "day", .thresholds = bad_percent,
            .thresholds_count = 1 }, "thresholds: 0 is not within" },
        { { .name = "x", .scope = { .level = "team", .match = bad_match, .match_count = 1 }, .unit = "usd", .amount = "$5", .window = "day" },
          "match: \"a*b\"" },
        { { .name = "x", .scope = { .level = "team" }, .unit = "usd", .amount = "$5", .window = "rolling 1h", .slots = 3 }, "slots: 3 is not" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[512] = "";
        struct budget_options o = { .limits = &cases[i].l, .limits_count = 1 };
        const char *got = budget_options_check(&o, why, sizeof why);
        if (!got || !strstr(got, cases[i].want))
            fail_msg("case %zu: wanted \"%s\", got \"%s\"", i, cases[i].want, got ? got : "no complaint");
        assert_null(budget_new(&o, NOON, 0, why, sizeof why));
    }
    char why[256];
    const struct budget_limit twice[] = { day50, day50 };
    struct budget_options o = { .limits = twice, .limits_count = 2 };
    assert_non_null(strstr(budget_options_check(&o, why, sizeof why), "is used twice"));
}

static void a_changed_amount_keeps_what_was_used(void **state)
{
    struct budget_limit l[] = { day50, bucket };
    struct budget *b = fresh_engine(l, 2, NOON, 0);
    struct budget_hold h, open;
    struct budget_answer a;
    (void)state;
    budget_load_done(b, NOON, 0);
    assert_int_equal(ask(b, 30 * USD, 500, NOON, &h, &a), BUDGET_ALLOWED);
    settle(b, h, 30 * USD, 400, 0);
    assert_int_equal(ask(b, 10 * USD, 100, NOON, &open, &a), BUDGET_ALLOWED);
    l[0].amount = "$41";
    l[1].burst = "700";
    assert_int_equal(reload(b, l, 2, NOON), 0);
    assert_int_equal(ask(b, USD + 1, 1, NOON, &h, &a), BUDGET_REFUSED);
    assert_int_equal(ask(b, 1, 201, NOON, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "tpm");
    assert_int_equal(ask(b, USD, 200, NOON, &h, &a), BUDGET_ALLOWED);
    l[0].amount = "$35"; /* below what is used and held: nothing more until it resets */
    assert_int_equal(reload(b, l, 1, NOON), 0); /* and the bucket is gone */
    assert_int_equal(ask(b, 1, 1000000, NOON, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "day");
    settle(b, open, 10 * USD, 100, 0); /* its bucket is retired, the hold is valid */
    for (int i = 0; i < 3; i++)
        budget_tick(b, NOON, 0);
    struct budget_stats st;
    budget_stats_get(b, &st);
    assert_int_equal(st.holds, 1);
    budget_free(b);
}

static void a_new_limit_counts_open_holds_and_comes_into_force_when_loaded(void **state)
{
    struct budget_limit l[] = { day50,
                                { .name = "org", .scope = { .level = "organization" }, .unit = "usd", .amount = "$20", .window = "month" },
                                { .name = "par", .scope = { .level = "user" }, .unit = "concurrent", .amount = "2" } };
    struct budget *b = fresh_engine(l, 1, NOON, 0);
    struct budget_hold open, h;
    struct budget_answer a;
    struct budget_lookback look;
    (void)state;
    budget_load_done(b, NOON, 0);
    assert_int_equal(ask(b, 5 * USD, 1, NOON, &open, &a), BUDGET_ALLOWED);
    assert_int_equal(reload(b, l, 3, NOON + S), 1);
    budget_lookback(b, &look);
    assert_int_equal(look.slots_from_us, INT64_C(1793491200) * S); /* 1 November */
    assert_int_equal(look.events_from_us, INT64_MAX);
    assert_int_equal(ask(b, 30 * USD, 1, NOON + S, &h, &a), BUDGET_ALLOWED); /* not in force yet */
    assert_int_equal(budget_release(b, h, 0), BUDGET_ENDED);
    assert_int_equal(budget_load_slot(b, &subjects, NOON - 24 * HOUR, &(struct budget_use){ 10 * USD, 100, 1 }), 0);
    budget_load_done(b, NOON + S, S);
    assert_int_equal(ask(b, 5 * USD + 1, 1, NOON + S, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "org");
    assert_int_equal(a.refused.state.used, 10 * USD);
    assert_int_equal(a.refused.state.held, 5 * USD);
    assert_int_equal(ask(b, 5 * USD, 1, NOON + S, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(ask(b, 0, 1, NOON + S, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "par");
    settle(b, open, 0, 1, S);
    assert_int_equal(ask(b, 5 * USD, 1, NOON + S, &h, &a), BUDGET_ALLOWED);
    budget_free(b);
}

static void a_bad_reload_changes_nothing(void **state)
{
    struct budget_limit l[] = { day50 };
    struct budget *b = fresh_engine(l, 1, NOON, 0);
    struct budget_hold h;
    struct budget_answer a;
    char why[256] = "";
    unsigned fresh;
    (void)state;
    budget_load_done(b, NOON, 0);
    assert_int_equal(ask(b, 50 * USD, 1, NOON, &h, &a), BUDGET_ALLOWED);
    l[0].amount = "fifty";
    struct budget_options o = { .limits = l, .limits_count = 1 };
    assert_int_equal(budget_reload(b, &o, NOON, 0, &fresh, why, sizeof why), -1);
    assert_non_null(strstr(why, "limit \"day\": amount: \"fifty\""));
    assert_int_equal(ask(b, 1, 1, NOON, &h, &a), BUDGET_REFUSED);
    budget_free(b);
}

static void a_restart_finds_the_books_in_the_ledger(void **state)
{
    const struct budget_limit l[] = {
        day50,
        bucket,
        { .name = "roll", .scope = { .level = "team" }, .unit = "requests", .amount = "4", .window = "rolling 1h" },
        { .name = "rpm", .scope = { .level = "global" }, .unit = "requests", .amount = "2", .window = "minute" },
    };
    int64_t now = NOON + 30 * S;
    struct budget *b = fresh_engine(l, 4, now, 30 * S);
    struct budget_hold open, h;
    struct budget_answer a;
    struct budget_lookback look;
    (void)state;
    budget_lookback(b, &look);
    assert_int_equal(look.slots_from_us, NOON - 12 * HOUR);
    assert_int_equal(look.events_from_us, now - HOUR - 4 * MIN); /* the bucket: an hour of open holds, four times its fill */
    assert_int_equal(budget_load_slot(b, &subjects, NOON - HOUR, &(struct budget_use){ 20 * USD, 900, 2 }), 0);
    assert_int_equal(budget_load_slot(b, &subjects, NOON, &(struct budget_use){ 5 * USD, 300, 1 }), 0);
    assert_int_equal(budget_load_slot(b, &subjects, NOON - 13 * HOUR, &(struct budget_use){ 40 * USD, 300, 1 }), 0); /* yesterday */
    assert_int_equal(budget_load_event(b, &subjects, NOON - 59 * MIN, &(struct budget_use){ 20 * USD, 900, 2 }, NULL), 0);
    assert_int_equal(budget_load_event(b, &subjects, NOON + 20 * S, &(struct budget_use){ 5 * USD, 300, 1 }, NULL), 0);
    assert_int_equal(budget_load_hold(b, &subjects, NOON + 25 * S, &(struct budget_use){ 7 * USD, 100, 1 }, &open), 0);
    budget_load_done(b, now, 30 * S);
    assert_int_equal(ask(b, 18 * USD + 1, 0, now, &h, &a), BUDGET_REFUSED);
    assert_int_equal(a.refused.state.used, 25 * USD);
    assert_int_equal(a.refused.state.held, 7 * USD);
    assert_int_equal(ask(b, 0, 1, now, &h, &a), BUDGET_REFUSED); /* rpm: one settled, one open */
    assert_string_equal(a.refused.state.limit, "roll"); /* the longer wait: 2 + 1 + 1 */
    assert_int_equal(a.refused_count, 2);
    assert_int_equal(a.refused.state.used, 3);
    assert_int_equal(a.refused.state.held, 1);
    settle(b, open, 6 * USD, 100, 30 * S);
    struct arena *arena = arena_new(4096);
    struct budget_view *v;
    size_t n;
    assert_int_equal(budget_list_for(b, &subjects, now, 30 * S, arena, &v, &n), 0);
    assert_int_equal(n, 4);
    assert_string_equal(v[0].state.limit, "day");
    assert_int_equal(v[0].state.used, 31 * USD);
    assert_int_equal(v[0].state.held, 0);
    assert_string_equal(v[1].state.limit, "tpm");
    assert_int_equal(v[1].state.left, 300); /* 600 - 300 + 10 s of 10 - 100 */
    assert_int_equal(v[3].state.used, 2);
    arena_free(arena);
    budget_free(b);
}

/* Ann held 300 and 200 of 600 at noon; the first became 500 at once: the bucket is 100 in debt, whatever order the ledger has them in. */
static void an_overrun_before_an_open_hold_is_not_forgiven(void **state)
{
    static const struct budget_use taken = { 0, 500, 1 }, held = { 0, 200, 1 }, nothing = { 0, 0, 0 };
    const struct budget_over over = { { 0, 200, 0 }, NOON };
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct budget *b = fresh_engine(&bucket, 1, NOON, 0);
        struct budget_hold h;
        struct budget_answer a;
        assert_int_equal(budget_load_event(b, &subjects, NOON, &taken, &over), 0);
        if (order == 1) /* another row of that instant */
            assert_int_equal(budget_load_event(b, &subjects, NOON, &nothing, NULL), 0);
        assert_int_equal(budget_load_hold(b, &subjects, NOON, &held, &h), 0);
        budget_load_done(b, NOON, 0);
        assert_int_equal(ask(b, 0, 1, NOON, &h, &a), BUDGET_REFUSED);
        assert_int_equal(ask(b, 0, 1, NOON + 10 * S, &h, &a), BUDGET_REFUSED);
        assert_int_equal(ask(b, 0, 1, NOON + 11 * S, &h, &a), BUDGET_ALLOWED);
        budget_free(b);
    }
}

/* A crash may have come between the use and its report, so a loaded window tells again; a bucket does not. */
static void passed_thresholds_are_told_after_loading(void **state)
{
    const struct budget_limit l[] = {
        day50, bucket, { .name = "roll", .scope = { .level = "team" }, .unit = "requests", .amount = "10", .window = "rolling 2h" },
        { .name = "ever", .scope = { .level = "user" }, .unit = "usd", .amount = "$80", .window = "total" },
    };
    struct budget *b = fresh_engine(l, 4, NOON, 0);
    const struct budget_use use = { 45 * USD, 500, 9 };
    struct budget_notice n;
    unsigned seen[3] = { 0 };
    (void)state;
    assert_int_equal(budget_load_slot(b, &subjects, NOON - HOUR, &use), 0);
    assert_int_equal(budget_load_event(b, &subjects, NOON - S, &(struct budget_use){ 0, 500, 0 }, NULL), 0);
    assert_false(budget_notice_take(b, &n));
    budget_load_done(b, NOON, 0);
    while (budget_notice_take(b, &n)) {
        unsigned which = strcmp(n.state.limit, "day") == 0 ? 0 : strcmp(n.state.limit, "roll") == 0 ? 1 : 2;
        static const int64_t since[] = { NOON - 12 * HOUR, NOON - 2 * HOUR, 0 };
        assert_string_not_equal(n.state.limit, "tpm");
        assert_true(n.once_since_us == since[which]);
        seen[which]++;
    }
    assert_int_equal(seen[0], 2); /* 90 %: 50 and 80 */
    assert_int_equal(seen[1], 2);
    assert_int_equal(seen[2], 1); /* 56 % */
    budget_tick(b, NOON + S, S);
    assert_false(budget_notice_take(b, &n));
    budget_free(b);
}

/* More crossings than there is room for are told later, not lost. */
static void notices_without_room_come_later(void **state)
{
    enum { TEAMS = 1500 };
    struct budget *b = fresh_engine(&day50, 1, NOON, 0);
    const struct budget_use use = { 26 * USD, 1, 1 };
    struct budget_notice n;
    unsigned told = 0;
    (void)state;
    for (int i = 0; i < TEAMS; i++) {
        char team[16];
        snprintf(team, sizeof team, "t%d", i);
        struct identity who = { .team = slice_cstr(team) };
        const struct budget_subjects s = { .who = &who };
        assert_int_equal(budget_load_slot(b, &s, NOON - HOUR, &use), 0);
    }
    budget_load_done(b, NOON, 0);
    for (int i = 0; i < 100; i++) {
        while (budget_notice_take(b, &n))
            told++;
        budget_tick(b, NOON + i * S, i * S);
    }
    assert_int_equal(told, TEAMS);
    budget_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(a_changed_amount_keeps_what_was_used),
        cmocka_unit_test(a_new_limit_counts_open_holds_and_comes_into_force_when_loaded),
        cmocka_unit_test(a_bad_reload_changes_nothing),
        cmocka_unit_test(a_restart_finds_the_books_in_the_ledger),
        cmocka_unit_test(passed_thresholds_are_told_after_loading),
        cmocka_unit_test(notices_without_room_come_later),
        cmocka_unit_test(an_overrun_before_an_open_hold_is_not_forgiven),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
