#include "tracing.h"

#include "agent.h"
#include "base/log.h"
#include "base/secret.h"
#include "config/config.h"
#include "decide/inflight.h"
#include "observe/otlp.h"
#include "route/haproxy_plan.h"
#include "runtime.h"
#include "telemetry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLUSH_MS = 3000 };

struct tracing {
    struct otlp_metrics metrics;
    struct otlp *otlp; /* NULL until traces are configured for the first time; then to the end */
};

/* ---- configuration ---- */

static bool header_add(struct otlp_settings *s, const struct config_trace_header *h, unsigned i, char *why, size_t why_size)
{
    char reason[256];
    bool ok;

    if (h->value != NULL) {
        ok = otlp_settings_header(s, h->name, slice_cstr(h->value));
    } else {
        struct secret *value = secret_from_file(h->file, reason, sizeof reason);
        if (value == NULL) {
            snprintf(why, why_size, "traces.headers[%u].file: %s", i, reason);
            return false;
        }
        struct slice v = secret_view(value);
        ok = memchr(v.p, '\n', v.n) == NULL && memchr(v.p, '\r', v.n) == NULL && memchr(v.p, '\0', v.n) == NULL &&
             otlp_settings_header(s, h->name, v);
        secret_free(value);
    }
    if (!ok)
        snprintf(why, why_size, "traces.headers[%u]: its value must be one line of 8,000 bytes at most", i);
    return ok;
}

/* NULL with a reason, or without one (`why` empty) when no traces are configured. */
static struct otlp_settings *settings_make(const struct config_traces *c, char *why, size_t why_size)
{
    why[0] = '\0';
    if (c->endpoint == NULL)
        return NULL;
    struct otlp_settings *s = otlp_settings_new(c->endpoint, c->ca_file, c->service);
    if (s == NULL) {
        snprintf(why, why_size, "out of memory");
        return NULL;
    }
    s->allow_http = c->allow_http;
    s->gzip = strcmp(c->compression, "gzip") == 0;
    s->timeout_ms = c->timeout_us / 1000;
    s->interval_ms = c->interval_us / 1000;
    s->batch = (unsigned)c->batch;
    for (unsigned i = 0; i < c->headers_count; i++)
        if (!header_add(s, &c->headers[i], i, why, why_size)) {
            otlp_settings_free(s);
            return NULL;
        }
    return s;
}

/* Takes the settings over. */
static bool apply(struct tracing *t, struct otlp_settings *s, unsigned queue)
{
    if (t->otlp != NULL)
        otlp_configure(t->otlp, s);
    else if (s != NULL && (t->otlp = otlp_start(s, queue, &t->metrics)) == NULL)
        otlp_settings_free(s);
    return s == NULL || t->otlp != NULL;
}

bool tracing_open(struct agent *a, const struct config *c, char *why, size_t why_size)
{
    a->tracing = calloc(1, sizeof *a->tracing);
    if (a->tracing == NULL || !otlp_metrics_add(&a->tracing->metrics, a->telemetry->metrics)) {
        snprintf(why, why_size, "out of memory");
        return false;
    }
    struct otlp_settings *s = settings_make(&c->traces, why, why_size);
    if (s == NULL)
        return why[0] == '\0';
    if (apply(a->tracing, s, (unsigned)c->traces.queue))
        return true;
    snprintf(why, why_size, "traces: cannot start the exporter");
    return false;
}

bool tracing_check(const struct config *c, char *why, size_t why_size)
{
    struct otlp_settings *s = settings_make(&c->traces, why, why_size);
    bool good = s != NULL || why[0] == '\0';

    otlp_settings_free(s);
    return good;
}

void tracing_reload(struct agent *a, const struct config *c)
{
    char why[512];
    struct otlp_settings *s = settings_make(&c->traces, why, sizeof why);

    if (s == NULL && why[0] != '\0')
        LOG(LOG_LEVEL_ERROR, "traces_not_reloaded", LOG_CSTR("error", why), LOG_CSTR("effect", "traces go where they went"));
    else if (!apply(a->tracing, s, (unsigned)c->traces.queue))
        LOG(LOG_LEVEL_ERROR, "traces_not_reloaded", LOG_CSTR("error", "cannot start the exporter"));
}

void tracing_close(struct agent *a)
{
    if (a->tracing == NULL)
        return;
    otlp_stop(a->tracing->otlp, FLUSH_MS);
    free(a->tracing);
    a->tracing = NULL;
}

/* ---- requests ---- */

void tracing_moved(struct trace_request *t, const struct http_request *rq)
{
    if (!t->on || !(t->context.flags & TRACE_SAMPLED))
        return;
    t->method = rq->method;
    t->path = rq->path;
    t->host = rq->host;
    if (t->context.parent && trace_state_ok(rq->tracestate)) /* a trace that begins here has none */
        t->state = rq->tracestate;
}

struct trace_request tracing_begin(const struct config *c, const struct http_request *rq)
{
    struct trace_request t = { .on = false };

    if (c->traces.endpoint == NULL || !trace_begin(&t.context, rq->traceparent, (unsigned)rq->traceparents, (uint32_t)c->traces.sample_parts))
        return t;
    t.on = true;
    t.tls = rq->certificate_verify >= 0;
    tracing_moved(&t, rq);
    return t;
}

static void span_begin(struct trace_span *s, enum span_kind kind, const struct trace_request *t)
{
    s->kind = kind;
    s->context = t->context;
    EVENT_TEXT(s->state, t->state);
}

static struct otlp *exporter(struct agent *a, const struct trace_request *t)
{
    return t->on && t->context.flags & TRACE_SAMPLED ? a->tracing->otlp : NULL;
}

void tracing_request(struct agent *a, const struct trace_request *t, const struct event *e)
{
    struct otlp *o = exporter(a, t);
    struct trace_span s;

    if (o == NULL)
        return;
    span_begin(&s, SPAN_REQUEST, t);
    s.request.event = *e;
    s.request.tls = t->tls;
    EVENT_TEXT(s.request.method, t->method);
    EVENT_TEXT(s.request.path, t->path);
    EVENT_TEXT(s.request.host, t->host);
    s.started_us = e->started_us;
    s.ended_us = e->total_us >= 0 ? e->started_us + e->total_us : e->at_us;
    otlp_offer(o, &s);
}

/* Host and port of a provider's URL. */
static void address_fill(struct agent *a, struct span_try *t, struct slice group)
{
    struct runtime *r = agent_runtime(a);
    const struct config_provider *p = config_provider_find(r->config, group);
    struct haproxy_url u;
    char why[128];

    if (p != NULL && haproxy_url_parse(p->url, &u, why, sizeof why)) {
        EVENT_TEXT(t->address, u.host_is_ipv6 ? slice_make(u.host.p - 1, u.host.n + 2) /* with its brackets */ : u.host);
        t->port = u.port;
    }
    runtime_unref(r);
}

void tracing_attempt(struct agent *a, const struct inflight *f, const struct ledger_attempt *t)
{
    struct otlp *o = exporter(a, &f->trace);
    struct trace_span s;

    if (o == NULL || t->number < 1 || t->number > TRACE_TRIES)
        return;
    span_begin(&s, SPAN_TRY, &f->trace);
    s.attempt = (struct span_try){ .number = t->number, .endpoint = f->op.decision.endpoint, .status = t->http_status,
                                   .outcome = t->outcome.p /* a literal */, .first_byte_us = t->first_byte_us };
    EVENT_TEXT(s.attempt.request_id, f->request_id);
    EVENT_TEXT(s.attempt.group, t->target.group);
    EVENT_TEXT(s.attempt.provider, t->target.provider);
    EVENT_TEXT(s.attempt.model, t->target.model);
    address_fill(a, &s.attempt, t->target.group);
    s.started_us = t->started_us;
    s.ended_us = t->started_us + (t->total_us > 0 ? t->total_us : 0);
    otlp_offer(o, &s);
}
