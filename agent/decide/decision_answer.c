#include "decide/decision_state.h"

#include "agent.h"
#include "base/clock.h"
#include "decide/inflight.h"
#include "decide/keys.h"
#include "decide/verdict.h"
#include "outcome/settlement.h"
#include "spop_conn.h"
#include "telemetry.h"

#include <inttypes.h>

enum { CAPTURE_BYTES = 1024 * 1024 /* of an answer without usage */ };

/* Hands the decision's ACK over and lets the connection go. */
void decision_answer_end(struct decision *d)
{
    connection_touched(d->connection);
    connection_release(d->connection);
    d->connection = NULL;
    d->stage = STAGE_ANSWERED;
}

/* The agent's own time so far, for the client; last, as it may be left out. */
static void answer_times(const struct decision *d, struct spop_ack *ack)
{
    verdict_times(ack, &(struct verdict_spent){ .identity_us = d->identity_us, .tokens_us = d->tokens_us, .budget_us = d->budget_us,
                                                .commit_us = d->flight != NULL ? d->flight->commit_us : -1,
                                                .all_us = clock_mono_us() - d->started_mono_us }, d->s.arena);
}

/* What a known caller is told beside a refusal or an own answer; the limits are looked at if that was not done for this request. */
static void answer_account(struct decision *d, struct spop_ack *ack)
{
    struct assessment *s = &d->s;
    const struct budget_subjects subjects = { .who = &s->who, .alias = s->alias != NULL ? s->alias->name : SLICE_NONE,
                                              .primary = s->choice.primary != NULL ? &s->choice.primary->target : NULL,
                                              .fallback = s->choice.fallback != NULL ? &s->choice.fallback->target : NULL };
    bool looked = s->no.status == 0 ? s->hold.id != 0 : s->budget.refused_count > 0;

    if (!d->known)
        return;
    if (!looked)
        (void)budget_peek(d->worker->agent->budget, &subjects, d->started_us, clock_mono_us(), &s->budget);
    verdict_account(ack, &s->budget, d->started_us, s->arena);
}

void decision_answer_refusal(struct decision *d)
{
    struct spop_conn *c = connection_spop(d->connection);
    struct spop_ack ack;

    spop_conn_ack_begin(c, d->ticket, &ack);
    verdict_refuse(&ack, d->s.ask.endpoint, &d->s.no, d->s.arena);
    answer_account(d, &ack);
    answer_times(d, &ack);
    spop_conn_ack_end(c, &ack);
    decision_answer_end(d);
}

void decision_answer_ok(struct decision *d, struct slice body)
{
    struct spop_ack ack;
    struct spop_conn *c = connection_spop(d->connection);
    spop_conn_ack_begin(c, d->ticket, &ack);
    verdict_answer(&ack, body);
    answer_account(d, &ack);
    answer_times(d, &ack);
    spop_conn_ack_end(c, &ack);
    decision_answer_end(d);
}

/* Settled first: HAProxy's line about this answer must not find it open. */
void decision_answer_count(struct decision *d)
{
    struct agent *a = d->worker->agent;

    settlement_answered(a, d->flight, "count_tokens");
    decision_answer_ok(d, arena_printf(d->s.arena, "{\"input_tokens\":%" PRId64 "}", d->s.estimate.input));
    atomic_fetch_add_explicit(&a->counters.allowed, 1, memory_order_relaxed);
    telemetry_allowed(d);
}

void decision_answer_allow(struct decision *d)
{
    struct assessment *s = &d->s;
    struct spop_conn *c = connection_spop(d->connection);
    struct target primary = s->choice.primary->target, fallback = { .group = SLICE_NONE };
    struct verdict_allowed v = {
        .primary = { .target = &primary, .edits = s->primary_edits, .delta = s->primary_delta },
        .alias = s->alias->name, .hold_nano = s->hold_nano, .budget = &s->budget, .notice = s->notice,
        .trace = d->trace.on ? &d->trace.context : NULL, .stream = s->ask.stream, .hide_usage = s->usage_added, .capture_bytes = CAPTURE_BYTES,
    };
    struct spop_ack ack;

    bool ready = keys_header(s, false, &primary.credential);
    if (s->choice.fallback != NULL) {
        fallback = s->choice.fallback->target;
        ready = keys_header(s, true, &fallback.credential) && ready;
        v.fallback = (struct verdict_target){ .target = &fallback, .edits = s->fallback_edits, .delta = s->fallback_delta };
        v.fallback_larger = s->choice.fallback_larger;
        v.again = s->key_again;
        bool same = s->choice.fallback == s->choice.primary;
        v.pause = same && s->runtime->config->retry_after_us > 0;
        v.other = same && s->primary_key.key != s->fallback_key.key;
    }
    if (s->ask.endpoint == ENDPOINT_PASSTHROUGH) { /* its body names a model, or none; nothing of an answer is counted */
        primary.model = fallback.model = SLICE_NONE;
        v.capture_bytes = 0;
    }
    spop_conn_ack_begin(c, d->ticket, &ack);
    bool fits = ready && verdict_allow(&ack, &v, d->started_us, s->arena);
    const char *code = ready ? "frame_too_small" : "out_of_memory";
    if (!fits) {
        spop_ack_rewind(&ack, 0);
        s->no = refusal_make(500, "server_error", code, code,
                             ready ? SLICE_LIT("The gateway's answer does not fit HAProxy's frame; raise tune.bufsize.")
                                   : SLICE_LIT("The gateway is out of memory; try again in a moment."));
        verdict_refuse(&ack, s->ask.endpoint, &s->no, s->arena);
        answer_account(d, &ack);
    }
    answer_times(d, &ack);
    spop_conn_ack_end(c, &ack);
    keys_header_done(s, false, primary.credential);
    keys_header_done(s, true, fallback.credential);
    decision_answer_end(d);
    if (fits) {
        atomic_fetch_add_explicit(&d->worker->agent->counters.allowed, 1, memory_order_relaxed);
        telemetry_allowed(d);
    } else {
        telemetry_denied(d);
        settlement_abandon(d->worker->agent, d->flight, code);
    }
}
