/* How much requests cost beside others of their team and model: a histogram by month, and the requests far above its median.
 *
 * Costs are counted rounded down to two significant digits (peers_round), so that the histogram stays small and its median is that of
 * the rows, rounded. Writer thread only; all functions return SQLITE_OK or SQLite's error. */
#ifndef TOLLGATE_LEDGER_PEERS_H
#define TOLLGATE_LEDGER_PEERS_H

#include <sqlite3.h>
#include <stdint.h>

struct peers;

struct peers *peers_new(sqlite3 *db) __attribute__((warn_unused_result));
/* NULL is allowed. */
void peers_free(struct peers *p);
/* A request's cost became `after` where it was `before` (0: was not counted). */
int peers_add(struct peers *p, int64_t request, int64_t started_us, int64_t account, int64_t target, int64_t before, int64_t after)
    __attribute__((warn_unused_result));
int peers_flush(struct peers *p) __attribute__((warn_unused_result));
void peers_forget(struct peers *p);

/* 4,289,123 -> 4,200,000. */
int64_t peers_round(int64_t nano);

#endif
