#include "access/gateway_keys.h"

#include "access/access_change.h"
#include "admin/rpc.h"
#include "admin/rpc_put.h"
#include "agent.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/secret.h"
#include "config/config.h"
#include "access/gateway_keys_params.h"
#include "identity/gateway_key.h"
#include "identity/revocation.h"
#include "ledger/read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum { KEYS_MAX = 100000, SECRET_BYTES = 32, SECRET_MARK = 8 };

/* One key with its texts in one piece of memory. */
struct entry {
    struct gateway_key k;
    struct slice name, endpoints, actor;
    int64_t created_us, rotated_us;
    char texts[];
};

struct gateway_keys {
    struct entry **list;
    size_t count, room;
    struct secret *secret;
    char mark[2 * SECRET_MARK + 1];     /* tells the secret */
    struct snapshot_reader revocations; /* the control thread's */
};

/* ---- entries ---------------------------------------------------------------------------------------------------------- */

static unsigned endpoints_mask(struct slice lines)
{
    enum endpoint e;
    unsigned mask = 0;

    for (const char *p = lines.p, *end = lines.p + lines.n; p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = stop != NULL ? (size_t)(stop - p) : (size_t)(end - p);
        mask |= gateway_keys_endpoint(slice_make(p, n), &e) ? 1u << e : 1u << 31; /* one that is not known any more opens no other */
        p += n + 1;
    }
    return mask;
}

static struct entry *entry_new(const struct ledger_key_row *row)
{
    const struct ledger_key *from = &row->key;
    const struct slice texts[] = { row->id, from->who.organization, from->who.team, from->who.user, from->who.application,
                                   from->who.cost_center, from->groups, from->models, from->budget, from->name, from->endpoints, row->actor };
    size_t bytes = 0;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        bytes += texts[i].n;
    struct entry *e = calloc(1, sizeof *e + bytes);
    if (e == NULL)
        return NULL;
    struct slice *to[] = { &e->k.id, &e->k.organization, &e->k.team, &e->k.user, &e->k.application, &e->k.cost_center, &e->k.groups,
                           &e->k.models, &e->k.budget, &e->name, &e->endpoints, &e->actor };
    char *at = e->texts;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        *to[i] = slice_pack(&at, texts[i]);
    e->k.endpoints = endpoints_mask(e->endpoints);
    e->k.created_s = row->created_us / 1000000;
    e->k.expires_s = row->expires_s;
    memcpy(e->k.hash, from->hash, sizeof e->k.hash);
    memcpy(e->k.previous_hash, from->previous_hash, sizeof e->k.previous_hash);
    e->k.has_previous = from->has_previous;
    e->k.previous_until_s = from->previous_until_s;
    e->created_us = row->created_us;
    e->rotated_us = row->rotated_us;
    return e;
}

/* Takes `e`. */
static bool add(struct gateway_keys *l, struct entry *e)
{
    if (e == NULL)
        return false;
    struct entry **list = list_grown(l->list, l->count, &l->room, sizeof *list);
    if (list == NULL) {
        free(e);
        return false;
    }
    l->list = list;
    l->list[l->count++] = e;
    return true;
}

static struct entry *find(const struct gateway_keys *l, struct slice id)
{
    for (size_t i = 0; i < l->count; i++)
        if (slice_eq(l->list[i]->k.id, id))
            return l->list[i];
    return NULL;
}

/* ---- in force --------------------------------------------------------------------------------------------------------- */

/* Under the lock, or before anybody else is there. False when memory is out: what was in force stays so. */
static bool publish(struct agent *a)
{
    struct gateway_keys *l = a->access->gateway_keys;
    struct gateway_key *all = malloc((l->count + 1) * sizeof *all);

    for (size_t i = 0; all != NULL && i < l->count; i++)
        all[i] = l->list[i]->k;
    struct gateway_key_table *t = all != NULL ? gateway_key_table_new(all, l->count) : NULL;
    free(all);
    if (t == NULL) {
        LOG(LOG_LEVEL_ERROR, "gateway_keys_not_in_force", LOG_CSTR("error", "out of memory"));
        return false;
    }
    snapshot_publish(&a->access->keys, gateway_key_table_snapshot(t));
    return true;
}

static void rotate(struct entry *e, const struct ledger_access *c)
{
    memcpy(e->k.previous_hash, e->k.hash, sizeof e->k.hash);
    memcpy(e->k.hash, c->key.hash, sizeof e->k.hash);
    e->k.has_previous = true;
    e->k.previous_until_s = c->key.previous_until_s;
    e->k.expires_s = c->expires_s;
    e->rotated_us = c->at_us;
}

void gateway_keys_apply(struct agent *a, const struct ledger_access *c)
{
    struct gateway_keys *l = a->access->gateway_keys;

    if (c->change == ACCESS_CREATE_KEY) {
        struct ledger_key_row row = { .id = c->value, .actor = c->actor, .key = c->key, .created_us = c->at_us, .expires_s = c->expires_s };
        if (!add(l, entry_new(&row)))
            LOG(LOG_LEVEL_ERROR, "gateway_keys_not_in_force", LOG_CSTR("error", "out of memory"));
        publish(a);
    } else if (c->change == ACCESS_ROTATE_KEY) {
        struct entry *e = find(l, c->value);
        if (e != NULL)
            rotate(e, c);
        publish(a);
    }
}

/* ---- the secret ------------------------------------------------------------------------------------------------------- */

/* A new secret, on disk before it is used. */
static bool secret_make(const char *path, char *why, size_t why_size)
{
    unsigned char bytes[SECRET_BYTES];
    char text[2 * SECRET_BYTES + 2], folder[4096];
    bool good = getrandom(bytes, sizeof bytes, 0) == sizeof bytes;

    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, sizeof text - 2 * i, "%02x", bytes[i]);
    text[sizeof text - 2] = '\n';
    int fd = good ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    good = fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)(sizeof text - 1) && fsync(fd) == 0;
    if (!good)
        snprintf(why, why_size, "keys.secret_file %s cannot be made: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    secret_wipe(bytes, sizeof bytes);
    secret_wipe(text, sizeof text);
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1, slash != NULL ? path : ".");
    fd = good ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd); /* the file's name; where folders cannot be synced it is kept as well as it can be */
        close(fd);
    }
    if (good)
        LOG(LOG_LEVEL_INFO, "gateway_key_secret_made", LOG_CSTR("file", path));
    return good;
}

static bool secret_mark(struct gateway_keys *l)
{
    uint8_t digest[32], hash[GATEWAY_KEY_HASH];

    if (EVP_Digest("tollgate gateway keys", 21, digest, NULL, EVP_sha256(), NULL) != 1 || !gateway_key_hash(secret_view(l->secret), digest, hash))
        return false;
    for (size_t i = 0; i < SECRET_MARK; i++)
        snprintf(l->mark + 2 * i, 3, "%02x", hash[i]);
    return true;
}

static bool secret_open(struct gateway_keys *l, const char *path, bool may_make, char *why, size_t why_size)
{
    char reason[512];

    if (access(path, F_OK) != 0 && errno == ENOENT) {
        if (!may_make) {
            snprintf(why, why_size, "keys.secret_file %s is missing, and without it no gateway key in the ledger can be told; put it back", path);
            return false;
        }
        if (!secret_make(path, why, why_size))
            return false;
    }
    l->secret = secret_from_file(path, reason, sizeof reason);
    if (l->secret != NULL && secret_view(l->secret).n >= SECRET_BYTES)
        return secret_mark(l);
    snprintf(why, why_size, "keys.secret_file: %s%s", l->secret != NULL ? path : reason, l->secret != NULL ? " holds less than 32 bytes" : "");
    return false;
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

struct loading {
    struct gateway_keys *list;
    char foreign[2 * SECRET_MARK + 1]; /* the mark of some key's secret */
    bool failed;
};

static bool on_row(void *user, const struct ledger_key_row *row)
{
    struct loading *l = user;

    snprintf(l->foreign, sizeof l->foreign, "%.*s", SLICE_FMT(row->key.secret));
    l->failed = !add(l->list, entry_new(row));
    return !l->failed;
}

bool gateway_keys_open(struct agent *a, struct ledger_reader *r, const struct config *c, char *why, size_t why_size)
{
    struct gateway_keys *l = calloc(1, sizeof *l);
    struct loading loading = { .list = l };

    snprintf(why, why_size, "out of memory");
    if (l == NULL)
        return false;
    a->access->gateway_keys = l;
    l->revocations.cell = &a->access->revocations;
    if (ledger_read_keys(r, on_row, &loading) != 0) {
        snprintf(why, why_size, "cannot read the gateway keys: %s", ledger_reader_error(r));
        return false;
    }
    if (loading.failed || !secret_open(l, c->keys.secret_file, l->count == 0, why, why_size))
        return false;
    if (l->count > 0 && strcmp(loading.foreign, l->mark) != 0) {
        snprintf(why, why_size, "keys.secret_file %s is not the one that the gateway keys in the ledger were made with; put that one back",
                 c->keys.secret_file);
        return false;
    }
    return publish(a);
}

void gateway_keys_close(struct agent *a)
{
    struct gateway_keys *l = a->access->gateway_keys;

    if (l == NULL)
        return;
    for (size_t i = 0; i < l->count; i++)
        free(l->list[i]);
    free(l->list);
    secret_free(l->secret);
    snapshot_reader_clear(&l->revocations);
    free(l);
    a->access->gateway_keys = NULL;
}

struct slice gateway_keys_secret(const struct agent *a)
{
    return secret_view(a->access->gateway_keys->secret);
}

static bool listed(const struct slice *list, size_t count, struct slice text)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq(list[i], text))
            return true;
    return false;
}

bool gateway_keys_budgets(struct agent *a, struct slice more, struct arena *arena, struct slice **out, size_t *count)
{
    struct gateway_keys *l = a->access->gateway_keys;

    *count = 0;
    pthread_mutex_lock(&a->access->lock);
    *out = arena_alloc(arena, (l->count + 1) * sizeof **out);
    bool good = *out != NULL;
    for (size_t i = 0; good && i <= l->count; i++) {
        struct slice text = i < l->count ? l->list[i]->k.budget : more;
        if (text.n == 0 || listed(*out, *count, text))
            continue;
        (*out)[*count] = arena_copy(arena, text);
        good = (*out)[(*count)++].p != NULL;
    }
    pthread_mutex_unlock(&a->access->lock);
    return good;
}

struct slice gateway_keys_budget_of(struct agent *a, struct slice id)
{
    const struct entry *e = find(a->access->gateway_keys, id);
    return e != NULL ? e->k.budget : SLICE_NONE;
}

/* ---- commands --------------------------------------------------------------------------------------------------------- */

static void on_changed(void *user, enum ledger_result result, const struct ledger_access *change)
{
    msgpack_sbuffer answer;
    msgpack_packer pack;

    msgpack_sbuffer_init(&answer);
    msgpack_packer_init(&pack, &answer, msgpack_sbuffer_write);
    msgpack_pack_map(&pack, 4);
    rpc_put_text(&pack, "id", change->value);
    rpc_put_text(&pack, "budget", change->key.budget);
    rpc_put_int(&pack, "expires_us", change->expires_s * 1000000);
    rpc_put_int(&pack, "previous_until_us", change->key.previous_until_s * 1000000);
    rpc_resolve(user, result == LEDGER_OK        ? NULL
                      : result == LEDGER_INVALID ? "the ledger refused the key; try again"
                      : result == LEDGER_STALE   ? "there is no such key; tollgatectl key list shows them"
                                                 : "the ledger cannot be written, so nothing was changed; see tollgatectl status",
                &answer);
    msgpack_sbuffer_destroy(&answer);
}

static bool hash_of(struct agent *a, const uint8_t digest[static 32], uint8_t out[static GATEWAY_KEY_HASH])
{
    return gateway_key_hash(gateway_keys_secret(a), digest, out);
}

static bool id_make(char out[static 24])
{
    unsigned char bytes[8];

    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return false;
    size_t n = (size_t)snprintf(out, 24, "key_");
    for (size_t i = 0; i < sizeof bytes; i++)
        n += (size_t)snprintf(out + n, 24 - n, "%02x", bytes[i]);
    return true;
}

const char *gateway_keys_create(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct gateway_keys *l = a->access->gateway_keys;
    struct key_params k;
    char id[24];
    const char *why = key_params_read(a, params, &k);

    (void)p;
    if (why != NULL)
        return why;
    pthread_mutex_lock(&a->access->lock);
    bool full = l->count >= KEYS_MAX;
    pthread_mutex_unlock(&a->access->lock);
    if (full)
        return "there are 100000 gateway keys already";
    struct ledger_access c = { .change = ACCESS_CREATE_KEY, .key = k.key, .expires_s = k.expires_s, .detail = k.key.name };
    c.key.secret = slice_cstr(l->mark);
    if (!id_make(id) || !hash_of(a, k.digest, c.key.hash))
        return "the system has no random bytes";
    c.value = slice_cstr(id);
    return access_change_for_admin(a, &c, "key_create", on_changed);
}

/* The entry's lasting values, copied under the lock. False: there is no such key. */
static bool look(struct agent *a, struct slice id, struct gateway_key *out, int64_t *since_us)
{
    pthread_mutex_lock(&a->access->lock);
    const struct entry *e = find(a->access->gateway_keys, id);
    if (e != NULL) {
        *out = e->k;
        *since_us = e->rotated_us > 0 ? e->rotated_us : e->created_us;
    }
    pthread_mutex_unlock(&a->access->lock);
    return e != NULL;
}

static bool revoked(struct agent *a, const struct gateway_key *k)
{
    struct identity who = { .issuer = SLICE_LIT(GATEWAY_KEY_ISSUER), .subject = k->id, .team = k->team, .user = k->user, .key_id = k->id,
                            .issued_s = k->created_s };
    const struct revocation_list *list = revocation_list_of(snapshot_current(&a->access->gateway_keys->revocations));
    return revocation_find(list, &who, NULL, clock_wall_us() / 1000000) != NULL;
}

const char *gateway_keys_rotate(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct key_rotation r;
    struct gateway_key k;
    int64_t since_us, now_s = clock_wall_us() / 1000000;
    const char *why = key_rotation_read(params, &r);

    (void)p;
    if (why != NULL)
        return why;
    if (!look(a, slice_cstr(r.id), &k, &since_us))
        return "there is no such key; tollgatectl key list shows them";
    if (revoked(a, &k))
        return "that key is revoked; create another (or tollgatectl unrevoke)";
    struct ledger_access c = { .change = ACCESS_ROTATE_KEY, .value = slice_cstr(r.id) };
    c.expires_s = r.expires_s >= 0 ? r.expires_s : k.expires_s == 0 ? 0 : now_s + k.expires_s - since_us / 1000000;
    /* An old key does not come to life again because it has a successor. */
    c.key.previous_until_s = k.expires_s != 0 && k.expires_s < now_s + r.overlap_s ? k.expires_s : now_s + r.overlap_s;
    c.key.budget = k.budget;
    if (!hash_of(a, r.digest, c.key.hash))
        return "out of memory";
    return access_change_for_admin(a, &c, "key_rotate", on_changed);
}

const char *gateway_keys_revoke(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    char id[KEY_TEXT_MAX], note[KEY_TEXT_MAX];
    struct gateway_key k;
    int64_t since_us;

    (void)p;
    if (!key_param(params, 0, id, sizeof id) || !key_param(params, 1, note, sizeof note))
        return "the key's id is missing, or the note is longer than 511 bytes";
    if (!look(a, slice_cstr(id), &k, &since_us))
        return "there is no such key; tollgatectl key list shows them";
    struct ledger_access c = { .change = ACCESS_REVOKE, .kind = SLICE_LIT("key"), .value = slice_cstr(id), .origin = SLICE_LIT("operator"),
                               .note = slice_cstr(note) };
    return access_change_for_admin(a, &c, "revoke", on_changed);
}

static const char *state_of(struct agent *a, const struct gateway_key *k, int64_t now_s)
{
    if (revoked(a, k))
        return "revoked";
    if (k->expires_s != 0 && k->expires_s <= now_s)
        return "expired";
    return k->has_previous && k->previous_until_s > now_s ? "rotating" : "active";
}

const char *gateway_keys_list(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct gateway_keys *l = a->access->gateway_keys;
    int64_t now_s = clock_wall_us() / 1000000;

    (void)params;
    pthread_mutex_lock(&a->access->lock);
    msgpack_pack_array(p, l->count);
    for (size_t i = 0; i < l->count; i++) {
        const struct entry *e = l->list[i];
        msgpack_pack_map(p, 17);
        rpc_put_text(p, "id", e->k.id);
        rpc_put_text(p, "name", e->name);
        rpc_put_text(p, "state", slice_cstr(state_of(a, &e->k, now_s)));
        rpc_put_text(p, "organization", e->k.organization);
        rpc_put_text(p, "team", e->k.team);
        rpc_put_text(p, "user", e->k.user);
        rpc_put_text(p, "application", e->k.application);
        rpc_put_text(p, "cost_center", e->k.cost_center);
        rpc_put_text(p, "groups", e->k.groups);
        rpc_put_text(p, "models", e->k.models);
        rpc_put_text(p, "endpoints", e->endpoints);
        rpc_put_text(p, "budget", e->k.budget);
        rpc_put_text(p, "actor", e->actor);
        rpc_put_int(p, "created_us", e->created_us);
        rpc_put_int(p, "rotated_us", e->rotated_us);
        rpc_put_int(p, "previous_until_us", e->k.has_previous ? e->k.previous_until_s * 1000000 : 0);
        rpc_put_int(p, "expires_us", e->k.expires_s * 1000000);
    }
    pthread_mutex_unlock(&a->access->lock);
    return NULL;
}
