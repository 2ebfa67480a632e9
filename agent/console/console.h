/* The console: a web page for people, with what the ledger and the budgets say. An HTTP server with threads of its own.
 *
 * People sign in through the company's OpenID provider (authorization code and PKCE, see oidc.h); afterwards a cookie names a session
 * that is kept here. A viewer sees the requests of one team, an admin all; what is asked for never widens that. The ledger's file is
 * read through read-only connections of its own, and every question has a time limit: neither decisions nor commits wait for it.
 * Nothing here changes anything but sessions. */
#ifndef TOLLGATE_CONSOLE_CONSOLE_H
#define TOLLGATE_CONSOLE_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct console;
struct oidc_attempt;

enum console_role { CONSOLE_NOBODY, CONSOLE_VIEWER, CONSOLE_ADMIN };

struct console_person {
    char subject[256], user[256], team[128], organization[128];
    enum console_role role;
    int64_t expires_s; /* seconds since 1970: exp of the ID token */
};

/* What a sign-in came to. */
enum console_outcome {
    CONSOLE_SIGNED_IN,
    CONSOLE_FORBIDDEN,    /* a good token of somebody with no role here */
    CONSOLE_REFUSED,      /* something about code or token is wrong */
    CONSOLE_UNAVAILABLE   /* the OpenID provider did not answer */
};

struct console_options {
    int fd;               /* listening socket; owned by the console from console_start on, also when that fails */
    const char *url;      /* how browsers reach it, without a slash at the end: "https://ai.example.com/tollgate/console" */
    const char *ledger;   /* file */
    int64_t session_us;   /* longest session */
    /* All of these are called on the console's threads and may take seconds. `why` is for the log and never holds a secret. */
    void *user;
    /* Where to send a browser for this sign-in; size bytes. False: the OpenID provider cannot be asked now. */
    bool (*authorize)(void *user, const struct oidc_attempt *attempt, char *url, size_t size, char *why, size_t why_size);
    /* Takes the code to the provider, verifies the ID token and finds the role. `iss` is the answer's own, NULL when it had none. */
    enum console_outcome (*exchange)(void *user, const char *code, const char *iss, const struct oidc_attempt *attempt,
                                     struct console_person *who, char *why, size_t why_size);
    /* Where a browser ends its session at the provider; false: the provider has no such place. */
    bool (*sign_out)(void *user, char *url, size_t size);
    /* Writes a JSON array of the limits this person may see. */
    void (*budgets)(void *user, const struct console_person *who, FILE *json);
    /* The place behind all that has happened; then what has happened behind *cursor and this person may see, as JSON objects with the columns of
     * live.c, one a line, at most `max`; *cursor moves on. Returns how many more there were. */
    uint64_t (*now)(void *user);
    uint64_t (*happened)(void *user, const struct console_person *who, uint64_t *cursor, size_t max, FILE *json);
};

/* NULL with a reason in `why`. The strings must live as long as the console. */
struct console *console_start(const struct console_options *o, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Everybody has to sign in again: issuers or roles may have changed. Any thread. */
void console_sign_out_all(struct console *c);
/* Ends open streams and all threads, closes the socket. NULL is allowed. */
void console_stop(struct console *c);

#endif
