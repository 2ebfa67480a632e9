#include "manage/recalling.h"

#include "base/list.h"
#include "event_row.h"

#include <stdlib.h>

enum { PAGE_ROWS = 256, WORD = 64 };

struct past {
    struct event e;
    char reason[WORD]; /* e.reason */
};

struct recall {
    struct ledger_reader *reader;
    int64_t since_us, until_us;
    struct past **waiting; /* until the page has passed their time */
    size_t count, room;
    struct ledger_page page;
    int64_t rows;          /* of this page */
    bool beyond, failed;   /* it has come to until_us; memory is out */
};

static void past_add(struct recall *c, const struct event *e, struct slice reason)
{
    if (e->at_us < c->since_us || e->at_us >= c->until_us)
        return;
    struct past **list = list_grown(c->waiting, c->count, &c->room, sizeof *list), *p = list != NULL ? malloc(sizeof *p) : NULL;
    c->waiting = list != NULL ? list : c->waiting;
    c->failed = c->failed || p == NULL;
    if (p == NULL)
        return;
    p->e = *e;
    EVENT_TEXT(p->reason, reason);
    p->e.reason = reason.n > 0 ? p->reason : NULL;
    c->waiting[c->count++] = p;
}

static int64_t took(int64_t us)
{
    return us > 0 ? us : 0;
}

static struct event event_of(const struct ledger_row *row, enum event_kind kind, int64_t at_us)
{
    const struct ledger_decision *d = &row->decision;
    struct event e = {
        .kind = kind, .at_us = at_us, .started_us = d->started_us, .ledger_id = d->id, .recalled = true, .endpoint = d->endpoint, .stream = d->stream,
        .input_counted = d->input_tokens, .output_ceiling = d->output_ceiling, .hold_nano = d->hold_nano, .budget_left_nano = d->budget_left_nano,
        .identity_us = d->identity_us, .tokens_us = d->tokens_us, .budget_us = d->budget_us, .commit_us = -1, .decision_us = -1,
        .ttft_us = -1, .tpot_ns = -1, .total_us = -1, .attempts = -1,
    };

    EVENT_TEXT(e.request_id, d->request_id);
    EVENT_TEXT(e.organization, d->who.organization);
    EVENT_TEXT(e.team, d->who.team);
    EVENT_TEXT(e.user, d->who.user);
    EVENT_TEXT(e.application, d->who.application);
    EVENT_TEXT(e.cost_center, d->who.cost_center);
    EVENT_TEXT(e.alias, d->alias);
    event_row_target(&e, &d->primary);
    return e;
}

static void add_decision(struct recall *c, const struct ledger_row *row)
{
    const struct ledger_decision *d = &row->decision;
    bool answered = d->state == LEDGER_SETTLED && row->settlement.outcome.n == 0;
    int64_t commit_us = d->state == LEDGER_SETTLED ? row->settlement.commit_us : -1;
    struct event e = event_of(row, d->state == LEDGER_DENIED ? EVENT_DENIED : answered ? EVENT_ANSWERED : EVENT_ALLOWED,
                              d->started_us + took(d->identity_us) + took(d->tokens_us) + took(d->budget_us) + took(commit_us));

    e.commit_us = commit_us;
    e.status = answered ? 200 : d->http_status;
    EVENT_TEXT(e.alias, ledger_charged_alias(d));
    past_add(c, &e, d->deny_reason);
}

static void add_settlement(struct recall *c, const struct ledger_row *row)
{
    const struct ledger_settlement *s = &row->settlement;
    struct event e = event_of(row, EVENT_SETTLED, s->settled_us);

    if (s->served.group.n > 0)
        event_row_target(&e, &s->served);
    event_row_settlement(&e, s);
    past_add(c, &e, s->outcome);
}

struct correcting {
    struct recall *recall;
    const struct ledger_row *row;
};

/* What was booked by hand (new prices, an invoice) is no event of the request. */
static bool add_correction(void *user, const struct ledger_correction *k)
{
    struct correcting *x = user;
    struct event e = event_of(x->row, EVENT_CORRECTED, k->booked_us);

    e.known_by = k->known_by;
    e.attempts = 0;
    e.usage = k->usage;
    e.cost_nano = k->cost_nano;
    if (slice_eq_cstr(k->reason, LEDGER_LATE_RECORD))
        past_add(x->recall, &e, k->reason);
    return !x->recall->failed;
}

static bool each_row(void *user, const struct ledger_row *row)
{
    struct recall *c = user;
    struct correcting x = { c, row };

    c->rows++;
    c->page.after_us = row->decision.started_us;
    c->page.after_id = row->decision.id;
    c->beyond = row->decision.started_us >= c->until_us;
    if (c->beyond)
        return false;
    add_decision(c, row);
    if (row->decision.state == LEDGER_SETTLED && row->settlement.outcome.n > 0)
        add_settlement(c, row);
    if (row->corrected_us > 0 && ledger_read_corrections(c->reader, row->decision.id, add_correction, &x) != 0)
        c->failed = true;
    return !c->failed;
}

static int by_time(const void *a, const void *b)
{
    const struct event *x = &(*(struct past *const *)a)->e, *y = &(*(struct past *const *)b)->e;

    if (x->at_us != y->at_us)
        return x->at_us < y->at_us ? -1 : 1;
    if (x->ledger_id != y->ledger_id)
        return x->ledger_id < y->ledger_id ? -1 : 1;
    return (x->kind > y->kind) - (x->kind < y->kind);
}

/* Those before `until_us`. False: whoever looks has seen enough. */
static bool hand_out(struct recall *c, int64_t until_us, recalling_fn *fn, void *user)
{
    size_t n = 0;
    bool more = true;

    qsort(c->waiting, c->count, sizeof(struct past *), by_time);
    while (more && n < c->count && c->waiting[n]->e.at_us < until_us) {
        more = fn(user, &c->waiting[n]->e);
        free(c->waiting[n++]);
    }
    memmove(c->waiting, c->waiting + n, (c->count - n) * sizeof(struct past *));
    c->count -= n;
    return more;
}

int recalling_events(struct ledger_reader *r, int64_t since_us, int64_t until_us, recalling_fn *fn, void *user)
{
    struct recall c = { .reader = r, .since_us = since_us, .until_us = until_us,
                        .page = { .after_us = since_us - RECALLING_EARLIER_US, .since_us = since_us, .rows = PAGE_ROWS } };
    int rc = 0;
    bool more = true, last = false;

    while (rc == 0 && more && !last) {
        c.rows = 0;
        rc = ledger_read_page(r, &c.page, each_row, &c);
        last = c.beyond || c.rows < PAGE_ROWS;
        if (c.failed)
            rc = -1;
        if (rc == 0 && c.count > 0)
            more = hand_out(&c, last ? until_us : c.page.after_us, fn, user);
    }
    for (size_t i = 0; i < c.count; i++)
        free(c.waiting[i]);
    free(c.waiting);
    return rc;
}
