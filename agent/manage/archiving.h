/* Archiving: old rows of the ledger moved to another file at an operator's word, on a thread of its own. Control thread.
 *
 * The answer to `archive` is that it has started; `archive_status` says how far it is. One at a time. */
#ifndef TOLLGATE_ARCHIVING_H
#define TOLLGATE_ARCHIVING_H

#include <msgpack.h>

struct archiving;

/* For rpc_method. Parameters: the ledger's file, the archive's file (absolute), the first instant that stays in microseconds. */
const char *archiving_start(void *user, const msgpack_object *params, msgpack_packer *p);
/* No parameters. A map: state ("none", "running", "done", "failed"), file, moved (requests so far), error. */
const char *archiving_status(void *user, const msgpack_object *params, msgpack_packer *p);
/* Ends a running one after the rows under way, and waits for that; before ledger_close. NULL is allowed. */
void archiving_free(struct archiving *r);

#endif
