#include "decide/decision_state.h"

#include "agent.h"
#include "decide/answer.h"
#include "decide/assess_route.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/private.h"
#include "decide/inflight.h"
#include "decide/keys.h"
#include "dialect/dialect.h"
#include "access/logout.h"
#include "manage/prompting.h"
#include "observe/request_log.h"
#include "outcome/settlement.h"
#include "spop_conn.h"
#include "telemetry.h"
#include "tracing.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    ARENA_FIRST = 16 * 1024,
    ARENA_KEEP = 64 * 1024,
    SPARE_MAX = 256,
    BIG_BYTES = 4 * 1024,         /* bodies above are kept, for their prompts may be counted in slices */
    PARKED_MAX = 1024,            /* of one worker: tokens of unknown keys cost memory while an issuer does not answer */
    PARKED_BYTES_MAX = 64 * 1024 * 1024,
    STRANGER_ROWS_PER_SECOND = 50 /* ledger rows for refusals of people who are not known */
};

static void identify(struct decision *d, bool may_wait);
static void refused(struct decision *d);

static struct decision *decision_new(struct worker *w)
{
    struct decision *d = w->spare;
    struct arena *arena;

    if (d != NULL) {
        w->spare = d->next;
        w->spare_count--;
        arena = d->s.arena;
    } else {
        d = malloc(sizeof *d);
        arena = arena_new(ARENA_FIRST);
        if (d == NULL || arena == NULL) {
            free(d);
            arena_free(arena);
            return NULL;
        }
    }
    *d = (struct decision){ .worker = w };
    d->s.arena = arena;
    return d;
}

/* Everything a request left behind; the arena stays warm for the next one. */
static void decision_free(struct decision *d)
{
    struct worker *w = d->worker;

    if (d->connection != NULL)
        connection_release(d->connection);
    dialect_job_free(d->parsing);
    estimate_job_free(d->job);
    credential_release(d->s.credentials);
    runtime_unref(d->s.runtime);
    if (d->flight != NULL)
        inflight_unref(d->flight);
    private_free(d->taken);
    if (w->spare_count < SPARE_MAX) {
        arena_reset(d->s.arena, ARENA_KEEP);
        d->next = w->spare;
        w->spare = d;
        w->spare_count++;
    } else {
        arena_free(d->s.arena);
        free(d);
    }
}

void decisions_free_spare(struct worker *w)
{
    while (w->spare != NULL) {
        struct decision *d = w->spare;
        w->spare = d->next;
        arena_free(d->s.arena);
        free(d);
    }
}

void decision_link(struct decision *d, struct decision **list)
{
    d->next = *list;
    *list = d;
}

static bool answerable(const struct decision *d)
{
    struct spop_conn *c = connection_spop(d->connection);
    return spop_conn_state(c) == SPOP_CONN_OPEN;
}

void decision_unlink(struct decision **list, struct decision *d)
{
    for (; *list != NULL; list = &(*list)->next)
        if (*list == d) {
            *list = d->next;
            return;
        }
}

/* 200 with this body; the decision is gone. */
static void answer_body(struct decision *d, struct slice body)
{
    decision_answer_ok(d, body);
    telemetry_answered(d);
    decision_free(d);
}

/* True when the gateway answered by itself, and the decision is gone. */
static bool answered_own(struct decision *d)
{
    struct slice body;

    switch (answer_own(&d->s, d->worker->agent->budget, d->worker->agent->inflight, d->started_us, clock_mono_us(), &body)) {
    case ANSWER_NOT_OURS:
        return false;
    case ANSWER_BODY:
        answer_body(d, body);
        return true;
    default:
        refused(d);
        return true;
    }
}

static void on_refusal_written(struct ledger_op *op, enum ledger_result result)
{
    struct decision *d = op->user;
    d->result = result;
    worker_committed(d->worker, d);
}

/* A row for the refusal, unless a stranger could fill the disk with them. */
static bool refusal_recorded(struct decision *d)
{
    static struct log_gate gate; /* shared by workers: counts a little too few under contention */
    unsigned held;

    if (atomic_load_explicit(&d->worker->agent->ledger_failing, memory_order_relaxed))
        return false;
    return d->s.who.subject.n > 0 || log_gate_open(&gate, clock_mono_us(), STRANGER_ROWS_PER_SECOND, &held);
}

static void refused(struct decision *d)
{
    static struct log_gate gate;
    struct agent *a = d->worker->agent;
    unsigned held = 0;

    atomic_fetch_add_explicit(&a->counters.denied, 1, memory_order_relaxed);
    if (!request_log_on(a->telemetry->log) && log_gate_open(&gate, clock_mono_us(), 20, &held))
        LOG(LOG_LEVEL_INFO, "denied", LOG_STR("request_id", d->s.rq.id), LOG_INT("status", d->s.no.status),
            LOG_CSTR("reason", d->s.no.reason != NULL ? d->s.no.reason : "-"), LOG_STR("team", d->s.who.team),
            LOG_STR("user", d->s.who.user), LOG_INT("suppressed", held));
    decision_answer_refusal(d);
    bool recorded = refusal_recorded(d);
    d->op = (struct ledger_op){ .kind = LEDGER_DECISION, .done = on_refusal_written, .user = d };
    if (recorded)
        decision_row(d, &d->op.decision);
    telemetry_denied(d);
    if (!recorded) {
        decision_free(d);
        return;
    }
    /* The row's texts must outlast the frame they came in. */
    d->op.decision.request_id = arena_copy(d->s.arena, d->s.rq.id);
    d->op.decision.alias = arena_copy(d->s.arena, d->op.decision.alias);
    d->op.decision.state = LEDGER_DENIED;
    d->op.decision.deny_reason = slice_cstr(d->s.no.reason);
    d->op.decision.http_status = d->s.no.status;
    ledger_submit(a->ledger, &d->op);
}

void decision_refuse(struct decision *d, int status, const char *code, const char *reason, struct slice message)
{
    d->s.no = refusal_make(status, status >= 500 ? "server_error" : "invalid_request_error", code, reason, message);
    if (status == 503)
        d->s.no.retry_after_s = 1;
    refused(d);
}

void decision_refuse_assessed(struct decision *d)
{
    refused(d);
}

void decision_refuse_memory(struct decision *d)
{
    decision_refuse(d, 503, "out_of_memory", "out_of_memory", SLICE_LIT("The gateway is out of memory; try again in a moment."));
}

/* The frame goes back to its connection: what the answer needs is in the arena or in the runtime. Of the request itself a signature covers
 * method, path and query; a copy that fails is refused where it is signed. */
static void request_leave_frame(struct decision *d)
{
    const struct http_request rq = d->s.rq;
    struct arena *a = d->s.arena;
    bool signs = d->s.primary_key.aws != NULL || d->s.fallback_key.aws != NULL;

    d->s.rq = (struct http_request){ .id = d->flight->request_id };
    if (!signs)
        return;
    d->s.rq.method = arena_copy(a, rq.method);
    d->s.rq.path = arena_copy(a, rq.path);
    d->s.rq.query = rq.query.n > 0 ? arena_copy(a, rq.query) : SLICE_NONE;
}

/* Keeps the payload beyond the notify callback; everything read from it is read again where it now stands. */
static bool payload_keep(struct decision *d, struct spop_notify *notify)
{
    d->taken = spop_notify_take(connection_spop(d->connection), notify);
    d->payload = notify->payload;
    return d->taken != NULL;
}

/* Until keys were fetched, or it has waited long enough. */
static void park(struct decision *d)
{
    struct worker *w = d->worker;

    if (w->parked_count >= PARKED_MAX || w->parked_bytes + d->payload.n > PARKED_BYTES_MAX) {
        decision_refuse(d, 503, "policy_unavailable", "too_many_waiting",
                    SLICE_LIT("Too many requests are waiting for the keys of an identity provider; try again in a moment."));
        return;
    }
    w->parked_count++;
    w->parked_bytes += d->payload.n;
    decision_link(d, &w->parked);
}

static enum identity_result credential_check(struct decision *d, int64_t now_us, bool may_wait)
{
    struct refusal no = { .status = 0 };
    enum identity_result rc = logout_asked(&d->s.rq) ? logout_verify(d, now_us, may_wait, &no)
                                                     : identity_verify(d->worker->verifier, &d->s.rq, now_us, may_wait, d->s.arena, &d->s.who, &no);

    d->identity_us = clock_mono_us() - d->started_mono_us;
    d->s.no = no;
    return rc;
}

void decision_start(struct worker *w, struct connection *c, struct spop_notify *notify)
{
    struct decision *d = decision_new(w);
    struct spop_ack ack;

    atomic_fetch_add_explicit(&w->agent->counters.decisions, 1, memory_order_relaxed);
    if (d == NULL) {
        /* Without `ok` HAProxy refuses the request by its own rule. */
        struct spop_conn *conn = connection_spop(c);
        spop_conn_ack_begin(conn, notify->ticket, &ack);
        (void)spop_ack_set_string(&ack, SPOP_TXN, SPOP_BYTES("code"), SPOP_BYTES("out_of_memory"));
        spop_conn_ack_end(conn, &ack);
        connection_touched(c);
        return;
    }
    d->connection = c;
    connection_hold(c);
    d->ticket = notify->ticket;
    d->s.runtime = runtime_ref(w->runtime);
    d->started_us = clock_wall_us();
    d->s.prices = runtime_prices(d->s.runtime, d->started_us)->table;
    d->started_mono_us = clock_mono_us();
    d->s.ask.choices = 1;
    d->s.ask.max_output = -1;
    /* Large bodies are counted over several turns; key refreshes are rare, and known only later: for those the body is kept too. */
    bool keep = notify->cheap_take || notify->payload.n > BIG_BYTES;
    if (keep && !payload_keep(d, notify)) {
        decision_refuse_memory(d);
        return;
    }
    if (!assess_read(notify->payload, &d->s.rq, d->s.arena) || d->s.rq.id.n == 0) {
        decision_refuse(d, 500, "gateway_misconfigured", "spoe_message",
                    SLICE_LIT("The gateway's HAProxy configuration does not send what the agent needs; regenerate it with `tollgate "
                              "haproxy`."));
        return;
    }
    assess_shape(&d->s);
    d->trace = tracing_begin(d->s.runtime->config, &d->s.rq);
    enum identity_result rc = credential_check(d, d->started_us, true);
    if (rc == IDENTITY_WAIT) {
        if (d->taken == NULL && !payload_keep(d, notify)) {
            decision_refuse_memory(d);
            return;
        }
        assess_read(d->payload, &d->s.rq, d->s.arena);
        tracing_moved(&d->trace, &d->s.rq);
        d->stage = STAGE_IDENTITY;
        park(d);
        return;
    }
    if (rc == IDENTITY_REFUSED) {
        refused(d);
        return;
    }
    d->stage = STAGE_COUNT;
    identify(d, false);
}

/* Identity is known, or still to be found for a decision that was parked; then on to counting. */
static void identify(struct decision *d, bool verify)
{
    if (verify) {
        int64_t now = clock_mono_us();
        bool may_wait = now - d->started_mono_us < identity_store_wait_ms(d->s.runtime->identity) * 1000;
        enum identity_result rc = credential_check(d, clock_wall_us(), may_wait);
        if (rc == IDENTITY_WAIT) {
            park(d);
            return;
        }
        if (rc == IDENTITY_REFUSED) {
            refused(d);
            return;
        }
    }
    if (logout_asked(&d->s.rq)) {
        logout_book(d);
        return;
    }
    d->known = true;
    if (answered_own(d))
        return;
    decision_parse(d);
}

static void on_decision_written(struct ledger_op *op, enum ledger_result result)
{
    struct decision *d = op->user;
    d->result = result;
    worker_committed(d->worker, d);
}

/* HAProxy has answered in our place: nobody hears this, and nothing may be held for it. */
static void refuse_late(struct decision *d)
{
    decision_refuse(d, 503, "policy_unavailable", "too_late", SLICE_LIT("The gateway took too long to decide; try again in a moment."));
}

static void hold_return(struct decision *d)
{
    budget_release(d->worker->agent->budget, d->s.hold, clock_mono_us());
}

/* From the hold on, every way out either submits the row or gives the hold back. */
void decision_counted(struct decision *d)
{
    struct agent *a = d->worker->agent;
    struct ledger_decision row;
    int64_t t0 = clock_mono_us();

    if (t0 - d->started_mono_us > d->s.runtime->config->decision_timeout_us) {
        refuse_late(d);
        return;
    }
    enum assess_reserved rc = assess_price(&d->s) ? assess_reserve(&d->s, a->budget, d->started_us, t0) : ASSESS_REFUSED;
    d->budget_us += clock_mono_us() - t0;
    if (rc == ASSESS_DOWNGRADED) {
        decision_count(d, clock_mono_us()); /* another model, which may count differently; strings seen before are remembered */
        return;
    }
    if (rc == ASSESS_REFUSED) {
        refused(d);
        return;
    }
    bool sent = !d->s.ask.count_only;
    if (sent && !keys_pick(&d->s)) {
        hold_return(d);
        refused(d);
        return;
    }
    decision_row(d, &row);
    row.hold_nano = d->s.hold_nano;
    struct target primary = d->s.choice.primary->target, fallback = { .group = SLICE_NONE };
    primary.key_name = d->s.primary_key.name;
    if (d->s.choice.fallback != NULL) {
        fallback = d->s.choice.fallback->target;
        fallback.key_name = d->s.fallback_key.name;
    }
    if (!sent || (assess_rewrite(&d->s) && keys_hash(&d->s)))
        d->flight = inflight_new(&row, &d->s.who, &primary, d->s.choice.fallback != NULL ? &fallback : NULL, &d->trace);
    if (d->flight == NULL) {
        hold_return(d);
        decision_refuse_memory(d);
        return;
    }
    d->trace = d->flight->trace;
    d->flight->hold = d->s.hold;
    d->flight->held = d->s.budget.held;
    d->flight->primary_key.index = d->s.primary_key.key;
    d->flight->fallback_key.index = d->s.fallback_key.key;
    atomic_init(&d->flight->primary_key.serial, d->s.primary_key.serial);
    atomic_init(&d->flight->fallback_key.serial, d->s.fallback_key.serial);
    d->flight->primary_basis = d->s.primary_basis;
    d->flight->fallback_basis = d->s.fallback_basis;
    d->flight->prices = price_table_ref(d->s.prices);
    d->flight->submitted_mono_us = clock_mono_us();
    d->flight->stop_tokens = assess_stop(&d->s);
    d->flight->conversation_key = assess_route_longer(&d->s);
    d->flight->fallback_mark = d->s.fallback != NULL ? d->s.fallback->mark : 0;
    enum inflight_inserted in = inflight_insert(a->inflight, d->flight);
    if (in != INFLIGHT_INSERTED) {
        hold_return(d);
        if (in == INFLIGHT_GIVEN_UP)
            refuse_late(d);
        else
            decision_refuse(d, 400, "duplicate_request_id", "duplicate_request_id",
                            SLICE_LIT("A request with this id is under way; HAProxy's unique-id-format must give each request its own."));
        return;
    }
    if (runtime_model_of(d->s.runtime, d->s.alias)->config->log_prompts && sent)
        prompting_note(a->prompting, &d->s, d->started_us);
    d->stage = STAGE_COMMIT;
    request_leave_frame(d);
    d->flight->op.done = on_decision_written;
    d->flight->op.user = d;
    ledger_submit(a->ledger, &d->flight->op);
}

static void committed(struct decision *d)
{
    struct agent *a = d->worker->agent;

    if (d->stage == STAGE_LOGOUT) {
        struct refusal no;
        if (logout_booked(d, &no)) {
            answer_body(d, SLICE_LIT("{}"));
            return;
        }
        d->s.no = no;
        refused(d);
        return;
    }
    if (d->stage == STAGE_ANSWERED) { /* the row of a refusal */
        decision_free(d);
        return;
    }
    d->flight->commit_us = (int32_t)(clock_mono_us() - d->flight->submitted_mono_us);
    if (d->result != LEDGER_OK) {
        inflight_remove(a->inflight, d->flight);
        hold_return(d);
        d->s.no = refusal_make(503, "server_error", "ledger_unavailable", "ledger_unavailable",
                               SLICE_LIT("The gateway cannot record this request, so it was not sent; try again in a moment."));
        d->s.no.retry_after_s = 1;
        atomic_fetch_add_explicit(&a->counters.denied, 1, memory_order_relaxed);
        decision_answer_refusal(d);
        telemetry_denied(d);
        decision_free(d);
        return;
    }
    inflight_move(a->inflight, d->flight, INFLIGHT_PENDING, INFLIGHT_OPEN);
    if (atomic_load(&d->flight->given_up)) {
        settlement_abandon(a, d->flight, "given_up");
        d->s.no = refusal_make(503, "server_error", "policy_unavailable", "too_late", SLICE_LIT("The gateway took too long to decide."));
        decision_answer_refusal(d);
        telemetry_denied(d);
    } else if (answerable(d)) {
        if (d->s.ask.count_only)
            decision_answer_count(d);
        else
            decision_answer_allow(d);
    } else {
        /* HAProxy has gone: it never heard the answer, so no provider saw the request. */
        spop_conn_ack_drop(connection_spop(d->connection), d->ticket);
        decision_answer_end(d);
        settlement_abandon(a, d->flight, "unanswered");
    }
    decision_free(d);
}

void decisions_committed(struct worker *w, struct decision *list)
{
    struct decision *ordered = NULL;

    (void)w;
    while (list != NULL) { /* it was pushed: oldest last */
        struct decision *next = list->next;
        decision_link(list, &ordered);
        list = next;
    }
    while (ordered != NULL) {
        struct decision *next = ordered->next;
        committed(ordered);
        ordered = next;
    }
}

void decisions_unpark(struct worker *w)
{
    struct decision *list = w->parked;

    w->parked = NULL;
    w->parked_count = 0;
    w->parked_bytes = 0;
    while (list != NULL) {
        struct decision *next = list->next;
        identify(list, true);
        list = next;
    }
}

void decisions_tick(struct worker *w)
{
    if (w->parked != NULL)
        decisions_unpark(w);
}
