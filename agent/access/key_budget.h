/* A gateway key's own budget: "$50 per month", "1.5M tokens per day", "1000 requests/hour". Windows are calendar windows in UTC, or total.
 *
 * Keys with equal budgets share one limit of the budget engine, with an account for each key, so that a thousand keys cost a decision
 * no more than one does. */
#ifndef TOLLGATE_KEY_BUDGET_H
#define TOLLGATE_KEY_BUDGET_H

#include "base/arena.h"
#include "budget/options.h"

enum { KEY_BUDGET_MAX = 56 /* NUL included */ };

/* The text as it is kept: "$50.00 month", "1500000 tokens day". False with what is allowed. */
bool key_budget_parse(const char *text, char out[static KEY_BUDGET_MAX], char *why, size_t why_size) __attribute__((warn_unused_result));
/* The limit for all keys with a budget as key_budget_parse writes it, in `arena`. False: memory is out. */
bool key_budget_limit(struct slice kept, struct arena *arena, struct budget_limit *out) __attribute__((warn_unused_result));

#endif
