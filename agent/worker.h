/* Worker: one thread, one libev loop, its share of the SPOP connections and of the decisions.
 *
 * Workers share nothing but what struct agent says is shared. Each has its own token counter and verified-token cache, accepts
 * from the common listening sockets, reads all there is, and writes each connection once per turn of its loop. A decision starts
 * in the notify callback and is answered later on the same worker, when the ledger has committed it. */
#ifndef TOLLGATE_WORKER_H
#define TOLLGATE_WORKER_H

#include "spop_conn.h"

#include <ev.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct again;
struct agent;
struct decision;
struct fiber_pool;
struct runtime;
struct connection;

struct worker {
    struct agent *agent;
    unsigned number;
    pthread_t thread;
    struct ev_loop *loop;
    struct runtime *runtime;            /* what new decisions use; one reference */
    struct identity_verifier *verifier; /* of runtime's identity store */
    struct token_counter *counter;
    struct fiber_pool *fibers;          /* of bodies being parsed */
    ev_async wake;                      /* another thread put something below */
    ev_prepare flush;
    ev_timer tick;                      /* deadlines, once a second */
    ev_io *accept;
    unsigned accept_count;
    bool accept_paused;                 /* no descriptors left; tried again at the next tick */
    char *read_buffer;
    struct connection *connections;     /* all, doubly linked */
    unsigned connection_count;
    struct connection *dirty;           /* touched in this turn */
    struct decision *parked;            /* waiting for a key refresh */
    unsigned parked_count;
    size_t parked_bytes;                /* of the bodies they keep */
    struct decision *jobs;              /* being parsed or counted in slices */
    struct again *agains;               /* questions for a key that wait for their answer */
    ev_timer again_timer;
    struct decision *spare;             /* free list */
    unsigned spare_count;
    ev_idle job_idle;
    bool stopping;
    /* Shared, under `lock`. */
    pthread_mutex_t lock;
    struct decision *committed;         /* their ledger operation is done */
    bool stop_asked, runtime_changed;
};

/* Starts the thread. `fds` are the listening SPOP sockets, which stay the caller's. False when memory or threads are out. */
bool worker_start(struct worker *w, struct agent *agent, unsigned number, const int *fds, unsigned fd_count);
/* Any thread: take the agent's current runtime. */
void worker_runtime_changed(struct worker *w);
/* Any thread: stop accepting, answer what is in flight, end. worker_join waits for that. */
void worker_stop(struct worker *w);
void worker_join(struct worker *w);
/* After worker_join and after the ledger was closed: until then its writer may still hand decisions back. */
void worker_free(struct worker *w);

/* For decision.c, on the worker's thread. */

/* The connection keeps living, as a shell at least, while decisions hold it. */
void connection_hold(struct connection *c);
void connection_release(struct connection *c);
/* Never NULL while it is held; answers to a closed one go nowhere. */
struct spop_conn *connection_spop(struct connection *c);
/* After queueing an answer: written at the end of the turn. */
void connection_touched(struct connection *c);
/* From any thread: hands a decision back to its worker after its ledger operation. */
void worker_committed(struct worker *w, struct decision *d);

#endif
