/* Access change: one change of who may ask, on its way: ledger first, then every worker, then whoever asked for it.
 *
 * When `done` runs with LEDGER_OK the change and its event are on disk and every request that a worker begins from now on meets it. The
 * changes of one thread happen in order. Lists are changed on the ledger's writer thread, right after the commit: a decision that waits
 * for its own change (a logout) must not wait for the control thread, which waits for the workers when the agent stops. */
#ifndef TOLLGATE_ACCESS_CHANGE_H
#define TOLLGATE_ACCESS_CHANGE_H

#include "base/snapshot.h"
#include "ledger/ledger.h"

struct agent;
struct config;

/* On the ledger's writer thread, or on the control thread. The change's texts are valid during the call. */
typedef void access_done_fn(void *user, enum ledger_result result, const struct ledger_access *change);

enum access_where { ACCESS_DONE_ON_WRITER, ACCESS_DONE_ON_CONTROL };
/* Any thread. Copies the change. False: out of memory, `done` (may be NULL) will not be called. On the writer thread `done` is quick and
 * calls nothing of the ledger. */
bool access_change_submit(struct agent *a, const struct ledger_access *change, enum access_where where, access_done_fn *done, void *user)
    __attribute__((warn_unused_result));

/* The same for a method of the admin socket that is being called: its peer is the actor, `done` runs on the control thread with the
 * struct rpc_pending to resolve. What the method returns: rpc_later, or why not. */
const char *access_change_for_admin(struct agent *a, struct ledger_access *change, const char *action, access_done_fn *done)
    __attribute__((warn_unused_result));

/* What the ledger says, and what workers read of it. */
struct access_lists {
    struct snapshot_cell revocations, keys; /* any thread, through a reader */
    pthread_mutex_t lock;             /* for what follows */
    struct revoking *revoking;
    struct gateway_keys *gateway_keys;
    struct logout_memory *logouts;    /* any thread */
};

/* After ledger_open: reads what is in force. False with a reason. */
bool access_lists_open(struct agent *a, const char *ledger_file, const struct config *c, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* Before a reload: false with a reason when the configuration's files cannot be used. Changes nothing. */
bool access_lists_check(const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
void access_lists_reload(struct agent *a, const struct config *c);
/* Workers have ended. */
void access_lists_close(struct agent *a);

#endif
