#include "admin/tollgatectl_cells.h"

#include <stdarg.h>
#include <string.h>

/* Text that grows in a buffer; `used` reaches `size` when it does not fit. */
struct text {
    char *buf;
    size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list args;

    if (t->used >= t->size)
        return;
    va_start(args, format);
    t->used += (size_t)vsnprintf(t->buf + t->used, t->size - t->used, format, args);
    va_end(args);
}

static bool by_time(const struct report *r)
{
    for (size_t i = 0; i < r->by_count; i++)
        if (r->by[i]->by_time)
            return true;
    return false;
}

static bool by_day(const struct report *r)
{
    for (size_t i = 0; i < r->by_count; i++)
        if (strcmp(r->by[i]->name, "day") == 0)
            return true;
    return false;
}

/* Is there a dimension whose expression is over that table ("w.", "t.")? */
static bool by_table(const struct report *r, const char *alias)
{
    for (size_t i = 0; i < r->by_count; i++)
        if (strstr(r->by[i]->sql, alias) != NULL)
            return true;
    return false;
}

struct arm {
    const char *table, *span; /* span: condition on slot */
    const char *newer;        /* slot of what is newer than the roll-up */
    bool accounts;            /* the table's `who` is an account */
};

/* Grouped along the table's key, as far as the report needs it. */
static void add_arm(struct text *t, const struct report *r, const struct arm *a, const struct cell_figure *figures, size_t count)
{
    const char *slot = by_time(r) ? "slot" : "0 AS slot", *target = by_table(r, "t.") ? "target" : "0 AS target", *who = "0 AS who";
    bool names = by_table(r, "w."), joined = names && !r->by_user && !a->accounts;

    if (names)
        who = r->by_user || a->accounts ? "who" : "account AS who";
    add(t, "SELECT %s, %s, %s", slot, who, target);
    for (size_t i = 0; i < count; i++)
        add(t, ", %s AS %s", figures[i].sql, figures[i].name);
    add(t, " FROM %s%s WHERE %s GROUP BY slot%s%s", a->table, joined ? " JOIN who AS x ON x.id = who" : "", a->span,
        !names ? "" : joined ? ", account" : ", who", by_table(r, "t.") ? ", target" : "");
    add(t, " UNION ALL SELECT %s, %s, %s", slot, !names ? "0" : r->by_user ? "who" : "account", target);
    for (size_t i = 0; i < count; i++)
        add(t, ", %s", figures[i].sql);
    add(t, " FROM (SELECT %s AS slot, * FROM unrolled%s) WHERE %s GROUP BY 1, 2, 3", a->newer,
        names && !r->by_user ? " JOIN who AS x ON x.id = who" : "", a->span);
}

bool cells_sql(const struct report *r, const struct cell_figure *figures, size_t count, char *buf, size_t size)
{
    static const char day[] = "second / 86400 * 86400", month[] = "unixepoch(second, 'unixepoch', 'start of month')";
    static const char all[] = "slot >= ?1 AND slot < ?2 AND ?3 = ?3 AND ?4 = ?4", before[] = "slot >= ?1 AND slot < ?3", after[] = "slot >= ?4 AND slot < ?2";
    const char *days = r->by_user ? "rollup_user_day_row" : "rollup_day_row";
    const struct arm arms[] = { { days, by_day(r) ? all : before, day, !r->by_user },
                                { "rollup_user_month_row", "slot >= ?3 AND slot < ?4", month, false },
                                { days, after, day, !r->by_user } };
    struct text t = { buf, size, 0 };

    add(&t, "(SELECT slot, who, target");
    for (size_t i = 0; i < count; i++)
        add(&t, ", sum(%s) AS %s", figures[i].name, figures[i].name);
    add(&t, " FROM (");
    for (size_t i = 0; i < (by_day(r) ? 1 : 3); i++) {
        add(&t, "%s", i > 0 ? " UNION ALL " : "");
        add_arm(&t, r, &arms[i], figures, count);
    }
    add(&t, ") GROUP BY slot, who, target)");
    return t.used < size;
}

void cells_values(int64_t start_s, int64_t end_s, int64_t out[CELL_VALUES])
{
    int64_t first = period_month(start_s).start_s, last = period_month(end_s).start_s;

    if (first < start_s)
        first = period_month(start_s).end_s;
    out[0] = start_s;
    out[1] = end_s;
    out[2] = first < last ? first : start_s; /* no whole month in it: days alone */
    out[3] = first < last ? last : start_s;
}

const char *cells_who(const struct report *r)
{
    return r->by_user ? "who" : "account";
}
