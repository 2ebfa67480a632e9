/* The audit log: who changed what, in a file that is only ever added to.
 *
 * One JSON object a line: seq, at, actor, action, object, detail, prev, hash. `hash` is SHA-256 of the line's bytes up to (not including)
 * `,"hash":`, in hexadecimal; `prev` is the hash of the line before, 64 zeros in the first. So no line can be changed, taken out or put in
 * without the chain breaking from there on. Lines cut off at the end are found by a hash kept elsewhere: each one is in the service's log.
 *
 * An entry is in the kernel's hands before audit_append returns, so it survives kill -9 of the process; a thread of its own brings it to
 * the disk right after. The file has mode 0600, and whoever has it open for writing holds a flock(2). Never put a secret into an entry. */
#ifndef TOLLGATE_OBSERVE_AUDIT_H
#define TOLLGATE_OBSERVE_AUDIT_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AUDIT_HASH_BYTES = 65 /* hexadecimal, NUL-terminated */, AUDIT_TEXT_MAX = 2048 /* of one text; longer ones are cut */ };

struct audit;

struct audit_entry {
    struct slice actor;   /* "uid 0", "signal", "agent" */
    struct slice action;  /* a word: "reload", "revoke", "start" */
    struct slice object;  /* what it was done to; may be empty */
    struct slice detail;  /* anything more; may be empty */
};

/* Makes the file or goes on with it; what a crash left of a last line is cut off. NULL with a reason: no permission, kept by another
 * process, its end is damaged. */
struct audit *audit_open(const char *file, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Waits until everything is on disk. NULL is allowed. */
void audit_close(struct audit *a);
/* Any thread. Writes the entry, dated now, and a line into the log. False: it is not in the file (the log says why), and the act it
 * speaks of should be refused. */
bool audit_append(struct audit *a, const struct audit_entry *e) __attribute__((warn_unused_result));

/* What a file says when it is read from the beginning. */
struct audit_line {
    int64_t seq;
    const char *at, *actor, *action, *object, *detail, *hash; /* valid until the callback returns */
};
struct audit_verified {
    int64_t entries;
    char head[AUDIT_HASH_BYTES];  /* hash of the last entry */
    bool sought_found;
    int64_t bad_line;             /* 0: the chain holds; else the line at which it breaks, from 1 */
    char why[128];                /* of bad_line */
};
/* Follows the chain; `each` (may be NULL) gets every good entry. `sought` (may be NULL) is a hash to look for. False: the file cannot be
 * read, `why` says it; a broken chain is no failure of the function. Needs no agent, takes no lock. */
bool audit_verify(const char *file, const char *sought, void (*each)(void *user, const struct audit_line *line), void *user,
                  struct audit_verified *out, char *why, size_t why_size) __attribute__((warn_unused_result));

#endif
