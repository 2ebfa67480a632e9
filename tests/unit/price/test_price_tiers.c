/* Context tiers of overrides and contracts, at their borders; prices per image. */
#include "price/price.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define T(s) SLICE_LIT(s)

static const char catalogue[] =
    "{\"models\":[{\"provider\":\"openai\",\"model\":\"tiered\",\"cost\":{\"input\":2,\"output\":10,\"cache_read\":0.5,"
    "\"tiers\":[{\"tier\":{\"size\":272000},\"input\":5,\"output\":22.5}]}},"
    "{\"provider\":\"openai\",\"model\":\"flat\",\"cost\":{\"input\":2,\"output\":10,\"cache_read\":0.5}}]}";

/* 1,000 tokens and more cost twice; 5,000 and more name only the input. */
static const struct price_override_tier two[] = {
    { .above = 1000, .usd_per_million = { [PRICE_INPUT] = T("4"), [PRICE_OUTPUT] = T("20"), [PRICE_CACHED] = T("1") } },
    { .above = 5000, .usd_per_million = { [PRICE_INPUT] = T("8") } },
};

static struct price_builder *builder(const char *json)
{
    struct price_builder *b = price_builder_new();
    char why[200] = "";
    assert_non_null(b);
    if (price_import_json(b, slice_cstr(json), NULL, why, sizeof why) != PRICE_DONE)
        fail_msg("%s", why);
    return b;
}

static struct price_table *finish(struct price_builder *b)
{
    struct price_table *t = price_builder_finish(b);
    assert_non_null(t);
    price_builder_free(b);
    return t;
}

static int64_t cost(const struct model_price *m, struct token_usage u, int32_t bp)
{
    int64_t nano = -1;
    assert_int_equal(price_cost(m, &u, bp, &nano), PRICE_DONE);
    return nano;
}

static int64_t hold(const struct model_price *m, int64_t input, int64_t output, int64_t images)
{
    struct price_ask a = { .input = input, .output = output, .choices = 1, .images = images,
                           .kinds = 1u << PRICE_INPUT | 1u << PRICE_CACHED | 1u << PRICE_OUTPUT | 1u << PRICE_REASONING };
    int64_t nano = -1;
    assert_int_equal(price_hold(m, &a, &nano), PRICE_DONE);
    return nano;
}

static void override(struct price_builder *b, const struct price_override *o)
{
    char why[200] = "";
    if (price_builder_override(b, o, why, sizeof why) != PRICE_DONE)
        fail_msg("%s", why);
}

static void check_borders(const struct model_price *m)
{
    /* The whole request, and cached tokens count for the size. */
    assert_int_equal(cost(m, (struct token_usage){ .input = 1000, .output = 10 }, 0), 1000 * 2000 + 10 * 10000);
    assert_int_equal(cost(m, (struct token_usage){ .input = 1001, .output = 10 }, 0), 1001 * 4000 + 10 * 20000);
    assert_int_equal(cost(m, (struct token_usage){ .input = 300, .input_cached = 700, .output = 10 }, 0), 300 * 2000 + 700 * 500 + 10 * 10000);
    assert_int_equal(cost(m, (struct token_usage){ .input = 300, .input_cached = 701, .output = 10 }, 0), 300 * 4000 + 701 * 1000 + 10 * 20000);
    assert_int_equal(cost(m, (struct token_usage){ .input_cached = 1001 }, 0), 1001 * 1000);
    /* What a tier leaves out: output as in the base rates, cached input at the tier's input price. */
    assert_int_equal(cost(m, (struct token_usage){ .input = 1, .input_cached = 5000, .output = 10 }, 0), 5001 * 8000 + 10 * 10000);
    /* What is held reaches a tier with the same token. */
    assert_int_equal(hold(m, 1000, 10, 0), 1000 * 2000 + 10 * 10000);
    assert_int_equal(hold(m, 1001, 10, 0), 1001 * 4000 + 10 * 20000);
    assert_int_equal(hold(m, 5000, 10, 0), 5000 * 4000 + 10 * 20000);
    assert_int_equal(hold(m, 5001, 10, 0), 5001 * 8000 + 10 * 10000);
    assert_int_equal(hold(m, 5001, 5000, 0), 5001 * 4000 + 5000 * 20000); /* fewer tokens than bounded would be dearer */
}

static void overrides_have_tiers(void **state)
{
    (void)state;
    struct price_builder *b = builder(catalogue);
    override(b, &(struct price_override){ .provider = T("openai"), .model = T("flat"), .tiers = two, .tier_count = 2,
                                          .usd_per_million = { [PRICE_INPUT] = T("2"), [PRICE_OUTPUT] = T("10") } });
    override(b, &(struct price_override){ .provider = T("openai"), .model = T("tiered"), .tiers = two, .tier_count = 2 });
    struct price_table *t = finish(b);
    check_borders(price_lookup(t, T("openai"), T("flat"), NULL));
    check_borders(price_lookup(t, T("openai"), T("tiered"), NULL)); /* in place of the catalogue's */
    price_table_unref(t);
}

static void contracts_have_tiers_and_keep_them(void **state)
{
    const struct identity who = { .team = T("a") };
    char why[200] = "";
    (void)state;
    struct price_builder *b = builder(catalogue);
    struct price_override rates = { .provider = T("openai"), .model = T("flat"), .tiers = two, .tier_count = 2, .usd_per_image = T("0.25") };
    struct price_contract_text c = { .name = T("own"), .teams = { &T("a"), 1 }, .providers = { &T("openai"), 1 }, .models = { &T("flat"), 1 },
                                     .rates = &rates };
    assert_int_equal(price_builder_contract(b, &c, why, sizeof why), PRICE_DONE);
    struct price_table *t = finish(b);
    struct price_terms terms = price_terms_for(t, price_lookup(t, T("openai"), T("flat"), NULL), &who, T("openai"), T("flat"));
    check_borders(terms.billed);
    /* As the ledger keeps it. */
    b = builder(catalogue);
    assert_int_equal(price_builder_contract_terms(b, T("own"), terms.contract->terms), PRICE_DONE);
    struct price_table *again = finish(b);
    assert_string_equal(price_table_hash(again), price_table_hash(t));
    terms = price_terms_for(again, NULL, &who, T("openai"), T("flat"));
    check_borders(terms.billed);
    assert_int_equal(cost(terms.billed, (struct token_usage){ .input = 1, .images = 2 }, 0), 2000 + 2 * 250000000);
    price_table_unref(again);
    price_table_unref(t);
}

static void wrong_tiers(void **state)
{
    static const struct {
        struct price_override_tier tiers[5];
        size_t count;
        const char *word;
    } table[] = {
        { { { .above = 0, .usd_per_million = { T("1") } } }, 1, "above" },
        { { { .above = -5, .usd_per_million = { T("1") } } }, 1, "above" },
        { { { .above = 9, .usd_per_million = { T("1") } }, { .above = 9, .usd_per_million = { T("2") } } }, 2, "above" },
        { { { .above = 9 } }, 1, "names no rate" },
        { { { .above = 9, .usd_per_million = { T("cheap") } } }, 1, "'cheap'" },
        { { { .above = 1, .usd_per_million = { T("1") } }, { .above = 2, .usd_per_million = { T("1") } },
            { .above = 3, .usd_per_million = { T("1") } }, { .above = 4, .usd_per_million = { T("1") } },
            { .above = 5, .usd_per_million = { T("1") } } }, 5, "more than 4" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct price_builder *b = builder(catalogue);
        struct price_override o = { .provider = T("openai"), .model = T("flat"), .tiers = table[i].tiers, .tier_count = table[i].count };
        char why[200] = "";
        assert_int_equal(price_builder_override(b, &o, why, sizeof why), PRICE_EVALUE);
        if (strstr(why, table[i].word) == NULL)
            fail_msg("%zu: %s", i, why);
        price_builder_free(b);
    }
}

static const char images[] =
    "{\"seen\":{\"litellm_provider\":\"openai\",\"mode\":\"chat\",\"input_cost_per_token\":2e-06,\"output_cost_per_token\":1e-05,"
    "\"input_cost_per_image\":0.0025},"
    "\"drawn\":{\"litellm_provider\":\"openai\",\"mode\":\"chat\",\"input_cost_per_token\":2e-06,\"output_cost_per_token\":1e-05,"
    "\"output_cost_per_image\":0.039},"
    "\"dear\":{\"litellm_provider\":\"openai\",\"mode\":\"chat\",\"output_cost_per_image_token\":3e-05,\"input_cost_per_token\":2e-06,"
    "\"output_cost_per_token\":1e-05},"
    "\"odd\":{\"litellm_provider\":\"openai\",\"mode\":\"chat\",\"input_cost_per_image_token\":3e-06,\"input_cost_per_token\":2e-06,"
    "\"output_cost_per_token\":1e-05},"
    "\"both\":{\"litellm_provider\":\"openai\",\"mode\":\"chat\",\"input_cost_per_token\":2e-06,\"output_cost_per_token\":1e-05,"
    "\"output_cost_per_image\":0.039,\"output_cost_per_image_token\":3e-05},"
    "\"same\":{\"litellm_provider\":\"openai\",\"mode\":\"chat\",\"input_cost_per_image_token\":2e-06,\"input_cost_per_token\":2e-06,"
    "\"output_cost_per_image_token\":1e-05,\"output_cost_per_token\":1e-05,\"output_cost_per_image\":0}}";

static void prices_per_image(void **state)
{
    (void)state;
    struct price_table *t = finish(builder(images));
    const struct model_price *m = price_lookup(t, T("openai"), T("seen"), NULL);
    assert_int_equal(m->status, PRICE_OK);
    assert_true(m->image_pico == INT64_C(2500000000));
    assert_int_equal(hold(m, 100, 10, 0), 100 * 2000 + 10 * 10000);
    assert_int_equal(hold(m, 100, 10, 3), 100 * 2000 + 10 * 10000 + 3 * 2500000);
    assert_int_equal(cost(m, (struct token_usage){ .input = 90, .output = 5, .images = 3 }, 0), 90 * 2000 + 5 * 10000 + 3 * 2500000);
    assert_int_equal(cost(m, (struct token_usage){ .images = 1 }, 2500), 1875000); /* a discount takes its part of it */
    assert_int_equal(price_cost(m, &(struct token_usage){ .images = -1 }, 0, &(int64_t){ 0 }), PRICE_ERANGE);
    /* What nobody can count is not billed wrongly, but refused. */
    assert_int_equal(price_lookup(t, T("openai"), T("odd"), NULL)->status, PRICE_HALF);
    assert_int_equal(price_lookup(t, T("openai"), T("same"), NULL)->status, PRICE_OK);
    struct price_builder *b = builder(images);
    override(b, &(struct price_override){ .provider = T("openai"), .model = T("seen"), .usd_per_image = T("0") });
    override(b, &(struct price_override){ .provider = T("openai"), .model = T("drawn"), .usd_per_image = T("0.001"),
                                          .usd_per_million = { [PRICE_INPUT] = T("2"), [PRICE_OUTPUT] = T("30") } });
    struct price_table *after = finish(b);
    assert_int_equal(price_lookup(after, T("openai"), T("seen"), NULL)->image_pico, 0);
    assert_int_equal(price_lookup(after, T("openai"), T("drawn"), NULL)->status, PRICE_OK);
    assert_int_equal(price_lookup(after, T("openai"), T("drawn"), NULL)->image_pico, 1000000000);
    assert_string_not_equal(price_table_hash(t), price_table_hash(after));
    price_table_unref(after);
    price_table_unref(t);
}

static int64_t hold_drawing(const struct model_price *m, int64_t output, int64_t choices, int64_t drawn)
{
    struct price_ask a = { .input = 100, .output = output, .choices = choices, .images_out = drawn,
                           .kinds = 1u << PRICE_INPUT | 1u << PRICE_OUTPUT };
    int64_t nano = -1;
    assert_int_equal(price_hold(m, &a, &nano), PRICE_DONE);
    return nano;
}

static void images_answered(void **state)
{
    (void)state;
    struct price_table *t = finish(builder(images));
    const struct model_price *piece = price_lookup(t, T("openai"), T("drawn"), NULL), *token = price_lookup(t, T("openai"), T("dear"), NULL),
                             *both = price_lookup(t, T("openai"), T("both"), NULL), *same_price = price_lookup(t, T("openai"), T("same"), NULL);
    const int64_t image = 39000000; /* nano-dollars */

    assert_int_equal(piece->status, PRICE_OK);
    assert_int_equal(token->status, PRICE_OK);
    assert_true(piece->image_out_pico == image * 1000 && (piece->published & PRICE_SAYS_IMAGE_OUT) && !(piece->published & PRICE_SAYS_IMAGE_TOKEN));
    assert_true(token->image_token_pico == 30000000 && (token->published & PRICE_SAYS_IMAGE_TOKEN) && !(token->published & PRICE_SAYS_IMAGE_OUT));
    assert_false(same_price->published & PRICE_SAYS_IMAGE_OUT); /* 0 in a catalogue: nobody filled it in */

    /* Nothing without images. */
    assert_int_equal(hold_drawing(piece, 50, 1, 0), 100 * 2000 + 50 * 10000);
    assert_int_equal(hold_drawing(token, 50, 1, 0), 100 * 2000 + 50 * 10000);
    /* By the piece, by the token, and the dearer of both where nobody knows yet. */
    assert_int_equal(hold_drawing(piece, 50, 3, 3), 100 * 2000 + 150 * 10000 + 3 * image);
    assert_int_equal(hold_drawing(token, 50, 3, 3), 100 * 2000 + 150 * 30000);
    assert_int_equal(hold_drawing(both, 50, 3, 3), 100 * 2000 + 150 * 30000 + 3 * image);

    /* An image's own tokens are not billed beside its price. */
    assert_int_equal(cost(piece, (struct token_usage){ .input = 90, .output = 50, .images_out = 1 }, 0), 90 * 2000 + 50 * 10000 + image);
    assert_int_equal(cost(piece, (struct token_usage){ .input = 90, .output = 50, .output_image = 40, .images_out = 1 }, 0),
                     90 * 2000 + 10 * 10000 + image);
    assert_int_equal(cost(token, (struct token_usage){ .input = 90, .output = 50, .output_image = 40, .images_out = 1 }, 0),
                     90 * 2000 + 10 * 10000 + 40 * 30000);
    assert_int_equal(cost(both, (struct token_usage){ .input = 90, .output = 50, .output_image = 40, .images_out = 1 }, 0),
                     90 * 2000 + 10 * 10000 + 40 * 30000);
    assert_int_equal(cost(both, (struct token_usage){ .input = 90, .output = 50, .images_out = 1 }, 0), 90 * 2000 + 50 * 10000 + image);
    assert_int_equal(cost(piece, (struct token_usage){ .images_out = 1 }, 2500), image * 3 / 4);
    assert_int_equal(price_cost(piece, &(struct token_usage){ .images_out = -1 }, 0, &(int64_t){ 0 }), PRICE_ERANGE);
    assert_int_equal(price_cost(piece, &(struct token_usage){ .output = 1, .output_image = 2 }, 0, &(int64_t){ 0 }), PRICE_ERANGE);

    struct price_builder *b = builder(images);
    override(b, &(struct price_override){ .provider = T("openai"), .model = T("seen"), .usd_per_image_out = T("0.04"),
                                          .usd_per_million_image_tokens = T("30") });
    override(b, &(struct price_override){ .provider = T("openai"), .model = T("drawn"), .usd_per_image_out = T("0") });
    struct price_table *after = finish(b);
    const struct model_price *seen = price_lookup(after, T("openai"), T("seen"), NULL), *drawn = price_lookup(after, T("openai"), T("drawn"), NULL);
    assert_true(seen->image_out_pico == INT64_C(40000000000) && seen->image_token_pico == 30000000);
    assert_true(drawn->image_out_pico == 0 && (drawn->published & PRICE_SAYS_IMAGE_OUT)); /* an override is believed */
    assert_string_not_equal(price_table_hash(t), price_table_hash(after));
    price_table_unref(after);
    price_table_unref(t);
}

/* Every kind of image price is the contract's own, also when it is read back. */
static void contracts_have_prices_of_images(void **state)
{
    struct price_scope providers = { (const struct slice[]){ T("openai") }, 1 }, models = { (const struct slice[]){ T("seen") }, 1 };
    struct price_override rates = { .provider = T("openai"), .model = T("seen"), .usd_per_image = T("0.001"), .usd_per_image_out = T("0.03"),
                                    .usd_per_million_image_tokens = T("25") };
    struct price_contract_text text = { .name = T("c"), .providers = providers, .models = models, .rates = &rates };
    struct price_builder *b = builder(images);
    char why[256];

    (void)state;
    assert_int_equal(price_builder_contract(b, &text, why, sizeof why), PRICE_DONE);
    struct price_table *t = finish(b);
    b = builder(images);
    assert_int_equal(price_builder_contract_terms(b, T("c"), price_contract_at(t, 0)->terms), PRICE_DONE);
    struct price_table *again = finish(b);
    const struct model_price *own = price_contract_at(again, 0)->own;
    assert_true(own->image_pico == 1000000000 && own->image_out_pico == INT64_C(30000000000) && own->image_token_pico == 25000000);
    assert_string_equal(price_table_hash(t), price_table_hash(again));
    price_table_unref(t);
    price_table_unref(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(overrides_have_tiers), cmocka_unit_test(contracts_have_tiers_and_keep_them),
                                        cmocka_unit_test(wrong_tiers), cmocka_unit_test(prices_per_image), cmocka_unit_test(images_answered),
                                        cmocka_unit_test(contracts_have_prices_of_images) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
