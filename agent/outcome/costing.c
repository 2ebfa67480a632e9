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

/* No usage says how many images came; some say how many tokens they made, 0 included (those of a chat: what a tool makes is not among them).
 * What is not told is taken to be what was held. */
static void images_fill(const struct ledger_decision *d, const struct model_price *m, struct token_usage *u)
{
    bool told = u->image_told && d->endpoint == ENDPOINT_CHAT;

    u->images = d->images;
    u->images_out = 0;
    if (m == NULL || d->images_out == 0 || (m->image_out_pico == 0 && m->image_token_pico == 0) || (told && u->output_image == 0))
        return;
    u->images_out = d->images_out;
    if (!told && m->image_out_pico == 0)
        u->output_image = u->output;
}

bool costing_of(struct agent *a, const struct inflight *f, bool fallback, struct token_usage *usage, struct costing *out)
{
    const struct target *target = fallback && f->has_fallback ? &f->fallback : &f->primary;
    struct price_table *t = table_of(a, f);

    const struct price_terms terms = price_terms_for(t, price_lookup(t, target->provider, target->model, NULL), &f->who, target->provider,
                                                     target->model);
    images_fill(&f->op.decision, terms.billed, usage);
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
