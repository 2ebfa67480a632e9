/* The metrics of requests, counted from events. gen_ai_* follow OpenTelemetry's semantic conventions for generative AI (names and
 * bounds; dots become underscores, units are appended), tollgate_* are our own.
 *
 * Users are never labels. Teams and models keep their names up to the given numbers, then they are "_other". */
#ifndef TOLLGATE_OBSERVE_REQUEST_METRICS_H
#define TOLLGATE_OBSERVE_REQUEST_METRICS_H

#include "observe/event.h"
#include "observe/metrics.h"

struct request_metrics;

/* Adds its metrics to `m`, which must outlive it. NULL: out of memory. */
struct request_metrics *request_metrics_new(struct metrics *m, unsigned teams_max, unsigned models_max)
    __attribute__((warn_unused_result));
void request_metrics_free(struct request_metrics *r);
/* Any thread. */
void request_metrics_count(struct request_metrics *r, const struct event *e);
/* Any thread: one try at a provider. `outcome` is a static word. */
void request_metrics_attempt(struct request_metrics *r, struct slice group, const char *outcome);
/* A team as these metrics name it. */
struct slice request_metrics_team(struct request_metrics *r, struct slice team);

/* The conventions' name for a provider of the price table ("azure" -> "azure.ai.openai"); others are as they are. */
struct slice genai_provider_name(struct slice provider);
/* gen_ai.operation.name; static. */
const char *genai_operation_name(enum endpoint endpoint);

#endif
