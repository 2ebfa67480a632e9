#include "identity/store.h"

#include "identity/introspect.h"
#include "identity/options.h"

#include <stdio.h>
#include <stdlib.h>

void store_ref(struct identity_store *s)
{
    pthread_mutex_lock(&s->lock);
    s->refs++;
    pthread_mutex_unlock(&s->lock);
}

void store_unref(struct identity_store *s)
{
    pthread_mutex_lock(&s->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    for (size_t i = 0; i < s->count; i++) {
        jwk_set_unref(s->issuers[i].keys);
        introspect_free(s->issuers[i].introspection);
    }
    pthread_mutex_destroy(&s->lock);
    arena_free(s->arena);
    free(s);
}

/* ---- for workers ------------------------------------------------------------------------------------------------------ */

static bool fresh(const struct issuer_state *st, int64_t now_us)
{
    int64_t fetched = atomic_load_explicit(&st->fetched_us, memory_order_acquire);
    return fetched != 0 && (now_us - fetched) / 1000000 <= st->o->stale_s;
}

uint64_t store_generation(const struct identity_store *s, size_t i)
{
    return atomic_load_explicit(&s->issuers[i].generation, memory_order_acquire);
}

bool store_usable(const struct identity_store *s, size_t i, uint64_t generation, int64_t now_us)
{
    const struct issuer_state *st = &s->issuers[i];
    return store_generation(s, i) == generation && fresh(st, now_us);
}

struct jwk_set *store_keys(struct identity_store *s, size_t i, int64_t now_us)
{
    struct issuer_state *st = &s->issuers[i];
    struct jwk_set *set = NULL;

    if (!fresh(st, now_us))
        return NULL;
    pthread_mutex_lock(&s->lock);
    if (st->keys != NULL && st->keys->count > 0)
        set = jwk_set_ref(st->keys);
    pthread_mutex_unlock(&s->lock);
    return set;
}

bool store_want(struct identity_store *s, size_t i, bool for_kid, int64_t now_us, struct identity_verifier *v)
{
    struct issuer_state *st = &s->issuers[i];

    pthread_mutex_lock(&s->lock);
    int64_t since = now_us - st->asked_us;
    bool cool = since < 0 || since >= st->o->refresh_cooldown_s * 1000000; /* <0: the clock was set back */
    /* Keys that are there and may not be used are too old: after an outage, or because the clock was set forward. */
    if ((for_kid || st->keys != NULL) && !st->pending && cool && !s->retired) {
        st->asked_us = now_us;
        st->pending = st->wanted = true;
        st->refreshes_for_kid++;
        ev_async_send(s->loop, &s->wake);
    }
    bool pending = st->pending;
    if (pending && v != NULL)
        v->waiting = true;
    pthread_mutex_unlock(&s->lock);
    return pending;
}

/* ---- for sources ------------------------------------------------------------------------------------------------------ */

void store_release(struct identity_store *s)
{
    for (struct identity_verifier *v = s->verifiers; v != NULL; v = v->next)
        if (v->waiting) {
            v->waiting = false;
            ev_async_send(v->loop, &v->notify);
        }
}

void store_fetch_started(struct identity_store *s, size_t i)
{
    pthread_mutex_lock(&s->lock);
    s->issuers[i].pending = true;
    s->issuers[i].wanted = false;
    s->issuers[i].fetches++;
    pthread_mutex_unlock(&s->lock);
}

void store_fetch_good(struct identity_store *s, size_t i, struct jwk_set *set, int64_t now_us)
{
    struct issuer_state *st = &s->issuers[i];
    struct jwk_set *old = set;

    pthread_mutex_lock(&s->lock);
    if (set != NULL && (st->keys == NULL || memcmp(st->keys->digest, set->digest, sizeof set->digest) != 0)) {
        old = st->keys;
        set->generation = ++s->generations;
        st->keys = set;
        atomic_store_explicit(&st->generation, set->generation, memory_order_release);
    }
    atomic_store_explicit(&st->fetched_us, now_us, memory_order_release);
    st->pending = st->wanted = false;
    store_release(s);
    pthread_mutex_unlock(&s->lock);
    jwk_set_unref(old);
}

void store_fetch_failed(struct identity_store *s, size_t i)
{
    pthread_mutex_lock(&s->lock);
    s->issuers[i].failures++;
    s->issuers[i].pending = s->issuers[i].wanted = false;
    store_release(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static void on_wake(struct ev_loop *loop, ev_async *w, int revents)
{
    struct identity_store *s = w->data;

    (void)loop;
    (void)revents;
    for (size_t i = 0; i < s->count; i++) {
        pthread_mutex_lock(&s->lock);
        bool wanted = s->issuers[i].wanted;
        pthread_mutex_unlock(&s->lock);
        if (wanted)
            source_fetch(s->issuers[i].source);
        if (s->issuers[i].introspection != NULL)
            introspect_run(s->issuers[i].introspection);
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static struct issuer_state *find_same(struct identity_store *s, const struct identity_issuer *o)
{
    for (size_t i = 0; s != NULL && i < s->count; i++) {
        const struct identity_issuer *p = s->issuers[i].o;
        if (same_text(p->name, o->name) && same_text(p->issuer, o->issuer) && same_text(p->jwks_file, o->jwks_file) &&
            same_text(p->jwks_url, o->jwks_url) && same_text(p->discovery_url, o->discovery_url))
            return &s->issuers[i];
    }
    return NULL;
}

static void take_over(struct identity_store *s, struct issuer_state *st, struct identity_store *previous, struct issuer_state *from)
{
    pthread_mutex_lock(&previous->lock);
    struct jwk_set *keys = from->keys ? jwk_set_ref(from->keys) : NULL;
    int64_t fetched = atomic_load(&from->fetched_us);
    int64_t asked = from->asked_us;
    pthread_mutex_unlock(&previous->lock);
    if (keys == NULL)
        return;
    st->keys = keys;
    st->asked_us = asked; /* a reload is no way around the cooldown */
    atomic_store(&st->generation, keys->generation);
    atomic_store(&st->fetched_us, fetched);
    if (keys->generation > s->generations)
        s->generations = keys->generation;
}

static bool open_issuer(struct identity_store *s, size_t i, struct identity_store *previous, char *why, size_t why_size)
{
    struct issuer_state *st = &s->issuers[i];
    char fault[256];

    st->o = &s->options->issuers[i];
    st->algorithms = options_algorithms(st->o);
    st->asked_us = INT64_MIN / 2;
    struct issuer_state *from = find_same(previous, st->o);
    if (from != NULL)
        take_over(s, st, previous, from);
    if ((st->o->jwks_file == NULL || st->o->introspection_url != NULL) && s->http == NULL) {
        snprintf(why, why_size, "issuers[%zu]: keys from the network need an HTTP client", i);
        return false;
    }
    if (st->o->introspection_url != NULL && (st->introspection = introspect_new(s, i, fault, sizeof fault)) == NULL) {
        snprintf(why, why_size, "issuers[%zu]: introspection: %s", i, fault);
        return false;
    }
    st->source = source_new(s, i, from ? from->source : NULL);
    if (st->source == NULL) {
        snprintf(why, why_size, "out of memory");
        return false;
    }
    if (!source_start(st->source, fault, sizeof fault)) {
        snprintf(why, why_size, "issuers[%zu]: %s", i, fault);
        return false;
    }
    return true;
}

struct identity_store *identity_store_new(const struct identity_options *o, struct ev_loop *loop, struct http_client *http,
                                          struct identity_store *previous, char *why, size_t why_size)
{
    if (identity_options_check(o, why, why_size) != NULL)
        return NULL;
    snprintf(why, why_size, "out of memory");
    struct identity_store *s = calloc(1, sizeof *s + o->issuers_count * sizeof s->issuers[0]);
    if (s == NULL)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    s->refs = 1;
    s->loop = loop;
    s->http = http;
    ev_async_init(&s->wake, on_wake);
    s->wake.data = s;
    ev_async_start(loop, &s->wake);
    s->arena = arena_new(4096);
    s->options = s->arena ? options_copy(o, s->arena) : NULL;
    if (s->options == NULL) {
        identity_store_retire(s);
        return NULL;
    }
    for (size_t i = 0; i < o->issuers_count; i++) {
        s->count = i + 1;
        if (!open_issuer(s, i, previous, why, why_size)) {
            identity_store_retire(s);
            return NULL;
        }
    }
    return s;
}

void identity_store_retire(struct identity_store *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++) {
        source_free(s->issuers[i].source);
        s->issuers[i].source = NULL;
        introspect_retire(s->issuers[i].introspection);
    }
    pthread_mutex_lock(&s->lock);
    s->retired = true; /* from here on nobody sends to the loop */
    for (size_t i = 0; i < s->count; i++)
        s->issuers[i].pending = s->issuers[i].wanted = false;
    store_release(s);
    pthread_mutex_unlock(&s->lock);
    ev_async_stop(s->loop, &s->wake);
    store_unref(s);
}

void identity_store_refresh(struct identity_store *s)
{
    for (size_t i = 0; i < s->count; i++)
        source_fetch(s->issuers[i].source);
}

bool identity_store_state(const struct identity_store *cs, size_t i, int64_t now_us, struct identity_issuer_state *out)
{
    struct identity_store *s = (struct identity_store *)cs; /* only for the lock */

    if (i >= s->count)
        return false;
    struct issuer_state *st = &s->issuers[i];
    pthread_mutex_lock(&s->lock);
    *out = (struct identity_issuer_state){
        .name = st->o->name, .issuer = st->o->issuer, .keys = st->keys ? st->keys->count : 0,
        .generation = atomic_load(&st->generation), .fetched_us = atomic_load(&st->fetched_us),
        .next_in_ms = atomic_load(&st->next_in_ms), .fetches = st->fetches, .failures = st->failures, .refreshes_for_kid = st->refreshes_for_kid,
    };
    pthread_mutex_unlock(&s->lock);
    out->usable = out->keys > 0 && fresh(st, now_us);
    return true;
}

int64_t identity_store_wait_ms(const struct identity_store *s)
{
    return s->options->wait_ms;
}
