/* Cells of one roll-up table, gathered in memory and written once. */
#ifndef TOLLGATE_LEDGER_GRID_H
#define TOLLGATE_LEDGER_GRID_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

struct grid;

enum { GRID_SUMS_MAX = 24 };

/* Cells have three keys and `sums` sums, in the order of the columns of `table`, whose primary key the keys are. */
struct grid *grid_new(sqlite3 *db, const char *table, int sums) __attribute__((warn_unused_result));
/* NULL is allowed. */
void grid_free(struct grid *g);
/* SQLITE_OK, or SQLite's error: a full grid is written first. */
int grid_add(struct grid *g, const int64_t key[3], const int64_t *sums) __attribute__((warn_unused_result));
/* Writes the cells in the order of their keys. */
int grid_flush(struct grid *g) __attribute__((warn_unused_result));
void grid_forget(struct grid *g);

#endif
