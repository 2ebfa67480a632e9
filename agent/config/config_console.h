/* The configuration's `console` part: its checks, and what identity makes of the people who sign in there. */
#ifndef TOLLGATE_CONFIG_CONSOLE_H
#define TOLLGATE_CONFIG_CONSOLE_H

#include "base/arena.h"
#include "config/config.h"
#include "identity/identity.h"

struct config_doc;
struct credential_options;

/* The values the role rules give; a role stands where requests have their application, which a person at the console does not have. */
#define CONSOLE_ROLE_ADMIN "admin"
#define CONSOLE_ROLE_VIEWER "viewer"
#define CONSOLE_SECRET "console.client_secret"

/* Adds what is wrong, with lines. Nothing without a console. */
void config_console_check(const struct config *c, const struct config_doc *doc, struct config_errors *errors);
/* The issuer that `console.issuer` names; NULL: there is none (refused by the check). */
const struct config_issuer *config_console_issuer(const struct config *c);
/* One issuer, as it is for requests, but for ID tokens: made for this client, with its roles, and a team only where the token (or a rule)
 * names one. Points into the configuration and the arena. */
struct identity_options config_console_identity(const struct config *c, struct arena *a);
/* The one credential CONSOLE_SECRET, of a console that has a client secret. Points into the configuration and the arena. */
struct credential_options *config_console_secret(const struct config *c, struct arena *a);

#endif
