/* Reading catalogues and figures; versions, overrides, differences. */
#include "price/price.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void decimals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int scale, rc;
        int64_t value;
        bool rounded;
    } cases[] = {
        { "2.5", 6, PRICE_DONE, 2500000, false }, { "600", 6, PRICE_DONE, 600000000, false }, { "0.0", 6, PRICE_DONE, 0, false },
        { "2.5e-06", 12, PRICE_DONE, 2500000, false }, { "2.5E-6", 12, PRICE_DONE, 2500000, false }, { "1e3", 0, PRICE_DONE, 1000, false },
        { "1e+3", 0, PRICE_DONE, 1000, false }, { "0.049999999999999996", 6, PRICE_DONE, 50000, true },
        { "0.09999999999999999", 6, PRICE_DONE, 100000, true }, { "4.0000000000000003e-07", 12, PRICE_DONE, 400000, true },
        { "0.0000005", 6, PRICE_DONE, 1, true }, { "0.00000001", 6, PRICE_DONE, 1, true }, { "1.4", 0, PRICE_DONE, 1, true },
        { "1.5", 0, PRICE_DONE, 2, true }, { "1.4999999999999999999999999999999999999999999", 0, PRICE_DONE, 1, true },
        { "9223372036854775807", 0, PRICE_DONE, INT64_MAX, false }, { "9223372036854775808", 0, PRICE_ERANGE, 0, false },
        { "00000000000000000000000000000000000000001", 0, PRICE_DONE, 1, false }, { "1e99999999999", 0, PRICE_ERANGE, 0, false },
        { "1e-99999999999", 0, PRICE_DONE, 1, true }, { "0e99999999999", 6, PRICE_DONE, 0, false }, { "-0", 0, PRICE_DONE, 0, false },
        { "-0.01", 6, PRICE_ERANGE, 0, false }, { "", 6, PRICE_ESYNTAX, 0, false }, { ".", 6, PRICE_ESYNTAX, 0, false },
        { "-", 6, PRICE_ESYNTAX, 0, false }, { "1.2.3", 6, PRICE_ESYNTAX, 0, false }, { "1e", 6, PRICE_ESYNTAX, 0, false },
        { "1 ", 6, PRICE_ESYNTAX, 0, false }, { "$1", 6, PRICE_ESYNTAX, 0, false }, { "1,5", 6, PRICE_ESYNTAX, 0, false },
        { "1000000000000000000000000000000000000000000000", 0, PRICE_ERANGE, 0, false }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t v = 0;
        bool rounded = false;
        int rc = price_parse_decimal(slice_cstr(cases[i].text), cases[i].scale, &v, &rounded);
        if (rc != cases[i].rc || v != cases[i].value || rounded != cases[i].rounded)
            fail_msg("'%s': %d %lld %d", cases[i].text, rc, (long long)v, rounded);
    }
}

static struct price_table *import(const char *json, struct price_import_report *report)
{
    struct price_builder *b = price_builder_new();
    char why[200] = "";
    if (price_import_json(b, slice_cstr(json), report, why, sizeof why) != PRICE_DONE)
        fail_msg("%s", why);
    struct price_table *t = price_builder_finish(b);
    price_builder_free(b);
    return t;
}

static void whole_catalogue(void **state)
{
    (void)state;
    struct price_builder *b = price_builder_new();
    struct price_import_report r;
    char why[200];
    assert_int_equal(price_import_json(b, price_builtin_json(), &r, why, sizeof why), PRICE_DONE);
    assert_string_equal(r.format, "models.dev");
    assert_int_equal(r.models, 979);
    assert_int_equal(r.duplicates, 0);
    assert_int_equal(r.rounded, 2);
    assert_int_equal(r.none, 23);
    assert_int_equal(r.zero, 109);
    assert_int_equal(r.half, 2); /* azure model-router, perplexity sonar-deep-research */
    assert_int_equal(r.priced, 979 - 23 - 109 - 2);
    struct price_table *t = price_builder_finish(b);
    price_builder_free(b);
    assert_int_equal(price_table_count(t), 979);
    const struct model_price *m = price_lookup(t, SLICE_LIT("openai"), SLICE_LIT("o1-pro"), NULL);
    assert_int_equal(m->base.pico[PRICE_OUTPUT], 600000000);
    m = price_lookup(t, SLICE_LIT("togetherai"), SLICE_LIT("Qwen/Qwen3.7-Max"), NULL);
    assert_int_equal(m->base.pico[PRICE_CACHED], 130000);
    m = price_lookup(t, SLICE_LIT("google"), SLICE_LIT("gemini-2.5-flash"), NULL);
    assert_int_equal(m->base.pico[PRICE_AUDIO_IN], 1000000);
    assert_int_equal(m->base.pico[PRICE_AUDIO_OUT], m->base.pico[PRICE_OUTPUT]);
    price_table_unref(t);
}

static const char litellm[] =
    "{\"sample_spec\":{\"litellm_provider\":\"one of https://...\",\"max_tokens\":\"LEGACY\",\"input_cost_per_token\":0},\n"
    "\"gemini/gemini-2.5-pro\":{\"litellm_provider\":\"gemini\",\"mode\":\"chat\",\"input_cost_per_token\":1.25e-06,"
    "\"input_cost_per_token_above_200k_tokens\":2.5e-06,\"output_cost_per_token\":1e-05,\"output_cost_per_token_above_200k_tokens\":1.5e-05,"
    "\"cache_read_input_token_cost\":1.25e-07,\"max_input_tokens\":1048576,\"max_output_tokens\":65535,\"supports_vision\":true},\n"
    "\"claude-sonnet\":{\"litellm_provider\":\"anthropic\",\"mode\":\"chat\",\"input_cost_per_token\":3e-06,\"output_cost_per_token\":1.5e-05,"
    "\"cache_creation_input_token_cost\":3.75e-06,\"cache_creation_input_token_cost_above_1hr\":6e-06,"
    "\"cache_creation_input_token_cost_above_200k_tokens\":7.5e-06,\"cache_creation_input_token_cost_above_1hr_above_200k_tokens\":1.2e-05,"
    "\"cache_read_input_token_cost\":3e-07,\"input_cost_per_token_batches\":1.5e-06,\"max_tokens\":8192},\n"
    "\"text-embedding-3-large\":{\"litellm_provider\":\"openai\",\"mode\":\"embedding\",\"input_cost_per_token\":1.3e-07,\"output_cost_per_token\":0.0},\n"
    "\"vertex_ai/imagen\":{\"litellm_provider\":\"vertex_ai-image-models\",\"mode\":\"image_generation\",\"output_cost_per_image\":0.04},\n"
    "\"half\":{\"litellm_provider\":\"openai\",\"mode\":\"chat\",\"input_cost_per_token\":1e-06},\n"
    "\"bedrock_converse/a.b-v1:0\":{\"litellm_provider\":\"bedrock_converse\",\"mode\":\"chat\",\"input_cost_per_token\":1e-06,\"output_cost_per_token\":2e-06},\n"
    "\"a.b-v1:0\":{\"litellm_provider\":\"bedrock\",\"mode\":\"chat\",\"input_cost_per_token\":1e-06,\"output_cost_per_token\":\"3e-06\"},\n"
    "\"old\":{\"litellm_provider\":\"openai\",\"mode\":\"chat\",\"input_cost_per_token\":null,\"output_cost_per_token\":1e-06}}";

static void litellm_format(void **state)
{
    (void)state;
    struct price_import_report r;
    struct price_table *t = import(litellm, &r);
    assert_string_equal(r.format, "litellm");
    assert_int_equal(r.skipped, 1);
    assert_int_equal(r.duplicates, 1);
    assert_int_equal(r.priced, 4);
    assert_int_equal(r.half, 2);
    assert_int_equal(r.none, 1);
    const struct model_price *m = price_lookup(t, SLICE_LIT("google"), SLICE_LIT("gemini-2.5-pro"), NULL);
    assert_non_null(m);
    assert_int_equal(m->base.pico[PRICE_INPUT], 1250000);
    assert_int_equal(m->base.pico[PRICE_CACHED], 125000);
    assert_int_equal(m->tier_count, 1);
    assert_int_equal(m->tiers[0].above, 200000);
    assert_int_equal(m->tiers[0].rates.pico[PRICE_OUTPUT], 15000000);
    assert_int_equal(m->tiers[0].rates.pico[PRICE_CACHED], 2500000); /* not published there: the tier's input */
    assert_int_equal(m->input_limit, 1048576);
    m = price_lookup(t, SLICE_LIT("anthropic"), SLICE_LIT("claude-sonnet"), NULL);
    assert_int_equal(m->base.pico[PRICE_CACHE_WRITE_1H], 6000000);
    assert_int_equal(m->tiers[0].rates.pico[PRICE_CACHE_WRITE], 7500000);
    assert_int_equal(m->tiers[0].rates.pico[PRICE_CACHE_WRITE_1H], 12000000);
    assert_int_equal(m->tiers[0].rates.pico[PRICE_INPUT], 3000000);
    assert_int_equal(m->output_limit, 8192);
    m = price_lookup(t, SLICE_LIT("amazon-bedrock"), SLICE_LIT("a.b-v1:0"), NULL);
    assert_int_equal(m->base.pico[PRICE_OUTPUT], 3000000); /* the dearer of the two */
    price_table_unref(t);
}

static void refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "[]", "{", "{}", "{\"models\":[]}", "{\"models\":[{}]}", "{\"models\":[{\"provider\":\"p\"}]}", "{\"models\":[1]}",
        "{\"models\":[{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":-1}}]}",
        "{\"models\":[{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":100001}}]}",
        "{\"models\":[{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":true}}]}",
        "{\"models\":[{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":01}}]}",
        "{\"models\":[{\"provider\":\"p\",\"model\":\"m\"}]} x",
        "{\"models\":[{\"provider\":\"p\",\"model\":\"m\"},]}",
        "{\"unit\":\"USD per token\",\"models\":[{\"provider\":\"p\",\"model\":\"m\"}]}",
        "{\"m\":{\"litellm_provider\":\"p\",\"input_cost_per_token\":2.5}}",
        "{\"models\":[{\"provider\":\"p\\ud800\",\"model\":\"m\"}]}", "{\"models\":[{\"provider\":\"p\nq\",\"model\":\"m\"}]}"
    };
    struct price_builder *b = price_builder_new();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char why[200] = "";
        if (price_import_json(b, slice_cstr(bad[i]), NULL, why, sizeof why) != PRICE_ESYNTAX || strstr(why, "line ") == NULL)
            fail_msg("%s -> %s", bad[i], why);
    }
    struct price_table *t = price_builder_finish(b);
    assert_int_equal(price_table_count(t), 0);
    price_table_unref(t);
    price_builder_free(b);
}

static void versions(void **state)
{
    (void)state;
    struct price_table *a = import("{\"models\":[{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":1,\"output\":2}},"
                                   "{\"provider\":\"p\",\"model\":\"n\",\"cost\":{\"input\":1,\"output\":2}}]}", NULL);
    struct price_table *same = import("{\"models\": [{\"model\":\"\\u006e\",\"provider\":\"p\",\"cost\":{\"output\":2.0,\"input\":1e0}},\n"
                                      "{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":1.000,\"output\":20e-1}}]}", NULL);
    struct price_table *other = import("{\"models\":[{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":1,\"output\":2.000001}},"
                                       "{\"provider\":\"p\",\"model\":\"n\",\"cost\":{\"input\":1,\"output\":2}}]}", NULL);
    assert_int_equal(strlen(price_table_hash(a)), 64);
    assert_string_equal(price_table_hash(a), price_table_hash(same));
    assert_string_not_equal(price_table_hash(a), price_table_hash(other));
    char id[20];
    snprintf(id, sizeof id, "%012llx", (unsigned long long)price_table_id(a));
    assert_memory_equal(id, price_table_hash(a), 12);
    struct price_table *again = price_table_ref(a);
    price_table_unref(a);
    assert_int_equal(price_table_count(again), 2);
    /* Rows read back one by one make the same version. */
    struct price_builder *b = price_builder_new();
    for (size_t i = price_table_count(again); i > 0; i--)
        assert_int_equal(price_builder_add(b, price_table_at(again, i - 1)), PRICE_DONE);
    struct price_table *copy = price_builder_finish(b);
    assert_string_equal(price_table_hash(copy), price_table_hash(again));
    price_builder_free(b);
    price_table_unref(copy);
    price_table_unref(again);
    price_table_unref(same);
    price_table_unref(other);
}

static void overrides(void **state)
{
    (void)state;
    struct price_builder *b = price_builder_new();
    char why[200] = "";
    assert_int_equal(price_import_json(b, price_builtin_json(), NULL, why, sizeof why), PRICE_DONE);
    struct price_override o = { .provider = SLICE_LIT("openai"), .model = SLICE_LIT("gpt-5.4") };
    o.usd_per_million[PRICE_CACHED] = SLICE_LIT("0");
    assert_int_equal(price_builder_override(b, &o, why, sizeof why), PRICE_DONE);
    o = (struct price_override){ .provider = SLICE_LIT("openai"), .model = SLICE_LIT("gpt-5.5") };
    o.usd_per_million[PRICE_INPUT] = SLICE_LIT("1.5");
    assert_int_equal(price_builder_override(b, &o, why, sizeof why), PRICE_DONE);
    o = (struct price_override){ .provider = SLICE_LIT("local"), .model = SLICE_LIT("llama") };
    assert_int_equal(price_builder_override(b, &o, why, sizeof why), PRICE_EVALUE);
    assert_non_null(strstr(why, "both input and output"));
    o.usd_per_million[PRICE_INPUT] = o.usd_per_million[PRICE_OUTPUT] = SLICE_LIT("0");
    assert_int_equal(price_builder_override(b, &o, why, sizeof why), PRICE_DONE);
    o.usd_per_million[PRICE_INPUT] = SLICE_LIT("cheap");
    assert_int_equal(price_builder_override(b, &o, why, sizeof why), PRICE_EVALUE);
    assert_non_null(strstr(why, "'cheap'"));
    struct price_table *t = price_builder_finish(b);
    const struct model_price *m = price_lookup(t, SLICE_LIT("openai"), SLICE_LIT("gpt-5.4"), NULL);
    assert_true(m->overridden);
    assert_int_equal(m->base.pico[PRICE_CACHED], 0);
    assert_int_equal(m->tier_count, 1);
    m = price_lookup(t, SLICE_LIT("openai"), SLICE_LIT("gpt-5.5"), NULL);
    assert_int_equal(m->base.pico[PRICE_INPUT], 1500000);
    assert_int_equal(m->base.pico[PRICE_OUTPUT], 30000000);
    assert_int_equal(m->tier_count, 0);
    m = price_lookup(t, SLICE_LIT("local"), SLICE_LIT("llama"), NULL);
    assert_int_equal(m->status, PRICE_OK); /* said to be free: believed */
    price_table_unref(t);
    price_builder_free(b);
}

struct seen {
    int added, removed, changed;
};

static void note(void *user, enum price_change change, const struct model_price *before, const struct model_price *after)
{
    struct seen *s = user;
    s->added += change == PRICE_ADDED && !before && slice_eq_cstr(after->model, "new");
    s->removed += change == PRICE_REMOVED && !after && slice_eq_cstr(before->model, "gone");
    s->changed += change == PRICE_CHANGED && slice_eq_cstr(before->model, "m") && after->base.pico[PRICE_INPUT] == 2000000;
}

static void differences(void **state)
{
    (void)state;
    struct price_table *a = import("{\"models\":[{\"provider\":\"p\",\"model\":\"gone\"},{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":1,\"output\":2}},"
                                   "{\"provider\":\"q\",\"model\":\"same\"}]}", NULL);
    struct price_table *b = import("{\"models\":[{\"provider\":\"p\",\"model\":\"new\"},{\"provider\":\"p\",\"model\":\"m\",\"cost\":{\"input\":2,\"output\":2}},"
                                   "{\"provider\":\"q\",\"model\":\"same\"}]}", NULL);
    struct seen s = { 0, 0, 0 };
    price_table_diff(a, b, note, &s);
    assert_int_equal(s.added, 1);
    assert_int_equal(s.removed, 1);
    assert_int_equal(s.changed, 1);
    price_table_unref(a);
    price_table_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals), cmocka_unit_test(whole_catalogue), cmocka_unit_test(litellm_format), cmocka_unit_test(refused),
        cmocka_unit_test(versions), cmocka_unit_test(overrides), cmocka_unit_test(differences)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
