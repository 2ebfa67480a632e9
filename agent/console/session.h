/* Sessions of people who signed in: kept here, known by a cookie that is a random number and says nothing.
 *
 * A fixed number of them in memory; only a hash of the cookie is kept. A session ends at its token's expiry, at sign-out, with
 * sessions_clear, and, when the table is full, the one that would end first makes room. Any thread. */
#ifndef TOLLGATE_CONSOLE_SESSION_H
#define TOLLGATE_CONSOLE_SESSION_H

#include "base/slice.h"
#include "console/console.h"

struct sessions;

enum { SESSIONS_MAX = 1024, SESSION_COOKIE = 44 }; /* 32 random bytes in base64url, and its NUL */

/* NULL: out of memory. */
struct sessions *sessions_new(void) __attribute__((warn_unused_result));
void sessions_free(struct sessions *s);
/* A new session until `until_us` (wall time). False: no random numbers. */
bool sessions_begin(struct sessions *s, const struct console_person *who, int64_t until_us, int64_t now_us, char cookie[SESSION_COOKIE])
    __attribute__((warn_unused_result));
/* Whose cookie it is. False: nobody's, or over. */
bool sessions_find(struct sessions *s, struct slice cookie, int64_t now_us, struct console_person *who)
    __attribute__((warn_unused_result));
void sessions_end(struct sessions *s, struct slice cookie);
void sessions_clear(struct sessions *s);
size_t sessions_count(struct sessions *s, int64_t now_us);

#endif
