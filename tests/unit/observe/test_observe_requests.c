/* Events become metrics; label values are bounded. */
#include "observe/label_values.h"
#include "observe/request_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_label_values(void **state)
{
    struct label_values *v = label_values_new(2);
    char longer[200];

    (void)state;
    assert_non_null(v);
    memset(longer, 'x', sizeof longer);
    struct slice a = label_value(v, SLICE_LIT("a"));
    assert_true(slice_eq_cstr(a, "a"));
    assert_true(slice_eq_cstr(label_value(v, slice_make(longer, sizeof longer)), "_other"));
    assert_true(slice_eq_cstr(label_value(v, SLICE_LIT("\xff")), "_other"));
    assert_true(slice_eq_cstr(label_value(v, SLICE_LIT("\xed\xa0\x80")), "_other")); /* a surrogate */
    assert_true(slice_eq_cstr(label_value(v, SLICE_LIT("cut \xc3")), "_other"));
    assert_true(slice_eq_cstr(label_value(v, SLICE_LIT("line\nbreak")), "_other"));
    assert_true(slice_eq_cstr(label_value(v, SLICE_LIT("Zo\xc3\xab \xf0\x9f\x90\x9d")), "Zo\xc3\xab \xf0\x9f\x90\x9d"));
    assert_true(slice_eq_cstr(label_value(v, SLICE_LIT("third")), "_other"));
    assert_ptr_equal(label_value(v, SLICE_LIT("a")).p, a.p);
    label_values_free(v);
}

static void assert_has(struct metrics *m, const char *line)
{
    size_t len;
    char *text = metrics_text(m, METRICS_TEXT, &len);

    assert_non_null(text);
    if (strstr(text, line) == NULL)
        fail_msg("no line \"%s\" in:\n%s", line, text);
    free(text);
}

static void test_prompt_cache(void **state)
{
    struct metrics *m = metrics_new(100, 2);
    struct event e = { .kind = EVENT_SETTLED, .provider = "openai", .model = "m", .attempts = 1, .known_by = KNOWN_REPORTED,
                       .usage = { .input = 5, .input_cached = 3 }, .total_us = -1, .ttft_us = -1, .tpot_ns = -1 };

    (void)state;
    assert_non_null(m);
    struct request_metrics *r = request_metrics_new(m, 1, 10);
    assert_non_null(r);
    request_metrics_count(r, &e);
    e.usage.input_cached = 0;
    request_metrics_count(r, &e);
    request_metrics_count(r, &e);
    e.known_by = KNOWN_COUNTED; /* nothing is known of a cache */
    request_metrics_count(r, &e);
    assert_has(m, "tollgate_prompt_cache_requests_total{gen_ai_provider_name=\"openai\",gen_ai_response_model=\"m\",result=\"hit\"} 1\n");
    assert_has(m, "tollgate_prompt_cache_requests_total{gen_ai_provider_name=\"openai\",gen_ai_response_model=\"m\",result=\"miss\"} 2\n");
    request_metrics_free(r);
    metrics_free(m);
}

static void test_requests(void **state)
{
    struct metrics *m = metrics_new(100, 2);
    struct event e = { .kind = EVENT_ALLOWED, .request_id = "r-1", .team = "blue", .user = "ann", .clamped = true, .identity_us = 20,
                       .tokens_us = 40, .budget_us = 5, .commit_us = 3000, .decision_us = 3100 };

    (void)state;
    assert_non_null(m);
    struct request_metrics *r = request_metrics_new(m, 1, 10);
    assert_non_null(r);
    request_metrics_count(r, &e);
    assert_has(m, "tollgate_requests_total{team=\"blue\",outcome=\"allowed\"} 1\n");
    assert_has(m, "tollgate_clamped_requests_total{team=\"blue\"} 1\n");
    assert_has(m, "tollgate_overhead_seconds_bucket{stage=\"identity\",le=\"0.000025\"} 1\n");
    assert_has(m, "tollgate_overhead_seconds_sum{stage=\"commit\"} 0.003\n");
    e = (struct event){ .kind = EVENT_DENIED, .team = "red", .status = 429, .reason = "budget", .commit_us = -1 };
    request_metrics_count(r, &e);
    assert_has(m, "tollgate_requests_total{team=\"_other\",outcome=\"denied\"} 1\n"); /* one team keeps its name */
    assert_has(m, "tollgate_denials_total{reason=\"budget\",status=\"429\"} 1\n");
    assert_has(m, "tollgate_overhead_seconds_count{stage=\"commit\"} 1\n");
    e = (struct event){ .kind = EVENT_SETTLED, .team = "blue", .user = "ann", .alias = "chat", .provider = "azure", .model = "gpt-4o",
                        .group = "g", .reason = "ok", .known_by = KNOWN_REPORTED, .attempts = 1, .cost_nano = 1234567891,
                        .usage = { .input = 10, .input_cached = 5, .output = 7 }, .ttft_us = 30000, .tpot_ns = -1, .total_us = 500000 };
    request_metrics_count(r, &e);
#define TARGET "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"azure.ai.openai\",gen_ai_request_model=\"chat\"," \
               "gen_ai_response_model=\"gpt-4o\""
    assert_has(m, "gen_ai_client_token_usage_sum{" TARGET ",gen_ai_token_type=\"input\"} 15\n");
    assert_has(m, "gen_ai_client_token_usage_sum{" TARGET ",gen_ai_token_type=\"output\"} 7\n");
    assert_has(m, "gen_ai_client_operation_duration_seconds_sum{" TARGET ",tollgate_group=\"g\",error_type=\"\"} 0.5\n");
    assert_has(m, "gen_ai_server_time_to_first_token_seconds_bucket{" TARGET ",tollgate_group=\"g\",le=\"0.04\"} 1\n");
    assert_has(m, "tollgate_cost_usd_total{team=\"blue\",gen_ai_provider_name=\"azure.ai.openai\",gen_ai_response_model=\"gpt-4o\"} "
                  "1.234567891\n");
    assert_has(m, "kind=\"input_cached\"} 5\n");
    /* Found out later: it cost less. */
    e.kind = EVENT_CORRECTED;
    e.cost_nano = -234567891;
    e.usage = (struct token_usage){ .output = 3 };
    request_metrics_count(r, &e);
    assert_has(m, "tollgate_cost_refunded_usd_total 0.234567891\n");
    assert_has(m, "kind=\"output\"} 10\n");
    request_metrics_attempt(r, SLICE_LIT("g"), "connect_failed");
    assert_has(m, "tollgate_attempts_total{tollgate_group=\"g\",outcome=\"connect_failed\"} 1\n");
    size_t len;
    char *text = metrics_text(m, METRICS_TEXT, &len);
    assert_non_null(text);
    assert_null(strstr(text, "ann"));
    free(text);
    request_metrics_free(r);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_label_values), cmocka_unit_test(test_requests),
                                        cmocka_unit_test(test_prompt_cache) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
