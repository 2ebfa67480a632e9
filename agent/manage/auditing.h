/* Auditing: every administrative act goes into the audit log (observe/audit.h) before it is done.
 *
 * Acts that come through the admin socket need nothing: each method is recorded with who asked (uid, pid) and its parameters, unless
 * auditing.c lists it among those that only read; one that cannot be recorded is refused. Acts by other ways (signals, HTTP) call
 * auditing_note. Parameters of methods must not hold secrets. */
#ifndef TOLLGATE_AUDITING_H
#define TOLLGATE_AUDITING_H

#include <stdbool.h>
#include <stddef.h>

struct agent;
struct config;
struct rpc_server;

bool auditing_open(struct agent *a, const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
/* From now on the server's questions are recorded. */
void auditing_watch(struct agent *a, struct rpc_server *s);
/* Any thread. True: it is recorded; else the act should be refused. `detail` may be NULL. */
bool auditing_note(struct agent *a, const char *actor, const char *action, const char *object, const char *detail);
/* Control thread: a configuration was asked to be loaded and is now in force, or was refused; its file's SHA-256 is recorded. */
void auditing_loaded(struct agent *a, const char *actor, const char *action, bool good);

#endif
