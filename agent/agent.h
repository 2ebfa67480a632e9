/* The agent: what all threads of the process share.
 *
 * The control thread owns it: it starts and stops workers, ledger and budget, reloads the configuration, hears settlements and the
 * log ring, expires holds. Workers read what stands here and call only what is marked "any thread". */
#ifndef TOLLGATE_AGENT_H
#define TOLLGATE_AGENT_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct agent;
struct access_lists;
struct adjustment;
struct affinity;
struct alerting;
struct archiving;
struct audit;
struct breaker_table;
struct budget;
struct http_client;
struct inflight_table;
struct ledger;
struct rpc_server;
struct routing;
struct prompting;
struct runtime;
struct telemetry;
struct tokenizer_set;
struct tracing;
struct token_counter;
struct token_learner;
struct worker;

/* Work handed to the control thread. The owner of the memory is `run`. */
struct agent_task {
    struct agent_task *next;
    void (*run)(struct agent *agent, struct agent_task *task);
};

struct agent_counters {
    atomic_ullong decisions, allowed, denied, clamped, settled, expired, corrected, unknown_records, abandoned;
    atomic_ullong relayed, relay_ends[8]; /* by enum relay_cause */
    atomic_ullong pauses, tap_dropped;
    /* When HAProxy was heard last (wall clock; 0: never): a hello, also of its health check, a line of its log, a record of its tap. */
    _Atomic int64_t spop_heard_us, ring_heard_us, tap_heard_us;
    atomic_int ring_connections, tap_connections;
};

struct agent {
    struct ev_loop *loop;           /* the control thread's */
    struct ledger *ledger;
    struct budget *budget;
    struct inflight_table *inflight;
    struct tokenizer_set *tokenizers;
    struct token_counter *counter;  /* the control thread's */
    struct token_learner *learner;
    struct breaker_table *breakers;
    struct affinity *affinity;
    struct alerting *alerting;      /* the control thread's */
    struct routing *routing;        /* routing.c: metrics */
    struct http_client *http;
    struct worker *workers;
    unsigned worker_count;
    struct telemetry *telemetry;
    struct tracing *tracing;
    struct audit *audit;            /* any thread */
    struct prompting *prompting;    /* any thread */
    struct archiving *archiving;    /* the control thread's; NULL: nothing was archived yet */
    struct access_lists *access;    /* revocations; the control thread's, but for its cells */
    struct rpc_server *admin;       /* the control thread's; NULL before it listens */
    const char *config_file;
    int64_t started_us;
    int64_t prices_from_us;         /* prices.c: the step that the ledger was last told to be in force; the control thread's */
    struct agent_counters counters;
    atomic_bool ledger_failing;
    pthread_mutex_t lock;
    struct runtime *runtime;        /* under lock */
    struct runtime *retired;        /* under lock */
    struct agent_task *tasks;       /* under lock; newest first */
    struct adjustment *adjustments; /* under lock: corrections that are in the ledger, and not yet in the balances */
    ev_async wake;
};

/* Any thread: the runtime in force, with a reference. */
struct runtime *agent_runtime(struct agent *a);
/* Any thread: takes the last reference of a runtime. */
void agent_runtime_retired(struct agent *a, struct runtime *r);
/* Any thread: `task->run` will be called on the control thread, in order. */
void agent_post(struct agent *a, struct agent_task *task);

#endif
