/* Signing in at the console: the calls to the OpenID provider and the verification of its ID token.
 *
 * Everything that talks runs on the control thread's loop, without blocking it; the console's threads wait here for the outcome, at most
 * SIGNIN_WAIT_S. The provider's discovery document is kept for an hour; after a failure it is not asked again for some seconds. */
#ifndef TOLLGATE_SIGNIN_H
#define TOLLGATE_SIGNIN_H

#include "console/console.h"

struct agent;
struct runtime;
struct signin;

enum { SIGNIN_WAIT_S = 15 };

struct signin *signin_new(struct agent *a) __attribute__((warn_unused_result));
/* Control thread. Reads what the runtime's configuration says of the console; NULL with a reason: a secret that cannot be read. In force
 * with signin_commit; a runtime without a console lets nobody in. */
bool signin_prepare(struct signin *s, struct runtime *r, char *why, size_t why_size) __attribute__((warn_unused_result));
void signin_commit(struct signin *s);
/* Control thread: whoever waits is told to try again later, now and from here on; no thread waits for this one any more. */
void signin_stop(struct signin *s);
/* Control thread, when no console thread runs any more and the agent's tasks were run. NULL is allowed. */
void signin_free(struct signin *s);

/* For struct console_options, `user` being the struct signin; console threads. */
bool signin_authorize(void *user, const struct oidc_attempt *attempt, char *url, size_t size, char *why, size_t why_size);
enum console_outcome signin_exchange(void *user, const char *code, const char *iss, const struct oidc_attempt *attempt,
                                     struct console_person *who, char *why, size_t why_size);
bool signin_sign_out(void *user, char *url, size_t size);

#endif
