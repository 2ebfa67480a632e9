#include "decide/inflight.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>

enum { GIVEN_UP_MAX = 4096 };

struct given_up {
    UT_hash_handle hh;
    size_t n;
    char id[];
};

struct inflight_table {
    pthread_mutex_t lock;
    struct inflight *entries; /* uthash keeps the order of insertion: oldest first */
    struct given_up *given_up; /* likewise */
};

struct inflight_table *inflight_table_new(void)
{
    struct inflight_table *t = calloc(1, sizeof *t);
    if (t != NULL)
        pthread_mutex_init(&t->lock, NULL);
    return t;
}

void inflight_table_free(struct inflight_table *t)
{
    struct inflight *f, *next;

    if (t == NULL)
        return;
    HASH_ITER(hh, t->entries, f, next) {
        HASH_DEL(t->entries, f);
        inflight_unref(f);
    }
    struct given_up *g, *after;
    HASH_ITER(hh, t->given_up, g, after) {
        HASH_DEL(t->given_up, g);
        free(g);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void inflight_give_up(struct inflight_table *t, struct slice request_id)
{
    struct given_up *there = NULL, *oldest, *g = malloc(sizeof *g + request_id.n);

    if (g == NULL)
        return; /* at worst a hold ends at its bound */
    g->n = request_id.n;
    memcpy(g->id, request_id.p, request_id.n);
    pthread_mutex_lock(&t->lock);
    HASH_FIND(hh, t->given_up, g->id, g->n, there);
    if (there == NULL) {
        HASH_ADD_KEYPTR(hh, t->given_up, g->id, g->n, g);
        g = NULL;
    }
    if (HASH_COUNT(t->given_up) > GIVEN_UP_MAX) {
        oldest = t->given_up;
        HASH_DEL(t->given_up, oldest);
        free(oldest);
    }
    pthread_mutex_unlock(&t->lock);
    free(g);
}

struct packer {
    char *p;
};

static void pack(struct packer *k, struct slice *s)
{
    if (s->n > 0)
        memcpy(k->p, s->p, s->n);
    s->p = k->p;
    k->p += s->n;
    *k->p++ = '\0';
}

/* Every slice of an entry, so that sizing and copying cannot disagree. */
enum { SLICES_MAX = 32 };

static size_t slices_of(struct inflight *f, struct slice *list[SLICES_MAX])
{
    struct ledger_decision *d = &f->op.decision;
    struct identity *w = &f->who;
    size_t n = 0;

    list[n++] = &f->request_id;
    list[n++] = &d->alias;
    list[n++] = &d->charged_as;
    list[n++] = &d->deny_reason;
    list[n++] = &w->organization;
    list[n++] = &w->team;
    list[n++] = &w->user;
    list[n++] = &w->application;
    list[n++] = &w->cost_center;
    list[n++] = &w->subject;
    list[n++] = &w->issuer;
    list[n++] = &w->key_id;
    list[n++] = &w->key_budget;
    list[n++] = &f->primary.group;
    list[n++] = &f->primary.provider;
    list[n++] = &f->primary.model;
    list[n++] = &f->primary.key_name;
    list[n++] = &f->fallback.group;
    list[n++] = &f->fallback.provider;
    list[n++] = &f->fallback.model;
    list[n++] = &f->fallback.key_name;
    list[n++] = &f->trace.state;
    list[n++] = &f->trace.method;
    list[n++] = &f->trace.path;
    list[n++] = &f->trace.host;
    return n;
}

struct ledger_target ledger_target_of(const struct target *t)
{
    return (struct ledger_target){ .group = t->group, .provider = t->provider, .model = t->model, .key = t->key_name };
}

struct inflight *inflight_new(const struct ledger_decision *d, const struct identity *who, const struct target *primary,
                              const struct target *fallback, const struct trace_request *trace)
{
    struct inflight probe = { .request_id = d->request_id, .who = *who, .primary = *primary };
    struct slice *list[SLICES_MAX];
    size_t size = 0;

    probe.op.decision = *d;
    if (fallback != NULL)
        probe.fallback = *fallback;
    if (trace != NULL)
        probe.trace = *trace;
    size_t n = slices_of(&probe, list);
    for (size_t i = 0; i < n; i++)
        size += list[i]->n + 1;
    struct inflight *f = malloc(sizeof *f + size);
    if (f == NULL)
        return NULL;
    *f = probe;
    struct packer k = { .p = f->strings };
    n = slices_of(f, list);
    for (size_t i = 0; i < n; i++)
        pack(&k, list[i]);
    atomic_init(&f->references, 1);
    f->state = INFLIGHT_PENDING;
    f->held_mono_us = clock_mono_us();
    f->has_fallback = fallback != NULL;
    f->who.groups = NULL;
    f->who.group_count = 0;
    f->who.token_id = f->who.session = f->who.key_models = SLICE_NONE;
    f->primary.credential = f->fallback.credential = f->primary.encoding = f->fallback.encoding = SLICE_NONE;
    f->total_us = -1;
    f->commit_us = -1;
    struct ledger_decision *own = &f->op.decision;
    f->op.kind = LEDGER_DECISION;
    own->request_id = f->request_id;
    own->who = (struct ledger_who){ .organization = f->who.organization, .team = f->who.team, .user = f->who.user,
                                    .application = f->who.application, .cost_center = f->who.cost_center,
                                    .subject = f->who.subject, .issuer = f->who.issuer };
    own->primary = ledger_target_of(&f->primary);
    own->fallback = ledger_target_of(&f->fallback);
    return f;
}

void inflight_ref(struct inflight *f)
{
    atomic_fetch_add_explicit(&f->references, 1, memory_order_relaxed);
}

void inflight_unref(struct inflight *f)
{
    if (atomic_fetch_sub_explicit(&f->references, 1, memory_order_acq_rel) != 1)
        return;
    price_table_unref(f->prices);
    free(f);
}

enum inflight_inserted inflight_insert(struct inflight_table *t, struct inflight *f)
{
    enum inflight_inserted rc = INFLIGHT_INSERTED;
    struct inflight *there = NULL;
    struct given_up *gone = NULL;

    pthread_mutex_lock(&t->lock);
    HASH_FIND(hh, t->given_up, f->request_id.p, f->request_id.n, gone);
    HASH_FIND(hh, t->entries, f->request_id.p, f->request_id.n, there);
    if (gone != NULL) {
        rc = INFLIGHT_GIVEN_UP;
    } else if (there != NULL) {
        rc = INFLIGHT_DUPLICATE;
    } else {
        inflight_ref(f);
        HASH_ADD_KEYPTR(hh, t->entries, f->request_id.p, f->request_id.n, f);
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

void inflight_remove(struct inflight_table *t, struct inflight *f)
{
    struct inflight *there = NULL;

    pthread_mutex_lock(&t->lock);
    HASH_FIND(hh, t->entries, f->request_id.p, f->request_id.n, there);
    if (there == f)
        HASH_DEL(t->entries, f);
    pthread_mutex_unlock(&t->lock);
    if (there == f)
        inflight_unref(f);
}

struct inflight *inflight_find(struct inflight_table *t, struct slice request_id)
{
    struct inflight *f = NULL;

    if (request_id.n == 0)
        return NULL;
    pthread_mutex_lock(&t->lock);
    HASH_FIND(hh, t->entries, request_id.p, request_id.n, f);
    if (f != NULL)
        inflight_ref(f);
    pthread_mutex_unlock(&t->lock);
    return f;
}

bool inflight_move(struct inflight_table *t, struct inflight *f, enum inflight_state from, enum inflight_state to)
{
    pthread_mutex_lock(&t->lock);
    bool moved = f->state == from;
    if (moved)
        f->state = to;
    pthread_mutex_unlock(&t->lock);
    return moved;
}

void inflight_each(struct inflight_table *t, bool (*fn)(void *user, struct inflight *f), void *user)
{
    pthread_mutex_lock(&t->lock);
    struct inflight *f = t->entries;
    if (f != NULL)
        inflight_ref(f);
    while (f != NULL) {
        pthread_mutex_unlock(&t->lock);
        bool more = fn(user, f);
        pthread_mutex_lock(&t->lock);
        /* `fn` may have removed the entry: its links are then stale, and the walk ends until the next time. */
        struct inflight *there = NULL, *next = NULL;
        HASH_FIND(hh, t->entries, f->request_id.p, f->request_id.n, there);
        if (more && there == f)
            next = f->hh.next;
        if (next != NULL)
            inflight_ref(next);
        pthread_mutex_unlock(&t->lock);
        inflight_unref(f);
        pthread_mutex_lock(&t->lock);
        f = next;
    }
    pthread_mutex_unlock(&t->lock);
}

size_t inflight_count(struct inflight_table *t)
{
    pthread_mutex_lock(&t->lock);
    size_t n = HASH_COUNT(t->entries);
    pthread_mutex_unlock(&t->lock);
    return n;
}
