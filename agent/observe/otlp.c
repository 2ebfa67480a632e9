#include "observe/otlp.h"

#include "base/clock.h"
#include "base/http_client.h"
#include "base/log.h"
#include "base/redact.h"
#include "base/secret.h"
#include "observe/gzip.h"
#include "observe/otlp_json.h"
#include "observe/otlp_retry.h"
#include "observe/trace_queue.h"

#include <curl/curl.h>
#include <ev.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { REPLY_MAX = 65536, HEADER_BYTES = 8192, INSTANCE_BYTES = 256 };

struct otlp {
    struct trace_queue *queue;
    struct otlp_metrics m;
    pthread_t thread;
    struct ev_loop *loop;
    struct http_client *http;
    ev_async wake;
    ev_timer interval, again, limit;
    atomic_uint batch;               /* spans that are worth waking the thread for */
    atomic_bool wake_asked;
    /* Shared, under `lock`. */
    pthread_mutex_t lock;
    struct otlp_settings *fresh;
    bool changed, stop_asked;
    int64_t limit_ms;
    /* The thread's. */
    struct otlp_settings *now;       /* NULL: spans go nowhere */
    bool stopping, failing;
    char instance[INSTANCE_BYTES];
    struct trace_span span;
    char *body;                      /* of the batch under way; NULL: none */
    size_t body_len;
    unsigned body_spans;
    bool body_gzip;
    struct otlp_retry retry;
    struct http_call *call;
    struct log_gate refused, partial; /* lines about batches that were not taken, in whole and in part */
};

/* ---- settings and metrics ---- */

struct otlp_settings *otlp_settings_new(const char *endpoint, const char *ca_file, const char *service)
{
    struct otlp_settings *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->endpoint = strdup(endpoint);
    s->ca_file = ca_file != NULL ? strdup(ca_file) : NULL;
    s->service = strdup(service);
    if (s->endpoint != NULL && s->service != NULL && (ca_file == NULL || s->ca_file != NULL))
        return s;
    otlp_settings_free(s);
    return NULL;
}

bool otlp_settings_header(struct otlp_settings *s, const char *name, struct slice value)
{
    char line[HEADER_BYTES];
    int n = snprintf(line, sizeof line, "%s: %.*s", name, SLICE_FMT(value));

    if (n < 0 || (size_t)n >= sizeof line || s->header_count == OTLP_HEADERS_MAX) {
        secret_wipe(line, sizeof line);
        return false;
    }
    unsigned i = s->header_count;
    s->headers[i] = secret_new(line, (size_t)n + 1);
    secret_wipe(line, sizeof line);
    if (s->headers[i] == NULL)
        return false;
    bool no_memory = false;
    s->redacted[i] = redact_add(value, &no_memory);
    s->header_count++;
    return !no_memory;
}

void otlp_settings_free(struct otlp_settings *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->header_count; i++) {
        redact_remove(s->redacted[i]);
        secret_free(s->headers[i]);
    }
    free(s->endpoint);
    free(s->ca_file);
    free(s->service);
    free(s);
}

bool otlp_metrics_add(struct otlp_metrics *m, struct metrics *to)
{
    struct metric *spans = metrics_add(to, &(struct metric_spec){
        .name = "tollgate_trace_spans", .kind = METRIC_COUNTER, .labels = { "result" },
        .help = "Spans: exported, rejected (by the collector), failed (not delivered), dropped (the queue was full)." });
    struct metric *exports = metrics_add(to, &(struct metric_spec){
        .name = "tollgate_trace_exports", .kind = METRIC_COUNTER, .labels = { "result" },
        .help = "Batches of spans sent to the collector: ok, failed (tries)." });
    struct metric *queued = metrics_add(to, &(struct metric_spec){
        .name = "tollgate_trace_queued_spans", .kind = METRIC_GAUGE, .help = "Spans that wait to be exported." });

    if (spans == NULL || exports == NULL || queued == NULL)
        return false;
    const struct {
        struct metric_series **series;
        struct metric *metric;
        const char *result;
    } all[] = { { &m->exported, spans, "exported" }, { &m->rejected, spans, "rejected" }, { &m->failed, spans, "failed" },
                { &m->dropped, spans, "dropped" },   { &m->exports, exports, "ok" },      { &m->failures, exports, "failed" } };
    /* Prometheus sees no increase in a series that begins with 1. */
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct slice label = slice_cstr(all[i].result);
        *all[i].series = metric_series(all[i].metric, &label);
        metric_add(*all[i].series, 0);
    }
    m->queued = metric_series(queued, NULL);
    return true;
}

/* ---- a batch ---- */

static int64_t now_us(const struct otlp *o)
{
    return o->now != NULL && o->now->clock_us != NULL ? o->now->clock_us() : clock_mono_us();
}

static void batch_end(struct otlp *o)
{
    free(o->body);
    o->body = NULL;
    o->body_spans = 0;
}

static void drop_queued(struct otlp *o)
{
    while (trace_queue_take(o->queue, &o->span))
        metric_add(o->m.dropped, 1);
}

/* What leaves is free of secrets before it is packed, where nobody finds them any more. */
static bool batch_pack(struct otlp *o)
{
    o->body_len = redact_text(o->body, o->body_len);
    o->body_gzip = o->now->gzip;
    if (!o->body_gzip)
        return true;
    char *packed = gzip_pack(slice_make(o->body, o->body_len), &o->body_len);
    free(o->body);
    o->body = packed;
    return packed != NULL;
}

/* Takes up to a batch out of the queue. False: there is nothing, or no memory. */
static bool batch_make(struct otlp *o)
{
    struct otlp_resource r = { .service = o->now->service, .version = TOLLGATE_VERSION, .instance = o->instance };
    FILE *out = open_memstream(&o->body, &o->body_len);
    unsigned n = 0;

    if (out == NULL) {
        o->body = NULL;
        return false;
    }
    otlp_json_begin(out, &r);
    while (n < o->now->batch && trace_queue_take(o->queue, &o->span))
        otlp_json_span(out, &o->span, n++ == 0);
    otlp_json_end(out);
    bool failed = ferror(out) != 0;
    failed = fclose(out) != 0 || failed;
    o->body_spans = n;
    otlp_retry_begin(&o->retry, now_us(o));
    if (n > 0 && !failed && batch_pack(o))
        return true;
    metric_add(o->m.failed, n);
    batch_end(o);
    return false;
}

static void on_reply(void *user, const struct http_reply *r);

/* True: under way. */
static bool batch_send(struct otlp *o, char *why, size_t why_size)
{
    const char *headers[OTLP_HEADERS_MAX + 2] = { "content-type: application/json" };
    unsigned count = 1;

    if (o->body_gzip)
        headers[count++] = "content-encoding: gzip";
    for (unsigned i = 0; i < o->now->header_count; i++)
        headers[count++] = secret_view(o->now->headers[i]).p;
    struct http_request_options q = {
        .method = "POST", .url = o->now->endpoint, .headers = headers, .header_count = count,
        .body = slice_make(o->body, o->body_len), .ca_file = o->now->ca_file, .allow_http = o->now->allow_http, .max_bytes = REPLY_MAX,
        .timeout_ms = o->now->timeout_ms, .done = on_reply, .user = o,
    };
    o->call = http_client_start(o->http, &q, why, why_size);
    return o->call != NULL;
}

static int64_t retry_after_s(struct slice value)
{
    char text[64];

    if (value.n == 0 || value.n >= sizeof text)
        return 0;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    if (strspn(text, "0123456789") == value.n)
        return strtoll(text, NULL, 10);
    time_t at = curl_getdate(text, NULL);
    int64_t now = clock_wall_us() / 1000000;
    return at > now ? at - now : 0;
}

static bool passing(const struct http_reply *r)
{
    if (r->outcome == HTTP_FAILED || r->outcome == HTTP_TIMED_OUT)
        return true;
    return r->outcome == HTTP_REPLIED && (r->status == 429 || r->status == 502 || r->status == 503 || r->status == 504);
}

static void batch_failed(struct otlp *o, int64_t status, const char *why)
{
    unsigned held = 0;

    if (log_gate_open(&o->refused, clock_mono_us(), 1, &held))
        LOG(LOG_LEVEL_ERROR, "trace_export_failed", LOG_INT("status", status), LOG_CSTR("error", why), LOG_INT("spans", o->body_spans),
            LOG_INT("suppressed", held));
    metric_add(o->m.failed, o->body_spans);
    batch_end(o);
}

static void batch_again(struct otlp *o, const struct http_reply *r, int64_t pause_us)
{
    if (!o->failing)
        LOG(LOG_LEVEL_WARN, "trace_export_failing", LOG_INT("status", r->status), LOG_CSTR("error", r->why),
            LOG_CSTR("effect", "spans wait in the queue; decisions do not"));
    o->failing = true;
    ev_timer_set(&o->again, (double)pause_us / 1e6, 0.);
    ev_timer_start(o->loop, &o->again);
}

static void batch_taken(struct otlp *o, const struct http_reply *r)
{
    char why[512];
    int64_t rejected;
    unsigned held = 0;

    if (!otlp_json_reply(r->body, &rejected, why, sizeof why)) {
        batch_failed(o, r->status, "the reply is none of OTLP: does traces.endpoint name a collector's /v1/traces?");
        return;
    }
    if (rejected > o->body_spans)
        rejected = o->body_spans;
    if ((rejected > 0 || why[0] != '\0') && log_gate_open(&o->partial, clock_mono_us(), 1, &held))
        LOG(LOG_LEVEL_WARN, "spans_rejected", LOG_INT("rejected", rejected), LOG_INT("spans", o->body_spans), LOG_CSTR("error", why),
            LOG_INT("suppressed", held));
    if (o->failing)
        LOG(LOG_LEVEL_WARN, "trace_export_recovered", LOG_INT("queued", trace_queue_count(o->queue)));
    o->failing = false;
    metric_add(o->m.exports, 1);
    metric_add(o->m.rejected, rejected);
    metric_add(o->m.exported, o->body_spans - rejected);
    batch_end(o);
}

/* ---- the thread ---- */

static void over(struct otlp *o)
{
    if (o->body != NULL)
        metric_add(o->m.failed, o->body_spans);
    batch_end(o);
    drop_queued(o);
    ev_break(o->loop, EVBREAK_ALL);
}

/* Sends what there is; `all`: also less than a batch. */
static void step(struct otlp *o, bool all)
{
    char why[256];

    metric_set(o->m.queued, trace_queue_count(o->queue));
    if (o->call != NULL || ev_is_active(&o->again))
        return;
    if (o->now == NULL)
        drop_queued(o);
    if (o->now != NULL && o->body == NULL && (all || trace_queue_count(o->queue) >= o->now->batch))
        (void)batch_make(o);
    if (o->body != NULL && o->now == NULL)
        batch_failed(o, 0, "traces were switched off");
    if (o->body != NULL && !batch_send(o, why, sizeof why))
        on_reply(o, &(struct http_reply){ .outcome = HTTP_TOO_LARGE, .why = why });
    else if (o->body == NULL && o->stopping)
        over(o);
}

static void on_reply(void *user, const struct http_reply *r)
{
    struct otlp *o = user;

    o->call = NULL;
    if (r->outcome == HTTP_REPLIED && r->status >= 200 && r->status < 300) {
        batch_taken(o, r);
        step(o, o->stopping);
        return;
    }
    metric_add(o->m.failures, 1);
    if (o->stopping) {
        batch_failed(o, r->status, r->why);
        over(o);
        return;
    }
    int64_t pause_us = passing(r) ? otlp_retry_pause_us(&o->retry, now_us(o), retry_after_s(r->retry_after), (unsigned)(clock_mono_us() % 1000)) : -1;
    if (pause_us >= 0) {
        batch_again(o, r, pause_us);
    } else {
        batch_failed(o, r->status, r->why);
        /* Not at once: the next batch would be refused like this one. */
    }
}

static void on_interval(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    step(timer->data, true);
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    step(timer->data, true);
}

static void on_limit(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct otlp *o = timer->data;

    (void)loop, (void)events;
    LOG(LOG_LEVEL_WARN, "spans_not_exported", LOG_INT("spans", o->body_spans + trace_queue_count(o->queue)),
        LOG_CSTR("error", "the collector did not take them in time before the end"));
    over(o);
}

static void settings_take(struct otlp *o, struct otlp_settings *fresh)
{
    otlp_settings_free(o->now);
    o->now = fresh;
    ev_timer_stop(o->loop, &o->again); /* elsewhere it may be taken */
    if (fresh == NULL)
        return;
    atomic_store(&o->batch, fresh->batch);
    o->interval.repeat = (double)fresh->interval_ms / 1000.;
    ev_timer_again(o->loop, &o->interval);
}

static void stop_begin(struct otlp *o, int64_t limit_ms)
{
    o->stopping = true;
    ev_timer_stop(o->loop, &o->again);
    ev_timer_set(&o->limit, (double)limit_ms / 1000., 0.);
    ev_timer_start(o->loop, &o->limit);
}

static void on_wake(struct ev_loop *loop, ev_async *async, int events)
{
    struct otlp *o = async->data;

    (void)loop, (void)events;
    atomic_store(&o->wake_asked, false);
    pthread_mutex_lock(&o->lock);
    bool changed = o->changed, stop = o->stop_asked && !o->stopping;
    struct otlp_settings *fresh = o->fresh;
    int64_t limit_ms = o->limit_ms;
    o->changed = false;
    o->fresh = NULL;
    pthread_mutex_unlock(&o->lock);
    if (changed)
        settings_take(o, fresh);
    if (stop)
        stop_begin(o, limit_ms);
    step(o, o->stopping);
}

static void *run(void *arg)
{
    struct otlp *o = arg;

    ev_run(o->loop, 0);
    metric_set(o->m.queued, 0);
    return NULL;
}

static void otlp_free(struct otlp *o)
{
    http_client_free(o->http);
    if (o->loop != NULL)
        ev_loop_destroy(o->loop);
    otlp_settings_free(o->now);
    otlp_settings_free(o->fresh);
    trace_queue_free(o->queue);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

static bool thread_start(struct otlp *o)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&o->thread, NULL, run, o);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0;
}

struct otlp *otlp_start(struct otlp_settings *settings, unsigned queue, const struct otlp_metrics *m)
{
    struct otlp *o = calloc(1, sizeof *o);

    if (o == NULL)
        return NULL;
    pthread_mutex_init(&o->lock, NULL);
    o->m = *m;
    o->queue = trace_queue_new(queue);
    o->loop = ev_loop_new(EVFLAG_AUTO);
    o->http = o->loop != NULL ? http_client_new(o->loop, NULL) : NULL;
    if (gethostname(o->instance, sizeof o->instance - 1) != 0)
        snprintf(o->instance, sizeof o->instance, "unknown");
    if (o->queue == NULL || o->http == NULL) {
        otlp_free(o);
        return NULL;
    }
    ev_async_init(&o->wake, on_wake);
    ev_init(&o->interval, on_interval);
    ev_init(&o->again, on_again);
    ev_init(&o->limit, on_limit);
    o->wake.data = o->interval.data = o->again.data = o->limit.data = o;
    ev_async_start(o->loop, &o->wake);
    settings_take(o, settings);
    if (thread_start(o))
        return o;
    o->now = NULL;
    otlp_free(o);
    return NULL;
}

void otlp_configure(struct otlp *o, struct otlp_settings *settings)
{
    pthread_mutex_lock(&o->lock);
    otlp_settings_free(o->fresh);
    o->fresh = settings;
    o->changed = true;
    pthread_mutex_unlock(&o->lock);
    ev_async_send(o->loop, &o->wake);
}

void otlp_offer(struct otlp *o, const struct trace_span *s)
{
    if (!trace_queue_put(o->queue, s)) {
        metric_add(o->m.dropped, 1);
        return;
    }
    if (trace_queue_count(o->queue) >= atomic_load_explicit(&o->batch, memory_order_relaxed) && !atomic_exchange(&o->wake_asked, true))
        ev_async_send(o->loop, &o->wake);
}

void otlp_stop(struct otlp *o, int64_t limit_ms)
{
    if (o == NULL)
        return;
    pthread_mutex_lock(&o->lock);
    o->stop_asked = true;
    o->limit_ms = limit_ms;
    pthread_mutex_unlock(&o->lock);
    ev_async_send(o->loop, &o->wake);
    pthread_join(o->thread, NULL);
    otlp_free(o);
}
