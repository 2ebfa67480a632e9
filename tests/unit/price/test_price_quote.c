/* Holds and costs: literal prices, literal results. */
#include "price/price.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct price_table *table_of(const char *json)
{
    struct price_builder *b = price_builder_new();
    struct price_import_report report;
    char why[200] = "";
    assert_non_null(b);
    int rc = price_import_json(b, slice_cstr(json), &report, why, sizeof why);
    if (rc != PRICE_DONE)
        fail_msg("%s", why);
    struct price_table *t = price_builder_finish(b);
    assert_non_null(t);
    price_builder_free(b);
    return t;
}

static const char catalogue[] =
    "{\"models\":["
    "{\"provider\":\"openai\",\"model\":\"gpt-4o\",\"cost\":{\"input\":2.5,\"output\":10,\"cache_read\":1.25},\"limit\":{\"context\":128000,\"output\":16384}},"
    "{\"provider\":\"openai\",\"model\":\"gpt-4o-2024-05-13\",\"cost\":{\"input\":5,\"output\":15}},"
    "{\"provider\":\"openai\",\"model\":\"gpt-3.5\",\"cost\":{\"input\":0.5,\"output\":1.5,\"cache_read\":0}},"
    "{\"provider\":\"openai\",\"model\":\"gpt-5.4\",\"cost\":{\"input\":2.5,\"output\":15.0,\"cache_read\":0.25,"
    "\"tiers\":[{\"tier\":{\"size\":272000},\"input\":5.0,\"output\":22.5,\"cache_read\":0.5}]}},"
    "{\"provider\":\"anthropic\",\"model\":\"claude\",\"cost\":{\"input\":3,\"output\":15,\"cache_read\":0.3,\"cache_write\":3.75}},"
    "{\"provider\":\"openai\",\"model\":\"image\",\"limit\":{\"context\":0}},"
    "{\"provider\":\"nvidia\",\"model\":\"free\",\"cost\":{\"input\":0,\"output\":0}},"
    "{\"provider\":\"azure\",\"model\":\"router\",\"cost\":{\"input\":0.14,\"output\":0}},"
    "{\"provider\":\"perplexity\",\"model\":\"deep\",\"cost\":{\"input\":2,\"output\":8,\"citation\":2}},"
    "{\"provider\":\"openai\",\"model\":\"text-embedding-3-small\",\"cost\":{\"input\":0.02,\"output\":0}}]}";

static const struct model_price *get(const struct price_table *t, const char *provider, const char *model)
{
    const struct model_price *m = price_lookup(t, slice_cstr(provider), slice_cstr(model), NULL);
    assert_non_null(m);
    return m;
}

static int64_t cost(const struct model_price *m, struct token_usage u)
{
    int64_t nano = -1;
    assert_int_equal(price_cost(m, &u, 0, &nano), PRICE_DONE);
    return nano;
}

static int64_t hold(const struct model_price *m, struct price_ask a)
{
    int64_t nano = -1;
    assert_int_equal(price_hold(m, &a, &nano), PRICE_DONE);
    return nano;
}

static void costs(void **state)
{
    (void)state;
    struct price_table *t = table_of(catalogue);
    const struct model_price *m = get(t, "openai", "gpt-4o");
    assert_int_equal(cost(m, (struct token_usage){ .input = 1000, .output = 500 }), 7500000); /* $0.0075 */
    assert_int_equal(cost(m, (struct token_usage){ .input = 500, .input_cached = 500, .output = 500 }), 6875000);
    assert_int_equal(cost(m, (struct token_usage){ .output_reasoning = 1 }), 10000);
    assert_int_equal(cost(m, (struct token_usage){ 0 }), 0);
    /* Not published (0 beside a price): the full input price. */
    assert_int_equal(cost(get(t, "openai", "gpt-3.5"), (struct token_usage){ .input_cached = 1000 }), 500000);
    /* Cache writes: published, and 1.6 times for the hour. */
    m = get(t, "anthropic", "claude");
    assert_int_equal(cost(m, (struct token_usage){ .input_cache_write = 100 }), 375000);
    assert_int_equal(cost(m, (struct token_usage){ .input_cache_write_1h = 100 }), 600000);
    price_table_unref(t);
}

static void rounds_once(void **state)
{
    (void)state;
    struct price_table *t = table_of("{\"models\":[{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":0.0001,\"output\":0.0003}}]}");
    const struct model_price *m = get(t, "p", "m"); /* 100 and 300 pico-dollars a token */
    assert_int_equal(cost(m, (struct token_usage){ .input = 4 }), 0);
    assert_int_equal(cost(m, (struct token_usage){ .input = 5 }), 1);              /* 500: half goes up */
    assert_int_equal(cost(m, (struct token_usage){ .input = 4, .output = 1 }), 1); /* 700: not 400 -> 0 and 300 -> 0 */
    assert_int_equal(hold(m, (struct price_ask){ .input = 1, .choices = 1 }), 1);  /* holds go up */
    int64_t nano;
    assert_int_equal(price_cost(m, &(struct token_usage){ .input = 1000 }, 2500, &nano), PRICE_DONE);
    assert_int_equal(nano, 75);
    assert_int_equal(price_cost(m, &(struct token_usage){ .input = 1000 }, 10000, &nano), PRICE_DONE);
    assert_int_equal(nano, 0);
    price_table_unref(t);
}

static void tier_reprices_everything(void **state)
{
    (void)state;
    struct price_table *t = table_of(catalogue);
    const struct model_price *m = get(t, "openai", "gpt-5.4");
    assert_int_equal(m->tier_count, 1);
    assert_int_equal(cost(m, (struct token_usage){ .input = 272000 }), 680000000);
    assert_int_equal(cost(m, (struct token_usage){ .input = 272001 }), 1360005000);
    assert_int_equal(cost(m, (struct token_usage){ .input = 1, .input_cached = 272000, .output = 1 }), 136027500);
    /* A cache write has no price in the tier: its input price. */
    assert_int_equal(cost(m, (struct token_usage){ .input_cache_write = 300000 }), 1500000000);
    assert_int_equal(hold(m, (struct price_ask){ .input = 272000, .output = 100, .choices = 1 }), 681500000);
    assert_int_equal(hold(m, (struct price_ask){ .input = 272001, .output = 100, .choices = 1 }), 1362255000);
    price_table_unref(t);
}

static void kinds_of_a_hold(void **state)
{
    (void)state;
    struct price_table *t = table_of(catalogue);
    const struct model_price *m = get(t, "anthropic", "claude");
    struct price_ask a = { .input = 100, .output = 10, .choices = 2, .kinds = 1u << PRICE_INPUT };
    assert_int_equal(hold(m, a), 300000 + 300000);
    a.kinds = 1u << PRICE_CACHE_WRITE;
    assert_int_equal(hold(m, a), 375000 + 300000);
    a.kinds = 0;
    assert_int_equal(hold(m, a), 600000 + 300000);
    a.discount_bp = 1000;
    assert_int_equal(hold(m, a), 810000);
    price_table_unref(t);
}

static void unpriced(void **state)
{
    (void)state;
    static const struct {
        const char *provider, *model;
        enum price_status status;
    } cases[] = {
        { "openai", "image", PRICE_NONE }, { "nvidia", "free", PRICE_ZERO }, { "azure", "router", PRICE_HALF },
        { "perplexity", "deep", PRICE_HALF }
    };
    struct price_table *t = table_of(catalogue);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct model_price *m = get(t, cases[i].provider, cases[i].model);
        int64_t nano = 77;
        assert_int_equal(m->status, cases[i].status);
        assert_int_equal(price_cost(m, &(struct token_usage){ .input = 1 }, 0, &nano), PRICE_EUNPRICED);
        assert_int_equal(price_hold(m, &(struct price_ask){ .choices = 1 }, &nano), PRICE_EUNPRICED);
        assert_int_equal(nano, 77);
    }
    assert_int_equal(cost(get(t, "openai", "text-embedding-3-small"), (struct token_usage){ .input = 1000 }), 20000);
    price_table_unref(t);
}

static void dated_names(void **state)
{
    (void)state;
    struct price_table *t = table_of(catalogue);
    enum price_match match;
    const struct model_price *m = price_lookup(t, SLICE_LIT("openai"), SLICE_LIT("gpt-4o-2024-05-13"), &match);
    assert_int_equal(match, PRICE_MATCH_EXACT);
    assert_int_equal(m->base.pico[PRICE_INPUT], 5000000);
    m = price_lookup(t, SLICE_LIT("openai"), SLICE_LIT("gpt-4o-2024-11-20"), &match);
    assert_int_equal(match, PRICE_MATCH_SNAPSHOT);
    assert_int_equal(m->base.pico[PRICE_INPUT], 2500000);
    assert_non_null(price_lookup(t, SLICE_LIT("anthropic"), SLICE_LIT("claude-20250929"), &match));
    assert_non_null(price_lookup(t, SLICE_LIT("anthropic"), SLICE_LIT("claude@20250929"), &match));
    assert_null(price_lookup(t, SLICE_LIT("openai"), SLICE_LIT("gpt-4o-mini"), &match));
    assert_int_equal(match, PRICE_MATCH_NONE);
    assert_null(price_lookup(t, SLICE_LIT("openai"), SLICE_LIT("-2024-11-20"), &match));
    assert_null(price_lookup(t, SLICE_LIT("azure"), SLICE_LIT("gpt-4o"), &match));
    assert_null(price_lookup(t, SLICE_NONE, SLICE_NONE, &match));
    price_table_unref(t);
}

static void out_of_range(void **state)
{
    (void)state;
    struct price_table *t = table_of(catalogue);
    const struct model_price *m = get(t, "openai", "gpt-4o");
    int64_t nano = 7;
    assert_int_equal(price_cost(m, &(struct token_usage){ .input = -1 }, 0, &nano), PRICE_ERANGE);
    assert_int_equal(price_cost(m, &(struct token_usage){ .input = INT64_MAX, .output = INT64_MAX }, 0, &nano), PRICE_ERANGE);
    assert_int_equal(price_cost(m, &(struct token_usage){ .input = 1 }, 10001, &nano), PRICE_ERANGE);
    const struct price_ask bad[] = {
        { .input = -1, .choices = 1 }, { .output = -1, .choices = 1 }, { .choices = 0 }, { .choices = 1, .discount_bp = -1 },
        { .input = INT64_MAX, .choices = 1 }, { .output = INT64_MAX, .choices = 2 }
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(price_hold(m, &bad[i], &nano), PRICE_ERANGE);
    assert_int_equal(nano, 7);
    price_table_unref(t);
}

static void affordable(void **state)
{
    (void)state;
    struct price_table *t = table_of(catalogue);
    const struct model_price *m = get(t, "openai", "gpt-4o");
    struct price_ask a = { .input = 100, .output = 1000, .choices = 1, .kinds = 1u << PRICE_INPUT };
    int64_t out = -5;
    assert_int_equal(price_affordable(m, &a, 250000 + 10 * 10000, &out), PRICE_DONE);
    assert_int_equal(out, 10);
    assert_int_equal(price_affordable(m, &a, 250000 + 10 * 10000 - 1, &out), PRICE_DONE);
    assert_int_equal(out, 9);
    assert_int_equal(price_affordable(m, &a, 249999, &out), PRICE_DONE);
    assert_int_equal(out, -1);
    assert_int_equal(price_affordable(m, &a, INT64_MAX, &out), PRICE_DONE);
    assert_int_equal(out, 1000);
    a.output = INT64_MAX; /* "no ceiling": the money is the ceiling */
    assert_int_equal(price_affordable(m, &a, 1250000, &out), PRICE_DONE);
    assert_int_equal(out, 100);
    price_table_unref(t);
}

/* For every model of the real catalogue: no usage within the bounds costs more than was held. */
static void a_hold_covers_any_usage(void **state)
{
    (void)state;
    struct price_builder *b = price_builder_new();
    char why[200] = "";
    assert_int_equal(price_import_json(b, price_builtin_json(), NULL, why, sizeof why), PRICE_DONE);
    struct price_table *t = price_builder_finish(b);
    price_builder_free(b);
    unsigned seed = 1;
    size_t checked = 0;
    for (size_t i = 0; i < price_table_count(t); i++) {
        const struct model_price *m = price_table_at(t, i);
        for (int round = 0; m->status == PRICE_OK && round < 60; round++, checked++) {
            int64_t in = rand_r(&seed) % 600000, out = rand_r(&seed) % 50000, n = 1 + rand_r(&seed) % 4, bp = rand_r(&seed) % 10001;
            int64_t left_in = in - (round % 3 ? rand_r(&seed) % (in + 1) : 0), left_out = out * n, paid = 0, held = 0;
            int64_t split[PRICE_KINDS] = { 0 };
            for (int k = 0; k < PRICE_KINDS; k++) {
                bool is_out = k == PRICE_OUTPUT || k == PRICE_REASONING || k == PRICE_AUDIO_OUT;
                int64_t *left = is_out ? &left_out : &left_in;
                split[k] = rand_r(&seed) % (*left + 1);
                *left -= split[k];
            }
            struct token_usage u = { split[0] + left_in, split[1], split[2], split[3], split[4] + left_out, split[5], split[6], split[7], in % 3, in % 2,
                                     in % 2 ? split[4] : 0, 0 };
            assert_int_equal(price_hold(m, &(struct price_ask){ in, out, n, 0, (int32_t)bp, in % 3, in % 2 }, &held), PRICE_DONE);
            assert_int_equal(price_cost(m, &u, (int32_t)bp, &paid), PRICE_DONE);
            if (paid > held)
                fail_msg("%.*s: paid %lld held %lld", SLICE_FMT(m->model), (long long)paid, (long long)held);
        }
    }
    assert_true(checked > 10000);
    price_table_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costs), cmocka_unit_test(rounds_once), cmocka_unit_test(tier_reprices_everything),
        cmocka_unit_test(kinds_of_a_hold), cmocka_unit_test(unpriced), cmocka_unit_test(dated_names), cmocka_unit_test(out_of_range),
        cmocka_unit_test(affordable), cmocka_unit_test(a_hold_covers_any_usage)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
