/* What an alert says, and its signature. */
#ifndef TOLLGATE_ALERTING_TEXT_H
#define TOLLGATE_ALERTING_TEXT_H

#include "budget/budget.h"

enum { ALERT_EVENT_SIZE = 40, ALERT_BODY_SIZE = 4096 };

/* One line of JSON, NUL-terminated. Amounts in dollars are decimal text, all others whole numbers. A subject that does not fit is cut. */
void alert_body(const struct budget_notice *n, const char *event, char out[static ALERT_BODY_SIZE]);
/* At least 24 bytes: plain, or "whsec_" and base64 of them (Standard Webhooks 1.0, "Symmetric"). */
bool alert_secret_good(struct slice secret);
/* The whole header line: "webhook-signature: v1,BASE64". False: the secret is no good, or memory is out. */
bool alert_sign(struct slice secret, const char *event, int64_t timestamp_s, struct slice body, char *out, size_t size)
    __attribute__((warn_unused_result));

#endif
