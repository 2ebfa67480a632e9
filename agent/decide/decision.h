/* Decision: one request on its way through the pipeline, from NOTIFY to ACK.
 *
 * who is it -> what is asked -> what will it cost at most -> where to -> does it fit -> on disk -> answer. It lives on one worker's
 * thread; only its ledger operation is elsewhere for a while. It may wait three times: for a key refresh (parked), for its turn in
 * counting a long prompt (a job), for the commit. Whatever happens, the NOTIFY gets exactly one ACK. */
#ifndef TOLLGATE_DECISION_H
#define TOLLGATE_DECISION_H

#include "worker.h"

struct spop_notify;

/* In the notify callback of a connection. */
void decision_start(struct worker *w, struct connection *c, struct spop_notify *notify);
/* The list that worker_committed has gathered. */
void decisions_committed(struct worker *w, struct decision *list);
/* Keys were fetched, or the runtime changed: all parked decisions go on. */
void decisions_unpark(struct worker *w);
/* One slice of counting for each job. */
void decisions_step(struct worker *w);
/* Once a second: parked decisions that have waited long enough go on without waiting. */
void decisions_tick(struct worker *w);
void decisions_free_spare(struct worker *w);
/* Pushes onto a list (for worker_committed). */
void decision_link(struct decision *d, struct decision **list);

#endif
