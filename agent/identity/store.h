/* The store's inside, shared by store.c (state and locks), source.c (where keys come from; control thread) and verifier.c (workers).
 *
 * One mutex guards everything marked so; it is held for a few instructions, never over I/O or a signature. What a cache hit needs
 * is atomic. */
#ifndef TOLLGATE_IDENTITY_STORE_H
#define TOLLGATE_IDENTITY_STORE_H

#include "identity/identity.h"
#include "base/snapshot.h"
#include "identity/jwk.h"

#include <ev.h>
#include <pthread.h>

struct source; /* source.c */
struct introspection;

struct issuer_state {
    const struct identity_issuer *o;
    unsigned algorithms;           /* bit i: enum jws_alg i */
    struct introspection *introspection; /* NULL: none */
    struct source *source;         /* control thread; NULL once retired */
    _Atomic uint64_t generation;   /* of `keys`; 0: none yet */
    _Atomic int64_t fetched_us;    /* wall time of the last good fetch; 0: never */
    _Atomic int64_t next_in_ms;    /* as scheduled at the end of the last fetch */
    /* under the lock: */
    struct jwk_set *keys;
    bool pending;                  /* a fetch is under way or asked for */
    bool wanted;                   /* asked for by a worker, not started yet */
    int64_t asked_us;              /* when a worker last asked because of a kid */
    uint64_t fetches, failures, refreshes_for_kid;
};

struct identity_verifier {
    struct identity_store *store;
    struct identity_verifier *next; /* under the lock */
    bool waiting;                   /* under the lock */
    struct ev_loop *loop;
    ev_async notify;
    identity_ready_fn *ready;
    void *user;
    struct cache *cache;
    struct certificate_cache *certificates; /* NULL: none */
    void *digest; /* EVP_MD_CTX, set up once */
    struct snapshot_reader revocations, keys;
    struct slice key_secret; /* of the keys' hashes; the caller's */
};

struct identity_store {
    pthread_mutex_t lock;
    unsigned refs;   /* under the lock */
    bool retired;    /* under the lock */
    uint64_t generations; /* under the lock: last number given out */
    struct identity_verifier *verifiers; /* under the lock */
    struct arena *arena;
    const struct identity_options *options;
    struct ev_loop *loop;
    struct http_client *http;
    ev_async wake; /* a worker wants keys */
    size_t count;
    struct issuer_state issuers[];
};

/* ---- store.c, any thread ---- */
void store_ref(struct identity_store *s);
void store_unref(struct identity_store *s);
/* A reference to the issuer's keys if they may be used at now_us, else NULL. */
struct jwk_set *store_keys(struct identity_store *s, size_t i, int64_t now_us);
/* True when keys of that generation may still be used. */
bool store_usable(const struct identity_store *s, size_t i, uint64_t generation, int64_t now_us);
/* The number of the key set in force; 0: none yet. */
uint64_t store_generation(const struct identity_store *s, size_t i);
/* A worker lacks a key. for_kid, or when the keys are too old: ask for a refresh unless one was asked for within the cooldown. True when a fetch is pending; with
 * `v`, the verifier will then be notified of its end. */
bool store_want(struct identity_store *s, size_t i, bool for_kid, int64_t now_us, struct identity_verifier *v);

/* Under the lock: whoever waits is told to look again. */
void store_release(struct identity_store *s);

/* ---- store.c, called by source.c on the control thread ---- */
void store_fetch_started(struct identity_store *s, size_t i);
/* Takes `set`; NULL: unchanged. */
void store_fetch_good(struct identity_store *s, size_t i, struct jwk_set *set, int64_t now_us);
void store_fetch_failed(struct identity_store *s, size_t i);

/* ---- source.c, control thread ---- */
/* Copies nothing: `s` outlives it. `like` (may be NULL) is a source for the same address: its ETag and discovery are taken over. */
struct source *source_new(struct identity_store *s, size_t i, const struct source *like);
/* First fetch; for a file: reads it, false with `why` when that fails. */
bool source_start(struct source *src, char *why, size_t why_size);
/* Fetches now unless a fetch is under way. */
void source_fetch(struct source *src);
void source_free(struct source *src);

#endif
