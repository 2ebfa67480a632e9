/* Meter: what the events of one stream mean to the relay, and how many tokens they have delivered so far.
 *
 * Belongs to one stream on the relay's thread. With a stop threshold the delivered text is counted exactly, by the served model's tokenizer:
 * a recount is made only when the bytes that came since the last one could pass the threshold (no token is shorter than a byte), which is
 * a few dozen times in a stream. Usage that the provider tells on the way counts as well. Several choices are counted in order of arrival. */
#ifndef TOLLGATE_METER_H
#define TOLLGATE_METER_H

#include "base/arena.h"
#include "relay/relay_buffer.h"
#include "tokens/count.h"

#include <stdint.h>

struct meter {
    struct arena *arena;               /* the relay's: reset with each event */
    struct token_counter *counter;     /* the relay's */
    const struct tokenizer *tokenizer; /* NULL: nothing is counted */
    int64_t factor_ppm;                /* of estimated tokenizers */
    int64_t stop;                      /* output tokens after which the stream ends; 0: never */
    bool larger_next;                  /* the next try goes to a model that takes longer prompts */
    bool too_long;                     /* an error event said that the prompt is too long, and larger_next */
    int64_t before, counted;           /* tokens of text no longer kept; of the text kept when it was last counted */
    size_t unseen;                     /* bytes since then */
    struct relay_buffer text;
};

/* For relay_rules.judge: `user` is the meter. */
unsigned meter_judge(void *user, struct slice event);
/* Output tokens delivered, as far as they were counted. */
int64_t meter_tokens(const struct meter *m);
void meter_free(struct meter *m);

#endif
