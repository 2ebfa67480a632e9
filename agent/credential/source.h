/* Sources: where a key's value comes from, and when it is fetched.
 *
 * The driver (source.c) is the same for all kinds: one fetch at a time, again ahead of the value's expiry with jitter, after a failure
 * with growing pauses. A kind (source_*.c) only knows how to fetch once: it ends each fetch with exactly one call of key_source_done or
 * key_source_fail, from inside `fetch` or later. Control thread. */
#ifndef TOLLGATE_CREDENTIAL_SOURCE_H
#define TOLLGATE_CREDENTIAL_SOURCE_H

#include "base/redact.h"
#include "base/slice.h"
#include "credential/options.h"
#include "credential/origin.h"

#include <ev.h>
#include <stdint.h>

struct http_client;
struct key_source;

enum { SOURCE_KNOWN = 2 };

struct key_source_ops {
    bool retries;   /* false: what failed is tried again only when asked for (a file that has changed) */
    void (*fetch)(struct key_source *s);
    void (*cancel)(struct key_source *s); /* drops the fetch under way: neither done nor fail is called for it */
    void (*free)(struct key_source *s);   /* after cancel, if one was under way */
};

struct key_source_user {
    /* A new good value; lifetime_s -1: it does not expire. False with a reason: it cannot be used, which counts as a failure. `text` is
     * wiped afterwards. */
    bool (*value)(void *user, struct slice text, int64_t lifetime_s, char *why, size_t why_size);
    void (*failed)(void *user, const char *why, double again_s); /* again_s < 0: not by itself */
    void *user;
};

struct key_source {
    const struct key_source_ops *ops;
    struct env_pool *pool;
    struct ev_loop *loop;     /* NULL: not started */
    struct http_client *http;
    struct key_source_user to;
    ev_timer due;
    int64_t refresh_s;        /* a value without an expiry is fetched again after so long; 0: never */
    int64_t begun_mono_us;
    bool fetching;
    unsigned strikes;         /* failures in a row */
    uint64_t fetches, failures;
    char error[256];          /* of the last failure; "" after a success */
    struct redact_entry *known[SOURCE_KNOWN]; /* secrets it asks with */
};

/* `k` and what it points to outlive the source. NULL: out of memory. */
struct key_source *key_source_new(const struct credential_key *k, struct env_pool *pool) __attribute__((warn_unused_result));
/* NULL is allowed. Not from inside key_source_user's functions. */
void key_source_free(struct key_source *s);
/* Values on this machine are fetched at once and without a loop. */
bool key_source_is_local(const struct credential_key *k);
/* left_s: what remains of the value already there, 0: there is none, fetch now; -1: it does not expire. */
void key_source_start(struct key_source *s, struct ev_loop *loop, struct http_client *http, int64_t left_s);
/* Fetches now, unless a fetch is under way or began less than min_gap_s ago. */
void key_source_fetch(struct key_source *s, int64_t min_gap_s);

/* For the kinds. */
void key_source_done(struct key_source *s, struct slice text, int64_t lifetime_s);
void key_source_fail(struct key_source *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A secret it asks with, to be kept out of all texts until the source ends or another takes its slot (0 to SOURCE_KNOWN - 1). */
void key_source_knows(struct key_source *s, unsigned slot, struct slice secret);

struct key_source *key_source_local_new(const struct credential_secret *o);
struct key_source *key_source_azure_new(const struct credential_azure *o);
struct key_source *key_source_google_new(const struct credential_google *o);
struct key_source *key_source_vault_new(const struct credential_vault *o);
struct key_source *key_source_command_new(const struct credential_command *o);

/* When to fetch again, in seconds from now. `random` is uniform in 0..1. */
double key_source_ahead_s(int64_t lifetime_s, double random);
double key_source_pause_s(unsigned strikes, double random);

#endif
