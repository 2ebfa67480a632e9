#include "outcome/settlement.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "decide/inflight.h"
#include "outcome/adjusting.h"
#include "outcome/attempts.h"
#include "outcome/judgement.h"
#include "outcome/learning.h"
#include "outcome/provider_id.h"
#include "outcome/routing.h"
#include "runtime.h"
#include "settle/settle_line.h"
#include "settle/settle_record.h"
#include "telemetry.h"

#include <stdlib.h>

static const int64_t record_wait_us = 10 * INT64_C(1000000); /* after the line, for the record of the same response */
static const int64_t infer_us = 2 * INT64_C(1000000);       /* after the settlement, for the lines of its attempts */
static const int64_t linger_us = 30 * INT64_C(1000000);     /* a settled entry still answers for late lines */
static const int64_t expired_linger_us = 86400 * INT64_C(1000000); /* an expired one for a late record */

/* A settlement on its way to the ledger. */
struct settling {
    struct agent_task task;
    struct ledger_op op;
    struct agent *agent;
    struct inflight *flight;
    void (*done)(void *user);
    void *user;
    enum ledger_result result;
    char provider_id[PROVIDER_ID_MAX];
};

static void settled(struct agent *a, struct agent_task *task)
{
    struct settling *s = (struct settling *)task;
    struct inflight *f = s->flight;

    if (s->result == LEDGER_FAILED || s->result == LEDGER_INVALID)
        LOG(LOG_LEVEL_ERROR, "settlement_not_written", LOG_STR("request_id", f->request_id), LOG_INT("result", s->result));
    f->settled_mono_us = clock_mono_us();
    inflight_move(a->inflight, f, INFLIGHT_SETTLING, f->expiring ? INFLIGHT_EXPIRED : INFLIGHT_SETTLED);
    f->expiring = false;
    if (s->done != NULL)
        s->done(s->user);
    inflight_unref(f);
    free(s);
}

/* On the ledger's writer thread. */
static void on_written(struct ledger_op *op, enum ledger_result result)
{
    struct settling *s = op->user;
    s->result = result;
    agent_post(s->agent, &s->task);
}

static struct settling *settling_new(struct agent *a, struct inflight *f)
{
    struct settling *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->task.run = settled;
    s->agent = a;
    s->flight = f;
    inflight_ref(f);
    s->op = (struct ledger_op){ .kind = LEDGER_SETTLEMENT, .done = on_written, .user = s };
    return s;
}

/* Wall time, but never before the request's start: the clock may have been set back meanwhile. */
static int64_t settled_us(const struct inflight *f)
{
    int64_t now = clock_wall_us();
    return now > f->op.decision.started_us ? now : f->op.decision.started_us;
}

/* Books the verdict in budget and ledger. The caller has moved the entry to SETTLING, and with `expiring` set where a record may still come. */
static void settle(struct agent *a, struct inflight *f, const struct judgement *v, void (*done)(void *), void *user)
{
    struct settling *s = settling_new(a, f);
    struct budget_use use = { .nano = v->cost_nano, .tokens = token_usage_total(&v->usage), .requests = v->attempts > 0 || v->own ? 1 : 0 };
    struct budget_actual actual = { .primary = v->fallback ? (struct budget_use){ .nano = 0 } : use,
                                    .fallback = v->fallback ? use : (struct budget_use){ .nano = 0 } };

    if (v->known_by == KNOWN_BOUNDED)
        *(v->fallback ? &actual.fallback : &actual.primary) = f->held;
    if (v->attempts == 0 && v->known_by == KNOWN_NONE && !v->own)
        budget_release(a->budget, f->hold, clock_mono_us());
    else
        budget_settle(a->budget, f->hold, &actual, clock_mono_us());
    atomic_store(&f->settled_nano, v->cost_nano);
    atomic_store(&f->settled_by, v->known_by);
    f->settled_tokens = v->known_by == KNOWN_BOUNDED ? f->held.tokens : use.tokens;
    if (s == NULL) {
        /* The hold stays open in the ledger, and expires to its bound after a restart: too much, never too little. */
        LOG(LOG_LEVEL_ERROR, "settlement_not_written", LOG_STR("request_id", f->request_id), LOG_CSTR("error", "out of memory"));
        if (done != NULL)
            done(user);
        return;
    }
    s->done = done;
    s->user = user;
    const struct target *served = v->fallback && f->has_fallback ? &f->fallback : &f->primary;
    s->op.settlement = (struct ledger_settlement){
        .id = f->op.decision.id,
        .settled_us = settled_us(f),
        .known_by = v->known_by,
        .http_status = v->status > 0 ? v->status : 0,
        .outcome = slice_cstr(v->outcome),
        .usage = v->usage,
        .cost_nano = v->cost_nano,
        .discount_nano = v->price.discount_nano,
        .prompt_saved_nano = v->price.prompt_saved_nano,
        .provider_cost_nano = v->claimed ? v->claimed_nano : -1,
        .price_version = v->price.price_version != 0 ? v->price.price_version : f->op.decision.price_version,
        .ttft_us = v->ttft_us,
        .tpot_ns = v->tpot_ns,
        .total_us = v->total_us,
        .attempts = v->attempts,
        .fallback = v->fallback,
        .response_bytes = v->bytes,
        .commit_us = f->commit_us,
        .provider_request_id = provider_id_keep(v->provider_id, s->provider_id),
    };
    if (v->attempts > 0)
        s->op.settlement.served = ledger_target_of(served);
    atomic_fetch_add_explicit(&a->counters.settled, 1, memory_order_relaxed);
    telemetry_settled(a, f, &s->op.settlement);
    ledger_submit(a->ledger, &s->op);
}

struct correcting {
    struct inflight *flight;
    void (*done)(void *user);
    void *user;
};

static void corrected(struct agent *a, void *user, const struct ledger_correction *c, enum ledger_result result)
{
    struct correcting *x = user;

    (void)a;
    if (result != LEDGER_OK)
        LOG(LOG_LEVEL_ERROR, "settlement_not_written", LOG_STR("request_id", x->flight->request_id), LOG_INT("result", result));
    else
        LOG(LOG_LEVEL_INFO, "corrected", LOG_STR("request_id", x->flight->request_id), LOG_INT("cost_nano", c->cost_nano));
    if (x->done != NULL)
        x->done(x->user);
    inflight_unref(x->flight);
    free(x);
}

/* The hold has expired to its bound, and now the truth is here: the difference is booked as a row of its own. */
static void correct(struct agent *a, struct inflight *f, const struct judgement *v, void (*done)(void *), void *user)
{
    struct correcting *x = calloc(1, sizeof *x);
    const struct ledger_correction c = {
        .id = f->op.decision.id, .booked_us = clock_wall_us(), .reason = SLICE_LIT(LEDGER_LATE_RECORD), .known_by = v->known_by,
        .usage = v->usage, .cost_nano = v->cost_nano - atomic_load(&f->settled_nano), .discount_nano = v->price.discount_nano,
        .price_version = v->price.price_version != 0 ? v->price.price_version : f->op.decision.price_version,
    };

    if (x != NULL)
        *x = (struct correcting){ f, done, user };
    if (x == NULL || !adjusting_submit(a, &c, token_usage_total(&v->usage) - f->settled_tokens, corrected, x)) {
        LOG(LOG_LEVEL_ERROR, "settlement_not_written", LOG_STR("request_id", f->request_id), LOG_CSTR("error", "out of memory"));
        free(x);
        if (done != NULL)
            done(user);
        return;
    }
    inflight_ref(f);
    atomic_store(&f->settled_nano, v->cost_nano);
    atomic_store(&f->settled_by, v->known_by);
    atomic_fetch_add_explicit(&a->counters.corrected, 1, memory_order_relaxed);
    telemetry_corrected(a, f, &c);
}

/* Records that HAProxy gave up before this one; the log line settled their requests. */
static void lost_count(struct agent *a, const struct settle_record *r)
{
    static struct log_gate gate;
    unsigned held = 0;

    if (r->dropped <= 0)
        return;
    atomic_fetch_add_explicit(&a->counters.tap_dropped, (unsigned long long)r->dropped, memory_order_relaxed);
    if (log_gate_open(&gate, clock_mono_us(), 10, &held))
        LOG(LOG_LEVEL_WARN, "tap_dropped_records", LOG_INT("records", r->dropped), LOG_INT("suppressed", held));
}

static void line_settle(struct agent *a, struct inflight *f, int status, bool was_routed, bool client_abort, bool by_fallback,
                        bool expiring);

void settlement_record(struct agent *a, const struct settle_record *r, void (*done)(void *user), void *user)
{
    struct inflight *f = inflight_find(a->inflight, r->id);
    struct judgement v;

    if (f == NULL) {
        atomic_fetch_add_explicit(&a->counters.unknown_records, 1, memory_order_relaxed);
        lost_count(a, r);
        LOG(LOG_LEVEL_WARN, "record_without_request", LOG_STR("request_id", r->id), LOG_STR("group", r->group));
        done(user);
        return;
    }
    if (r->status <= 0 || r->group.n == 0) {
        /* No provider's response began: what status there is, is HAProxy's own. Whether a provider saw the request, and who left, the log line tells: it decides, now or in a moment. */
        done(user);
        lost_count(a, r);
        f->record_without_response = true;
        if (f->line_mono_us > 0)
            line_settle(a, f, f->line_status, true, f->line_client_abort, f->attempts == 2, false);
        else
            f->line_mono_us = clock_mono_us();
        inflight_unref(f);
        return;
    }
    judgement_of_record(a, f, r, &v);
    bool open = inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING);
    bool late = !open && (f->expiring || inflight_move(a->inflight, f, INFLIGHT_EXPIRED, INFLIGHT_SETTLED));
    f->expiring = false; /* the ledger writes in the order of what it is given: the bound first */
    if (open || late)
        lost_count(a, r);
    if (open)
        routing_served(a, f, r, v.fallback, v.tpot_ns, token_usage_output(&v.usage));
    if ((open || late) && v.known_by == KNOWN_REPORTED)
        learning_observe(a, f, v.fallback, &v.usage);
    if (open)
        settle(a, f, &v, done, user);
    else if (late)
        correct(a, f, &v, done, user);
    else
        done(user); /* sent again after a lost acknowledgement */
    inflight_unref(f);
}

static bool lua_on(struct agent *a)
{
    struct runtime *r = agent_runtime(a);
    bool on = *r->config->haproxy.lua;
    runtime_unref(r);
    return on;
}

static bool routed(const struct settle_line *l)
{
    return slice_eq_cstr(l->server, "primary") || slice_eq_cstr(l->server, "fallback");
}

/* From the line alone. A provider that may have worked costs the hold; one that said no, or was never reached, nothing. `expiring`: a record may
 * still come. */
static void line_settle(struct agent *a, struct inflight *f, int status, bool was_routed, bool client_abort, bool by_fallback,
                        bool expiring)
{
    struct judgement v = { .known_by = KNOWN_NONE, .status = status, .outcome = "not_sent", .ttft_us = -1, .tpot_ns = -1,
                            .total_us = f->total_us, .attempts = f->attempts };

    if (was_routed && v.attempts == 0)
        v.attempts = by_fallback ? 2 : 1;
    v.fallback = by_fallback && f->has_fallback;
    if (was_routed && status >= 400) {
        v.outcome = "provider_error";
    } else if (was_routed && client_abort && atomic_load(&f->pausing)) {
        v.outcome = "client_abort";
    } else if (was_routed) {
        v.known_by = KNOWN_BOUNDED;
        v.cost_nano = f->op.decision.hold_nano;
        v.outcome = client_abort ? "client_abort" : "no_usage";
    } else {
        v.attempts = 0;
    }
    if (inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING)) {
        f->expiring = expiring;
        settle(a, f, &v, NULL, NULL);
    }
}

void settlement_line(struct agent *a, const struct settle_line *l)
{
    struct inflight *f = inflight_find(a->inflight, l->id);

    if (f == NULL) {
        /* Refused, or answered by HAProxy itself: then our decision may only be coming. */
        if (l->tier == 1 && l->status == 503 && !routed(l))
            inflight_give_up(a->inflight, l->id);
        return;
    }
    if (l->tier == 2) {
        attempts_line(a, f, l);
        inflight_unref(f);
        return;
    }
    bool client_abort = settle_line_client_aborted(l);
    atomic_store(&f->ended, true);
    f->total_us = l->ta >= 0 ? l->ta * 1000 : -1;
    /* HAProxy logs a status of its own, 400, for clients that left while a provider was at work. */
    int status = client_abort && l->tr < 0 ? -1 : (int)l->status;
    f->line_status = status;
    f->line_client_abort = client_abort;
    bool sent = routed(l);
    if (!sent)
        atomic_store(&f->given_up, true); /* before the move below: one of the two threads sees the other */
    /* A response that a provider began has a record as well, unless there is no tap: it knows more. */
    if (sent && lua_on(a) && !f->record_without_response)
        f->line_mono_us = clock_mono_us();
    else
        line_settle(a, f, status, sent, client_abort, slice_eq_cstr(l->server, "fallback") || l->attempt == 2, false);
    inflight_unref(f);
}

void settlement_abandon(struct agent *a, struct inflight *f, const char *outcome)
{
    struct judgement v = { .known_by = KNOWN_NONE, .outcome = outcome, .ttft_us = -1, .tpot_ns = -1, .total_us = -1 };

    atomic_fetch_add_explicit(&a->counters.abandoned, 1, memory_order_relaxed);
    if (inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING))
        settle(a, f, &v, NULL, NULL);
}

void settlement_answered(struct agent *a, struct inflight *f, const char *outcome)
{
    struct judgement v = { .known_by = KNOWN_NONE, .outcome = outcome, .status = 200, .own = true, .ttft_us = -1, .tpot_ns = -1,
                            .total_us = -1 };

    if (inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING))
        settle(a, f, &v, NULL, NULL);
}

struct tick {
    struct agent *agent;
    int64_t now_us, hold_timeout_us; /* monotonic */
    struct inflight *gone[256];
    size_t gone_count;
};

static void expire(struct agent *a, struct inflight *f)
{
    struct judgement v = { .known_by = KNOWN_BOUNDED, .cost_nano = f->op.decision.hold_nano, .outcome = "expired", .ttft_us = -1,
                            .tpot_ns = -1, .total_us = -1, .attempts = f->attempts > 0 ? f->attempts : 1 };

    if (!inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING))
        return;
    atomic_fetch_add_explicit(&a->counters.expired, 1, memory_order_relaxed);
    LOG(LOG_LEVEL_WARN, "hold_expired", LOG_STR("request_id", f->request_id), LOG_INT("hold_nano", f->op.decision.hold_nano));
    f->expiring = true;
    settle(a, f, &v, NULL, NULL);
}

static bool on_entry(void *user, struct inflight *f)
{
    struct tick *t = user;

    if (f->state == INFLIGHT_OPEN && f->line_mono_us > 0 && t->now_us - f->line_mono_us > record_wait_us)
        line_settle(t->agent, f, f->line_status, true, f->line_client_abort, f->attempts == 2, true);
    if (f->state == INFLIGHT_OPEN && t->now_us - f->held_mono_us > t->hold_timeout_us)
        expire(t->agent, f);
    bool judged = f->state == INFLIGHT_SETTLED || (f->state == INFLIGHT_EXPIRED && f->line_mono_us > 0);
    if (judged && (f->attempt_rows & 3u << 1) == 1u << 2 && t->now_us - f->settled_mono_us > infer_us)
        attempts_infer(t->agent, f);
    bool over = (f->state == INFLIGHT_SETTLED && t->now_us - f->settled_mono_us > linger_us) ||
                (f->state == INFLIGHT_EXPIRED && t->now_us - f->settled_mono_us > expired_linger_us);
    if (over && t->gone_count < sizeof t->gone / sizeof *t->gone) {
        inflight_ref(f);
        t->gone[t->gone_count++] = f;
    }
    return true;
}

void settlement_tick(struct agent *a, int64_t mono_us)
{
    struct runtime *r = agent_runtime(a);
    struct tick t = { .agent = a, .now_us = mono_us, .hold_timeout_us = r->config->hold_timeout_us };

    runtime_unref(r);
    do {
        t.gone_count = 0;
        inflight_each(a->inflight, on_entry, &t);
        for (size_t i = 0; i < t.gone_count; i++) {
            inflight_remove(a->inflight, t.gone[i]);
            inflight_unref(t.gone[i]);
        }
    } while (t.gone_count == sizeof t.gone / sizeof *t.gone);
}
