#include "console/answers.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>

enum { LIMIT_MAX = 100, SLOT_S = 900, SEARCH_US = 3000000 };

#define REQUEST_COLUMNS                                                                                                \
    "r.id, r.request_id, r.started_us, w.team, w.user_name AS user, w.application, r.alias, coalesce(t.provider, '') AS provider,"  \
    " coalesce(t.model, '') AS model, r.state, r.deny_reason, r.http_status, r.outcome, r.hold_nano, r.cost_nano, r.saved_nano,"    \
    " r.ttft_us, r.total_us, r.fallback, r.stream,"                                                                              \
    " coalesce(r.input + r.input_cached + r.input_cache_write + r.input_cache_write_1h + r.input_audio, r.input_counted) AS tokens_in," \
    " r.output + r.output_reasoning + r.output_audio AS tokens_out"
#define REQUEST_FROM " FROM request_row AS r JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan)"
#define REQUEST_FILTER " AND " DATA_FILTER " AND (:user IS NULL OR w.user_name = :user)"

/* ---- the dearest ------------------------------------------------------------------------------------------------ */

struct dear {
    int64_t id, cost;
};

struct dearest {
    struct dear rows[LIMIT_MAX]; /* by cost, the dearest first */
    size_t count, limit;
};

static void dearest_add(struct dearest *d, int64_t id, int64_t cost)
{
    size_t i = d->count;

    if (d->count == d->limit && cost <= d->rows[d->limit - 1].cost)
        return;
    if (d->count == d->limit)
        i--;
    else
        d->count++;
    for (; i > 0 && d->rows[i - 1].cost < cost; i--)
        d->rows[i] = d->rows[i - 1];
    d->rows[i] = (struct dear){ id, cost };
}

static enum answer slot_search(sqlite3 *db, const struct question *q, int64_t slot, struct dearest *d, char *why, size_t why_size)
{
    struct question one = *q;
    int rc = SQLITE_ERROR;

    one.from_s = slot > q->from_s ? slot : q->from_s;
    one.to_s = slot + SLOT_S < q->to_s ? slot + SLOT_S : q->to_s;
    one.limit = (int64_t)d->limit;
    sqlite3_stmt *s = data_ask(db,
        "SELECT r.id, r.cost_nano" REQUEST_FROM " WHERE r.started_us >= :from_us AND r.started_us < :to_us AND r.state = 1" REQUEST_FILTER
        " ORDER BY 2 DESC LIMIT :limit", &one);
    while (s != NULL && (rc = sqlite3_step(s)) == SQLITE_ROW)
        dearest_add(d, sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1));
    return data_end(db, s, rc, why, why_size);
}

/* A request costs at most what its row of the roll-up sums to, so quarters of an hour are searched in the order of their largest row, until
 * no other can hold a dearer request. */
static enum answer dearest_find(sqlite3 *db, const struct question *q, struct dearest *d, bool *complete, char *why, size_t why_size)
{
    struct question slots = *q;
    int64_t until = clock_mono_us() + SEARCH_US;
    int rc = SQLITE_ERROR;
    enum answer a = ANSWER_GIVEN;

    slots.from_s = q->from_s - q->from_s % SLOT_S; /* the quarter the period begins in counts too */
    sqlite3_stmt *s = data_ask(db,
        "SELECT u.slot, max(u.cost) FROM (SELECT slot, who, target, cost_nano AS cost FROM quarters WHERE slot >= :from AND slot < :to"
        " AND cost_nano > 0) AS u JOIN who AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target WHERE " DATA_FILTER
        " AND (:user IS NULL OR w.user_name = :user) GROUP BY 1 ORDER BY 2 DESC, 1", &slots);
    *complete = true;
    while (s != NULL && a == ANSWER_GIVEN && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        if (d->count == d->limit && sqlite3_column_int64(s, 1) <= d->rows[d->limit - 1].cost)
            break;
        if (clock_mono_us() > until) {
            *complete = false;
            break;
        }
        a = slot_search(db, q, sqlite3_column_int64(s, 0), d, why, why_size);
    }
    enum answer end = data_end(db, s, rc == SQLITE_ROW ? SQLITE_DONE : rc, why, why_size);
    return a != ANSWER_GIVEN ? a : end;
}

static enum answer row_put(sqlite3 *db, const struct question *q, int64_t id, FILE *json, bool first, char *why, size_t why_size)
{
    struct question one = *q;

    one.id = id;
    sqlite3_stmt *s = data_ask(db, "SELECT " REQUEST_COLUMNS REQUEST_FROM " WHERE r.id = :id AND " DATA_SCOPE, &one);
    int rc = s == NULL ? SQLITE_ERROR : sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        fputs(first ? "" : ",", json);
        json_row(json, s);
        rc = SQLITE_DONE;
    }
    return data_end(db, s, rc, why, why_size);
}

static enum answer rows_put(sqlite3 *db, const struct question *q, const char *sql, FILE *json, char *why, size_t why_size)
{
    sqlite3_stmt *s = data_ask(db, sql, q);
    int rc = SQLITE_ERROR, n = 0;

    fputc('[', json);
    while (s != NULL && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        fputs(n++ > 0 ? "," : "", json);
        json_row(json, s);
    }
    fputc(']', json);
    return data_end(db, s, rc, why, why_size);
}

static enum answer newest_put(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size)
{
    fputs("{\"complete\":true,\"requests\":", json);
    enum answer a = rows_put(db, q,
        "SELECT " REQUEST_COLUMNS REQUEST_FROM " WHERE r.started_us >= :from_us AND r.started_us < :to_us" REQUEST_FILTER
        " ORDER BY r.started_us DESC LIMIT :limit", json, why, why_size);
    fputc('}', json);
    return a;
}

enum answer answer_requests(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size)
{
    struct dearest d = { .limit = (size_t)q->limit };
    bool complete;

    if (q->limit < 1 || q->limit > LIMIT_MAX) {
        snprintf(why, why_size, "limit: 1 to %d", LIMIT_MAX);
        return ANSWER_BAD;
    }
    if (q->recent)
        return newest_put(db, q, json, why, why_size);
    enum answer a = dearest_find(db, q, &d, &complete, why, why_size);
    if (a != ANSWER_GIVEN)
        return a;
    fprintf(json, "{\"complete\":%s,\"requests\":[", complete ? "true" : "false");
    for (size_t i = 0; i < d.count && a == ANSWER_GIVEN; i++)
        a = row_put(db, q, d.rows[i].id, json, i == 0, why, why_size);
    fputs("]}", json);
    return a;
}

/* ---- one --------------------------------------------------------------------------------------------------------- */

/* By its id text within the period: the index by time narrows the search. */
static enum answer id_find(sqlite3 *db, const struct question *q, int64_t *id, char *why, size_t why_size)
{
    sqlite3_stmt *s = data_ask(db, "SELECT id FROM request_row WHERE started_us >= :from_us AND started_us < :to_us AND request_id = :request_id"
                                   " ORDER BY started_us DESC LIMIT 1", q);
    int rc = s == NULL ? SQLITE_ERROR : sqlite3_step(s);

    *id = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    return data_end(db, s, rc == SQLITE_ROW ? SQLITE_DONE : rc, why, why_size);
}

enum answer answer_request(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size)
{
    struct question one = *q;
    enum answer a = ANSWER_GIVEN;

    if (q->id == 0 && q->request_id == NULL) {
        snprintf(why, why_size, "id: a request's number, or request_id: its id, with from and to");
        return ANSWER_BAD;
    }
    if (q->id == 0 && (a = id_find(db, q, &one.id, why, why_size)) != ANSWER_GIVEN)
        return a;
    sqlite3_stmt *s = data_ask(db,
        "SELECT v.* FROM request AS v JOIN request_row AS r ON r.id = v.id JOIN who AS w ON w.id = r.who WHERE v.id = :id AND " DATA_SCOPE, &one);
    int rc = s == NULL ? SQLITE_ERROR : sqlite3_step(s);
    bool found = rc == SQLITE_ROW;
    if (found) {
        fputs("{\"request\":", json);
        json_row(json, s);
        rc = SQLITE_DONE;
    }
    a = data_end(db, s, rc, why, why_size);
    if (a != ANSWER_GIVEN || !found)
        return a != ANSWER_GIVEN ? a : ANSWER_UNKNOWN;
    fputs(",\"attempts\":", json);
    a = rows_put(db, &one, "SELECT number, provider_group, provider, model, http_status, outcome, first_byte_us, total_us, started_us,"
                           " provider_request_id FROM attempt WHERE request = :id ORDER BY number", json, why, why_size);
    if (a != ANSWER_GIVEN)
        return a;
    fputs(",\"corrections\":", json);
    a = rows_put(db, &one, "SELECT reason, known_by, cost_nano, booked_us, account_us FROM correction WHERE request = :id ORDER BY id", json,
                 why, why_size);
    fputc('}', json);
    return a;
}
