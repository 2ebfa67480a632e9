/* From the configuration's structs to the options of each concern, and the concerns' own checks at `tollgate check` time.
 *
 * The results point into the configuration and the arena; both must outlive them. */
#ifndef TOLLGATE_CONFIG_MAP_H
#define TOLLGATE_CONFIG_MAP_H

#include "base/arena.h"
#include "budget/options.h"
#include "config/config.h"
#include "identity/identity.h"
#include "config/config_prices.h"
#include "route/haproxy_config.h"

struct config_doc;

/* All abort when memory is out: they run at start and at reload only, on a few kilobytes. */
struct budget_options config_budget(const struct config *c, struct arena *a);
struct identity_options config_identity(const struct config *c, struct arena *a);
struct haproxy_plan config_haproxy(const struct config *c, struct arena *a);
/* Runs every concern's check; adds what they refuse, with lines. */
void config_map_check(const struct config *c, const struct config_doc *doc, struct config_errors *errors);

#endif
