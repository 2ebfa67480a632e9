/* Credentials: the keys to the providers, held by the agent alone.
 *
 * Each is read from a file, an environment variable or a systemd credential into locked memory (base/secret.h), already in the
 * form of the header value that HAProxy will inject ("Bearer sk-..."). Requests take a snapshot: a value in use stays valid until
 * its snapshot is released, however often keys rotate, and is then wiped. A credential that cannot be read at start is an error;
 * later the last good value stays and a log line says so. No message, log line or error here ever shows a value, or its length. */
#ifndef TOLLGATE_CREDENTIAL_H
#define TOLLGATE_CREDENTIAL_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdint.h>

struct ev_loop;
struct credential_store;
struct credential_snapshot;

#define CREDENTIAL_MAX (8 * 1024) /* bytes of a value, scheme included */

/* Exactly one source. Values are printable ASCII without blanks at the ends; one trailing newline in a file is dropped. */
struct credential_options {
    const char *name;    /* required, unique: what targets refer to */
    const char *file;    /* not readable by group or others (base/secret.h) */
    const char *env;     /* variable; its bytes are wiped from the process environment once read */
    const char *systemd; /* name below $CREDENTIALS_DIRECTORY (systemd.exec, LoadCredential=) */
    const char *scheme;  /* put before the value with one blank; NULL: "Bearer"; "" : the bare value (x-api-key) */
};

/* Reads all of them. NULL with the reason (which credential, which source, what to change) in `why`. Options are copied. To reload
 * a changed configuration pass the running store as `previous` (else NULL): variables that were wiped at first reading are taken
 * from it. */
struct credential_store *credential_store_new(const struct credential_options *o, size_t count, struct credential_store *previous,
                                              char *why, size_t why_size) __attribute__((warn_unused_result));
/* Snapshots taken stay valid. Stops watching; on the thread that called credential_store_watch. NULL is allowed. */
void credential_store_free(struct credential_store *s);
/* Reads files and systemd credentials again (SIGHUP, or by the watch). What cannot be read keeps its last good value and is logged.
 * Returns the number of values that changed, -1 when memory is out. Control thread. */
int credential_store_reload(struct credential_store *s);
/* From now on reloads within a second of a file's change. Control thread's loop; the loop must outlive the store. -1: out of memory. */
int credential_store_watch(struct credential_store *s, struct ev_loop *loop) __attribute__((warn_unused_result));

/* Any thread. Never NULL. */
struct credential_snapshot *credential_acquire(struct credential_store *s) __attribute__((warn_unused_result));
/* Any thread. NULL is allowed. Values seen through it are invalid from here on. */
void credential_release(struct credential_snapshot *c);
/* The ready header value, in locked memory; p is NULL when there is no such name. */
struct slice credential_find(const struct credential_snapshot *c, struct slice name);
/* As above, by the index in the options. */
struct slice credential_at(const struct credential_snapshot *c, size_t i);
/* Counts the changes: two snapshots with the same number hold the same values. */
uint64_t credential_generation(const struct credential_snapshot *c);

/* `in` with every live value (bare, without its scheme) replaced by "[redacted]"; `in` itself when there is none. Values are also
 * recognised with JSON's escapes and percent-encoded. Values below 8 bytes are left alone: they would eat ordinary text. p is NULL when
 * memory is out: then print nothing. */
struct slice credential_scrub(const struct credential_snapshot *c, struct slice in, struct arena *a);

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
