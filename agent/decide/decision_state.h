/* The state of a decision, shared by the files that move it on: decision.c (its life), decision_count.c (its counting),
 * decision_answer.c (what HAProxy is told), decision_row.c (its row in the ledger). */
#ifndef TOLLGATE_DECISION_STATE_H
#define TOLLGATE_DECISION_STATE_H

#include "decide/assess.h"
#include "decide/decision.h"
#include "identity/logout.h"
#include "ledger/ledger.h"
#include "observe/trace_context.h"

enum stage { STAGE_IDENTITY, STAGE_COUNT /* and what comes before it: parsing */, STAGE_COMMIT, STAGE_LOGOUT, STAGE_ANSWERED };

struct decision {
    struct decision *next;
    struct worker *worker;
    struct connection *connection;  /* NULL once answered */
    struct spop_ticket ticket;
    enum stage stage;
    bool known;                     /* who asks was verified */
    void *taken;                    /* the payload, when it had to be kept */
    struct spop_bytes payload;
    struct assessment s;
    struct identity_logout logout;  /* of a request that logout_asked */
    atomic_int logout_changes;      /* not yet written */
    atomic_bool logout_failed;
    struct dialect_job *parsing;
    struct estimate_job *job;
    const struct runtime_target *counting; /* what the job counts for */
    struct inflight *flight;
    struct trace_request trace;     /* its slices are s.rq's, then flight's */
    struct ledger_op op;            /* the row of a refusal */
    enum ledger_result result;
    int64_t started_us, started_mono_us;
    int64_t identity_us, tokens_us, budget_us; /* durations */
};

/* decision_count.c: reads the body, at once or in slices, then goes on to decision_count. */
void decision_parse(struct decision *d);
/* Counts for the targets chosen, at once or in slices; then on to decision_counted. `t0` is the monotonic time (us) from
 * which on the counting is charged to stage "tokens". */
void decision_count(struct decision *d, int64_t t0);

/* decision_row.c: the row as far as it is known; its slices are the decision's. */
void decision_row(const struct decision *d, struct ledger_decision *row);

/* decision_answer.c: each hands the ACK over and lets the connection go; the decision stays. */
void decision_answer_refusal(struct decision *d);
void decision_answer_ok(struct decision *d, struct slice body); /* 200, the gateway's own */
void decision_answer_count(struct decision *d);                 /* the count that was asked for; settles the request */
void decision_answer_allow(struct decision *d);                 /* or a refusal, when the verdict does not fit; settles the request then */
void decision_answer_end(struct decision *d);                   /* only lets go */

/* decision.c: all that is left after counting. */
void decision_counted(struct decision *d);
/* Answers with a refusal, records it, and lets the decision go. */
void decision_refuse(struct decision *d, int status, const char *code, const char *reason, struct slice message);
/* The same with the refusal that a step of assess.h has left. */
void decision_refuse_assessed(struct decision *d);
void decision_refuse_memory(struct decision *d);
void decision_unlink(struct decision **list, struct decision *d);

#endif
