/* The engine against a clock made by hand: what each kind of limit allows, refuses, lowers, reports and takes back. */
#include "budget/budget.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>

#include <cmocka.h>

#define S INT64_C(1000000)
#define MIN (60 * S)
#define HOUR (60 * MIN)
#define DAY (24 * HOUR)
#define USD INT64_C(1000000000)
#define NOON (INT64_C(1795435200) * S) /* Monday 2026-11-23 12:00:00 UTC */

static struct budget *engine(const struct budget_limit *limits, unsigned count)
{
    char why[512] = "";
    struct budget_options o = { .limits = limits, .limits_count = count };
    struct budget *b = budget_new(&o, NOON, 0, why, sizeof why);
    if (!b)
        fail_msg("%s", why);
    budget_load_done(b, NOON, 0);
    return b;
}

struct who {
    const char *team, *user, *model, *provider, *model2, *provider2;
};

/* A request by somebody at `after` microseconds past noon, wall and monotonic. */
static enum budget_verdict ask_full(struct budget *b, struct who w, struct budget_ask *ask, int64_t after, struct budget_hold *h,
                                    struct budget_answer *a)
{
    struct identity id = { .organization = SLICE_LIT("acme"), .team = slice_cstr(w.team), .user = slice_cstr(w.user) };
    struct target primary = { .provider = slice_cstr(w.provider), .model = slice_cstr(w.model) };
    struct target fallback = { .provider = slice_cstr(w.provider2), .model = slice_cstr(w.model2) };
    ask->subjects = (struct budget_subjects){ &id, SLICE_LIT("chat"), &primary, w.model2 ? &fallback : NULL };
    return budget_reserve(b, ask, NOON + after, after, h, a);
}

static enum budget_verdict ask(struct budget *b, const char *team, const char *user, int64_t nano, int64_t tokens, int64_t after,
                               struct budget_hold *h, struct budget_answer *a)
{
    struct budget_ask q = { .hold = { nano, tokens, 1 } };
    return ask_full(b, (struct who){ .team = team, .user = user, .model = "m", .provider = "p" }, &q, after, h, a);
}

static void settle(struct budget *b, struct budget_hold h, int64_t nano, int64_t tokens, int64_t mono)
{
    struct budget_actual actual = { .primary = { nano, tokens, 1 } };
    assert_int_equal(budget_settle(b, h, &actual, mono), BUDGET_ENDED);
}

static struct budget_view view(struct budget *b, const char *limit, const char *subject, int64_t after)
{
    struct arena *arena = arena_new(4096);
    struct budget_view *v, found = { .holds = UINT32_MAX };
    size_t n, cursor = 0;
    do {
        assert_int_equal(budget_list(b, NOON + after, after, 3, &cursor, arena, &v, &n), 0);
        for (size_t i = 0; i < n; i++)
            if (strcmp(v[i].state.limit, limit) == 0 && slice_eq_cstr(v[i].subject, subject))
                found = v[i];
    } while (cursor);
    arena_free(arena);
    return found;
}

static const struct budget_limit team_day = { .name = "team-day", .scope = { .level = "team" }, .unit = "usd", .amount = "$50",
                                              .window = "day" };

static void a_daily_budget_is_held_settled_and_reset(void **state)
{
    struct budget *b = engine(&team_day, 1);
    struct budget_hold h1, h2, h3;
    struct budget_answer a;
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 30 * USD, 1000, 0, &h1, &a), BUDGET_ALLOWED);
    assert_true(a.tight_known[BUDGET_USD]);
    assert_int_equal(a.tight[BUDGET_USD].left, 20 * USD);
    assert_false(a.tight_known[BUDGET_TOKENS]);
    assert_int_equal(ask(b, "red", "bob", 21 * USD, 1000, 0, &h2, &a), BUDGET_REFUSED);
    assert_int_equal(h2.id, 0);
    assert_string_equal(a.refused.state.limit, "team-day");
    assert_string_equal(a.refused.state.level, "team");
    assert_int_equal(a.refused.state.held, 30 * USD);
    assert_int_equal(a.refused.asked, 21 * USD);
    assert_true(a.refused.transient);
    assert_int_equal(a.refused.retry_after_s, 1);
    assert_int_equal(ask(b, "blue", "bob", 50 * USD, 1000, 0, &h3, &a), BUDGET_ALLOWED); /* a team of its own */
    settle(b, h1, 30 * USD, 900, 0);
    assert_int_equal(ask(b, "red", "ann", 21 * USD, 1000, HOUR, &h1, &a), BUDGET_REFUSED);
    assert_false(a.refused.transient);
    assert_int_equal(a.refused.state.reset_us, NOON + 12 * HOUR);
    assert_int_equal(a.refused.retry_after_s, 11 * 3600);
    assert_int_equal(ask(b, "red", "ann", 51 * USD, 1000, HOUR, &h1, &a), BUDGET_REFUSED);
    assert_true(a.refused.too_large);
    assert_int_equal(a.refused.retry_after_s, -1);
    assert_int_equal(ask(b, "red", "ann", 50 * USD, 1000, 12 * HOUR, &h1, &a), BUDGET_ALLOWED); /* midnight */
    assert_int_equal(budget_release(b, h1, 0), BUDGET_ENDED);
    assert_int_equal(budget_release(b, h1, 0), BUDGET_NOT_OPEN);
    budget_free(b);
}

static void a_late_settlement_belongs_to_the_old_day(void **state)
{
    struct budget *b = engine(&team_day, 1);
    struct budget_hold h, h2;
    struct budget_answer a;
    struct budget_stats st;
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 40 * USD, 1, 11 * HOUR, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(ask(b, "red", "ann", 45 * USD, 1, 12 * HOUR + 1, &h2, &a), BUDGET_ALLOWED);
    settle(b, h, 39 * USD, 1, 12 * HOUR + 2);
    struct budget_view v = view(b, "team-day", "team=red", 12 * HOUR + 3);
    assert_int_equal(v.state.used, 0);
    assert_int_equal(v.state.held, 45 * USD);
    assert_int_equal(v.previous, 39 * USD);
    budget_stats_get(b, &st);
    assert_int_equal(st.late, 1);
    struct budget_actual nothing = { .primary = { 0, 0, 0 } };
    assert_int_equal(budget_settle(b, h, &nothing, 0), BUDGET_NOT_OPEN);
    budget_stats_get(b, &st);
    assert_int_equal(st.double_ends, 1);
    budget_free(b);
}

static void a_bucket_refills_by_the_monotonic_clock(void **state)
{
    const struct budget_limit l = { .name = "tpm", .scope = { .level = "user" }, .unit = "tokens", .amount = "6000/min", .burst = "10000" };
    struct budget *b = engine(&l, 1);
    struct budget_hold h;
    struct budget_answer a;
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 0, 10000, 0, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(ask(b, "red", "ann", 0, 100, 0, &h, &a), BUDGET_REFUSED);
    assert_int_equal(a.refused.retry_after_s, 1);
    assert_int_equal(ask(b, "red", "ann", 0, 6000, 0, &h, &a), BUDGET_REFUSED);
    assert_int_equal(a.refused.retry_after_s, 60);
    assert_int_equal(a.refused.state.reset_us, NOON + 100 * S);
    assert_int_equal(ask(b, "red", "ann", 0, 100, 999999, &h, &a), BUDGET_REFUSED);
    assert_int_equal(ask(b, "red", "ann", 0, 100, S, &h, &a), BUDGET_ALLOWED);
    settle(b, h, 0, 40, S); /* 60 come back */
    assert_int_equal(ask(b, "red", "ann", 0, 61, S, &h, &a), BUDGET_REFUSED);
    assert_int_equal(ask(b, "red", "ann", 0, 60, S, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(ask(b, "red", "ann", 0, 10001, HOUR, &h, &a), BUDGET_REFUSED);
    assert_true(a.refused.too_large);
    /* The wall clock runs ahead by a day: the bucket does not. */
    struct identity id = { .user = SLICE_LIT("ann") };
    struct budget_ask q = { .subjects = { &id, SLICE_NONE, NULL, NULL }, .hold = { 0, 10000, 1 } };
    assert_int_equal(budget_reserve(b, &q, NOON + HOUR, HOUR, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(budget_reserve(b, &q, NOON + DAY, HOUR + S, &h, &a), BUDGET_REFUSED);
    budget_free(b);
}

static void a_clock_set_back_reopens_nothing(void **state)
{
    const struct budget_limit l[] = { team_day, { .name = "rpm", .scope = { .level = "global" }, .unit = "requests", .amount = "1/min" } };
    struct budget *b = engine(l, 2);
    struct budget_hold h;
    struct budget_answer a;
    struct identity id = { .team = SLICE_LIT("red") };
    struct budget_ask q = { .subjects = { &id, SLICE_NONE, NULL, NULL }, .hold = { 50 * USD, 1, 1 } };
    (void)state;
    assert_int_equal(budget_reserve(b, &q, NOON, 10 * MIN, &h, &a), BUDGET_ALLOWED);
    settle(b, h, 50 * USD, 1, 10 * MIN);
    assert_int_equal(budget_reserve(b, &q, NOON - 2 * DAY, 20 * MIN, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "team-day");
    assert_int_equal(budget_clock_lag(b, NOON - 2 * DAY), 2 * DAY);
    q.hold.nano = 0;
    assert_int_equal(budget_reserve(b, &q, NOON, 20 * MIN, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(budget_reserve(b, &q, NOON, 0, &h, &a), BUDGET_REFUSED); /* monotonic time cannot go back: no refill, no harm */
    assert_string_equal(a.refused.state.limit, "rpm");
    /* Far ahead and corrected: rebase at the true time, books from the ledger. */
    assert_int_equal(budget_reserve(b, &q, NOON + 400 * DAY, 30 * MIN, &h, &a), BUDGET_ALLOWED);
    budget_rebase(b, NOON + HOUR, 40 * MIN);
    assert_int_equal(budget_reserve(b, &q, NOON + HOUR, 40 * MIN, &h, &a), BUDGET_NOT_READY);
    struct budget_lookback look;
    budget_lookback(b, &look);
    assert_int_equal(look.slots_from_us, NOON - 12 * HOUR);
    assert_int_equal(look.events_from_us, INT64_MAX);
    assert_int_equal(budget_load_slot(b, &q.subjects, NOON, &(struct budget_use){ 50 * USD, 1, 1 }), 0);
    budget_load_done(b, NOON + HOUR, 40 * MIN);
    q.hold.nano = 1;
    assert_int_equal(budget_reserve(b, &q, NOON + HOUR, 40 * MIN, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "team-day");
    budget_free(b);
}

static void rolling_windows_are_strict(void **state)
{
    const struct budget_limit l = { .name = "roll", .scope = { .level = "team" }, .unit = "requests", .amount = "3", .window = "rolling 1h",
                                    .slots = 4 };
    struct budget *b = engine(&l, 1);
    struct budget_hold h;
    struct budget_answer a;
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 0, 1, 0, &h, &a), BUDGET_ALLOWED);
    settle(b, h, 0, 1, 0);
    assert_int_equal(ask(b, "red", "ann", 0, 1, 16 * MIN, &h, &a), BUDGET_ALLOWED);
    settle(b, h, 0, 1, 0);
    assert_int_equal(ask(b, "red", "ann", 0, 1, 59 * MIN, &h, &a), BUDGET_ALLOWED);
    settle(b, h, 0, 1, 0);
    assert_int_equal(ask(b, "red", "ann", 0, 1, HOUR + 10 * MIN, &h, &a), BUDGET_REFUSED); /* exact to one sub-slot, on the strict side */
    assert_int_equal(a.refused.retry_after_s, 5 * 60);
    assert_int_equal(a.refused.state.reset_us, NOON + HOUR + 15 * MIN);
    assert_int_equal(ask(b, "red", "ann", 0, 1, HOUR + 15 * MIN, &h, &a), BUDGET_ALLOWED);
    settle(b, h, 0, 1, 0);
    assert_int_equal(ask(b, "red", "ann", 0, 1, HOUR + 29 * MIN, &h, &a), BUDGET_REFUSED);
    assert_int_equal(ask(b, "red", "ann", 0, 1, HOUR + 30 * MIN, &h, &a), BUDGET_ALLOWED);
    struct budget_hold open = h;
    assert_int_equal(ask(b, "red", "ann", 0, 1, 5 * HOUR, &h, &a), BUDGET_ALLOWED);
    settle(b, open, 0, 1, 0); /* its sub-slot has gone */
    assert_int_equal(view(b, "roll", "team=red", 5 * HOUR).state.used, 0);
    assert_int_equal(view(b, "roll", "team=red", 5 * HOUR).state.held, 1);
    budget_free(b);
}

static void concurrency_counts_open_holds(void **state)
{
    const struct budget_limit l = { .name = "parallel", .scope = { .level = "user" }, .unit = "concurrent", .amount = "2" };
    struct budget *b = engine(&l, 1);
    struct budget_hold h1, h2, h3;
    struct budget_answer a;
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 0, 1, 0, &h1, &a), BUDGET_ALLOWED);
    assert_int_equal(ask(b, "red", "ann", 0, 1, 0, &h2, &a), BUDGET_ALLOWED);
    assert_int_equal(ask(b, "red", "ann", 0, 1, 2 * DAY, &h3, &a), BUDGET_REFUSED);
    assert_true(a.refused.transient);
    assert_int_equal(a.refused.retry_after_s, 1);
    settle(b, h1, 0, 1, 0);
    assert_int_equal(ask(b, "red", "ann", 0, 1, 2 * DAY, &h3, &a), BUDGET_ALLOWED);
    budget_free(b);
}

static void all_levels_or_none(void **state)
{
    const char *red[] = { "red" };
    struct budget_scope in_red = { .level = "team", .match = red, .match_count = 1 };
    const struct budget_limit l[] = {
        { .name = "org", .scope = { .level = "organization" }, .unit = "usd", .amount = "$100", .window = "month" },
        team_day,
        { .name = "user-in-red", .scope = { .level = "user" }, .within = &in_red, .within_count = 1, .unit = "usd", .amount = "$10",
          .window = "hour" },
    };
    struct budget *b = engine(l, 3);
    struct budget_hold h;
    struct budget_answer a;
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 11 * USD, 1, 0, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "user-in-red");
    assert_int_equal(view(b, "org", "organization=acme", 0).state.held, 0);
    assert_int_equal(view(b, "team-day", "team=red", 0).state.held, 0);
    assert_int_equal(ask(b, "blue", "ann", 11 * USD, 1, 0, &h, &a), BUDGET_ALLOWED); /* not within red */
    assert_int_equal(ask(b, "red", "ann", 10 * USD, 1, 0, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(ask(b, "red", "bob", 10 * USD, 1, 0, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(view(b, "org", "organization=acme", 0).state.held, 31 * USD);
    assert_int_equal(view(b, "user-in-red", "user=bob team=red", 0).state.held, 10 * USD);
    assert_int_equal(ask(b, "", "", 50 * USD, 1, 0, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(ask(b, "", "", 1, 1, 0, &h, &a), BUDGET_REFUSED); /* without a team: one shared account */
    assert_string_equal(a.refused.state.limit, "team-day");
    budget_free(b);
}

static void prefixes_lists_and_shared_accounts(void **state)
{
    const char *models[] = { "gpt-4*", "o3" };
    const struct budget_limit l[] = {
        { .name = "each", .scope = { .level = "model", .match = models, .match_count = 2 }, .unit = "requests", .amount = "1",
          .window = "day" },
        { .name = "pool", .scope = { .level = "model", .match = models, .match_count = 2, .shared = true }, .unit = "requests", .amount = "2",
          .window = "day" },
    };
    struct budget *b = engine(l, 2);
    struct budget_hold h;
    struct budget_answer a;
    struct budget_ask q = { .hold = { 1, 1, 1 } };
    struct who w = { .model = "gpt-4o", .provider = "openai" };
    (void)state;
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "each");
    w.model = "o3";
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_ALLOWED);
    w.model = "gpt-4.1";
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "pool");
    w.model = "o3-mini";
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_ALLOWED);
    budget_free(b);
}

static void provider_limits_hold_both_legs_and_settle_the_one_that_served(void **state)
{
    const struct budget_limit l[] = {
        { .name = "provider", .scope = { .level = "provider" }, .unit = "usd", .amount = "$10", .window = "day" },
        { .name = "attempts", .scope = { .level = "provider" }, .unit = "requests", .amount = "5", .window = "day" },
        { .name = "model", .scope = { .level = "model" }, .unit = "usd", .amount = "$10", .window = "day" },
        { .name = "all", .scope = { .level = "global" }, .unit = "usd", .amount = "$10", .window = "day" },
    };
    struct budget *b = engine(l, 4);
    struct budget_hold h;
    struct budget_answer a;
    struct budget_ask q = { .hold = { 4 * USD, 100, 1 } };
    struct who w = { .model = "m", .provider = "p1", .model2 = "m", .provider2 = "p2" };
    (void)state;
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(view(b, "provider", "provider=p1", 0).state.held, 4 * USD);
    assert_int_equal(view(b, "provider", "provider=p2", 0).state.held, 4 * USD);
    assert_int_equal(view(b, "model", "model=m", 0).state.held, 4 * USD); /* one account, held once */
    struct budget_actual actual = { .primary = { USD, 10, 1 }, .fallback = { 2 * USD, 20, 1 } };
    assert_int_equal(budget_settle(b, h, &actual, 0), BUDGET_ENDED);
    assert_int_equal(view(b, "provider", "provider=p1", 0).state.used, USD);
    assert_int_equal(view(b, "provider", "provider=p2", 0).state.used, 2 * USD);
    assert_int_equal(view(b, "model", "model=m", 0).state.used, 3 * USD);
    assert_int_equal(view(b, "all", "global", 0).state.used, 3 * USD);
    assert_int_equal(view(b, "all", "global", 0).state.held, 0);
    assert_int_equal(view(b, "attempts", "provider=p2", 0).state.used, 1);
    budget_free(b);
}

static void an_overrun_is_booked_in_full(void **state)
{
    struct budget *b = engine(&team_day, 1);
    struct budget_hold h;
    struct budget_answer a;
    struct budget_stats st;
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 10 * USD, 100, 0, &h, &a), BUDGET_ALLOWED);
    struct budget_actual actual = { .primary = { 60 * USD, 600, 1 } };
    assert_int_equal(budget_settle(b, h, &actual, 0), BUDGET_OVERRUN);
    struct budget_view v = view(b, "team-day", "team=red", 0);
    assert_int_equal(v.state.used, 60 * USD);
    assert_int_equal(v.state.left, 0);
    budget_stats_get(b, &st);
    assert_int_equal(st.overruns, 1);
    assert_int_equal(st.overrun_nano, 50 * USD);
    assert_int_equal(st.overrun_tokens, 500);
    assert_int_equal(ask(b, "red", "ann", 1, 1, 0, &h, &a), BUDGET_REFUSED);
    assert_int_equal(ask(b, "red", "ann", 0, 1, 0, &h, &a), BUDGET_ALLOWED); /* what costs nothing harms no budget */
    struct identity id = { .team = SLICE_LIT("red") };
    struct budget_subjects s = { &id, SLICE_NONE, NULL, NULL };
    budget_adjust(b, &s, NOON, &(struct budget_use){ -15 * USD, 0, 0 }, NOON, 0);
    assert_int_equal(view(b, "team-day", "team=red", 0).state.used, 45 * USD);
    budget_adjust(b, &s, NOON - DAY, &(struct budget_use){ -15 * USD, 0, 0 }, NOON, 0); /* a day that is not known */
    assert_int_equal(view(b, "team-day", "team=red", 0).state.used, 45 * USD);
    budget_free(b);
}

static void the_output_ceiling_is_lowered_to_what_the_money_affords(void **state)
{
    const struct budget_limit l[] = { team_day,
                                      { .name = "strict", .scope = { .level = "user" }, .unit = "tokens", .amount = "5000", .window = "hour",
                                        .clamp_floor = -1 } };
    struct budget *b = engine(l, 2);
    struct budget_hold h;
    struct budget_answer a;
    /* $1 of input, 2 choices of up to 1000 tokens at a cent each: $21. */
    struct budget_ask q = { .hold = { 21 * USD, 2100, 1 },
                            .clamp = { .ceiling = 1000, .floor = 100, .choices = 2, .fixed_nano = USD, .fixed_tokens = 100,
                                       .pico_per_output = INT64_C(10000000000) } };
    struct who w = { .team = "red", .user = "ann", .model = "m", .provider = "p" };
    (void)state;
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(a.output_ceiling, 1000);
    settle(b, h, 21 * USD, 2100, 0);
    assert_int_equal(ask(b, "red", "bob", 20 * USD, 1, 0, &h, &a), BUDGET_ALLOWED);
    settle(b, h, 20 * USD, 1, 0); /* $9 left: 400 tokens for each choice */
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_CLAMPED);
    assert_int_equal(a.output_ceiling, 400);
    assert_int_equal(a.held.nano, 9 * USD);
    assert_int_equal(a.held.tokens, 900);
    assert_string_equal(a.clamped_by.limit, "team-day");
    assert_int_equal(a.tight[BUDGET_USD].left, 0);
    assert_int_equal(budget_release(b, h, 0), BUDGET_ENDED);
    assert_int_equal(ask(b, "red", "bob", 6 * USD + 1, 1, 0, &h, &a), BUDGET_ALLOWED); /* leaves less than the floor affords */
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_REFUSED);
    assert_int_equal(a.output_ceiling, 1000);
    assert_string_equal(a.refused.state.limit, "team-day");
    assert_int_equal(budget_release(b, h, 0), BUDGET_NOT_OPEN);
    /* A limit that forbids lowering. */
    w.team = "blue";
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_REFUSED);
    assert_string_equal(a.refused.state.limit, "strict");
    budget_free(b);
}

/* A request without a floor of its own, as the agent's: limits that name one lower it, others do not. */
static void only_limits_with_a_floor_lower_what_has_none(void **state)
{
    struct budget_limit l = team_day;
    struct budget_hold h;
    struct budget_answer a;
    struct budget_ask q = { .hold = { 40 * USD, 2100, 1 },
                            .clamp = { .ceiling = 1000, .choices = 1, .fixed_tokens = 100, .pico_per_output = INT64_C(40000000000) } };
    const struct who w = { .team = "red", .user = "ann", .model = "m", .provider = "p" };
    (void)state;
    for (int floor = 0; floor <= 251; floor += floor == 0 ? 250 : 1) { /* $10 left: 250 tokens */
        l.clamp_floor = floor;
        struct budget *b = engine(&l, 1);
        assert_int_equal(ask_full(b, w, &q, 0, &h, &a), BUDGET_ALLOWED);
        assert_int_equal(ask_full(b, w, &q, 0, &h, &a), floor == 250 ? BUDGET_CLAMPED : BUDGET_REFUSED);
        assert_int_equal(a.output_ceiling, floor == 250 ? 250 : 1000);
        budget_free(b);
    }
}

static void soft_limits_warn_and_each_threshold_is_told_once_a_window(void **state)
{
    struct budget_limit l = team_day;
    l.action = "soft";
    struct budget *b = engine(&l, 1);
    struct budget_hold h;
    struct budget_answer a;
    struct budget_notice n;
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 49 * USD, 1, 0, &h, &a), BUDGET_ALLOWED); /* held is not used: no alarm */
    assert_int_equal(a.warn_percent, 0);
    assert_false(budget_notice_take(b, &n));
    settle(b, h, 41 * USD, 1, 0);
    assert_true(budget_notice_take(b, &n));
    assert_int_equal(n.percent, 50);
    assert_string_equal(n.subject, "team=red");
    assert_string_equal(n.action, "soft");
    assert_true(budget_notice_take(b, &n));
    assert_int_equal(n.percent, 80);
    assert_int_equal(n.state.used, 41 * USD);
    assert_false(budget_notice_take(b, &n));
    assert_int_equal(ask(b, "red", "ann", 49 * USD, 1, 0, &h, &a), BUDGET_ALLOWED); /* never refuses */
    assert_int_equal(a.warn_percent, 80);
    assert_string_equal(a.warn.limit, "team-day");
    assert_false(a.tight_known[BUDGET_USD]);
    settle(b, h, 49 * USD, 1, 0);
    assert_true(budget_notice_take(b, &n));
    assert_int_equal(n.percent, 100);
    assert_false(budget_notice_take(b, &n));
    assert_int_equal(ask(b, "red", "ann", 30 * USD, 1, DAY, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(a.warn_percent, 0);
    settle(b, h, 30 * USD, 1, DAY);
    assert_true(budget_notice_take(b, &n)); /* a new day */
    assert_int_equal(n.percent, 50);
    budget_free(b);
}

static void a_downgrade_is_asked_for_before_money_runs_out(void **state)
{
    struct budget_limit l = team_day;
    l.action = "downgrade";
    l.downgrade_to = "chat-small";
    struct budget *b = engine(&l, 1);
    struct budget_hold h;
    struct budget_answer a;
    struct budget_ask q = { .hold = { USD, 1, 1 }, .downgraded = true };
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 45 * USD, 1, 0, &h, &a), BUDGET_ALLOWED);
    settle(b, h, 44 * USD, 1, 0);
    assert_int_equal(ask(b, "red", "ann", 45 * USD, 1, 0, &h, &a), BUDGET_ALLOWED);
    settle(b, h, USD, 1, 0); /* 90 % */
    assert_int_equal(ask(b, "red", "ann", USD, 1, 0, &h, &a), BUDGET_DOWNGRADE);
    assert_int_equal(h.id, 0);
    assert_string_equal(a.downgrade_to, "chat-small");
    assert_string_equal(a.downgrade_by.limit, "team-day");
    assert_int_equal(ask_full(b, (struct who){ .team = "red", .model = "s", .provider = "p" }, &q, 0, &h, &a), BUDGET_ALLOWED);
    assert_int_equal(a.warn_percent, 90);
    budget_free(b);
}

static void an_engine_that_is_not_loaded_refuses(void **state)
{
    char why[256];
    struct budget_options o = { .limits = &team_day, .limits_count = 1 };
    struct budget *b = budget_new(&o, NOON, 0, why, sizeof why);
    struct budget_hold h;
    struct budget_answer a;
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 1, 1, 0, &h, &a), BUDGET_NOT_READY);
    budget_load_done(b, NOON, 0);
    assert_int_equal(ask(b, "red", "ann", -1, 1, 0, &h, &a), BUDGET_BAD_ASK);
    assert_int_equal(ask(b, "red", "ann", BUDGET_ASK_MAX + 1, 1, 0, &h, &a), BUDGET_BAD_ASK);
    assert_int_equal(ask(b, "red", "ann", 1, 1, 0, &h, &a), BUDGET_ALLOWED);
    budget_free(b);
}

static void idle_accounts_go_and_room_is_bounded(void **state)
{
    char why[256], team[32];
    const struct budget_limit l[] = { team_day, { .name = "tpm", .scope = { .level = "team" }, .unit = "tokens", .amount = "60/min" } };
    struct budget_options o = { .limits = l, .limits_count = 2, .max_accounts = 2000 };
    struct budget *b = budget_new(&o, NOON, 0, why, sizeof why);
    struct budget_hold h, keep;
    struct budget_answer a;
    struct budget_stats st;
    (void)state;
    budget_load_done(b, NOON, 0);
    assert_int_equal(ask(b, "kept", "ann", 1, 1, 0, &keep, &a), BUDGET_ALLOWED);
    for (int i = 0; i < 999; i++) {
        snprintf(team, sizeof team, "team-%d", i);
        assert_int_equal(ask(b, team, "ann", 1, 1, 0, &h, &a), BUDGET_ALLOWED);
        settle(b, h, 1, 1, 0);
    }
    assert_int_equal(ask(b, "one-more", "ann", 1, 1, 0, &h, &a), BUDGET_NO_ROOM);
    budget_stats_get(b, &st);
    assert_int_equal(st.accounts, 2000);
    for (int i = 0; i < 10; i++)
        budget_tick(b, NOON + 2 * MIN, 2 * MIN);
    budget_stats_get(b, &st);
    assert_int_equal(st.accounts, 1001); /* full buckets are gone, spent days and the open hold are not */
    for (int i = 0; i < 10; i++)
        budget_tick(b, NOON + DAY, DAY);
    budget_stats_get(b, &st);
    assert_int_equal(st.accounts, 2);
    assert_int_equal(ask(b, "one-more", "ann", 1, 1, DAY, &h, &a), BUDGET_ALLOWED);
    settle(b, keep, 1, 1, DAY);
    budget_free(b);
}

static void limits_are_looked_at_without_holding(void **state)
{
    const struct budget_limit l[] = { { .name = "day", .scope = { .level = "team" }, .unit = "usd", .amount = "100", .window = "day", .timezone = "UTC" },
                                      { .name = "tpm", .scope = { .level = "user" }, .unit = "tokens", .amount = "1000/min" } };
    struct budget *b = engine(l, 2);
    struct budget_hold h;
    struct budget_answer a, peek;
    struct budget_stats before, after;
    struct identity id = { .organization = SLICE_LIT("acme"), .team = SLICE_LIT("red"), .user = SLICE_LIT("ann") };
    struct budget_subjects who = { .who = &id };
    (void)state;
    assert_int_equal(ask(b, "red", "ann", 30 * USD, 400, 0, &h, &a), BUDGET_ALLOWED);
    budget_stats_get(b, &before);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(budget_peek(b, &who, NOON, 0, &peek), BUDGET_ALLOWED);
        assert_true(peek.tight_known[BUDGET_USD] && peek.tight_known[BUDGET_TOKENS]);
        assert_false(peek.tight_known[BUDGET_REQUESTS]);
        assert_int_equal(peek.tight[BUDGET_USD].left, 70 * USD);
        assert_int_equal(peek.tight[BUDGET_TOKENS].left, 600);
        assert_int_equal(peek.refused_count, 0);
    }
    budget_stats_get(b, &after);
    assert_int_equal(after.holds, before.holds);
    assert_int_equal(after.reserved, before.reserved);
    assert_int_equal(after.refused, before.refused);
    settle(b, h, 10 * USD, 400, 0);
    assert_int_equal(budget_peek(b, &who, NOON + 13 * HOUR, 13 * HOUR, &peek), BUDGET_ALLOWED); /* the next day, the bucket full again */
    assert_int_equal(peek.tight[BUDGET_USD].left, 100 * USD);
    assert_int_equal(peek.tight[BUDGET_TOKENS].left, 1000);
    budget_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_daily_budget_is_held_settled_and_reset),
        cmocka_unit_test(a_late_settlement_belongs_to_the_old_day),
        cmocka_unit_test(a_bucket_refills_by_the_monotonic_clock),
        cmocka_unit_test(a_clock_set_back_reopens_nothing),
        cmocka_unit_test(rolling_windows_are_strict),
        cmocka_unit_test(concurrency_counts_open_holds),
        cmocka_unit_test(all_levels_or_none),
        cmocka_unit_test(prefixes_lists_and_shared_accounts),
        cmocka_unit_test(provider_limits_hold_both_legs_and_settle_the_one_that_served),
        cmocka_unit_test(an_overrun_is_booked_in_full),
        cmocka_unit_test(the_output_ceiling_is_lowered_to_what_the_money_affords),
        cmocka_unit_test(only_limits_with_a_floor_lower_what_has_none),
        cmocka_unit_test(soft_limits_warn_and_each_threshold_is_told_once_a_window),
        cmocka_unit_test(a_downgrade_is_asked_for_before_money_runs_out),
        cmocka_unit_test(limits_are_looked_at_without_holding),
        cmocka_unit_test(an_engine_that_is_not_loaded_refuses),
        cmocka_unit_test(idle_accounts_go_and_room_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
