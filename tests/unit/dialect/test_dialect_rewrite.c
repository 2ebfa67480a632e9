#include "dialect_support.h"

#include "dialect/dialect_rewrite.h"
#include "dialect/error.h"

/* Parses, rewrites, applies; checks the list, the delta and that the result is whole. */
static const char *rewritten(enum endpoint e, const char *body, const struct rewrite_wish *wish, struct arena *a)
{
    struct ask ask = must_parse(e, body, a), again;
    struct slice edits, out;
    struct refusal why;
    int64_t delta;

    assert_int_equal(dialect_rewrite(&ask, slice_cstr(body), wish, a, &edits, &delta), 0);
    for (size_t i = 0; i < edits.n; i++)
        assert_in_range((unsigned char)edits.p[i], 0x20, 0x7e);
    assert_int_equal(dialect_rewrite_apply(slice_cstr(body), edits, a, &out), 0);
    assert_int_equal((int64_t)out.n, (int64_t)strlen(body) + delta);
    if (dialect_parse(e, out, a, &again, &why) != 0)
        fail_msg("result refused: %.*s\n%.*s", SLICE_FMT(why.message), SLICE_FMT(out));
    return arena_cstr(a, out);
}

#define MSG "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
#define WISH(...) (&(struct rewrite_wish){ .output_ceiling = -1, __VA_ARGS__ })
#define CEILING(n, ...) (&(struct rewrite_wish){ .output_ceiling = (n), __VA_ARGS__ })

static void model_and_wire_format(void **state)
{
    const char *body = "{\"model\":\"chat\"," MSG "}";
    struct ask ask = must_parse(ENDPOINT_CHAT, body, *state);
    struct slice edits;
    int64_t delta;

    assert_int_equal(dialect_rewrite(&ask, slice_cstr(body), WISH(.model = SLICE_LIT("gpt-4o")), *state, &edits, &delta), 0);
    assert_slice(edits, "9,6,8:\"gpt-4o\";");
    assert_int_equal(delta, 2);
    assert_int_equal(dialect_rewrite(&ask, slice_cstr(body), CEILING(9, .model = SLICE_LIT("gpt-4o")), *state, &edits, &delta), 0);
    assert_slice(edits, "9,6,8:\"gpt-4o\";1,0,26:\"max_completion_tokens\":9,;");
    assert_int_equal(dialect_rewrite(&ask, slice_cstr(body), WISH(.model = SLICE_LIT("chat")), *state, &edits, &delta), 0);
    assert_slice(edits, "");
    assert_int_equal(delta, 0);
    assert_string_equal(rewritten(ENDPOINT_CHAT, body, WISH(.model = SLICE_LIT("a\"\xc3\xa9;,:")), *state),
                        "{\"model\":\"a\\\"\\u00e9;,:\"," MSG "}");
}

static void ceilings(void **state)
{
    static const struct {
        const char *body;
        struct rewrite_wish wish;
        const char *want;
    } cases[] = {
        { "{\"model\":\"m\"," MSG "}", { .output_ceiling = 5 }, "{\"max_completion_tokens\":5,\"model\":\"m\"," MSG "}" },
        { "{\"model\":\"m\"," MSG "}", { .output_ceiling = 5, .ceiling_key = "max_tokens" }, "{\"max_tokens\":5,\"model\":\"m\"," MSG "}" },
        { "{\"model\":\"m\"," MSG ",\"max_tokens\":9}", { .output_ceiling = 5 }, "{\"model\":\"m\"," MSG ",\"max_tokens\":5}" },
        { "{\"model\":\"m\"," MSG ",\"max_tokens\":3}", { .output_ceiling = 5 }, "{\"model\":\"m\"," MSG ",\"max_tokens\":3}" },
        { "{\"model\":\"m\"," MSG ",\"max_tokens\":null}", { .output_ceiling = 5 }, "{\"model\":\"m\"," MSG ",\"max_tokens\":5}" },
        { "{\"model\":\"m\"," MSG ",\"max_tokens\":9}", { .output_ceiling = 5, .rename_ceiling = true },
          "{\"model\":\"m\"," MSG ",\"max_completion_tokens\":5}" },
        { "{\"model\":\"m\"," MSG ",\"max_tokens\":9}", { .output_ceiling = -1, .rename_ceiling = true },
          "{\"model\":\"m\"," MSG ",\"max_completion_tokens\":9}" },
        /* the name wished holds a null already: it must not stand there twice */
        { "{\"model\":\"m\",\"max_completion_tokens\":null," MSG ",\"max_tokens\":9}", { .output_ceiling = 5, .rename_ceiling = true },
          "{\"model\":\"m\",\"max_completion_tokens\":5," MSG ",\"max_tokens\":null}" },
        { "{\"model\":\"m\",\"max_tokens\":null,\"max_completion_tokens\":null," MSG "}", { .output_ceiling = 5, .rename_ceiling = true },
          "{\"model\":\"m\",\"max_tokens\":null,\"max_completion_tokens\":5," MSG "}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(rewritten(ENDPOINT_CHAT, cases[i].body, &cases[i].wish, *state), cases[i].want);
    assert_string_equal(rewritten(ENDPOINT_RESPONSES, "{\"model\":\"m\",\"input\":\"x\"}", CEILING(5, .model = SLICE_NONE), *state),
                        "{\"max_output_tokens\":5,\"model\":\"m\",\"input\":\"x\"}");
    /* The documented default of 16 stays, whatever the policy would allow. */
    assert_string_equal(rewritten(ENDPOINT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":\"x\"}", CEILING(500, .model = SLICE_NONE), *state),
                        "{\"max_tokens\":16,\"model\":\"m\",\"prompt\":\"x\"}");
    assert_string_equal(rewritten(ENDPOINT_EMBEDDINGS, "{\"model\":\"m\",\"input\":\"x\"}", CEILING(5, .model = SLICE_NONE), *state),
                        "{\"model\":\"m\",\"input\":\"x\"}");
    assert_string_equal(rewritten(ENDPOINT_MESSAGES, "{\"model\":\"m\",\"max_tokens\":9," MSG "}", CEILING(5, .model = SLICE_NONE), *state),
                        "{\"model\":\"m\",\"max_tokens\":5," MSG "}");
}

static void stream_usage(void **state)
{
    static const char *const cases[][2] = {
        { "{\"model\":\"m\",\"stream\":true," MSG "}", "{\"stream_options\":{\"include_usage\":true},\"model\":\"m\",\"stream\":true," MSG "}" },
        { "{\"model\":\"m\",\"stream\":true,\"stream_options\":null," MSG "}",
          "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," MSG "}" },
        { "{\"model\":\"m\",\"stream\":true,\"stream_options\":{ }," MSG "}",
          "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true }," MSG "}" },
        { "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"x\":1}," MSG "}",
          "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":1}," MSG "}" },
        { "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"x\":1,\"include_usage\":false}," MSG "}",
          "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"x\":1,\"include_usage\":true}," MSG "}" },
        { "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":null}," MSG "}",
          "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," MSG "}" },
        { "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," MSG "}",
          "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," MSG "}" },
        { "{\"model\":\"m\",\"stream\":false," MSG "}", "{\"model\":\"m\",\"stream\":false," MSG "}" },
        { "{\"model\":\"m\"," MSG "}", "{\"model\":\"m\"," MSG "}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(rewritten(ENDPOINT_CHAT, cases[i][0], WISH(.include_usage = true), *state), cases[i][1]);
    assert_string_equal(rewritten(ENDPOINT_RESPONSES, "{\"model\":\"m\",\"stream\":true,\"input\":\"x\"}", WISH(.include_usage = true), *state),
                        "{\"model\":\"m\",\"stream\":true,\"input\":\"x\"}");
}

static void members(void **state)
{
    static const struct rewrite_member drop[] = { { "store", NULL }, { "metadata", NULL } }, set[] = { { "service_tier", "\"default\"" } };
    static const char *const cases[][2] = {
        { "{\"store\":true,\"model\":\"m\"," MSG "}", "{\"model\":\"m\"," MSG "}" },
        { "{\"model\":\"m\"," MSG " , \"store\":true }", "{\"model\":\"m\"," MSG " }" },
        { "{\"model\":\"m\",\"store\":true,\"metadata\":{},\"metadata\":{}," MSG "}", "{\"model\":\"m\"," MSG "}" },
        { "{\"store\":1,\"model\":\"m\",\"st\\u006fre\":2," MSG ",\"store\":1,\"metadata\":0}", "{\"model\":\"m\"," MSG "}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(rewritten(ENDPOINT_CHAT, cases[i][0], WISH(.members = drop, .member_count = 2), *state), cases[i][1]);
    assert_string_equal(rewritten(ENDPOINT_CHAT, "{\"model\":\"m\"," MSG "}", WISH(.members = set, .member_count = 1), *state),
                        "{\"service_tier\":\"default\",\"model\":\"m\"," MSG "}");
    assert_string_equal(rewritten(ENDPOINT_CHAT, "{\"model\":\"m\",\"service_tier\":\"priority\"," MSG "}",
                                  WISH(.members = set, .member_count = 1), *state),
                        "{\"model\":\"m\",\"service_tier\":\"default\"," MSG "}");
    /* A removal at the very place of the insertion. */
    assert_string_equal(rewritten(ENDPOINT_CHAT, "{\"store\":true,\"model\":\"m\"," MSG "}",
                                  CEILING(7, .members = drop, .member_count = 2), *state),
                        "{\"max_completion_tokens\":7,\"model\":\"m\"," MSG "}");
}

static void apply_refuses_bad_lists(void **state)
{
    static const char *const bad[] = { "x", "0,0,1:a", "0,0,2:a;", "9,0,0:;", "0,9,0:;", "0,0,1:a;1,0,1:b;", "1,2,0:;0,2,0:;", "0,0,1:\n;", ",0,0:;",
                                       "0,0,99999999999999999999:;" };
    struct slice out;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (dialect_rewrite_apply(SLICE_LIT("{}  "), slice_cstr(bad[i]), *state, &out) == 0)
            fail_msg("applied: %s", bad[i]);
    assert_int_equal(dialect_rewrite_apply(SLICE_LIT("{}  "), SLICE_LIT("2,2,0:;1,0,1:x;"), *state, &out), 0);
    assert_slice(out, "{x}");
}

static void error_bodies(void **state)
{
    struct refusal no = { .status = 429, .type = "insufficient_quota", .code = "insufficient_quota", .param = NULL,
                          .message = SLICE_LIT("Team \"r&d\"\n\xe2\x82\xac 5 spent \x7f") };
    assert_slice(dialect_error_body(ENDPOINT_CHAT, &no, *state),
                 "{\"error\":{\"message\":\"Team \\\"r&d\\\"\\n\\u20ac 5 spent \\u007f\",\"type\":\"insufficient_quota\",\"param\":null,"
                 "\"code\":\"insufficient_quota\"}}");
    assert_slice(dialect_error_body(ENDPOINT_MESSAGES, &no, *state),
                 "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"Team \\\"r&d\\\"\\n\\u20ac 5 spent \\u007f\"}}");
    no = (struct refusal){ .status = 400, .param = "messages[0].content", .message = SLICE_LIT("x") };
    assert_slice(dialect_error_body(ENDPOINT_RESPONSES, &no, *state),
                 "{\"error\":{\"message\":\"x\",\"type\":\"invalid_request_error\",\"param\":\"messages[0].content\",\"code\":null}}");
    static const struct {
        int status;
        const char *type;
    } types[] = { { 401, "authentication_error" }, { 403, "permission_error" }, { 404, "not_found_error" }, { 413, "request_too_large" },
                  { 503, "overloaded_error" }, { 500, "api_error" }, { 400, "invalid_request_error" } };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        no = (struct refusal){ .status = types[i].status, .type = "x", .message = SLICE_LIT("m") };
        assert_slice(dialect_error_body(ENDPOINT_MESSAGES, &no, *state),
                     arena_printf(*state, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"m\"}}", types[i].type).p);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = { T(model_and_wire_format), T(ceilings), T(stream_usage), T(members), T(apply_refuses_bad_lists),
                                        T(error_bodies) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
