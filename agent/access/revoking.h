/* Revoking: the list of who is refused, from the ledger and a watched file. Control thread, but for revoking_apply.
 *
 * The ledger's part changes through access_change_submit. The file (revocations.file: one "KIND VALUE" a line) is read again when it
 * changes; one that cannot be read, or has a line that is not understood, leaves its last good content in force. */
#ifndef TOLLGATE_REVOKING_H
#define TOLLGATE_REVOKING_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>

struct agent;
struct config;
struct ledger_access;
struct ledger_reader;

bool revoking_open(struct agent *a, struct ledger_reader *r, const struct config *c, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* False: the configuration's file cannot be used. Changes nothing. */
bool revoking_check(const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
/* False: the new configuration's file cannot be read. */
bool revoking_reload(struct agent *a, const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
void revoking_close(struct agent *a);
/* Under the lists' lock: a change that was committed is in force for every request from now on. */
void revoking_apply(struct agent *a, const struct ledger_access *change);

/* For rpc_method. Parameters: kind, value, issuer ("" for any), second it ends at ("0": never), note. They answer after the commit. */
const char *revoking_revoke(void *user, const msgpack_object *params, msgpack_packer *p);
/* Parameters: kind, value, issuer. */
const char *revoking_unrevoke(void *user, const msgpack_object *params, msgpack_packer *p);
/* No parameters: an array of maps. */
const char *revoking_list(void *user, const msgpack_object *params, msgpack_packer *p);

#endif
