#include "settle_support.h"

#include "settle/usage.h"

static const struct {
    const char *json;
    struct token_usage want;
    bool clamped;
} reports[] = {
    /* OpenAI chat: cached and audio are part of the prompt, reasoning and audio of the completion */
    { "{\"prompt_tokens\":100,\"completion_tokens\":50,\"total_tokens\":150}", { .input = 100, .output = 50 }, false },
    { "{\"prompt_tokens\":2006,\"completion_tokens\":300,\"total_tokens\":2306,\"prompt_tokens_details\":{\"cached_tokens\":1920,"
      "\"audio_tokens\":6},\"completion_tokens_details\":{\"reasoning_tokens\":128,\"audio_tokens\":2,\"accepted_prediction_tokens\":5,"
      "\"rejected_prediction_tokens\":7}}",
      { .input = 80, .input_cached = 1920, .input_audio = 6, .output = 170, .output_reasoning = 128, .output_audio = 2 }, false },
    { "{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}", { 0 }, false },
    { "{\"prompt_tokens\":5,\"completion_tokens\":1,\"prompt_tokens_details\":null,\"completion_tokens_details\":null}",
      { .input = 5, .output = 1 }, false },
    { "{\"prompt_tokens\":10,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":99}}",
      { .input_cached = 10, .output = 4 }, true },
    { "{\"prompt_tokens\":10,\"completion_tokens\":4,\"completion_tokens_details\":{\"reasoning_tokens\":9}}",
      { .input = 10, .output_reasoning = 4 }, true },
    /* reasoning left out of completion_tokens, visible in the total */
    { "{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":315,\"completion_tokens_details\":{\"reasoning_tokens\":300}}",
      { .input = 10, .output = 5, .output_reasoning = 300 }, false },
    { "{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":20}", { .input = 10, .output = 5, .output_reasoning = 5 }, false },
    { "{\"prompt_tokens\":100,\"completion_tokens\":1,\"prompt_cache_hit_tokens\":64,\"prompt_cache_miss_tokens\":36}",
      { .input = 36, .input_cached = 64, .output = 1 }, false },
    /* tokens of images are output, and told apart */
    { "{\"prompt_tokens\":7,\"completion_tokens\":1300,\"completion_tokens_details\":{\"reasoning_tokens\":5,\"image_tokens\":1290}}",
      { .input = 7, .output = 1295, .output_reasoning = 5, .output_image = 1290, .image_told = 1 }, false },
    { "{\"prompt_tokens\":7,\"completion_tokens\":13,\"completion_tokens_details\":{\"image_tokens\":0}}",
      { .input = 7, .output = 13, .image_told = 1 }, false },
    { "{\"prompt_tokens\":7,\"completion_tokens\":13,\"completion_tokens_details\":{\"image_tokens\":14}}",
      { .input = 7, .output = 13, .output_image = 13, .image_told = 1 }, true },
    { "{\"input_tokens\":7,\"output_tokens\":13,\"output_tokens_details\":{\"image_tokens\":10}}",
      { .input = 7, .output = 13, .output_image = 10, .image_told = 1 }, false },
    /* embeddings */
    { "{\"prompt_tokens\":8,\"total_tokens\":8}", { .input = 8 }, false },
    /* Responses */
    { "{\"input_tokens\":36,\"input_tokens_details\":{\"cached_tokens\":30},\"output_tokens\":87,\"output_tokens_details\":"
      "{\"reasoning_tokens\":80},\"total_tokens\":123}",
      { .input = 6, .input_cached = 30, .output = 7, .output_reasoning = 80 }, false },
    /* Anthropic: cache reads and writes stand beside input_tokens */
    { "{\"input_tokens\":10,\"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":70,\"cache_creation\":"
      "{\"ephemeral_5m_input_tokens\":50,\"ephemeral_1h_input_tokens\":20},\"output_tokens\":9}",
      { .input = 10, .input_cached = 100, .input_cache_write = 50, .input_cache_write_1h = 20, .output = 9 }, false },
    { "{\"input_tokens\":10,\"cache_creation_input_tokens\":70,\"output_tokens\":9}",
      { .input = 10, .input_cache_write = 70, .output = 9 }, false },
    { "{\"input_tokens\":1,\"cache_creation_input_tokens\":5,\"cache_creation\":{\"ephemeral_1h_input_tokens\":9},\"output_tokens\":0}",
      { .input = 1, .input_cache_write_1h = 5 }, true },
    { "{\"output_tokens\":15}", { .output = 15 }, false },
};

static void kinds_are_disjoint(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof reports / sizeof *reports; i++) {
        struct usage_report r;
        const char *why;
        if (usage_parse(slice_cstr(reports[i].json), &r, &why) != 0)
            fail_msg("%s: %s", reports[i].json, why);
        if (memcmp(&r.tokens, &reports[i].want, sizeof r.tokens) != 0 || r.clamped != reports[i].clamped)
            fail_msg("%s: input %ld/%ld/%ld/%ld/%ld output %ld/%ld/%ld clamped %d", reports[i].json, (long)r.tokens.input,
                     (long)r.tokens.input_cached, (long)r.tokens.input_cache_write, (long)r.tokens.input_cache_write_1h,
                     (long)r.tokens.input_audio, (long)r.tokens.output, (long)r.tokens.output_reasoning, (long)r.tokens.output_audio,
                     r.clamped);
    }
}

static void a_claimed_cost_is_read_in_its_range_only(void **state)
{
    static const struct {
        const char *value;
        int64_t nano;
    } table[] = { { "0", 0 }, { "0.00014", 140000 }, { "1e-9", 1 }, { "1000000", INT64_C(1000000000000000) }, { "1000000.1", -1 },
                  { "-0.1", -1 }, { "1e300", -1 }, { "\"0.1\"", -1 }, { "null", -1 }, { "[1]", -1 } };
    struct usage_report r, later = { .cost_nano = -1 };
    const char *why;
    char json[128];
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        snprintf(json, sizeof json, "{\"prompt_tokens\":3,\"completion_tokens\":4,\"cost\":%s}", table[i].value);
        assert_int_equal(usage_parse(slice_cstr(json), &r, &why), 0);
        assert_true(r.cost_nano == table[i].nano && r.tokens.input == 3 && r.tokens.output == 4);
        usage_merge(&r, &later);
        assert_true(r.cost_nano == table[i].nano);
    }
    assert_int_equal(usage_parse(SLICE_LIT("{\"prompt_tokens\":3}"), &r, &why), 0);
    assert_int_equal(r.cost_nano, -1);
}

static void nonsense_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "null", "[]", "5", "{}", "{\"prompt_tokens\":null}", "{\"prompt_tokens\":-1,\"completion_tokens\":5}",
        "{\"prompt_tokens\":1.5}", "{\"prompt_tokens\":\"7\"}", "{\"prompt_tokens\":1000000001}", "{\"prompt_tokens\":1e300}",
        "{\"input_tokens\":5,\"output_tokens\":-3}", "{\"prompt_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":-5}}",
        "{\"prompt_tokens\":5", "{\"prompt_tokens\":5}x", "{\"total\":5}", "{\"prompt_tokens\":true}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct usage_report r;
        const char *why = NULL;
        if (usage_parse(slice_cstr(bad[i]), &r, &why) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
        assert_false(r.has_input || r.has_output);
    }
}

static void later_usage_replaces(void **state)
{
    struct usage_report first, last;
    const char *why;
    (void)state;
    assert_int_equal(usage_parse(SLICE_LIT("{\"input_tokens\":25,\"cache_read_input_tokens\":7,\"output_tokens\":1}"), &first, &why), 0);
    assert_int_equal(usage_parse(SLICE_LIT("{\"output_tokens\":15}"), &last, &why), 0);
    usage_merge(&first, &last);
    assert_int_equal(first.tokens.input, 25);
    assert_int_equal(first.tokens.input_cached, 7);
    assert_int_equal(first.tokens.output, 15);
    assert_true(first.has_input && first.has_output);
}

int main(void)
{
    const struct CMUnitTest tests[] = { T(kinds_are_disjoint), T(a_claimed_cost_is_read_in_its_range_only), T(nonsense_is_refused),
                                        T(later_usage_replaces) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
