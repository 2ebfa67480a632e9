/* Access policy: who may ask for what, when and from where (configuration: `access`). Immutable; any thread.
 *
 * Rules only ever allow. A rule concerns a caller who matches every list of subjects it has; a request passes when one rule that concerns its
 * caller allows all of it, the first such rule in the file's order. What no rule allows is refused, with one message that says what would
 * pass. Without `access` in the configuration there is no policy, and everybody who is known may ask for everything. */
#ifndef TOLLGATE_ACCESS_POLICY_H
#define TOLLGATE_ACCESS_POLICY_H

#include "config/config.h"
#include "request.h"
#include "route/route.h"

struct access_policy;

/* Copies what it keeps. NULL with a reason that begins with the place, "access[1].hours: ...". */
struct access_policy *access_policy_new(const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
/* NULL is allowed. */
void access_policy_free(struct access_policy *p);

struct access_ask {
    const struct identity *who;
    struct slice client_ip;          /* text form; one that is no address is in no network */
    enum endpoint endpoint;
    struct slice model;              /* the alias, as asked */
    const struct route_alias *alias; /* NULL: there is no such alias, which only rules without `models` and `upstreams` let pass, to its 404 */
    int64_t input;                   /* tokens; -1: not counted yet, so it is not looked at */
    int64_t now_us;
};

struct access_decision {
    bool allowed;
    const char *rule;     /* that allows it; lives as long as the policy */
    int64_t max_output;   /* tokens of one choice that the rule lets through; -1: no limit of its own */
    const char *reason;   /* refused: static word, "access_model", ...; also access_subject, _network, _hours, _endpoint, _prompt */
    struct slice message; /* refused; in the arena */
};

void access_decide(const struct access_policy *p, const struct access_ask *ask, struct arena *a, struct access_decision *out);
/* What one rule makes of it, for explanations. */
struct access_look {
    const char *rule;   /* its name; lives as long as the policy */
    bool concerns;      /* it is about this caller */
    const char *fails;  /* the first part of it that does not hold, as the configuration calls it: "teams", "networks"; NULL: all of it holds */
    struct slice wants; /* what that part asks for; in the arena */
};
/* False: there is no rule `i`. */
bool access_look(const struct access_policy *p, unsigned i, const struct access_ask *ask, struct arena *a, struct access_look *out);
/* Does some rule let this caller use this alias, at whatever endpoint, time and place? */
bool access_may_use(const struct access_policy *p, const struct identity *who, const struct route_alias *alias);

#endif
