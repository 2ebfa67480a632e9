/* Restore: balances and open holds from the ledger, at start and for limits that a reload brought. */
#ifndef TOLLGATE_RESTORE_H
#define TOLLGATE_RESTORE_H

#include "ledger/ledger.h"
#include "request.h"

struct agent;

/* Whose budgets a row of the ledger counts against; without groups. Slices are the row's and the gateway key's. Control thread. */
struct identity restore_identity(struct agent *a, const struct ledger_who *w);

/* After ledger_open and budget_new: loads what the limits need, the open holds too, and puts the budget in force. False with a reason. */
bool restore_all(struct agent *a, const char *ledger_file, char *why, size_t why_size) __attribute__((warn_unused_result));
/* After budget_reload said that some limits are new: loads those. */
bool restore_fresh(struct agent *a, const char *ledger_file, char *why, size_t why_size) __attribute__((warn_unused_result));

#endif
