/* From the configuration's credentials to the options of agent/credential/, and their check at `tollgate check` time. */
#ifndef TOLLGATE_CONFIG_CREDENTIAL_H
#define TOLLGATE_CONFIG_CREDENTIAL_H

#include "base/arena.h"
#include "config/config.h"
#include "credential/options.h"

struct config_doc;

/* One for each provider that has a credential, named after it; *count of them. They point into the configuration and the arena. Aborts
 * when memory is out. */
struct credential_options *config_credentials(const struct config *c, struct arena *a, size_t *count);
/* Adds what is wrong with provider i's credential, with lines. */
void config_credential_check(const struct config *c, unsigned i, const struct config_doc *doc, struct config_errors *errors);
/* Whether any key is printed by a command: then programs must be run. */
bool config_runs_commands(const struct config *c);

#endif
