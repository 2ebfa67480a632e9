#include "restore.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "budget/budget.h"
#include "access/gateway_keys.h"
#include "identity/gateway_key.h"
#include "decide/inflight.h"
#include "ledger/read.h"
#include "prices.h"

#include <stdio.h>

struct load {
    struct agent *agent;
    struct ledger_reader *reader;
    struct price_table *prices;      /* of version `version`, the last one asked for; NULL: it is not there */
    int64_t version;
    struct budget_lookback back;
    bool failed;
    int64_t slots, events, holds;
};

struct identity restore_identity(struct agent *a, const struct ledger_who *w)
{
    bool key = slice_eq_cstr(w->issuer, GATEWAY_KEY_ISSUER);

    return (struct identity){ .key_id = key ? w->subject : SLICE_NONE, .key_budget = key ? gateway_keys_budget_of(a, w->subject) : SLICE_NONE,
                              .organization = w->organization, .team = w->team, .user = w->user, .application = w->application,
                              .cost_center = w->cost_center, .subject = w->subject, .issuer = w->issuer };
}

static struct target target_of(const struct ledger_target *t)
{
    return (struct target){ .group = t->group, .provider = t->provider, .model = t->model, .key_name = t->key };
}

static bool on_slot(void *user, const struct ledger_slot *slot)
{
    struct load *l = user;
    struct identity who = restore_identity(l->agent, &slot->who);
    struct target target = target_of(&slot->target);
    struct budget_subjects s = { .who = &who, .primary = &target };
    struct budget_use use = { .nano = slot->cost_nano, .tokens = token_usage_total(&slot->usage), .requests = slot->settled };

    l->slots++;
    l->failed = budget_load_slot(l->agent->budget, &s, slot->start_us, &use) != 0;
    return !l->failed;
}

static bool on_alias_slot(void *user, const struct ledger_alias_slot *slot)
{
    struct load *l = user;
    struct identity who = restore_identity(l->agent, &slot->who);
    struct target target = target_of(&slot->target);
    struct budget_subjects s = { .who = &who, .alias = slot->alias, .primary = &target };
    struct budget_use use = { .nano = slot->cost_nano, .tokens = slot->tokens, .requests = slot->settled };

    l->slots++;
    l->failed = budget_load_alias_slot(l->agent->budget, &s, slot->start_us, &use) != 0;
    return !l->failed;
}

static struct budget_use hold_of(const struct ledger_decision *d)
{
    int64_t input = d->input_bound > 0 ? d->input_bound : 0;
    int64_t output = d->output_ceiling > 0 ? d->output_ceiling * d->choices : 0;
    return (struct budget_use){ .nano = d->hold_nano, .tokens = input + output, .requests = 1 };
}

/* What roll-ups do not tell of a request, into the limits that are loaded from them. */
static bool load_beside(struct load *l, const struct ledger_row *row, const struct budget_use *use)
{
    struct identity who = restore_identity(l->agent, &row->decision.who);
    struct target target = target_of(row->settlement.served.group.n > 0 ? &row->settlement.served : &row->decision.primary);
    struct budget_subjects s = { .who = &who, .alias = ledger_charged_alias(&row->decision), .primary = &target };
    int64_t slot = row->decision.started_us / BUDGET_SLOT_US * BUDGET_SLOT_US;

    l->failed = (slot >= l->back.slots_from_us && budget_load_slot(l->agent->budget, &s, slot, use) != 0) ||
                (slot >= l->back.alias_slots_from_us && budget_load_alias_slot(l->agent->budget, &s, slot, use) != 0);
    return !l->failed;
}

/* Of what is not known token limits count the hold. */
static bool on_bounded(void *user, const struct ledger_row *row)
{
    return load_beside(user, row, &(struct budget_use){ .tokens = hold_of(&row->decision).tokens });
}

/* A request that nobody answered was given back. */
static bool on_unsent(void *user, const struct ledger_row *row)
{
    return load_beside(user, row, &(struct budget_use){ .requests = -1 });
}

static bool on_event(void *user, const struct ledger_row *row)
{
    struct load *l = user;

    if (row->decision.state != LEDGER_SETTLED || row->settlement.known_by == KNOWN_OPEN)
        return true;
    struct identity who = restore_identity(l->agent, &row->decision.who);
    struct target target = target_of(row->settlement.served.group.n > 0 ? &row->settlement.served : &row->decision.primary);
    struct budget_subjects s = { .who = &who, .alias = ledger_charged_alias(&row->decision), .primary = &target };
    struct budget_use held = hold_of(&row->decision);
    struct budget_use use = { .nano = row->settlement.cost_nano, .tokens = token_usage_total(&row->settlement.usage),
                              .requests = !ledger_row_unsent(row) };
    if (row->known_now == KNOWN_BOUNDED)
        use.tokens = held.tokens;
    struct budget_over over = { .settled_us = row->settlement.settled_us };
    if (use.nano > held.nano)
        over.use.nano = use.nano - held.nano;
    if (use.tokens > held.tokens)
        over.use.tokens = use.tokens - held.tokens;
    /* What corrections added came when they were booked; what they took is given back at once. */
    if (row->corrected_us > over.settled_us)
        over.settled_us = row->corrected_us;
    over.use.nano += row->corrected_nano > 0 ? row->corrected_nano : 0;
    over.use.tokens += row->corrected_tokens > 0 ? row->corrected_tokens : 0;
    use.nano += row->corrected_nano;
    use.tokens += row->corrected_tokens;
    l->events++;
    l->failed = budget_load_event(l->agent->budget, &s, row->decision.started_us, &use, &over) != 0;
    return !l->failed;
}

/* Open requests keep the prices they were decided with. Few versions, in long runs. */
static struct price_table *prices_of(struct load *l, int64_t version)
{
    if (version != l->version) {
        price_table_unref(l->prices);
        l->prices = prices_read(l->reader, version);
        l->version = version;
    }
    return l->prices != NULL ? price_table_ref(l->prices) : NULL;
}

static bool on_open(void *user, const struct ledger_row *row)
{
    struct load *l = user;
    const struct ledger_decision *d = &row->decision;
    struct identity who = restore_identity(l->agent, &d->who);
    struct target primary = target_of(&d->primary), fallback = target_of(&d->fallback);
    struct target *second = d->fallback.group.n > 0 ? &fallback : NULL;

    l->failed = true;
    struct inflight *f = inflight_new(d, &who, &primary, second, NULL);
    if (f == NULL)
        return false;
    struct budget_subjects s = { .who = &f->who, .alias = ledger_charged_alias(&f->op.decision), .primary = &f->primary,
                                 .fallback = second != NULL ? &f->fallback : NULL };
    f->held = hold_of(d);
    f->prices = prices_of(l, d->price_version);
    f->state = INFLIGHT_OPEN;
    /* What the wall clock tells of its age; a start in the future (the clock was set back) counts as now. */
    int64_t age_us = clock_wall_us() - d->started_us;
    f->held_mono_us = clock_mono_us() - (age_us > 0 ? age_us : 0);
    if (budget_load_hold(l->agent->budget, &s, d->started_us, &f->held, &f->hold) == 0) {
        l->failed = false;
        if (inflight_insert(l->agent->inflight, f) != INFLIGHT_INSERTED)
            LOG(LOG_LEVEL_ERROR, "open_hold_twice", LOG_STR("request_id", d->request_id));
        l->holds++;
    }
    inflight_unref(f);
    return !l->failed;
}

static bool load(struct agent *a, const char *file, bool with_holds, char *why, size_t why_size)
{
    struct load l = { .agent = a };
    struct ledger_reader *r = ledger_reader_open(file, why, why_size);
    int rc = 0;

    if (r == NULL)
        return false;
    l.reader = r;
    int64_t t0 = clock_mono_us();
    budget_lookback(a->budget, &l.back);
    int64_t first = l.back.slots_from_us < l.back.alias_slots_from_us ? l.back.slots_from_us : l.back.alias_slots_from_us;
    if (l.back.slots_from_us != INT64_MAX)
        rc = ledger_read_slots(r, l.back.slots_from_us, on_slot, &l);
    if (rc == 0 && !l.failed && l.back.alias_slots_from_us != INT64_MAX)
        rc = ledger_read_alias_slots(r, l.back.alias_slots_from_us, on_alias_slot, &l);
    if (rc == 0 && !l.failed && first != INT64_MAX)
        rc = ledger_read_bounded(r, first, on_bounded, &l);
    if (rc == 0 && !l.failed && first != INT64_MAX)
        rc = ledger_read_unsent(r, first, on_unsent, &l);
    if (rc == 0 && !l.failed && l.back.events_from_us != INT64_MAX)
        rc = ledger_read_recent(r, l.back.events_from_us, on_event, &l);
    if (rc == 0 && !l.failed && with_holds)
        rc = ledger_read_open(r, on_open, &l);
    if (rc != 0 || l.failed)
        snprintf(why, why_size, "cannot restore balances: %s", rc != 0 ? ledger_reader_error(r) : "out of memory");
    price_table_unref(l.prices);
    ledger_reader_close(r);
    if (rc != 0 || l.failed)
        return false;
    budget_load_done(a->budget, clock_wall_us(), clock_mono_us());
    LOG(LOG_LEVEL_INFO, "balances_restored", LOG_INT("slots", l.slots), LOG_INT("events", l.events), LOG_INT("open_holds", l.holds),
        LOG_INT("us", clock_mono_us() - t0));
    return true;
}

bool restore_all(struct agent *a, const char *ledger_file, char *why, size_t why_size)
{
    return load(a, ledger_file, true, why, why_size);
}

bool restore_fresh(struct agent *a, const char *ledger_file, char *why, size_t why_size)
{
    return load(a, ledger_file, false, why, why_size);
}
