/* Tracing: requests and their tries as spans, to the collector of `traces` (observe/otlp.h); and the trace context that providers get
 * to see.
 *
 * A worker begins the context with the decision; it stays with the request in flight, so the settlement, on whatever thread, knows it.
 * Requests in flight while the agent is restarted have no span. */
#ifndef TOLLGATE_TRACING_H
#define TOLLGATE_TRACING_H

#include "observe/trace_context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent;
struct config;
struct event;
struct http_request;
struct inflight;
struct ledger_attempt;

/* Control thread, before workers run. False with a reason: a header's file cannot be read, no memory. */
bool tracing_open(struct agent *a, const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Whether tracing_reload will do. */
bool tracing_check(const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Before workers take the new configuration. */
void tracing_reload(struct agent *a, const struct config *c);
/* Sends what waits, for a few seconds. Nothing is reported any more. */
void tracing_close(struct agent *a);

/* On the decision's worker. The result's slices are rq's. */
struct trace_request tracing_begin(const struct config *c, const struct http_request *rq);
/* The request was read again, to where it stands from now on. */
void tracing_moved(struct trace_request *t, const struct http_request *rq);
/* Any thread. The request is over: its span goes out, when it is sampled. */
void tracing_request(struct agent *a, const struct trace_request *t, const struct event *e);
/* Control thread: a try is over. */
void tracing_attempt(struct agent *a, const struct inflight *f, const struct ledger_attempt *t);

#endif
