/* Roll-ups, and what is newer than they are, equal the rows: at any moment, whatever the order, over restarts, archives and migrations. */
#include "fixture.h"

#include "ledger/peers.h"
#include "ledger/rollup.h"

#include <string.h>
#include <time.h>

enum { REQUESTS = 3000, USERS = 30, OPS = 3 * REQUESTS, LAG = 40, CHUNK = 64 };

extern const char *const ledger_migrations[];

static struct ledger *open_small(const char *file)
{
    char why[300];
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = file, .rollup_lag = LAG, .rollup_chunk = CHUNK, .batch_max = 50 }, why, sizeof why);
    if (!l)
        fail_msg("%s", why);
    return l;
}

#define FIGURES(t)                                                                                                     \
    "sum(" t "settled) || ' ' || sum(" t "denied) || ' ' || sum(" t "corrections) || ' ' || sum(" t "input + " t "output) || ' ' || sum(" t       \
    "cost_nano) || ' ' || sum(" t "saved_nano) || ' ' || sum(" t "discount_nano) || ' ' || sum(" t "cache_answers) || ' ' || sum(" t          \
    "prompt_saved_nano) || ' ' || sum(" t "fallback_answers) || ' ' || sum(" t "fallback_nano) || ' ' || sum(" t "counted) || ' ' || sum(" t   \
    "counted_nano) || ' ' || sum(" t "bounded) || ' ' || sum(" t "bounded_nano) || ' ' || sum(" t "uncharged) || ' ' || sum(" t "correction_nano)"

/* In one snapshot: each view against the rows themselves, figure by figure. */
static void check_sums(const char *file)
{
    static const char raw[] =
        "SELECT (SELECT sum(state = 1) || ' ' || sum(state = 2) || ' ' || (SELECT count(*) FROM correction_row) || ' ' ||"
        " (sum(iif(state = 0, 0, coalesce(input + output, 0))) + (SELECT coalesce(sum(input + output), 0) FROM correction_row)) || ' ' ||"
        " (sum(cost_nano) + (SELECT coalesce(sum(cost_nano), 0) FROM correction_row)) || ' ' || sum(saved_nano) || ' ' ||"
        " (sum(discount_nano) + (SELECT coalesce(sum(discount_nano), 0) FROM correction_row)) || ' ' || sum(saved_nano > 0) || ' ' ||"
        " sum(prompt_saved_nano) || ' ' || sum(fallback = 1 AND outcome = 'ok') || ' ' || sum(iif(fallback = 1 AND outcome = 'ok', cost_nano, 0))"
        " || ' ' || sum(state = 1 AND known_by = 2) || ' ' || sum(iif(known_by = 2, cost_nano, 0)) || ' ' || sum(state = 1 AND known_by = 3) || ' ' ||"
        " sum(iif(known_by = 3, cost_nano, 0)) || ' ' || sum(state = 1 AND known_by = 4) || ' ' ||"
        " (SELECT coalesce(sum(cost_nano), 0) FROM correction_row) FROM request_row)"
        " = (SELECT " FIGURES("") " FROM %s)";
    static const char *const views[] = { "quarters", "days", "user_days", "user_months" };
    char sql[3000];
    if (query(file, "SELECT count(*) FROM request_row WHERE state <> 0") == 0)
        return;
    for (int i = 0; i < 4; i++) {
        snprintf(sql, sizeof sql, raw, views[i]);
        if (query(file, sql) != 1)
            fail_msg("%s differ from the rows", views[i]);
    }
    assert_int_equal(query(file, "SELECT count(*) FROM rollup_mismatch"), 0);
    assert_int_equal(query(file, "SELECT (SELECT coalesce(sum(requests), 0) FROM denials_by_day) - (SELECT count(*) FROM request_row WHERE state = 2)"), 0);
    assert_int_equal(query(file, "SELECT (SELECT sum(requests) FROM certainty_by_day) - (SELECT count(*) FROM request_row WHERE state = 1)"), 0);
}

/* Requests far above their peers' median are all kept, with what they cost now. */
static void check_outliers(const char *file)
{
    assert_int_equal(query(file, "SELECT count(*) FROM outlier_row AS o JOIN request_row AS r ON r.id = o.request WHERE o.cost_nano <>"
                                 " r.cost_nano + (SELECT coalesce(sum(cost_nano), 0) FROM correction_row AS c WHERE c.request = r.id)"), 0);
    assert_int_equal(query(file, "WITH n AS (SELECT month, peers, cost_nano, requests, sum(requests) OVER w AS upto, sum(requests) OVER"
                                 " (PARTITION BY month, peers) AS total FROM cost_histogram_row WINDOW w AS (PARTITION BY month, peers ORDER BY cost_nano)),"
                                 " m AS (SELECT month, peers, min(cost_nano) AS median FROM n WHERE upto > (total - 1) / 2 GROUP BY 1, 2),"
                                 " far AS (SELECT m.month, m.peers, median, (SELECT sum(requests) FROM cost_histogram_row AS h WHERE h.month = m.month"
                                 " AND h.peers = m.peers AND h.cost_nano >= 20 * median) AS wanted, (SELECT count(*) FROM outlier_row AS o WHERE"
                                 " o.month = m.month AND o.peers = m.peers AND o.cost_nano >= 20 * median) AS got FROM m)"
                                 " SELECT count(*) FROM far WHERE wanted <> got"), 0);
    assert_true(query(file, "SELECT count(*) FROM outlier_row") > 0);
}

static struct ledger_op random_settlement(int64_t id, unsigned *seed)
{
    struct ledger_op s = settlement(id, 1000 + rand_r(seed) % 9000);
    if (rand_r(seed) % 50 == 0)
        s.settlement.cost_nano *= 300;
    s.settlement.usage.input = rand_r(seed) % 5000;
    s.settlement.known_by = (enum known_by)(1 + rand_r(seed) % 4);
    s.settlement.fallback = rand_r(seed) % 4 == 0;
    s.settlement.outcome = rand_r(seed) % 6 ? SLICE_LIT("ok") : SLICE_LIT("provider_error");
    s.settlement.discount_nano = rand_r(seed) % 3 ? 0 : rand_r(seed) % 1000;
    s.settlement.prompt_saved_nano = rand_r(seed) % 3 ? 0 : rand_r(seed) % 1000;
    if (rand_r(seed) % 5 == 0)
        s.settlement.served = (struct ledger_target){ SLICE_LIT("azure"), SLICE_LIT("azure"), SLICE_LIT("gpt-4o"), SLICE_LIT("azure-2") };
    if (rand_r(seed) % 7 == 0)
        s.settlement.served = (struct ledger_target){ .group = SLICE_NONE };
    return s;
}

static char users[USERS][16];

static int random_operations(struct ledger_op *ops, unsigned *seed)
{
    int n = 0, settle_later[64], later = 0;
    for (int i = 0; i < USERS; i++)
        snprintf(users[i], sizeof users[i], "user-%d", i);
    for (int i = 1; i <= REQUESTS; i++) {
        int64_t at = T0 + (int64_t)(rand_r(seed) % (70 * 86400)) * 1000000;
        int kind = rand_r(seed) % 20;
        ops[n] = decision(i, at, kind < 2 ? LEDGER_DENIED : kind == 2 ? LEDGER_SETTLED : LEDGER_OPEN);
        ops[n].decision.saved_nano = kind == 2 ? 55 : 0;
        ops[n].decision.who.user = slice_cstr(users[rand_r(seed) % USERS]);
        ops[n].decision.who.team = rand_r(seed) % 2 ? SLICE_LIT("search") : SLICE_LIT("ads");
        n++;
        if (kind <= 2)
            continue;
        if (kind == 3 && later < 64) { /* long after newer ones were taken in */
            settle_later[later++] = i;
            continue;
        }
        ops[n++] = random_settlement(i, seed);
        if (kind < 8)
            ops[n++] = correction(i - rand_r(seed) % (i < 300 ? i : 300), at + DAY_US, (int64_t)(rand_r(seed) % 1500) - 500);
    }
    while (later > 0)
        ops[n++] = random_settlement(settle_later[--later], seed);
    return n;
}

static void wait_until_idle(struct answer *a)
{
    pthread_mutex_lock(&a->lock);
    while (a->missing)
        pthread_cond_wait(&a->come, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static void equal_the_rows_at_any_moment(void **state)
{
    struct place p;
    const char *given = getenv("TOLLGATE_SEED"); /* other operations than in every run */
    unsigned seed = given ? (unsigned)atoi(given) : 1;
    (void)state;
    print_message("TOLLGATE_SEED=%u\n", seed);
    place_make(&p);
    struct ledger *l = open_small(p.file);
    struct ledger_op *ops = calloc(OPS, sizeof *ops);
    struct answer a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, LEDGER_OK };
    int n = random_operations(ops, &seed);
    for (int i = 0; i < n; i++) {
        pthread_mutex_lock(&a.lock);
        a.missing++;
        pthread_mutex_unlock(&a.lock);
        ops[i].done = on_answer;
        ops[i].user = &a;
        ledger_submit(l, &ops[i]);
        if (i % 997 == 996) {
            check_sums(p.file); /* traffic goes on */
            wait_until_idle(&a);
            check_sums(p.file);
        }
        if (i % 2500 == 2499) {
            ledger_close(l);
            l = open_small(p.file);
        }
    }
    wait_until_idle(&a);
    ledger_close(l);
    check_sums(p.file);
    check_outliers(p.file);
    int64_t rolled = query(p.file, "SELECT value FROM ledger_note WHERE name = 'rolled'");
    assert_in_range(rolled, REQUESTS / 2, REQUESTS - LAG);
    assert_true(query(p.file, "SELECT count(*) FROM correction_row") > 300);
    free(ops);
    place_remove(&p);
}

/* Rows leave, sums stay: also those of rows that were too new for the roll-ups. */
static void sums_stay_when_rows_leave(void **state)
{
    struct place p;
    char archive[140], why[300];
    int64_t moved;
    (void)state;
    place_make(&p);
    snprintf(archive, sizeof archive, "%s/old.db", p.dir);
    struct ledger *l = open_ledger(p.file);
    for (int i = 1; i <= 120; i++) {
        struct ledger_op d = decision(i, i <= 100 ? T0 : T0 + 3 * DAY_US, LEDGER_OPEN), s = settlement(i, i);
        assert_int_equal(submit(l, &d), LEDGER_OK);
        assert_int_equal(submit(l, &s), LEDGER_OK);
    }
    assert_int_equal(query(p.file, "SELECT count(*) FROM rollup_row"), 0);
    assert_int_equal(ledger_archive(l, archive, T0 + DAY_US, &moved, why, sizeof why), 0);
    assert_int_equal(moved, 100);
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM quarters"), 120 * 121 / 2);
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM user_months"), 120 * 121 / 2);
    assert_int_equal(query(p.file, "SELECT sum(requests) FROM cost_histogram_row"), 100);
    struct ledger_op c = correction(115, T0 + 3 * DAY_US, 7);
    assert_int_equal(submit(l, &c), LEDGER_OK);
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM days"), 120 * 121 / 2 + 7);
    assert_int_equal(query(p.file, "SELECT count(*) FROM rollup_mismatch"), 0);
    ledger_close(l);
    place_remove(&p);
}

/* A file of the first schema is brought up to date, with sums for all it holds. */
static void a_file_of_schema_1_is_migrated(void **state)
{
    static const char fill[] =
        "INSERT INTO account VALUES (1, 'acme', 'search', 'bot', 'cc'), (2, 'acme', 'ads', 'bot', 'cc');"
        "INSERT INTO who VALUES (1, 'acme', 'search', 'ann', 'bot', 'cc', 's', 'i', 1), (2, 'acme', 'search', 'bob', 'bot', 'cc', 't', 'i', 1),"
        " (3, 'acme', 'ads', 'eve', 'bot', 'cc', 'u', 'i', 2);"
        "INSERT INTO target VALUES (1, 'openai', 'openai', 'gpt-4o'), (2, 'azure', 'azure', 'gpt-4o');"
        "INSERT INTO price_version VALUES (7, 'h', 's', 1, 1);"
        "INSERT INTO price VALUES (7, 'openai', 'gpt-4o', 0, 0, 2500000, 1250000, 2500000, 2500000, 10000000, 10000000, 0, 0, 0, 3, 3, 0, 0, 0, 0);"
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
        " INSERT INTO request_row (id, request_id, started_us, who, state, endpoint, stream, alias, plan, hold_nano, deny_reason, http_status, known_by,"
        " outcome, served, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio, output_audio, cost_nano,"
        " saved_nano, price_version, fallback) SELECT i, 'r' || i, 1790000000000000 + i * 7200000000, i % 3 + 1, i % 10 <> 0, 0, 0, 'chat', 1, 5000,"
        " NULL, 200, i % 4 + 1, 'ok', i % 2 + 1, 50, i % 5, 0, 0, 20, 0, 0, 0, i * 13, 0, 7, i % 2 FROM n;"
        "UPDATE request_row SET state = 2, deny_reason = 'budget', http_status = 429, cost_nano = 0, served = NULL, known_by = 4, fallback = NULL,"
        " input = NULL, input_cached = NULL, output = NULL, outcome = NULL WHERE id % 11 = 0;"
        "UPDATE request_row SET served = NULL, known_by = 0, cost_nano = 0, fallback = NULL, input = NULL, outcome = NULL WHERE state = 0;"
        "INSERT INTO correction_row (request, booked_us, account_us, reason, known_by, input, input_cached, input_cache_write, input_cache_write_1h,"
        " output, output_reasoning, input_audio, output_audio, cost_nano, price_version)"
        " SELECT id, started_us, started_us, 'repriced', 1, 0, 0, 0, 0, 0, 0, 0, 0, -3, 7 FROM request_row WHERE state = 1 AND id % 9 = 0;"
        "INSERT INTO rollup_row SELECT slot, who, target, sum(settled), sum(denied), sum(corrections), sum(input), sum(cached), 0, 0, sum(output), 0, 0, 0,"
        " sum(cost), 0 FROM (SELECT started_us / 900000000 * 900 AS slot, who, coalesce(served, plan) AS target, state = 1 AS settled, state = 2 AS denied,"
        " 0 AS corrections, coalesce(input, 0) AS input, coalesce(input_cached, 0) AS cached, coalesce(output, 0) AS output, cost_nano AS cost"
        " FROM request_row WHERE state <> 0 UNION ALL SELECT c.account_us / 900000000 * 900, r.who, coalesce(r.served, r.plan), 0, 0, 1, 0, 0, 0,"
        " c.cost_nano FROM correction_row AS c JOIN request_row AS r ON r.id = c.request) GROUP BY 1, 2, 3;"
        "UPDATE ledger_note SET value = 900 WHERE name = 'last_id';"
        "PRAGMA user_version = 1;";
    struct place p;
    sqlite3 *db;
    char *error = NULL, mark[100];
    (void)state;
    place_make(&p);
    /* The application id is whatever this program writes. */
    struct ledger *l = open_ledger(p.file);
    ledger_close(l);
    snprintf(mark, sizeof mark, "PRAGMA application_id = %lld", (long long)query(p.file, "PRAGMA application_id"));
    assert_int_equal(unlink(p.file), 0);
    assert_int_equal(sqlite3_open(p.file, &db), SQLITE_OK);
    if (sqlite3_exec(db, ledger_migrations[0], NULL, NULL, &error) != SQLITE_OK || sqlite3_exec(db, fill, NULL, NULL, &error) != SQLITE_OK ||
        sqlite3_exec(db, mark, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s", error);
    sqlite3_close(db);
    l = open_ledger(p.file);
    assert_int_equal(query(p.file, "SELECT count(*) FROM token_learned"), 0);
    check_sums(p.file);
    assert_true(query(p.file, "SELECT sum(prompt_saved_nano) FROM days") > 0);
    /* What was open is settled now, older than the roll-ups. */
    int64_t id = query(p.file, "SELECT min(id) FROM open_holds");
    struct ledger_op s = settlement(id, 77), d = decision(ledger_next_id(l), T0, LEDGER_DENIED);
    assert_int_equal(submit(l, &s), LEDGER_OK);
    assert_int_equal(submit(l, &d), LEDGER_OK);
    check_sums(p.file);
    ledger_close(l);
    place_remove(&p);
}

static void months_and_rounded_costs(void **state)
{
    (void)state;
    for (int64_t t = 0; t < INT64_C(4102444800); t += 86400 * 3 + 4321) {
        struct tm tm;
        time_t seconds = (time_t)t;
        gmtime_r(&seconds, &tm);
        tm.tm_mday = 1;
        tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
        assert_int_equal(rollup_month(t), timegm(&tm));
    }
    assert_int_equal(peers_round(7), 7);
    assert_int_equal(peers_round(99), 99);
    assert_int_equal(peers_round(100), 100);
    assert_int_equal(peers_round(4289123), 4200000);
    assert_int_equal(peers_round(INT64_C(1000000000000000)), INT64_C(1000000000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_the_rows_at_any_moment), cmocka_unit_test(sums_stay_when_rows_leave),
        cmocka_unit_test(a_file_of_schema_1_is_migrated), cmocka_unit_test(months_and_rounded_costs)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
