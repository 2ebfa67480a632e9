/* What a decision costs: reserve and settle over four limits (organization and team in dollars, user in tokens per minute and
 * concurrent), a thousand users. `bench_budget_reserve [rounds]` prints nanoseconds of CPU per pair; under callgrind, instructions. */
#include "base/clock.h"
#include "budget/budget.h"

#include <stdio.h>
#include <stdlib.h>

enum { USERS = 1000 };

static const struct budget_limit limits[] = {
    { .name = "org-month", .scope = { .level = "organization" }, .unit = "usd", .amount = "$900M", .window = "month", .timezone = "Europe/Berlin" },
    { .name = "team-day", .scope = { .level = "team" }, .unit = "usd", .amount = "$900M", .window = "day" },
    { .name = "user-tpm", .scope = { .level = "user" }, .unit = "tokens", .amount = "100M/min" },
    { .name = "user-parallel", .scope = { .level = "user" }, .unit = "concurrent", .amount = "100" },
};

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? atol(argv[1]) : 2000000;
    char why[256], users[USERS][16];
    struct budget_options o = { .limits = limits, .limits_count = 4 };
    int64_t now = clock_wall_us();
    struct budget *b = budget_new(&o, now, 0, why, sizeof why);
    if (!b) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    budget_load_done(b, now, 0);
    for (int i = 0; i < USERS; i++)
        snprintf(users[i], sizeof users[i], "user-%04d", i);
    int64_t begin = clock_read_us(CLOCK_THREAD_CPUTIME_ID);
    long allowed = 0;
    for (long i = 0; i < rounds; i++) {
        struct identity who = { .organization = SLICE_LIT("acme"), .team = SLICE_LIT("research"), .user = slice_cstr(users[i * 7 % USERS]),
                                .application = SLICE_LIT("cli"), .cost_center = SLICE_LIT("4711") };
        struct target primary = { .provider = SLICE_LIT("openai"), .model = SLICE_LIT("gpt-4o") };
        struct target fallback = { .provider = SLICE_LIT("azure"), .model = SLICE_LIT("gpt-4o") };
        struct budget_ask q = { .subjects = { &who, SLICE_LIT("chat-default"), &primary, &fallback }, .hold = { 1000000, 1200, 1 } };
        struct budget_actual actual = { .primary = { 400000, 500, 1 } };
        struct budget_hold h;
        struct budget_answer a;
        allowed += budget_reserve(b, &q, now + i, i, &h, &a) == BUDGET_ALLOWED;
        (void)budget_settle(b, h, &actual, i);
    }
    int64_t took = clock_read_us(CLOCK_THREAD_CPUTIME_ID) - begin;
    printf("budget reserve+settle over 4 limits: %.0f ns CPU a pair (%ld of %ld allowed)\n", (double)took * 1000 / (double)rounds, allowed, rounds);
    budget_free(b);
    return allowed == rounds ? 0 : 1;
}
