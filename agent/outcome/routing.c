#include "outcome/routing.h"

#include "admin/rpc_put.h"
#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "decide/inflight.h"
#include "ledger/ledger.h"
#include "ledger/read.h"
#include "observe/metrics.h"
#include "relay/relay_stream.h"
#include "route/affinity.h"
#include "route/breaker.h"
#include "runtime.h"
#include "settle/settle_line.h"
#include "settle/settle_record.h"
#include "telemetry.h"

#include <stdio.h>
#include <stdlib.h>

enum { STATE, DRAINED, OPENINGS, METRICS };

struct routing {
    struct metric *metric[METRICS];
};

/* A breaker on its way to the ledger. */
struct keeping {
    struct ledger_op op;
    struct breaker *breaker;
};

static const struct metric_spec specs[METRICS] = {
    [STATE] = { .name = "tollgate_route_state", .kind = METRIC_GAUGE, .labels = { "provider", "model" },
                .help = "Circuit breaker of a target: 0 closed, 1 half open, 2 open." },
    [DRAINED] = { .name = "tollgate_route_drained", .kind = METRIC_GAUGE, .labels = { "provider", "model" },
                  .help = "1 while an operator has set the target aside." },
    [OPENINGS] = { .name = "tollgate_route_openings", .kind = METRIC_COUNTER, .labels = { "provider", "model", "reason" },
                   .help = "Times a circuit breaker opened." },
};

/* ---- from and to the ledger ---- */

static bool on_row(void *user, const struct ledger_route *row)
{
    struct agent *a = user;
    struct breaker *b = breaker_get(a->breakers, row->group, row->model);
    char reason[32];
    int64_t now = clock_mono_us(), left = row->open_until_us - clock_wall_us();
    struct breaker_view v = {
        .state = slice_eq_cstr(row->state, breaker_state_word(BREAKER_CLOSED)) ? BREAKER_CLOSED : BREAKER_OPEN, .drained = row->drained,
        .open_until_us = left > 0 ? now + left : 0, .openings = row->openings > 0 && row->openings < 1000 ? (int)row->openings : 0,
        .ttft_us = row->ttft_us, .tpot_ns = row->tpot_ns, .plain_us = row->plain_us, .output = row->output_tokens,
    };

    snprintf(reason, sizeof reason, "%.*s", SLICE_FMT(row->reason));
    v.reason = reason;
    if (b != NULL)
        breaker_restore(b, &v, now);
    return true;
}

bool routing_open(struct agent *a, const char *ledger_file, char *why, size_t why_size)
{
    a->breakers = breaker_table_new();
    a->affinity = affinity_new();
    a->routing = calloc(1, sizeof *a->routing);
    snprintf(why, why_size, "out of memory");
    if (a->breakers == NULL || a->affinity == NULL || a->routing == NULL)
        return false;
    for (int i = 0; i < METRICS; i++)
        if ((a->routing->metric[i] = metrics_add(a->telemetry->metrics, &specs[i])) == NULL)
            return false;
    struct ledger_reader *r = ledger_reader_open(ledger_file, why, why_size);
    if (r == NULL)
        return false;
    int rc = ledger_read_routes(r, on_row, a);
    if (rc != 0)
        snprintf(why, why_size, "cannot read the state of routes: %s", ledger_reader_error(r));
    ledger_reader_close(r);
    return rc == 0;
}

void routing_close(struct agent *a)
{
    breaker_table_free(a->breakers);
    affinity_free(a->affinity);
    free(a->routing);
}

/* On the ledger's writer thread. */
static void on_kept(struct ledger_op *op, enum ledger_result result)
{
    struct keeping *k = op->user;

    breaker_keep_end(k->breaker, result == LEDGER_OK);
    free(k);
}

static void keep(struct agent *a, struct breaker *b)
{
    struct keeping *k = malloc(sizeof *k);
    struct breaker_view v;
    int64_t now = clock_mono_us(), wall = clock_wall_us();

    if (k == NULL)
        return; /* it stays marked as changed */
    breaker_view(b, now, &v);
    breaker_keep_begin(b);
    k->breaker = b;
    k->op = (struct ledger_op){ .kind = LEDGER_ROUTE, .done = on_kept, .user = k };
    k->op.route = (struct ledger_route){
        .group = v.group, .model = v.model, .state = slice_cstr(breaker_state_word(v.state)), .reason = slice_cstr(v.reason),
        .drained = v.drained, .open_until_us = v.open_until_us > 0 ? wall + v.open_until_us - now : 0, .openings = v.openings,
        .ttft_us = v.ttft_us, .tpot_ns = v.tpot_ns, .plain_us = v.plain_us, .output_tokens = v.output, .updated_us = wall,
    };
    ledger_submit(a->ledger, &k->op);
}

void routing_keep_all(struct agent *a)
{
    struct breaker *b;

    for (size_t i = 0; a->breakers != NULL && (b = breaker_at(a->breakers, i)) != NULL; i++)
        keep(a, b);
}

/* ---- what settlements tell ---- */

static struct breaker *breaker_of(struct agent *a, const struct inflight *f, bool second)
{
    const struct target *t = second && f->has_fallback ? &f->fallback : &f->primary;
    return breaker_find(a->breakers, t->group, t->model);
}

static void state_changed(struct agent *a, struct breaker *b)
{
    struct breaker_view v;

    breaker_view(b, clock_mono_us(), &v);
    struct slice labels[] = { v.group, v.model, slice_cstr(v.reason) };
    if (v.state == BREAKER_OPEN)
        metric_add(metric_series(a->routing->metric[OPENINGS], labels), 1);
    LOG(v.state == BREAKER_OPEN ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "breaker", LOG_STR("group", v.group), LOG_STR("model", v.model),
        LOG_CSTR("state", breaker_state_word(v.state)), LOG_CSTR("reason", v.reason),
        LOG_INT("open_ms", v.open_until_us > 0 ? (v.open_until_us - clock_mono_us()) / 1000 : 0));
    keep(a, b);
}

static void attempt(struct agent *a, struct breaker *b, enum breaker_outcome outcome, int64_t retry_after_us)
{
    if (b != NULL && breaker_attempt(b, outcome, retry_after_us, clock_mono_us()))
        state_changed(a, b);
}

/* Answers that say something about the account or the provider, not about the request. */
static bool provider_fault(int64_t status)
{
    return status >= 500 || status == 401 || status == 402 || status == 408 || status == 425 || status == 429;
}

/* HAProxy's termination state (its documentation, 8.5): who ended it. */
static enum breaker_outcome outcome_of(const struct settle_line *l, int64_t status, enum relay_cause given_up)
{
    char who = l->state.n > 0 ? l->state.p[0] : '-';

    /* HAProxy takes the relay for the client: to it the client left. */
    if (given_up == RELAY_CAUSE_STOPPED || given_up == RELAY_CAUSE_SHUTDOWN || given_up == RELAY_CAUSE_TOO_LONG)
        return BREAKER_NEUTRAL;
    if (given_up != RELAY_CAUSE_NONE)
        return BREAKER_FAILED;
    if (settle_line_client_aborted(l) || who == 'c')
        return BREAKER_NEUTRAL;
    if (status < 0 || provider_fault(status))
        return BREAKER_FAILED;
    return who == 'S' || who == 's' ? BREAKER_FAILED : BREAKER_GOOD;
}

/* Of the same failure the log line, the record of the tap and the relay may tell, in any order. True for the first of them. */
static bool failure_is_news(struct inflight *f, bool second)
{
    unsigned bit = 1u << (second ? 2 : 1);
    bool first = (f->failures_told & bit) == 0;

    f->failures_told |= bit;
    return first;
}

static bool tap_tells(struct agent *a)
{
    struct runtime *r = agent_runtime(a);
    bool lua = *r->config->haproxy.lua;

    runtime_unref(r);
    return lua;
}

/* What the provider holds against one key says nothing of the others: the next request takes one of those. */
static bool other_key(struct agent *a, const struct target *t)
{
    struct runtime *r = agent_runtime(a);
    struct credential_state s;
    bool found = false;

    for (size_t i = 0; !found && credential_store_state(r->credentials, i, clock_mono_us(), &s); i++)
        found = slice_eq_cstr(t->group, s.name) && s.valid && !s.aside;
    runtime_unref(r);
    return found;
}

void routing_attempt(struct agent *a, struct inflight *f, bool second, const struct settle_line *l, int64_t status)
{
    enum breaker_outcome outcome = outcome_of(l, status, (enum relay_cause)atomic_load(&f->relay_cause[second]));

    if ((status == 401 || status == 429) && other_key(a, second && f->has_fallback ? &f->fallback : &f->primary))
        return;

    if (outcome == BREAKER_GOOD && settle_line_error_body(l))
        outcome = BREAKER_FAILED;
    /* An answer may still turn out to be an error inside a stream: with the tap, its record tells. */
    if (outcome == BREAKER_GOOD && status < 300 && tap_tells(a))
        return;
    if (outcome == BREAKER_FAILED && !failure_is_news(f, second))
        return;
    attempt(a, breaker_of(a, f, second), outcome, breaker_retry_after_us(l->retry_after, clock_wall_us()));
}

void routing_given_up(struct agent *a, struct inflight *f, bool second)
{
    if (failure_is_news(f, second))
        attempt(a, breaker_of(a, f, second), BREAKER_FAILED, -1);
}

void routing_silent(struct agent *a, const struct inflight *f)
{
    attempt(a, breaker_of(a, f, false), BREAKER_FAILED, -1);
}

void routing_served(struct agent *a, struct inflight *f, const struct settle_record *r, bool fallback, int64_t tpot_ns,
                    int64_t output)
{
    struct breaker *b = breaker_of(a, f, fallback);
    bool passing = f->op.decision.endpoint == ENDPOINT_PASSTHROUGH; /* an error object there may be what was asked for */
    bool well = r->end == SETTLE_END_COMPLETE && (!r->failed || passing) && (r->done || !r->sse);

    if (b == NULL || r->status < 200 || r->status >= 300 || r->end == SETTLE_END_CUT || atomic_load(&f->relay_cause[fallback]) != 0)
        return; /* the log line tells, also who cut it */
    if (!well && r->failed && r->blamed) {
        attempt(a, b, BREAKER_NEUTRAL, -1);
        return;
    }
    if (!well && !failure_is_news(f, fallback))
        return;
    attempt(a, b, well ? BREAKER_GOOD : BREAKER_FAILED, -1);
    /* The record's times run from the request's beginning: those of a second try hold the first one's as well. */
    struct breaker_answer answer = { .stream = r->sse, .ttft_us = r->first_ms >= 0 ? r->first_ms * 1000 : -1, .tpot_ns = tpot_ns,
                                     .total_us = r->last_ms >= 0 ? r->last_ms * 1000 : -1, .output = output > 0 ? output : -1 };
    if (well && !fallback && breaker_latency(b, &answer, clock_mono_us()))
        state_changed(a, b);
}

static void metrics_set(struct agent *a, const struct breaker_view *v)
{
    static const int order[] = { [BREAKER_CLOSED] = 0, [BREAKER_HALF_OPEN] = 1, [BREAKER_OPEN] = 2 };
    struct slice labels[] = { v->group, v->model };

    metric_set(metric_series(a->routing->metric[STATE], labels), order[v->state]);
    metric_set(metric_series(a->routing->metric[DRAINED], labels), v->drained);
}

static bool configured(const struct runtime *r, const struct breaker *b)
{
    for (size_t i = 0; i < r->routes.alias_count; i++)
        for (size_t k = 0; k < r->routes.aliases[i].target_count; k++)
            if (r->models[i].targets[k].breaker == b)
                return true;
    return false;
}

void routing_tick(struct agent *a)
{
    struct runtime *r = agent_runtime(a);
    struct breaker *b;
    struct breaker_view v;
    int64_t now = clock_mono_us();

    for (size_t i = 0; (b = breaker_at(a->breakers, i)) != NULL; i++) {
        breaker_tick(b, now);
        breaker_view(b, now, &v);
        if (configured(r, b))
            metrics_set(a, &v);
        if (v.changed)
            keep(a, b);
    }
    runtime_unref(r);
    metric_sweep(a->routing->metric[STATE]); /* those of targets that the configuration no longer has */
    metric_sweep(a->routing->metric[DRAINED]);
}

/* ---- operators ---- */

static void put_breaker(msgpack_packer *p, const struct breaker_view *v, int64_t now_us)
{
    msgpack_pack_map(p, 14);
    rpc_put_text(p, "group", v->group);
    rpc_put_text(p, "model", v->model);
    rpc_put_text(p, "state", slice_cstr(breaker_state_word(v->state)));
    rpc_put_int(p, "drained", v->drained);
    rpc_put_text(p, "reason", slice_cstr(v->reason));
    rpc_put_int(p, "open_ms", v->open_until_us > 0 ? (v->open_until_us - now_us) / 1000 : 0);
    rpc_put_int(p, "failures_in_row", v->failures_in_row);
    rpc_put_int(p, "requests", v->requests);
    rpc_put_int(p, "errors", v->errors);
    rpc_put_int(p, "ttft_us", v->ttft_us);
    rpc_put_int(p, "tpot_ns", v->tpot_ns);
    rpc_put_int(p, "plain_us", v->plain_us);
    rpc_put_int(p, "output_tokens", v->output);
    rpc_put_int(p, "kept", v->kept);
}

/* GROUP/MODEL or GROUP; a model may hold slashes. */
static bool named(const struct breaker_view *v, struct slice target)
{
    if (target.n == 0 || slice_eq(target, v->group))
        return true;
    return target.n == v->group.n + 1 + v->model.n && slice_starts(target, v->group) && target.p[v->group.n] == '/' &&
           slice_eq(slice_make(target.p + v->group.n + 1, v->model.n), v->model);
}

static struct slice target_param(const msgpack_object *params)
{
    if (params->type != MSGPACK_OBJECT_ARRAY || params->via.array.size == 0 || params->via.array.ptr[0].type != MSGPACK_OBJECT_STR)
        return SLICE_NONE;
    return slice_make(params->via.array.ptr[0].via.str.ptr, params->via.array.ptr[0].via.str.size);
}

/* The breakers that are meant, among those of the configuration in force; `each` may be NULL. Returns how many. */
static size_t each_named(struct agent *a, struct slice target, void (*each)(struct agent *a, struct breaker *b, void *user), void *user)
{
    struct runtime *r = agent_runtime(a);
    struct breaker *b;
    struct breaker_view v;
    size_t n = 0;

    for (size_t i = 0; (b = breaker_at(a->breakers, i)) != NULL; i++) {
        breaker_view(b, clock_mono_us(), &v);
        if (!configured(r, b) || !named(&v, target))
            continue;
        n++;
        if (each != NULL)
            each(a, b, user);
    }
    runtime_unref(r);
    return n;
}

static void show(struct agent *a, struct breaker *b, void *user)
{
    struct breaker_view v;
    int64_t now = clock_mono_us();

    (void)a;
    breaker_view(b, now, &v);
    put_breaker(user, &v, now);
}

const char *routing_status(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct slice target = target_param(params);
    size_t n = each_named(user, target, NULL, NULL);

    if (n == 0 && target.n > 0)
        return "there is no such target; tollgatectl route status lists them";
    msgpack_pack_array(p, n);
    each_named(user, target, show, p);
    return NULL;
}

static void drain(struct agent *a, struct breaker *b, void *user)
{
    bool drained = *(const bool *)user;
    struct breaker_view v;

    breaker_drain(b, drained);
    if (!drained)
        breaker_reset(b);
    breaker_view(b, clock_mono_us(), &v);
    LOG(LOG_LEVEL_WARN, drained ? "target_drained" : "target_enabled", LOG_STR("group", v.group), LOG_STR("model", v.model));
    keep(a, b);
}

static const char *drain_named(struct agent *a, const msgpack_object *params, msgpack_packer *p, bool drained)
{
    struct slice target = target_param(params);

    if (target.n == 0)
        return "name a target, GROUP/MODEL or GROUP; tollgatectl route status lists them";
    size_t n = each_named(a, target, drain, &drained);
    if (n == 0)
        return "there is no such target; tollgatectl route status lists them";
    msgpack_pack_int64(p, (int64_t)n);
    return NULL;
}

const char *routing_drain(void *user, const msgpack_object *params, msgpack_packer *p)
{
    return drain_named(user, params, p, true);
}

const char *routing_enable(void *user, const msgpack_object *params, msgpack_packer *p)
{
    return drain_named(user, params, p, false);
}
