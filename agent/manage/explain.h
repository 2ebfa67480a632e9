/* Explain: what would be decided about a request, and why, without sending one: identity, access rule, limits, route. Control thread. */
#ifndef TOLLGATE_EXPLAIN_H
#define TOLLGATE_EXPLAIN_H

#include <msgpack.h>

/* For rpc_method. Parameters: credential (a token or gateway key, without "Bearer"), model, endpoint's name, client address, prompt tokens
 * ("-1": not given), instant in microseconds ("0": now). The answer: a map of maps, see explain.c. Nothing is counted, held
 * or written (but a circuit breaker that is half open may spend its probe of that second on it), and the credential is kept nowhere. */
const char *explain_request(void *user, const msgpack_object *params, msgpack_packer *p);

#endif
