/* Adjusting: corrections of settled requests, in the ledger and then in the running balances.
 *
 * Balances follow when the correction is in the file, at the moment it counts for there (a closed month's go to the open one), so that
 * they are what a restart would read. Control thread. */
#ifndef TOLLGATE_ADJUSTING_H
#define TOLLGATE_ADJUSTING_H

#include "agent.h"
#include "ledger/ledger.h"

/* Takes the correction over but for its slices, which must be static; `subject` is not looked at. `tokens` is what token limits change by: a
 * bounded request counted there with the tokens of its hold, which its row does not have. `done` may be NULL; else it is called on
 * the control thread once, with the balances adjusted when the result is LEDGER_OK. False: memory is out, nothing was submitted. */
typedef void adjusting_done(struct agent *a, void *user, const struct ledger_correction *c, enum ledger_result result);
bool adjusting_submit(struct agent *a, const struct ledger_correction *c, int64_t tokens, adjusting_done *done, void *user)
    __attribute__((warn_unused_result));
/* Adjusts for all that is in the ledger by now. Before limits are loaded from it anew: what comes later is not in what they read. */
void adjusting_flush(struct agent *a);

#endif
