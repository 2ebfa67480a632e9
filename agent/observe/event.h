/* Event: what happened to one request, once when it is decided and once when it is settled; what metrics, logs, traces and live views
 * are made of.
 *
 * A plain value that owns its texts (cut to their room), so it can be copied between threads. It never holds a prompt, an answer, a
 * token or a key. Units as in request.h. -1: not known. */
#ifndef TOLLGATE_OBSERVE_EVENT_H
#define TOLLGATE_OBSERVE_EVENT_H

#include "request.h"

enum event_kind {
    EVENT_ALLOWED,   /* the hold is on disk, HAProxy has its verdict */
    EVENT_DENIED,
    EVENT_ANSWERED,  /* by the gateway itself */
    EVENT_SETTLED,
    EVENT_CORRECTED  /* a settlement that was booked at its bound is now known; usage and cost are differences */
};

struct event {
    enum event_kind kind;
    int64_t at_us;               /* wall clock */
    int64_t started_us;          /* of the request, wall clock */
    int64_t ledger_id;           /* of the request's row; 0: it has none */
    char request_id[64], trace_id[33]; /* the latter empty: traces are off */
    char organization[64], team[64], user[96], application[64], cost_center[64];
    char alias[64];              /* the model as it was asked for; empty before it is known */
    char group[48], provider[48], model[64]; /* primary target, or who served; empty: none */
    char provider_id[64];        /* settlement: the provider's own request id */
    const char *reason;          /* DENIED: its reason; settlement: its outcome. Static; NULL: none */
    int status;                  /* what the client got; 0 unknown */
    enum endpoint endpoint;
    bool stream, fallback, clamped;
    bool recalled;               /* made of the ledger's row, which does not know `clamped` */
    enum known_by known_by;
    int32_t attempts;
    int64_t input_counted, output_ceiling; /* tokens */
    struct token_usage usage;    /* settlement */
    int64_t hold_nano, cost_nano, budget_left_nano;
    int64_t identity_us, tokens_us, budget_us, commit_us, decision_us; /* the agent's own time by stage, and all of it */
    int64_t ttft_us, tpot_ns, total_us; /* settlement */
};

/* Copies what fits; always NUL-terminated. */
static inline void event_text(char *to, size_t room, struct slice s)
{
    size_t n = s.n < room - 1 ? s.n : room - 1;

    if (n > 0)
        memcpy(to, s.p, n);
    to[n] = '\0';
}
#define EVENT_TEXT(member, s) event_text((member), sizeof(member), (s))

/* Short words, static. */
const char *event_kind_name(enum event_kind kind);
const char *event_known_by_name(enum known_by known_by);

#endif
