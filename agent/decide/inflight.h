/* In flight: every allowed request between its reservation and its settlement, found by its request id.
 *
 * Entries are made by the workers, settled by the control thread, and looked at by the ledger's writer; the table has one lock, held
 * briefly. An entry owns copies of all it needs: it outlives the request's arena, a reload and a restart (it is rebuilt from the
 * ledger). After settlement it lingers, so that lines and records that come late find out that they are. */
#ifndef TOLLGATE_INFLIGHT_H
#define TOLLGATE_INFLIGHT_H

#include "budget/budget.h"
#include "ledger/ledger.h"
#include "observe/trace_context.h"
#include "price/price.h"
#include "request.h"
#include "tokens/learn.h"

#include <stdatomic.h>
#include <uthash.h>

enum inflight_state {
    INFLIGHT_PENDING,  /* reserved, the ledger has not committed it yet */
    INFLIGHT_OPEN,     /* allowed; a provider may be working on it */
    INFLIGHT_SETTLING, /* its settlement is on the way to the ledger */
    INFLIGHT_SETTLED,
    INFLIGHT_EXPIRED   /* settled at its bound because nothing was heard; a late record is booked as a correction */
};

/* Which of a provider's keys was sent along; never the key. */
struct key_used {
    unsigned index;  /* in the configuration */
    _Atomic uint32_t serial; /* of the value (credential/credential.h); 0: none. A second try may get another (decide/again.h) */
};

struct inflight {
    UT_hash_handle hh;               /* the table's */
    atomic_uint references;
    _Atomic enum inflight_state state; /* changed under the table's lock */
    struct slice request_id;
    struct ledger_op op;             /* the decision's row */
    struct identity who;             /* without groups */
    struct target primary, fallback; /* fallback.group empty: none. No credentials */
    bool has_fallback;
    struct price_table *prices;      /* that the hold was computed with; NULL: the ledger does not have them after a restart */
    struct key_used primary_key, fallback_key; /* zero after a restart */
    struct token_basis primary_basis, fallback_basis; /* for learning; zero after a restart */
    struct budget_hold hold;
    struct budget_use held;
    int64_t submitted_mono_us;
    int64_t held_mono_us;            /* when the hold began; below zero when that was before the machine started */
    int32_t commit_us;
    /* What the control thread hears of it. */
    int64_t line_mono_us;            /* when the log line came before the record; 0: not yet */
    int line_status;
    bool line_client_abort;
    bool expiring;                   /* SETTLING at its bound, and no record has come since; control thread */
    atomic_bool given_up;            /* HAProxy ended the request before our answer; set by the control thread, read by the worker */
    bool record_without_response;    /* the tap saw the request go and nothing come back */
    int32_t attempts;
    unsigned attempt_rows;           /* bit n: attempt n is in the ledger */
    unsigned failures_told;          /* bit n: attempt n failed, and its breaker knows */
    int first_status;                /* of an attempt that was given up; 0 none */
    int64_t total_us;
    int64_t settled_mono_us;
    /* What was booked, once SETTLED or EXPIRED; written by the control thread, read by workers for the client who asks. */
    _Atomic int64_t settled_nano;
    _Atomic enum known_by settled_by;
    int64_t settled_tokens;          /* the control thread's alone */
    /* What the relay has to do with it. */
    int64_t stop_tokens;             /* output tokens after which a stream is ended; 0: never */
    atomic_int relay_cause[2];       /* enum relay_cause: why it gave up the first, the second try */
    struct trace_request trace;      /* off after a restart */
    atomic_bool traced;              /* its span was made */
    atomic_bool ended;               /* its log line has come: nobody waits for an answer any more */
    atomic_bool pausing;             /* its second try waits for as long as the provider asked: nobody works on it */
    /* The conversation's key and the fallback's mark (route/affinity.h), where it is to stay with that one if the primary finds it too
     * long; key 0: not so. */
    uint64_t conversation_key;
    uint16_t fallback_mark;
    struct inflight *next_settled;
    char strings[];
};

/* As its rows name it. */
struct ledger_target ledger_target_of(const struct target *t);

struct inflight_table;

struct inflight_table *inflight_table_new(void);
/* Drops every reference the table has. */
void inflight_table_free(struct inflight_table *t);

/* Copies everything out of the decision (slices included); state PENDING, one reference. `fallback` and `trace` may be NULL. NULL when
 * memory is out. */
struct inflight *inflight_new(const struct ledger_decision *d, const struct identity *who, const struct target *primary,
                              const struct target *fallback, const struct trace_request *trace) __attribute__((warn_unused_result));
void inflight_ref(struct inflight *f);
void inflight_unref(struct inflight *f);

enum inflight_inserted {
    INFLIGHT_INSERTED,
    INFLIGHT_DUPLICATE, /* that request id is in flight already */
    INFLIGHT_GIVEN_UP   /* HAProxy has answered that request without waiting for us (inflight_give_up came first) */
};
/* The table takes a reference of its own when INSERTED; else the caller refuses the request. */
enum inflight_inserted inflight_insert(struct inflight_table *t, struct inflight *f) __attribute__((warn_unused_result));
/* HAProxy has ended this request, for which no provider was asked, and there is no entry: one that comes now would never be heard of
 * again. The last few thousand ids are remembered. */
void inflight_give_up(struct inflight_table *t, struct slice request_id);
void inflight_remove(struct inflight_table *t, struct inflight *f);
/* With a reference, or NULL. */
struct inflight *inflight_find(struct inflight_table *t, struct slice request_id);
/* From one state to another; false when it is not in `from`. */
bool inflight_move(struct inflight_table *t, struct inflight *f, enum inflight_state from, enum inflight_state to);
/* The oldest first, each with a reference, until `fn` returns false. `fn` runs outside the lock. */
void inflight_each(struct inflight_table *t, bool (*fn)(void *user, struct inflight *f), void *user);
size_t inflight_count(struct inflight_table *t);

#endif
