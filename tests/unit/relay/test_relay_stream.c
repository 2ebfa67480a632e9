#include "relay/relay_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEAD "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\nx-tg-group: a\r\n\r\n"

/* The first word of an event's data says what it is. */
static unsigned judge(void *user, struct slice event)
{
    static const struct {
        const char *word;
        unsigned is;
    } kinds[] = { { "open", RELAY_OPENING }, { "fin", RELAY_FINISHED }, { "err", RELAY_ERROR }, { "busy", RELAY_ERROR | RELAY_RETRY },
                  { "stop", RELAY_STOP },    { "last", RELAY_STOP | RELAY_FINISHED }, { ":", RELAY_OPENING } };
    (*(int *)user)++;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char text[32];
        snprintf(text, sizeof text, "%s%s", kinds[i].word[0] == ':' ? "" : "data: ", kinds[i].word);
        if (slice_starts(event, slice_cstr(text)))
            return kinds[i].is;
    }
    return 0;
}

struct run {
    struct relay_stream s;
    char text[1 << 16];
    size_t n;
    int judged;
};

static void run_begin(struct run *r, enum relay_shape shape, bool may_retry)
{
    struct relay_rules rules = { .shape = shape, .may_retry = may_retry, .attempt = 1, .group = SLICE_LIT("a"), .judge = judge,
                                 .user = &r->judged };
    *r = (struct run){ .n = 0 };
    relay_stream_init(&r->s, &rules);
}

static const char *drain(struct run *r)
{
    struct slice out = relay_buffer_content(&r->s.out);
    assert_true(r->n + out.n < sizeof r->text);
    if (out.n > 0)
        memcpy(r->text + r->n, out.p, out.n);
    r->n += out.n;
    r->text[r->n] = '\0';
    relay_buffer_drop(&r->s.out, out.n);
    return r->text;
}

/* In pieces of `step` bytes. */
static void give(struct run *r, const char *bytes, size_t step)
{
    size_t n = strlen(bytes);
    for (size_t i = 0; i < n; i += step)
        relay_stream_take(&r->s, slice_make(bytes + i, n - i < step ? n - i : step));
}

static void run_end(struct run *r)
{
    relay_stream_free(&r->s);
}

/* What a client makes of chunked bytes behind the head; NULL when the coding does not end. */
static char *decoded(const char *response)
{
    const char *body = strstr(response, "\r\n\r\n");
    assert_non_null(body);
    struct slice in = slice_cstr(body + 4);
    struct relay_chunks c = { .state = RELAY_CHUNK_SIZE };
    char *text = calloc(1, in.n + 1);
    size_t n = 0;
    assert_non_null(text);
    while (in.n > 0) {
        struct slice d = relay_chunks_next(&c, &in);
        if (d.n > 0)
            memcpy(text + n, d.p, d.n);
        n += d.n;
        if (c.state >= RELAY_CHUNK_DONE)
            break;
    }
    assert_int_equal(c.state, RELAY_CHUNK_DONE);
    assert_int_equal(in.n, 0);
    return text;
}

static void expect_body(struct run *r, const char *body)
{
    char *text = decoded(drain(r));
    assert_string_equal(text, body);
    free(text);
}

static void test_a_healthy_stream_passes_whatever_its_pieces(void **state)
{
    (void)state;
    static const char all[] = HEAD "c\r\ndata: open\n\n\r\n9\r\ndata: hel\r\n8;x=y\r\nlo\n\ndata\r\nc\r\n: fin\r\n\r\ndat\r\nb\r\na: [DONE]\n\n\r\n0\r\n\r\n";
    for (size_t step = 1; step < sizeof all; step++) {
        struct run r;
        run_begin(&r, RELAY_CHAT, true);
        give(&r, all, step);
        assert_int_equal(r.s.state, RELAY_ENDED);
        assert_int_equal(r.s.cause, RELAY_CAUSE_NONE);
        assert_int_equal(r.s.events, 4);
        expect_body(&r, "data: open\n\ndata: hello\n\ndata: fin\r\n\r\ndata: [DONE]\n\n");
        assert_int_equal(strncmp(r.text, HEAD, sizeof HEAD - 1), 0);
        run_end(&r);
    }
}

static void test_nothing_goes_out_before_something_was_said(void **state)
{
    (void)state;
    struct run r;
    run_begin(&r, RELAY_CHAT, true);
    give(&r, HEAD "c\r\ndata: open\n\n\r\n8\r\n: ping\n\n\r\n", 7);
    assert_string_equal(drain(&r), "");
    assert_int_equal(r.s.state, RELAY_HELD);
    give(&r, "c\r\ndata: text\n\n\r\n", 100);
    assert_int_equal(r.s.state, RELAY_OPEN);
    assert_non_null(strstr(drain(&r), "data: open\n\n: ping\n\n"));
    run_end(&r);
}

static void test_given_up_before_something_was_said(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum relay_cause cause;
        const char *status;
    } cases[] = {
        { "", RELAY_CAUSE_LATE, "HTTP/1.1 504 " },
        { HEAD "c\r\ndata: open\n\n\r\n", RELAY_CAUSE_LATE, "HTTP/1.1 504 " },
        { HEAD "c\r\ndata: open\n\n\r\n", RELAY_CAUSE_NONE, "HTTP/1.1 502 " }, /* end of the connection */
        { "HTTP/1.1 200", RELAY_CAUSE_NONE, "HTTP/1.1 502 " },
        { HEAD "0\r\n\r\n", RELAY_CAUSE_CUT, "HTTP/1.1 502 " },                /* an empty answer is no success */
        { HEAD "c\r\ndata: open\n\n\r\n0\r\n\r\n", RELAY_CAUSE_CUT, "HTTP/1.1 502 " },
        { HEAD "c\r\ndata: busy\n\n\r\n", RELAY_CAUSE_REFUSED, "HTTP/1.1 503 " },
        { HEAD "zz\r\n", RELAY_CAUSE_CUT, "HTTP/1.1 502 " },
        { "garbage\r\n\r\n", RELAY_CAUSE_CUT, "HTTP/1.1 502 " },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run r;
        run_begin(&r, RELAY_CHAT, true);
        give(&r, cases[i].bytes, 5);
        if (cases[i].cause == RELAY_CAUSE_LATE)
            relay_stream_fail(&r.s, RELAY_CAUSE_LATE);
        else if (cases[i].cause == RELAY_CAUSE_NONE)
            relay_stream_eof(&r.s);
        assert_int_equal(r.s.state, RELAY_ENDED);
        drain(&r);
        assert_int_equal(strncmp(r.text, cases[i].status, strlen(cases[i].status)), 0);
        assert_non_null(strstr(r.text, "\r\nx-tg-group: a\r\nx-tg-attempt: 1\r\n"));
        assert_null(strstr(r.text, "data:"));
        assert_null(strstr(r.text, "until here")); /* nothing had come */
        if (r.s.cause == RELAY_CAUSE_CUT)
            assert_non_null(strstr(r.text, "\"provider_error\""));
        run_end(&r);
    }
}

/* Each way a stream breaks after the client has had something, in each dialect. */
static void test_broken_streams_end_with_an_error_event(void **state)
{
    (void)state;
    static const char *const begins[] = { [RELAY_CHAT] = "data: {\"error\":{\"message\":",
                                          [RELAY_RESPONSES] = "event: error\ndata: {\"type\":\"error\",\"sequence_number\":1,",
                                          [RELAY_MESSAGES] = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"" };
    static const char *const codes[] = { "stream_interrupted", "stream_stalled", "gateway_restarting", "stream_interrupted",
                                         "stream_interrupted", "budget_exhausted" };
    for (int shape = RELAY_CHAT; shape <= RELAY_MESSAGES; shape++)
        for (int how = 0; how < 6; how++) {
            struct run r;
            char expected[64];
            run_begin(&r, (enum relay_shape)shape, true);
            give(&r, HEAD "c\r\ndata: text\n\n\r\n", 9);
            if (how < 3)
                give(&r, "9\r\ndata: hal\r\n", 4); /* half an event is never passed on */
            if (how == 0)
                relay_stream_eof(&r.s);
            else if (how == 1)
                relay_stream_fail(&r.s, RELAY_CAUSE_STALLED);
            else if (how == 2)
                relay_stream_fail(&r.s, RELAY_CAUSE_SHUTDOWN);
            else
                give(&r, how == 3 ? "0\r\n\r\n" : how == 4 ? "nothing\r\n" : "c\r\ndata: stop\n\n\r\nc\r\ndata: more\n\n\r\n", 100);
            assert_int_equal(r.s.state, RELAY_ENDED);
            char *body = decoded(drain(&r));
            const char *passed = how == 5 ? "data: text\n\ndata: stop\n\n" : "data: text\n\n";
            assert_int_equal(strncmp(body, passed, strlen(passed)), 0);
            if (how != 5)
                assert_int_equal(strncmp(body + strlen(passed), begins[shape], strlen(begins[shape])), 0);
            snprintf(expected, sizeof expected, "\"%s\"", codes[how]);
            assert_non_null(strstr(body, expected));
            assert_null(strstr(body, "more"));
            assert_null(strstr(body, "hal"));
            assert_null(strstr(body, "[DONE]"));
            free(body);
            run_end(&r);
        }
}

static void test_what_the_provider_ended_itself_is_left_alone(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *body;
        bool eof, may_retry;
    } cases[] = {
        { "b\r\ndata: err\n\n\r\n0\r\n\r\n", "data: err\n\n", false, true },            /* its own error event: one is enough */
        { "c\r\ndata: busy\n\n\r\n0\r\n\r\n", "data: busy\n\n", false, false },          /* nobody else to ask */
        { "b\r\ndata: fin\n\n\r\n", "data: fin\n\n", true, true },                        /* complete, the connection closed early */
        { "c\r\ndata: last\n\n\r\n0\r\n\r\n", "data: last\n\n", false, true },           /* passed the threshold with its last event */
        { "a\r\ndata: fin\n\r\n0\r\nx: y\r\n\r\n", "data: fin\n", false, true },         /* no blank line, and trailers */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run r;
        run_begin(&r, RELAY_CHAT, cases[i].may_retry);
        give(&r, HEAD, 1000);
        give(&r, cases[i].bytes, 6);
        if (cases[i].eof)
            relay_stream_eof(&r.s);
        assert_int_equal(r.s.state, RELAY_ENDED);
        expect_body(&r, cases[i].body);
        run_end(&r);
    }
}

static void test_other_responses_pass_as_they_are(void **state)
{
    (void)state;
    static const char *const all[] = {
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\n{..}",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"errors\": []}",
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t step = 1; step < 40; step += 13) {
            struct run r;
            run_begin(&r, RELAY_CHAT, true);
            give(&r, all[i], step);
            assert_int_equal(r.s.state, RELAY_PLAIN);
            relay_stream_fail(&r.s, RELAY_CAUSE_STALLED); /* nothing can be said in there */
            assert_string_equal(drain(&r), all[i]);
            relay_stream_eof(&r.s);
            assert_int_equal(r.s.state, RELAY_ENDED);
            run_end(&r);
        }
}

#define SAYS "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

/* Streams of a named length, and those that end with their connection, go out in chunks: only so can an end be told from a cut. */
static void test_streams_without_chunks(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *body;
        bool whole, eof;
    } cases[] = {
        { SAYS "\r\ndata: a\n\ndata: fin\n\n", "data: a\n\ndata: fin\n\n", true, true },
        { SAYS "\r\ndata: a\n\ndata: fin\n", "data: a\n\ndata: fin\n", true, true },
        { SAYS "\r\ndata: a\n\ndata: b\n\n", NULL, false, true },
        { SAYS "Content-Length: 20\r\n\r\ndata: a\n\ndata: fin\n\n", "data: a\n\ndata: fin\n\n", true, false },
        { SAYS "Content-Length: 18\r\n\r\ndata: a\n\ndata: b\n\n", NULL, false, false },
        { SAYS "Content-Length: 90\r\n\r\ndata: a\n\ndata: b\n\n", NULL, false, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 120; step += 17) {
            struct run r;
            run_begin(&r, RELAY_CHAT, true);
            give(&r, cases[i].bytes, step);
            if (cases[i].eof) {
                assert_int_not_equal(r.s.state, RELAY_ENDED);
                relay_stream_eof(&r.s);
            }
            assert_int_equal(r.s.state, RELAY_ENDED);
            assert_int_equal(r.s.cause, cases[i].whole ? RELAY_CAUSE_NONE : RELAY_CAUSE_CUT);
            assert_int_equal(strncmp(drain(&r), SAYS "transfer-encoding: chunked\r\n\r\n", sizeof SAYS + 29), 0);
            if (cases[i].whole)
                expect_body(&r, cases[i].body);
            else
                assert_non_null(strstr(r.text, "stream_interrupted"));
            run_end(&r);
        }
}

static void test_answers_that_say_nothing_to_a_reader_of_events(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool may_retry, refused;
    } cases[] = {
        { "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"error\": {}}", true, true },
        { "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"error\": {}}", false, true },
        { "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{ \"\r\n20\r\ntype\" : \"error\", \"error\" : null }\r\n", true, true },
        { "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"error\":\"busy\"}", true, true },
        { "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 26\r\n\r\n{\"object\":\"error\",\"code\":1}", true, true },
        { "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{\"error\": null}", true, false },
        { SAYS "content-encoding: gzip\r\n\r\n", true, true },
        { SAYS "content-encoding: gzip\r\n\r\nxx", false, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 120; step += 17) {
            struct run r;
            run_begin(&r, RELAY_CHAT, cases[i].may_retry);
            give(&r, cases[i].bytes, step);
            assert_int_equal(r.s.state, cases[i].refused ? RELAY_ENDED : RELAY_PLAIN);
            assert_int_equal(r.s.cause, cases[i].refused ? RELAY_CAUSE_REFUSED : RELAY_CAUSE_NONE);
            if (cases[i].refused)
                assert_int_equal(strncmp(drain(&r), "HTTP/1.1 503 ", 13), 0);
            else
                assert_string_equal(drain(&r), cases[i].bytes);
            run_end(&r);
        }
}

static void test_an_error_that_blames_the_request_is_the_clients(void **state)
{
    (void)state;
    static const char whole[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 35\r\nx-a: b\r\n\r\n"
                                "{\"error\": {\"code\":\"content_filter\"}}";
    struct run r;
    run_begin(&r, RELAY_CHAT, true);
    give(&r, whole, sizeof whole);
    assert_int_equal(r.s.state, RELAY_PLAIN);
    assert_int_equal(r.s.cause, RELAY_CAUSE_NONE);
    assert_string_equal(drain(&r), "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 35\r\nx-a: b\r\n\r\n"
                                   "{\"error\": {\"code\":\"content_filter\"}}");
    run_end(&r);
}

static void test_a_long_event_passes_in_pieces(void **state)
{
    (void)state;
    struct run r;
    size_t n = RELAY_EVENT_MAX + 1000, out = 0;
    char *big = malloc(n), size[32];
    assert_non_null(big);
    memset(big, 'x', n);
    run_begin(&r, RELAY_CHAT, true);
    give(&r, HEAD "6\r\ndata: \r\n", 100);
    snprintf(size, sizeof size, "%zx\r\n", n);
    give(&r, size, 100);
    for (size_t i = 0; i < n; i += 10000) {
        relay_stream_take(&r.s, slice_make(big + i, n - i < 10000 ? n - i : 10000));
        out += r.s.out.len;
        relay_buffer_drop(&r.s.out, r.s.out.len);
    }
    assert_true(out > n);
    assert_true(r.s.oversize);
    relay_stream_eof(&r.s);
    assert_non_null(strstr(drain(&r), "\n\n\r\n"));
    assert_non_null(strstr(r.text, "stream_interrupted"));
    free(big);
    run_end(&r);
}

static void test_heads(void **state)
{
    (void)state;
    struct relay_request q;
    const char *head = "POST /v1/messages?beta=true HTTP/1.1\r\nHost: x\r\nX-TG-Id: abc\r\nx-tg-pg: one\r\nx-tg-fg:two \r\n\r\nbody";
    for (size_t n = 0; n < strlen(head) - 4; n++)
        assert_int_equal(relay_request_parse(slice_make(head, n), &q), 0);
    assert_int_equal(relay_request_parse(slice_cstr(head), &q), 1);
    assert_int_equal(q.size, strlen(head) - 4);
    assert_true(slice_eq_cstr(q.path, "/v1/messages") && slice_eq_cstr(q.id, "abc"));
    assert_true(slice_eq_cstr(q.groups[0], "one") && slice_eq_cstr(q.groups[1], "two"));
    static const char *const bad[] = { "POST\r\n", "\r\n\r\n", "POST / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(relay_request_parse(slice_cstr(bad[i]), &q), -1);
    char *endless = malloc(RELAY_HEAD_MAX + 10);
    assert_non_null(endless);
    memset(endless, 'a', RELAY_HEAD_MAX + 10);
    assert_int_equal(relay_request_parse(slice_make(endless, RELAY_HEAD_MAX + 10), &q), -1);
    free(endless);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_healthy_stream_passes_whatever_its_pieces),
        cmocka_unit_test(test_nothing_goes_out_before_something_was_said),
        cmocka_unit_test(test_given_up_before_something_was_said),
        cmocka_unit_test(test_broken_streams_end_with_an_error_event),
        cmocka_unit_test(test_what_the_provider_ended_itself_is_left_alone),
        cmocka_unit_test(test_other_responses_pass_as_they_are),
        cmocka_unit_test(test_streams_without_chunks),
        cmocka_unit_test(test_answers_that_say_nothing_to_a_reader_of_events),
        cmocka_unit_test(test_an_error_that_blames_the_request_is_the_clients),
        cmocka_unit_test(test_a_long_event_passes_in_pieces),
        cmocka_unit_test(test_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
