#include "outcome/settlement.h"

#include "agent.h"
#include "base/clock.h"
#include "base/json_scan.h"
#include "base/log.h"
#include "outcome/costing.h"
#include "decide/inflight.h"
#include "decide/keys.h"
#include "outcome/learning.h"
#include "relay/relay_stream.h"
#include "route/breaker.h"
#include "outcome/routing.h"
#include "runtime.h"
#include "settle/delivered.h"
#include "settle/settle_line.h"
#include "settle/settle_record.h"
#include "settle/usage.h"
#include "telemetry.h"
#include "tokens/count.h"

#include <stdlib.h>

static const int64_t record_wait_us = 3 * INT64_C(1000000); /* after the line, for the record of the same response */
static const int64_t infer_us = 2 * INT64_C(1000000);       /* after the settlement, for the lines of its attempts */
static const int64_t linger_us = 30 * INT64_C(1000000);     /* a settled entry still answers for late lines */
static const int64_t expired_linger_us = 86400 * INT64_C(1000000); /* an expired one for a late record */

/* A settlement or correction on its way to the ledger. */
struct settling {
    struct agent_task task;
    struct ledger_op op;
    struct agent *agent;
    struct inflight *flight;
    void (*done)(void *user);
    void *user;
    enum ledger_result result;
    enum inflight_state end; /* SETTLED or EXPIRED */
};

struct attempt {
    struct ledger_op op;
    struct inflight *flight;
};

/* What a request did, before it is written down. */
struct verdict_of {
    enum known_by known_by;
    struct token_usage usage;
    int64_t cost_nano;
    struct costing price; /* of the usage; all 0 when it is not known */
    const char *outcome;
    int status;
    bool fallback, own; /* own: the gateway answered it */
    int32_t attempts;
    int64_t ttft_us, tpot_ns, total_us, bytes;
};

static void settled(struct agent *a, struct agent_task *task)
{
    struct settling *s = (struct settling *)task;
    struct inflight *f = s->flight;

    if (s->result == LEDGER_FAILED || s->result == LEDGER_INVALID)
        LOG(LOG_LEVEL_ERROR, "settlement_not_written", LOG_STR("request_id", f->request_id), LOG_INT("result", s->result));
    if (s->op.kind == LEDGER_SETTLEMENT) {
        f->settled_mono_us = clock_mono_us();
        inflight_move(a->inflight, f, INFLIGHT_SETTLING, s->end);
    }
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

static struct settling *settling_new(struct agent *a, struct inflight *f, enum ledger_op_kind kind)
{
    struct settling *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->task.run = settled;
    s->agent = a;
    s->flight = f;
    inflight_ref(f);
    s->op = (struct ledger_op){ .kind = kind, .done = on_written, .user = s };
    return s;
}

static int64_t nano_or_zero(int64_t n)
{
    return n > 0 ? n : 0;
}

static void log_settled(const struct inflight *f, const struct verdict_of *v)
{
    static const char *const known[] = { "open", "reported", "counted", "bounded", "none" };

    LOG(LOG_LEVEL_DEBUG, "settled", LOG_STR("request_id", f->request_id), LOG_STR("team", f->who.team),
        LOG_STR("model", v->fallback ? f->fallback.model : f->primary.model), LOG_CSTR("known_by", known[v->known_by]),
        LOG_CSTR("outcome", v->outcome), LOG_INT("status", v->status), LOG_INT("cost_nano", v->cost_nano),
        LOG_INT("input", v->usage.input), LOG_INT("output", v->usage.output), LOG_INT("ttft_us", v->ttft_us));
}

/* Wall time, but never before the request's start: the clock may have been set back meanwhile. */
static int64_t settled_us(const struct inflight *f)
{
    int64_t now = clock_wall_us();
    return now > f->op.decision.started_us ? now : f->op.decision.started_us;
}

/* Books the verdict in budget and ledger. The caller has moved the entry to SETTLING. */
static void settle(struct agent *a, struct inflight *f, const struct verdict_of *v, enum inflight_state end, void (*done)(void *),
                   void *user)
{
    struct settling *s = settling_new(a, f, LEDGER_SETTLEMENT);
    struct budget_use use = { .nano = v->cost_nano, .tokens = token_usage_total(&v->usage), .requests = v->attempts > 0 || v->own ? 1 : 0 };
    struct budget_actual actual = { .primary = v->fallback ? (struct budget_use){ .nano = 0 } : use,
                                    .fallback = v->fallback ? use : (struct budget_use){ .nano = 0 } };

    if (v->known_by == KNOWN_BOUNDED)
        actual.primary = f->held;
    if (v->attempts == 0 && v->known_by == KNOWN_NONE && !v->own)
        budget_release(a->budget, f->hold, clock_mono_us());
    else
        budget_settle(a->budget, f->hold, &actual, clock_mono_us());
    f->settled_nano = v->cost_nano;
    f->settled_tokens = use.tokens;
    log_settled(f, v);
    if (s == NULL) {
        /* The hold stays open in the ledger, and expires to its bound after a restart: too much, never too little. */
        LOG(LOG_LEVEL_ERROR, "settlement_not_written", LOG_STR("request_id", f->request_id), LOG_CSTR("error", "out of memory"));
        if (done != NULL)
            done(user);
        return;
    }
    s->end = end;
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
        .provider_cost_nano = -1,
        .price_version = f->prices != NULL ? price_table_id(f->prices) : f->op.decision.price_version,
        .ttft_us = v->ttft_us,
        .tpot_ns = v->tpot_ns,
        .total_us = v->total_us,
        .attempts = v->attempts,
        .fallback = v->fallback,
        .response_bytes = v->bytes,
        .commit_us = f->commit_us,
    };
    if (v->attempts > 0)
        s->op.settlement.served = (struct ledger_target){ .group = served->group, .provider = served->provider,
                                                          .model = served->model };
    atomic_fetch_add_explicit(&a->counters.settled, 1, memory_order_relaxed);
    telemetry_settled(a, f, &s->op.settlement);
    ledger_submit(a->ledger, &s->op);
}

/* `first` is Anthropic's from message_start, or empty. */
static bool reported(struct slice first, struct slice last, struct token_usage *out, const char **why)
{
    struct usage_report all, later;

    *why = "";
    if (last.n == 0 || usage_parse(last, &later, why) != 0)
        return false;
    all = later;
    if (first.n > 0 && usage_parse(first, &all, why) == 0)
        usage_merge(&all, &later);
    *out = all.tokens;
    return true;
}

/* Tokens of what was delivered; -1 when memory is out. */
static int64_t delivered_tokens(struct agent *a, const struct delivered *got, const struct tokenizer *t, const struct token_rules *rules)
{
    int64_t total = got->tool_calls * (int64_t)8;

    for (size_t i = 0; i < got->text_count; i++) {
        int64_t n = token_count_text(a->counter, t, got->texts[i].text, NULL);
        if (n < 0)
            return -1;
        total += n;
    }
    return (int64_t)(((__int128)total * rules->factor_ppm + 999999) / 1000000);
}

/* Why the relay gave up the try that was served; NONE: it did not. */
static enum relay_cause relay_cause_of(const struct inflight *f, bool second)
{
    return (enum relay_cause)atomic_load(&f->relay_cause[second]);
}

/* Where the provider's own figure is missing: its work is what reached the client, and the prompt as counted. */
static bool count_delivered(struct agent *a, const struct inflight *f, const struct settle_record *r, struct verdict_of *v)
{
    struct arena *arena = arena_new(65536);
    const struct ledger_decision *d = &f->op.decision;
    const struct target *served = v->fallback && f->has_fallback ? &f->fallback : &f->primary;
    struct token_rules rules;
    struct delivered got;
    const char *why;
    bool ok = false;

    if (arena == NULL)
        return false;
    token_rules_for_model(served->model, &rules);
    const struct tokenizer *t = tokenizer_set_find(a->tokenizers, slice_cstr(rules.encoding));
    if (t == NULL || delivered_read(r->body, r->sse, arena, &got) != 0)
        goto out;
    if (got.terminal && reported(got.first_usage, got.usage, &v->usage, &why)) {
        v->known_by = KNOWN_REPORTED;
        ok = true;
        goto out;
    }
    int64_t output = delivered_tokens(a, &got, t, &rules);
    if (output < 0)
        goto out;
    /* Only the beginning was kept: the rest is assumed to be like it, and never more than was allowed. */
    if (r->body_cut && r->body.n > 0)
        output = (int64_t)((__int128)output * r->bytes / (int64_t)r->body.n);
    if (relay_cause_of(f, v->fallback) != RELAY_CAUSE_STOPPED && d->output_ceiling >= 0 && output > d->output_ceiling * d->choices)
        output = d->output_ceiling * d->choices;
    v->usage = (struct token_usage){ .input = nano_or_zero(d->input_tokens), .output = output };
    v->known_by = KNOWN_COUNTED;
    ok = true;
out:
    arena_free(arena);
    return ok;
}

static void usage_find(struct agent *a, const struct inflight *f, const struct settle_record *r, struct verdict_of *v)
{
    bool cut = (r->end == SETTLE_END_CUT || r->failed) && r->sse && !r->done;
    const char *why;

    /* A stream that was cut can have told usage that does not cover what came after: Anthropic's first event does. */
    if (r->usage.n > 0 && !(cut && r->body.n > 0)) {
        if (reported(r->first_usage, r->usage, &v->usage, &why)) {
            v->known_by = KNOWN_REPORTED;
            return;
        }
        LOG(LOG_LEVEL_WARN, "usage_unusable", LOG_STR("request_id", f->request_id), LOG_STR("group", r->group), LOG_CSTR("why", why));
    }
    /* Of a compressed body nothing can be counted: it must not look like an answer without a word. */
    bool readable = r->coding.n == 0 || slice_eq_cstr(r->coding, "identity");
    if (readable && r->body.p != NULL && count_delivered(a, f, r, v))
        return;
    v->known_by = KNOWN_BOUNDED;
    v->cost_nano = f->op.decision.hold_nano;
}

/* Prices what was found. A served model without a price (allowed by configuration) costs 0. */
static void price(struct agent *a, const struct inflight *f, struct verdict_of *v)
{
    if (v->known_by != KNOWN_REPORTED && v->known_by != KNOWN_COUNTED)
        return;
    bool priced = costing_of(a, f, v->fallback, &v->usage, &v->price);
    v->cost_nano = v->price.cost_nano;
    if (!priced && f->op.decision.hold_nano > 0) {
        LOG(LOG_LEVEL_WARN, "cost_not_computable", LOG_STR("request_id", f->request_id));
        v->known_by = KNOWN_BOUNDED;
        v->cost_nano = f->op.decision.hold_nano;
    }
}

static const char *outcome_of(const struct settle_record *r, const struct inflight *f, bool second)
{
    if (r->status >= 400)
        return "provider_error";
    if (relay_cause_of(f, second) != RELAY_CAUSE_NONE)
        return relay_cause_word(relay_cause_of(f, second));
    if (r->failed)
        return "stream_error";
    if (r->end != SETTLE_END_CUT)
        return r->done || !r->sse ? "ok" : "no_terminal_event";
    return f->line_client_abort ? "client_abort" : "cut";
}

static void record_judge(struct agent *a, const struct inflight *f, const struct settle_record *r, struct verdict_of *v)
{
    *v = (struct verdict_of){ .known_by = KNOWN_NONE, .status = (int)r->status, .tpot_ns = -1,
                              .bytes = r->bytes };
    v->fallback = f->has_fallback && (r->attempt == 2 || (r->attempt == 0 && slice_eq(r->group, f->fallback.group)));
    v->outcome = outcome_of(r, f, v->fallback);
    v->attempts = v->fallback ? 2 : 1;
    v->ttft_us = r->first_ms >= 0 ? r->first_ms * 1000 : -1;
    v->total_us = r->last_ms >= 0 ? r->last_ms * 1000 : -1;
    bool good = r->status >= 200 && r->status < 300;
    if (good && f->op.decision.endpoint == ENDPOINT_PASSTHROUGH) { /* has a price of its own, whatever usage it reports */
        v->known_by = KNOWN_COUNTED;
        v->cost_nano = f->op.decision.hold_nano;
        return;
    }
    if (good)
        usage_find(a, f, r, v);
    price(a, f, v);
    int64_t output = token_usage_output(&v->usage);
    if (output > 1 && r->first_ms >= 0 && r->last_ms >= r->first_ms)
        v->tpot_ns = (r->last_ms - r->first_ms) * 1000000 / (output - 1);
}

/* The hold has expired to its bound, and now the truth is here: the difference is booked as a row of its own. */
static void correct(struct agent *a, struct inflight *f, const struct verdict_of *v, void (*done)(void *), void *user)
{
    struct settling *s = settling_new(a, f, LEDGER_CORRECTION);
    struct budget_subjects subjects = { .who = &f->who, .alias = f->op.decision.alias, .primary = &f->primary,
                                        .fallback = f->has_fallback ? &f->fallback : NULL };
    struct budget_use delta = { .nano = v->cost_nano - f->settled_nano, .tokens = token_usage_total(&v->usage) - f->settled_tokens };

    if (s == NULL) {
        if (done != NULL)
            done(user);
        return;
    }
    budget_adjust(a->budget, &subjects, f->op.decision.started_us, &delta, clock_wall_us(), clock_mono_us());
    s->done = done;
    s->user = user;
    s->op.correction = (struct ledger_correction){
        .id = f->op.decision.id, .booked_us = clock_wall_us(), .reason = SLICE_LIT("late_record"), .known_by = v->known_by,
        .usage = v->usage, .cost_nano = delta.nano, .discount_nano = v->price.discount_nano,
        .price_version = f->prices != NULL ? price_table_id(f->prices) : f->op.decision.price_version,
    };
    atomic_fetch_add_explicit(&a->counters.corrected, 1, memory_order_relaxed);
    telemetry_corrected(a, f, &s->op.correction);
    LOG(LOG_LEVEL_INFO, "corrected", LOG_STR("request_id", f->request_id), LOG_INT("cost_nano", delta.nano));
    ledger_submit(a->ledger, &s->op);
}

static void line_settle(struct agent *a, struct inflight *f, int status, bool was_routed, bool client_abort, bool by_fallback);

void settlement_record(struct agent *a, const struct settle_record *r, void (*done)(void *user), void *user)
{
    struct inflight *f = inflight_find(a->inflight, r->id);
    struct verdict_of v;

    if (f == NULL) {
        atomic_fetch_add_explicit(&a->counters.unknown_records, 1, memory_order_relaxed);
        LOG(LOG_LEVEL_WARN, "record_without_request", LOG_STR("request_id", r->id), LOG_STR("group", r->group));
        done(user);
        return;
    }
    if (r->status <= 0 || r->group.n == 0) {
        /* No provider's response began: what status there is, is HAProxy's own. Whether a provider saw the request, and who left, the log line tells: it decides, now or in a moment. */
        done(user);
        f->record_without_response = true;
        if (f->line_mono_us > 0)
            line_settle(a, f, f->line_status, true, f->line_client_abort, f->attempts == 2);
        else
            f->line_mono_us = clock_mono_us();
        inflight_unref(f);
        return;
    }
    record_judge(a, f, r, &v);
    int64_t wait_s = -1;
    if (json_number_int(r->retry_after, &wait_s) && wait_s >= 0)
        keys_heard(a, f, v.fallback, (int)r->status, wait_s);
    bool open = inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING);
    bool late = !open && inflight_move(a->inflight, f, INFLIGHT_EXPIRED, INFLIGHT_SETTLED);
    if (open)
        routing_served(a, f, r, v.fallback, v.tpot_ns, token_usage_output(&v.usage));
    if ((open || late) && v.known_by == KNOWN_REPORTED)
        learning_observe(a, f, v.fallback, &v.usage);
    if (open)
        settle(a, f, &v, INFLIGHT_SETTLED, done, user);
    else if (late)
        correct(a, f, &v, done, user);
    else
        done(user); /* sent again after a lost acknowledgement */
    inflight_unref(f);
}

static void on_attempt_written(struct ledger_op *op, enum ledger_result result)
{
    struct attempt *t = op->user;
    (void)result; /* an attempt is a detail of its request: nobody waits for it */
    inflight_unref(t->flight);
    free(t);
}

static const char *attempt_outcome(const struct settle_line *l, int64_t status, enum relay_cause cause)
{
    if (cause != RELAY_CAUSE_NONE && cause != RELAY_CAUSE_SHUTDOWN)
        return relay_cause_word(cause);
    if (settle_line_client_aborted(l))
        return "client_abort";
    if (l->tc < 0)
        return "connect_failed";
    if (status < 0 || l->tr < 0)
        return "no_response";
    if (status >= 400)
        return "error";
    return l->state.n >= 1 && l->state.p[0] != '-' ? "cut" : "ok";
}

static void attempt_write(struct agent *a, struct inflight *f, const struct ledger_attempt *row)
{
    struct attempt *t = calloc(1, sizeof *t);

    f->attempt_rows |= 1u << row->number;
    telemetry_attempt(a, row->target.group, row->outcome.p);
    if (t == NULL)
        return;
    t->flight = f;
    inflight_ref(f);
    t->op = (struct ledger_op){ .kind = LEDGER_ATTEMPT, .done = on_attempt_written, .user = t };
    t->op.attempt = *row;
    ledger_submit(a->ledger, &t->op);
}

static struct ledger_target attempt_target(const struct inflight *f, bool second)
{
    const struct target *t = second ? &f->fallback : &f->primary;
    return (struct ledger_target){ .group = t->group, .provider = t->provider, .model = t->model };
}

static void attempt_line(struct agent *a, struct inflight *f, const struct settle_line *l)
{
    int64_t status = l->provider_status > 0 ? l->provider_status : l->tr >= 0 ? l->status : -1;
    bool second = l->attempt == 2 && f->has_fallback;
    struct ledger_attempt row = {
        .id = f->op.decision.id, .number = second ? 2 : 1, .target = attempt_target(f, second),
        .started_us = clock_wall_us() - nano_or_zero(l->ta) * 1000, .http_status = status > 0 ? (int)status : 0,
        .outcome = slice_cstr(attempt_outcome(l, status, relay_cause_of(f, second))), .first_byte_us = l->tr >= 0 ? l->tr * 1000 : -1,
        .total_us = l->ta >= 0 ? l->ta * 1000 : -1,
    };

    int64_t wait_us = breaker_retry_after_us(l->retry_after, clock_wall_us());
    keys_heard(a, f, second, (int)status, wait_us < 0 ? -1 : wait_us / 1000000);
    routing_attempt(a, f, second, l, status);
    if (l->tc >= 0 && f->attempts < row.number)
        f->attempts = row.number;
    attempt_write(a, f, &row);
}

/* HAProxy 3 writes no line for a try on a kept connection that the provider had closed: that it was made follows from the second. */
static void attempt_infer(struct agent *a, struct inflight *f)
{
    struct ledger_attempt row = { .id = f->op.decision.id, .number = 1, .target = attempt_target(f, false),
                                  .started_us = f->op.decision.started_us, .outcome = SLICE_LIT("no_response"), .first_byte_us = -1,
                                  .total_us = -1 };
    routing_silent(a, f);
    attempt_write(a, f, &row);
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

/* From the line alone. A provider that may have worked costs the hold; one that said no, or was never reached, nothing. */
static void line_settle(struct agent *a, struct inflight *f, int status, bool was_routed, bool client_abort, bool by_fallback)
{
    struct verdict_of v = { .known_by = KNOWN_NONE, .status = status, .outcome = "not_sent", .ttft_us = -1, .tpot_ns = -1,
                            .total_us = f->total_us, .attempts = f->attempts };

    if (was_routed && v.attempts == 0)
        v.attempts = by_fallback ? 2 : 1;
    v.fallback = by_fallback && f->has_fallback;
    if (was_routed && status >= 400) {
        v.outcome = "provider_error";
    } else if (was_routed) {
        v.known_by = KNOWN_BOUNDED;
        v.cost_nano = f->op.decision.hold_nano;
        v.outcome = client_abort ? "client_abort" : "no_usage";
    } else {
        v.attempts = 0;
    }
    if (inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING))
        settle(a, f, &v, INFLIGHT_SETTLED, NULL, NULL);
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
        attempt_line(a, f, l);
        inflight_unref(f);
        return;
    }
    bool client_abort = settle_line_client_aborted(l);
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
        line_settle(a, f, status, sent, client_abort, slice_eq_cstr(l->server, "fallback") || l->attempt == 2);
    inflight_unref(f);
}

void settlement_abandon(struct agent *a, struct inflight *f, const char *outcome)
{
    struct verdict_of v = { .known_by = KNOWN_NONE, .outcome = outcome, .ttft_us = -1, .tpot_ns = -1, .total_us = -1 };

    atomic_fetch_add_explicit(&a->counters.abandoned, 1, memory_order_relaxed);
    if (inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING))
        settle(a, f, &v, INFLIGHT_SETTLED, NULL, NULL);
}

void settlement_answered(struct agent *a, struct inflight *f, const char *outcome)
{
    struct verdict_of v = { .known_by = KNOWN_NONE, .outcome = outcome, .status = 200, .own = true, .ttft_us = -1, .tpot_ns = -1,
                            .total_us = -1 };

    if (inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING))
        settle(a, f, &v, INFLIGHT_SETTLED, NULL, NULL);
}

struct tick {
    struct agent *agent;
    int64_t now_us, hold_timeout_us; /* monotonic */
    struct inflight *gone[256];
    size_t gone_count;
};

static void expire(struct agent *a, struct inflight *f)
{
    struct verdict_of v = { .known_by = KNOWN_BOUNDED, .cost_nano = f->op.decision.hold_nano, .outcome = "expired", .ttft_us = -1,
                            .tpot_ns = -1, .total_us = -1, .attempts = f->attempts > 0 ? f->attempts : 1 };

    if (!inflight_move(a->inflight, f, INFLIGHT_OPEN, INFLIGHT_SETTLING))
        return;
    atomic_fetch_add_explicit(&a->counters.expired, 1, memory_order_relaxed);
    LOG(LOG_LEVEL_WARN, "hold_expired", LOG_STR("request_id", f->request_id), LOG_INT("hold_nano", f->op.decision.hold_nano));
    settle(a, f, &v, INFLIGHT_EXPIRED, NULL, NULL);
}

static bool on_entry(void *user, struct inflight *f)
{
    struct tick *t = user;

    if (f->state == INFLIGHT_OPEN && f->line_mono_us > 0 && t->now_us - f->line_mono_us > record_wait_us)
        line_settle(t->agent, f, f->line_status, true, f->line_client_abort, f->attempts == 2);
    if (f->state == INFLIGHT_OPEN && t->now_us - f->held_mono_us > t->hold_timeout_us)
        expire(t->agent, f);
    if (f->state == INFLIGHT_SETTLED && (f->attempt_rows & 3u << 1) == 1u << 2 && t->now_us - f->settled_mono_us > infer_us)
        attempt_infer(t->agent, f);
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
