#include "tokens/learn.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define PROVIDER SLICE_LIT("anthropic")
#define MODEL SLICE_LIT("claude-x")

static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static struct token_basis basis(int64_t counted, enum learn_shape shape)
{
    unsigned size = LEARN_SIZES - 1;
    while (counted < learn_size_from(size))
        size--;
    return (struct token_basis){ .counted = counted, .shape = (uint8_t)shape, .size = (uint8_t)size };
}

static struct token_estimate built_in(int64_t counted, int64_t bound_ppm)
{
    return (struct token_estimate){ .input = counted, .input_bound = counted * bound_ppm / 1000000 + 64, .exactness = ESTIMATED_TOKENS };
}

static struct token_estimate learned(struct token_learner *l, int64_t counted, int64_t bound_ppm)
{
    struct token_basis b = basis(counted, LEARN_PLAIN);
    struct token_estimate e = built_in(counted, bound_ppm);
    token_learned_apply(l, PROVIDER, MODEL, &b, &e);
    assert_true(e.input_bound >= e.input);
    return e;
}

/* Normal-like noise with a standard deviation of `sigma`; one in a hundred is twice as far out. */
static int64_t bell(uint64_t *seed, int64_t sigma_ppm)
{
    int64_t sum = -6000;
    for (int i = 0; i < 12; i++)
        sum += (int64_t)(next(seed) % 1001);
    if (next(seed) % 100 == 0)
        sum *= 2;
    return sum * sigma_ppm / 1000;
}

static int64_t flat(uint64_t *seed, int64_t width_ppm)
{
    return (int64_t)(next(seed) % (uint64_t)(2 * width_ppm + 1)) - width_ppm;
}

struct provider {
    int64_t factor_ppm, noise_ppm;
    bool bounded;          /* the noise stays within the width */
    int64_t bound_ppm;     /* what the built-in rules assume */
};

/* Sends requests of 1 to 20,000 tokens, learning from each. Returns the ones above their bound among the last `measured`. */
static int64_t exceeding(const struct provider *p, uint64_t seed, int64_t warm_up, int64_t measured)
{
    struct token_learner *l = token_learner_new();
    int64_t above = 0;
    assert_non_null(l);
    for (int64_t i = 0; i < warm_up + measured; i++) {
        int64_t counted = 1 + (int64_t)(next(&seed) % (next(&seed) % 4 == 0 ? 20000 : next(&seed) % 2 ? 4000 : 500));
        int64_t noise = p->bounded ? flat(&seed, p->noise_ppm) : bell(&seed, p->noise_ppm);
        int64_t ppm = p->factor_ppm + p->factor_ppm * noise / 1000000;
        int64_t reported = (counted * ppm + 999999) / 1000000;
        if (i >= warm_up)
            above += reported > learned(l, counted, p->bound_ppm).input_bound;
        struct token_basis b = basis(counted, LEARN_PLAIN);
        token_learn(l, PROVIDER, MODEL, &b, reported, i);
    }
    token_learner_free(l);
    return above;
}

/* The highest and the lowest ratio lie less than the margin apart: no request may exceed its bound, ever. */
static void test_noise_within_the_margin_never_exceeds(void **state)
{
    (void)state;
    for (int64_t factor = 600000; factor <= 2000000; factor += 200000)
        for (uint64_t seed = 1; seed <= 5; seed++) {
            struct provider p = { .factor_ppm = factor, .noise_ppm = 24000, .bounded = true, .bound_ppm = 2200000 };
            assert_int_equal(exceeding(&p, seed * 7919, 0, 30000), 0);
        }
}

static void test_wide_noise_exceeds_in_less_than_a_thousandth(void **state)
{
    (void)state;
    for (int64_t factor = 700000; factor <= 1500000; factor += 400000)
        for (uint64_t seed = 1; seed <= 5; seed++) {
            struct provider p = { .factor_ppm = factor, .noise_ppm = 40000, .bound_ppm = 2200000 };
            assert_true(exceeding(&p, seed * 104729, 10000, 50000) < 50);
        }
}

/* A model that needs more than the built-in rules assume. */
static void test_a_bound_that_was_too_low_is_raised(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct provider p = { .factor_ppm = 3500000, .noise_ppm = 20000, .bound_ppm = 1400000 };
        assert_true(exceeding(&p, seed * 15485863, 10000, 50000) < 50);
    }
}

static void teach(struct token_learner *l, enum learn_shape shape, int64_t counted, int64_t reported, int times)
{
    struct token_basis b = basis(counted, shape);
    for (int i = 0; i < times; i++)
        token_learn(l, PROVIDER, MODEL, &b, reported, 1000 + i);
}

static void test_nothing_is_lowered_before_a_thousand_observations(void **state)
{
    struct token_learner *l = token_learner_new();
    (void)state;
    teach(l, LEARN_PLAIN, 1000, 1100, LEARN_LOWER_MIN - 1);
    struct token_estimate e = learned(l, 1000, 2200000);
    assert_int_equal(e.input_bound, 2264);
    assert_in_range(e.input, 1080, 1120); /* the median counts already */
    teach(l, LEARN_PLAIN, 1000, 1100, 1);
    e = learned(l, 1000, 2200000);
    assert_in_range(e.input_bound, 1155, 1190); /* 1.1, one step, 5 %, 2 tokens */
    /* Other sizes and shapes have proved nothing. */
    assert_int_equal(learned(l, 100, 2200000).input_bound, 284);
    struct token_basis tools = basis(1000, LEARN_TOOLS);
    e = built_in(1000, 2200000);
    token_learned_apply(l, PROVIDER, MODEL, &tools, &e);
    assert_int_equal(e.input_bound, 2264);
    token_learner_free(l);
}

/* The one request in thousands that needed more decides how far a bound is lowered. */
static void test_one_high_observation_keeps_the_bound_up(void **state)
{
    struct token_learner *l = token_learner_new();
    (void)state;
    teach(l, LEARN_PLAIN, 1000, 1000, 5000);
    teach(l, LEARN_PLAIN, 1000, 1900, 1);
    assert_true(learned(l, 1000, 2200000).input_bound >= 1900);
    assert_true(learned(l, 1000, 2200000).input_bound < 2264);
    teach(l, LEARN_PLAIN, 1000, 90000, 1); /* one of thousands does not raise it, but ends the lowering */
    assert_int_equal(learned(l, 1000, 2200000).input_bound, 2264);
    token_learner_free(l);
}

static void test_exact_counts_are_not_learned_away(void **state)
{
    struct token_learner *l = token_learner_new();
    struct token_class c;
    size_t cursor = 0;
    (void)state;
    teach(l, LEARN_EXACT, 100, 100, 90);
    teach(l, LEARN_EXACT, 100, 200, 10);
    struct token_basis b = basis(100, LEARN_EXACT);
    struct token_estimate e = { .input = 100, .input_bound = 100, .exactness = EXACT_TOKENS };
    teach(l, LEARN_EXACT, 100, 150, 2000);
    token_learned_apply(l, PROVIDER, MODEL, &b, &e);
    assert_int_equal(e.input, 100);
    assert_int_equal(e.input_bound, 100);
    assert_true(token_learner_next(l, &cursor, false, &c));
    assert_int_equal(c.agreed, 90);
    assert_int_equal(c.observations, 2100);
    assert_int_equal(c.lower_ppm, 0);
    assert_int_equal(c.raise_ppm, 0);
    token_learner_free(l);
}

static void test_basis_leaves_out_what_is_not_text(void **state)
{
    struct ask_part parts[] = { { .kind = PART_TEXT, .place = IN_CONTENT }, { .kind = PART_TEXT, .place = IN_TOOL_RESULT },
                                { .kind = PART_JSON, .place = IN_TOOLS }, { .kind = PART_IMAGE, .place = IN_CONTENT } };
    struct ask ask = { .part_chunks = (const struct ask_part *const[]){ parts }, .part_count = 1 };
    struct token_estimate e = built_in(700, 2000000);
    (void)state;
    assert_int_equal(token_basis_of(&ask, &e).counted, 700);
    assert_int_equal(token_basis_of(&ask, &e).shape, LEARN_PLAIN);
    assert_int_equal(token_basis_of(&ask, &e).size, 2);
    ask.part_count = 3;
    assert_int_equal(token_basis_of(&ask, &e).shape, LEARN_TURNS);
    ask.part_count = 4;
    assert_int_equal(token_basis_of(&ask, &e).counted, 0);
    ask.part_count = 1;
    ask.had_invalid_text = true;
    assert_int_equal(token_basis_of(&ask, &e).counted, 0);
    ask.had_invalid_text = false;
    e.exactness = DOCUMENTED_TOKENS;
    assert_int_equal(token_basis_of(&ask, &e).shape, LEARN_EXACT);
    parts[0].place = IN_PREDICTION;
    assert_int_equal(token_basis_of(&ask, &e).counted, 0);
}

static void test_kept_and_loaded_it_is_the_same(void **state)
{
    struct token_learner *l = token_learner_new(), *again = token_learner_new();
    struct token_class c, d;
    char *text = malloc(LEARN_TEXT);
    uint64_t seed = 99;
    size_t cursor = 0, n = 0;
    (void)state;
    for (int i = 0; i < 5000; i++)
        teach(l, LEARN_PLAIN, 1 + (int64_t)(next(&seed) % 9000), 1 + (int64_t)(next(&seed) % 9000), 1);
    while (token_learner_next(l, &cursor, true, &c)) {
        size_t size = token_bins_print(c.bins, text, LEARN_TEXT);
        d = c;
        memset(d.bins, 0xff, sizeof d.bins);
        assert_true(token_bins_read(slice_make(text, size), d.bins));
        assert_memory_equal(d.bins, c.bins, sizeof c.bins);
        assert_true(token_learner_load(again, &d));
        n++;
    }
    assert_int_equal(n, LEARN_SIZES);
    for (int64_t counted = 1; counted < 9000; counted += 37)
        assert_int_equal(learned(l, counted, 2200000).input_bound, learned(again, counted, 2200000).input_bound);
    cursor = 0;
    assert_false(token_learner_next(l, &cursor, true, &c)); /* taken, unchanged since */
    token_learner_again(l, PROVIDER, MODEL, LEARN_PLAIN, 1);
    cursor = 0;
    assert_true(token_learner_next(l, &cursor, true, &c));
    assert_int_equal(c.size, 1);
    free(text);
    token_learner_free(l);
    token_learner_free(again);
}

static void test_damaged_histograms_are_refused(void **state)
{
    static const char *const bad[] = { "1", "1:", ":1", "1:0", "256:1", "2:1 1:1", "1:1 1:1", "1:1 ", " 1:1", "1:1  2:1", "1:99999999999", "x", "1:1,2:1", "-1:1" };
    uint32_t bins[LEARN_BINS];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(token_bins_read(slice_cstr(bad[i]), bins));
    assert_true(token_bins_read(SLICE_LIT(""), bins));
    assert_true(token_bins_read(SLICE_LIT("0:7 255:1"), bins));
    assert_int_equal(bins[0], 7);
    assert_int_equal(bins[255], 1);
}

static void test_memory_is_bounded_and_old_observations_fade(void **state)
{
    struct token_learner *l = token_learner_new();
    struct token_class c = { .provider = PROVIDER, .model = MODEL, .shape = LEARN_SHAPES };
    struct token_basis b = basis(100, LEARN_PLAIN);
    char name[32];
    size_t cursor = 0;
    (void)state;
    teach(l, LEARN_PLAIN, 1000, 2000, 1);
    teach(l, LEARN_PLAIN, 1000, 1000, 200000);
    assert_true(learned(l, 1000, 2200000).input_bound < 1100); /* the high one is long ago */
    for (int i = 0; i < LEARN_MODELS * 2; i++) {
        snprintf(name, sizeof name, "model-%d", i);
        token_learn(l, PROVIDER, slice_cstr(name), &b, 100, 1);
    }
    size_t n = 0;
    while (token_learner_next(l, &cursor, false, &c)) {
        assert_true(c.observations < 65536);
        n++;
    }
    assert_int_equal(n, LEARN_MODELS);
    c.shape = LEARN_SHAPES;
    assert_false(token_learner_load(l, &c));
    /* Figures that cannot be are not believed. */
    token_learn(l, PROVIDER, MODEL, &b, 0, 1);
    token_learn(l, PROVIDER, MODEL, &b, -5, 1);
    token_learn(l, PROVIDER, MODEL, &b, INT64_MAX, 1);
    assert_int_equal(learned(l, 100, 2200000).input_bound, 284);
    token_learner_free(l);
}

static void *teacher(void *user)
{
    for (int i = 0; i < 20000; i++) {
        teach(user, LEARN_PLAIN, 100 + i % 4000, 130 + i % 4000, 1);
        (void)learned(user, 100 + i % 4000, 2200000);
    }
    return NULL;
}

static void test_threads_lose_no_observation(void **state)
{
    struct token_learner *l = token_learner_new();
    struct token_class c;
    pthread_t threads[3];
    size_t cursor = 0;
    int64_t total = 0;
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, teacher, l), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    while (token_learner_next(l, &cursor, false, &c))
        total += c.observations;
    assert_int_equal(total, 60000);
    token_learner_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise_within_the_margin_never_exceeds),
        cmocka_unit_test(test_wide_noise_exceeds_in_less_than_a_thousandth),
        cmocka_unit_test(test_a_bound_that_was_too_low_is_raised),
        cmocka_unit_test(test_nothing_is_lowered_before_a_thousand_observations),
        cmocka_unit_test(test_one_high_observation_keeps_the_bound_up),
        cmocka_unit_test(test_exact_counts_are_not_learned_away),
        cmocka_unit_test(test_basis_leaves_out_what_is_not_text),
        cmocka_unit_test(test_kept_and_loaded_it_is_the_same),
        cmocka_unit_test(test_damaged_histograms_are_refused),
        cmocka_unit_test(test_memory_is_bounded_and_old_observations_fade),
        cmocka_unit_test(test_threads_lose_no_observation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
