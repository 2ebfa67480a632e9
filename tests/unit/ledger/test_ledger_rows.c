/* What is written, and that roll-ups are the sums of it. */
#include "fixture.h"
#include "ledger/schema.h"

static void a_request_from_hold_to_cost(void **state)
{
    struct place p;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    int64_t id = ledger_next_id(l);
    assert_int_equal(id, 1);
    struct ledger_op d = decision(id, T0, LEDGER_OPEN), s = settlement(id, 1234567), s2 = settlement(id, 999), u = settlement(77, 1);
    assert_int_equal(submit(l, &d), LEDGER_OK);
    query_text(p.file, "SELECT printf('%s %s %s %s', state, hold_usd, cost_usd, started) FROM request",
               "open 0.005000000 0.000000000 2026-09-21T14:13:20.000000Z");
    query_text(p.file, "SELECT team || ' ' || hold_usd FROM open_holds", "search 0.005000000");
    assert_int_equal(query(p.file, "SELECT count(*) FROM rollup"), 0);
    assert_int_equal(submit(l, &s), LEDGER_OK);
    assert_int_equal(submit(l, &s2), LEDGER_STALE);
    assert_int_equal(submit(l, &u), LEDGER_STALE);
    query_text(p.file, "SELECT printf('%s %s %s %s %d %d %d %s', state, cost_usd, known_by, model, input, input_cached, output_reasoning, outcome) FROM request",
               "settled 0.001234567 reported gpt-4o 90 10 7 ok");
    assert_int_equal(query(p.file, "SELECT count(*) FROM open_holds"), 0);
    query_text(p.file, "SELECT printf('%s %s %s %d %d %s', day, organization, team, requests, tokens_in, cost_usd) FROM spend_by_team_day",
               "2026-09-21 acme search 1 100 0.001234567");
    query_text(p.file, "SELECT month || ' ' || cost_center || ' ' || cost_usd FROM spend_by_cost_center_month", "2026-09 cc-7 0.001234567");
    query_text(p.file, "SELECT provider || ' ' || model || ' ' || cost_usd FROM spend_by_model", "openai gpt-4o 0.001234567");
    query_text(p.file, "SELECT day || ' ' || user_name || ' ' || cost_usd FROM spend_by_user_day", "2026-09-21 ann 0.001234567");
    query_text(p.file, "SELECT slot_start FROM rollup", "2026-09-21T14:00:00Z");
    ledger_close(l);
    place_remove(&p);
}

static void refusals_attempts_corrections(void **state)
{
    struct place p;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    struct ledger_op no = decision(ledger_next_id(l), T0, LEDGER_DENIED), d = decision(ledger_next_id(l), T0, LEDGER_OPEN);
    struct ledger_op s = settlement(2, 700), early = correction(2, T0, 5), c = correction(2, T0 + DAY_US, -200), over = correction(2, T0, -501);
    struct ledger_op a = { .kind = LEDGER_ATTEMPT }, again;
    a.attempt = (struct ledger_attempt){ .id = 2, .number = 1, .target = d.decision.primary, .started_us = T0, .http_status = 503,
                                         .outcome = SLICE_LIT("status"), .first_byte_us = 100, .total_us = 200 };
    again = a;
    assert_int_equal(submit(l, &no), LEDGER_OK);
    assert_int_equal(submit(l, &d), LEDGER_OK);
    assert_int_equal(submit(l, &early), LEDGER_STALE); /* not settled yet */
    assert_int_equal(submit(l, &s), LEDGER_OK);
    assert_int_equal(submit(l, &a), LEDGER_OK);
    assert_int_equal(submit(l, &again), LEDGER_STALE);
    assert_int_equal(submit(l, &c), LEDGER_OK);
    assert_int_equal(submit(l, &over), LEDGER_INVALID); /* 700 - 200 - 501 < 0 */
    query_text(p.file, "SELECT printf('%s %s %d', day, cost_usd, denied) FROM spend_by_team_day", "2026-09-21 0.000000500 1");
    query_text(p.file, "SELECT reason || ' ' || cost_usd FROM correction", "late_record -0.000000200");
    query_text(p.file, "SELECT printf('%d %s %d %s', number, provider_group, http_status, outcome) FROM attempt", "1 openai 503 status");
    query_text(p.file, "SELECT printf('%s %s %d %d', day, deny_reason, http_status, requests) FROM denials_by_day", "2026-09-21 budget 429 1");
    assert_int_equal(query(p.file, "SELECT count(*) FROM rollup_mismatch"), 0);
    assert_int_equal(query(p.file, "SELECT cost_nano FROM request WHERE id = 2"), 700); /* never edited */
    ledger_close(l);
    place_remove(&p);
}

static void a_bad_operation_stays_alone(void **state)
{
    struct place p;
    static char longer[1100];
    (void)state;
    place_make(&p);
    memset(longer, 'x', sizeof longer);
    struct ledger *l = open_ledger(p.file);
    struct ledger_op good = decision(1, T0, LEDGER_OPEN), twice = decision(1, T0, LEDGER_OPEN), zero = decision(0, T0, LEDGER_OPEN);
    struct ledger_op negative = decision(2, T0, LEDGER_OPEN), name = decision(3, T0, LEDGER_OPEN), cut = decision(4, T0, LEDGER_OPEN);
    struct ledger_op open = settlement(1, 5), rich = settlement(1, INT64_C(1000000000000001)), tokens = settlement(1, 5);
    negative.decision.hold_nano = -1;
    name.decision.who.user = slice_make(longer, sizeof longer);
    memcpy(longer + 510, "\xc3\xa4", 2);
    memcpy(longer + 511, "\xe2\x82\xac", 3); /* crosses byte 512 */
    cut.decision.alias = slice_make(longer, sizeof longer);
    open.settlement.known_by = KNOWN_OPEN;
    tokens.settlement.usage.output = -1;
    assert_int_equal(submit(l, &good), LEDGER_OK);
    assert_int_equal(submit(l, &twice), LEDGER_INVALID);
    assert_int_equal(submit(l, &zero), LEDGER_INVALID);
    assert_int_equal(submit(l, &negative), LEDGER_INVALID);
    assert_int_equal(submit(l, &name), LEDGER_INVALID);
    assert_int_equal(submit(l, &cut), LEDGER_OK);
    assert_int_equal(submit(l, &open), LEDGER_INVALID);
    assert_int_equal(submit(l, &rich), LEDGER_INVALID);
    assert_int_equal(submit(l, &tokens), LEDGER_INVALID);
    assert_int_equal(query(p.file, "SELECT length(CAST(alias AS BLOB)) FROM request WHERE id = 4"), 511);
    struct ledger_status st;
    ledger_status(l, &st);
    assert_false(st.failing);
    assert_int_equal(query(p.file, "SELECT count(*) FROM request"), 2);
    ledger_close(l);
    /* One transaction with good and bad ones: the good ones stay. */
    l = open_ledger(p.file);
    struct answer a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 200, LEDGER_OK };
    struct ledger_op *ops = calloc(200, sizeof *ops);
    for (int i = 0; i < 200; i++) {
        ops[i] = decision(i % 3 == 0 ? 1 : 1000 + i, T0, LEDGER_OPEN);
        ops[i].done = on_answer;
        ops[i].user = &a;
        ledger_submit(l, &ops[i]);
    }
    ledger_close(l);
    assert_int_equal(a.missing, 0);
    assert_int_equal(query(p.file, "SELECT count(*) FROM request WHERE id >= 1000"), 133);
    free(ops);
    place_remove(&p);
}

/* Sums over random operations, and over a restart, are those of the rows. */
static void rollups_equal_rows(void **state)
{
    enum { N = 4000, USERS = 40 };
    struct place p;
    unsigned seed = 7;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    struct ledger_op *ops = calloc(3 * N, sizeof *ops);
    char (*users)[16] = calloc(USERS, sizeof *users);
    struct answer a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, LEDGER_OK };
    for (int i = 0; i < USERS; i++)
        snprintf(users[i], sizeof users[i], "user-%d", i);
    int n = 0;
    for (int i = 1; i <= N; i++) {
        int64_t at = T0 + (int64_t)(rand_r(&seed) % (3 * 86400)) * 1000000;
        ops[n] = decision(i, at, rand_r(&seed) % 10 == 0 ? LEDGER_DENIED : rand_r(&seed) % 20 == 0 ? LEDGER_SETTLED : LEDGER_OPEN);
        ops[n].decision.saved_nano = ops[n].decision.state == LEDGER_SETTLED ? 55 : 0;
        ops[n].decision.who.user = slice_cstr(users[rand_r(&seed) % USERS]);
        ops[n].decision.who.team = rand_r(&seed) % 2 ? SLICE_LIT("search") : SLICE_LIT("ads");
        n++;
        if (rand_r(&seed) % 10 == 0)
            continue;
        ops[n] = settlement(i, rand_r(&seed) % 1000000);
        ops[n].settlement.usage.input = rand_r(&seed) % 5000;
        if (rand_r(&seed) % 5 == 0)
            ops[n].settlement.served = (struct ledger_target){ SLICE_LIT("azure"), SLICE_LIT("azure"), SLICE_LIT("gpt-4o"), SLICE_LIT("azure-2") };
        if (rand_r(&seed) % 7 == 0)
            ops[n].settlement.served = (struct ledger_target){ .group = SLICE_NONE };
        n++;
        if (rand_r(&seed) % 4 == 0)
            ops[n++] = correction(i, at + DAY_US, (int64_t)(rand_r(&seed) % 2000) - 1000);
    }
    for (int i = 0; i < n; i++) {
        if (i == n / 2) {
            ledger_close(l);
            l = open_ledger(p.file);
        }
        pthread_mutex_lock(&a.lock);
        a.missing++;
        pthread_mutex_unlock(&a.lock);
        ops[i].done = on_answer;
        ops[i].user = &a;
        ledger_submit(l, &ops[i]);
    }
    /* Nothing queued: everything is answered for, and a reader sees it. */
    struct ledger_status st;
    do
        ledger_status(l, &st);
    while (st.queued > 0);
    assert_int_equal(query(p.file, "SELECT count(*) FROM request_row"), N);
    ledger_close(l);
    assert_int_equal(a.missing, 0);
    assert_int_equal(query(p.file, "SELECT count(*) FROM request_row"), N);
    assert_true(query(p.file, "SELECT count(*) FROM correction_row") > 300);
    assert_int_equal(query(p.file, "SELECT count(*) FROM rollup_mismatch"), 0);
    int64_t raw = query(p.file, "SELECT (SELECT sum(cost_nano) FROM request_row) + (SELECT sum(cost_nano) FROM correction_row)");
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM rollup"), raw);
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM rollup_day"), raw);
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM spend_by_team_day"), raw);
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM spend_by_user_day"), raw);
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM spend_by_cost_center_month"), raw);
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM spend_by_model"), raw);
    assert_int_equal(query(p.file, "SELECT sum(requests) FROM rollup_day"), query(p.file, "SELECT count(*) FROM request_row WHERE state <> 0"));
    assert_int_equal(query(p.file, "SELECT sum(saved_nano) FROM rollup_day"), query(p.file, "SELECT sum(saved_nano) FROM request_row"));
    free(ops);
    free(users);
    place_remove(&p);
}

static void closed_months_stay(void **state)
{
    struct place p;
    const int64_t october = INT64_C(1790812800000000); /* 2026-10-01 */
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    struct ledger_op d = decision(1, T0, LEDGER_OPEN), s = settlement(1, 1000), c = correction(1, october + 5000000, -100);
    struct ledger_op close_early = { .kind = LEDGER_CLOSE_MONTH, .close = { october, october } }, close_op = close_early;
    assert_int_equal(submit(l, &d), LEDGER_OK);
    assert_int_equal(submit(l, &close_early), LEDGER_STALE); /* a request of September is open */
    assert_int_equal(submit(l, &s), LEDGER_OK);
    assert_int_equal(submit(l, &close_op), LEDGER_OK);
    assert_int_equal(submit(l, &c), LEDGER_OK);
    assert_int_equal(query(p.file, "SELECT cost_nano FROM spend_by_cost_center_month WHERE month = '2026-09'"), 1000);
    assert_int_equal(query(p.file, "SELECT cost_nano FROM spend_by_cost_center_month WHERE month = '2026-10'"), -100);
    query_text(p.file, "SELECT cost_usd FROM spend_by_cost_center_month WHERE month = '2026-10'", "-0.000000100");
    /* Booked by a clock that was set back: September stays as it is. */
    struct ledger_op back = correction(1, october - DAY_US, -50);
    assert_int_equal(submit(l, &back), LEDGER_OK);
    assert_int_equal(query(p.file, "SELECT cost_nano FROM spend_by_cost_center_month WHERE month = '2026-09'"), 1000);
    assert_int_equal(query(p.file, "SELECT cost_nano FROM spend_by_cost_center_month WHERE month = '2026-10'"), -150);
    assert_int_equal(query(p.file, "SELECT account_us FROM correction_row ORDER BY id DESC LIMIT 1"), october);
    assert_int_equal(query(p.file, "SELECT count(*) FROM rollup_mismatch"), 0);
    ledger_close(l);
    place_remove(&p);
}

static struct model_price models[3];

static const struct model_price *model_at(const void *table, size_t i)
{
    return (const struct model_price *)table + i;
}

static bool compare_model(void *user, const struct model_price *m)
{
    int *n = user;
    const struct model_price *want = &models[(*n)++];
    assert_true(slice_eq(m->provider, want->provider) && slice_eq(m->model, want->model));
    assert_memory_equal(&m->base, &want->base, sizeof m->base);
    assert_int_equal(m->tier_count, want->tier_count);
    for (unsigned i = 0; i < m->tier_count; i++)
        assert_memory_equal(&m->tiers[i], &want->tiers[i], sizeof m->tiers[i]);
    assert_int_equal(m->status, want->status);
    assert_int_equal(m->published, want->published);
    assert_int_equal(m->output_limit, want->output_limit);
    assert_int_equal(m->overridden, want->overridden);
    return true;
}

static bool count_version(void *user, const struct ledger_price_version *v)
{
    int *n = user;
    ++*n;
    assert_int_equal(v->active, *n == 3);
    return true;
}

static void prices(void **state)
{
    struct place p;
    char why[200];
    int n = 0, versions = 0;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = { "a", "b", "c" };
        models[i] = (struct model_price){ .provider = SLICE_LIT("openai"), .model = slice_cstr(names[i]), .status = PRICE_OK, .published = 19,
                                          .tier_count = (unsigned)i, .output_limit = 100 + i, .overridden = i == 1 };
        for (int k = 0; k < PRICE_KINDS; k++)
            models[i].base.pico[k] = 1000 * i + k;
        for (int t = 0; t < i; t++) {
            models[i].tiers[t].above = 1000 * (t + 1);
            models[i].tiers[t].rates = models[i].base;
            models[i].tiers[t].rates.pico[0] = 5;
        }
    }
    struct ledger_op op = { .kind = LEDGER_PRICES }, again, clash;
    op.prices = (struct ledger_prices){ .id = 5, .hash = SLICE_LIT("00ff"), .source = SLICE_LIT("builtin"), .valid_from_us = T0, .imported_us = T0,
                                        .count = 3, .at = model_at, .table = models };
    again = op;
    again.prices.valid_from_us = T0 + DAY_US;
    clash = op;
    clash.prices.id = 6;
    clash.prices.hash = SLICE_LIT("00fe");
    struct model_price twice[2] = { models[0], models[0] };
    clash.prices.table = twice;
    clash.prices.count = 2;
    assert_int_equal(submit(l, &op), LEDGER_OK);
    assert_int_equal(submit(l, &again), LEDGER_OK);
    assert_int_equal(submit(l, &clash), LEDGER_INVALID);
    assert_int_equal(query(p.file, "SELECT count(*) FROM price_version"), 1); /* nothing of the bad one stayed */
    clash.prices.count = 1;
    assert_int_equal(submit(l, &clash), LEDGER_OK);
    struct ledger_reader *r = ledger_reader_open(p.file, why, sizeof why);
    assert_non_null(r);
    assert_int_equal(ledger_read_prices(r, 5, compare_model, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(ledger_read_price_versions(r, count_version, &versions), 0);
    assert_int_equal(versions, 3);
    query_text(p.file, "SELECT input FROM active_prices WHERE model = 'a'", "0.000000");
    ledger_reader_close(r);
    ledger_close(l);
    place_remove(&p);
}

static char long_terms[3000];

static void contract_of(const void *table, size_t i, struct slice *name, struct slice *terms)
{
    (void)table, (void)i;
    *name = SLICE_LIT("frame agreement");
    *terms = slice_cstr(long_terms);
}

static bool compare_contract(void *user, struct slice name, struct slice terms)
{
    ++*(int *)user;
    assert_true(slice_eq_cstr(name, "frame agreement") && slice_eq_cstr(terms, long_terms));
    return true;
}

/* Terms name teams and rates: they are as long as these are many. */
static void long_contracts_are_kept_whole(void **state)
{
    struct ledger_op op = { .kind = LEDGER_PRICES };
    struct place p;
    char why[200];
    int n = 0;
    (void)state;
    memset(long_terms, 'x', sizeof long_terms - 1);
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    op.prices = (struct ledger_prices){ .id = 5, .hash = SLICE_LIT("00ff"), .source = SLICE_LIT("builtin"), .valid_from_us = T0, .imported_us = T0,
                                        .contracts = 1, .contract_at = contract_of };
    assert_int_equal(submit(l, &op), LEDGER_OK);
    struct ledger_reader *r = ledger_reader_open(p.file, why, sizeof why);
    assert_int_equal(ledger_read_contracts(r, 5, compare_contract, &n), 0);
    assert_int_equal(n, 1);
    ledger_reader_close(r);
    ledger_close(l);
    place_remove(&p);
}

struct seen {
    int rows;
    int64_t holds, first_id, cost;
};

static bool see_row(void *user, const struct ledger_row *row)
{
    struct seen *s = user;
    if (s->rows++ == 0)
        s->first_id = row->decision.id;
    s->holds += row->decision.hold_nano;
    s->cost += row->settlement.cost_nano;
    assert_true(slice_eq_cstr(row->decision.who.cost_center, "cc-7"));
    assert_true(slice_eq_cstr(row->decision.primary.group, "openai"));
    assert_true(slice_eq_cstr(row->decision.primary.key, "openai-1"));
    assert_true(slice_eq_cstr(row->decision.fallback.provider, "azure"));
    assert_int_equal(row->decision.fallback.key.n, 0);
    assert_int_equal(row->decision.tokens_us, 40);
    assert_int_equal(row->decision.budget_left_nano, 7000000);
    assert_int_equal(row->decision.output_ceiling, 500);
    assert_int_equal(row->settlement.known_by, row->decision.state == LEDGER_OPEN ? KNOWN_OPEN : KNOWN_REPORTED);
    if (row->decision.state != LEDGER_OPEN) {
        assert_int_equal(row->settlement.provider_cost_nano, -1);
        assert_int_equal(row->settlement.http_status, 200);
        assert_int_equal(row->settlement.usage.output, 50);
        assert_int_equal(row->settlement.commit_us, 250);
    }
    return s->rows < 3;
}

static bool see_slot(void *user, const struct ledger_slot *slot)
{
    struct seen *s = user;
    s->rows++;
    s->cost += slot->cost_nano;
    assert_int_equal(slot->start_us % 900000000, 0);
    assert_true(slice_eq_cstr(slot->who.issuer, "https://issuer"));
    assert_true(slice_eq_cstr(slot->target.model, "gpt-4o"));
    return true;
}

static void reading_back(void **state)
{
    struct place p;
    char why[200];
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    for (int i = 1; i <= 8; i++) {
        struct ledger_op d = decision(i, T0 + i * DAY_US, LEDGER_OPEN), s = settlement(i, 100);
        assert_int_equal(submit(l, &d), LEDGER_OK);
        if (i % 2 == 0)
            assert_int_equal(submit(l, &s), LEDGER_OK);
    }
    struct ledger_reader *r = ledger_reader_open(p.file, why, sizeof why);
    assert_non_null(r);
    struct seen open = { 0, 0, 0, 0 }, recent = { 0, 0, 0, 0 }, slots = { 0, 0, 0, 0 };
    assert_int_equal(ledger_read_open(r, see_row, &open), 0);
    assert_int_equal(open.rows, 3); /* the callback ended it */
    assert_int_equal(open.first_id, 1);
    assert_int_equal(open.holds, 15000000);
    assert_int_equal(ledger_read_recent(r, T0 + 7 * DAY_US, see_row, &recent), 0);
    assert_int_equal(recent.rows, 2);
    assert_int_equal(recent.first_id, 7);
    assert_int_equal(recent.cost, 100);
    assert_int_equal(ledger_read_slots(r, T0 + 4 * DAY_US + 900000000, see_slot, &slots), 0);
    assert_int_equal(slots.rows, 2);
    assert_int_equal(slots.cost, 200);
    ledger_reader_close(r);
    ledger_close(l);
    l = open_ledger(p.file);
    assert_int_equal(ledger_next_id(l), 9);
    ledger_close(l);
    place_remove(&p);
}

static void moving_to_an_archive(void **state)
{
    struct place p;
    char archive[128], why[300] = "", sql[200];
    int64_t moved;
    (void)state;
    place_make(&p);
    snprintf(archive, sizeof archive, "%s/2026-09.db", p.dir);
    struct ledger *l = open_ledger(p.file);
    for (int i = 1; i <= 5000; i++) {
        struct ledger_op d = decision(i, T0 + (i > 4500 ? 40 * DAY_US : 0), i % 10 == 0 ? LEDGER_DENIED : LEDGER_OPEN);
        struct ledger_op s = settlement(i, 100), c = correction(i, T0, 1);
        struct ledger_op *last = i % 1000 == 7 || i % 10 == 0 ? NULL : &s; /* five stay open */
        if (i % 500 == 1) {
            assert_int_equal(submit(l, &d), LEDGER_OK);
            assert_int_equal(submit(l, &s), LEDGER_OK);
            assert_int_equal(submit(l, &c), LEDGER_OK);
            continue;
        }
        assert_int_equal(submit(l, &d), LEDGER_OK);
        if (last)
            assert_int_equal(submit(l, last), LEDGER_OK);
    }
    int64_t spent = query(p.file, "SELECT sum(cost_nano) FROM spend_by_team_day");
    if (ledger_archive(l, archive, T0 + DAY_US, &moved, why, sizeof why) != 0)
        fail_msg("%s", why);
    assert_int_equal(moved, 4495); /* 4,500 less five that are open; those of the last 500 are younger */
    assert_int_equal(query(archive, "SELECT count(*) FROM request"), 4495);
    assert_int_equal(query(p.file, "SELECT count(*) FROM request"), 505);
    assert_int_equal(query(archive, "SELECT count(*) FROM correction"), 9);
    assert_int_equal(query(archive, "SELECT count(*) FROM request WHERE user_name = 'ann' AND planned_model = 'gpt-4o'"), 4495);
    assert_int_equal(query(p.file, "SELECT sum(cost_nano) FROM spend_by_team_day"), spent);
    assert_int_equal(query(p.file, "SELECT count(*) FROM rollup_mismatch"), 0);
    snprintf(sql, sizeof sql, "SELECT sum(cost_nano) + (SELECT sum(cost_nano) FROM request_row) + (SELECT sum(cost_nano) FROM correction_row) FROM archive");
    assert_int_equal(query(p.file, sql), spent);
    /* Again: nothing to do. And ids are not given out anew. */
    assert_int_equal(ledger_archive(l, archive, T0 + DAY_US, &moved, why, sizeof why), 0);
    assert_int_equal(moved, 0);
    ledger_close(l);
    l = open_ledger(p.file);
    assert_int_equal(ledger_next_id(l), 5001);
    ledger_close(l);
    place_remove(&p);
}

static bool same_learned(void *user, const struct ledger_learned *l)
{
    int *n = user;
    assert_true(slice_eq_cstr(l->provider, "anthropic"));
    assert_true(slice_eq_cstr(l->model, *n == 0 ? "claude-a" : "claude-b"));
    assert_int_equal(l->shape, 1);
    assert_int_equal(l->size, 3);
    assert_int_equal(l->observations, *n == 0 ? 11 : 12);
    assert_int_equal(l->agreed, 2);
    assert_int_equal(l->p01_ppm, 900000);
    assert_int_equal(l->median_ppm, 1100000);
    assert_int_equal(l->p99_ppm, 1300000);
    assert_int_equal(l->max_ppm, 1400000);
    assert_true(slice_eq_cstr(l->histogram, "100:5 110:6"));
    assert_int_equal(l->updated_us, T0);
    ++*n;
    return true;
}

static void what_was_learned_is_replaced(void **state)
{
    struct place p;
    char why[300], long_text[5000];
    int n = 0;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    struct ledger_op op = { .kind = LEDGER_LEARNED, .learned = {
        .provider = SLICE_LIT("anthropic"), .model = SLICE_LIT("claude-b"), .shape = 1, .size = 3, .observations = 3, .agreed = 2,
        .p01_ppm = 900000, .median_ppm = 1100000, .p99_ppm = 1300000, .max_ppm = 1400000, .histogram = SLICE_LIT("100:5 110:6"),
        .updated_us = T0 } };
    assert_int_equal(submit(l, &op), LEDGER_OK);
    op.learned.observations = 12;
    assert_int_equal(submit(l, &op), LEDGER_OK);
    op.learned.model = SLICE_LIT("claude-a");
    op.learned.observations = 11;
    assert_int_equal(submit(l, &op), LEDGER_OK);
    op.learned.agreed = -1;
    assert_int_equal(submit(l, &op), LEDGER_INVALID);
    op.learned.agreed = 2;
    memset(long_text, '1', sizeof long_text);
    op.learned.histogram = slice_make(long_text, sizeof long_text);
    assert_int_equal(submit(l, &op), LEDGER_INVALID);
    ledger_close(l);
    struct ledger_reader *r = ledger_reader_open(p.file, why, sizeof why);
    assert_non_null(r);
    assert_int_equal(ledger_read_learned(r, same_learned, &n), 0);
    assert_int_equal(n, 2);
    ledger_reader_close(r);
    place_remove(&p);
}

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = calloc(1, 65536);
    assert_non_null(f);
    assert_non_null(text);
    assert_in_range(fread(text, 1, 65535, f), 1, 65534);
    fclose(f);
    return text;
}

/* Who may ask: the change and its event are written together, or neither is. */
static void access_changes_leave_events(void **state)
{
    struct place p;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    struct ledger_op op = { .kind = LEDGER_ACCESS };
    op.access = (struct ledger_access){ .change = ACCESS_REVOKE, .kind = SLICE_LIT("subject"), .value = SLICE_LIT("alice"), .at_us = T0,
                                        .origin = SLICE_LIT("operator"), .actor = SLICE_LIT("uid 0"), .action = SLICE_LIT("revoke"),
                                        .note = SLICE_LIT("left") };
    assert_int_equal(submit(l, &op), LEDGER_OK);
    assert_int_equal(submit(l, &op), LEDGER_OK); /* again: the same entry, another event */
    assert_int_equal(query(p.file, "SELECT count(*) FROM revocation WHERE value = 'alice' AND note = 'left'"), 1);
    assert_int_equal(query(p.file, "SELECT count(*) FROM access_event WHERE actor = 'uid 0' AND object = 'subject alice'"), 2);
    op.access.change = ACCESS_UNREVOKE;
    assert_int_equal(submit(l, &op), LEDGER_OK);
    assert_int_equal(submit(l, &op), LEDGER_STALE);
    assert_int_equal(query(p.file, "SELECT count(*) FROM revocation"), 0);
    assert_int_equal(query(p.file, "SELECT count(*) FROM access_event"), 3);
    op.access.change = ACCESS_CREATE_KEY;
    op.access.value = SLICE_LIT("k1");
    op.access.key = (struct ledger_key){ .name = SLICE_LIT("ci"), .who = { .team = SLICE_LIT("core") } };
    assert_int_equal(submit(l, &op), LEDGER_OK);
    assert_int_equal(submit(l, &op), LEDGER_INVALID); /* the id is taken */
    op.access.change = ACCESS_ROTATE_KEY;
    assert_int_equal(submit(l, &op), LEDGER_OK);
    op.access.value = SLICE_LIT("k2");
    assert_int_equal(submit(l, &op), LEDGER_STALE);
    assert_int_equal(query(p.file, "SELECT count(*) FROM access_event"), 5);
    assert_int_equal(query(p.file, "SELECT count(*) FROM gateway_key WHERE id = 'k1' AND rotated_us > 0 AND length(previous_hash) = 32"), 1);
    op.access.value = SLICE_NONE;
    assert_int_equal(submit(l, &op), LEDGER_INVALID);
    ledger_close(l);
    place_remove(&p);
}

/* A file of the first schema is brought up to date, and keeps what it holds. */
static void a_file_of_schema_1_is_migrated(void **state)
{
    struct place p;
    (void)state;
    place_make(&p);
    char *first = read_text(SOURCE_DIR "/sql/migrations/0001_ledger.sql"), application[64];
    sqlite3 *db;
    assert_int_equal(sqlite3_open(p.file, &db), SQLITE_OK);
    snprintf(application, sizeof application, "PRAGMA user_version = 1; PRAGMA application_id = %d", SCHEMA_APPLICATION_ID);
    assert_int_equal(sqlite3_exec(db, first, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, application, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE ledger_note SET value = 7 WHERE name = 'last_id'", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(first);
    struct ledger *l = open_ledger(p.file);
    assert_int_equal(ledger_next_id(l), 8);
    struct ledger_op d = decision(8, T0, LEDGER_OPEN);
    assert_int_equal(submit(l, &d), LEDGER_OK);
    assert_int_equal(query(p.file, "SELECT count(*) FROM token_learned"), 0);
    assert_int_equal(query(p.file, "SELECT count(*) FROM request WHERE state = 'open'"), 1);
    ledger_close(l);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_from_hold_to_cost), cmocka_unit_test(refusals_attempts_corrections),
        cmocka_unit_test(a_bad_operation_stays_alone), cmocka_unit_test(rollups_equal_rows), cmocka_unit_test(closed_months_stay),
        cmocka_unit_test(prices), cmocka_unit_test(long_contracts_are_kept_whole),
        cmocka_unit_test(reading_back), cmocka_unit_test(moving_to_an_archive),
        cmocka_unit_test(what_was_learned_is_replaced), cmocka_unit_test(a_file_of_schema_1_is_migrated),
        cmocka_unit_test(access_changes_leave_events)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
