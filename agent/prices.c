#include "prices.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "ledger/ledger.h"
#include "runtime.h"

#include <stdlib.h>

struct prices_task {
    struct agent_task task;
    struct ledger_op op;
    struct agent *agent;
    struct runtime *runtime; /* holds the table and the file's name */
    const struct price_table *table;
};

static void over(struct agent *a, struct agent_task *task)
{
    struct prices_task *p = (struct prices_task *)task;
    (void)a;
    runtime_unref(p->runtime);
    free(p);
}

/* On the ledger's writer thread. */
static void on_written(struct ledger_op *op, enum ledger_result result)
{
    struct prices_task *p = op->user;

    if (result != LEDGER_OK && result != LEDGER_STALE)
        LOG(LOG_LEVEL_ERROR, "prices_not_recorded", LOG_CSTR("version", price_table_hash(p->table)));
    agent_post(p->agent, &p->task);
}

static const struct model_price *price_at(const void *table, size_t i)
{
    return price_table_at(table, i);
}

static void contract_at(const void *table, size_t i, struct slice *name, struct slice *terms)
{
    const struct price_contract *c = price_contract_at(table, i);
    *name = c->name;
    *terms = c->terms;
}

/* valid_from_us 0: the version alone. */
static void record(struct agent *a, struct runtime *r, const struct config_price_step *step, int64_t valid_from_us)
{
    struct prices_task *p = calloc(1, sizeof *p);

    if (p == NULL) {
        LOG(LOG_LEVEL_ERROR, "prices_not_recorded", LOG_CSTR("error", "out of memory"));
        return;
    }
    p->task.run = over;
    p->agent = a;
    p->runtime = runtime_ref(r);
    p->table = step->table;
    p->op = (struct ledger_op){ .kind = LEDGER_PRICES, .done = on_written, .user = p };
    p->op.prices = (struct ledger_prices){
        .id = price_table_id(p->table), .hash = slice_cstr(price_table_hash(p->table)),
        .source = slice_cstr(step->file != NULL ? step->file : "built-in"),
        .valid_from_us = valid_from_us, .imported_us = clock_wall_us(), .count = price_table_count(p->table), .at = price_at,
        .contracts = price_contract_count(p->table), .contract_at = contract_at,
        .table = p->table,
    };
    ledger_submit(a->ledger, &p->op);
}

static void in_force(struct agent *a, struct runtime *r, const struct config_price_step *step)
{
    a->prices_from_us = step->from_us;
    record(a, r, step, step->from_us > 0 ? step->from_us : clock_wall_us());
}

void prices_record(struct agent *a, struct runtime *r)
{
    const struct config_price_step *now = runtime_prices(r, clock_wall_us());

    for (unsigned i = 0; i < r->prices_count; i++)
        if (&r->prices[i] > now)
            record(a, r, &r->prices[i], 0);
    in_force(a, r, now);
}

void prices_tick(struct agent *a)
{
    struct runtime *r = agent_runtime(a);
    const struct config_price_step *now = runtime_prices(r, clock_wall_us());

    if (now->from_us > a->prices_from_us) {
        in_force(a, r, now);
        LOG(LOG_LEVEL_INFO, "prices_in_force", LOG_CSTR("version", price_table_hash(now->table)), LOG_CSTR("file", now->file));
    }
    runtime_unref(r);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

struct reading {
    struct price_builder *builder;
    bool failed;
};

static bool add_model(void *user, const struct model_price *m)
{
    struct reading *x = user;

    x->failed = price_builder_add(x->builder, m) != PRICE_DONE;
    return !x->failed;
}

static bool add_contract(void *user, struct slice name, struct slice terms)
{
    struct reading *x = user;

    x->failed = price_builder_contract_terms(x->builder, name, terms) != PRICE_DONE;
    return !x->failed;
}

struct price_table *prices_read(struct ledger_reader *r, int64_t version)
{
    struct reading x = { .builder = price_builder_new() };
    struct price_table *t = NULL;

    bool ok = x.builder != NULL && ledger_read_prices(r, version, add_model, &x) == 0 && !x.failed &&
              ledger_read_contracts(r, version, add_contract, &x) == 0 && !x.failed;
    if (ok)
        t = price_builder_finish(x.builder);
    price_builder_free(x.builder);
    if (t != NULL && price_table_count(t) == 0) {
        price_table_unref(t);
        t = NULL;
    }
    return t;
}
