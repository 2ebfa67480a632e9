/* Verdict: a decision as HAProxy variables (txn.tg.*), and refusals in the words a client reads.
 *
 * The verdict goes first: HAProxy stops at the first variable it dislikes, and what does not fit into the frame is left out from the end.
 * haproxy/README.md lists the variables. */
#ifndef TOLLGATE_VERDICT_H
#define TOLLGATE_VERDICT_H

#include "budget/budget.h"
#include "observe/trace_context.h"
#include "request.h"
#include "spop_codec.h"

struct verdict_target {
    const struct target *target;
    struct slice edits;
    int64_t delta;
};

struct verdict_allowed {
    struct verdict_target primary, fallback; /* fallback.target NULL: none */
    bool fallback_larger;   /* it takes longer prompts: to be tried when the primary finds the request too long */
    bool again;             /* the fallback is for a refused key only */
    bool pause;             /* the fallback is at the same provider: a short Retry-After is waited for */
    bool other;             /* ... with another of its keys */
    struct slice alias;
    int64_t hold_nano;
    const struct budget_answer *budget;
    struct slice notice;    /* empty: none */
    const struct trace_context *trace; /* NULL: what the client sent goes on as it is */
    bool stream;            /* the client asked for one: the provider's first byte has a limit of its own */
    bool hide_usage;        /* the gateway asked for usage in it, the client did not */
    int capture_bytes;      /* what the tap keeps of an answer without usage */
};

/* False when what HAProxy needs did not fit: the caller answers with a refusal instead (spop_ack_rewind to 0 first). */
bool verdict_allow(struct spop_ack *ack, const struct verdict_allowed *v, int64_t now_us, struct arena *a);
/* Always fits into 256 bytes of actions without its body; that is left out when it does not fit. */
void verdict_refuse(struct spop_ack *ack, enum endpoint endpoint, const struct refusal *no, struct arena *a);

/* The agent's own time on a request, microseconds. Durations below zero are left out; 0 that a stage never took are told as 0. */
struct verdict_spent {
    int64_t identity_us, tokens_us, budget_us, commit_us, all_us;
};
/* For Server-Timing (https://www.w3.org/TR/server-timing/, durations in ms) and x-tollgate-overhead-us. Left out when it does not fit. */
void verdict_times(struct spop_ack *ack, const struct verdict_spent *t, struct arena *a);

/* The gateway's own answer, with status 200. */
void verdict_answer(struct spop_ack *ack, struct slice body);

/* With a refusal or an own answer to a known caller: his rates and the budget left, and that this request cost nothing. Left out when it does
 * not fit. */
void verdict_account(struct spop_ack *ack, const struct budget_answer *budget, int64_t now_us, struct arena *a);

/* The refusal for a budget answer that is not ALLOWED or CLAMPED. */
struct refusal verdict_budget_refusal(const struct budget_answer *b, struct arena *a);

#endif
