/* Writing to the ledger from commands: through the agent that keeps it, or, when none does, by opening it as the agent would. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_BOOK_H
#define TOLLGATE_ADMIN_TOLLGATECTL_BOOK_H

#include "admin/tollgatectl_args.h"
#include "request.h"

struct ctl_correction {
    int64_t request, cost_nano, discount_nano, version; /* cost and discount are differences */
    enum known_by known_by;
};

/* Both return when it is in the file, or say why not. No SQLite connection may be open in this process: looking at the lock closes the
 * file, which would drop SQLite's locks. */
bool ctl_book_repriced(const struct ctl_place *p, const struct ctl_correction *corrections, size_t count);
bool ctl_book_close(const struct ctl_place *p, int64_t before_us);

#endif
