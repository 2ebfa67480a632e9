#include "ledger/peers.h"

#include "ledger/grid.h"
#include "ledger/rollup.h"
#include "ledger/statements.h"

#include <stdlib.h>
#include <string.h>

/* A median of few says little: until FEW_ALL all are kept as outliers, until FEW from twice the median on, then from four times. */
enum { NAMED_SLOTS = 4096, GROUP_SLOTS = 4096, MOVES_MAX = 4096, FEW_ALL = 20, FEW = 200 };

enum statement { FIND, ADD, MEDIAN, DROP, KEEP, STATEMENTS };

static const char *const sql[STATEMENTS] = {
    [FIND] = "SELECT p.id FROM account AS a LEFT JOIN target AS t ON t.id = ?2 JOIN peers AS p ON p.team = a.team AND p.model = coalesce(t.model, '')"
             " AND p.organization = a.organization WHERE a.id = ?1",
    [ADD] = "INSERT INTO peers (organization, team, model) SELECT a.organization, a.team, coalesce(t.model, '') FROM account AS a"
            " LEFT JOIN target AS t ON t.id = ?2 WHERE a.id = ?1",
    [MEDIAN] = "SELECT cost_nano, requests FROM cost_histogram_row WHERE month = ?1 AND peers = ?2 ORDER BY cost_nano",
    [DROP] = "DELETE FROM outlier_row WHERE month = ?1 AND peers = ?2 AND cost_nano = ?3 AND request = ?4",
    [KEEP] = "INSERT OR IGNORE INTO outlier_row SELECT ?1, ?2, ?3, id, request_id, started_us, who, coalesce(served, plan, 0), known_by"
             " FROM request_row WHERE id = ?4"
};

struct move {
    int64_t month, peers, request, before, after;
};

struct peers {
    sqlite3 *db;
    sqlite3_stmt *s[STATEMENTS];
    struct grid *histogram;
    struct { int64_t account, target, id; } named[NAMED_SLOTS];                       /* id 0: empty */
    struct { int64_t month, peers, count, look_again, threshold; } groups[GROUP_SLOTS]; /* peers 0: empty */
    struct move moves[MOVES_MAX];
    unsigned move_count;
};

struct peers *peers_new(sqlite3 *db)
{
    struct peers *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->db = db;
    p->histogram = grid_new(db, "cost_histogram_row", 1);
    if (p->histogram != NULL && statements_prepare(db, sql, STATEMENTS, p->s))
        return p;
    peers_free(p);
    return NULL;
}

void peers_free(struct peers *p)
{
    if (!p)
        return;
    statements_end(p->s, STATEMENTS);
    grid_free(p->histogram);
    free(p);
}

void peers_forget(struct peers *p)
{
    memset(p->named, 0, sizeof p->named);
    memset(p->groups, 0, sizeof p->groups);
    grid_forget(p->histogram);
    p->move_count = 0;
}

int64_t peers_round(int64_t nano)
{
    int64_t unit = 1;
    while (nano / unit >= 100)
        unit *= 10;
    return nano / unit * unit;
}

static size_t slot_of(int64_t a, int64_t b, size_t slots)
{
    uint64_t h = (uint64_t)a * 0x9E3779B97F4A7C15u ^ (uint64_t)b * 0xC2B2AE3D27D4EB4Fu;
    return (h ^ h >> 32) % slots;
}

static int step2(sqlite3_stmt *s, int64_t a, int64_t b)
{
    sqlite3_bind_int64(s, 1, a);
    sqlite3_bind_int64(s, 2, b);
    return sqlite3_step(s);
}

static int group_id(struct peers *p, int64_t account, int64_t target, int64_t *id)
{
    size_t i = slot_of(account, target, NAMED_SLOTS);
    *id = p->named[i].id;
    if (*id != 0 && p->named[i].account == account && p->named[i].target == target)
        return SQLITE_OK;
    int rc = step2(p->s[FIND], account, target);
    if (rc == SQLITE_ROW)
        *id = sqlite3_column_int64(p->s[FIND], 0);
    sqlite3_reset(p->s[FIND]);
    if (rc == SQLITE_DONE) {
        rc = step2(p->s[ADD], account, target);
        *id = sqlite3_last_insert_rowid(p->db);
        sqlite3_reset(p->s[ADD]);
        rc = rc == SQLITE_DONE ? SQLITE_ROW : rc;
    }
    if (rc != SQLITE_ROW)
        return rc;
    p->named[i].account = account;
    p->named[i].target = target;
    p->named[i].id = *id;
    return SQLITE_OK;
}

/* From the histogram, twice over: how many there are, then the lower middle one. */
static int look(struct peers *p, int64_t month, int64_t peers, int64_t *count, int64_t *median)
{
    sqlite3_stmt *s = p->s[MEDIAN];
    int64_t half = -1, seen = 0;
    int rc = SQLITE_DONE;

    *median = 0;
    for (int pass = 0; pass < 2 && rc == SQLITE_DONE; pass++) {
        for (rc = step2(s, month, peers), seen = 0; rc == SQLITE_ROW; rc = sqlite3_step(s)) {
            seen += sqlite3_column_int64(s, 1);
            if (pass == 1 && *median == 0 && seen > half)
                *median = sqlite3_column_int64(s, 0);
        }
        sqlite3_reset(s);
        half = (seen - 1) / 2;
    }
    *count = seen;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int threshold_of(struct peers *p, int64_t month, int64_t peers, int64_t *threshold)
{
    size_t i = slot_of(month, peers, GROUP_SLOTS);
    int64_t count, median;
    bool known = p->groups[i].peers == peers && p->groups[i].month == month;
    if (!known || p->groups[i].count >= p->groups[i].look_again) {
        int rc = look(p, month, peers, &count, &median);
        if (rc != SQLITE_OK)
            return rc;
        p->groups[i].month = month;
        p->groups[i].peers = peers;
        p->groups[i].count = count;
        p->groups[i].look_again = count + count / 4 + 1;
        p->groups[i].threshold = count < FEW_ALL ? 0 : count < FEW ? 2 * median : 4 * median;
    }
    p->groups[i].count++;
    *threshold = p->groups[i].threshold;
    return SQLITE_OK;
}

static int outlier_step(struct peers *p, enum statement which, const struct move *m, int64_t cost)
{
    sqlite3_stmt *s = p->s[which];
    sqlite3_bind_int64(s, 3, cost);
    sqlite3_bind_int64(s, 4, m->request);
    int rc = step2(s, m->month, m->peers);
    sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int peers_flush(struct peers *p)
{
    int rc = grid_flush(p->histogram);
    for (unsigned i = 0; i < p->move_count && rc == SQLITE_OK; i++) {
        const struct move *m = &p->moves[i];
        int64_t threshold = 0;
        rc = threshold_of(p, m->month, m->peers, &threshold);
        if (rc == SQLITE_OK && m->before > 0)
            rc = outlier_step(p, DROP, m, m->before);
        if (rc == SQLITE_OK && m->after > 0 && m->after >= threshold)
            rc = outlier_step(p, KEEP, m, m->after);
    }
    if (rc == SQLITE_OK)
        p->move_count = 0;
    return rc;
}

int peers_add(struct peers *p, int64_t request, int64_t started_us, int64_t account, int64_t target, int64_t before, int64_t after)
{
    struct move m = { .month = rollup_month(started_us / 1000000), .request = request, .before = before, .after = after };
    int rc = p->move_count < MOVES_MAX ? SQLITE_OK : peers_flush(p);

    if (before == after)
        return rc;
    if (rc == SQLITE_OK)
        rc = group_id(p, account, target, &m.peers);
    if (rc == SQLITE_OK && before > 0)
        rc = grid_add(p->histogram, (int64_t[]){ m.month, m.peers, peers_round(before) }, &(int64_t){ -1 });
    if (rc == SQLITE_OK && after > 0)
        rc = grid_add(p->histogram, (int64_t[]){ m.month, m.peers, peers_round(after) }, &(int64_t){ 1 });
    if (rc == SQLITE_OK)
        p->moves[p->move_count++] = m;
    return rc;
}
