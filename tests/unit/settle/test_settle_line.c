#include "settle_support.h"

#include "settle/settle_line.h"
#include "settle/settle_octets.h"

static void both_tiers(void **state)
{
    struct settle_line l;
    const char *why;
    assert_int_equal(settle_line_parse(SLICE_LIT("{\"t\":1,\"id\":\"abc\",\"st\":200,\"tsc\":\"--\",\"srv\":\"fallback\",\"rc\":\"+1\","
                                                 "\"Tr\":12,\"Ta\":40,\"Td\":28,\"B\":1234,\"grp\":\"-\",\"ttfb\":\"-\"}\n"),
                                       *state, &l, &why), 0);
    assert_int_equal(l.tier, 1);
    assert_slice(l.id, "abc");
    assert_int_equal(l.status, 200);
    assert_slice(l.server, "fallback");
    assert_int_equal(l.retries, 1);
    assert_int_equal(l.tr, 12);
    assert_int_equal(l.bytes, 1234);
    assert_int_equal(l.group.n, 0);
    assert_int_equal(l.ttfb, SETTLE_LINE_ABSENT);
    assert_int_equal(l.too_long, SETTLE_LINE_ABSENT);
    assert_int_equal(l.tw, SETTLE_LINE_ABSENT);
    assert_false(settle_line_client_aborted(&l));

    assert_int_equal(settle_line_parse(SLICE_LIT("<134>1 2026 - haproxy 1 - - {\"t\":2,\"id\":\"abc\",\"grp\":\"openai\",\"att\":2,"
                                                 "\"st\":-1,\"tsc\":\"CD\",\"Tw\":0,\"Tc\":-1,\"Tr\":-1,\"rst\":\"429\",\"long\":\"1\"}"),
                                       *state, &l, &why), 0);
    assert_int_equal(l.tier, 2);
    assert_slice(l.group, "openai");
    assert_int_equal(l.attempt, 2);
    assert_int_equal(l.status, -1);
    assert_int_equal(l.tc, -1);
    assert_int_equal(l.provider_status, 429);
    assert_int_equal(l.too_long, 1);
    assert_true(settle_line_client_aborted(&l));
    assert_false(settle_line_error_body(&l));
}

static void error_bodies(void **state)
{
    static const struct {
        const char *line;
        bool is;
    } cases[] = {
        { "{\"t\":2,\"id\":\"a\",\"st\":503,\"rst\":\"200\"}", true },
        { "{\"t\":2,\"id\":\"a\",\"st\":200,\"rst\":\"200\"}", false },
        { "{\"t\":2,\"id\":\"a\",\"st\":503,\"rst\":\"503\"}", false },
        { "{\"t\":2,\"id\":\"a\",\"st\":503,\"rst\":\"429\"}", false },
        { "{\"t\":2,\"id\":\"a\",\"st\":503,\"rst\":\"-\"}", false },
        { "{\"t\":1,\"id\":\"a\",\"st\":503,\"rst\":\"200\"}", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settle_line l;
        const char *why;
        assert_int_equal(settle_line_parse(slice_cstr(cases[i].line), *state, &l, &why), 0);
        assert_int_equal(settle_line_error_body(&l), cases[i].is);
    }
}

static void bad_lines(void **state)
{
    static const char *const bad[] = {
        "", "hello", "{", "{}", "{\"t\":1}", "{\"t\":3,\"id\":\"a\"}", "{\"t\":1,\"id\":\"\"}", "{\"t\":1,\"id\":5}",
        "{\"t\":1,\"id\":\"a\",\"st\":\"x\"}", "{\"t\":1,\"id\":\"a\",\"st\":1.5}", "{\"t\":1,\"id\":\"a\",\"st\":1000}",
        "{\"t\":1,\"id\":\"a\",\"B\":1e300}", "{\"t\":1,\"id\":\"a\"}x", "{\"t\":1,\"id\":\"a\",\"st\":true}",
        "{\"t\":1,\"id\":\"a\",\"st\":\"1+1\"}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct settle_line l;
        const char *why = NULL;
        if (settle_line_parse(slice_cstr(bad[i]), *state, &l, &why) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
    }
}

/* The same lines, counted and ended, however the bytes are split. */
static void octets_split_everywhere(void **state)
{
    static const char stream[] = "5 hello{\"t\":2}\n1 x13 {\"t\":1,\"i\":2}{}\n{\"t\":3}\n";
    static const char *const want[] = { "hello", "{\"t\":2}", "x", "{\"t\":1,\"i\":2}", "{}", "{\"t\":3}" };
    const size_t n = sizeof stream - 1;
    (void)state;
    for (size_t cut = 0; cut <= n; cut++) {
        struct settle_octets *o = settle_octets_new(64);
        struct slice in[2] = { slice_make(stream, cut), slice_make(stream + cut, n - cut) }, line;
        const char *why;
        size_t got = 0;
        for (int k = 0; k < 2; k++) {
            while (settle_octets_next(o, &in[k], &line, &why) == 1)
                assert_slice(line, want[got++]);
            assert_int_equal(in[k].n, 0);
        }
        assert_int_equal(got, 6);
        settle_octets_free(o);
    }
}

static void octets_broken(void **state)
{
    static const char *const bad[] = { "x", " 5", "0 ", "65 x", "12345678 ", "<134>", "-1 ",
                                       "{5678901234567890123456789012345678901234567890123456789012345678901\n" };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct settle_octets *o = settle_octets_new(64);
        struct slice in = slice_cstr(bad[i]), line, more = SLICE_LIT("1 x");
        const char *why = NULL;
        assert_int_equal(settle_octets_next(o, &in, &line, &why), -1);
        assert_non_null(why);
        assert_int_equal(settle_octets_next(o, &more, &line, &why), -1);
        settle_octets_free(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { T(both_tiers), T(error_bodies), T(bad_lines), T(octets_split_everywhere), T(octets_broken) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
