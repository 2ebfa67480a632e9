/* Relaying: the thread that stands between HAProxy's two tiers in the path of streams.
 *
 * HAProxy's first tier sends streaming requests here, over one unix socket for each try; the relay passes them on, unchanged, to the second
 * tier's socket of the same try, and the answer back through relay/. It holds no key longer than the bytes take to pass and
 * keeps nothing. Streams that pass through end with the agent: with an error event when it stops in order, with a cut when it is killed. */
#ifndef TOLLGATE_RELAYING_H
#define TOLLGATE_RELAYING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct agent;
struct config;
struct relaying;

/* Listens on NAME-primary.sock and NAME-fallback.sock (listen.relay) and starts the thread. NULL with the reason in `why`. */
struct relaying *relaying_start(struct agent *a, const struct config *c, mode_t mode, gid_t group, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* Ends every stream and the thread, and frees all. NULL is allowed. */
void relaying_stop(struct relaying *r);

#endif
