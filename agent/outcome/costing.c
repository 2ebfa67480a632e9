#include "outcome/costing.h"

#include "base/clock.h"
#include "runtime.h"

/* The prices the hold was computed with. The current ones when the ledger does not have those: the row then names them. */
static struct price_table *table_of(struct agent *a, const struct inflight *f)
{
    if (f->prices != NULL)
        return price_table_ref(f->prices);
    struct runtime *r = agent_runtime(a);
    struct price_table *t = price_table_ref(runtime_prices(r, clock_wall_us())->table);
    runtime_unref(r);
    return t;
}

static int64_t prompt_saved(const struct price_terms *t, const struct token_usage *usage, int64_t cost_nano)
{
    struct token_usage uncached = *usage;
    int64_t nano;

    uncached.input += uncached.input_cached;
    uncached.input_cached = 0;
    return price_cost(t->billed, &uncached, t->discount_bp, &nano) == PRICE_DONE && nano > cost_nano ? nano - cost_nano : 0;
}

bool costing_of(struct agent *a, const struct inflight *f, bool fallback, const struct token_usage *reported, struct costing *out)
{
    struct token_usage used = *reported;
    const struct token_usage *usage = &used;
    const struct target *target = fallback && f->has_fallback ? &f->fallback : &f->primary;
    struct price_table *t = table_of(a, f);

    used.images = f->op.decision.images;
    const struct price_terms terms = price_terms_for(t, price_lookup(t, target->provider, target->model, NULL), &f->who, target->provider,
                                                     target->model);
    bool priced = terms.billed != NULL && price_cost(terms.billed, usage, terms.discount_bp, &out->cost_nano) == PRICE_DONE;
    int64_t list_nano;

    if (priced) {
        bool listed = terms.list != NULL && price_cost(terms.list, usage, 0, &list_nano) == PRICE_DONE;
        out->discount_nano = listed ? list_nano - out->cost_nano : 0;
        out->prompt_saved_nano = prompt_saved(&terms, usage, out->cost_nano);
    } else {
        *out = (struct costing){ 0, 0, 0, 0 };
    }
    out->price_version = price_table_id(t);
    price_table_unref(t);
    return priced;
}
