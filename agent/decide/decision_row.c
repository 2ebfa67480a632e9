#include "decide/decision_state.h"

#include "agent.h"
#include "decide/inflight.h"

static struct ledger_target planned(const struct route_target *t, const struct credential_pick *key)
{
    struct ledger_target row = { .group = SLICE_NONE };

    if (t != NULL)
        row = ledger_target_of(&t->target);
    row.key = key->name;
    return row;
}

void decision_row(const struct decision *d, struct ledger_decision *row)
{
    const struct assessment *s = &d->s;
    int64_t input_bound = s->estimate.input_bound;

    if (s->choice.fallback != NULL && s->fallback_estimate.input_bound > input_bound)
        input_bound = s->fallback_estimate.input_bound;
    *row = (struct ledger_decision){
        .id = ledger_next_id(d->worker->agent->ledger),
        .request_id = s->rq.id,
        .started_us = d->started_us,
        .who = { .organization = s->who.organization, .team = s->who.team, .user = s->who.user, .application = s->who.application,
                 .cost_center = s->who.cost_center, .subject = s->who.subject, .issuer = s->who.issuer },
        .endpoint = s->ask.endpoint,
        .alias = s->ask.model.n > 200 ? slice_make(s->ask.model.p, 200) : s->ask.model,
        .charged_as = s->alias != NULL && !slice_eq(s->alias->name, s->ask.model) ? s->alias->name : SLICE_NONE,
        .stream = s->ask.stream,
        .primary = planned(s->choice.primary, &s->primary_key),
        .fallback = planned(s->choice.fallback, &s->fallback_key),
        .input_tokens = s->estimate.input_bound > 0 ? s->estimate.input : -1,
        .input_bound = input_bound > 0 ? input_bound : -1,
        .exactness = s->estimate.exactness,
        .output_ceiling = s->alias != NULL ? s->ceiling : -1,
        .choices = s->ask.choices > 0 ? s->ask.choices : 1,
        .budget_left_nano = assess_budget_left(s),
        .price_version = price_table_id(s->prices),
        .images = s->images,
        .images_out = s->images_out,
        .body_bytes = (int64_t)s->rq.body.n,
        .identity_us = (int32_t)d->identity_us,
        .tokens_us = (int32_t)d->tokens_us,
        .budget_us = (int32_t)d->budget_us,
    };
}
