/* Delivered: the text a client was given, out of a captured response, for counting it where the provider told no usage.
 *
 * Takes a stream of events, perhaps cut inside one, or a JSON body, perhaps cut; OpenAI chat, completions and Responses, and Anthropic
 * messages. Nothing in a response is trusted to be well-formed; what cannot be read is passed over. */
#ifndef TOLLGATE_SETTLE_DELIVERED_H
#define TOLLGATE_SETTLE_DELIVERED_H

#include "request.h"

struct delivered {
    struct slice text;   /* UTF-8: contents, reasoning, refusals, tool call names and arguments of all choices, one after the other */
    int64_t choices;     /* seen */
    bool terminal;       /* a finish reason or closing event was seen */
    bool error;          /* the response carries an error in band */
    struct slice usage, usage2; /* raw JSON of usage objects found after all (usage_parse) */
};

/* 0, or -1 when memory is out. */
int delivered_read(enum endpoint endpoint, bool sse, struct slice body, struct arena *a, struct delivered *out)
    __attribute__((warn_unused_result));

#endif
