#include "manage/limiting.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "budget/budget.h"
#include "config/config_map.h"
#include "access/gateway_keys.h"
#include "access/key_budget.h"
#include "ledger/ledger.h"
#include "outcome/adjusting.h"
#include "restore.h"
#include "runtime.h"

#include <stdlib.h>
#include <time.h>

enum { FLUSH_WAIT_MS = 2000, ARENA_FIRST = 16384 };

/* `more` (may be NULL) is a budget that no key has yet. False: memory is out. */
static bool options_make(struct agent *a, const struct config *c, const char *more, struct arena *arena, struct budget_options *out)
{
    struct slice *budgets = NULL;
    size_t count = 0;

    *out = config_budget(c, arena);
    if (!gateway_keys_budgets(a, slice_cstr(more), arena, &budgets, &count))
        return false;
    struct budget_limit *all = arena_alloc(arena, (out->limits_count + count + 1) * sizeof *all);
    if (all == NULL)
        return false;
    if (out->limits_count > 0)
        memcpy(all, out->limits, out->limits_count * sizeof *all);
    for (size_t i = 0; i < count; i++)
        if (!key_budget_limit(budgets[i], arena, &all[out->limits_count + i]))
            return false;
    out->limits = all;
    out->limits_count += (unsigned)count;
    return true;
}

bool limits_open(struct agent *a, const struct config *c, char *why, size_t why_size)
{
    struct arena *arena = arena_new(ARENA_FIRST);
    struct budget_options o;

    if (arena != NULL && options_make(a, c, NULL, arena, &o))
        a->budget = budget_new(&o, clock_wall_us(), clock_mono_us(), why, why_size);
    arena_free(arena);
    return a->budget != NULL;
}

/* What is queued at the ledger now gets its commit before balances are read from it: two batches from here hold it all. */
static void ledger_flush(struct ledger *l)
{
    struct ledger_status s;

    ledger_status(l, &s);
    uint64_t enough = s.batches + 2;
    for (int i = 0; i < FLUSH_WAIT_MS; i++) {
        ledger_status(l, &s);
        if ((s.queued == 0 || s.batches >= enough) && s.retrying == 0)
            return;
        struct timespec ms = { .tv_nsec = 1000000 };
        nanosleep(&ms, NULL);
    }
}

bool limits_reload(struct agent *a, const struct config *c, const char *ledger_file, char *why, size_t why_size)
{
    unsigned fresh = 0;
    struct arena *arena = arena_new(ARENA_FIRST);
    struct budget_options o;
    bool made = arena != NULL && options_make(a, c, NULL, arena, &o);

    if (made) {
        ledger_flush(a->ledger);
        adjusting_flush(a);
        made = budget_reload(a->budget, &o, clock_wall_us(), clock_mono_us(), &fresh, why, why_size) == 0;
    }
    arena_free(arena);
    if (made && fresh > 0 && !restore_fresh(a, ledger_file, why, why_size))
        LOG(LOG_LEVEL_ERROR, "new_limits_not_loaded", LOG_CSTR("error", why), LOG_CSTR("effect", "new limits refuse until a reload succeeds"));
    return made;
}

const char *limits_admit(struct agent *a, const char *budget)
{
    struct arena *arena = arena_new(ARENA_FIRST);
    struct budget_options o;
    unsigned fresh = 0;
    char why[512];
    const char *reason = "out of memory";

    if (arena != NULL && options_make(a, a->runtime->config, budget, arena, &o)) {
        if (budget_reload(a->budget, &o, clock_wall_us(), clock_mono_us(), &fresh, why, sizeof why) != 0) {
            LOG(LOG_LEVEL_ERROR, "key_budget_refused", LOG_CSTR("error", why));
            reason = "the limits do not admit this budget; the agent's log says why";
        } else if (fresh > 1) {
            reason = "limits are still to be loaded from the ledger; run tollgatectl reload, then try again";
        } else {
            if (fresh == 1)
                budget_load_done(a->budget, clock_wall_us(), clock_mono_us()); /* nobody has spent anything under it */
            reason = NULL;
        }
    }
    arena_free(arena);
    return reason;
}
