/* Every level with every unit, window and action: what it lets pass, what it refuses or tells, whose account it is, and when it begins anew. */
#include "budget/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define S INT64_C(1000000)
#define DAY (24 * 60 * 60 * S)
#define USD INT64_C(1000000000)
#define NOON (INT64_C(1795435200) * S) /* Monday 2026-11-23 12:00:00 UTC */

enum { FIT = 10 /* requests that fill a limit */ };

static const char *const levels[] = { "organization", "team", "user", "application", "cost_center", "key", "alias", "model", "provider", "global" };
static const char *const windows[] = { "minute", "hour", "day", "week", "month", "quarter", "year", "total", "rolling 24h", "bucket" };
static const char *const actions[] = { "hard", "soft", "downgrade" };
static const struct unit {
    const char *name, *amount, *rate;
    struct budget_use one; /* a tenth of the limit in this unit, next to nothing in the others */
} units[] = {
    { "usd", "$100", "$100 per minute", { 10 * USD, 1, 1 } },
    { "tokens", "100 tokens", "100 tokens per minute", { 1, 10, 1 } },
    { "requests", "10 requests", "10 requests per minute", { 1, 1, 1 } },
};

/* One cell of the matrix. */
struct cell {
    const char *level, *window, *action;
    const struct unit *unit;
    struct budget *b;
};

#define CHECK(c, condition)                                                                                                              \
    do {                                                                                                                                 \
        if (!(condition))                                                                                                                \
            fail_msg("%s, %s, %s, %s: %s", (c)->level, (c)->unit->name, (c)->window, (c)->action, #condition);                            \
    } while (0)

static struct budget *engine(const struct budget_limit *l)
{
    char why[512] = "";
    struct budget *b = budget_new(&(struct budget_options){ .limits = l, .limits_count = 1 }, NOON, 0, why, sizeof why);

    if (b == NULL)
        fail_msg("%s", why);
    budget_load_done(b, NOON, 0);
    return b;
}

/* Somebody whose every name is `name`, asking for targets of that name. */
static enum budget_verdict ask(struct cell *c, const char *name, bool downgraded, int64_t after, struct budget_hold *h, struct budget_answer *a)
{
    struct slice n = slice_cstr(name);
    struct identity who = { .organization = n, .team = n, .user = n, .application = n, .cost_center = n, .key_id = n };
    struct target target = { .provider = n, .model = n };
    struct budget_ask q = { .subjects = { &who, n, &target, NULL }, .hold = c->unit->one, .downgraded = downgraded };

    return budget_reserve(c->b, &q, NOON + after, after, h, a);
}

static void serve(struct cell *c, const char *name, bool downgraded, int64_t after)
{
    struct budget_actual actual = { .primary = c->unit->one };
    struct budget_answer a;
    struct budget_hold h;

    CHECK(c, ask(c, name, downgraded, after, &h, &a) == BUDGET_ALLOWED);
    CHECK(c, budget_settle(c->b, h, &actual, after) == BUDGET_ENDED);
}

/* What was told since, as a number: 50, 80, 100 is 5080100. */
static int64_t told(struct cell *c)
{
    struct budget_notice n;
    int64_t all = 0;

    while (budget_notice_take(c->b, &n)) {
        CHECK(c, strcmp(n.action, c->action) == 0);
        all = all * (n.percent < 100 ? 100 : 1000) + n.percent;
    }
    return all;
}

/* The limit is full: what comes next for its own people, and for others. Gives the microseconds until it begins anew, 0 for never. */
static int64_t when_full(struct cell *c, bool hard, bool downgrade)
{
    struct budget_answer a;
    struct budget_hold h;
    enum budget_verdict v = ask(c, "one", false, 0, &h, &a);
    int64_t reset_us;

    if (hard) {
        CHECK(c, v == BUDGET_REFUSED && strcmp(a.refused.state.limit, "cell") == 0 && !a.refused.transient && !a.refused.too_large);
        CHECK(c, strcmp(a.refused.state.level, c->level) == 0);
        reset_us = a.refused.state.reset_us;
    } else if (downgrade) {
        CHECK(c, v == BUDGET_DOWNGRADE && strcmp(a.downgrade_to, "cheaper") == 0);
        reset_us = a.downgrade_by.reset_us;
    } else {
        CHECK(c, v == BUDGET_ALLOWED && a.warn_percent == 100);
        reset_us = a.warn.reset_us;
        CHECK(c, budget_release(c->b, h, 0) == BUDGET_ENDED);
    }
    bool everybodys = strcmp(c->level, "global") == 0;
    v = ask(c, "two", false, 0, &h, &a);
    CHECK(c, everybodys ? (hard ? v == BUDGET_REFUSED : downgrade ? v == BUDGET_DOWNGRADE : v == BUDGET_ALLOWED) : v == BUDGET_ALLOWED && a.warn_percent == 0);
    return reset_us == 0 ? 0 : reset_us - NOON;
}

static void try_cell(struct cell *c)
{
    bool hard = strcmp(c->action, "hard") == 0, downgrade = strcmp(c->action, "downgrade") == 0, bucket = strcmp(c->window, "bucket") == 0;
    struct budget_limit l = { .name = "cell", .scope = { .level = c->level }, .unit = c->unit->name, .amount = bucket ? c->unit->rate : c->unit->amount,
                              .window = c->window, .action = c->action, .downgrade_to = downgrade ? "cheaper" : NULL };
    struct budget_answer a;
    struct budget_hold h;

    c->b = engine(&l);
    for (int i = 0; i < FIT; i++) {
        if (downgrade)
            CHECK(c, (ask(c, "one", false, 0, &h, &a) == BUDGET_DOWNGRADE) == (i == FIT - 1)); /* at 90 % */
        if (downgrade && i < FIT - 1)
            CHECK(c, budget_release(c->b, h, 0) == BUDGET_ENDED);
        serve(c, "one", downgrade && i == FIT - 1, 0);
        int64_t now = told(c);
        if (downgrade)
            CHECK(c, now == (i == 8 ? 90 : 0));
        else
            CHECK(c, now == (i == 4 ? 50 : i == 7 ? 80 : i == 9 ? 100 : 0));
    }
    int64_t anew = when_full(c, hard, downgrade);
    if (strcmp(c->window, "total") == 0) {
        CHECK(c, anew == 0);
        enum budget_verdict v = ask(c, "one", false, 1000 * DAY, &h, &a);
        CHECK(c, hard ? v == BUDGET_REFUSED : downgrade ? v == BUDGET_DOWNGRADE : v == BUDGET_ALLOWED && a.warn_percent == 100);
    } else {
        CHECK(c, anew > 0 && anew <= 366 * DAY);
        CHECK(c, ask(c, "one", false, anew, &h, &a) == BUDGET_ALLOWED);
        CHECK(c, a.warn_percent == 0);
    }
    budget_free(c->b);
}

static void every_cell_holds_what_it_says(void **state)
{
    (void)state;
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
        for (size_t u = 0; u < sizeof units / sizeof *units; u++)
            for (size_t w = 0; w < sizeof windows / sizeof *windows; w++)
                for (size_t m = 0; m < sizeof actions / sizeof *actions; m++)
                    try_cell(&(struct cell){ .level = levels[l], .window = windows[w], .action = actions[m], .unit = &units[u] });
}

static void every_level_counts_what_is_under_way(void **state)
{
    (void)state;
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
        for (size_t m = 0; m < 2; m++) {
            bool hard = m == 0;
            struct cell c = { .level = levels[l], .window = "concurrent", .action = actions[m], .unit = &units[2] };
            struct budget_limit limit = { .name = "cell", .scope = { .level = c.level }, .unit = "concurrent", .amount = "10", .action = c.action };
            struct budget_hold h[FIT], more;
            struct budget_answer a;
            c.b = engine(&limit);
            for (int i = 0; i < FIT; i++)
                CHECK(&c, ask(&c, "one", false, 0, &h[i], &a) == BUDGET_ALLOWED);
            CHECK(&c, ask(&c, "one", false, 0, &more, &a) == (hard ? BUDGET_REFUSED : BUDGET_ALLOWED));
            if (hard)
                CHECK(&c, a.refused.transient);
            else
                CHECK(&c, budget_release(c.b, more, 0) == BUDGET_ENDED);
            if (strcmp(c.level, "global") != 0)
                CHECK(&c, ask(&c, "two", false, 0, &more, &a) == BUDGET_ALLOWED);
            CHECK(&c, budget_release(c.b, h[3], 0) == BUDGET_ENDED);
            CHECK(&c, ask(&c, "one", false, 0, &more, &a) == BUDGET_ALLOWED);
            budget_free(c.b);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_cell_holds_what_it_says), cmocka_unit_test(every_level_counts_what_is_under_way) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
