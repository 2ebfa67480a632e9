/* Telemetry: where the agent's parts report what happens, and the server that shows it.
 *
 * Requests are reported as events (observe/event.h) by the functions below; each goes to all that make something of events. Gauges are
 * sampled once a second by the control thread, so that reading /metrics takes no lock that a decision could wait for. Other parts add
 * metrics of their own: metrics_add(a->telemetry->metrics, ...) in server.c's start(), before the workers start; then metric_add,
 * metric_observe from any thread. */
#ifndef TOLLGATE_TELEMETRY_H
#define TOLLGATE_TELEMETRY_H

#include "observe/metrics.h"

#include <stdatomic.h>
#include <stdbool.h>

struct activity;
struct agent;
struct config;
struct decision;
struct inflight;
struct ledger_attempt;
struct ledger_correction;
struct ledger_settlement;
struct metrics_http;
struct request_metrics;
struct recent;
struct request_log;
struct samples;

struct telemetry {
    struct metrics *metrics;
    struct request_metrics *requests;
    struct samples *samples;
    struct metrics_http *http;             /* NULL: nothing is served */
    struct recent *recent;                 /* the last events */
    struct request_log *log;
    struct activity *activity;             /* of the last minute */
    _Atomic int64_t beat_us;               /* monotonic: the control thread's last round */
    atomic_uint unready;                   /* TELEMETRY_... bits */
};

enum { TELEMETRY_LEDGER = 1, TELEMETRY_KEYS = 2 };

/* Control thread, before workers run. NULL: out of memory. */
struct telemetry *telemetry_new(const struct config *c) __attribute__((warn_unused_result));
/* Opens the listener of `metrics.listen` and serves. False with a reason: a configured address cannot be had. The default address is done
 * without, with a line in the log. */
bool telemetry_serve(struct agent *a, const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Stops serving; before what is sampled goes. NULL is allowed. */
void telemetry_stop(struct telemetry *t);
void telemetry_free(struct telemetry *t);
/* Every second, on the control thread. */
void telemetry_tick(struct agent *a);
/* A configuration was loaded, or refused. Control thread. */
void telemetry_reloaded(struct agent *a, bool good);

/* On the decision's worker: it has been answered. */
void telemetry_allowed(const struct decision *d);
void telemetry_denied(const struct decision *d);
void telemetry_answered(const struct decision *d);
/* Any thread. */
void telemetry_settled(struct agent *a, struct inflight *f, const struct ledger_settlement *s);
void telemetry_corrected(struct agent *a, const struct inflight *f, const struct ledger_correction *c);
/* Control thread: a try at a provider; its outcome is a literal. */
void telemetry_attempt(struct agent *a, const struct inflight *f, const struct ledger_attempt *t);

/* telemetry_sample.c. */
struct samples *samples_new(struct metrics *m) __attribute__((warn_unused_result));
void samples_free(struct samples *s);
void samples_take(struct agent *a);
void samples_reloaded(struct samples *s, bool good);

#endif
