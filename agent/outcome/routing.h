/* Routing: the way of circuit breakers (route/breaker.h) through the process: from the ledger at start, from settlements while running,
 * back into the ledger when something changes, shown and changed by operators. Control thread, unless a name says otherwise. */
#ifndef TOLLGATE_ROUTING_H
#define TOLLGATE_ROUTING_H

#include "request.h"

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>

struct agent;
struct inflight;
struct settle_line;
struct settle_record;

/* Makes agent->breakers and agent->affinity, fills the first from the ledger, adds the metrics. False with a reason. Before the first
 * runtime. */
bool routing_open(struct agent *a, const char *ledger_file, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Hands every breaker to the ledger, latencies included; before it closes. */
void routing_keep_all(struct agent *a);
void routing_close(struct agent *a);

/* The log line of a try: `second` the fallback's; `status` the provider's own, -1 none. After keys_heard: a key that was set aside with
 * others left is no fault of the target. */
void routing_attempt(struct agent *a, struct inflight *f, bool second, const struct settle_line *l, int64_t status);
/* The relay gave a try up for the provider's fault: its line may have come before that, and looked well. */
void routing_given_up(struct agent *a, struct inflight *f, bool second);
/* The first try left no line: the provider closed without a byte. */
void routing_silent(struct agent *a, const struct inflight *f);
/* The tap's record of the answer that the client got; once for each request. */
void routing_served(struct agent *a, struct inflight *f, const struct settle_record *r, bool fallback, int64_t tpot_ns,
                    int64_t output);
/* Every second. */
void routing_tick(struct agent *a);

/* For rpc_method. A target is GROUP/MODEL, or GROUP for all models there. */
const char *routing_status(void *user, const msgpack_object *params, msgpack_packer *p);
const char *routing_drain(void *user, const msgpack_object *params, msgpack_packer *p);
const char *routing_enable(void *user, const msgpack_object *params, msgpack_packer *p);

#endif
