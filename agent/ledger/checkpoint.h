/* Moving the WAL into the database without stalling commits.
 *
 * A thread with its own connection does the bulk with passive checkpoints, which block nobody. It can never finish while commits go
 * on, and only a finished checkpoint lets SQLite write the WAL from its start again; so the writer does the small rest itself,
 * between two batches, when it is told so. A reader that stays open for long holds the WAL's start: the file grows until it ends. */
#ifndef TOLLGATE_LEDGER_CHECKPOINT_H
#define TOLLGATE_LEDGER_CHECKPOINT_H

#include <sqlite3.h>
#include <stddef.h>

struct checkpoint;

/* Takes over `other` (a second connection) at success. NULL when there are no resources. */
struct checkpoint *checkpoint_start(sqlite3 *writer, sqlite3 *other) __attribute__((warn_unused_result));
/* Writer thread, after each batch. */
void checkpoint_turn(struct checkpoint *c);
/* Ends the thread, then moves all there is. */
void checkpoint_stop(struct checkpoint *c);

#endif
