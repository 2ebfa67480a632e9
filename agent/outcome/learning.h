/* Learning: the way of what tokens/learn.h knows through the process: from the ledger at start, from settlements while running, back
 * into the ledger once a second and at the end. Control thread. */
#ifndef TOLLGATE_LEARNING_H
#define TOLLGATE_LEARNING_H

#include "request.h"

#include <stdbool.h>
#include <stddef.h>

struct agent;
struct inflight;

struct token_learner;

struct learning_found {
    int64_t classes, refused; /* refused: rows that make no sense */
};

/* What the ledger knows, into `learner`. False with a reason. Any thread. */
bool learning_read(struct token_learner *learner, const char *ledger_file, struct learning_found *found, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* Makes agent->learner and fills it from the ledger. False with a reason: memory is out, or the ledger cannot be read. A row that makes
 * no sense is left out. */
bool learning_open(struct agent *a, const char *ledger_file, char *why, size_t why_size) __attribute__((warn_unused_result));
/* A provider has reported its figures for this request. */
void learning_observe(struct agent *a, const struct inflight *f, bool fallback, const struct token_usage *reported);
/* Hands what has changed to the ledger. */
void learning_keep(struct agent *a);

#endif
