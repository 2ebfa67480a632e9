/* What the console's page asks the ledger. Each answers with one JSON object; see api.c for their addresses and parameters.
 *
 * Money is nano-dollars, whole numbers; times are seconds UTC unless a name ends in _us. `why` holds the reason of ANSWER_BAD (for the
 * browser) or ANSWER_FAILED (for the log). */
#ifndef TOLLGATE_CONSOLE_ANSWERS_H
#define TOLLGATE_CONSOLE_ANSWERS_H

#include "console/data.h"

typedef enum answer answer_fn(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size);

answer_fn answer_spend;     /* by team, model, user or provider: sums, the period before, and a line over time for the largest */
answer_fn answer_forecast;  /* today and this month by team: so far, where that pace ends */
answer_fn answer_holds;     /* money held by requests under way */
answer_fn answer_savings;   /* what the answer cache and prompt caches saved */
answer_fn answer_latency;   /* percentiles of first byte, time per token and own overhead by provider; a line over time */
answer_fn answer_trouble;   /* refused, failed and rescued requests over time, and why */
answer_fn answer_requests;  /* the dearest or the newest */
answer_fn answer_request;   /* all about one */

#endif
