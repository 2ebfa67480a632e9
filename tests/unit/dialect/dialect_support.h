/* Shared by the tests of this folder: an arena for each test and short ways to parse. */
#ifndef DIALECT_SUPPORT_H
#define DIALECT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "dialect/dialect.h"

static inline int arena_setup(void **state)
{
    *state = arena_new(4096);
    return *state == NULL;
}

static inline int arena_teardown(void **state)
{
    arena_free(*state);
    return 0;
}

/* A copy without room behind it, so that a sanitizer sees a read past the end. */
static inline char *tight(const char *text, size_t n)
{
    char *p = malloc(n > 0 ? n : 1);
    assert_non_null(p);
    memcpy(p, text, n);
    return p;
}

static inline void assert_slice(struct slice got, const char *want)
{
    if (!slice_eq_cstr(got, want))
        fail_msg("got \"%.*s\", want \"%s\"", SLICE_FMT(got), want);
}

/* The body as it stands in an ask that must succeed. */
static inline struct ask must_parse(enum endpoint e, const char *body, struct arena *a)
{
    struct ask ask;
    struct refusal why;
    if (dialect_parse(e, slice_cstr(body), a, &ask, &why) != 0)
        fail_msg("refused: %.*s\n%s", SLICE_FMT(why.message), body);
    return ask;
}

static inline struct refusal must_refuse(enum endpoint e, const char *body, struct arena *a)
{
    struct ask ask;
    struct refusal why;
    if (dialect_parse(e, slice_cstr(body), a, &ask, &why) == 0)
        fail_msg("not refused: %s", body);
    assert_int_equal(why.status, 400);
    assert_string_equal(why.type, "invalid_request_error");
    assert_true(why.message.n > 0);
    return why;
}

/* All parts as text, one a line: kind place message what. */
static inline char *parts_text(const struct ask *ask, struct arena *a)
{
    static const char *const kinds[] = { "text", "json", "image", "audio", "file", "tokens", "unknown" };
    static const char *const places[] = { "role",  "name",   "content", "tool_call",  "tool_result", "tools",
                                          "schema", "system", "prompt",  "prediction", "other" };
    struct slice all = SLICE_LIT("");
    for (size_t i = 0; i < ask->part_count; i++) {
        const struct ask_part *p = ask_part_at(ask, i);
        struct slice line;
        int m = p->message == UINT32_MAX ? -1 : (int)p->message;
        if (p->kind == PART_TEXT || p->kind == PART_JSON)
            line = arena_printf(a, "%.*s%s %s %d %.*s\n", SLICE_FMT(all), kinds[p->kind], places[p->place], m, SLICE_FMT(p->raw));
        else if (p->kind == PART_IMAGE)
            line = arena_printf(a, "%.*simage %s %d %ux%u %d\n", SLICE_FMT(all), places[p->place], m, p->width, p->height, p->detail);
        else
            line = arena_printf(a, "%.*s%s %s %d %llu\n", SLICE_FMT(all), kinds[p->kind], places[p->place], m,
                                (unsigned long long)(p->kind == PART_TOKENS ? p->count : p->bytes));
        all = line;
    }
    return arena_cstr(a, all);
}

static inline void assert_parts(const struct ask *ask, struct arena *a, const char *want)
{
    assert_string_equal(parts_text(ask, a), want);
}

#endif
