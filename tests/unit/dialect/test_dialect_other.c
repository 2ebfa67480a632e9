/* Responses, legacy completions, embeddings, Anthropic messages. */
#include "dialect_support.h"

static void responses(void **state)
{
    struct ask ask = must_parse(
        ENDPOINT_RESPONSES,
        "{\"model\":\"m\",\"instructions\":\"Be brief\",\"max_output_tokens\":99,\"stream\":true,\"input\":[{\"role\":\"user\",\"content\":"
        "[{\"type\":\"input_text\",\"text\":\"hi\"},{\"type\":\"input_image\",\"image_url\":\"https://e/x.png\",\"detail\":\"high\"},"
        "{\"type\":\"input_file\",\"file_id\":\"f\"}]},{\"type\":\"function_call\",\"name\":\"f\",\"arguments\":\"{}\",\"call_id\":\"c\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"42\"}],\"tools\":[{\"type\":\"function\",\"name\":\"f\"}],"
        "\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"s\",\"schema\":{\"type\":\"object\"}}}}",
        *state);
    assert_int_equal(ask.max_output, 99);
    assert_int_equal(ask.message_count, 4);
    assert_parts(&ask, *state,
                 "text system -1 Be brief\ntext role 0 user\ntext content 0 hi\nimage content 0 0x0 2\nunknown content 0 0\n"
                 "text tool_call 1 f\ntext tool_call 1 {}\ntext tool_result 2 42\njson tools -1 {\"type\":\"function\",\"name\":\"f\"}\n"
                 "json schema -1 \"s\"\njson schema -1 {\"type\":\"object\"}\n");
    assert_int_equal(ask.features, ASK_STREAM | ASK_IMAGES | ASK_FILES | ASK_STORED | ASK_TOOLS | ASK_JSON_SCHEMA);

    ask = must_parse(ENDPOINT_RESPONSES, "{\"model\":\"m\",\"input\":\"hi\"}", *state);
    assert_int_equal(ask.message_count, 1);
    assert_parts(&ask, *state, "text content 0 hi\n");
    /* What only the provider knows cannot be counted here. */
    static const char *const unseen[] = {
        "{\"model\":\"m\",\"input\":[],\"previous_response_id\":\"r\"}", "{\"model\":\"m\",\"input\":[],\"conversation\":{\"id\":\"c\"}}",
        "{\"model\":\"m\",\"prompt\":{\"id\":\"p\"}}", "{\"model\":\"m\",\"input\":[{\"type\":\"item_reference\",\"id\":\"i\"}]}",
    };
    for (size_t i = 0; i < sizeof unseen / sizeof *unseen; i++) {
        ask = must_parse(ENDPOINT_RESPONSES, unseen[i], *state);
        assert_int_equal(ask.part_count, 1);
        assert_int_equal(ask_part_at(&ask, 0)->kind, PART_UNKNOWN);
        assert_true(ask.features & ASK_STORED);
    }
    ask = must_parse(ENDPOINT_RESPONSES, "{\"model\":\"m\",\"input\":[],\"tools\":[{\"type\":\"web_search\"}]}", *state);
    assert_parts(&ask, *state, "json tools -1 {\"type\":\"web_search\"}\nunknown tools -1 0\n");
}

static void completions(void **state)
{
    struct ask ask = must_parse(ENDPOINT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"],\"suffix\":\"z\",\"n\":2,\"best_of\":3}", *state);
    assert_int_equal(ask.max_output, 16);
    assert_int_equal(ask.at_max_output.len, 0);
    assert_int_equal(ask.choices, 6);
    assert_parts(&ask, *state, "text prompt -1 a\ntext prompt -1 b\ntext other -1 z\n");
    ask = must_parse(ENDPOINT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[1,2,3],\"max_tokens\":0}", *state);
    assert_int_equal(ask.max_output, 0);
    assert_int_equal(ask.choices, 1);
    assert_parts(&ask, *state, "tokens prompt -1 3\n");
}

static void embeddings(void **state)
{
    struct ask ask = must_parse(ENDPOINT_EMBEDDINGS, "{\"input\":[[1,2],[],[3]],\"model\":\"m\"}", *state);
    assert_parts(&ask, *state, "tokens prompt -1 2\ntokens prompt -1 1\n");
    assert_int_equal(ask.choices, 1);
    assert_int_equal(ask.max_output, -1);
    ask = must_parse(ENDPOINT_EMBEDDINGS, "{\"input\":\"hi\",\"model\":\"m\"}", *state);
    assert_parts(&ask, *state, "text prompt -1 hi\n");
    assert_string_equal(must_refuse(ENDPOINT_EMBEDDINGS, "{\"input\":[1,\"a\"],\"model\":\"m\"}", *state).code, "invalid_type");
    assert_string_equal(must_refuse(ENDPOINT_EMBEDDINGS, "{\"input\":[\"a\",1],\"model\":\"m\"}", *state).param, "input[1]");
    assert_string_equal(must_refuse(ENDPOINT_EMBEDDINGS, "{\"input\":[-1],\"model\":\"m\"}", *state).param, "input[0]");
    assert_string_equal(must_refuse(ENDPOINT_EMBEDDINGS, "{\"model\":\"m\"}", *state).param, "input");
}

static void messages(void **state)
{
    struct ask ask = must_parse(
        ENDPOINT_MESSAGES,
        "{\"model\":\"claude\",\"max_tokens\":1024,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":512},\"system\":[{\"type\":\"text\","
        "\"text\":\"S\",\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\","
        "\"source\":{\"type\":\"base64\",\"media_type\":\"image/gif\",\"data\":\"R0lGODlhAwAFAIAAAAAAAP\"}},{\"type\":\"document\","
        "\"source\":{\"type\":\"text\",\"data\":\"D\"},\"title\":\"T\"},{\"type\":\"document\",\"source\":{\"type\":\"url\",\"url\":\"u\"}}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"why\",\"signature\":\"c2ln\"},{\"type\":\"tool_use\","
        "\"id\":\"t\",\"name\":\"f\",\"input\":{\"a\":1}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\","
        "\"content\":[{\"type\":\"text\",\"text\":\"42\"}]}]}],\"tools\":[{\"name\":\"f\",\"input_schema\":{}}]}",
        *state);
    assert_int_equal(ask.max_output, 1024);
    assert_int_equal(ask.thinking_budget, 512);
    assert_int_equal(ask.message_count, 3);
    assert_parts(&ask, *state,
                 "text system -1 S\ntext role 0 user\nimage content 0 3x5 0\ntext content 0 T\ntext content 0 D\nunknown content 0 0\n"
                 "text role 1 assistant\ntext content 1 why\ntext tool_call 1 f\njson tool_call 1 {\"a\":1}\ntext role 2 user\n"
                 "text tool_result 2 42\njson tools -1 {\"name\":\"f\",\"input_schema\":{}}\n");

    static const struct {
        const char *body, *param;
    } bad[] = {
        { "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "max_tokens" },
        { "{\"model\":\"m\",\"max_tokens\":null,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "max_tokens" },
        { "{\"model\":\"m\",\"max_tokens\":0,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "max_tokens" },
        { "{\"model\":\"m\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\"}]}", "messages[0].content" },
        { "{\"model\":\"m\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]}", "messages[0].content[0].type" },
        { "{\"model\":\"m\",\"max_tokens\":5,\"system\":5,\"messages\":[]}", "system" },
        { "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "model" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(must_refuse(ENDPOINT_MESSAGES, bad[i].body, *state).param, bad[i].param);
}

static void messages_counted(void **state)
{
    struct refusal why;
    struct ask ask;
    enum endpoint e;

    assert_true(dialect_counts_only(SLICE_LIT("/v1/messages/count_tokens")));
    assert_false(dialect_counts_only(SLICE_LIT("/v1/messages")));
    assert_int_equal(dialect_endpoint(SLICE_LIT("POST"), SLICE_LIT("/v1/messages/count_tokens"), &e), DIALECT_MATCH);
    assert_int_equal(e, ENDPOINT_MESSAGES);
    assert_int_equal(dialect_endpoint(SLICE_LIT("GET"), SLICE_LIT("/v1/messages/count_tokens"), &e), DIALECT_NO_METHOD);
    assert_int_equal(dialect_parse_count(SLICE_LIT("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"), *state, &ask, &why), 0);
    assert_true(ask.count_only);
    assert_parts(&ask, *state, "text role 0 user\ntext content 0 x\n");
    assert_int_equal(dialect_parse_count(SLICE_LIT("{\"model\":\"m\"}"), *state, &ask, &why), -1);
    assert_string_equal(why.param, "messages");
}

static void images(void **state)
{
    static const struct {
        const char *data;
        unsigned w, h;
    } cases[] = {
        /* headers written by hand from the formats' specifications */
        { "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAABAAAAAMACAIAAAA", 1024, 768 },
        { "DATA:IMAGE\\/PNG;BASE64,iVBORw0KGgoAAAANSUhEUgAABAAAAAMACAIAAAA", 1024, 768 },
        { "data:image/gif;base64,R0lGODlhQAHwAIAAAAAAAP", 320, 240 },
        /* FFD8, APP0 (length 16), DQT skipped by length 5, SOF0 height 480 width 640 */
        { "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD/2wAFAAAA/8AAEQgB4AKAAwEiAAIRAQMRAQ", 640, 480 },
        /* RIFF....WEBPVP8X, canvas 800 x 600 */
        { "data:image/webp;base64,UklGRgAAAABXRUJQVlA4WAoAAAAAAAAAHwMAVwIA", 800, 600 },
        { "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg", 0, 0 },
        { "data:image/png;base64,!!!!", 0, 0 },
        { "data:image/png,abc", 0, 0 },
        { "https://example.com/cat.png", 0, 0 },
        { "", 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice body = arena_printf(*state, "{\"model\":\"m\",\"messages\":[{\"role\":\"u\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
                                         "{\"url\":\"%s\"}}]}]}", cases[i].data);
        struct ask ask = must_parse(ENDPOINT_CHAT, body.p, *state);
        assert_int_equal(ask.part_count, 2);
        assert_int_equal(ask_part_at(&ask, 1)->kind, PART_IMAGE);
        if (ask_part_at(&ask, 1)->width != cases[i].w || ask_part_at(&ask, 1)->height != cases[i].h)
            fail_msg("%s: %ux%u", cases[i].data, ask_part_at(&ask, 1)->width, ask_part_at(&ask, 1)->height);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = { T(responses), T(completions), T(embeddings), T(messages), T(messages_counted), T(images) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
