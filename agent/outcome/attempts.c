#include "outcome/attempts.h"

#include "agent.h"
#include "base/clock.h"
#include "decide/inflight.h"
#include "decide/keys.h"
#include "outcome/judgement.h"
#include "outcome/provider_id.h"
#include "outcome/routing.h"
#include "route/affinity.h"
#include "route/breaker.h"
#include "settle/settle_line.h"
#include "telemetry.h"

#include <stdlib.h>

struct attempt {
    struct ledger_op op;
    struct inflight *flight;
    char provider_id[PROVIDER_ID_MAX];
};

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
        return l->too_long == 1 ? "context_length" : "error";
    if (settle_line_error_body(l))
        return "error_body";
    return l->state.n >= 1 && l->state.p[0] != '-' ? "cut" : "ok";
}

static void attempt_write(struct agent *a, struct inflight *f, const struct ledger_attempt *row)
{
    struct attempt *t = calloc(1, sizeof *t);

    f->attempt_rows |= 1u << row->number;
    telemetry_attempt(a, f, row);
    if (t == NULL)
        return;
    t->flight = f;
    inflight_ref(f);
    t->op = (struct ledger_op){ .kind = LEDGER_ATTEMPT, .done = on_attempt_written, .user = t };
    t->op.attempt = *row;
    t->op.attempt.provider_request_id = provider_id_keep(row->provider_request_id, t->provider_id);
    ledger_submit(a->ledger, &t->op);
}

static struct ledger_target attempt_target(const struct inflight *f, bool second)
{
    return ledger_target_of(second ? &f->fallback : &f->primary);
}

void attempts_too_long(struct agent *a, const struct inflight *f)
{
    if (f->conversation_key != 0) /* it only grows: its next turns need not be refused first */
        affinity_put(a->affinity, f->conversation_key, f->fallback_mark, clock_mono_us());
}

void attempts_line(struct agent *a, struct inflight *f, const struct settle_line *l)
{
    int64_t status = l->provider_status > 0 ? l->provider_status : l->tr >= 0 ? l->status : -1;
    bool second = l->attempt == 2 && f->has_fallback;
    struct ledger_attempt row = {
        .id = f->op.decision.id, .number = second ? 2 : 1, .target = attempt_target(f, second),
        .started_us = clock_wall_us() - (l->ta > 0 ? l->ta : 0) * 1000, .http_status = status > 0 ? (int)status : 0,
        .outcome = slice_cstr(attempt_outcome(l, status, judgement_relay_cause(f, second))), .first_byte_us = l->tr >= 0 ? l->tr * 1000 : -1,
        .total_us = l->ta >= 0 ? l->ta * 1000 : -1, .provider_request_id = l->provider_id,
    };

    int64_t wait_us = breaker_retry_after_us(l->retry_after, clock_wall_us());
    keys_heard(a, f, second, (int)status, wait_us < 0 ? -1 : wait_us / 1000000);
    routing_attempt(a, f, second, l, status);
    if (l->too_long == 1)
        attempts_too_long(a, f);
    if (l->tc >= 0 && f->attempts < row.number)
        f->attempts = row.number;
    attempt_write(a, f, &row);
}

void attempts_infer(struct agent *a, struct inflight *f)
{
    struct ledger_attempt row = { .id = f->op.decision.id, .number = 1, .target = attempt_target(f, false),
                                  .started_us = f->op.decision.started_us, .outcome = SLICE_LIT("no_response"), .first_byte_us = -1,
                                  .total_us = -1 };
    routing_silent(a, f);
    attempt_write(a, f, &row);
}
