/* Conditions, order, shares, stickiness, canaries: which two targets a request gets, given what is known of each. */
#include "route/affinity.h"
#include "route/route.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { A, B, C, TARGETS, NONE = -1 };

static int fixed_minute(const void *zone, int64_t now_us)
{
    (void)zone;
    return (int)now_us;
}

struct world {
    struct route_target targets[TARGETS];
    struct route_alias alias;
    struct route_table table;
    struct route_fact facts[TARGETS];
    struct route_query query;
    struct identity who;
    struct arena *arena;
    struct refusal no;
};

static void world_make(struct world *w)
{
    static const char *const names[] = { "a", "b", "c" };

    *w = (struct world){ .arena = arena_new(512) };
    for (int i = 0; i < TARGETS; i++) {
        w->targets[i] = (struct route_target){ .target = { .group = slice_cstr(names[i]), .model = SLICE_LIT("m") }, .weight = 1 };
        w->facts[i] = (struct route_fact){ .input = -1, .cost_nano = -1, .wait_us = -1 };
    }
    w->alias = (struct route_alias){ .name = SLICE_LIT("chat"), .targets = w->targets, .target_count = TARGETS };
    w->table = (struct route_table){ .aliases = &w->alias, .alias_count = 1, .minute_of_week = fixed_minute };
    w->who = (struct identity){ .team = SLICE_LIT("search"), .user = SLICE_LIT("kim"), .organization = SLICE_LIT("acme") };
    w->query = (struct route_query){ .model = SLICE_LIT("chat"), .who = &w->who, .input = -1, .output = -1, .request_key = 1,
                                     .sticky = -1 };
}

static int place(const struct world *w, const struct route_target *t)
{
    return t == NULL ? NONE : (int)(t - w->targets);
}

/* primary * 10 + fallback; a fallback that is none counts 9. -1: refused. */
static int chosen(struct world *w)
{
    struct route_choice c;
    if (!route_select(&w->table, &w->query, w->facts, w->arena, &c, &w->no))
        return -1;
    int second = place(w, c.fallback);
    return place(w, c.primary) * 10 + (second == NONE ? 9 : second);
}

static void test_conditions_on_people(void **state)
{
    (void)state;
    struct world w;
    const struct slice team[] = { SLICE_LIT("ads"), SLICE_LIT("search") }, groups[] = { SLICE_LIT("staff"), SLICE_LIT("gpu") },
                       wanted[] = { SLICE_LIT("gpu") };

    world_make(&w);
    w.targets[A].when.team = (struct route_names){ team, 1 };
    assert_int_equal(chosen(&w), 12); /* ads only: not for search */
    w.targets[A].when.team.count = 2;
    assert_int_equal(chosen(&w), 1);
    w.targets[A].when.group = (struct route_names){ wanted, 1 };
    assert_int_equal(chosen(&w), 12);
    w.who.groups = groups;
    w.who.group_count = 2;
    assert_int_equal(chosen(&w), 1);
    w.query.who = NULL;
    assert_int_equal(chosen(&w), 12);
    for (int i = B; i <= C; i++)
        w.targets[i].when.team = (struct route_names){ team, 1 };
    assert_int_equal(chosen(&w), -1);
    assert_int_equal(w.no.status, 403);
    assert_string_equal(w.no.code, "model_not_allowed");
    arena_free(w.arena);
}

static void test_conditions_on_the_request(void **state)
{
    (void)state;
    struct world w;
    world_make(&w);
    w.targets[A].when = (struct route_when){ .min_input = 100, .max_input = 200, .features = ASK_TOOLS, .without = ASK_STREAM };
    w.query.features = ASK_TOOLS;
    assert_int_equal(chosen(&w), 1); /* not counted yet: may hold */
    const struct {
        int64_t input;
        unsigned features;
        int expect;
    } cases[] = { { 99, ASK_TOOLS, 12 }, { 100, ASK_TOOLS, 1 }, { 200, ASK_TOOLS, 1 }, { 201, ASK_TOOLS, 12 }, { 150, 0, 12 },
                  { 150, ASK_TOOLS | ASK_STREAM, 12 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        w.query.input = cases[i].input;
        w.query.features = cases[i].features;
        assert_int_equal(chosen(&w), cases[i].expect);
    }
    w.query.input = 5;
    w.query.features = ASK_TOOLS;
    w.facts[A].input = 120; /* its own tokenizer makes more of the same text */
    assert_int_equal(chosen(&w), 1);
    arena_free(w.arena);
}

static void test_the_second_try_of_a_prompt_that_nearly_fills_the_window(void **state)
{
    (void)state;
    struct world w;
    struct route_choice c;
    const struct {
        int64_t windows[TARGETS], limits[TARGETS], input;
        int expect;
        bool larger;
    } cases[] = {
        { { 1000, 1000, 4000 }, { 0 }, 750, 1, false },   /* far from full: as listed */
        { { 1000, 1000, 4000 }, { 0 }, 751, 2, true },
        { { 1000, 2000, 4000 }, { 0 }, 10, 1, true },     /* listed second, and larger anyway */
        { { 1000, 2000, 4000 }, { 0 }, 900, 1, true },
        { { 1000, 1000, 1000 }, { 0 }, 900, 1, false },   /* none is larger */
        { { 1000, 0, 4000 }, { 0 }, 900, 2, true },
        { { 1000, 0, 0 }, { 0 }, 900, 1, false },         /* unknown is not larger */
        { { 0, 1000, 4000 }, { 0 }, 900, 1, false },      /* nothing is larger than the unknown */
        { { 4000, 4000, 4000 }, { 1000, 1000, 2000 }, 900, 2, true }, /* prompts alone have a limit */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_make(&w);
        for (int t = 0; t < TARGETS; t++) {
            w.targets[t].context_window = cases[i].windows[t];
            w.targets[t].input_limit = cases[i].limits[t];
        }
        w.query.input = cases[i].input;
        assert_true(route_select(&w.table, &w.query, w.facts, w.arena, &c, &w.no));
        if (place(&w, c.primary) != A || place(&w, c.fallback) != cases[i].expect || c.fallback_larger != cases[i].larger)
            fail_msg("case %zu: %d, larger %d", i, place(&w, c.fallback), c.fallback_larger);
        arena_free(w.arena);
    }
    world_make(&w);
    w.targets[A].context_window = w.targets[B].context_window = 1000;
    w.targets[C].context_window = 4000;
    w.query.input = 900;
    w.facts[C].state = ROUTE_OPEN; /* in a worse state: the one that works */
    assert_int_equal(chosen(&w), 1);
    w.facts[B].state = ROUTE_OPEN;
    assert_int_equal(chosen(&w), 2);
    w.facts[C].state = ROUTE_DRAINED; /* never, whatever the size */
    assert_int_equal(chosen(&w), 1);
    arena_free(w.arena);
}

static void test_time_of_day(void **state)
{
    (void)state;
    struct world w;
    struct route_hours night = { .week = { .from = 22 * 60, .to = 6 * 60, .days = 1 << 4 } }; /* Friday night */
    struct route_hours office = { .week = { .from = 9 * 60, .to = 17 * 60, .days = 0x1f } };
    enum { DAY = 1440, FRI = 4 * DAY, SAT = 5 * DAY };
    const struct {
        const struct route_hours *hours;
        int minute;
        int expect;
    } cases[] = { { &night, FRI + 22 * 60 - 1, 12 }, { &night, FRI + 22 * 60, 1 }, { &night, SAT + 6 * 60 - 1, 1 },
                  { &night, SAT + 6 * 60, 12 },      { &night, FRI + 60, 12 },     { &night, SAT + 23 * 60, 12 },
                  { &office, 9 * 60 - 1, 12 },       { &office, 9 * 60, 1 },       { &office, FRI + 17 * 60 - 1, 1 },
                  { &office, FRI + 17 * 60, 12 },    { &office, SAT + 600, 12 } };

    world_make(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        w.targets[A].when = (struct route_when){ .hours = cases[i].hours, .hours_count = 1 };
        w.query.now_us = cases[i].minute;
        assert_int_equal(chosen(&w), cases[i].expect);
    }
    const struct route_hours weekend = { .week = { .to = 1440, .days = 0x60 } };
    w.targets[A].when.hours = &weekend;
    w.query.now_us = SAT;
    assert_int_equal(chosen(&w), 1);
    w.query.now_us = FRI;
    assert_int_equal(chosen(&w), 12);
    arena_free(w.arena);
}

static void test_order_by_cost_and_latency(void **state)
{
    (void)state;
    struct world w;
    world_make(&w);
    w.alias.order = ROUTE_BY_COST;
    w.facts[A].cost_nano = 30;
    w.facts[B].cost_nano = -1;
    w.facts[C].cost_nano = 20;
    assert_int_equal(chosen(&w), 20);
    w.facts[B].cost_nano = 20; /* equal: the one listed first */
    assert_int_equal(chosen(&w), 12);
    w.alias.order = ROUTE_BY_LATENCY;
    w.facts[A].wait_us = 900;
    w.facts[B].wait_us = 100;
    assert_int_equal(chosen(&w), 10);
    w.query.request_key = ROUTE_EXPLORE; /* one in ROUTE_EXPLORE goes to see what was never measured */
    assert_int_equal(chosen(&w), 21);
    w.facts[C].wait_us = 1000;
    assert_int_equal(chosen(&w), 10);
    w.facts[A].stale = true;
    assert_int_equal(chosen(&w), 1);
    arena_free(w.arena);
}

static void test_breakers_order_and_sticky(void **state)
{
    (void)state;
    struct world w;
    world_make(&w);
    w.facts[A].state = ROUTE_OPEN;
    assert_int_equal(chosen(&w), 12);
    w.facts[B].state = ROUTE_OPEN;
    assert_int_equal(chosen(&w), 20); /* an open one is still better than no second try */
    w.facts[C].state = ROUTE_DRAINED;
    assert_int_equal(chosen(&w), 1);
    w.facts[A].state = ROUTE_PROBE;
    w.facts[C].state = ROUTE_USABLE;
    assert_int_equal(chosen(&w), 2); /* due for a probe: as if it were usable */
    w.query.sticky = C;
    assert_int_equal(chosen(&w), 20);
    w.facts[C].state = ROUTE_OPEN; /* the cache is of no use there, except for a second try */
    assert_int_equal(chosen(&w), 2);
    arena_free(w.arena);
}

static void test_small_windows(void **state)
{
    (void)state;
    struct world w;
    world_make(&w);
    w.targets[A].context_window = 1000;
    w.targets[B].context_window = 8000;
    w.query.input = 900;
    w.query.output = 101; /* A holds the prompt, but not the answer that was asked for */
    assert_int_equal(chosen(&w), 12);
    w.query.output = 100;
    assert_int_equal(chosen(&w), 1);
    w.targets[C].lacks = ASK_STREAM;
    w.query.features = ASK_STREAM;
    w.query.output = 50000; /* nobody has that much room: the answer is cut instead */
    assert_int_equal(chosen(&w), 1);
    w.targets[A].context_window = w.targets[B].context_window = 0;
    w.targets[A].input_limit = 899;
    assert_int_equal(chosen(&w), 19);
    w.targets[B].input_limit = 899;
    assert_int_equal(chosen(&w), -1);
    assert_string_equal(w.no.code, "context_length_exceeded");
    arena_free(w.arena);
}

static void test_members(void **state)
{
    (void)state;
    struct world w;
    const struct slice members[] = { SLICE_LIT("logit_bias"), SLICE_LIT("seed") };
    world_make(&w);
    w.alias.members = members;
    w.alias.member_count = 2;
    w.targets[A].refuses = 2;
    w.query.members = 1;
    assert_int_equal(chosen(&w), 1);
    w.query.members = 3;
    assert_int_equal(chosen(&w), 12);
    w.targets[B].refuses = w.targets[C].refuses = 2;
    assert_int_equal(chosen(&w), -1);
    assert_string_equal(w.no.code, "unsupported_parameter");
    assert_non_null(strstr(arena_cstr(w.arena, w.no.message), "\"seed\""));
    arena_free(w.arena);
}

static void test_without_a_key(void **state)
{
    (void)state;
    struct world w;
    world_make(&w);
    w.facts[A].keyless = true;
    assert_int_equal(chosen(&w), 12);
    w.facts[B].keyless = w.facts[C].keyless = true;
    assert_int_equal(chosen(&w), -1);
    assert_int_equal(w.no.status, 503);
    assert_string_equal(w.no.code, "provider_credentials_unavailable");
    arena_free(w.arena);
}

enum { DRAWS = 20000 };

/* How many of DRAWS keys each target gets; the same keys every time. */
static void shares(struct world *w, int out[TARGETS], int who[DRAWS])
{
    memset(out, 0, TARGETS * sizeof *out);
    for (int i = 0; i < DRAWS; i++) {
        w->query.request_key = w->query.key = route_hash((uint64_t)i, SLICE_LIT("request"));
        who[i] = chosen(w) / 10;
        out[who[i]]++;
    }
}

/* Within four standard deviations of a binomial draw. */
static bool near(int got, double share)
{
    return fabs(got - DRAWS * share) < 4 * sqrt(DRAWS * share * (1 - share)) + 1;
}

static void test_weights_share_and_move_only_what_changes(void **state)
{
    (void)state;
    static int before[DRAWS], after[DRAWS];
    struct world w;
    int n[TARGETS];

    world_make(&w);
    w.alias.order = ROUTE_BY_WEIGHT;
    w.targets[A].weight = 60;
    w.targets[B].weight = 30;
    w.targets[C].weight = 10;
    shares(&w, n, before);
    assert_true(near(n[A], .6) && near(n[B], .3) && near(n[C], .1));
    w.targets[C].weight = 30; /* C takes from both; nobody moves between A and B */
    shares(&w, n, after);
    assert_true(near(n[A], .5) && near(n[B], .25) && near(n[C], .25));
    for (int i = 0; i < DRAWS; i++)
        assert_true(before[i] == after[i] || after[i] == C);
    w.targets[C].weight = 0;
    shares(&w, n, after);
    assert_int_equal(n[C], 0);
    w.facts[A].state = w.facts[B].state = ROUTE_OPEN;
    assert_int_equal(chosen(&w) / 10, C);
    arena_free(w.arena);
}

static void test_canary_takes_its_share_and_no_more(void **state)
{
    (void)state;
    static int first[DRAWS], wider[DRAWS];
    struct world w;
    int n[TARGETS];

    world_make(&w);
    w.targets[B].canary = true;
    w.targets[B].canary_share = 500; /* 5 % */
    shares(&w, n, first);
    assert_true(near(n[B], .05));
    assert_int_equal(n[A] + n[B], DRAWS);
    w.targets[B].canary_share = 2000;
    shares(&w, n, wider);
    assert_true(near(n[B], .2));
    for (int i = 0; i < DRAWS; i++)
        assert_true(first[i] != B || wider[i] == B); /* who is in stays in */
    w.targets[B].canary_share = 0;
    assert_int_equal(chosen(&w), 2); /* and it is nobody's fallback */
    w.facts[A].state = w.facts[C].state = ROUTE_DRAINED;
    assert_int_equal(chosen(&w), 19); /* but better than nothing */
    arena_free(w.arena);
}

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* Whatever the inputs: the same ones give the same answer, a choice is never a target with an obstacle, the two differ, and a usable
 * target is never passed over for an open or drained one. */
static void test_property(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    struct world w;

    world_make(&w);
    for (int round = 0; round < 20000; round++) {
        bool usable = false;
        w.alias.order = (enum route_order)(next(&x) % 4);
        w.query.features = next(&x) % 4;
        w.query.input = (int64_t)(next(&x) % 2000);
        w.query.request_key = w.query.key = next(&x);
        w.query.sticky = (int)(next(&x) % 4) - 1;
        for (int i = 0; i < TARGETS; i++) {
            w.targets[i].lacks = next(&x) % 4;
            w.targets[i].context_window = (int64_t)(next(&x) % 3) * 1000;
            w.targets[i].weight = next(&x) % 3;
            w.facts[i] = (struct route_fact){ .state = (enum route_state)(next(&x) % 4), .input = (int64_t)(next(&x) % 2001) - 1,
                                              .cost_nano = (int64_t)(next(&x) % 5) - 1, .wait_us = (int64_t)(next(&x) % 5) - 1 };
        }
        int got = chosen(&w);
        assert_int_equal(chosen(&w), got);
        for (int i = 0; i < TARGETS; i++) {
            int64_t input = w.facts[i].input >= 0 ? w.facts[i].input : w.query.input;
            bool can = !(w.targets[i].lacks & w.query.features) &&
                       (w.targets[i].context_window == 0 || input < w.targets[i].context_window);
            if (!can)
                assert_true(got < 0 || (got / 10 != i && got % 10 != i));
            usable = usable || (can && w.facts[i].state <= ROUTE_PROBE);
        }
        if (got >= 0) {
            assert_int_not_equal(got / 10, got % 10);
            assert_true(!usable || w.facts[got / 10].state <= ROUTE_PROBE);
            assert_true(got % 10 == 9 || w.facts[got % 10].state != ROUTE_DRAINED);
        }
        arena_reset(w.arena, 512);
    }
    arena_free(w.arena);
}

static void test_hash_never_changes(void **state)
{
    (void)state;
    /* Shares and canaries of running systems hang on these values. */
    assert_true(route_hash(0, SLICE_NONE) == UINT64_C(0x0));
    assert_true(route_hash(1, SLICE_LIT("a")) == UINT64_C(0x585e7098047bd1b9));
    assert_true(route_hash(1, SLICE_LIT("conversation-123456")) == UINT64_C(0x5e776ac717bbd17));
}

static void test_affinity(void **state)
{
    (void)state;
    struct affinity *a = affinity_new();
    uint64_t key = UINT64_C(0x123456789abcdef0);
    int64_t now = INT64_C(7000000000000);

    assert_int_equal(affinity_get(a, key, now), -1);
    affinity_put(a, key, 0, now);
    assert_int_equal(affinity_get(a, key, now), 0);
    affinity_put(a, key, 65535, now);
    assert_int_equal(affinity_get(a, key, now + AFFINITY_US - 10000000), 65535);
    assert_int_equal(affinity_get(a, key, now + AFFINITY_US + 10000000), -1);
    assert_int_equal(affinity_get(a, key ^ UINT64_C(1) << 40, now), -1); /* the same slot, another key */
    affinity_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions_on_people),
        cmocka_unit_test(test_conditions_on_the_request),
        cmocka_unit_test(test_the_second_try_of_a_prompt_that_nearly_fills_the_window),
        cmocka_unit_test(test_time_of_day),
        cmocka_unit_test(test_order_by_cost_and_latency),
        cmocka_unit_test(test_breakers_order_and_sticky),
        cmocka_unit_test(test_small_windows),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_without_a_key),
        cmocka_unit_test(test_weights_share_and_move_only_what_changes),
        cmocka_unit_test(test_canary_takes_its_share_and_no_more),
        cmocka_unit_test(test_property),
        cmocka_unit_test(test_hash_never_changes),
        cmocka_unit_test(test_affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
