#include "admin/tollgatectl_report.h"

#include "ledger/peers.h"

#include <inttypes.h>
#include <stdlib.h>

/* Requests that cost `factor` times the median of their peers: those of their team on the same model in the same month. The histogram
 * says what the median is and how many are that far above it; outlier_row holds them, but for some that were not far above the
 * median of their day: when the count says so, those are looked for in the requests themselves. What no roll-up holds yet is read
 * along with them. */

enum { PEERS_MIN = 5 }; /* fewer have no median worth comparing with */

struct bin {
    int64_t nano, requests;
};

/* A request that may be an anomaly. Peers that no row stands for yet have numbers below 0. */
struct candidate {
    int64_t month, peers, nano, request, started_us, who, target, known_by;
    int64_t median, count; /* of its peers */
};

enum { CANDIDATE_COLUMNS = 8 };

struct list {
    char *items;
    size_t count, room, size; /* size: of one item */
};

struct search {
    const struct report *r;
    struct list bins, newer, found; /* bins of one group; newer: candidates not in roll-ups, by group */
    sqlite3_stmt *histogram, *outliers, *want;
    int64_t wanted, missing; /* groups whose requests have to be looked through; anomalies that are nowhere */
};

static void *list_add(struct list *l)
{
    if (l->count == l->room) {
        size_t room = l->room > 0 ? l->room * 2 : 1024;
        char *more = realloc(l->items, room * l->size);
        if (more == NULL) {
            fprintf(stderr, "tollgatectl: out of memory; ask for a shorter period\n");
            return NULL;
        }
        l->items = more;
        l->room = room;
    }
    return l->items + l->count++ * l->size;
}

/* The integers of the statement's row into a new item. */
static void *list_add_row(struct list *l, sqlite3_stmt *s, int columns)
{
    int64_t *item = list_add(l);

    for (int i = 0; item != NULL && i < columns; i++)
        item[i] = sqlite3_column_int64(s, i);
    return item;
}

static struct bin *bin_at(const struct list *l, size_t i)
{
    return (struct bin *)(void *)l->items + i;
}

static struct candidate *candidate_at(const struct list *l, size_t i)
{
    return (struct candidate *)(void *)l->items + i;
}

static int by_cost(const void *a, const void *b)
{
    const struct bin *x = a, *y = b;

    return (x->nano > y->nano) - (x->nano < y->nano);
}

static int by_group(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->month != y->month)
        return x->month > y->month ? 1 : -1;
    return (x->peers > y->peers) - (x->peers < y->peers);
}

static int by_times(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    int64_t p = x->nano / x->median, q = y->nano / y->median;

    if (p != q)
        return p < q ? 1 : -1;
    if (x->nano != y->nano)
        return x->nano < y->nano ? 1 : -1;
    return (x->request > y->request) - (x->request < y->request);
}

/* Runs `sql`, whose ?1 and ?2 are two instants, into `l`. */
static bool load(const struct report *r, const char *sql, int64_t from, int64_t until, struct list *l, int columns)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(r->db, sql, -1, &s, NULL);
    bool room = true;

    if (rc == SQLITE_OK) {
        sqlite3_bind_int64(s, 1, from);
        sqlite3_bind_int64(s, 2, until);
    }
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        room = list_add_row(l, s, columns) != NULL;
        rc = room ? SQLITE_OK : SQLITE_DONE;
    }
    if (rc != SQLITE_DONE)
        ctl_sql_failed(&r->place, r->db);
    sqlite3_finalize(s);
    return rc == SQLITE_DONE && room;
}

#define COST "r.cost_nano + (SELECT coalesce(sum(c.cost_nano), 0) FROM correction_row AS c WHERE c.request = r.id)"
#define MONTH "unixepoch(r.started_us / 1000000, 'unixepoch', 'start of month')"
#define ROLLED "(SELECT value FROM ledger_note WHERE name = 'rolled')"
#define JOIN_PEERS                                                                                                     \
    " JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan)"                         \
    " LEFT JOIN peers AS p ON p.team = w.team AND p.model = coalesce(t.model, '') AND p.organization = w.organization"

/* What is newer than the roll-ups, of the months from `from` until before `until`. */
static bool newer_load(struct search *s, int64_t from, int64_t until)
{
    static const char sql[] =
        "SELECT " MONTH ", coalesce(p.id, -dense_rank() OVER (ORDER BY w.organization, w.team, t.model)), " COST " AS nano, r.id, r.started_us, r.who,"
        " coalesce(r.served, r.plan, 0), r.known_by FROM request_row AS r NOT INDEXED" JOIN_PEERS " WHERE r.id > " ROLLED
        " AND r.state = 1 AND r.started_us >= ?1 * 1000000 AND r.started_us < ?2 * 1000000 AND nano > 0";

    if (!load(s->r, sql, from, until, &s->newer, CANDIDATE_COLUMNS))
        return false;
    if (s->newer.count > 0)
        qsort(s->newer.items, s->newer.count, s->newer.size, by_group);
    return true;
}

/* An anomaly of this group. False when memory is out. */
static bool keep(struct search *s, const struct candidate *c, int64_t threshold, int64_t median, int64_t count, int64_t *kept)
{
    if (peers_round(c->nano) < threshold)
        return true;
    ++*kept;
    if (c->started_us < s->r->period.start_s * 1000000 || c->started_us >= s->r->period.end_s * 1000000)
        return true;
    struct candidate *f = list_add(&s->found);
    if (f == NULL)
        return false;
    *f = *c;
    f->median = median;
    f->count = count;
    return true;
}

static bool outliers_of(struct search *s, const struct candidate *group, int64_t threshold, int64_t median, int64_t count, int64_t *kept)
{
    struct candidate c = { .month = group->month };
    bool room = true;
    int rc;

    sqlite3_bind_int64(s->outliers, 1, group->month);
    sqlite3_bind_int64(s->outliers, 2, group->peers);
    sqlite3_bind_int64(s->outliers, 3, threshold);
    while ((rc = sqlite3_step(s->outliers)) == SQLITE_ROW && room) {
        int64_t *fields = &c.month;
        for (int i = 0; i < CANDIDATE_COLUMNS; i++)
            fields[i] = sqlite3_column_int64(s->outliers, i);
        room = keep(s, &c, threshold, median, count, kept);
    }
    sqlite3_reset(s->outliers);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        ctl_sql_failed(&s->r->place, s->r->db);
    return room && rc == SQLITE_DONE;
}

/* Notes a group of which `kept` were found where there should be `expected`. */
static bool look_through(struct search *s, const struct candidate *group, int64_t threshold, int64_t median, int64_t count, int64_t missing)
{
    const int64_t values[] = { group->month, group->peers, threshold, median, count };

    for (int i = 0; i < 5; i++)
        sqlite3_bind_int64(s->want, i + 1, values[i]);
    int rc = sqlite3_step(s->want);
    sqlite3_reset(s->want);
    s->wanted++;
    s->missing += missing;
    return rc == SQLITE_DONE || ctl_sql_failed(&s->r->place, s->r->db) == CTL_DONE;
}

/* The group's bins are in s->bins, its newer requests from `start` until before `end`. The median of an even number is the lower middle one. */
static bool group_search(struct search *s, const struct candidate *group, size_t start, size_t end)
{
    const struct bin *b = bin_at(&s->bins, 0);
    int64_t count = 0, seen = 0, expected = 0, kept = 0, median = 0;

    for (size_t i = 0; i < s->bins.count; i++)
        count += b[i].requests;
    if (count < PEERS_MIN)
        return true;
    for (size_t i = 0; median == 0; i++)
        if ((seen += b[i].requests) > (count - 1) / 2)
            median = b[i].nano;
    int64_t threshold = median > INT64_MAX / s->r->factor ? INT64_MAX : median * s->r->factor;
    for (size_t i = s->bins.count; i > 0 && b[i - 1].nano >= threshold; i--)
        expected += b[i - 1].requests;
    if (expected == 0)
        return true;
    for (size_t i = start; i < end; i++)
        if (!keep(s, candidate_at(&s->newer, i), threshold, median, count, &kept))
            return false;
    return outliers_of(s, group, threshold, median, count, &kept) &&
           (kept >= expected || look_through(s, group, threshold, median, count, expected - kept));
}

static bool bin_add(struct list *l, int64_t nano, int64_t requests)
{
    struct bin *b = list_add(l);

    if (b != NULL)
        *b = (struct bin){ nano, requests };
    return b != NULL;
}

/* The next group of the histogram, of what is newer, or of both. *more is false at the end. */
static bool next_group(struct search *s, size_t *newer, bool *more)
{
    bool row = sqlite3_data_count(s->histogram) > 0;
    struct candidate at = { .month = sqlite3_column_int64(s->histogram, 0), .peers = sqlite3_column_int64(s->histogram, 1) };
    size_t start = *newer;

    *more = row || start < s->newer.count;
    if (!*more)
        return true;
    if (!row || (start < s->newer.count && by_group(candidate_at(&s->newer, start), &at) < 0))
        at = *candidate_at(&s->newer, start);
    s->bins.count = 0;
    while (sqlite3_data_count(s->histogram) > 0 && sqlite3_column_int64(s->histogram, 1) == at.peers && sqlite3_column_int64(s->histogram, 0) == at.month) {
        if (!bin_add(&s->bins, sqlite3_column_int64(s->histogram, 2), sqlite3_column_int64(s->histogram, 3)))
            return false;
        if (sqlite3_step(s->histogram) != SQLITE_ROW && sqlite3_errcode(s->r->db) != SQLITE_DONE)
            return ctl_sql_failed(&s->r->place, s->r->db) == CTL_DONE;
    }
    for (; *newer < s->newer.count && by_group(candidate_at(&s->newer, *newer), &at) == 0; ++*newer)
        if (!bin_add(&s->bins, peers_round(candidate_at(&s->newer, *newer)->nano), 1))
            return false;
    if (*newer > start)
        qsort(s->bins.items, s->bins.count, s->bins.size, by_cost);
    return group_search(s, &at, start, *newer);
}

/* Through the requests of the groups that miss some: what outlier_row does not hold. */
static bool look_through_all(struct search *s)
{
    static const char sql[] =
        "SELECT x.month, x.peers, " COST " AS nano, r.id, r.started_us, r.who, coalesce(r.served, r.plan, 0), r.known_by, x.median, x.count, x.threshold"
        " FROM request_row AS r INDEXED BY request_started" JOIN_PEERS " JOIN temp.wanted AS x ON x.peers = p.id AND x.month = " MONTH
        " WHERE r.started_us >= (SELECT min(month) FROM temp.wanted) * 1000000"
        " AND r.started_us < (SELECT unixepoch(max(month), 'unixepoch', '+1 month') FROM temp.wanted) * 1000000"
        " AND r.state = 1 AND r.id <= " ROLLED " AND nano >= x.threshold AND NOT EXISTS (SELECT 1 FROM outlier_row AS o WHERE o.month = x.month"
        " AND o.peers = x.peers AND o.cost_nano = nano AND o.request = r.id)";
    struct candidate c;
    sqlite3_stmt *t = NULL;
    int64_t kept = 0;
    bool room = true;

    if (s->wanted == 0)
        return true;
    int rc = sqlite3_prepare_v2(s->r->db, sql, -1, &t, NULL);
    while (rc == SQLITE_OK && room && (rc = sqlite3_step(t)) == SQLITE_ROW) {
        int64_t *fields = &c.month;
        for (int i = 0; i < CANDIDATE_COLUMNS; i++)
            fields[i] = sqlite3_column_int64(t, i);
        room = keep(s, &c, sqlite3_column_int64(t, 10), sqlite3_column_int64(t, 8), sqlite3_column_int64(t, 9), &kept);
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_DONE && room)
        ctl_sql_failed(&s->r->place, s->r->db);
    sqlite3_finalize(t);
    s->missing -= kept;
    return rc == SQLITE_DONE && room;
}

static bool prepare(struct search *s, const char *sql, sqlite3_stmt **out)
{
    return sqlite3_prepare_v2(s->r->db, sql, -1, out, NULL) == SQLITE_OK || ctl_sql_failed(&s->r->place, s->r->db) == CTL_DONE;
}

/* All of it from one snapshot: in a transaction. */
static bool search(struct search *s)
{
    int64_t from = period_month(s->r->period.start_s).start_s, until = period_month(s->r->period.end_s - 1).end_s;
    size_t newer = 0;
    bool more = true;

    if (sqlite3_exec(s->r->db, "BEGIN; CREATE TEMP TABLE wanted (month, peers, threshold, median, count, PRIMARY KEY (month, peers)) WITHOUT ROWID", NULL,
                     NULL, NULL) != SQLITE_OK)
        return ctl_sql_failed(&s->r->place, s->r->db) == CTL_DONE;
    if (!prepare(s, "SELECT month, peers, cost_nano, requests FROM cost_histogram_row WHERE month >= ?1 AND month < ?2 AND requests > 0"
                    " ORDER BY month, peers, cost_nano", &s->histogram) ||
        !prepare(s, "SELECT month, peers, cost_nano, request, started_us, who, target, known_by FROM outlier_row WHERE month = ?1"
                    " AND peers = ?2 AND cost_nano >= ?3", &s->outliers) ||
        !prepare(s, "INSERT INTO temp.wanted VALUES (?1, ?2, ?3, ?4, ?5)", &s->want) || !newer_load(s, from, until))
        return false;
    sqlite3_bind_int64(s->histogram, 1, from);
    sqlite3_bind_int64(s->histogram, 2, until);
    int rc = sqlite3_step(s->histogram);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return ctl_sql_failed(&s->r->place, s->r->db) == CTL_DONE;
    while (more)
        if (!next_group(s, &newer, &more))
            return false;
    if (!look_through_all(s))
        return false;
    if (s->found.count > 0)
        qsort(s->found.items, s->found.count, s->found.size, by_times);
    return true;
}

static bool describe(const struct report *r, const struct list *found, struct table *t)
{
    static const char sql[] =
        "SELECT coalesce((SELECT request_id FROM request_row WHERE id = ?1), (SELECT request_id FROM outlier_row WHERE month = ?8 AND peers = ?9"
        " AND cost_nano = ?2 AND request = ?1)), strftime('%Y-%m-%dT%H:%M:%SZ', ?5 / 1000000, 'unixepoch'), w.team, w.user_name, coalesce(t.model, ''),"
        " CASE ?7 WHEN 1 THEN 'reported' WHEN 2 THEN 'counted' WHEN 3 THEN 'bounded' ELSE 'none' END, ?2, ?3, ?2 / ?3, ?4"
        " FROM who AS w LEFT JOIN target AS t ON t.id = ?10 WHERE w.id = ?6";

    for (size_t i = 0; i < found->count && (r->top == 0 || (int64_t)i < r->top); i++) {
        const struct candidate *f = candidate_at(found, i);
        const int64_t values[] = { f->request, f->nano, f->median, f->count, f->started_us, f->who, f->known_by, f->month, f->peers, f->target };
        if (!ctl_fill(&r->place, r->db, sql, values, 10, t))
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
    struct search s = { .r = r, .bins = { .size = sizeof(struct bin) }, .newer = { .size = sizeof(struct candidate) },
                        .found = { .size = sizeof(struct candidate) } };
    struct table *t = table_new(columns, sizeof columns / sizeof *columns);
    char head[160];
    int rc = CTL_FAILED;

    if (t != NULL && search(&s) && describe(r, &s.found, t)) {
        report_head(r, "anomalies", head, sizeof head);
        rc = table_write(t, r->format, head, stdout) == 0 ? CTL_DONE : CTL_FAILED;
    }
    if (rc == CTL_DONE && r->top > 0 && s.found.count > (size_t)r->top)
        fprintf(stderr, "tollgatectl: the first %" PRId64 " of %zu; --top shows more\n", r->top, s.found.count);
    if (rc == CTL_DONE && s.missing > 0)
        fprintf(stderr, "tollgatectl: %" PRId64 " more are in archives: ask there (--ledger)\n", s.missing);
    sqlite3_finalize(s.histogram);
    sqlite3_finalize(s.outliers);
    sqlite3_finalize(s.want);
    free(s.bins.items);
    free(s.newer.items);
    free(s.found.items);
    table_free(t);
    return rc;
}
