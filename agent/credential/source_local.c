#include "credential/source.h"

#include <stdlib.h>

struct local {
    struct key_source base;
    const struct credential_secret *o;
};

static void fetch(struct key_source *s)
{
    struct local *l = (struct local *)s;
    char why[200];
    struct secret *raw = origin_read(l->o, s->pool, why, sizeof why);

    if (raw == NULL) {
        key_source_fail(s, "%s", why);
        return;
    }
    key_source_done(s, secret_view(raw), -1);
    secret_free(raw);
}

static void nothing(struct key_source *s)
{
    (void)s; /* a fetch never outlasts its call */
}

static void local_free(struct key_source *s)
{
    free(s);
}

static const struct key_source_ops ops = { .retries = false, .fetch = fetch, .cancel = nothing, .free = local_free };

struct key_source *key_source_local_new(const struct credential_secret *o)
{
    struct local *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->base.ops = &ops;
    l->o = o;
    return &l->base;
}
