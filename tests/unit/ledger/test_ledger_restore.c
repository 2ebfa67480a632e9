/* What balances are rebuilt from: whom a correction is charged to, sums by alias (archived ones too), what stayed unknown. */
#include "fixture.h"

static struct ledger_op charged(int64_t id, int64_t started_us, const char *as)
{
    struct ledger_op op = decision(id, started_us, LEDGER_OPEN);
    op.decision.charged_as = slice_cstr(as);
    return op;
}

static void corrections_tell_whom_they_are_charged_to(void **state)
{
    struct ledger_subject s = { .text = NULL };
    struct place p;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    struct ledger_op first = charged(1, T0, "cheap"), second = decision(2, T0 + 40 * DAY_US, LEDGER_OPEN), done = settlement(1, 100);
    struct ledger_op month = { .kind = LEDGER_CLOSE_MONTH, .close = { T0 + 12 * DAY_US, T0 + 30 * DAY_US } };
    struct ledger_op c = correction(1, T0 + 20 * DAY_US, 7);
    c.correction.subject = &s;
    assert_int_equal(submit(l, &first), LEDGER_OK);
    assert_int_equal(submit(l, &c), LEDGER_STALE); /* open: nothing to correct */
    assert_null(s.text);
    done.settlement.served = (struct ledger_target){ SLICE_LIT("azure"), SLICE_LIT("azure"), SLICE_LIT("gpt-4o"), SLICE_LIT("azure-1") };
    assert_int_equal(submit(l, &done), LEDGER_OK);
    assert_int_equal(submit(l, &c), LEDGER_OK);
    assert_true(slice_eq_cstr(s.who.organization, "acme") && slice_eq_cstr(s.who.team, "search") && slice_eq_cstr(s.who.user, "ann"));
    assert_true(slice_eq_cstr(s.who.application, "bot") && slice_eq_cstr(s.who.cost_center, "cc-7") && slice_eq_cstr(s.who.subject, "sub-1"));
    assert_true(slice_eq_cstr(s.who.issuer, "https://issuer") && slice_eq_cstr(s.alias, "cheap"));
    assert_true(slice_eq_cstr(s.target.group, "azure") && slice_eq_cstr(s.target.provider, "azure") && slice_eq_cstr(s.target.model, "gpt-4o"));
    assert_true(s.account_us == T0); /* the month is open: it counts for the request's start */
    assert_int_equal(submit(l, &month), LEDGER_OK);
    assert_int_equal(submit(l, &c), LEDGER_OK); /* filled again: what it held goes */
    assert_true(s.account_us == T0 + 20 * DAY_US && slice_eq_cstr(s.alias, "cheap"));
    ledger_subject_clear(&s);
    assert_int_equal(submit(l, &second), LEDGER_OK);
    done.settlement.id = 2;
    assert_int_equal(submit(l, &done), LEDGER_OK);
    c.correction.id = 2;
    assert_int_equal(submit(l, &c), LEDGER_OK);
    assert_true(slice_eq_cstr(s.alias, "chat-default"));
    ledger_subject_clear(&s);
    ledger_close(l);
    place_remove(&p);
}

struct sums {
    int64_t rows, settled, tokens, cost, later;
};

static bool see_alias(void *user, const struct ledger_alias_slot *slot)
{
    struct sums *all = user;
    struct sums *s = &all[slice_eq_cstr(slot->alias, "cheap")];
    assert_true(slice_eq_cstr(slot->who.team, "search") && slice_eq_cstr(slot->target.model, "gpt-4o"));
    assert_int_equal(slot->start_us % 900000000, 0);
    s->rows++;
    s->settled += slot->settled;
    s->tokens += slot->tokens;
    s->cost += slot->cost_nano;
    if (slot->start_us > T0 + 5 * DAY_US)
        s->later += slot->cost_nano;
    return true;
}

static void check_aliases(const char *file, int64_t since_us, struct sums plain, struct sums cheap)
{
    char why[200];
    struct sums s[2] = { { 0 }, { 0 } };
    struct ledger_reader *r = ledger_reader_open(file, why, sizeof why);
    assert_non_null(r);
    assert_int_equal(ledger_read_alias_slots(r, since_us, see_alias, s), 0);
    assert_memory_equal(&s[0], &plain, sizeof plain);
    assert_memory_equal(&s[1], &cheap, sizeof cheap);
    ledger_reader_close(r);
}

static void sums_by_alias_outlive_the_archive(void **state)
{
    struct place p;
    char why[300], old[128];
    int64_t moved;
    const int64_t slot = T0 / 900000000 * 900000000;
    (void)state;
    place_make(&p);
    snprintf(old, sizeof old, "%s/old.db", p.dir);
    struct ledger *l = open_ledger(p.file);
    for (int64_t id = 1; id <= 6; id++) { /* 1, 3, 5: chat-default; 2, 4, 6: cheap; the last two are younger */
        int64_t at = slot + (id > 4 ? 10 * DAY_US : id);
        struct ledger_op d = id % 2 ? decision(id, at, LEDGER_OPEN) : charged(id, at, "cheap"), s = settlement(id, 100 * id);
        assert_int_equal(submit(l, &d), LEDGER_OK);
        assert_int_equal(submit(l, &s), LEDGER_OK);
    }
    struct ledger_op denied = decision(7, slot, LEDGER_DENIED), c = correction(2, T0 + DAY_US, 50);
    c.correction.usage.output = 3;
    assert_int_equal(submit(l, &denied), LEDGER_OK);
    assert_int_equal(submit(l, &c), LEDGER_OK);
    const struct sums plain = { 2, 3, 3 * 157, 900, 500 }, cheap = { 2, 3, 3 * 157 + 3, 1250, 600 };
    check_aliases(p.file, INT64_MIN, plain, cheap);
    assert_int_equal(ledger_archive(l, old, T0 + 5 * DAY_US, &moved, why, sizeof why), 0);
    assert_int_equal(moved, 5);
    check_aliases(p.file, INT64_MIN, plain, cheap);
    check_aliases(p.file, slot, plain, cheap);
    check_aliases(p.file, slot + 900000000, (struct sums){ 1, 1, 157, 500, 500 }, (struct sums){ 1, 1, 157, 600, 600 });
    /* Another archive run adds to the same slot. */
    struct ledger_op d = charged(8, slot, "cheap"), s = settlement(8, 1000);
    assert_int_equal(submit(l, &d), LEDGER_OK);
    assert_int_equal(submit(l, &s), LEDGER_OK);
    assert_int_equal(ledger_archive(l, old, T0 + 5 * DAY_US, &moved, why, sizeof why), 0);
    check_aliases(p.file, INT64_MIN, plain, (struct sums){ 2, 4, 4 * 157 + 3, 2250, 600 });
    ledger_close(l);
    place_remove(&p);
}

static bool see_bounded(void *user, const struct ledger_row *row)
{
    ++*(int *)user;
    assert_int_equal(row->decision.id, 1);
    assert_int_equal(row->known_now, KNOWN_BOUNDED);
    return true;
}

static bool see_corrected(void *user, const struct ledger_row *row)
{
    ++*(int *)user;
    if (row->decision.id == 2) {
        assert_int_equal(row->known_now, KNOWN_REPORTED);
        assert_int_equal(row->corrected_nano, -40);
        assert_int_equal(row->corrected_tokens, 12);
        assert_true(row->corrected_us == T0 + 6);
    } else {
        assert_int_equal(row->corrected_us, 0);
    }
    return true;
}

static void what_is_unknown_to_this_day(void **state)
{
    struct place p;
    char why[200];
    int bounded = 0, all = 0;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    for (int64_t id = 1; id <= 3; id++) {
        struct ledger_op d = decision(id, T0 + id, LEDGER_OPEN), s = settlement(id, 100);
        if (id < 3) {
            s.settlement.known_by = KNOWN_BOUNDED;
            s.settlement.usage = (struct token_usage){ 0 };
        }
        assert_int_equal(submit(l, &d), LEDGER_OK);
        assert_int_equal(submit(l, &s), LEDGER_OK);
    }
    struct ledger_op c = correction(2, T0 + 6, -40);
    c.correction.usage = (struct token_usage){ .input = 5, .output = 7 };
    assert_int_equal(submit(l, &c), LEDGER_OK);
    struct ledger_reader *r = ledger_reader_open(p.file, why, sizeof why);
    assert_int_equal(ledger_read_bounded(r, T0, see_bounded, &bounded), 0);
    assert_int_equal(bounded, 1);
    assert_int_equal(ledger_read_bounded(r, T0 + 2, see_bounded, &bounded), 0);
    assert_int_equal(bounded, 1);
    assert_int_equal(ledger_read_recent(r, T0, see_corrected, &all), 0);
    assert_int_equal(all, 3);
    ledger_reader_close(r);
    ledger_close(l);
    place_remove(&p);
}

static bool see_unsent(void *user, const struct ledger_row *row)
{
    *(int64_t *)user = *(int64_t *)user * 10 + row->decision.id;
    assert_true(ledger_row_unsent(row));
    return true;
}

/* Given back: 1 and 4. Not 2, which a provider refused, nor 3, which the gateway answered itself, nor 5, which was never allowed. */
static void what_no_provider_was_asked_for(void **state)
{
    static const struct {
        int attempts, status;
    } rows[] = { { 0, 0 }, { 1, 503 }, { 0, 200 }, { 0, 503 } };
    struct place p;
    char why[200];
    int64_t seen = 0;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    for (int64_t id = 1; id <= 4; id++) {
        struct ledger_op d = decision(id, T0 + id, LEDGER_OPEN), s = settlement(id, 0);
        s.settlement.known_by = KNOWN_NONE;
        s.settlement.usage = (struct token_usage){ 0 };
        s.settlement.attempts = rows[id - 1].attempts;
        s.settlement.http_status = rows[id - 1].status;
        assert_int_equal(submit(l, &d), LEDGER_OK);
        assert_int_equal(submit(l, &s), LEDGER_OK);
    }
    struct ledger_op denied = decision(5, T0 + 5, LEDGER_DENIED);
    assert_int_equal(submit(l, &denied), LEDGER_OK);
    struct ledger_reader *r = ledger_reader_open(p.file, why, sizeof why);
    assert_int_equal(ledger_read_unsent(r, T0, see_unsent, &seen), 0);
    assert_true(seen == 14);
    ledger_reader_close(r);
    ledger_close(l);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(corrections_tell_whom_they_are_charged_to),
                                        cmocka_unit_test(sums_by_alias_outlive_the_archive), cmocka_unit_test(what_is_unknown_to_this_day),
                                        cmocka_unit_test(what_no_provider_was_asked_for) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
