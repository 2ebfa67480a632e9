#include "tokens/estimate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct tokenizer_set *set;
    struct token_counter *counter;
};

static int setup(void **state)
{
    static struct fixture f;
    char why[512];
    f.set = tokenizer_set_open(NULL, why, sizeof why);
    f.counter = token_counter_new(NULL);
    *state = &f;
    return f.set && f.counter ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    token_counter_free(f->counter);
    tokenizer_set_close(f->set);
    return 0;
}

static struct ask_part text(enum ask_place place, uint32_t message, const char *raw)
{
    return (struct ask_part){ .kind = PART_TEXT, .place = place, .raw = slice_cstr(raw), .message = message };
}

/* So few parts that they are one chunk. */
#define CHUNK(parts) (const struct ask_part *const[]){ parts }

static struct ask ask_of(enum endpoint e, const struct ask_part *const *chunks, size_t count, uint32_t messages)
{
    return (struct ask){ .endpoint = e, .max_output = -1, .choices = 1, .part_chunks = chunks, .part_count = count, .message_count = messages };
}

static struct token_estimate estimate(struct fixture *f, const char *model, const struct ask *ask)
{
    struct token_rules rules;
    struct token_estimate e;
    token_rules_for_model(slice_cstr(model), &rules);
    const struct tokenizer *t = tokenizer_set_find(f->set, slice_cstr(rules.encoding));
    assert_non_null(t);
    assert_int_equal(token_estimate_ask(f->counter, t, &rules, ask, &e, NULL), 0);
    assert_true(e.input_bound >= e.input);

    /* In slices it must come out the same. */
    struct token_estimate sliced;
    struct estimate_job *job = estimate_job_new(f->counter, t, &rules, ask);
    assert_non_null(job);
    int done;
    while ((done = estimate_job_step(job, 1, &sliced, NULL)) == 0) {
    }
    assert_int_equal(done, 1);
    estimate_job_free(job);
    assert_int_equal(sliced.input, e.input);
    assert_int_equal(sliced.input_bound, e.input_bound);
    assert_int_equal(sliced.exactness, e.exactness);
    return e;
}

/* The six messages of the OpenAI Cookbook's "How to count tokens with tiktoken", whose counts the API confirmed: 129 for
 * gpt-3.5-turbo and gpt-4-0613, 124 for gpt-4o and gpt-4o-mini. */
static void test_cookbook_conversation(void **state)
{
    static const char *const lines[][3] = {
        { "system", NULL, "You are a helpful, pattern-following assistant that translates corporate jargon into plain English." },
        { "system", "example_user", "New synergies will help drive top-line growth." },
        { "system", "example_assistant", "Things working well together will increase revenue." },
        { "system", "example_user",
          "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage." },
        { "system", "example_assistant", "Let's talk later when we're less busy about how to do better." },
        { "user", NULL, "This late pivot means we don't have time to boil the ocean for the client deliverable." },
    };
    struct ask_part parts[18];
    size_t n = 0;
    for (uint32_t i = 0; i < 6; i++) {
        parts[n++] = text(IN_ROLE, i, lines[i][0]);
        if (lines[i][1])
            parts[n++] = text(IN_NAME, i, lines[i][1]);
        parts[n++] = text(IN_CONTENT, i, lines[i][2]);
    }
    struct ask ask = ask_of(ENDPOINT_CHAT, CHUNK(parts), n, 6);
    static const struct {
        const char *model;
        int64_t tokens;
    } wanted[] = { { "gpt-3.5-turbo-0125", 129 }, { "gpt-4-0613", 129 }, { "gpt-4o", 124 }, { "gpt-4o-mini", 124 } };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct token_estimate e = estimate(*state, wanted[i].model, &ask);
        assert_int_equal(e.input, wanted[i].tokens);
        assert_int_equal(e.input_bound, wanted[i].tokens);
        assert_int_equal(e.exactness, DOCUMENTED_TOKENS);
    }
    struct token_estimate e = estimate(*state, "claude-sonnet-4-5", &ask);
    assert_int_equal(e.exactness, ESTIMATED_TOKENS);
    assert_true(e.input > 124 && e.input_bound > 200);
    e = estimate(*state, "gpt-5", &ask);
    assert_int_equal(e.exactness, ESTIMATED_TOKENS);
    assert_int_equal(e.input, 124);
    assert_true(e.input_bound > 124);
}

static void test_prompts_are_exact(void **state)
{
    struct ask_part parts[] = { text(IN_PROMPT, UINT32_MAX, "tiktoken is great!"), text(IN_PROMPT, UINT32_MAX, "hello world"),
                                { .kind = PART_TOKENS, .place = IN_PROMPT, .count = 7 } };
    struct ask ask = ask_of(ENDPOINT_EMBEDDINGS, CHUNK(parts), 3, 0);
    struct token_estimate e = estimate(*state, "text-embedding-3-small", &ask);
    assert_int_equal(e.input, 6 + 2 + 7);
    assert_int_equal(e.input_bound, 15);
    assert_int_equal(e.exactness, EXACT_TOKENS);
    ask.endpoint = ENDPOINT_COMPLETIONS;
    e = estimate(*state, "gpt-3.5-turbo-instruct", &ask);
    assert_int_equal(e.input, 15);
    assert_int_equal(e.exactness, EXACT_TOKENS);
    ask.had_invalid_text = true;
    assert_int_equal(estimate(*state, "gpt-3.5-turbo-instruct", &ask).exactness, ESTIMATED_TOKENS);
}

static int64_t image_tokens(struct fixture *f, const char *model, uint32_t w, uint32_t h, enum image_detail detail, int64_t *bound)
{
    struct ask_part part = { .kind = PART_IMAGE, .place = IN_CONTENT, .width = w, .height = h, .detail = detail };
    struct ask ask = ask_of(ENDPOINT_CHAT, CHUNK(&part), 1, 0);
    struct token_rules rules;
    struct token_estimate e;
    token_rules_for_model(slice_cstr(model), &rules);
    const struct tokenizer *t = tokenizer_set_find(f->set, slice_cstr(rules.encoding));
    assert_int_equal(token_estimate_part(f->counter, t, &rules, &ask, 0, &e), 0);
    assert_int_equal(e.exactness, ESTIMATED_TOKENS);
    *bound = e.input_bound;
    return e.input;
}

/* The examples of OpenAI's image guide, and community measurements for gpt-4o-mini. */
static void test_images(void **state)
{
    int64_t bound;
    assert_int_equal(image_tokens(*state, "gpt-4o", 1024, 1024, IMAGE_HIGH, &bound), 765);
    assert_int_equal(bound, 765);
    assert_int_equal(image_tokens(*state, "gpt-4o", 2048, 4096, IMAGE_HIGH, &bound), 1105);
    assert_int_equal(image_tokens(*state, "gpt-4o", 4096, 8192, IMAGE_LOW, &bound), 85);
    assert_int_equal(image_tokens(*state, "gpt-4o", 128, 64, IMAGE_AUTO, &bound), 255);
    assert_int_equal(image_tokens(*state, "gpt-4o-mini", 128, 64, IMAGE_AUTO, &bound), 8500);
    assert_int_equal(image_tokens(*state, "gpt-4.1-mini", 1024, 1024, IMAGE_AUTO, &bound), 1659);
    assert_int_equal(image_tokens(*state, "gpt-4.1-mini", 1, 1, IMAGE_AUTO, &bound), 2);
    image_tokens(*state, "gpt-4.1-mini", 4000000000u, 4000000000u, IMAGE_AUTO, &bound);
    assert_int_equal(bound, 2489);
    /* Unknown size: the dearest legal image, 8 tiles. */
    image_tokens(*state, "gpt-4o", 0, 0, IMAGE_AUTO, &bound);
    assert_int_equal(bound, 85 + 8 * 170);
    image_tokens(*state, "claude-opus-4-1", 0, 0, IMAGE_AUTO, &bound);
    assert_int_equal(bound, 5000);
}

static void test_unknown_needs_a_window(void **state)
{
    struct fixture *f = *state;
    struct ask_part parts[] = { text(IN_ROLE, 0, "user"), { .kind = PART_UNKNOWN, .place = IN_CONTENT } };
    struct ask ask = ask_of(ENDPOINT_CHAT, CHUNK(parts), 2, 1);
    struct token_estimate e = estimate(f, "gpt-4o", &ask);
    assert_int_equal(e.input_bound, 128000);
    assert_int_equal(e.exactness, ESTIMATED_TOKENS);

    struct token_rules rules;
    bool unbounded = false;
    token_rules_for_model(SLICE_LIT("nobody-knows-1"), &rules);
    const struct tokenizer *t = tokenizer_set_find(f->set, slice_cstr(rules.encoding));
    assert_int_equal(token_estimate_ask(f->counter, t, &rules, &ask, &e, &unbounded), -1);
    assert_true(unbounded);
    rules.window = 32000;
    assert_int_equal(token_estimate_ask(f->counter, t, &rules, &ask, &e, &unbounded), 0);
    assert_int_equal(e.input_bound, 32000);
    assert_false(unbounded);
}

static void test_tools_widen_the_bound(void **state)
{
    struct fixture *f = *state;
    struct ask_part parts[] = { text(IN_ROLE, 0, "user"), text(IN_CONTENT, 0, "What is the weather in Paris?"),
                                { .kind = PART_JSON, .place = IN_TOOLS, .raw = SLICE_LIT("[ {\"type\" : \"function\"} ]") } };
    struct ask ask = ask_of(ENDPOINT_CHAT, CHUNK(parts), 3, 1);
    struct ask without = ask_of(ENDPOINT_CHAT, CHUNK(parts), 2, 1);
    struct token_estimate with = estimate(f, "gpt-4o", &ask), plain = estimate(f, "gpt-4o", &without);
    assert_int_equal(plain.exactness, DOCUMENTED_TOKENS);
    assert_int_equal(with.exactness, ESTIMATED_TOKENS);
    struct token_rules rules;
    token_rules_for_model(SLICE_LIT("gpt-4o"), &rules);
    int64_t minified = token_count_text(f->counter, tokenizer_set_find(f->set, SLICE_LIT("o200k_base")),
                                        SLICE_LIT("[{\"type\":\"function\"}]"), NULL);
    assert_int_equal(with.input, plain.input + minified + rules.tools_prompt / 2);
    assert_int_equal(with.input_bound, plain.input + minified + minified / 2 + 24 + rules.tools_prompt + rules.slack);
}

/* No vendor's byte-level tokenizer makes more tokens than bytes; the factor must not push the bound beyond that. */
static void test_bound_is_capped_by_bytes(void **state)
{
    struct ask_part parts[] = { text(IN_CONTENT, 0, "\xe6\xbc\xa2") };
    struct fixture *f = *state;
    struct token_rules rules;
    struct token_estimate e;
    struct ask ask = ask_of(ENDPOINT_MESSAGES, CHUNK(parts), 1, 1);
    token_rules_for_model(SLICE_LIT("eu.anthropic.claude-opus-4-6-v1"), &rules);
    assert_int_equal(rules.image, IMAGE_BY_AREA);
    rules.bound_ppm = 1000000000;
    const struct tokenizer *t = tokenizer_set_find(f->set, slice_cstr(rules.encoding));
    assert_int_equal(token_estimate_part(f->counter, t, &rules, &ask, 0, &e), 0);
    assert_int_equal(e.input_bound, 4);
}

static void test_rules_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *model, *encoding;
        bool exact;
    } wanted[] = {
        { "gpt-4o-2024-08-06", "o200k_base", true },  { "gpt-4-turbo", "cl100k_base", true },
        { "ft:gpt-4o:org::id", "o200k_base", true },  { "openai/gpt-4o-mini", "o200k_base", true },
        { "gpt-oss-120b", "o200k_harmony", true },    { "accounts/fireworks/models/gpt-oss-20b", "o200k_harmony", true },
        { "gpt-6-astra", "o200k_base", false },       { "claude-opus-4-1", "o200k_base", false },
        { "text-embedding-ada-002", "cl100k_base", true }, { "", "o200k_base", false },
        { "text-davinci-003", "p50k_base", true },    { "davinci", "r50k_base", true },
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct token_rules rules;
        token_rules_for_model(slice_cstr(wanted[i].model), &rules);
        assert_string_equal(rules.encoding, wanted[i].encoding);
        assert_int_equal(rules.text_exact, wanted[i].exact);
        assert_true(rules.bound_ppm >= rules.factor_ppm);
        assert_true(wanted[i].exact == (rules.bound_ppm == 1000000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cookbook_conversation),  cmocka_unit_test(test_prompts_are_exact),
        cmocka_unit_test(test_images),                 cmocka_unit_test(test_unknown_needs_a_window),
        cmocka_unit_test(test_tools_widen_the_bound),  cmocka_unit_test(test_bound_is_capped_by_bytes),
        cmocka_unit_test(test_rules_by_name),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
