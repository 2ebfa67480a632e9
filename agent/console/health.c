#include "console/answers.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- latency --------------------------------------------------------------------------------------------------- */

enum { SAMPLES = 40000, PROVIDERS = 32, BUCKETS = 48 };

struct sample {
    int64_t ttft, tpot, own; /* -1: unknown */
    int16_t provider, bucket;
};

struct latency {
    struct sample *samples;
    size_t count;
    char *providers[PROVIDERS];
    size_t provider_count;
    int64_t *sorted; /* room for `count` */
};

static int16_t provider_index(struct latency *l, const char *name)
{
    for (size_t i = 0; i < l->provider_count; i++)
        if (strcmp(l->providers[i], name) == 0)
            return (int16_t)i;
    if (l->provider_count == PROVIDERS || (l->providers[l->provider_count] = strdup(name)) == NULL)
        return -1;
    return (int16_t)l->provider_count++;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

enum figure { FIRST_BYTE, PER_TOKEN, OWN };

/* The known figures of one provider (-1: all) and bucket (-1: all), in ascending order. */
static size_t figures_sort(struct latency *l, enum figure which, int provider, int bucket)
{
    size_t n = 0;

    for (size_t i = 0; i < l->count; i++) {
        const struct sample *s = &l->samples[i];
        int64_t v = which == FIRST_BYTE ? s->ttft : which == PER_TOKEN ? s->tpot : s->own;
        if (v >= 0 && (provider < 0 || s->provider == provider) && (bucket < 0 || s->bucket == bucket))
            l->sorted[n++] = v;
    }
    qsort(l->sorted, n, sizeof *l->sorted, ascending);
    return n;
}

/* Nearest rank: the smallest value that at least `percent` of all are at or below. */
static int64_t percentile(const int64_t *sorted, size_t n, unsigned percent)
{
    size_t rank = (n * percent + 99) / 100;
    return sorted[rank > 0 ? rank - 1 : 0];
}

static void percentiles_put(struct latency *l, const char *name, enum figure which, int provider, FILE *json)
{
    size_t n = figures_sort(l, which, provider, -1);

    fprintf(json, ",\"%s\":", name);
    if (n == 0)
        fputs("null", json);
    else
        fprintf(json, "{\"n\":%zu,\"p50\":%" PRId64 ",\"p95\":%" PRId64 ",\"p99\":%" PRId64 "}", n, percentile(l->sorted, n, 50),
                percentile(l->sorted, n, 95), percentile(l->sorted, n, 99));
}

static void provider_put(struct latency *l, int i, FILE *json)
{
    fputs(i > 0 ? ",{\"provider\":" : "{\"provider\":", json);
    json_text(json, l->providers[i]);
    percentiles_put(l, "ttft_us", FIRST_BYTE, i, json);
    percentiles_put(l, "tpot_ns", PER_TOKEN, i, json);
    fputs(",\"line\":[", json);
    for (int b = 0; b < BUCKETS; b++) {
        size_t n = figures_sort(l, FIRST_BYTE, i, b);
        fputs(b > 0 ? "," : "", json);
        if (n == 0)
            fputs("null", json);
        else
            fprintf(json, "%" PRId64, percentile(l->sorted, n, 95));
    }
    fputs("]}", json);
}

static int64_t known(sqlite3_stmt *s, int column)
{
    return sqlite3_column_type(s, column) == SQLITE_NULL ? -1 : sqlite3_column_int64(s, column);
}

static enum answer edge(sqlite3 *db, const struct question *q, const char *sql, int64_t *id, char *why, size_t why_size)
{
    sqlite3_stmt *s = data_ask(db, sql, q);
    int rc = s == NULL ? SQLITE_ERROR : sqlite3_step(s);

    *id = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    return data_end(db, s, rc == SQLITE_ROW ? SQLITE_DONE : rc, why, why_size);
}

/* Ids ascend with time: of a period with more requests than SAMPLES, every n-th is read. */
static enum answer samples_read(sqlite3 *db, const struct question *q, struct latency *l, int64_t *every, char *why, size_t why_size)
{
    int64_t first, last;
    int rc = SQLITE_ERROR;
    enum answer a = edge(db, q, "SELECT id FROM request_row WHERE started_us >= :from_us AND started_us < :to_us ORDER BY started_us LIMIT 1",
                         &first, why, why_size);
    if (a == ANSWER_GIVEN)
        a = edge(db, q, "SELECT id FROM request_row WHERE started_us >= :from_us AND started_us < :to_us ORDER BY started_us DESC LIMIT 1",
                 &last, why, why_size);
    if (a != ANSWER_GIVEN)
        return a;
    *every = (last - first) / SAMPLES + 1;
    sqlite3_stmt *s = data_ask(db,
        "WITH RECURSIVE pick (id) AS (SELECT :first UNION ALL SELECT id + :every FROM pick WHERE id + :every <= :last)"
        " SELECT (r.started_us - :from_us) * :buckets / (:to_us - :from_us), coalesce(t.provider, ''), r.ttft_us, r.tpot_ns,"
        " r.identity_us + r.tokens_us + r.budget_us + coalesce(r.commit_us, 0)"
        " FROM pick JOIN request_row AS r ON r.id = pick.id JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan)"
        " WHERE r.state = 1 AND r.started_us >= :from_us AND r.started_us < :to_us AND " DATA_FILTER
        " AND (:user IS NULL OR w.user_name = :user)", q);
    if (s != NULL) {
        data_bind(s, ":first", first);
        data_bind(s, ":last", last);
        data_bind(s, ":every", *every);
        data_bind(s, ":buckets", BUCKETS);
    }
    while (s != NULL && (rc = sqlite3_step(s)) == SQLITE_ROW && l->count <= SAMPLES)
        l->samples[l->count++] = (struct sample){
            .bucket = (int16_t)sqlite3_column_int(s, 0), .provider = provider_index(l, (const char *)sqlite3_column_text(s, 1)),
            .ttft = known(s, 2), .tpot = known(s, 3), .own = known(s, 4),
        };
    return data_end(db, s, rc == SQLITE_ROW ? SQLITE_DONE : rc, why, why_size);
}

enum answer answer_latency(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size)
{
    struct latency l = { .count = 0 };
    enum answer a = ANSWER_FAILED;
    int64_t every = 1;

    l.samples = malloc((SAMPLES + 2) * sizeof *l.samples);
    l.sorted = malloc((SAMPLES + 2) * sizeof *l.sorted);
    if (l.samples == NULL || l.sorted == NULL) {
        snprintf(why, why_size, "out of memory");
        goto out;
    }
    a = samples_read(db, q, &l, &every, why, why_size);
    fprintf(json, "{\"from\":%" PRId64 ",\"to\":%" PRId64 ",\"buckets\":%d,\"samples\":%zu,\"every\":%" PRId64, q->from_s, q->to_s, BUCKETS,
            l.count, every);
    percentiles_put(&l, "own_us", OWN, -1, json);
    fputs(",\"providers\":[", json);
    for (size_t i = 0; i < l.provider_count; i++)
        provider_put(&l, (int)i, json);
    fputs("]}", json);
out:
    for (size_t i = 0; i < l.provider_count; i++)
        free(l.providers[i]);
    free(l.samples);
    free(l.sorted);
    return a;
}

/* ---- refused, failed, rescued --------------------------------------------------------------------------------------- */

/* The index request_trouble holds just these rows (sql/migrations). `kind`: 0 refused, 1 failed, 2 answered by the fallback, 3 the client
 * went away. */
#define TROUBLE                                                                                                        \
    "SELECT (r.started_us / 1000000 - :from) / :step AS bucket, CASE WHEN r.state = 2 THEN 0 WHEN r.fallback = 1 AND r.outcome = 'ok' THEN 2"    \
    " WHEN r.outcome = 'client_abort' THEN 3 ELSE 1 END AS kind,"                                                                             \
    " CASE WHEN r.state = 2 THEN coalesce(r.deny_reason, '') ELSE coalesce(r.outcome, '') END AS reason, coalesce(t.provider, '') AS provider"  \
    " FROM request_row AS r INDEXED BY request_trouble JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan)" \
    " WHERE (r.state = 2 OR r.fallback = 1 OR r.outcome <> 'ok') AND r.started_us >= :from_us AND r.started_us < :to_us AND " DATA_FILTER         \
    " AND (:user IS NULL OR w.user_name = :user)"

enum answer answer_trouble(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size)
{
    int rc = SQLITE_ERROR, n = 0;
    sqlite3_stmt *s = data_ask(db, "SELECT bucket, kind, count(*) FROM (" TROUBLE ") GROUP BY 1, 2", q);

    fprintf(json, "{\"from\":%" PRId64 ",\"to\":%" PRId64 ",\"step\":%" PRId64 ",\"points\":[", q->from_s, q->to_s, q->step_s);
    while (s != NULL && (rc = sqlite3_step(s)) == SQLITE_ROW)
        fprintf(json, "%s[%" PRId64 ",%d,%" PRId64 "]", n++ > 0 ? "," : "", (int64_t)sqlite3_column_int64(s, 0), sqlite3_column_int(s, 1),
                (int64_t)sqlite3_column_int64(s, 2));
    enum answer a = data_end(db, s, rc, why, why_size);
    if (a != ANSWER_GIVEN)
        return a;
    s = data_ask(db, "SELECT kind, reason, provider, count(*) AS requests FROM (" TROUBLE ") GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT 50", q);
    fputs("],\"reasons\":[", json);
    for (n = 0, rc = SQLITE_ERROR; s != NULL && (rc = sqlite3_step(s)) == SQLITE_ROW; n++) {
        fputs(n > 0 ? "," : "", json);
        json_row(json, s);
    }
    fputs("]}", json);
    return data_end(db, s, rc, why, why_size);
}
