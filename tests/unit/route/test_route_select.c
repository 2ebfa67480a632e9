#include "route/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct route_target chat[] = {
    { .target = { .group = SLICE_LIT("a"), .model = SLICE_LIT("small") }, .lacks = ASK_TOOLS, .context_window = 1000 },
    { .target = { .group = SLICE_LIT("b"), .model = SLICE_LIT("large") }, .context_window = 8000 },
    { .target = { .group = SLICE_LIT("c"), .model = SLICE_LIT("other") }, .endpoints = 1u << ENDPOINT_CHAT },
};
static const struct route_target bounded[] = {
    { .target = { .group = SLICE_LIT("a") }, .lacks = ASK_IMAGES, .context_window = 1000 },
    { .target = { .group = SLICE_LIT("b") }, .lacks = ASK_IMAGES, .context_window = 4000 },
};
static const struct route_target resting[] = {
    { .target = { .group = SLICE_LIT("a") } },
    { .target = { .group = SLICE_LIT("b") } },
};

#define ALIAS(n, list) { .name = SLICE_LIT(n), .targets = (list), .target_count = sizeof(list) / sizeof *(list) }
static const struct route_alias aliases[] = {
    ALIAS("chat-default", chat),
    ALIAS("bounded", bounded),
    ALIAS("resting", resting),
    { .name = SLICE_LIT("nothing") },
};
static const struct route_table table = { .aliases = aliases, .alias_count = 4 };

static struct route_query ask(const char *model)
{
    return (struct route_query){ .model = slice_cstr(model), .endpoint = ENDPOINT_CHAT, .input = -1 };
}

static void expect(const struct route_query *q, const char *primary, const char *fallback)
{
    struct arena *arena = arena_new(512);
    struct route_choice c;
    struct refusal r;
    assert_true(route_select(&table, q, NULL, arena, &c, &r));
    assert_true(slice_eq_cstr(c.primary->target.group, primary));
    if (fallback)
        assert_true(c.fallback && slice_eq_cstr(c.fallback->target.group, fallback));
    else
        assert_null(c.fallback);
    arena_free(arena);
}

static void expect_refusal(const struct route_query *q, int status, const char *code, const char *part)
{
    struct arena *arena = arena_new(512);
    struct route_choice c;
    struct refusal r;
    assert_false(route_select(&table, q, NULL, arena, &c, &r));
    assert_int_equal(r.status, status);
    assert_string_equal(r.code, code);
    assert_non_null(r.reason);
    assert_true(r.do_not_retry);
    char *text = arena_cstr(arena, r.message);
    assert_non_null(text);
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, text);
    for (size_t i = 0; i < table.alias_count; i++) /* no other name is given away */
        if (!slice_eq(aliases[i].name, q->model))
            assert_null(strstr(text, aliases[i].name.p));
    arena_free(arena);
}

static void test_order(void **state)
{
    (void)state;
    struct route_query q = ask("chat-default");
    expect(&q, "a", "b");
    assert_non_null(route_find(&table, SLICE_LIT("bounded")));
    assert_null(route_find(&table, SLICE_LIT("Bounded")));
}

static void test_features_size_and_endpoint_pass_targets_over(void **state)
{
    (void)state;
    struct route_query q = ask("chat-default");
    q.features = ASK_TOOLS | ASK_STREAM;
    expect(&q, "b", "c");
    q = ask("chat-default");
    q.input = 1000;
    expect(&q, "b", "c");
    q.input = 999;
    expect(&q, "a", "b");
    q = ask("chat-default");
    q.endpoint = ENDPOINT_EMBEDDINGS;
    q.features = ASK_TOOLS;
    expect(&q, "b", NULL);
}

static void test_drained_targets_only_when_none_is_left(void **state)
{
    (void)state;
    struct arena *arena = arena_new(512);
    struct route_query q = ask("resting");
    struct route_fact facts[2] = { { .state = ROUTE_DRAINED, .input = -1 }, { .state = ROUTE_USABLE, .input = -1 } };
    struct route_choice c;
    struct refusal r;
    assert_true(route_select(&table, &q, facts, arena, &c, &r));
    assert_ptr_equal(c.primary, &resting[1]);
    assert_null(c.fallback);
    facts[1].state = ROUTE_DRAINED;
    assert_true(route_select(&table, &q, facts, arena, &c, &r));
    assert_ptr_equal(c.primary, &resting[0]);
    assert_null(c.fallback);
    arena_free(arena);
}

static void test_refusals(void **state)
{
    (void)state;
    struct route_query q = ask("gpt-unknown");
    expect_refusal(&q, 404, "model_not_found", "gpt-unknown");
    q = ask("nothing");
    expect_refusal(&q, 404, "model_not_found", "nothing");
    q = ask("bounded");
    q.input = 5000;
    expect_refusal(&q, 400, "context_length_exceeded", "4000");
    q.input = 10;
    q.features = ASK_IMAGES;
    expect_refusal(&q, 400, "unsupported_feature", "images");
    q = ask("");
    expect_refusal(&q, 404, "model_not_found", "does not exist");
}

static void test_long_names_are_cut_between_characters(void **state)
{
    (void)state;
    char name[400];
    for (size_t i = 0; i + 2 < sizeof(name); i += 3)
        memcpy(name + i, "\xe2\x82\xac", 3);
    name[399] = '\0';
    struct arena *arena = arena_new(512);
    struct route_choice c;
    struct refusal r;
    struct route_query q = ask(name);
    assert_false(route_select(&table, &q, NULL, arena, &c, &r));
    assert_true(r.message.n < 130);
    const char *open = memchr(r.message.p, '"', r.message.n);
    assert_non_null(open);
    const char *close = memchr(open + 1, '"', r.message.n - (size_t)(open + 1 - r.message.p));
    assert_non_null(close);
    assert_int_equal((close - open - 1) % 3, 0);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_features_size_and_endpoint_pass_targets_over),
        cmocka_unit_test(test_drained_targets_only_when_none_is_left),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_long_names_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
