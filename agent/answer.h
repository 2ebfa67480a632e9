/* Answer: what the gateway itself answers to a known caller, without a provider: GET /tollgate/v1/budget and GET /v1/models. */
#ifndef TOLLGATE_ANSWER_H
#define TOLLGATE_ANSWER_H

#include "assess.h"

/* True when the request is one of these: *body is one line of JSON in the arena (p NULL: memory is out). False: it is for a provider. */
bool answer_own(const struct assessment *s, struct budget *b, int64_t now_us, int64_t mono_us, struct slice *body);

#endif
