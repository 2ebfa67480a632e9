#include "settle_support.h"

#include "settle/delivered.h"

#define EV(json) "data: " json "\n\n"

static struct delivered read_body(const char *body, bool sse, struct arena *a)
{
    struct delivered d;
    assert_int_equal(delivered_read(slice_cstr(body), sse, a, &d), 0);
    return d;
}

/* choice/kind:text, joined by "|" */
static const char *texts(const struct delivered *d, struct arena *a)
{
    struct slice all = SLICE_LIT("");
    for (size_t i = 0; i < d->text_count; i++)
        all = arena_printf(a, "%.*s%s%u%c:%.*s", SLICE_FMT(all), i > 0 ? "|" : "", d->texts[i].choice, "trc"[d->texts[i].kind],
                           SLICE_FMT(d->texts[i].text));
    return arena_cstr(a, all);
}

static void chat_stream(void **state)
{
    const char *body =
        EV("{\"id\":\"x\",\"model\":\"gpt-4o-2024\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}")
        EV("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}},{\"delta\":{\"content\":\"B\"},\"index\":1}]}")
        ": keep-alive\r\n\r\n"
        EV("{\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\",\"content\":\"l\\u00f6\\n\"}}]}")
        EV("{\"choices\":[{\"index\":1,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}")
        EV("{\"choices\":[{\"index\":1,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\":1}\"}}]}}]}")
        EV("{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}") EV("[DONE]");
    struct delivered d = read_body(body, true, *state);

    assert_string_equal(texts(&d, *state), "0t:Hell\xc3\xb6\n|0r:hm|1t:B|1c:f{\"a\":1}");
    assert_int_equal(d.choices, 2);
    assert_int_equal(d.tool_calls, 1);
    assert_true(d.terminal);
    assert_false(d.error || d.odd || d.cut);
    assert_slice(d.usage, "{\"prompt_tokens\":5,\"completion_tokens\":7}");
    assert_slice(d.model, "gpt-4o-2024");
}

/* Whatever the byte at which the stream ends: the text so far, and never more. */
static void stream_cut_anywhere(void **state)
{
    static const char whole[] = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ab\\\"c\\u00e9d\"}}]}\n\n"
                                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ef\"}}]}\n\n";
    static const char text[] = "ab\"c\xc3\xa9" "def";
    size_t before = 0;
    for (size_t n = 0; n < sizeof whole; n++) {
        char *cut = malloc(n + 1);
        struct delivered d;
        memcpy(cut, whole, n);
        assert_int_equal(delivered_read(slice_make(cut, n), true, *state, &d), 0);
        assert_true(d.text_count <= 1);
        size_t have = d.text_count == 1 ? d.texts[0].text.n : 0;
        assert_true(have >= before && have <= sizeof text - 1);
        if (have > 0)
            assert_memory_equal(d.texts[0].text.p, text, have);
        assert_false(d.odd || d.terminal || d.error);
        before = have;
        free(cut);
    }
    assert_int_equal(before, sizeof text - 1);
}

static void chat_plain(void **state)
{
    struct delivered d = read_body("{\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi\","
                                   "\"refusal\":null}},{\"index\":1,\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"c\","
                                   "\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}}]}",
                                   false, *state);
    assert_string_equal(texts(&d, *state), "0t:Hi|1c:g{}");
    assert_int_equal(d.choices, 2);
    assert_true(d.terminal);
    assert_int_equal(d.usage.n, 0);

    d = read_body("{\"choices\":[{\"index\":0,\"message\":{\"content\":\"Hi th", false, *state);
    assert_string_equal(texts(&d, *state), "0t:Hi th");
    assert_true(d.cut);
    assert_false(d.terminal || d.odd);

    d = read_body("{\"choices\":[{\"text\":\"old\",\"index\":0}]}", false, *state);
    assert_string_equal(texts(&d, *state), "0t:old");
}

static void anthropic_stream(void **state)
{
    const char *body =
        "event: message_start\n" EV("{\"type\":\"message_start\",\"message\":{\"model\":\"claude\",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}")
        "event: content_block_start\n" EV("{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}")
        EV("{\"type\": \"ping\"}")
        EV("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}")
        EV("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"why\"}}")
        EV("{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"w\",\"input\":{}}}")
        EV("{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"x\\\":2}\"}}")
        EV("{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":15}}")
        EV("{\"type\":\"message_stop\"}");
    struct delivered d = read_body(body, true, *state);

    assert_string_equal(texts(&d, *state), "0t:Hello|0r:why|0c:w{\"x\":2}");
    assert_true(d.terminal);
    assert_int_equal(d.tool_calls, 1);
    assert_int_equal(d.choices, 1);
    assert_slice(d.first_usage, "{\"input_tokens\":25,\"output_tokens\":1}");
    assert_slice(d.usage, "{\"output_tokens\":15}");

    d = read_body(EV("{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}"), true, *state);
    assert_true(d.error);
    assert_int_equal(d.text_count, 0);
}

static void anthropic_plain(void **state)
{
    struct delivered d = read_body("{\"type\":\"message\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"T\"},{\"type\":\"text\","
                                   "\"text\":\"A\"},{\"type\":\"tool_use\",\"name\":\"n\",\"input\":{\"q\":1}}],\"usage\":{\"input_tokens\":3}}",
                                   false, *state);
    assert_string_equal(texts(&d, *state), "0t:A|0r:T|0c:n{\"q\":1}");
    assert_slice(d.usage, "{\"input_tokens\":3}");
}

/* The .done events and response.completed repeat the text: it is counted once. */
static void responses_stream(void **state)
{
    const char *body =
        EV("{\"type\":\"response.created\",\"response\":{\"model\":\"m\",\"usage\":null,\"output\":[]}}")
        EV("{\"type\":\"response.output_item.added\",\"item\":{\"type\":\"function_call\",\"name\":\"f\",\"arguments\":\"\"}}")
        EV("{\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}") EV("{\"delta\":\" you\",\"type\":\"response.output_text.delta\"}")
        EV("{\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{}\"}")
        EV("{\"type\":\"response.reasoning_summary_text.delta\",\"delta\":\"r\"}")
        EV("{\"type\":\"response.output_text.done\",\"text\":\"Hi you\"}")
        EV("{\"type\":\"response.output_item.done\",\"item\":{\"type\":\"function_call\",\"name\":\"f\",\"arguments\":\"{}\"}}")
        EV("{\"type\":\"response.completed\",\"response\":{\"output\":[{\"content\":[{\"type\":\"output_text\",\"text\":\"Hi you\"}]}],"
           "\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}");
    struct delivered d = read_body(body, true, *state);

    assert_string_equal(texts(&d, *state), "0t:Hi you|0r:r|0c:f{}");
    assert_true(d.terminal);
    assert_int_equal(d.tool_calls, 1);
    assert_slice(d.usage, "{\"input_tokens\":1,\"output_tokens\":2}");

    d = read_body("{\"object\":\"response\",\"model\":\"m\",\"output\":[{\"type\":\"reasoning\",\"summary\":[{\"text\":\"s\"}]},"
                  "{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"A\"}]},{\"type\":\"function_call\","
                  "\"name\":\"f\",\"arguments\":\"{}\"}]}",
                  false, *state);
    assert_string_equal(texts(&d, *state), "0t:A|0r:s|0c:f{}");
}

static void what_is_no_answer(void **state)
{
    struct delivered d = read_body("{\"error\":{\"message\":\"no\"}}", false, *state);
    assert_true(d.error && d.terminal);
    d = read_body("{\"error\":{\"message\":\"no\"}}", true, *state); /* JSON under the stream's content type */
    assert_true(d.error && d.terminal);
    d = read_body("<html>Bad gateway</html>", false, *state);
    assert_true(d.odd);
    assert_int_equal(d.text_count, 0);
    d = read_body(EV("{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}") EV("{broken") EV("{\"choices\":[{\"delta\":{\"content\":\"b\"}}]}"), true,
                  *state);
    assert_true(d.odd);
    assert_string_equal(texts(&d, *state), "0t:ab");
    d = read_body("", true, *state);
    assert_false(d.terminal || d.odd || d.cut);
    /* data over several lines is one value */
    d = read_body("data: {\"choices\":[{\"delta\":\ndata:{\"content\":\"a\"}}]}\r\n\r\n", true, *state);
    assert_string_equal(texts(&d, *state), "0t:a");
}

int main(void)
{
    const struct CMUnitTest tests[] = { T(chat_stream), T(stream_cut_anywhere), T(chat_plain), T(anthropic_stream), T(anthropic_plain),
                                        T(responses_stream), T(what_is_no_answer) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
