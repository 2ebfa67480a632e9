#include "admin/tollgatectl_report.h"

#include <stdlib.h>

enum { PEERS_MIN = 5 }; /* fewer have no median worth comparing with */

/* The comparison is made here, not in SQL: ranking a million requests within their groups is one sort of integers. */
struct cost {
    int64_t group, nano, request; /* group: team and model */
};

struct found {
    int64_t request, nano, median, peers;
};

struct list {
    char *items;
    size_t count, room, size; /* size: of one item */
};

static void *list_add(struct list *l)
{
    if (l->count == l->room) {
        size_t room = l->room > 0 ? l->room * 2 : 1024;
        char *more = realloc(l->items, room * l->size);
        if (more == NULL)
            return NULL;
        l->items = more;
        l->room = room;
    }
    return l->items + l->count++ * l->size;
}

/* Rows of two or four integers into items of as many; ?1 and ?2 are the period. */
static bool load(const struct report *r, const char *sql, struct list *out)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(r->db, sql, -1, &s, NULL);

    if (rc == SQLITE_OK && sqlite3_bind_parameter_count(s) == 2) {
        sqlite3_bind_int64(s, 1, r->period.start_s * 1000000);
        sqlite3_bind_int64(s, 2, r->period.end_s * 1000000);
    }
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        int64_t *item = list_add(out);
        if (item == NULL) {
            fprintf(stderr, "tollgatectl: out of memory; ask for a shorter period\n");
            break;
        }
        for (int i = 0; i < sqlite3_column_count(s); i++)
            item[i] = sqlite3_column_int64(s, i);
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        ctl_sql_failed(&r->place, r->db);
    sqlite3_finalize(s);
    return rc == SQLITE_DONE;
}

static int by_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* The second integer of the pair whose first is `key`; 0 when there is none. */
static int64_t find(const struct list *pairs, int64_t key)
{
    const int64_t *p = pairs->count > 0 ? bsearch(&key, pairs->items, pairs->count, pairs->size, by_first) : NULL;

    return p != NULL ? p[1] : 0;
}

static int by_group_and_cost(const void *a, const void *b)
{
    const struct cost *x = a, *y = b;

    if (x->group != y->group)
        return x->group > y->group ? 1 : -1;
    if (x->nano != y->nano)
        return x->nano > y->nano ? 1 : -1;
    return (x->request > y->request) - (x->request < y->request);
}

static int by_times(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    int64_t p = x->nano / x->median, q = y->nano / y->median;

    if (p != q)
        return p < q ? 1 : -1;
    if (x->nano != y->nano)
        return x->nano < y->nano ? 1 : -1;
    return (x->request > y->request) - (x->request < y->request);
}

/* Rows come as id, who, target, cost; they become costs in their groups, those of nothing are left out. */
static bool group_all(const struct list *rows, const struct list *teams, const struct list *models, const struct list *changes, struct list *costs)
{
    for (size_t i = 0; i < rows->count; i++) {
        const int64_t *row = (const int64_t *)(const void *)rows->items + i * 4;
        int64_t nano = row[3] + find(changes, row[0]);
        struct cost *c = nano > 0 ? list_add(costs) : NULL;
        if (c == NULL && nano > 0)
            return false;
        if (c != NULL)
            *c = (struct cost){ find(teams, row[1]) << 32 | find(models, row[2]), nano, row[0] };
    }
    if (costs->count > 0)
        qsort(costs->items, costs->count, costs->size, by_group_and_cost);
    return true;
}

/* The median of an even number is the lower middle one: a cost that occurred, and an integer. */
static bool search(const struct list *costs, int64_t factor, struct list *out)
{
    const struct cost *c = (const struct cost *)(const void *)costs->items;

    for (size_t start = 0, end; start < costs->count; start = end) {
        for (end = start; end < costs->count && c[end].group == c[start].group; end++) {
        }
        int64_t median = c[start + (end - start - 1) / 2].nano;
        for (size_t i = end; end - start >= PEERS_MIN && i > start && c[i - 1].nano / factor >= median; i--) {
            struct found *f = list_add(out);
            if (f == NULL)
                return false;
            *f = (struct found){ c[i - 1].request, c[i - 1].nano, median, (int64_t)(end - start) };
        }
    }
    if (out->count > 0)
        qsort(out->items, out->count, out->size, by_times);
    return true;
}

static bool describe(const struct report *r, const struct list *found, struct table *t)
{
    static const char sql[] =
        "SELECT r.request_id, strftime('%Y-%m-%dT%H:%M:%SZ', r.started_us / 1000000, 'unixepoch'), w.team, w.user_name, coalesce(t.model, ''),"
        " CASE r.known_by WHEN 1 THEN 'reported' WHEN 2 THEN 'counted' WHEN 3 THEN 'bounded' ELSE 'none' END, ?2, ?3, ?2 / ?3, ?4"
        " FROM request_row AS r JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan) WHERE r.id = ?1";
    const struct found *f = (const struct found *)(const void *)found->items;

    for (size_t i = 0; i < found->count; i++) {
        const int64_t values[] = { f[i].request, f[i].nano, f[i].median, f[i].peers };
        if (!ctl_fill(&r->place, r->db, sql, values, 4, t))
            return false;
    }
    return true;
}

int report_anomalies(const struct report *r)
{
    static const struct table_column columns[] = {
        { "request_id", TABLE_TEXT, false }, { "started", TABLE_TEXT, false }, { "team", TABLE_TEXT, false }, { "user", TABLE_TEXT, false },
        { "model", TABLE_TEXT, false }, { "known_by", TABLE_TEXT, false }, { "cost_usd", TABLE_USD, true },
        { "median_usd", TABLE_USD, false }, { "times", TABLE_COUNT, false }, { "peers", TABLE_COUNT, false },
    };
    struct list rows = { .size = 4 * sizeof(int64_t) }, costs = { .size = sizeof(struct cost) }, found = { .size = sizeof(struct found) };
    struct list teams = { .size = 2 * sizeof(int64_t) }, models = teams, changes = teams;
    struct table *t = table_new(columns, sizeof columns / sizeof *columns);
    char head[160];
    int rc = CTL_FAILED;

    if (t == NULL ||
        !load(r, "SELECT id, dense_rank() OVER (ORDER BY organization, team) FROM who ORDER BY id", &teams) ||
        !load(r, "SELECT id, dense_rank() OVER (ORDER BY model) FROM target ORDER BY id", &models) ||
        !load(r, "SELECT request, sum(cost_nano) FROM correction_row GROUP BY request ORDER BY request", &changes) ||
        !load(r, "SELECT id, who, coalesce(served, plan), cost_nano FROM request_row WHERE started_us >= ?1 AND started_us < ?2 AND state = 1",
              &rows))
        goto out;
    if (!group_all(&rows, &teams, &models, &changes, &costs) || !search(&costs, r->factor, &found)) {
        fprintf(stderr, "tollgatectl: out of memory; ask for a shorter period\n");
        goto out;
    }
    report_head(r, "anomalies", head, sizeof head);
    if (describe(r, &found, t) && table_write(t, r->format, head, stdout) == 0)
        rc = CTL_DONE;
out:
    free(rows.items);
    free(costs.items);
    free(found.items);
    free(teams.items);
    free(models.items);
    free(changes.items);
    table_free(t);
    return rc;
}
