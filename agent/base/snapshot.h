/* Snapshot: an immutable table that one thread replaces and all threads read.
 *
 * A cell holds the table in force; whoever changes it makes a new one and publishes it. A reader belongs to one thread and keeps a
 * reference, so that reading costs one atomic load; what was published before snapshot_current is called is what it returns. */
#ifndef TOLLGATE_BASE_SNAPSHOT_H
#define TOLLGATE_BASE_SNAPSHOT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* First member of the table. */
struct snapshot {
    atomic_uint refs;
    void (*free)(struct snapshot *s); /* with the last reference, on any thread */
};

struct snapshot_cell {
    pthread_mutex_t lock;
    struct snapshot *now;     /* under the lock; NULL: none yet */
    _Atomic uint64_t version;
};

struct snapshot_reader {
    struct snapshot_cell *cell;
    struct snapshot *held;
    uint64_t version;
};

/* One reference, the caller's. */
void snapshot_init(struct snapshot *s, void (*free_fn)(struct snapshot *s));
void snapshot_ref(struct snapshot *s);
/* NULL is allowed. */
void snapshot_unref(struct snapshot *s);

void snapshot_cell_init(struct snapshot_cell *c);
/* Nobody reads any more. */
void snapshot_cell_clear(struct snapshot_cell *c);
/* Takes the caller's reference of `fresh` (NULL: none). Every snapshot_current that begins afterwards returns it. */
void snapshot_publish(struct snapshot_cell *c, struct snapshot *fresh);

/* The table in force, NULL when there is none; valid until the reader's next call. `cell` may be NULL. */
const struct snapshot *snapshot_current(struct snapshot_reader *r);
void snapshot_reader_clear(struct snapshot_reader *r);

#endif
