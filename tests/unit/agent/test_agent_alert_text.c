/* What an alert says, and its signature. */
#include "manage/alerting_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>

#include <cmocka.h>

/* The example of the Standard Webhooks specification's reference libraries: id, timestamp, payload and secret are theirs. */
static void signs_as_the_specification(void **state)
{
    char line[128];
    (void)state;
    assert_true(alert_sign(SLICE_LIT("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                           SLICE_LIT("{\"test\": 2432232314}"), line, sizeof line));
    assert_string_equal(line, "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void short_secrets_are_refused(void **state)
{
    (void)state;
    assert_false(alert_secret_good(SLICE_LIT("short")));
    assert_false(alert_secret_good(SLICE_LIT("whsec_c2hvcnQ=")));
    assert_false(alert_secret_good(SLICE_LIT("whsec_%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%")));
    assert_true(alert_secret_good(SLICE_LIT("a secret of twenty-four bytes or more")));
}

static void a_body_is_one_line_of_json(void **state)
{
    struct budget_notice n = { .action = "hard", .percent = 80, .at_us = INT64_C(1795435200000000),
                               .state = { .level = "team", .window = "day", .unit = BUDGET_USD, .amount = INT64_C(50000000000),
                                          .used = INT64_C(40000000001), .reset_us = INT64_C(1795478400000000) } };
    char body[ALERT_BODY_SIZE];
    (void)state;
    strcpy(n.state.limit, "team-day");
    strcpy(n.subject, "team=a\"b\\c\n");
    alert_body(&n, "alert_1", body);
    assert_string_equal(body, "{\"type\":\"limit.threshold\",\"id\":\"alert_1\",\"timestamp\":\"2026-11-23T12:00:00Z\",\"data\":{"
                              "\"limit\":\"team-day\",\"level\":\"team\",\"subject\":\"team=a\\\"b\\\\c\\u000a\",\"window\":\"day\","
                              "\"unit\":\"usd\",\"action\":\"hard\",\"percent\":80,\"amount\":\"50.00\",\"used\":\"40.000000001\","
                              "\"resets_at\":\"2026-11-24T00:00:00Z\"}}");
    memset(n.subject, '"', sizeof n.subject - 1); /* every one of them is escaped */
    n.subject[sizeof n.subject - 1] = '\0';
    alert_body(&n, "alert_1", body);
    assert_string_equal(body + strlen(body) - 2, "}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_as_the_specification),
        cmocka_unit_test(short_secrets_are_refused),
        cmocka_unit_test(a_body_is_one_line_of_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
