/* What a settled request costs, at the prices it was decided with. */
#ifndef TOLLGATE_COSTING_H
#define TOLLGATE_COSTING_H

#include "agent.h"
#include "decide/inflight.h"

struct costing {
    int64_t cost_nano;
    int64_t discount_nano;     /* what list prices would have made it dearer; below 0: cheaper; 0 without a list price */
    int64_t prompt_saved_nano; /* what its cached input would have cost more at the full input price; at least 0 */
    int64_t price_version;
};

/* Of `usage` at the fallback or the primary target. Images in the answer that it does not tell are put in, as many as were held. False when that has no price: *out is all 0. */
bool costing_of(struct agent *a, const struct inflight *f, bool fallback, struct token_usage *usage, struct costing *out)
    __attribute__((warn_unused_result));

#endif
