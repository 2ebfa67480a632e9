/* The kinds of report: each fills and prints its own table. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_REPORT_H
#define TOLLGATE_ADMIN_TOLLGATECTL_REPORT_H

#include "admin/tollgatectl_args.h"

enum { DIMENSIONS_MAX = 8 };

/* What a report is grouped by. `day` names are SQL expressions over the roll-up by day (u), account or who (w) and target (t). */
struct dimension {
    const char *name, *sql;
    bool by_user, by_time; /* needs the roll-up by user; is made from the slot */
};

struct report {
    struct ctl_place place;
    sqlite3 *db;
    enum table_format format;
    struct period period;
    int64_t at_s;          /* burn, movers: the moment looked from */
    int64_t factor;        /* anomalies */
    int64_t top;           /* movers, anomalies: rows at most; 0: all */
    const struct dimension *by[DIMENSIONS_MAX];
    size_t by_count;
    bool by_user;
};

/* "w.team AS d0, t.model AS d1": the columns grouped by; "d0, d1" when `names_only`. False when it does not fit. */
bool report_columns(const struct report *r, bool names_only, char *buf, size_t size);
/* "\"kind\":\"burn\",\"at\":...," for table_write. */
void report_head(const struct report *r, const char *kind, char *buf, size_t size);

int report_burn(const struct report *r);
int report_movers(const struct report *r);
int report_anomalies(const struct report *r);
int report_savings(const struct report *r);
int report_focus(const struct report *r);

#endif
