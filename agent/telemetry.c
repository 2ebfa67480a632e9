#include "telemetry.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "decide/decision_state.h"
#include "decide/inflight.h"
#include "event_row.h"
#include "listener.h"
#include "observe/activity.h"
#include "observe/metrics_http.h"
#include "observe/recent.h"
#include "observe/request_log.h"
#include "observe/request_metrics.h"
#include "tracing.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

enum { SERIES_MAX = 2000, SHARDS_MAX = 64, MODELS_MAX = 200 };

static const int64_t beat_late_us = 10 * INT64_C(1000000);

struct telemetry *telemetry_new(const struct config *c)
{
    struct telemetry *t = calloc(1, sizeof *t);
    unsigned shards = (unsigned)c->workers + 1; /* 0: the control thread's, and that of others */

    if (t == NULL)
        return NULL;
    atomic_init(&t->beat_us, clock_mono_us());
    atomic_init(&t->unready, TELEMETRY_KEYS);
    t->metrics = metrics_new(SERIES_MAX, shards > SHARDS_MAX ? SHARDS_MAX : shards);
    if (t->metrics != NULL) {
        t->requests = request_metrics_new(t->metrics, (unsigned)c->metrics.max_teams, MODELS_MAX);
        t->samples = samples_new(t->metrics);
    }
    t->recent = recent_new();
    t->activity = activity_new(clock_mono_us());
    if (t->recent != NULL)
        t->log = request_log_start(t->recent, *c->log.decisions);
    if (t->requests == NULL || t->samples == NULL || t->log == NULL || t->activity == NULL) {
        telemetry_free(t);
        return NULL;
    }
    return t;
}

void telemetry_stop(struct telemetry *t)
{
    if (t == NULL)
        return;
    metrics_http_stop(t->http);
    t->http = NULL;
}

void telemetry_free(struct telemetry *t)
{
    if (t == NULL)
        return;
    telemetry_stop(t);
    request_log_stop(t->log);
    recent_free(t->recent);
    activity_free(t->activity);
    samples_free(t->samples);
    request_metrics_free(t->requests);
    metrics_free(t->metrics);
    free(t);
}

/* On the HTTP server's thread. */
static bool healthy(void *user, char *why, size_t why_size)
{
    struct telemetry *t = user;
    int64_t late = clock_mono_us() - atomic_load(&t->beat_us);

    if (late <= beat_late_us)
        return true;
    snprintf(why, why_size, "the control thread has not come round for %d seconds", (int)(late / 1000000));
    return false;
}

static bool ready(void *user, char *why, size_t why_size)
{
    struct telemetry *t = user;
    unsigned unready = atomic_load(&t->unready);

    if (!healthy(user, why, why_size))
        return false;
    if (unready & TELEMETRY_LEDGER)
        snprintf(why, why_size, "the ledger cannot be written: requests are refused until it recovers");
    else if (unready & TELEMETRY_KEYS)
        snprintf(why, why_size, "no issuer has usable keys: nobody can be let in");
    return unready == 0;
}

bool telemetry_serve(struct agent *a, const struct config *c, char *why, size_t why_size)
{
    struct telemetry *t = a->telemetry;
    const char *address = c->metrics.listen != NULL ? c->metrics.listen : CONFIG_METRICS_LISTEN;

    if (strcmp(address, "off") == 0)
        return true;
    int fd = listener_open(address, 0600, (gid_t)-1, why, why_size);
    if (fd < 0 && c->metrics.listen != NULL)
        return false;
    if (fd < 0) {
        LOG(LOG_LEVEL_WARN, "metrics_not_served", LOG_CSTR("error", why), LOG_CSTR("fix", "set metrics.listen to a free address, or to off"));
        return true;
    }
    t->http = metrics_http_start(&(struct metrics_http_options){
        .fd = fd, .metrics = t->metrics, .healthy = healthy, .ready = ready, .user = t });
    if (t->http == NULL)
        snprintf(why, why_size, "metrics.listen: cannot start the server");
    return t->http != NULL;
}

void telemetry_tick(struct agent *a)
{
    atomic_store(&a->telemetry->beat_us, clock_mono_us());
    samples_take(a);
}

void telemetry_reloaded(struct agent *a, bool good)
{
    samples_reloaded(a->telemetry->samples, good);
}

static void report(struct agent *a, const struct event *e)
{
    request_metrics_count(a->telemetry->requests, e);
    recent_put(a->telemetry->recent, e);
    activity_count(a->telemetry->activity, e, clock_mono_us());
}

/* A request has one span: of what is reported first of its end. */
static void trace_end(struct agent *a, struct inflight *f, const struct trace_request *t, const struct event *e)
{
    if (f == NULL || !atomic_exchange_explicit(&f->traced, true, memory_order_relaxed))
        tracing_request(a, t, e);
}

static void event_trace(struct event *e, const struct trace_request *t)
{
    if (t->on)
        trace_id_write(&t->context, e->trace_id);
}

static void event_target(struct event *e, const struct target *t)
{
    EVENT_TEXT(e->group, t->group);
    EVENT_TEXT(e->provider, t->provider);
    EVENT_TEXT(e->model, t->model);
}

static void event_who(struct event *e, const struct identity *who)
{
    EVENT_TEXT(e->organization, who->organization);
    EVENT_TEXT(e->team, who->team);
    EVENT_TEXT(e->user, who->user);
    EVENT_TEXT(e->application, who->application);
    EVENT_TEXT(e->cost_center, who->cost_center);
}

static struct event event_of(const struct decision *d, enum event_kind kind)
{
    const struct assessment *s = &d->s;
    struct event e = {
        .kind = kind, .at_us = clock_wall_us(), .started_us = d->started_us, .endpoint = s->ask.endpoint, .stream = s->ask.stream,
        .input_counted = s->estimate.input_bound > 0 ? s->estimate.input : -1, .output_ceiling = s->alias != NULL ? s->ceiling : -1,
        .budget_left_nano = assess_budget_left(s),
        .identity_us = d->identity_us, .tokens_us = d->tokens_us, .budget_us = d->budget_us, .commit_us = -1,
        .decision_us = clock_mono_us() - d->started_mono_us, .ttft_us = -1, .tpot_ns = -1, .total_us = -1,
    };

    e.ledger_id = d->flight != NULL ? d->flight->op.decision.id : d->op.decision.id;
    EVENT_TEXT(e.request_id, s->rq.id);
    event_trace(&e, &d->trace);
    event_who(&e, &s->who);
    EVENT_TEXT(e.alias, s->alias != NULL ? s->alias->name : s->ask.model);
    if (s->choice.primary != NULL)
        event_target(&e, &s->choice.primary->target);
    return e;
}

void telemetry_allowed(const struct decision *d)
{
    struct event e = event_of(d, EVENT_ALLOWED);

    e.status = 0;
    e.hold_nano = d->s.hold_nano;
    e.commit_us = d->flight->commit_us;
    e.clamped = d->s.budget.verdict == BUDGET_CLAMPED;
    report(d->worker->agent, &e);
}

void telemetry_denied(const struct decision *d)
{
    struct event e = event_of(d, EVENT_DENIED);

    e.status = d->s.no.status;
    e.reason = d->s.no.reason;
    report(d->worker->agent, &e);
    trace_end(d->worker->agent, d->flight, &d->trace, &e);
}

void telemetry_answered(const struct decision *d)
{
    struct event e = event_of(d, EVENT_ANSWERED);

    e.status = 200;
    report(d->worker->agent, &e);
    trace_end(d->worker->agent, d->flight, &d->trace, &e);
}

static struct event event_of_flight(const struct inflight *f, enum event_kind kind)
{
    const struct ledger_decision *d = &f->op.decision;
    struct event e = {
        .kind = kind, .at_us = clock_wall_us(), .started_us = d->started_us, .endpoint = d->endpoint, .stream = d->stream,
        .input_counted = d->input_tokens, .output_ceiling = d->output_ceiling, .hold_nano = d->hold_nano,
        .budget_left_nano = d->budget_left_nano,
        .identity_us = d->identity_us, .tokens_us = d->tokens_us, .budget_us = d->budget_us, .commit_us = f->commit_us,
        .decision_us = -1, .ttft_us = -1, .tpot_ns = -1, .total_us = -1,
    };

    e.ledger_id = d->id;
    EVENT_TEXT(e.request_id, f->request_id);
    event_trace(&e, &f->trace);
    event_who(&e, &f->who);
    EVENT_TEXT(e.alias, d->alias);
    return e;
}

void telemetry_settled(struct agent *a, struct inflight *f, const struct ledger_settlement *s)
{
    struct event e = event_of_flight(f, EVENT_SETTLED);

    event_target(&e, s->fallback && f->has_fallback ? &f->fallback : &f->primary);
    e.reason = s->outcome.p; /* a literal */
    event_row_settlement(&e, s);
    report(a, &e);
    trace_end(a, f, &f->trace, &e);
}

void telemetry_corrected(struct agent *a, const struct inflight *f, const struct ledger_correction *c)
{
    struct event e = event_of_flight(f, EVENT_CORRECTED);

    event_target(&e, &f->primary);
    e.reason = c->reason.p; /* a literal */
    e.known_by = c->known_by;
    e.usage = c->usage;
    e.cost_nano = c->cost_nano;
    report(a, &e);
}

void telemetry_attempt(struct agent *a, const struct inflight *f, const struct ledger_attempt *t)
{
    request_metrics_attempt(a->telemetry->requests, t->target.group, t->outcome.p);
    tracing_attempt(a, f, t);
}
