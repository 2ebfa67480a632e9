/* OTLP: spans to a collector over HTTP (opentelemetry-proto, docs/specification.md, "OTLP/HTTP"), on a thread of its own.
 *
 * Spans wait in a queue of fixed size; what finds it full is dropped and counted, so nobody ever waits. They go out in batches, one at a
 * time. A collector that cannot be reached, or asks for patience (429, 502, 503, 504, Retry-After), gets the same batch again with growing
 * pauses, for two minutes at most (otlp_retry.h); any other refusal ends the batch. Each span ends in exactly one count of
 * tollgate_trace_spans: exported, rejected (by the collector, in a reply that took others), failed, dropped. */
#ifndef TOLLGATE_OBSERVE_OTLP_H
#define TOLLGATE_OBSERVE_OTLP_H

#include "observe/metrics.h"
#include "observe/trace_span.h"

struct otlp;
struct redact_entry;
struct secret;

enum { OTLP_HEADERS_MAX = 8 };

/* Where spans go. Made by otlp_settings_new; what it points to is its own. */
struct otlp_settings {
    char *endpoint, *ca_file, *service; /* ca_file may be NULL */
    bool allow_http, gzip;
    int64_t (*clock_us)(void);       /* monotonic, for the batch's patience; NULL: the system's */
    struct secret *headers[OTLP_HEADERS_MAX]; /* "name: value", NUL-terminated */
    struct redact_entry *redacted[OTLP_HEADERS_MAX];
    unsigned header_count;
    int64_t timeout_ms, interval_ms;
    unsigned batch;
};

/* Copies the texts. NULL: out of memory. */
struct otlp_settings *otlp_settings_new(const char *endpoint, const char *ca_file, const char *service)
    __attribute__((warn_unused_result));
/* Adds a header whose value is a secret: it is kept in locked memory, and never logged. False: no room, or no memory. */
bool otlp_settings_header(struct otlp_settings *s, const char *name, struct slice value) __attribute__((warn_unused_result));
/* NULL is allowed. */
void otlp_settings_free(struct otlp_settings *s);

/* Its metrics, to be added before the first exporter starts; shared by those that follow. */
struct otlp_metrics {
    struct metric_series *exported, *rejected, *failed, *dropped, *exports, *failures, *queued;
};
bool otlp_metrics_add(struct otlp_metrics *m, struct metrics *to) __attribute__((warn_unused_result));

/* Starts the thread. Takes `settings` over when it succeeds. NULL: out of memory or threads. */
struct otlp *otlp_start(struct otlp_settings *settings, unsigned queue, const struct otlp_metrics *m) __attribute__((warn_unused_result));
/* From now on spans go elsewhere, or, with NULL, nowhere. Takes `settings` over. One thread at a time. */
void otlp_configure(struct otlp *o, struct otlp_settings *settings);
/* Any thread; never waits. */
void otlp_offer(struct otlp *o, const struct trace_span *s);
/* Sends what waits, for `limit_ms` at most; the rest is dropped. Ends the thread. NULL is allowed. Nobody offers any more. */
void otlp_stop(struct otlp *o, int64_t limit_ms);

#endif
