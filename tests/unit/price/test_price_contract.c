/* Contracts: who pays what instead of the list price, to the nano-dollar, and that a version names them. */
#include "price/price.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char catalogue[] =
    "{\"models\":[{\"provider\":\"openai\",\"model\":\"gpt-4o\",\"cost\":{\"input\":2.5,\"output\":10,\"cache_read\":1.25}},"
    "{\"provider\":\"openai\",\"model\":\"odd\",\"cost\":{\"input\":0.0003,\"output\":0.0007}},"
    "{\"provider\":\"openai\",\"model\":\"gpt-5.4\",\"cost\":{\"input\":2.5,\"output\":15,\"tiers\":[{\"tier\":{\"size\":272000},\"input\":5,\"output\":22.5}]}},"
    "{\"provider\":\"azure\",\"model\":\"router\",\"cost\":{\"input\":0.14,\"output\":0}}]}";

#define SCOPE(...) { (const struct slice[]){ __VA_ARGS__ }, sizeof((const struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice) }

static struct price_builder *builder(void)
{
    struct price_builder *b = price_builder_new();
    char why[200] = "";
    assert_non_null(b);
    assert_int_equal(price_import_json(b, slice_cstr(catalogue), NULL, why, sizeof why), PRICE_DONE);
    return b;
}

static void add(struct price_builder *b, const struct price_contract_text *c)
{
    char why[200] = "";
    if (price_builder_contract(b, c, why, sizeof why) != PRICE_DONE)
        fail_msg("%s", why);
}

static struct price_table *finish(struct price_builder *b)
{
    struct price_table *t = price_builder_finish(b);
    assert_non_null(t);
    price_builder_free(b);
    return t;
}

static struct price_terms terms(const struct price_table *t, const char *organization, const char *team, const char *provider, const char *model)
{
    const struct identity who = { .organization = slice_cstr(organization), .team = slice_cstr(team) };
    return price_terms_for(t, price_lookup(t, slice_cstr(provider), slice_cstr(model), NULL), &who, slice_cstr(provider), slice_cstr(model));
}

static void expect(struct price_terms t, const char *name)
{
    if (name == NULL)
        assert_null(t.contract);
    else if (t.contract == NULL || !slice_eq_cstr(t.contract->name, name))
        fail_msg("expected %s", name);
}

static struct price_table *several(void)
{
    struct price_builder *b = builder();
    struct price_override rates = { .provider = SLICE_LIT("openai"), .model = SLICE_LIT("gpt-4o"),
                                    .usd_per_million = { [PRICE_INPUT] = SLICE_LIT("2"), [PRICE_OUTPUT] = SLICE_LIT("8") } };
    struct price_override private = { .provider = SLICE_LIT("local"), .model = SLICE_LIT("private"),
                                      .usd_per_million = { [PRICE_INPUT] = SLICE_LIT("1"), [PRICE_OUTPUT] = SLICE_LIT("1") } };
    add(b, &(struct price_contract_text){ .name = SLICE_LIT("rates"), .teams = SCOPE(SLICE_LIT("a"), SLICE_LIT("b")),
                                          .providers = SCOPE(SLICE_LIT("openai")), .models = SCOPE(SLICE_LIT("gpt-4o")), .rates = &rates,
                                          .discount = SLICE_LIT("10") });
    add(b, &(struct price_contract_text){ .name = SLICE_LIT("org"), .organizations = SCOPE(SLICE_LIT("acme")), .discount = SLICE_LIT("12.5"),
                                          .models = SCOPE(SLICE_LIT("gpt-*"), SLICE_LIT("odd")) });
    add(b, &(struct price_contract_text){ .name = SLICE_LIT("private"), .providers = SCOPE(SLICE_LIT("local")),
                                          .models = SCOPE(SLICE_LIT("private")), .rates = &private });
    return finish(b);
}

static void the_first_that_matches_holds(void **state)
{
    struct price_table *t = several();
    (void)state;

    expect(terms(t, "acme", "a", "openai", "gpt-4o"), "rates");
    expect(terms(t, "", "b", "openai", "gpt-4o-2024-11-20"), "rates"); /* priced as gpt-4o */
    expect(terms(t, "acme", "c", "openai", "gpt-4o"), "org");
    expect(terms(t, "acme", "a", "openai", "odd"), "org");
    expect(terms(t, "acme", "", "openai", "gpt"), NULL);
    expect(terms(t, "acme", "", "azure", "router"), NULL);
    expect(terms(t, "", "", "openai", "gpt-4o"), NULL);
    struct price_terms p = terms(t, "", "", "local", "private");
    expect(p, "private");
    assert_null(p.list);
    assert_non_null(p.billed);
    price_table_unref(t);
}

static void costs_are_exact_and_rounded_once(void **state)
{
    struct price_table *t = several();
    struct price_terms p = terms(t, "", "a", "openai", "gpt-4o");
    int64_t nano, list;
    (void)state;

    /* 2 and 8 dollars a million, 10 % off; cached input was published as 1.25 and stays. */
    assert_int_equal(price_cost(p.billed, &(struct token_usage){ .input = 1000, .input_cached = 100, .output = 10 }, p.discount_bp, &nano),
                     PRICE_DONE);
    assert_int_equal(nano, (2000000 + 125000 + 80000) * 9 / 10);
    assert_int_equal(price_cost(p.list, &(struct token_usage){ .input = 1000, .input_cached = 100, .output = 10 }, 0, &list), PRICE_DONE);
    assert_int_equal(list, 2500000 + 125000 + 100000);
    p = terms(t, "acme", "", "openai", "odd");
    /* 3 x 300 + 7 x 700 = 5,800 pico-dollars, x 0.875 = 5,075: 5. 4 x 300 + 4 x 700 = 4,000 x 0.875 = 3,500: half goes up. */
    assert_int_equal(price_cost(p.billed, &(struct token_usage){ .input = 3, .output = 7 }, p.discount_bp, &nano), PRICE_DONE);
    assert_int_equal(nano, 5);
    assert_int_equal(price_cost(p.billed, &(struct token_usage){ .input = 4, .output = 4 }, p.discount_bp, &nano), PRICE_DONE);
    assert_int_equal(nano, 4);
    price_table_unref(t);
}

static void a_version_names_its_contracts(void **state)
{
    struct price_table *plain = finish(builder()), *t = several();
    struct price_builder *b = builder(), *one = builder(), *two = builder();
    (void)state;

    assert_string_not_equal(price_table_hash(plain), price_table_hash(t));
    /* As the ledger gives them back: the same version, the same figures. */
    for (size_t i = 0; i < price_contract_count(t); i++) {
        const struct price_contract *c = price_contract_at(t, i);
        assert_int_equal(price_builder_contract_terms(b, c->name, c->terms), PRICE_DONE);
    }
    struct price_table *again = finish(b);
    assert_string_equal(price_table_hash(again), price_table_hash(t));
    const struct model_price *x = terms(t, "", "a", "openai", "gpt-4o").billed, *y = terms(again, "", "a", "openai", "gpt-4o").billed;
    assert_memory_equal(&x->base, &y->base, sizeof x->base);
    add(one, &(struct price_contract_text){ .name = SLICE_LIT("x"), .discount = SLICE_LIT("1") });
    add(two, &(struct price_contract_text){ .name = SLICE_LIT("x"), .discount = SLICE_LIT("1.01") });
    struct price_table *first = finish(one), *second = finish(two);
    assert_string_not_equal(price_table_hash(first), price_table_hash(second));
    price_table_unref(first);
    price_table_unref(second);
    price_table_unref(again);
    price_table_unref(plain);
    price_table_unref(t);
}

/* Rates that leave input and output alone keep the list's context tiers, also from the ledger. */
static void tiers_stay(void **state)
{
    struct price_builder *b = builder(), *back = builder();
    struct price_override rates = { .provider = SLICE_LIT("openai"), .model = SLICE_LIT("gpt-5.4"),
                                    .usd_per_request = SLICE_LIT("0.001") };
    int64_t nano;
    (void)state;

    add(b, &(struct price_contract_text){ .name = SLICE_LIT("fee"), .providers = SCOPE(SLICE_LIT("openai")),
                                          .models = SCOPE(SLICE_LIT("gpt-5.4")), .rates = &rates, .discount = SLICE_LIT("50") });
    struct price_table *t = finish(b);
    assert_int_equal(price_builder_contract_terms(back, SLICE_LIT("fee"), price_contract_at(t, 0)->terms), PRICE_DONE);
    struct price_table *again = finish(back);
    assert_string_equal(price_table_hash(again), price_table_hash(t));
    const struct model_price *m = terms(again, "", "", "openai", "gpt-5.4").billed;
    assert_int_equal(price_cost(m, &(struct token_usage){ .input = 272001 }, 5000, &nano), PRICE_DONE);
    assert_int_equal(nano, (1360005000 + 1000000) / 2);
    price_table_unref(again);
    price_table_unref(t);
}

static void refused(void **state)
{
    struct price_override rates = { .provider = SLICE_LIT("openai"), .model = SLICE_LIT("gpt-4o"), .usd_per_request = SLICE_LIT("1") };
    struct price_override half = { .provider = SLICE_LIT("azure"), .model = SLICE_LIT("router"), .usd_per_request = SLICE_LIT("1") };
    const struct { struct price_contract_text c; const char *want; } cases[] = {
        { { .name = SLICE_LIT(""), .discount = SLICE_LIT("1") }, "name" },
        { { .name = SLICE_LIT("x") }, "needs a discount" },
        { { .name = SLICE_LIT("x"), .discount = SLICE_LIT("100.01") }, "0 to 100" },
        { { .name = SLICE_LIT("x"), .discount = SLICE_LIT("-1") }, "0 to 100" },
        { { .name = SLICE_LIT("x"), .discount = SLICE_LIT("1.005") }, "steps of 0.01" },
        { { .name = SLICE_LIT("x"), .discount = SLICE_LIT("10 %") }, "percent" },
        { { .name = SLICE_LIT("taken"), .discount = SLICE_LIT("1") }, "name already" },
        { { .name = SLICE_LIT("x"), .rates = &rates, .providers = SCOPE(SLICE_LIT("openai")) }, "exactly one" },
        { { .name = SLICE_LIT("x"), .rates = &rates, .providers = SCOPE(SLICE_LIT("openai")), .models = SCOPE(SLICE_LIT("gpt-*")) }, "without *" },
        { { .name = SLICE_LIT("x"), .rates = &half, .providers = SCOPE(SLICE_LIT("azure")), .models = SCOPE(SLICE_LIT("router")) }, "not complete" },
    };
    struct price_builder *b = builder();
    (void)state;

    add(b, &(struct price_contract_text){ .name = SLICE_LIT("taken"), .discount = SLICE_LIT("0") });
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[200] = "";
        assert_int_equal(price_builder_contract(b, &cases[i].c, why, sizeof why), PRICE_EVALUE);
        if (strstr(why, cases[i].want) == NULL)
            fail_msg("%zu: %s", i, why);
    }
    static const char *const bad[] = { "", "{", "[]", "{\"discount_bp\":10001}", "{\"discount_bp\":1,\"teams\":[1]}", "{\"discount_bp\":1,\"teams\":[]}",
                                       "{\"discount_bp\":0,\"rates\":[\"0 1 1 1 1 1 1 1 1\"],\"request\":\"0\"}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(price_builder_contract_terms(b, SLICE_LIT("y"), slice_cstr(bad[i])), PRICE_ESYNTAX);
    struct price_table *t = finish(b);
    assert_int_equal(price_contract_count(t), 1);
    price_table_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_that_matches_holds), cmocka_unit_test(costs_are_exact_and_rounded_once),
        cmocka_unit_test(a_version_names_its_contracts), cmocka_unit_test(tiers_stay), cmocka_unit_test(refused)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
