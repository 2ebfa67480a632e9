/* Where reports get their sums from: the smallest roll-ups that answer the question, and what is newer than they are.
 *
 * Whole months come from the roll-up by user and month, the rest (and everything, when days are asked for) from those by day: by account,
 * or by user when the report is. Figures are summed along the tables' keys, then by integers, and only then are names joined. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_CELLS_H
#define TOLLGATE_ADMIN_TOLLGATECTL_CELLS_H

#include "admin/tollgatectl_report.h"

enum { CELL_FIGURES_MAX = 8, CELL_VALUES = 4, CELLS_SQL_SIZE = 8192 };

struct cell_figure {
    const char *name, *sql; /* "cost", "sum(cost_nano)": over the columns of a roll-up */
};

/* A table for FROM: "(SELECT slot, who, target, figures...)". `who` is the account, or who when the report is by user; what the report is not
 * grouped by is 0 (slot, who, target). Parameters ?1 to ?4 are what cells_values gives. False when it does not fit. */
bool cells_sql(const struct report *r, const struct cell_figure *figures, size_t count, char *buf, size_t size);
/* For any span of whole UTC days. */
void cells_values(int64_t start_s, int64_t end_s, int64_t out[CELL_VALUES]);
/* The table that names them, for JOIN: "who" or "account". Outer: the id may be 0. */
const char *cells_who(const struct report *r);

#endif
