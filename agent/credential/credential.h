/* Credentials: the keys to the providers, held by the agent alone.
 *
 * A provider has one credential; a credential has one or more keys with weights; each key comes from a source (options.h): a file, an
 * environment variable, a systemd credential, a token endpoint, a vault, a command. Values live in locked memory (base/secret.h), already in
 * the form of the header value that HAProxy will inject ("Bearer sk-..."), or as AWS keys to sign with (sigv4.h). Requests take a
 * snapshot: a value in use stays valid until its snapshot is released, however often keys rotate, and is then wiped.
 *
 * What is read from this machine must be there at start; what is fetched may come later, is fetched again ahead of its expiry, one fetch at a
 * time, and the last good value is used as long as it is valid. When no key has a valid value, credential_pick says so and the request
 * is refused. A key the provider refuses is set aside (credential_report) and comes back after a while.
 *
 * The control thread owns the store; picking is for any thread. No message, log line or error here ever shows a value, or its length. */
#ifndef TOLLGATE_CREDENTIAL_H
#define TOLLGATE_CREDENTIAL_H

#include "base/slice.h"
#include "credential/options.h"
#include "credential/sigv4.h"

#include <stdint.h>

struct ev_loop;
struct http_client;
struct credential_store;
struct credential_snapshot;

#define CREDENTIAL_MAX (16 * 1024) /* bytes of a value, scheme included */

/* Reads what can be read at once. NULL with the reason (which credential, which key, what to change) in `why`. Options must outlive the store. To
 * reload a changed configuration pass the running store as `previous` (else NULL): variables that were wiped at first reading, values
 * that were fetched and are still valid, and keys set aside are taken over from it. */
struct credential_store *credential_store_new(const struct credential_options *o, size_t count, struct credential_store *previous,
                                              char *why, size_t why_size) __attribute__((warn_unused_result));
/* Snapshots taken stay valid. Stops watching and fetching; on the thread that called credential_store_start. NULL is allowed. */
void credential_store_free(struct credential_store *s);
/* From now on fetches what must be fetched and reads files again when they change. Control thread's loop (the default loop, where commands
 * are configured); loop and client must outlive the store. -1: out of memory. */
int credential_store_start(struct credential_store *s, struct ev_loop *loop, struct http_client *http) __attribute__((warn_unused_result));
/* Reads files and systemd credentials again (SIGHUP, or by the watch). What cannot be read keeps its last good value and is logged.
 * Returns the number of values that changed. Control thread. */
int credential_store_reload(struct credential_store *s);

/* ---- for requests: any thread ------------------------------------------------------------------------------------------ */

/* Never NULL. */
struct credential_snapshot *credential_acquire(struct credential_store *s) __attribute__((warn_unused_result));
/* NULL is allowed. Values seen through it are invalid from here on. */
void credential_release(struct credential_snapshot *c);

enum credential_found {
    CREDENTIAL_PICKED,
    CREDENTIAL_UNKNOWN, /* there is no credential of that name: the provider wants none */
    CREDENTIAL_NONE     /* none of its keys has a valid value */
};

struct credential_pick {
    struct slice header;        /* the ready header value, in locked memory; p NULL where requests are signed instead */
    const struct aws_keys *aws; /* NULL: not signed */
    const struct credential_aws *signing; /* region and service */
    unsigned key;               /* index in the options */
    struct slice name;          /* of the key; valid as long as the snapshot */
    uint32_t serial;            /* names this value for as long as the process runs; never 0 */
};

/* The next key by weight (smooth weighted round robin) among those with a valid value that are not set aside; when all are, the one
 * that comes back first. */
enum credential_found credential_pick(struct credential_snapshot *c, struct slice name, int64_t mono_us, struct credential_pick *out)
    __attribute__((warn_unused_result));
/* For a second try: the key whose turn is next among the ready ones other than `except`; takes no turn. False: there is none, `out` is
 * untouched. */
bool credential_pick_other(struct credential_snapshot *c, struct slice name, unsigned except, int64_t mono_us, struct credential_pick *out)
    __attribute__((warn_unused_result));
/* Two keys or more are ready: valid and not set aside. */
bool credential_spare(const struct credential_snapshot *c, struct slice name, int64_t mono_us);
/* Its value may be another at any moment: it comes from a file, a token endpoint, a vault or a command. */
bool credential_renewable(const struct credential_snapshot *c, struct slice name);
/* False when credential_pick would answer NONE. */
bool credential_usable(const struct credential_snapshot *c, struct slice name, int64_t mono_us);
/* Counts the changes: two snapshots with the same number hold the same values. */
uint64_t credential_generation(const struct credential_snapshot *c);

/* ---- what providers said about a key: control thread ------------------------------------------------------------------- */

/* A provider answered with this status to a request that carried the value `serial`. 401 and 403 set the key aside for 30 seconds, twice as
 * long each time up to 15 minutes, and have it fetched or read again at once; 429 for retry_after_s, or (-1) from a second on up to a
 * minute. Any status below 400 makes a key good again. Values that were replaced meanwhile are not known any more: ignored. */
void credential_report(struct credential_store *s, struct slice name, uint32_t serial, int status, int64_t retry_after_s, int64_t mono_us);

/* Any thread: a value was refused, so all keys of this credential are to be looked at now. What comes over the network or from a command is
 * fetched once for a value, then at most every few seconds. A ticket, never 0. */
uint32_t credential_look(struct credential_store *s, struct slice name);
/* Any thread: that look has ended, and what it found is published. */
bool credential_looked(struct credential_store *s, uint32_t ticket);

/* One key, for people. Strings live until the store changes. */
struct credential_state {
    const char *name, *key_name, *kind; /* key_name "": none; kind: file, env, systemd, azure, google, vault, command */
    unsigned key, weight;
    bool valid, aside;
    int64_t expires_in_s;    /* -1: never, or no value */
    int64_t back_in_s;       /* set aside for so long; 0: it is not */
    uint64_t fetches, failures, refused; /* refused: 401, 403, 429 */
    const char *error;       /* why the last fetch failed; "" when it did not */
};
/* Key i of the store, counted through all credentials; false when there are fewer. */
bool credential_store_state(const struct credential_store *s, size_t i, int64_t mono_us, struct credential_state *out);

/* ---- the process --------------------------------------------------------------------------------------------------------- */

/* What credential_harden_process could do; false: refused by the kernel (log it, do not stop). */
struct credential_hardening {
    bool undumpable;   /* PR_SET_DUMPABLE 0: no core, no ptrace and no /proc/PID/environ or mem for other processes of the user */
    bool no_core;      /* RLIMIT_CORE 0, soft and hard */
    bool no_new_privs; /* PR_SET_NO_NEW_PRIVS: nothing it executes gains rights */
    int64_t lock_limit; /* RLIMIT_MEMLOCK in force in bytes after raising soft to hard; -1: unlimited */
};
/* First thing in main, before secrets are read: after it, the files of /proc/PID belong to root. */
void credential_harden_process(struct credential_hardening *out);

#endif
