/* Answer: what the gateway itself answers to a known caller, without a provider: GET /tollgate/v1/budget, /tollgate/v1/requests/ID (what a
 * request of his cost, as long as it is in flight or has just ended), /v1/models and /v1/models/ID. */
#ifndef TOLLGATE_ANSWER_H
#define TOLLGATE_ANSWER_H

#include "decide/assess.h"

struct inflight_table;

enum answer_kind {
    ANSWER_NOT_OURS, /* it is for a provider */
    ANSWER_BODY,     /* *body is one line of JSON in the arena (p NULL: memory is out) */
    ANSWER_REFUSED   /* s->no says why */
};
/* One of those paths, whatever the method. */
bool answer_path(struct slice path);
enum answer_kind answer_own(struct assessment *s, struct budget *b, struct inflight_table *t, int64_t now_us, int64_t mono_us, struct slice *body)
    __attribute__((warn_unused_result));

#endif
