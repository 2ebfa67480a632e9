/* Events made again of the ledger's rows: their order over pages, their bounds, what each kind tells. */
#include "../ledger/fixture.h"

#include "manage/recalling.h"

enum { MANY = 700, SEEN = 3 * MANY };

struct seen {
    struct event events[SEEN];
    char reasons[SEEN][32];
    int n, enough;
};

static bool keep(void *user, const struct event *e)
{
    struct seen *s = user;

    s->events[s->n] = *e;
    snprintf(s->reasons[s->n], sizeof s->reasons[0], "%s", e->reason != NULL ? e->reason : "");
    s->n++;
    return s->n != s->enough;
}

static void recall(const char *file, int64_t since_us, int64_t until_us, int enough, struct seen *s)
{
    char why[300];
    struct ledger_reader *r = ledger_reader_open(file, why, sizeof why);

    s->n = 0;
    s->enough = enough;
    assert_non_null(r);
    assert_int_equal(recalling_events(r, since_us, until_us, keep, s), 0);
    ledger_reader_close(r);
}

static void settle_at(struct ledger *l, int64_t id, int64_t at_us)
{
    struct ledger_op op = settlement(id, 1000 * id);
    op.settlement.settled_us = at_us;
    op.settlement.provider_request_id = SLICE_LIT("req_abc");
    assert_int_equal(submit(l, &op), LEDGER_OK);
}

static int64_t begin(struct ledger *l, int64_t started_us, enum ledger_state state)
{
    struct ledger_op op = decision(ledger_next_id(l), started_us, state);
    assert_int_equal(submit(l, &op), LEDGER_OK);
    return op.decision.id;
}

static void test_what_each_kind_tells(void **state)
{
    struct seen *s = calloc(1, sizeof *s);
    struct place p;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    int64_t settled = begin(l, T0, LEDGER_OPEN), denied = begin(l, T0 + 1000000, LEDGER_DENIED), open = begin(l, T0 + 1500000, LEDGER_OPEN);
    settle_at(l, settled, T0 + 2000000);
    struct ledger_op late = correction(settled, T0 + 3000000, 500), repriced = correction(settled, T0 + 3100000, 7);
    late.correction.usage.output = 9;
    repriced.correction.reason = SLICE_LIT("repriced");
    assert_int_equal(submit(l, &late), LEDGER_OK);
    assert_int_equal(submit(l, &repriced), LEDGER_OK);

    recall(p.file, T0, T0 + 4000000, 0, s);
    assert_int_equal(s->n, 5);
    const struct event *e = &s->events[0]; /* its stages took 3, 40 and 5 us, its commit 250 */
    assert_true(e->kind == EVENT_ALLOWED && e->ledger_id == settled && e->at_us == T0 + 298 && e->started_us == T0 && e->recalled);
    assert_true(e->hold_nano == 5000000 && e->budget_left_nano == 7000000 && e->input_counted == 100 && e->output_ceiling == 500 && e->stream);
    assert_true(e->identity_us == 3 && e->tokens_us == 40 && e->budget_us == 5 && e->commit_us == 250 && e->decision_us == -1 && e->status == 0);
    assert_string_equal(e->team, "search");
    assert_string_equal(e->cost_center, "cc-7");
    assert_string_equal(e->request_id, "0A:1B_2C");
    assert_string_equal(e->group, "openai");
    e++;
    assert_true(e->kind == EVENT_DENIED && e->ledger_id == denied && e->status == 429 && e->at_us == T0 + 1000048);
    assert_string_equal(s->reasons[1], "budget");
    e++;
    assert_true(e->kind == EVENT_ALLOWED && e->ledger_id == open && e->commit_us == -1);
    e++;
    assert_true(e->kind == EVENT_SETTLED && e->ledger_id == settled && e->at_us == T0 + 2000000 && e->status == 200 && e->known_by == KNOWN_REPORTED);
    assert_true(e->cost_nano == 1000 * settled && e->usage.input_cached == 10 && e->usage.output_reasoning == 7 && e->attempts == 1);
    assert_true(e->ttft_us == 300000 && e->tpot_ns == 9000000 && e->total_us == 900000);
    assert_string_equal(s->reasons[3], "ok");
    assert_string_equal(e->provider_id, "req_abc");
    e++;
    assert_true(e->kind == EVENT_CORRECTED && e->at_us == T0 + 3000000 && e->cost_nano == 500 && e->usage.output == 9 && e->usage.input == 0);
    assert_string_equal(s->reasons[4], LEDGER_LATE_RECORD);

    ledger_close(l);
    place_remove(&p);
    free(s);
}

/* Each takes longer than the next few hundred: what is settled later waits over pages. */
static void test_order_over_pages(void **state)
{
    struct seen *s = calloc(1, sizeof *s);
    struct place p;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    for (int i = 0; i < MANY; i++)
        begin(l, T0 + i * 1000, LEDGER_OPEN);
    for (int i = 0; i < MANY; i++)
        settle_at(l, i + 1, T0 + i * 1000 + (i % 3 == 0 ? 600000 : 500));

    recall(p.file, T0, T0 + DAY_US, 0, s);
    assert_int_equal(s->n, 2 * MANY);
    int of_kind[2] = { 0, 0 };
    for (int i = 0; i < s->n; i++) {
        assert_true(i == 0 || s->events[i - 1].at_us <= s->events[i].at_us);
        of_kind[s->events[i].kind == EVENT_SETTLED]++;
    }
    assert_int_equal(of_kind[0], MANY);
    assert_int_equal(of_kind[1], MANY);
    recall(p.file, T0, T0 + DAY_US, 300, s);
    assert_int_equal(s->n, 300); /* whoever has seen enough is shown no more */

    ledger_close(l);
    place_remove(&p);
    free(s);
}

static void test_bounds(void **state)
{
    struct seen *s = calloc(1, sizeof *s);
    struct place p;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    int64_t long_ago = begin(l, T0 - RECALLING_EARLIER_US - 1, LEDGER_OPEN), before = begin(l, T0 - 60000000, LEDGER_OPEN);
    int64_t within = begin(l, T0 + 1000, LEDGER_OPEN), after = begin(l, T0 + 1000000, LEDGER_OPEN);
    settle_at(l, long_ago, T0 + 10);
    settle_at(l, before, T0 + 20);
    settle_at(l, within, T0 + 2000000);
    settle_at(l, after, T0 + 1000100);

    recall(p.file, T0, T0 + 1000000, 0, s);
    assert_int_equal(s->n, 2);
    assert_true(s->events[0].kind == EVENT_SETTLED && s->events[0].ledger_id == before);
    assert_true(s->events[1].kind == EVENT_ALLOWED && s->events[1].ledger_id == within);
    recall(p.file, T0 + 1000000, T0 + 2000000, 0, s); /* the other end is part of the next stretch, once */
    assert_int_equal(s->n, 2);
    assert_true(s->events[0].ledger_id == after && s->events[1].ledger_id == after);
    recall(p.file, T0 + DAY_US, T0 + 2 * DAY_US, 0, s);
    assert_int_equal(s->n, 0);

    ledger_close(l);
    place_remove(&p);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_each_kind_tells),
        cmocka_unit_test(test_order_over_pages),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
