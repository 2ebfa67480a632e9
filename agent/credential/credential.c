#include "credential/credential.h"

#include "base/clock.h"
#include "base/file_watch.h"
#include "base/log.h"
#include "credential/snapshot.h"
#include "credential/source.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { REFUSED_S = 30, REFUSED_MAX_S = 900, THROTTLED_MAX_S = 60, RETRY_AFTER_MAX_S = 3600, REFUSED_FETCH_GAP_S = 5 };

struct key {
    struct credential_store *store;
    const struct credential_options *credential;
    const struct credential_key *o;
    unsigned index;
    char *identity;
    struct key_source *source;
    struct file_watch *watch;
    struct value *value;   /* NULL: none that is valid */
    int64_t back_mono_us;  /* set aside until then; 0: it is not */
    unsigned strikes;      /* refusals in a row */
    uint64_t refused;
    uint32_t looked_serial; /* of the value that was last looked at because it was refused */
    bool look, looking;    /* credential_look: asked for (under the store's lock); under way */
};

struct credential_store {
    pthread_mutex_t lock;  /* guards `current`, `asked` */
    struct credential_snapshot *current;
    uint32_t asked;        /* tickets given */
    uint32_t looking;      /* the last ticket that is looked after; its keys are not all there yet */
    _Atomic uint32_t looked; /* the last ticket that is done */
    ev_async wake;
    struct env_pool *pool;
    struct ev_loop *loop;  /* NULL: not started */
    ev_timer tick;         /* the next key that comes back, or expires */
    bool held;             /* changes are published later, all at once */
    unsigned changes;
    const struct credential_options *options;
    size_t count, key_count;
    struct key *keys;      /* of all credentials, in their order */
};

static void publish(struct credential_store *s);
static void key_looked(struct key *k);
static void on_wake(struct ev_loop *loop, ev_async *w, int events);

/* ---- what sources say -------------------------------------------------------------------------------------------------- */

static const char *place_of(const struct key *k, char *buf, size_t cap)
{
    const char *path = origin_path(&k->o->secret, buf, cap);
    return path != NULL ? path : k->o->secret.env != NULL ? k->o->secret.env : credential_key_kind(k->o);
}

static void changed(struct key *k, int64_t lifetime_s)
{
    struct credential_store *s = k->store;

    s->changes++;
    if (s->current != NULL)
        LOG(LOG_LEVEL_INFO, "credential_changed", LOG_CSTR("credential", k->credential->name), LOG_INT("key", k->index),
            LOG_CSTR("kind", credential_key_kind(k->o)), LOG_INT("expires_in_s", lifetime_s));
}

static int64_t lifetime_of(const struct value *v, int64_t lifetime_s)
{
    int64_t left = v->aws != NULL && v->aws->expires_s >= 0 ? v->aws->expires_s - clock_wall_us() / 1000000 : -1;

    if (v->aws == NULL || v->aws->expires_s < 0)
        return lifetime_s;
    left = left < 0 ? 0 : left;
    return lifetime_s >= 0 && lifetime_s < left ? lifetime_s : left;
}

static bool on_value(void *user, struct slice text, int64_t lifetime_s, char *why, size_t why_size)
{
    struct key *k = user;
    char fault[160], buf[600];
    const char *scheme = k->credential->aws != NULL ? NULL : k->credential->scheme != NULL ? k->credential->scheme : "Bearer";
    struct value *v = value_new(scheme, text, INT64_MAX, fault, sizeof fault);

    if (v != NULL) {
        lifetime_s = lifetime_of(v, lifetime_s);
        v->expires_mono_us = lifetime_s >= 0 ? clock_mono_us() + lifetime_s * 1000000 : INT64_MAX;
        if (lifetime_s == 0)
            snprintf(fault, sizeof fault, "it has expired");
    }
    if (v == NULL || lifetime_s == 0) {
        snprintf(why, why_size, "%s: %s", place_of(k, buf, sizeof buf), fault);
        value_unref(v);
        return false;
    }
    if (value_same(v, k->value)) {
        v->serial = k->value->serial;
        if (v->expires_mono_us == k->value->expires_mono_us) {
            value_unref(v);
            key_looked(k);
            return true;
        }
    } else {
        k->strikes = 0; /* the provider has not refused this one */
        k->back_mono_us = 0;
        changed(k, lifetime_s);
    }
    value_unref(k->value);
    k->value = v;
    publish(k->store);
    key_looked(k);
    return true;
}

static void on_failed(void *user, const char *why, double again_s)
{
    struct key *k = user;

    if (k->store->loop == NULL && k->value == NULL)
        return; /* at start: the caller is told */
    LOG(LOG_LEVEL_ERROR, k->value != NULL ? "credential_kept" : "credential_missing", LOG_CSTR("credential", k->credential->name),
        LOG_INT("key", k->index), LOG_CSTR("kind", credential_key_kind(k->o)), LOG_CSTR("why", why),
        LOG_INT("again_ms", again_s < 0 ? -1 : again_s * 1000));
    key_looked(k);
}

static void on_file(void *user)
{
    struct key *k = user;
    key_source_fetch(k->source, 0);
}

/* ---- publishing -------------------------------------------------------------------------------------------------------- */

static void tick_schedule(struct credential_store *s)
{
    int64_t next = INT64_MAX;

    if (s->loop == NULL)
        return;
    for (size_t i = 0; i < s->key_count; i++) {
        const struct key *k = &s->keys[i];
        if (k->back_mono_us != 0 && k->back_mono_us < next)
            next = k->back_mono_us;
        if (k->value != NULL && k->value->expires_mono_us < next)
            next = k->value->expires_mono_us;
    }
    ev_timer_stop(s->loop, &s->tick);
    if (next == INT64_MAX)
        return;
    int64_t wait = next - clock_mono_us();
    ev_now_update(s->loop);
    ev_timer_set(&s->tick, wait > 0 ? (double)wait / 1e6 + 0.001 : 0.001, 0.);
    ev_timer_start(s->loop, &s->tick);
}

static struct credential_snapshot *snapshot_build(struct credential_store *s)
{
    struct credential_snapshot *c = snapshot_new(s->count, s->current != NULL ? s->current->generation + 1 : 1);
    struct key *k = s->keys;

    for (size_t i = 0; c != NULL && i < s->count; i++) {
        struct snapshot_key keys[CREDENTIAL_KEYS_MAX];
        for (size_t n = 0; n < s->options[i].key_count; n++, k++)
            keys[n] = (struct snapshot_key){ .value = k->value, .back_mono_us = k->back_mono_us, .weight = k->o->weight ? k->o->weight : 1 };
        if (!snapshot_set(c, i, &s->options[i], keys, s->current)) {
            credential_release(c);
            c = NULL;
        }
    }
    return c;
}

static void publish(struct credential_store *s)
{
    if (s->held)
        return;
    struct credential_snapshot *fresh = snapshot_build(s), *old = s->current;
    if (fresh == NULL) {
        LOG(LOG_LEVEL_ERROR, "credentials_not_published", LOG_CSTR("why", "out of memory"), LOG_CSTR("effect", "the old ones stay"));
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->current = fresh;
    pthread_mutex_unlock(&s->lock);
    credential_release(old);
    tick_schedule(s);
}

static void on_tick(struct ev_loop *loop, ev_timer *t, int events)
{
    struct credential_store *s = t->data;
    int64_t now = clock_mono_us();

    (void)loop, (void)events;
    for (size_t i = 0; i < s->key_count; i++) {
        struct key *k = &s->keys[i];
        if (k->back_mono_us != 0 && k->back_mono_us <= now) {
            k->back_mono_us = 0;
            LOG(LOG_LEVEL_INFO, "credential_back", LOG_CSTR("credential", k->credential->name), LOG_INT("key", k->index));
        }
        if (k->value != NULL && k->value->expires_mono_us <= now) {
            value_unref(k->value);
            k->value = NULL;
            LOG(LOG_LEVEL_ERROR, "credential_expired", LOG_CSTR("credential", k->credential->name), LOG_INT("key", k->index),
                LOG_CSTR("kind", credential_key_kind(k->o)), LOG_CSTR("why", k->source->error));
        }
    }
    publish(s);
}

/* ---- making ------------------------------------------------------------------------------------------------------------ */

static const struct key *key_before(const struct credential_store *previous, const struct key *k)
{
    for (size_t i = 0; previous != NULL && i < previous->key_count; i++)
        if (strcmp(previous->keys[i].credential->name, k->credential->name) == 0 &&
            strcmp(previous->keys[i].identity, k->identity) == 0)
            return &previous->keys[i];
    return NULL;
}

/* False with a reason when it must be there and cannot be read. */
static bool key_set_up(struct credential_store *s, struct key *k, const struct credential_store *previous, char *fault, size_t fault_size)
{
    snprintf(fault, fault_size, "out of memory");
    k->identity = credential_key_identity(k->credential, k->o);
    k->source = key_source_new(k->o, s->pool);
    if (k->identity == NULL || k->source == NULL)
        return false;
    k->source->to = (struct key_source_user){ .value = on_value, .failed = on_failed, .user = k };
    const struct key *old = key_before(previous, k);
    if (old != NULL) {
        k->value = old->value != NULL ? value_ref(old->value) : NULL;
        k->back_mono_us = old->back_mono_us;
        k->strikes = old->strikes;
        k->refused = old->refused;
    }
    if (!key_source_is_local(k->o))
        return true;
    key_source_fetch(k->source, 0);
    snprintf(fault, fault_size, "%s", k->source->error);
    return k->source->error[0] == '\0';
}

static bool credential_set_up(struct credential_store *s, size_t i, const struct credential_store *previous, char *fault,
                              size_t fault_size)
{
    const struct credential_options *o = &s->options[i];

    if (!credential_options_check(o, fault, fault_size))
        return false;
    for (size_t k = 0; k < i; k++)
        if (strcmp(s->options[k].name, o->name) == 0) {
            snprintf(fault, fault_size, "the name stands there twice");
            return false;
        }
    for (size_t n = 0; n < o->key_count; n++) {
        struct key *k = &s->keys[s->key_count++];
        *k = (struct key){ .store = s, .credential = o, .o = &o->keys[n], .index = (unsigned)n };
        if (!key_set_up(s, k, previous, fault, fault_size))
            return false;
    }
    return true;
}

struct credential_store *credential_store_new(const struct credential_options *o, size_t count, struct credential_store *previous,
                                              char *why, size_t why_size)
{
    char fault[512];
    size_t keys = 0;
    struct credential_store *s = calloc(1, sizeof *s);

    snprintf(why, why_size, "out of memory");
    if (s == NULL)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    s->options = o;
    s->count = count;
    s->held = true;
    for (size_t i = 0; i < count; i++)
        keys += o[i].key_count;
    s->keys = calloc(keys + 1, sizeof *s->keys);
    s->pool = previous != NULL ? env_pool_ref(previous->pool) : env_pool_new();
    bool good = s->keys != NULL && s->pool != NULL;
    for (size_t i = 0; good && i < count; i++) {
        good = credential_set_up(s, i, previous, fault, sizeof fault);
        if (!good)
            snprintf(why, why_size, "credentials[%zu] (%s): %s", i, o[i].name ? o[i].name : "unnamed", fault);
    }
    s->held = false;
    s->changes = 0;
    if (good)
        publish(s);
    if (s->current == NULL) {
        credential_store_free(s);
        return NULL;
    }
    if (previous != NULL && previous->current->generation >= s->current->generation)
        s->current->generation = previous->current->generation + 1;
    return s;
}

void credential_store_free(struct credential_store *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->key_count; i++) {
        struct key *k = &s->keys[i];
        file_watch_free(k->watch);
        key_source_free(k->source);
        value_unref(k->value);
        free(k->identity);
    }
    if (s->loop != NULL) {
        ev_timer_stop(s->loop, &s->tick);
        ev_ref(s->loop);
        ev_async_stop(s->loop, &s->wake);
    }
    env_pool_unref(s->pool);
    credential_release(s->current);
    pthread_mutex_destroy(&s->lock);
    free(s->keys);
    free(s);
}

static int key_start(struct key *k, struct ev_loop *loop, struct http_client *http)
{
    char buf[1024];
    int64_t left = 0;
    const char *path = origin_path(&k->o->secret, buf, sizeof buf);

    if (k->value != NULL && k->value->expires_mono_us == INT64_MAX)
        left = -1;
    else if (k->value != NULL && k->value->expires_mono_us > clock_mono_us())
        left = (k->value->expires_mono_us - clock_mono_us()) / 1000000;
    if (path != NULL && (k->watch = file_watch_new(loop, path, on_file, k)) == NULL)
        return -1;
    key_source_start(k->source, loop, http, key_source_is_local(k->o) ? 0 : left); /* a file: what changed before the watch began */
    return 0;
}

int credential_store_start(struct credential_store *s, struct ev_loop *loop, struct http_client *http)
{
    s->loop = loop;
    ev_timer_init(&s->tick, on_tick, 0., 0.);
    s->tick.data = s;
    ev_async_init(&s->wake, on_wake);
    s->wake.data = s;
    ev_async_start(loop, &s->wake);
    ev_unref(loop); /* does not keep the loop running */
    for (size_t i = 0; i < s->key_count; i++)
        if (key_start(&s->keys[i], loop, http) != 0)
            return -1;
    tick_schedule(s);
    return 0;
}

int credential_store_reload(struct credential_store *s)
{
    s->held = true;
    s->changes = 0;
    for (size_t i = 0; i < s->key_count; i++)
        if (key_source_is_local(s->keys[i].o))
            key_source_fetch(s->keys[i].source, 0);
    s->held = false;
    if (s->changes > 0)
        publish(s);
    return (int)s->changes;
}

struct credential_snapshot *credential_acquire(struct credential_store *s)
{
    pthread_mutex_lock(&s->lock);
    struct credential_snapshot *c = s->current;
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->lock);
    return c;
}

/* ---- what providers say ------------------------------------------------------------------------------------------------ */

static int64_t pause_s(const struct key *k, int status, int64_t retry_after_s)
{
    unsigned doublings = k->strikes - 1 < 10 ? k->strikes - 1 : 10;
    int64_t s = (int64_t)(status == 429 ? 1 : REFUSED_S) << doublings, most = status == 429 ? THROTTLED_MAX_S : REFUSED_MAX_S;

    if (status == 429 && retry_after_s >= 0)
        return retry_after_s < 1 ? 1 : retry_after_s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : retry_after_s;
    return s < most ? s : most;
}

static void set_aside(struct key *k, int status, int64_t retry_after_s, int64_t mono_us)
{
    bool already = k->back_mono_us > mono_us;

    k->refused++;
    if (!already)
        k->strikes++;
    else if (retry_after_s < 0)
        return; /* requests that were on their way together count once */
    int64_t s = pause_s(k, status, retry_after_s);
    if (mono_us + s * 1000000 > k->back_mono_us)
        k->back_mono_us = mono_us + s * 1000000;
    if (already) {
        publish(k->store);
        return;
    }
    LOG(LOG_LEVEL_WARN, "credential_set_aside", LOG_CSTR("credential", k->credential->name), LOG_INT("key", k->index),
        LOG_INT("status", status), LOG_INT("for_s", s));
    publish(k->store);
    if (status != 429)
        key_source_fetch(k->source, key_source_is_local(k->o) ? 0 : REFUSED_FETCH_GAP_S); /* it may have been rotated already */
}

static bool all_aside(const struct credential_store *s, const struct credential_options *o)
{
    for (size_t i = 0; i < s->key_count; i++)
        if (s->keys[i].credential == o && s->keys[i].value != NULL && s->keys[i].back_mono_us == 0)
            return false;
    return true;
}

void credential_report(struct credential_store *s, struct slice name, uint32_t serial, int status, int64_t retry_after_s, int64_t mono_us)
{
    struct key *k = NULL;

    for (size_t i = 0; serial != 0 && k == NULL && i < s->key_count; i++)
        if (s->keys[i].value != NULL && s->keys[i].value->serial == serial && slice_eq_cstr(name, s->keys[i].credential->name))
            k = &s->keys[i];
    if (k == NULL)
        return;
    if (status == 401 || status == 403 || status == 429) {
        set_aside(k, status, retry_after_s, mono_us);
    } else if (status >= 100 && status < 400 && k->strikes > 0) {
        /* While it is set aside others are asked; a good answer to a request sent before says nothing. */
        if (k->back_mono_us > mono_us && !all_aside(s, k->credential))
            return;
        k->strikes = 0;
        k->back_mono_us = 0;
        publish(s);
    }
}

/* ---- looking at once ---------------------------------------------------------------------------------------------------- */

static void looks_end(struct credential_store *s)
{
    for (size_t i = 0; i < s->key_count; i++)
        if (s->keys[i].looking)
            return;
    atomic_store(&s->looked, s->looking);
}

static void key_looked(struct key *k)
{
    if (!k->looking)
        return;
    k->looking = false;
    looks_end(k->store);
}

static void on_wake(struct ev_loop *loop, ev_async *w, int events)
{
    struct credential_store *s = w->data;

    (void)loop, (void)events;
    pthread_mutex_lock(&s->lock);
    s->looking = s->asked;
    for (size_t i = 0; i < s->key_count; i++) {
        s->keys[i].looking = s->keys[i].looking || s->keys[i].look;
        s->keys[i].look = false;
    }
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < s->key_count; i++) {
        struct key *k = &s->keys[i];
        if (!k->looking)
            continue;
        /* Once for each value at once; a value that stays bad is no reason to ask again and again. */
        bool first = k->value == NULL || k->value->serial != k->looked_serial;
        k->looked_serial = k->value != NULL ? k->value->serial : 0;
        key_source_fetch(k->source, first || key_source_is_local(k->o) ? 0 : REFUSED_FETCH_GAP_S);
        if (!k->source->fetching)
            k->looking = false;
    }
    looks_end(s);
}

uint32_t credential_look(struct credential_store *s, struct slice name)
{
    pthread_mutex_lock(&s->lock);
    uint32_t ticket = ++s->asked;
    if (ticket == 0) /* after four thousand million */
        ticket = ++s->asked;
    for (size_t i = 0; i < s->key_count; i++)
        if (slice_eq_cstr(name, s->keys[i].credential->name))
            s->keys[i].look = true;
    pthread_mutex_unlock(&s->lock);
    if (s->loop != NULL)
        ev_async_send(s->loop, &s->wake);
    return ticket;
}

bool credential_looked(struct credential_store *s, uint32_t ticket)
{
    return (int32_t)(atomic_load(&s->looked) - ticket) >= 0;
}

bool credential_store_state(const struct credential_store *s, size_t i, int64_t mono_us, struct credential_state *out)
{
    if (i >= s->key_count)
        return false;
    const struct key *k = &s->keys[i];
    bool valid = k->value != NULL && k->value->expires_mono_us > mono_us;
    *out = (struct credential_state){
        .name = k->credential->name, .key_name = k->o->name != NULL ? k->o->name : "", .kind = credential_key_kind(k->o), .key = k->index, .weight = k->o->weight ? k->o->weight : 1,
        .valid = valid, .aside = k->back_mono_us > mono_us,
        .expires_in_s = valid && k->value->expires_mono_us != INT64_MAX ? (k->value->expires_mono_us - mono_us) / 1000000 : -1,
        .back_in_s = k->back_mono_us > mono_us ? (k->back_mono_us - mono_us + 999999) / 1000000 : 0,
        .fetches = k->source->fetches, .failures = k->source->failures, .refused = k->refused, .error = k->source->error,
    };
    return true;
}
