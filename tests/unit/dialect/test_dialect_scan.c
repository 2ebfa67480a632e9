#include "dialect_support.h"

#include "base/json_scan.h"

/* Walks the text and skips its value. */
static bool valid(const char *text, size_t n, struct json_scan *s)
{
    json_scan_begin(s, slice_make(text, n));
    return json_scan_skip(s, NULL) && json_scan_end(s);
}

static void whole_documents(void **state)
{
    static const char *const good[] = {
        "0", "-0", "1", "-1.5e+10", "1E5", "1.0e-9", "123456789012345678901234567890", "\"\"", "true", "false", "null", "[]", "{}", " [ ] ",
        "\t{\r\n}\n", "[1,2,3]", "[[[]],{}]", "{\"a\":1}", "{\"\":{\"\":[]}}", "{\"a\":1,\"a\":2}", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uFFFF\"",
        "\"\\ud800\"", "\"\\udc00\\ud800x\"", "\"\x7f\"", "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
        "{\"k\" : [ true , null ] , \"l\" : -0.0 }",
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char *p = tight(good[i], strlen(good[i]));
        struct json_scan s;
        if (!valid(p, strlen(good[i]), &s))
            fail_msg("refused: %s: %s at %zu", good[i], s.error, s.error_at);
        free(p);
    }
}

static const struct {
    const char *text;
    size_t at;
    bool truncated;
} bad[] = {
    { "", 0, true }, { "  ", 2, true }, { "{", 1, true }, { "[", 1, true }, { "\"", 1, true }, { "\"a", 2, true }, { "\"\\", 2, true },
    { "\"\\u12", 5, true }, { "tru", 3, true }, { "-", 1, true }, { "1.", 2, true }, { "1e", 2, true }, { "1e+", 3, true },
    { "[1", 2, true }, { "[1,", 3, true }, { "{\"a\"", 4, true }, { "{\"a\":", 5, true }, { "{\"a\":1", 6, true }, { "{\"a\":1,", 7, true },
    { "\"\xe4\xb8", 3, true }, { "\"\xf0\x9f\x98", 4, true },
    { "x", 0, false }, { "tRue", 0, false }, { "nul1", 0, false }, { "01", 0, false }, { "-a", 1, false }, { "1.x", 2, false },
    { "+1", 0, false }, { ".5", 0, false }, { "1 2", 2, false }, { "{} {}", 3, false }, { "[1]]", 3, false }, { "[1 2]", 3, false },
    { "[,1]", 1, false }, { "[1,]", 3, false }, { "{,}", 1, false }, { "{\"a\":1,}", 7, false }, { "{\"a\" 1}", 5, false },
    { "{a:1}", 1, false }, { "{1:1}", 1, false }, { "[}", 1, false }, { "{]", 1, false }, { "[1}", 2, false }, { "'a'", 0, false },
    { "\"\n\"", 1, false }, { "\"a\x1f\"", 2, false }, { "\"\\x\"", 1, false }, { "\"\\u12g4\"", 1, false }, { "\"\\u\"", 1, false },
    { "\"\x80\"", 1, false }, { "\"\xc0\x80\"", 1, false }, { "\"\xc1\xbf\"", 1, false }, { "\"\xe0\x80\x80\"", 1, false },
    { "\"\xe0\x9f\xbf\"", 1, false }, { "\"\xed\xa0\x80\"", 1, false }, { "\"\xf0\x8f\xbf\xbf\"", 1, false },
    { "\"\xf4\x90\x80\x80\"", 1, false }, { "\"\xf5\x80\x80\x80\"", 1, false }, { "\"\xff\"", 1, false }, { "\"\xe4\xb8\"", 1, false },
    { "\"\xe4\"", 1, false }, { "[NaN]", 1, false }, { "[Infinity]", 1, false }, { "/**/1", 0, false }, { "\xef\xbb\xbf{}", 0, false },
};

static void not_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t n = strlen(bad[i].text);
        char *p = tight(bad[i].text, n);
        struct json_scan s;
        if (valid(p, n, &s))
            fail_msg("accepted: %s", bad[i].text);
        if (s.error_at != bad[i].at || s.truncated != bad[i].truncated)
            fail_msg("%s: \"%s\" at %zu%s, want %zu", bad[i].text, s.error, s.error_at, s.truncated ? " truncated" : "", bad[i].at);
        free(p);
    }
}

enum { LONG_BEFORE = 150, LONG_ALL = 350 };

/* What the short text has in its string, behind ever more of a long string of mixed characters: mistakes are found where they are. */
static void check_in_long_string(const char *text, bool good, size_t at, bool truncated)
{
    static const char *const filler[] = { "h", "\xc3\xa9", "\xd0\xbc", "\xd0\xb8", " ", "\xe4\xb8\xad", "\xf0\x9f\x98\x80", "\xe6\x96\x87", "," };
    char all[LONG_ALL];
    size_t length = strlen(text) - 1, n = 1;

    all[0] = '"';
    for (size_t k = 0; n < LONG_BEFORE; k++) {
        struct json_scan s;
        struct json_text t;
        size_t m = n + length;
        memcpy(all + n, text + 1, length);
        if (!truncated) { /* more behind it, of which nothing may be seen first */
            memset(all + m, 'x', LONG_ALL - m);
            m = LONG_ALL;
            all[m - 1] = '"';
        }
        char *p = tight(all, m);
        json_scan_begin(&s, slice_make(p, m));
        if (json_scan_string(&s, &t) != good)
            fail_msg("%s behind %zu bytes: %s", text, n, good ? s.error : "accepted");
        if (!good && (s.error_at != n + at - 1 || s.truncated != truncated))
            fail_msg("%s behind %zu bytes: \"%s\" at %zu, want %zu", text, n, s.error, s.error_at, n + at - 1);
        free(p);
        const char *more = filler[k % (sizeof filler / sizeof *filler)];
        memcpy(all + n, more, strlen(more));
        n += strlen(more);
    }
}

static void mistakes_in_long_strings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (bad[i].text[0] == '"')
            check_in_long_string(bad[i].text, false, bad[i].at, bad[i].truncated);
    check_in_long_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uFFFF", true, 0, false);
    check_in_long_string("\"\\ud83d\\ude00\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true, 0, false);
}

static void depth_is_bounded(void **state)
{
    const size_t n = 1 << 20;
    char *bomb = malloc(n);
    struct json_scan s;
    (void)state;
    memset(bomb, '[', n);
    assert_false(valid(bomb, n, &s));
    assert_int_equal(s.error_at, JSON_MAX_DEPTH);
    assert_false(s.truncated);
    memset(bomb + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
    assert_true(valid(bomb, 2 * JSON_MAX_DEPTH, &s));
    free(bomb);
}

/* A quote, backslash, control or non-ASCII byte is found at every distance, by both ways and with nothing read behind the end. */
static void runs_end_where_they_end(void **state)
{
    (void)state;
    for (size_t n = 0; n < 70; n++) {
        char *p = malloc(n + 1);
        memset(p, 'a', n);
        char *exact = tight(p, n);
        assert_ptr_equal(json_plain_run(exact, exact + n), exact + n);
        assert_ptr_equal(json_plain_run_portable(exact, exact + n), exact + n);
        for (size_t at = 0; at < n; at++)
            for (int c = 0; c < 256; c++) {
                bool stops = c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
                exact[at] = (char)c;
                assert_ptr_equal(json_plain_run(exact, exact + n), stops ? exact + at : exact + n);
                assert_ptr_equal(json_plain_run_portable(exact, exact + n), stops ? exact + at : exact + n);
                exact[at] = 'a';
            }
        free(exact);
        free(p);
    }
}

static void unescaping(void **state)
{
    static const struct {
        const char *raw, *want;
        size_t n;
    } cases[] = {
        { "a\\\"b\\\\c\\/", "a\"b\\c/", 6 },       { "\\b\\f\\n\\r\\t", "\b\f\n\r\t", 5 },       { "\\u0041\\u00e9\\u20AC", "A\xc3\xa9\xe2\x82\xac", 6 },
        { "\\ud83d\\ude00", "\xf0\x9f\x98\x80", 4 }, { "x\\ud83dy", "x\xef\xbf\xbdy", 5 },          { "\\ude00\\ud83d", "\xef\xbf\xbd\xef\xbf\xbd", 6 },
        { "\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80", 7 }, { "a\\u0000b", "a\0b", 3 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_text t = { .raw = slice_cstr(cases[i].raw), .escaped = true };
        struct slice got = json_text_decode(t, *state);
        assert_int_equal(got.n, cases[i].n);
        assert_memory_equal(got.p, cases[i].want, got.n);
        assert_true(json_text_is(t, slice_make(cases[i].want, cases[i].n)));
        assert_false(json_text_is(t, SLICE_LIT("model")));
    }
}

static void escaping_is_ascii(void **state)
{
    char out[128];
    static const char text[] = "q\" b\\ n\n t\t \x01 \x7f \xc3\xa9 \xf0\x9f\x98\x80 \xff \xe4\xb8";
    (void)state;
    size_t n = json_escape_ascii(slice_make(text, sizeof text - 1), out);
    assert_slice(slice_make(out, n),
                 "q\\\" b\\\\ n\\n t\\t \\u0001 \\u007f \\u00e9 \\ud83d\\ude00 \\ufffd \\ufffd\\ufffd");
}

static void integers(void **state)
{
    int64_t v;
    (void)state;
    assert_true(json_number_int(SLICE_LIT("-42"), &v) && v == -42);
    assert_true(json_number_int(SLICE_LIT("999999999999999999"), &v) && v == 999999999999999999);
    assert_false(json_number_int(SLICE_LIT("1000000000000000000"), &v));
    assert_false(json_number_int(SLICE_LIT("1.0"), &v));
    assert_false(json_number_int(SLICE_LIT("1e3"), &v));
}

#define T(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = { T(whole_documents), T(not_json), T(mistakes_in_long_strings), T(depth_is_bounded), T(runs_end_where_they_end), T(unescaping),
                                        T(escaping_is_ascii), T(integers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
