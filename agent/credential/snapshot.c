#include "credential/snapshot.h"

#include <stdlib.h>

struct credential_snapshot *snapshot_new(size_t count, uint64_t generation)
{
    struct credential_snapshot *c = calloc(1, sizeof *c + count * sizeof c->credentials[0]);
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
    for (size_t i = 0; i < c->count; i++) {
        struct snapshot_credential *s = &c->credentials[i];
        for (unsigned k = 0; k < s->key_count; k++)
            value_unref(s->keys[k].value);
        for (unsigned k = 0; k < s->key_count; k++)
            free(s->keys[k].name);
        free(s->name);
        free(s->region);
        free(s->service);
        free(s->turns);
    }
    free(c);
}

static unsigned gcd(unsigned a, unsigned b)
{
    return b == 0 ? a : gcd(b, a % b);
}

/* Smooth weighted round robin (as nginx does it): each turn every key gains its weight, the richest is taken and pays the total. Laid
 * out beforehand, so that picking is one atomic increment. */
static bool turns_lay(struct snapshot_credential *s)
{
    int credit[CREDENTIAL_KEYS_MAX] = { 0 };
    unsigned total = 0, divisor = 0;

    for (unsigned k = 0; k < s->key_count; k++)
        if (s->keys[k].value != NULL && s->keys[k].back_mono_us == 0) {
            total += s->keys[k].weight;
            divisor = gcd(s->keys[k].weight, divisor);
        }
    if (total == 0)
        return true;
    s->turns = malloc(total / divisor);
    if (s->turns == NULL)
        return false;
    for (; s->turn_count < total / divisor; s->turn_count++) {
        unsigned best = CREDENTIAL_KEYS_MAX;
        for (unsigned k = 0; k < s->key_count; k++) {
            if (s->keys[k].value == NULL || s->keys[k].back_mono_us != 0)
                continue;
            credit[k] += (int)s->keys[k].weight;
            if (best == CREDENTIAL_KEYS_MAX || credit[k] > credit[best])
                best = k;
        }
        credit[best] -= (int)total;
        s->turns[s->turn_count] = (uint8_t)best;
    }
    return true;
}

static bool copy(char **to, const char *from)
{
    *to = from != NULL ? strdup(from) : NULL;
    return from == NULL || *to != NULL;
}

static const struct snapshot_credential *find(const struct credential_snapshot *c, struct slice name)
{
    for (size_t i = 0; c != NULL && i < c->count; i++)
        if (c->credentials[i].name != NULL && slice_eq_cstr(name, c->credentials[i].name))
            return &c->credentials[i];
    return NULL;
}

bool snapshot_set(struct credential_snapshot *c, size_t i, const struct credential_options *o, const struct snapshot_key *keys,
                  const struct credential_snapshot *before)
{
    struct snapshot_credential *s = &c->credentials[i];
    const struct snapshot_credential *old = find(before, slice_cstr(o->name));

    s->key_count = (unsigned)o->key_count;
    for (unsigned k = 0; k < s->key_count; k++) {
        s->renewable = s->renewable || o->keys[k].secret.env == NULL;
        s->keys[k] = keys[k];
        s->keys[k].name = NULL;
        if (keys[k].value != NULL)
            value_ref(keys[k].value);
    }
    atomic_init(&s->turn, old != NULL ? atomic_load_explicit(&old->turn, memory_order_relaxed) : 0);
    if (o->aws != NULL && (!copy(&s->region, o->aws->region) || !copy(&s->service, o->aws->service ? o->aws->service : "bedrock")))
        return false;
    s->aws = (struct credential_aws){ .region = s->region, .service = s->service };
    for (unsigned k = 0; k < s->key_count; k++)
        if (!copy(&s->keys[k].name, o->keys[k].name))
            return false;
    return copy(&s->name, o->name) && turns_lay(s);
}

/* The key to use, other than `except` (-1: any), or -1. */
static int choose(struct snapshot_credential *s, int64_t mono_us, bool take_turn, int except)
{
    int best = -1;

    if (s->turn_count > 0) {
        unsigned turn = take_turn ? atomic_fetch_add_explicit(&s->turn, 1, memory_order_relaxed) : 0;
        for (size_t i = 0; i < s->turn_count; i++) {
            int k = s->turns[(turn + i) % s->turn_count];
            if (k != except && s->keys[k].value->expires_mono_us > mono_us)
                return k;
        }
    }
    if (except >= 0)
        return -1;
    /* All that are valid are set aside. What the provider says to one of them is a better answer than none. */
    for (unsigned k = 0; k < s->key_count; k++)
        if (s->keys[k].value != NULL && s->keys[k].value->expires_mono_us > mono_us &&
            (best < 0 || s->keys[k].back_mono_us < s->keys[best].back_mono_us))
            best = (int)k;
    return best;
}

static void picked(const struct snapshot_credential *s, int k, struct credential_pick *out)
{
    const struct value *v = s->keys[k].value;
    *out = (struct credential_pick){ .header = v->header != NULL ? secret_view(v->header) : SLICE_NONE, .aws = v->aws,
                                     .signing = v->aws != NULL ? &s->aws : NULL, .key = (unsigned)k, .serial = v->serial,
                                     .name = s->keys[k].name != NULL ? slice_cstr(s->keys[k].name) : SLICE_NONE };
}

enum credential_found credential_pick(struct credential_snapshot *c, struct slice name, int64_t mono_us, struct credential_pick *out)
{
    struct snapshot_credential *s = (struct snapshot_credential *)find(c, name);

    *out = (struct credential_pick){ .serial = 0 };
    if (s == NULL)
        return CREDENTIAL_UNKNOWN;
    int k = choose(s, mono_us, true, -1);
    if (k < 0)
        return CREDENTIAL_NONE;
    picked(s, k, out);
    return CREDENTIAL_PICKED;
}

bool credential_pick_other(struct credential_snapshot *c, struct slice name, unsigned except, int64_t mono_us, struct credential_pick *out)
{
    struct snapshot_credential *s = (struct snapshot_credential *)find(c, name);
    int k = s != NULL ? choose(s, mono_us, false, (int)except) : -1;

    if (k >= 0)
        picked(s, k, out);
    return k >= 0;
}

bool credential_spare(const struct credential_snapshot *c, struct slice name, int64_t mono_us)
{
    const struct snapshot_credential *s = find(c, name);
    unsigned good = 0;

    for (unsigned k = 0; s != NULL && k < s->key_count; k++)
        good += s->keys[k].value != NULL && s->keys[k].back_mono_us == 0 && s->keys[k].value->expires_mono_us > mono_us;
    return good > 1;
}

bool credential_renewable(const struct credential_snapshot *c, struct slice name)
{
    const struct snapshot_credential *s = find(c, name);
    return s != NULL && s->renewable;
}

bool credential_usable(const struct credential_snapshot *c, struct slice name, int64_t mono_us)
{
    struct snapshot_credential *s = (struct snapshot_credential *)find(c, name);
    return s == NULL || choose(s, mono_us, false, -1) >= 0;
}

uint64_t credential_generation(const struct credential_snapshot *c)
{
    return c->generation;
}
