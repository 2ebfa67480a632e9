/* Secrets that are on this machine: read from a file, the environment or a systemd credential. Control thread. */
#ifndef TOLLGATE_CREDENTIAL_ORIGIN_H
#define TOLLGATE_CREDENTIAL_ORIGIN_H

#include "base/secret.h"
#include "credential/options.h"

/* What was read from the environment, whose bytes are wiped there: a variable is readable in /proc/PID/environ for the life of the
 * process otherwise. Counted; shared by a store and its successors. */
struct env_pool;
struct env_pool *env_pool_new(void) __attribute__((warn_unused_result));
struct env_pool *env_pool_ref(struct env_pool *p);
/* NULL is allowed. */
void env_pool_unref(struct env_pool *p);

/* A copy the caller frees. NULL with a reason that does not show it. */
struct secret *origin_read(const struct credential_secret *o, struct env_pool *pool, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* The file to watch, in `buf` or the options; NULL for a variable, or when there is no $CREDENTIALS_DIRECTORY. */
const char *origin_path(const struct credential_secret *o, char *buf, size_t cap);

#endif
