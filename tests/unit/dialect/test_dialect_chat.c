#include "dialect_support.h"

static void plain_request(void **state)
{
    const char *body = "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},"
                       "{\"role\":\"user\",\"content\":\"Say \\\"hi\\\"\",\"name\":\"ann\"}],\"stream\":true,"
                       "\"stream_options\":{\"include_usage\":false},\"max_tokens\":50,\"n\":2,\"user\":\"u\\u0031\",\"temperature\":0.5}";
    struct ask ask = must_parse(ENDPOINT_CHAT, body, *state);

    assert_slice(ask.model, "gpt-4o");
    assert_true(ask.stream);
    assert_false(ask.include_usage);
    assert_int_equal(ask.max_output, 50);
    assert_int_equal(ask.choices, 2);
    assert_int_equal(ask.message_count, 2);
    assert_int_equal(ask.features, ASK_STREAM);
    assert_slice(ask.user_field, "u1");
    assert_slice(slice_make(body + ask.at_model.off, ask.at_model.len), "\"gpt-4o\"");
    assert_slice(slice_make(body + ask.at_max_output.off, ask.at_max_output.len), "50");
    assert_slice(slice_make(body + ask.at_max_output_key.off, ask.at_max_output_key.len), "\"max_tokens\"");
    assert_slice(slice_make(body + ask.at_stream_options.off, ask.at_stream_options.len), "{\"include_usage\":false}");
    assert_slice(slice_make(body + ask.at_include_usage.off, ask.at_include_usage.len), "false");
    assert_int_equal(ask.at_object.off, 0);
    assert_int_equal(ask.at_object.len, strlen(body));
    assert_parts(&ask, *state,
                 "text role 0 system\ntext content 0 Be brief.\ntext role 1 user\ntext content 1 Say \\\"hi\\\"\ntext name 1 ann\n");
    assert_true(ask_part_at(&ask, 3)->escaped);
    assert_false(ask_part_at(&ask, 1)->escaped);
}

#define ONE "\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

static void defaults(void **state)
{
    struct ask ask = must_parse(ENDPOINT_CHAT, " \n{" ONE ",\"max_tokens\":null,\"n\":null,\"stream\":null,\"stream_options\":null}\t ", *state);
    assert_int_equal(ask.max_output, -1);
    assert_int_equal(ask.choices, 1);
    assert_false(ask.stream);
    assert_int_equal(ask.at_object.off, 2);
    assert_int_equal(ask.at_max_output.len, 4);
    assert_int_equal(ask.at_stream_options.len, 4);
    assert_int_equal(ask.at_include_usage.len, 0);
}

static void null_beside_a_number(void **state)
{
    static const char *const bodies[] = { "{" ONE ",\"max_tokens\":null,\"max_completion_tokens\":7}",
                                          "{" ONE ",\"max_completion_tokens\":7,\"max_tokens\":null}" };
    for (size_t i = 0; i < 2; i++) {
        struct ask ask = must_parse(ENDPOINT_CHAT, bodies[i], *state);
        assert_int_equal(ask.max_output, 7);
        assert_slice(slice_make(bodies[i] + ask.at_max_output_key.off, ask.at_max_output_key.len), "\"max_completion_tokens\"");
    }
}

static void images_wanted(void **state)
{
    static const struct {
        const char *member;
        enum ask_images wanted;
    } cases[] = { { "", ASK_IMAGES_UNSAID }, { ",\"modalities\":null", ASK_IMAGES_UNSAID }, { ",\"modalities\":[\"text\"]", ASK_IMAGES_NONE },
                  { ",\"modalities\":[\"image\",\"text\"]", ASK_IMAGES_WANTED }, { ",\"modalities\":[\"im\\u0061ge\"]", ASK_IMAGES_WANTED },
                  { ",\"tools\":[{\"type\":\"image_generation\"}]", ASK_IMAGES_UNSAID } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(must_parse(ENDPOINT_CHAT, arena_printf(*state, "{" ONE "%s}", cases[i].member).p, *state).images_out, cases[i].wanted);
    struct ask ask = must_parse(ENDPOINT_RESPONSES, "{\"model\":\"m\",\"input\":\"x\",\"tools\":[{\"type\":\"function\"},"
                                "{\"type\":\"image_generation\"}],\"max_tool_calls\":3}", *state);
    assert_int_equal(ask.images_out, ASK_IMAGES_WANTED);
    assert_int_equal(ask.max_tool_calls, 3);
    ask = must_parse(ENDPOINT_RESPONSES, "{\"model\":\"m\",\"input\":\"x\",\"max_tool_calls\":null}", *state);
    assert_int_equal(ask.images_out, ASK_IMAGES_UNSAID);
    assert_int_equal(ask.max_tool_calls, -1);
    assert_string_equal(must_refuse(ENDPOINT_RESPONSES, "{\"model\":\"m\",\"input\":\"x\",\"max_tool_calls\":-1}", *state).param, "max_tool_calls");
}

/* "\u0063ontent" is content: a key cannot hide from the count. */
static void escaped_keys(void **state)
{
    struct ask ask = must_parse(ENDPOINT_CHAT,
                                "{\"\\u006dodel\":\"m\",\"m\\u0065ssages\":[{\"r\\u006fle\":\"user\",\"\\u0063ontent\":\"x\"}],"
                                "\"max\\u005ftokens\":9}",
                                *state);
    assert_int_equal(ask.max_output, 9);
    assert_parts(&ask, *state, "text role 0 user\ntext content 0 x\n");
}

static void parts_of_content(void **state)
{
    struct ask ask = must_parse(
        ENDPOINT_CHAT,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"a\",\"type\":\"text\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"detail\":\"low\",\"url\":\"data:image/png;base64,"
        "iVBORw0KGgoAAAANSUhEUgAAAAMAAAAFCAIAAAAPE8H1AAAAC0lEQVR4nGNgwAkAABQAAUI2QYkAAAAASUVORK5CYII=\"}},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://example.com/a.png\"}},"
        "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAAAAAA\",\"format\":\"wav\"}},"
        "{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"data:application/pdf;base64,AAAA\"}},"
        "{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}},{\"type\":\"refusal\",\"refusal\":\"no\"},"
        "{\"type\":\"video_url\",\"video_url\":{\"url\":\"https://e/x\"}}]}]}",
        *state);
    assert_parts(&ask, *state,
                 "text role 0 user\ntext content 0 a\nimage content 0 3x5 1\nimage content 0 0x0 0\naudio content 0 6\n"
                 "text content 0 a.pdf\nfile content 0 3\nunknown content 0 0\ntext content 0 no\n"
                 "json other 0 {\"url\":\"https://e/x\"}\nunknown content 0 0\n");
    assert_int_equal(ask.features, ASK_IMAGES | ASK_AUDIO | ASK_FILES | ASK_STORED);
}

static void tools_and_results(void **state)
{
    struct ask ask = must_parse(
        ENDPOINT_CHAT,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},{\"type\":\"web_search\"}],"
        "\"tool_choice\":\"auto\",\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\","
        "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]},"
        "{\"content\":\"42\",\"tool_call_id\":\"c1\",\"role\":\"tool\"}],\"prediction\":{\"type\":\"content\",\"content\":\"p\"},"
        "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"s\"}}}",
        *state);
    assert_parts(&ask, *state,
                 "json tools -1 {\"type\":\"function\",\"function\":{\"name\":\"f\"}}\njson tools -1 {\"type\":\"web_search\"}\n"
                 "unknown tools -1 0\ntext role 0 assistant\ntext tool_call 0 f\ntext tool_call 0 {\\\"a\\\":1}\n"
                 "text tool_result 1 42\ntext role 1 tool\ntext prediction -1 p\njson schema -1 {\"name\":\"s\"}\n");
    assert_int_equal(ask.features, ASK_TOOLS | ASK_JSON_SCHEMA);
}

/* Fields we do not know pass; what could reach the prompt is listed. */
static void unknown_fields(void **state)
{
    struct ask ask = must_parse(ENDPOINT_CHAT, "{" ONE ",\"top_k\":4,\"documents\":[\"long\"],\"metadata\":{\"a\":\"b\"}}", *state);
    assert_parts(&ask, *state, "text role 0 user\ntext content 0 x\njson other -1 [\"long\"]\n");
}

static void lone_surrogates_are_flagged(void **state)
{
    struct ask ask = must_parse(ENDPOINT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}", *state);
    assert_true(ask.had_invalid_text);
    ask = must_parse(ENDPOINT_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\\ud83d\\ude00\"}]}", *state);
    assert_false(ask.had_invalid_text);
}

static const struct {
    const char *body, *code, *param;
} refusals[] = {
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "missing_required_parameter", "model" },
    { "{\"model\":\"m\"}", "missing_required_parameter", "messages" },
    { "{\"model\":5,\"messages\":[]}", "invalid_type", "model" },
    { "{\"model\":\"\",\"messages\":[{\"role\":\"user\"}]}", "invalid_value", "model" },
    { "{\"model\":\"m\",\"messages\":[]}", "invalid_value", "messages" },
    { "{\"model\":\"m\",\"messages\":\"hi\"}", "invalid_type", "messages" },
    { "{\"model\":\"m\",\"messages\":[\"hi\"]}", "invalid_type", "messages[0]" },
    { "{\"model\":\"m\",\"messages\":[{\"content\":\"hi\"}]}", "missing_required_parameter", "messages[0].role" },
    { "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":5}]}", "invalid_type", "messages[0].content" },
    { "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]}",
      "missing_required_parameter", "messages[1].content[0].type" },
    { "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":1}}]}]}",
      "invalid_type", "messages[0].content[0].image_url.url" },
    { "{" ONE ",\"max_tokens\":\"5\"}", "invalid_type", "max_tokens" },
    { "{" ONE ",\"max_tokens\":1.5}", "invalid_type", "max_tokens" },
    { "{" ONE ",\"max_tokens\":1e3}", "invalid_type", "max_tokens" },
    { "{" ONE ",\"max_tokens\":-1}", "invalid_value", "max_tokens" },
    { "{" ONE ",\"max_tokens\":0}", "invalid_value", "max_tokens" },
    { "{" ONE ",\"max_completion_tokens\":99999999999999999999999}", "invalid_value", "max_completion_tokens" },
    { "{" ONE ",\"max_tokens\":1,\"max_completion_tokens\":2}", "invalid_value", "max_tokens" },
    { "{" ONE ",\"stream\":1}", "invalid_type", "stream" },
    { "{" ONE ",\"stream\":\"true\"}", "invalid_type", "stream" },
    { "{" ONE ",\"stream_options\":[]}", "invalid_type", "stream_options" },
    { "{" ONE ",\"stream_options\":{\"include_usage\":1}}", "invalid_type", "stream_options.include_usage" },
    { "{" ONE ",\"n\":0}", "invalid_value", "n" },
    { "{" ONE ",\"n\":1000000000}", "invalid_value", "n" },
    { "{" ONE ",\"n\":true}", "invalid_type", "n" },
    { "{" ONE ",\"model\":\"other\"}", "duplicate_key", "model" },
    { "{" ONE ",\"mod\\u0065l\":\"other\"}", "duplicate_key", "model" },
    { "{" ONE ",\"messages\":[]}", "duplicate_key", "messages" },
    { "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"content\":\"long\"}]}", "duplicate_key",
      "messages[0].content" },
    { "{" ONE ",\"max_tokens\":1,\"max_tokens\":2}", "duplicate_key", "max_tokens" },
    { "{" ONE ",\"stream_options\":{\"include_usage\":true,\"include_usage\":false}}", "duplicate_key", "stream_options.include_usage" },
    { "{" ONE ",\"Max_Tokens\":100000}", "unknown_parameter", "max_tokens" },
};

static void refused_with_the_place(void **state)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct refusal why = must_refuse(ENDPOINT_CHAT, refusals[i].body, *state);
        if (strcmp(why.code, refusals[i].code) != 0 || why.param == NULL || strcmp(why.param, refusals[i].param) != 0)
            fail_msg("%s: got %s at %s, want %s at %s", refusals[i].body, why.code, why.param ? why.param : "null", refusals[i].code,
                     refusals[i].param);
    }
}

static void not_whole_json(void **state)
{
    const char *body = "{" ONE ",\"stream\":true}";
    for (size_t n = 0; n < strlen(body); n++) {
        char *cut = tight(body, n);
        struct ask ask;
        struct refusal why;
        assert_int_equal(dialect_parse(ENDPOINT_CHAT, slice_make(cut, n), *state, &ask, &why), -1);
        assert_int_equal(why.status, 400);
        assert_string_equal(why.reason, "body_truncated");
        assert_string_equal(why.code, "invalid_json");
        free(cut);
    }
    static const char *const bad[] = { "{" ONE "}x", "{" ONE "},", "{" ONE ",}", "{" ONE "]", "\xef\xbb\xbf{" ONE "}", "{" ONE ",'a':1}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(must_refuse(ENDPOINT_CHAT, bad[i], *state).reason, "body_not_json");
    assert_string_equal(must_refuse(ENDPOINT_CHAT, "[]", *state).code, "invalid_type");
}

static void endpoints(void **state)
{
    enum endpoint e;
    (void)state;
    assert_int_equal(dialect_endpoint(SLICE_LIT("POST"), SLICE_LIT("/v1/chat/completions"), &e), DIALECT_MATCH);
    assert_int_equal(e, ENDPOINT_CHAT);
    assert_int_equal(dialect_endpoint(SLICE_LIT("POST"), SLICE_LIT("/v1/messages"), &e), DIALECT_MATCH);
    assert_int_equal(e, ENDPOINT_MESSAGES);
    assert_int_equal(dialect_endpoint(SLICE_LIT("GET"), SLICE_LIT("/v1/responses"), &e), DIALECT_NO_METHOD);
    assert_int_equal(dialect_endpoint(SLICE_LIT("POST"), SLICE_LIT("/v1/chat/completions/"), &e), DIALECT_NO_PATH);
    assert_int_equal(dialect_endpoint(SLICE_LIT("POST"), SLICE_LIT(""), &e), DIALECT_NO_PATH);
    for (int i = ENDPOINT_CHAT; i <= ENDPOINT_MESSAGES; i++) {
        assert_int_equal(dialect_endpoint(SLICE_LIT("POST"), slice_cstr(dialect_path((enum endpoint)i)), &e), DIALECT_MATCH);
        assert_int_equal(e, i);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = { T(plain_request),    T(defaults),       T(null_beside_a_number),        T(images_wanted), T(escaped_keys),
                                        T(parts_of_content), T(tools_and_results), T(unknown_fields),
                                        T(lone_surrogates_are_flagged), T(refused_with_the_place), T(not_whole_json), T(endpoints) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
