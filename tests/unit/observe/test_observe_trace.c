/* Trace context, the queue of spans, and OTLP's JSON. */
#include "observe/otlp_json.h"
#include "observe/trace_queue.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static void test_traceparent(void **state)
{
    static const struct {
        const char *text;
        bool good;
        unsigned flags;
    } cases[] = {
        { "00-" TRACE "-" PARENT "-01", true, 1 },
        { "00-" TRACE "-" PARENT "-00", true, 0 },
        { "00-" TRACE "-" PARENT "-03", true, 3 },
        { "00-" TRACE "-" PARENT "-ff", true, 3 }, /* unknown flags are not passed on */
        { "00-" TRACE "-" PARENT "-fe", true, 2 },
        { "", false, 0 },
        { "00-" TRACE "-" PARENT "-0", false, 0 },
        { "00-" TRACE "-" PARENT "-011", false, 0 },
        { "00-" TRACE "-" PARENT "-0G", false, 0 },
        { "00-" TRACE "-" PARENT "-0A", false, 0 },
        { "00-" TRACE "-" PARENT "_01", false, 0 },
        { "00_" TRACE "-" PARENT "-01", false, 0 },
        { "00-" TRACE "_" PARENT "-01", false, 0 },
        { "01-" TRACE "-" PARENT "-01", false, 0 },
        { "ff-" TRACE "-" PARENT "-01", false, 0 },
        { "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01", false, 0 },
        { "00-" TRACE "-00F067AA0BA902B7-01", false, 0 },
        { "00-00000000000000000000000000000000-" PARENT "-01", false, 0 },
        { "00-" TRACE "-0000000000000000-01", false, 0 },
        { " 00-" TRACE "-" PARENT "-0", false, 0 },
        { "00-" TRACE "-" PARENT "-01-", false, 0 },
    };
    char text[TRACE_PARENT_BYTES + 1];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct trace_context t = { .flags = 77 };
        assert_int_equal(trace_parent_parse(slice_cstr(cases[i].text), &t), cases[i].good);
        assert_int_equal(t.flags, cases[i].good ? cases[i].flags : 77);
        assert_int_equal(t.parent, cases[i].good);
    }
    struct trace_context t = { .flags = 0 };
    assert_true(trace_parent_parse(slice_cstr(cases[0].text), &t));
    memcpy(t.try_id[1], "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
    trace_parent_write(&t, 1, text);
    assert_string_equal(text, "00-" TRACE "-0123456789abcdef-01");
    trace_id_write(&t, text);
    assert_string_equal(text, TRACE);
}

static void test_begin(void **state)
{
    const struct slice parent = SLICE_LIT("00-" TRACE "-" PARENT "-01"), unsampled = SLICE_LIT("00-" TRACE "-" PARENT "-00");
    struct trace_context t, other;
    unsigned sampled = 0;

    (void)state;
    /* The client's trace: its flag decides, whatever our share. */
    assert_true(trace_begin(&t, parent, 1, 0));
    assert_true(t.parent && t.flags == TRACE_SAMPLED);
    assert_true(trace_begin(&t, unsampled, 1, TRACE_SAMPLE_ALL));
    assert_true(t.parent && t.flags == 0);
    /* Two headers, or one that is wrong, are none. */
    assert_true(trace_begin(&t, parent, 2, TRACE_SAMPLE_ALL) && !t.parent && t.flags == TRACE_SAMPLED);
    assert_true(trace_begin(&other, SLICE_NONE, 0, TRACE_SAMPLE_ALL) && !other.parent);
    assert_memory_not_equal(t.trace_id, other.trace_id, 16);
    assert_memory_not_equal(t.span_id, other.span_id, 8);
    assert_memory_not_equal(t.span_id, t.try_id[0], 8);
    assert_memory_not_equal(t.try_id[0], t.try_id[1], 8);
    /* A quarter: 10 standard deviations around 1,000. */
    for (int i = 0; i < 4000; i++) {
        assert_true(trace_begin(&t, SLICE_NONE, 0, TRACE_SAMPLE_ALL / 4));
        sampled += t.flags;
    }
    assert_in_range(sampled, 720, 1280);
    assert_true(trace_begin(&t, SLICE_NONE, 0, 0) && t.flags == 0);
    assert_true(trace_state_ok(SLICE_LIT("a=b,c=d")));
    assert_false(trace_state_ok(SLICE_NONE));
    assert_false(trace_state_ok(SLICE_LIT("a=\xff")));
    assert_false(trace_state_ok(SLICE_LIT("a=\n")));
}

static struct trace_span *span_new(void)
{
    struct trace_span *s = calloc(1, sizeof *s);
    assert_non_null(s);
    return s;
}

static void test_queue(void **state)
{
    struct trace_queue *q = trace_queue_new(3);
    struct trace_span *s = span_new();

    (void)state;
    assert_non_null(q);
    assert_false(trace_queue_take(q, s));
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++) {
            assert_int_equal(trace_queue_count(q), i);
            s->started_us = round * 10 + i;
            assert_true(trace_queue_put(q, s));
        }
        assert_false(trace_queue_put(q, s));
        for (int i = 0; i < 4; i++) {
            assert_true(trace_queue_take(q, s));
            assert_int_equal(s->started_us, round * 10 + i);
        }
        assert_false(trace_queue_take(q, s));
    }
    trace_queue_free(q);
    free(s);
}

enum { WRITERS = 3, EACH = 3000 };

struct contest {
    struct trace_queue *q;
    atomic_int number, lost;
};

static void *contest_write(void *arg)
{
    struct contest *c = arg;
    struct trace_span *s = span_new();

    s->kind = (enum span_kind)0;
    s->ended_us = atomic_fetch_add(&c->number, 1);
    for (s->started_us = 0; s->started_us < EACH; s->started_us++)
        if (!trace_queue_put(c->q, s))
            atomic_fetch_add(&c->lost, 1);
    free(s);
    return NULL;
}

/* What was put in comes out once, each writer's in its order; what was lost is known. */
static void test_queue_of_many(void **state)
{
    struct contest c = { .q = trace_queue_new(64) };
    int64_t last[WRITERS] = { -1, -1, -1 };
    struct trace_span *s = span_new();
    pthread_t threads[WRITERS];
    int taken = 0;

    (void)state;
    assert_non_null(c.q);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, contest_write, &c), 0);
    while (taken + atomic_load(&c.lost) < WRITERS * EACH)
        if (trace_queue_take(c.q, s)) {
            assert_true(s->started_us > last[s->ended_us]);
            last[s->ended_us] = s->started_us;
            taken++;
        }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    assert_false(trace_queue_take(c.q, s));
    assert_int_equal(taken + atomic_load(&c.lost), WRITERS * EACH);
    trace_queue_free(c.q);
    free(s);
}

/* ---- JSON ---- */

static cJSON *encoded(const struct trace_span *const *spans, size_t n)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    otlp_json_begin(out, &(struct otlp_resource){ .service = "a \"service\"", .version = "1", .instance = "here" });
    for (size_t i = 0; i < n; i++)
        otlp_json_span(out, spans[i], i == 0);
    otlp_json_end(out);
    assert_int_equal(fclose(out), 0);
    cJSON *root = cJSON_ParseWithLengthOpts(text, len + 1, NULL, true);
    if (root == NULL)
        fail_msg("no JSON: %s", text);
    free(text);
    return root;
}

static const cJSON *span_at(const cJSON *root, int i)
{
    const cJSON *group = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "resourceSpans"), 0);
    const cJSON *scope = cJSON_GetArrayItem(cJSON_GetObjectItem(group, "scopeSpans"), 0);
    return cJSON_GetArrayItem(cJSON_GetObjectItem(scope, "spans"), i);
}

static const char *text_of(const cJSON *o, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    return text != NULL ? text : "";
}

/* The value as text, whatever its type; "" when there is none. */
static const char *attribute(const cJSON *span, const char *name)
{
    const cJSON *a;

    cJSON_ArrayForEach(a, cJSON_GetObjectItem(span, "attributes"))
        if (strcmp(text_of(a, "key"), name) == 0) {
            const cJSON *v = cJSON_GetObjectItem(a, "value")->child;
            return cJSON_IsString(v) ? v->valuestring : cJSON_IsTrue(v) ? "true" : cJSON_IsFalse(v) ? "false" : "number";
        }
    return "";
}

static int status_code(const cJSON *span)
{
    const cJSON *code = cJSON_GetObjectItem(cJSON_GetObjectItem(span, "status"), "code");
    return code != NULL ? code->valueint : 0;
}

static void test_request_span(void **state)
{
    struct trace_span *s = span_new();
    struct event *e = &s->request.event;

    (void)state;
    s->context = (struct trace_context){ .trace_id = "\x4b\xf9\x2f", .span_id = "\x01", .flags = 1 };
    s->started_us = INT64_C(1764000000123456);
    s->ended_us = s->started_us - 5; /* never before it began */
    strcpy(s->state, "a=b");
    *e = (struct event){ .kind = EVENT_SETTLED, .reason = "ok", .status = 200, .known_by = KNOWN_REPORTED, .attempts = 1, .stream = true,
                         .usage = { .input = 1, .input_cached = 2, .input_cache_write = 4, .input_cache_write_1h = 8, .output = 16,
                                    .output_reasoning = 32 },
                         .cost_nano = INT64_MAX, .hold_nano = 5, .budget_left_nano = -1, .ttft_us = 1000001, .identity_us = -1,
                         .tokens_us = 0, .budget_us = 7, .commit_us = -1, .output_ceiling = 100 };
    strcpy(e->provider, "amazon-bedrock");
    strcpy(e->alias, "chat-default");
    strcpy(e->model, "m");
    memcpy(e->team, "t\x01\"\\\xc3\xa9\xff", 8); /* quotes, a control byte, é, and no UTF-8 */
    strcpy(s->request.method, "POST");
    strcpy(s->request.host, "[::1]:8443");
    s->request.tls = true;
    const struct trace_span *all[] = { s };
    cJSON *root = encoded(all, 1);
    const cJSON *span = span_at(root, 0);

    assert_string_equal(text_of(span, "traceId"), "4bf92f00000000000000000000000000");
    assert_string_equal(text_of(span, "spanId"), "0100000000000000");
    assert_null(cJSON_GetObjectItem(span, "parentSpanId"));
    assert_string_equal(text_of(span, "traceState"), "a=b");
    assert_string_equal(text_of(span, "name"), "chat chat-default");
    assert_string_equal(text_of(span, "startTimeUnixNano"), "1764000000123456000");
    assert_string_equal(text_of(span, "endTimeUnixNano"), "1764000000123456000");
    assert_int_equal(cJSON_GetObjectItem(span, "kind")->valueint, 2);
    assert_int_equal(cJSON_GetObjectItem(span, "flags")->valueint, 0x101);
    assert_int_equal(status_code(span), 0);
    assert_string_equal(attribute(span, "gen_ai.provider.name"), "aws.bedrock");
    assert_string_equal(attribute(span, "gen_ai.usage.input_tokens"), "15");
    assert_string_equal(attribute(span, "gen_ai.usage.output_tokens"), "48");
    assert_string_equal(attribute(span, "gen_ai.usage.cache_read.input_tokens"), "2");
    assert_string_equal(attribute(span, "gen_ai.usage.cache_creation.input_tokens"), "12");
    assert_string_equal(attribute(span, "gen_ai.response.time_to_first_chunk"), "number");
    assert_string_equal(attribute(span, "tollgate.cost_nano"), "9223372036854775807");
    assert_string_equal(attribute(span, "tollgate.team"), "t\x01\"\\\xc3\xa9\xef\xbf\xbd");
    assert_string_equal(attribute(span, "tollgate.prompt_cache"), "hit");
    assert_string_equal(attribute(span, "server.address"), "::1");
    assert_string_equal(attribute(span, "server.port"), "8443");
    assert_string_equal(attribute(span, "url.scheme"), "https");
    assert_string_equal(attribute(span, "tollgate.budget_left_nano"), "");
    assert_string_equal(attribute(span, "tollgate.tokens_us"), "0");
    assert_string_equal(attribute(span, "error.type"), "");
    cJSON_Delete(root);
    free(s);
}

/* What became of a request, as error and status: who is to blame decides. */
static void test_errors(void **state)
{
    static const struct {
        enum event_kind kind;
        const char *reason;
        int http;
        const char *error;
        int status;
    } cases[] = {
        { EVENT_SETTLED, "ok", 200, "", 0 },
        { EVENT_SETTLED, "client_abort", 200, "", 0 },
        { EVENT_SETTLED, "no_usage", 200, "", 0 },
        { EVENT_SETTLED, "count_tokens", 200, "", 0 },
        { EVENT_SETTLED, "stream_interrupted", 200, "stream_interrupted", 2 },
        { EVENT_SETTLED, "cut", 200, "cut", 2 },
        { EVENT_SETTLED, "given_up", 0, "given_up", 2 },
        { EVENT_SETTLED, "provider_error", 404, "404", 0 },
        { EVENT_SETTLED, "provider_error", 503, "503", 2 },
        { EVENT_DENIED, "budget", 429, "budget", 0 },
        { EVENT_DENIED, "ledger_unavailable", 503, "ledger_unavailable", 2 },
        { EVENT_ANSWERED, NULL, 200, "", 0 },
    };
    struct trace_span *s = span_new();
    const struct trace_span *all[] = { s };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        s->request.event = (struct event){ .kind = cases[i].kind, .reason = cases[i].reason, .status = cases[i].http };
        strcpy(s->request.event.alias, "made-up");
        strcpy(s->request.method, "GET");
        strcpy(s->request.path, "/v1/models");
        cJSON *root = encoded(all, 1);
        const cJSON *span = span_at(root, 0);
        assert_string_equal(attribute(span, "error.type"), cases[i].error);
        assert_int_equal(status_code(span), cases[i].status);
        assert_string_equal(text_of(span, "name"), cases[i].kind == EVENT_ANSWERED ? "GET /v1/models" : "chat");
        cJSON_Delete(root);
    }
    free(s);
}

static void test_try_spans(void **state)
{
    static const struct {
        const char *outcome;
        int http;
        const char *error;
    } cases[] = { { "ok", 200, "" }, { "error", 429, "429" }, { "connect_failed", 0, "connect_failed" }, { "client_abort", 0, "" } };
    struct trace_span *request = span_new(), *s = span_new();
    const struct trace_span *all[] = { request, s };

    (void)state;
    request->request.event.kind = EVENT_ANSWERED;
    s->kind = SPAN_TRY;
    s->context = request->context = (struct trace_context){ .trace_id = "t", .parent_id = "p", .span_id = "s", .try_id = { "1", "2" },
                                                            .flags = 3, .parent = true };
    for (size_t i = 0; i < COUNT(cases); i++) {
        s->attempt = (struct span_try){ .number = 2, .port = 443, .outcome = cases[i].outcome, .status = cases[i].http,
                                        .first_byte_us = -1, .provider = "mistral", .model = "m", .address = "api.example" };
        cJSON *root = encoded(all, 2);
        const cJSON *span = span_at(root, 1);
        assert_string_equal(text_of(span_at(root, 0), "parentSpanId"), "7000000000000000");
        assert_int_equal(cJSON_GetObjectItem(span_at(root, 0), "flags")->valueint, 0x303);
        assert_string_equal(text_of(span, "parentSpanId"), "7300000000000000");
        assert_string_equal(text_of(span, "spanId"), "3200000000000000");
        assert_string_equal(text_of(span, "name"), "chat m");
        assert_int_equal(cJSON_GetObjectItem(span, "kind")->valueint, 3);
        assert_int_equal(cJSON_GetObjectItem(span, "flags")->valueint, 0x103);
        assert_string_equal(attribute(span, "error.type"), cases[i].error);
        assert_int_equal(status_code(span), cases[i].error[0] != '\0' ? 2 : 0);
        assert_string_equal(attribute(span, "server.address"), "api.example");
        assert_string_equal(attribute(span, "tollgate.first_byte_us"), "");
        cJSON_Delete(root);
    }
    free(request);
    free(s);
}

static void test_replies(void **state)
{
    static const struct {
        const char *body;
        bool good;
        int64_t rejected;
        const char *why;
    } cases[] = {
        { "", true, 0, "" },
        { "{}", true, 0, "" },
        { "{\"partialSuccess\":{}}", true, 0, "" },
        { "{\"partialSuccess\":{\"rejectedSpans\":\"3\",\"errorMessage\":\"old\"}}", true, 3, "old" },
        { "{\"partialSuccess\":{\"rejectedSpans\":3}}", true, 3, "" },
        { "{\"partialSuccess\":{\"errorMessage\":\"beware\"}}", true, 0, "beware" },
        { "{\"partialSuccess\":{\"rejectedSpans\":\"-3\"}}", false, 0, "" },
        { "{\"partialSuccess\":{\"rejectedSpans\":\"3x\"}}", false, 0, "" },
        { "{\"partialSuccess\":{\"rejectedSpans\":1.5}}", false, 0, "" },
        { "{\"partialSuccess\":[]}", false, 0, "" },
        { "[]", false, 0, "" },
        { "ok", false, 0, "" },
        { "<html>", false, 0, "" },
    };
    char why[64];
    int64_t rejected;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(otlp_json_reply(slice_cstr(cases[i].body), &rejected, why, sizeof why), cases[i].good);
        if (cases[i].good) {
            assert_int_equal(rejected, cases[i].rejected);
            assert_string_equal(why, cases[i].why);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traceparent),   cmocka_unit_test(test_begin),     cmocka_unit_test(test_queue),
        cmocka_unit_test(test_queue_of_many), cmocka_unit_test(test_request_span), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_try_spans),     cmocka_unit_test(test_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
