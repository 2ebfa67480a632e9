/* Prompt log: the prompts of models that opt in (`log_prompts`), redacted (guard/redact.h), one JSON object a line, in a file of its own of mode 0600
 * that is turned over by size. A thread of its own redacts and writes: no decision waits, what it cannot keep up with is left out and counted. */
#ifndef TOLLGATE_PROMPTING_H
#define TOLLGATE_PROMPTING_H

#include <stdint.h>

struct assessment;
struct config;
struct prompting;

/* Nothing is opened before the first prompt. NULL: out of memory. */
struct prompting *prompting_new(const struct config *c) __attribute__((warn_unused_result));
/* Writes what is left. NULL is allowed. */
void prompting_free(struct prompting *p);
/* Any thread, while the request's body is there: copies the texts, 64 KiB of a request at most. */
void prompting_note(struct prompting *p, const struct assessment *s, int64_t now_us);

#endif
