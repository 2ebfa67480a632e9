/* Archiving while operations keep coming, and stopped before its end. */
#include "fixture.h"

#include <string.h>

enum { OLD = 9000, TRAFFIC = 200 };

struct archive {
    struct ledger *l;
    char file[128], why[300];
    struct ledger_progress progress;
    int result;
};

/* Old requests, every tenth of them refused. Not one by one: each would wait for its commit. */
static void fill(struct ledger *l)
{
    struct ledger_op *ops = calloc(2 * (size_t)OLD, sizeof *ops);
    struct answer a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, LEDGER_FAILED };
    assert_non_null(ops);
    a.missing = OLD + OLD / 10 * 9;
    for (int i = 1; i <= OLD; i++) {
        struct ledger_op *d = &ops[2 * (i - 1)], *s = d + 1;
        *d = decision(i, T0, i % 10 == 0 ? LEDGER_DENIED : LEDGER_OPEN);
        *s = settlement(i, i);
        d->done = s->done = on_answer;
        d->user = s->user = &a;
        ledger_submit(l, d);
        if (i % 10 != 0)
            ledger_submit(l, s);
    }
    pthread_mutex_lock(&a.lock);
    while (a.missing)
        pthread_cond_wait(&a.come, &a.lock);
    pthread_mutex_unlock(&a.lock);
    free(ops);
}

static void *run(void *arg)
{
    struct archive *a = arg;
    a->result = ledger_archive_watched(a->l, a->file, T0 + DAY_US, &a->progress, a->why, sizeof a->why);
    return NULL;
}

static void start(struct archive *a, struct place *p)
{
    place_make(p);
    snprintf(a->file, sizeof a->file, "%s/old.db", p->dir);
    a->l = open_ledger(p->file);
    fill(a->l);
}

static void traffic_goes_on(void **state)
{
    struct archive a = { .result = -1 };
    struct place p;
    pthread_t thread;
    char sql[400];
    (void)state;
    start(&a, &p);
    assert_int_equal(pthread_create(&thread, NULL, run, &a), 0);
    for (int i = OLD + 1; i <= OLD + TRAFFIC; i++) {
        struct ledger_op d = decision(i, T0 + 40 * DAY_US, LEDGER_OPEN), s = settlement(i, 100);
        assert_int_equal(submit(a.l, &d), LEDGER_OK);
        assert_int_equal(submit(a.l, &s), LEDGER_OK);
    }
    pthread_join(thread, NULL);
    if (a.result != 0)
        fail_msg("%s", a.why);
    assert_int_equal(atomic_load(&a.progress.moved), OLD);
    ledger_close(a.l);
    assert_int_equal(query(a.file, "SELECT count(*) FROM request_row"), OLD);
    assert_int_equal(query(p.file, "SELECT count(*) FROM request_row"), TRAFFIC);
    snprintf(sql, sizeof sql, "SELECT %lld + (SELECT sum(cost_nano) FROM request_row) - (SELECT sum(cost_nano) FROM quarters)",
             (long long)query(a.file, "SELECT sum(cost_nano) FROM request_row"));
    assert_int_equal(query(p.file, sql), 0);
    assert_int_equal(query(p.file, "SELECT (SELECT sum(cost_nano) FROM quarters) - (SELECT sum(cost_nano) FROM days)"), 0);
    place_remove(&p);
}

static void stopped_and_run_again(void **state)
{
    struct archive a = { .result = 0 };
    struct place p;
    (void)state;
    start(&a, &p);
    assert_int_equal(ledger_archive_watched(a.l, p.file, T0 + DAY_US, &a.progress, a.why, sizeof a.why), -1);
    assert_non_null(strstr(a.why, "the ledger itself"));
    atomic_store(&a.progress.stop, true);
    run(&a);
    assert_int_equal(a.result, -1);
    assert_non_null(strstr(a.why, "run it again"));
    assert_int_equal(query(p.file, "SELECT count(*) FROM request_row"), OLD);
    atomic_store(&a.progress.stop, false);
    run(&a);
    assert_int_equal(a.result, 0);
    assert_int_equal(atomic_load(&a.progress.moved), OLD);
    assert_int_equal(query(p.file, "SELECT count(*) FROM request_row"), 0);
    ledger_close(a.l);
    place_remove(&p);
}

static void raise_alert(struct ledger *l, const char *event, const char *subject, int64_t at_us, bool ended)
{
    struct ledger_op op = { .kind = LEDGER_ALERT };
    op.alert = (struct ledger_alert){ .change = ALERT_NEW, .event = slice_cstr(event), .limit = SLICE_LIT("month"), .unit = SLICE_LIT("usd"),
                                      .subject = slice_cstr(subject), .body = SLICE_LIT("{}"), .percent = 80, .at_us = at_us,
                                      .once_since_us = at_us };
    assert_int_equal(submit(l, &op), LEDGER_OK);
    op.alert = (struct ledger_alert){ .change = ALERT_SENT, .event = slice_cstr(event), .attempts = 1, .ended_us = at_us + 1 };
    if (ended)
        assert_int_equal(submit(l, &op), LEDGER_OK);
}

/* The newest of each threshold stays, however old: a limit without an end is reported once by it. */
static void old_alerts_move_but_the_newest_of_each(void **state)
{
    struct archive a = { .result = -1 };
    struct place p;
    (void)state;
    place_make(&p);
    snprintf(a.file, sizeof a.file, "%s/old.db", p.dir);
    a.l = open_ledger(p.file);
    raise_alert(a.l, "1", "team=a", T0, true);
    raise_alert(a.l, "2", "team=b", T0, true);
    raise_alert(a.l, "3", "team=a", T0 + 1000, true);
    raise_alert(a.l, "4", "team=a", T0 + 2 * DAY_US, true);
    raise_alert(a.l, "5", "team=c", T0, false);
    raise_alert(a.l, "6", "team=c", T0 + 2, true);
    run(&a);
    assert_int_equal(a.result, 0);
    query_text(a.file, "SELECT group_concat(event, ' ') FROM (SELECT event FROM alert ORDER BY id)", "1 3");
    query_text(p.file, "SELECT group_concat(event, ' ') FROM (SELECT event FROM alert ORDER BY id)", "2 4 5 6");
    struct ledger_op again = { .kind = LEDGER_ALERT };
    again.alert = (struct ledger_alert){ .change = ALERT_NEW, .event = SLICE_LIT("7"), .limit = SLICE_LIT("month"), .unit = SLICE_LIT("usd"),
                                         .subject = SLICE_LIT("team=b"), .percent = 80, .at_us = T0 + 9 * DAY_US };
    assert_int_equal(submit(a.l, &again), LEDGER_STALE);
    struct ledger_op sent = { .kind = LEDGER_ALERT };
    sent.alert = (struct ledger_alert){ .change = ALERT_SENT, .event = SLICE_LIT("5"), .attempts = 2, .ended_us = T0 + DAY_US };
    assert_int_equal(submit(a.l, &sent), LEDGER_OK);
    run(&a);
    assert_int_equal(a.result, 0);
    query_text(a.file, "SELECT group_concat(event || state, ' ') FROM (SELECT * FROM alert ORDER BY id)", "1sent 3sent 5sent");
    assert_int_equal(query(p.file, "SELECT count(*) FROM alert"), 3);
    ledger_close(a.l);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(traffic_goes_on), cmocka_unit_test(stopped_and_run_again),
                                        cmocka_unit_test(old_alerts_move_but_the_newest_of_each) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
