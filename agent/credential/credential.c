#include "credential/credential.h"

#include "base/file_watch.h"
#include "base/log.h"
#include "base/secret.h"
#include "credential/value.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct origin {
    char *name, *file, *env, *scheme;
    bool systemd; /* `file` is below $CREDENTIALS_DIRECTORY */
    struct file_watch *watch;
};

struct credential_snapshot {
    atomic_uint refs;
    uint64_t generation;
    size_t count;
    struct value *values[];
};

struct credential_store {
    pthread_mutex_t lock; /* guards `current` */
    struct credential_snapshot *current;
    size_t count;
    struct origin origins[];
};

/* ---- snapshots -------------------------------------------------------------------------------------------------------- */

static struct credential_snapshot *snapshot_new(size_t count, uint64_t generation)
{
    struct credential_snapshot *c = calloc(1, sizeof *c + count * sizeof(struct value *));
    if (c == NULL)
        return NULL;
    atomic_init(&c->refs, 1);
    c->count = count;
    c->generation = generation;
    return c;
}

void credential_release(struct credential_snapshot *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < c->count; i++)
        value_unref(c->values[i]);
    free(c);
}

struct credential_snapshot *credential_acquire(struct credential_store *s)
{
    pthread_mutex_lock(&s->lock);
    struct credential_snapshot *c = s->current;
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->lock);
    return c;
}

struct slice credential_at(const struct credential_snapshot *c, size_t i)
{
    return i < c->count ? secret_view(c->values[i]->header) : SLICE_NONE;
}

struct slice credential_find(const struct credential_snapshot *c, struct slice name)
{
    for (size_t i = 0; i < c->count; i++)
        if (slice_eq_cstr(name, c->values[i]->name))
            return secret_view(c->values[i]->header);
    return SLICE_NONE;
}

uint64_t credential_generation(const struct credential_snapshot *c)
{
    return c->generation;
}

struct slice credential_scrub(const struct credential_snapshot *c, struct slice in, struct arena *a)
{
    return value_scrub(c->values, c->count, in, a);
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

static struct value *read_env(const struct origin *o, struct credential_snapshot *previous, char *why, size_t why_size)
{
    const char *text = getenv(o->env);

    if (text != NULL)
        return value_new(o->name, o->env, o->scheme, slice_cstr(text), why, why_size);
    for (size_t i = 0; previous != NULL && i < previous->count; i++)
        if (strcmp(previous->values[i]->name, o->name) == 0 && strcmp(previous->values[i]->source, o->env) == 0)
            return value_rename(previous->values[i], o->scheme, why, why_size);
    snprintf(why, why_size, "the environment variable %s is not set", o->env);
    return NULL;
}

/* An environment variable is readable in /proc/PID/environ for the life of the process unless its bytes are overwritten where they
 * stand; unsetenv alone only forgets the pointer. */
static void wipe_env(const char *name)
{
    char *text = getenv(name);

    if (text == NULL)
        return; /* two credentials may share a variable */
    secret_wipe(text, strlen(text));
    unsetenv(name);
}

static struct value *read_file(const struct origin *o, char *why, size_t why_size)
{
    struct value *v = NULL;
    struct secret *raw = o->systemd ? value_read_systemd(o->file, why, why_size) : secret_from_file(o->file, why, why_size);
    if (raw != NULL)
        v = value_new(o->name, o->file, o->scheme, secret_view(raw), why, why_size);
    secret_free(raw);
    return v;
}

static struct value *read_origin(const struct origin *o, struct credential_snapshot *previous, char *why, size_t why_size)
{
    return o->env ? read_env(o, previous, why, why_size) : read_file(o, why, why_size);
}

/* ---- the store -------------------------------------------------------------------------------------------------------- */

static bool copy_text(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return from == NULL || *to != NULL;
}

static bool copy_systemd_path(char **to, const char *name, char *why, size_t why_size)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    if (dir == NULL || strchr(name, '/') != NULL) {
        snprintf(why, why_size, dir ? "a systemd credential is named without a path"
                                    : "CREDENTIALS_DIRECTORY is not set: start it from a unit with LoadCredential=");
        return false;
    }
    return asprintf(to, "%s/%s", dir, name) >= 0;
}

static bool origin_set(struct origin *o, const struct credential_options *from, char *why, size_t why_size)
{
    int sources = (from->file != NULL) + (from->env != NULL) + (from->systemd != NULL);

    if (sources != 1) {
        snprintf(why, why_size, "give exactly one of file, env, systemd");
        return false;
    }
    snprintf(why, why_size, "out of memory");
    o->systemd = from->systemd != NULL;
    if (o->systemd && !copy_systemd_path(&o->file, from->systemd, why, why_size))
        return false;
    return copy_text(&o->name, from->name) && (o->systemd || copy_text(&o->file, from->file)) && copy_text(&o->env, from->env) &&
           copy_text(&o->scheme, from->scheme ? from->scheme : "Bearer");
}

static bool read_one(struct credential_store *s, const struct credential_options *o, size_t i, struct credential_snapshot *previous,
                     char *fault, size_t fault_size)
{
    if (o[i].name == NULL || o[i].name[0] == '\0') {
        snprintf(fault, fault_size, "a name is required");
        return false;
    }
    for (size_t k = 0; k < i; k++)
        if (strcmp(o[k].name, o[i].name) == 0) {
            snprintf(fault, fault_size, "the name stands there twice");
            return false;
        }
    s->count = i + 1;
    if (!origin_set(&s->origins[i], &o[i], fault, fault_size))
        return false;
    s->current->values[i] = read_origin(&s->origins[i], previous, fault, fault_size);
    return s->current->values[i] != NULL;
}

struct credential_store *credential_store_new(const struct credential_options *o, size_t count, struct credential_store *previous,
                                              char *why, size_t why_size)
{
    char fault[512];
    bool good = true;
    struct credential_store *s = calloc(1, sizeof *s + count * sizeof s->origins[0]);
    struct credential_snapshot *before = previous ? credential_acquire(previous) : NULL;
    struct credential_snapshot *c = snapshot_new(count, before ? before->generation + 1 : 1);

    if (s == NULL || c == NULL) {
        snprintf(why, why_size, "out of memory");
        free(s);
        credential_release(c);
        credential_release(before);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    s->current = c;
    for (size_t i = 0; good && i < count; i++) {
        good = read_one(s, o, i, before, fault, sizeof fault);
        if (!good)
            snprintf(why, why_size, "credentials[%zu] (%s): %s", i, o[i].name ? o[i].name : "unnamed", fault);
    }
    for (size_t i = 0; good && i < count; i++)
        if (o[i].env != NULL)
            wipe_env(o[i].env);
    credential_release(before);
    if (!good) {
        credential_store_free(s);
        return NULL;
    }
    return s;
}

void credential_store_free(struct credential_store *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++) {
        struct origin *o = &s->origins[i];
        file_watch_free(o->watch);
        free(o->name);
        free(o->file);
        free(o->env);
        free(o->scheme);
    }
    credential_release(s->current);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* The new value, or the old one again when nothing changed or the source cannot be read. */
static struct value *reread(const struct origin *o, struct value *old)
{
    char why[512];
    struct value *v = o->env ? value_ref(old) : read_file(o, why, sizeof why); /* a process's environment does not change */

    if (v == NULL) {
        LOG(LOG_LEVEL_ERROR, "credential_kept", LOG_CSTR("credential", o->name), LOG_CSTR("why", why));
        return value_ref(old);
    }
    if (v != old && secret_equal(old->header, secret_view(v->header))) {
        value_unref(v);
        return value_ref(old);
    }
    return v;
}

int credential_store_reload(struct credential_store *s)
{
    struct credential_snapshot *old = s->current; /* only this thread replaces it */
    struct credential_snapshot *c = snapshot_new(s->count, old->generation + 1);
    int changed = 0;

    if (c == NULL)
        return -1;
    for (size_t i = 0; i < s->count; i++) {
        c->values[i] = reread(&s->origins[i], old->values[i]);
        if (c->values[i] == old->values[i])
            continue;
        changed++;
        LOG(LOG_LEVEL_INFO, "credential_changed", LOG_CSTR("credential", s->origins[i].name));
    }
    if (changed == 0) {
        credential_release(c);
        return 0;
    }
    pthread_mutex_lock(&s->lock);
    s->current = c;
    pthread_mutex_unlock(&s->lock);
    credential_release(old);
    return changed;
}

static void on_file(void *user)
{
    credential_store_reload(user);
}

int credential_store_watch(struct credential_store *s, struct ev_loop *loop)
{
    for (size_t i = 0; i < s->count; i++) {
        struct origin *o = &s->origins[i];
        if (o->file == NULL || o->watch != NULL)
            continue;
        o->watch = file_watch_new(loop, o->file, on_file, s);
        if (o->watch == NULL)
            return -1;
    }
    credential_store_reload(s); /* what changed before the watch began */
    return 0;
}
