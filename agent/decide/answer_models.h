/* Answer, the models: the names this caller may ask for. In OpenAI's shape, or in Anthropic's for clients that send anthropic-version
 * (OpenAI API reference: models/list, models/object; Anthropic API reference: models-list). The list is never cut into pages. */
#ifndef TOLLGATE_ANSWER_MODELS_H
#define TOLLGATE_ANSWER_MODELS_H

#include "decide/assess.h"

#include <cjson/cJSON.h>

/* NULL when memory is out. The caller frees it. */
cJSON *answer_models(const struct assessment *s);
/* Of GET /v1/models/ID. NULL: s->no is filled when there is no such model for this caller; else memory is out. */
cJSON *answer_model(struct assessment *s);

#endif
