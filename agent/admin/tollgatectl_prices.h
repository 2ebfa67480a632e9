/* Price tables for commands: the one in force, and the one a file would make. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_PRICES_H
#define TOLLGATE_ADMIN_TOLLGATECTL_PRICES_H

#include "admin/tollgatectl_args.h"
#include "price/price.h"

/* The table a catalogue makes together with the configuration's overrides (when there is one). NULL after saying why. */
struct price_table *ctl_prices_of_file(const struct ctl_place *p, const char *file, struct price_import_report *report);
/* The table in force: the ledger's active version when the ledger was named (or its default file exists) and has one, else the
 * configuration's, else the built-in one. `source` says which, for people. NULL after saying why. */
struct price_table *ctl_prices_in_force(const struct ctl_place *p, char *source, size_t size);

#endif
