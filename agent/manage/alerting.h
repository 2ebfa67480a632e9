/* Alerting: thresholds of limits that were passed, into the log, the ledger and a webhook. Control thread.
 *
 * Each crossing is written to the ledger before it is sent, and only the first of its window is: so it is reported once, whatever restarts
 * or kills come between. A report is sent until it is heard (2xx), with pauses that double up to 5 minutes, for a day at most; it is the
 * same bytes each time, also after a restart. When a kill falls between the receiver's answer and the row of it, the report comes again
 * under the same webhook-id. Requests carry webhook-id, webhook-timestamp and webhook-signature as Standard Webhooks 1.0 has them
 * (HMAC-SHA-256 of "ID.TIMESTAMP.BODY", base64, "v1,"). */
#ifndef TOLLGATE_ALERTING_H
#define TOLLGATE_ALERTING_H

#include <stdbool.h>
#include <stddef.h>

struct agent;
struct alerting;
struct config;

/* With the ledger open: loads what is still to be sent. False with a reason. */
bool alerting_open(struct agent *a, const struct config *c, const char *ledger_file, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Whether the webhook of a new configuration can be had: its secret is readable. False with a reason. */
bool alerting_check(const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Takes it; when it can no longer be had the old one stays, and the log says so. */
void alerting_reload(struct agent *a, const struct config *c);
/* Every second: takes the budget's notices, sends what is due. */
void alerting_tick(struct agent *a);
/* After the ledger was closed and its last tasks were run, before the HTTP client goes. */
void alerting_close(struct agent *a);

#endif
