#include "console/answers.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DAY_S = 86400, LINES = 8, GROUPS = 200, SQL = 3072 };

/* ---- spend ------------------------------------------------------------------------------------------------------- */

/* The view of sql/views.sql that holds the sums, and whom its rows are of. */
struct source {
    const char *sums, *who, *user;
};

/* Whole days are read from the sums by day; without users in question from those by account, which are the fewest. */
static struct source source_of(const struct question *q)
{
    static const char user[] = " AND (:user IS NULL OR w.user_name = :user)";

    if (q->step_s % DAY_S != 0 || q->from_s % DAY_S != 0 || q->to_s % DAY_S != 0)
        return (struct source){ "quarters", "who", user };
    if (q->user != NULL || strcmp(q->by, "user") == 0)
        return (struct source){ "user_days", "who", user };
    return (struct source){ "days", "account", "" };
}

static const char *name_of(const char *by)
{
    static const char *const names[][2] = { { "team", "w.team" }, { "user", "w.user_name" }, { "model", "coalesce(t.model, '')" },
                                            { "provider", "coalesce(t.provider, '')" } };
    for (size_t i = 0; by != NULL && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], by) == 0)
            return names[i][1];
    return NULL;
}

/* Grouped by small integers first; names are joined to what is left. The period before is as long as the period. */
static sqlite3_stmt *sums_ask(sqlite3 *db, const struct question *q, const char *name)
{
    char sql[SQL];
    struct source from = source_of(q);

    snprintf(sql, sizeof sql,
             "SELECT %s AS name, sum(cost) AS cost, sum(cost_before), sum(requests), sum(denied), sum(tokens_in), sum(tokens_cached),"
             " sum(tokens_out), sum(saved) FROM (SELECT who, target, sum(iif(slot >= :from, cost_nano, 0)) AS cost,"
             " sum(iif(slot < :from, cost_nano, 0)) AS cost_before, sum(iif(slot >= :from, settled + denied, 0)) AS requests,"
             " sum(iif(slot >= :from, denied, 0)) AS denied, sum(iif(slot >= :from, input + input_cached + input_cache_write +"
             " input_cache_write_1h + input_audio, 0)) AS tokens_in, sum(iif(slot >= :from, input_cached, 0)) AS tokens_cached,"
             " sum(iif(slot >= :from, output + output_reasoning + output_audio, 0)) AS tokens_out,"
             " sum(iif(slot >= :from, saved_nano, 0)) AS saved"
             " FROM %s WHERE slot >= 2 * :from - :to AND slot < :to GROUP BY who, target) AS u"
             " JOIN %s AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target"
             " WHERE " DATA_FILTER "%s GROUP BY 1 ORDER BY 2 DESC, 4 DESC, 1",
             name, from.sums, from.who, from.user);
    return data_ask(db, sql, q);
}

static sqlite3_stmt *lines_ask(sqlite3 *db, const struct question *q, const char *name)
{
    char sql[SQL];
    struct source from = source_of(q);

    snprintf(sql, sizeof sql,
             "SELECT (SELECT key FROM json_each(:names) WHERE value = %s) AS line, u.bucket, sum(u.cost)"
             " FROM (SELECT (slot - :from) / :step AS bucket, who, target, sum(cost_nano) AS cost FROM %s"
             " WHERE slot >= :from AND slot < :to GROUP BY 1, 2, 3) AS u"
             " JOIN %s AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target WHERE " DATA_FILTER "%s GROUP BY 1, 2",
             name, from.sums, from.who, from.user);
    return data_ask(db, sql, q);
}

static void group_put(FILE *json, sqlite3_stmt *s, bool first)
{
    static const char *const names[] = { "name", "cost", "cost_before", "requests", "denied", "tokens_in", "tokens_cached", "tokens_out",
                                         "saved" };
    for (int i = 0; i < 9; i++) {
        fprintf(json, "%s\"%s\":", i > 0 ? "," : first ? "{" : ",{", names[i]);
        json_column(json, s, i);
    }
    fputc('}', json);
}

/* Groups in the order of their cost; the first LINES names go into `names`, a JSON array. */
static enum answer sums_put(sqlite3 *db, sqlite3_stmt *s, FILE *json, FILE *names, char *why, size_t why_size)
{
    int64_t total[9] = { 0 };
    int rc = SQLITE_ERROR, n = 0;

    fputs("\"groups\":[", json);
    while (s != NULL && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        for (int i = 1; i < 9; i++)
            total[i] += sqlite3_column_int64(s, i);
        if (n < LINES) {
            fputs(n > 0 ? "," : "", names);
            json_column(names, s, 0);
        }
        if (n++ < GROUPS)
            group_put(json, s, n == 1);
    }
    fprintf(json, "],\"count\":%d,\"total\":{\"cost\":%" PRId64 ",\"cost_before\":%" PRId64 ",\"requests\":%" PRId64 ",\"denied\":%" PRId64
            ",\"tokens_in\":%" PRId64 ",\"tokens_cached\":%" PRId64 ",\"tokens_out\":%" PRId64 ",\"saved\":%" PRId64 "}",
            n, total[1], total[2], total[3], total[4], total[5], total[6], total[7], total[8]);
    return data_end(db, s, rc, why, why_size);
}

/* [line, bucket, cost] triples; line null: all that have none of their own. */
static enum answer lines_put(sqlite3 *db, sqlite3_stmt *s, const char *names, FILE *json, char *why, size_t why_size)
{
    int rc = SQLITE_ERROR, n = 0;

    if (s != NULL)
        data_bind_text(s, ":names", names);
    fprintf(json, ",\"lines\":%s,\"points\":[", names);
    while (s != NULL && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        fputs(n++ > 0 ? ",[" : "[", json);
        json_column(json, s, 0);
        fprintf(json, ",%" PRId64 ",%" PRId64 "]", (int64_t)sqlite3_column_int64(s, 1), (int64_t)sqlite3_column_int64(s, 2));
    }
    fputc(']', json);
    return data_end(db, s, rc, why, why_size);
}

enum answer answer_spend(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size)
{
    const char *name = name_of(q->by);
    char *text = NULL;
    size_t n = 0;

    if (name == NULL) {
        snprintf(why, why_size, "by: team, model, user or provider");
        return ANSWER_BAD;
    }
    FILE *names = open_memstream(&text, &n);
    if (names == NULL)
        return ANSWER_FAILED;
    fputc('[', names);
    fprintf(json, "{\"from\":%" PRId64 ",\"to\":%" PRId64 ",\"step\":%" PRId64 ",\"by\":\"%s\",", q->from_s, q->to_s, q->step_s, q->by);
    enum answer a = sums_put(db, sums_ask(db, q, name), json, names, why, why_size);
    fputc(']', names);
    if (fclose(names) != 0 && a == ANSWER_GIVEN)
        a = ANSWER_FAILED;
    if (a == ANSWER_GIVEN)
        a = lines_put(db, lines_ask(db, q, name), text, json, why, why_size);
    free(text);
    fputc('}', json);
    return a;
}

/* ---- forecast ------------------------------------------------------------------------------------------------------ */

static int64_t month_start(int64_t at_s)
{
    time_t t = (time_t)at_s;
    struct tm tm;

    gmtime_r(&t, &tm);
    return at_s - at_s % DAY_S - (int64_t)(tm.tm_mday - 1) * DAY_S;
}

static int64_t month_end(int64_t start_s)
{
    return month_start(start_s + 31 * (int64_t)DAY_S);
}

/* used * length / elapsed, rounded half up: as `tollgatectl report --kind burn` has it. */
static int64_t scaled(int64_t used, int64_t length, int64_t elapsed)
{
    __int128 v = elapsed > 0 ? ((__int128)used * length * 2 + elapsed) / ((__int128)elapsed * 2) : used;
    return v > INT64_MAX ? INT64_MAX : v < INT64_MIN ? INT64_MIN : (int64_t)v;
}

static void forecast_put(FILE *json, sqlite3_stmt *s, int64_t at, int64_t day, int64_t month, bool first)
{
    int64_t today = sqlite3_column_int64(s, 1), so_far = sqlite3_column_int64(s, 3);

    fputs(first ? "{\"team\":" : ",{\"team\":", json);
    json_column(json, s, 0);
    fprintf(json, ",\"today\":%" PRId64 ",\"day_forecast\":%" PRId64 ",\"yesterday\":%" PRId64 ",\"month\":%" PRId64
            ",\"month_forecast\":%" PRId64 "}",
            today, scaled(today, DAY_S, at - day), (int64_t)sqlite3_column_int64(s, 2), so_far,
            scaled(so_far, month_end(month) - month, at - month));
}

enum answer answer_forecast(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size)
{
    int64_t at = q->now_us / 1000000, day = at - at % DAY_S, month = month_start(at);
    int64_t first = month < day - DAY_S ? month : day - DAY_S;
    int rc = SQLITE_ERROR, n = 0;
    struct question mine = *q;

    mine.from_s = first;
    mine.to_s = at;
    mine.team = mine.model = mine.user = NULL;
    sqlite3_stmt *s = data_ask(db,
        "SELECT w.team, sum(iif(u.slot >= :day, u.cost, 0)) AS today, sum(iif(u.slot >= :day - 86400 AND u.slot < :day, u.cost, 0)),"
        " sum(iif(u.slot >= :month, u.cost, 0)) AS so_far FROM"
        " (SELECT slot, who, sum(cost_nano) AS cost FROM days WHERE slot >= :from AND slot < :day GROUP BY 1, 2 UNION ALL"
        "  SELECT q.slot, x.account, sum(q.cost_nano) FROM quarters AS q JOIN who AS x ON x.id = q.who"
        "  WHERE q.slot >= :day AND q.slot < :to GROUP BY 1, 2) AS u JOIN account AS w ON w.id = u.who"
        " WHERE " DATA_SCOPE " GROUP BY 1 HAVING today OR so_far ORDER BY 2 DESC, 4 DESC, 1 LIMIT 200", &mine);
    if (s != NULL) {
        data_bind(s, ":day", day);
        data_bind(s, ":month", month);
    }
    fprintf(json, "{\"at\":%" PRId64 ",\"teams\":[", at);
    while (s != NULL && (rc = sqlite3_step(s)) == SQLITE_ROW)
        forecast_put(json, s, at, day, month, n++ == 0);
    fputs("]}", json);
    return data_end(db, s, rc, why, why_size);
}

/* ---- holds ---------------------------------------------------------------------------------------------------------- */

enum answer answer_holds(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size)
{
    sqlite3_stmt *s = data_ask(db,
        "SELECT count(*) AS requests, coalesce(sum(r.hold_nano), 0) AS money FROM request_row AS r INDEXED BY request_open"
        " JOIN who AS w ON w.id = r.who WHERE r.state = 0 AND " DATA_SCOPE " AND (:team IS NULL OR w.team = :team)", q);
    int rc = s == NULL ? SQLITE_ERROR : sqlite3_step(s);

    if (rc == SQLITE_ROW) {
        json_row(json, s);
        rc = SQLITE_DONE;
    }
    return data_end(db, s, rc, why, why_size);
}

/* ---- savings ------------------------------------------------------------------------------------------------------- */

enum answer answer_savings(sqlite3 *db, const struct question *q, FILE *json, char *why, size_t why_size)
{
    int rc = SQLITE_ERROR, n = 0;
    sqlite3_stmt *s = data_ask(db,
        "SELECT coalesce(t.provider, '') AS provider, coalesce(t.model, '') AS model, sum(u.saved) AS saved, sum(u.cached) AS tokens_cached,"
        " sum(u.tokens_in) AS tokens_in, sum(u.prompt) AS prompt_saved"
        " FROM (SELECT who, target, sum(saved_nano) AS saved, sum(prompt_saved_nano) AS prompt, sum(input_cached) AS cached,"
        "  sum(input + input_cached + input_cache_write + input_cache_write_1h + input_audio) AS tokens_in"
        "  FROM quarters WHERE slot >= :from AND slot < :to GROUP BY 1, 2) AS u"
        " JOIN who AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target"
        " WHERE " DATA_FILTER " AND (:user IS NULL OR w.user_name = :user)"
        " GROUP BY 1, 2 HAVING saved > 0 OR tokens_cached > 0 ORDER BY saved + prompt_saved DESC LIMIT 50", q);

    fputs("{\"rows\":[", json);
    while (s != NULL && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        fputs(n++ > 0 ? "," : "", json);
        json_row(json, s);
    }
    fputs("]}", json);
    return data_end(db, s, rc, why, why_size);
}
