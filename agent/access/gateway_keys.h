/* Gateway keys: the list of them, from the ledger, and the commands that change it. Control thread, but for gateway_keys_apply.
 *
 * The key's text never comes here: tollgatectl makes it and sends its SHA-256. Changes go through access_change_submit; what is created,
 * rotated or revoked is in force on every worker before the command is answered. */
#ifndef TOLLGATE_GATEWAY_KEYS_H
#define TOLLGATE_GATEWAY_KEYS_H

#include "base/arena.h"

#include <msgpack.h>

struct agent;
struct config;
struct ledger_access;
struct ledger_reader;

/* Reads the keys, and the secret their hashes are made with (keys.secret_file; made when it is not there and no key is either). False with
 * a reason: the secret is missing, open to others, or not the one the keys were made with. */
bool gateway_keys_open(struct agent *a, struct ledger_reader *r, const struct config *c, char *why, size_t why_size)
    __attribute__((warn_unused_result));
void gateway_keys_close(struct agent *a);
/* Any thread, as long as the agent lives. */
struct slice gateway_keys_secret(const struct agent *a);
/* Under the lists' lock: a change that was committed is in force for every request from now on. */
void gateway_keys_apply(struct agent *a, const struct ledger_access *change);

/* The different budgets that keys have, and `more` (empty: none), in `arena`. False: memory is out. */
bool gateway_keys_budgets(struct agent *a, struct slice more, struct arena *arena, struct slice **out, size_t *count)
    __attribute__((warn_unused_result));
/* The budget of the key with this id, in memory that lives as long as the list; empty: none. */
struct slice gateway_keys_budget_of(struct agent *a, struct slice id);

/* For rpc_method. Parameters: "digest:" and SHA-256 of the key, name, second it expires ("0": never), organization, team, user,
 * application, cost centre, groups, models, endpoints (one a line each), budget. The answer: a map with id, expires_us, budget. */
const char *gateway_keys_create(void *user, const msgpack_object *params, msgpack_packer *p);
/* Parameters: id, "digest:...", seconds that the old key is accepted, second it expires ("": as long again). The same answer. */
const char *gateway_keys_rotate(void *user, const msgpack_object *params, msgpack_packer *p);
/* Parameters: id, note. */
const char *gateway_keys_revoke(void *user, const msgpack_object *params, msgpack_packer *p);
/* No parameters: an array of maps. */
const char *gateway_keys_list(void *user, const msgpack_object *params, msgpack_packer *p);

#endif
