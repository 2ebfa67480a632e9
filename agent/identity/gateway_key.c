#include "identity/gateway_key.h"

#include "base/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <sys/random.h>

enum { SECRET_BYTES = 32, SECRET_DIGITS = 43, CHECK_DIGITS = 6, PREFIX = 3, ARENA_FIRST = 4096 };

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* ---- the text --------------------------------------------------------------------------------------------------------- */

/* CRC-32 (ISO-HDLC), as zlib's. */
static uint32_t checksum(const char *p, size_t n)
{
    uint32_t c = UINT32_MAX;

    for (size_t i = 0; i < n; i++) {
        c ^= (unsigned char)p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return ~c;
}

static void check_digits(const char *secret, char out[static CHECK_DIGITS])
{
    uint32_t c = checksum(secret, SECRET_DIGITS);

    for (int i = CHECK_DIGITS; i-- > 0; c /= 62)
        out[i] = digits[c % 62];
}

void gateway_key_text(const uint8_t secret[static 32], char out[static GATEWAY_KEY_TEXT + 1])
{
    uint8_t left[SECRET_BYTES];
    char *at = out + PREFIX;

    memcpy(left, secret, sizeof left);
    memcpy(out, "tg_", PREFIX);
    for (int i = SECRET_DIGITS; i-- > 0;) {
        unsigned rest = 0;
        for (size_t k = 0; k < sizeof left; k++) { /* long division, the highest byte first */
            rest = rest << 8 | left[k];
            left[k] = (uint8_t)(rest / 62);
            rest %= 62;
        }
        at[i] = digits[rest];
    }
    check_digits(at, at + SECRET_DIGITS);
    out[GATEWAY_KEY_TEXT] = '\0';
    secret_wipe(left, sizeof left);
}

bool gateway_key_make(char out[static GATEWAY_KEY_TEXT + 1])
{
    uint8_t secret[SECRET_BYTES];

    if (getrandom(secret, sizeof secret, 0) != sizeof secret)
        return false;
    gateway_key_text(secret, out);
    secret_wipe(secret, sizeof secret);
    return true;
}

bool gateway_key_looks(struct slice credential)
{
    return slice_starts(credential, SLICE_LIT("tg_"));
}

const char *gateway_key_check(struct slice credential)
{
    char check[CHECK_DIGITS];

    if (credential.n != GATEWAY_KEY_TEXT)
        return "a gateway key has 52 characters, this one does not: part of it is missing, or something follows it";
    for (size_t i = PREFIX; i < credential.n; i++)
        if (credential.p[i] == '\0' || strchr(digits, credential.p[i]) == NULL)
            return "the gateway key holds a character that no key has; copy it again";
    check_digits(credential.p + PREFIX, check);
    if (memcmp(check, credential.p + PREFIX + SECRET_DIGITS, CHECK_DIGITS) != 0)
        return "the gateway key's checksum does not fit: there is a typo in it";
    return NULL;
}

bool gateway_key_hash(struct slice secret, const uint8_t digest[static 32], uint8_t out[static GATEWAY_KEY_HASH])
{
    unsigned n = 0;

    return HMAC(EVP_sha256(), secret.p, (int)secret.n, digest, 32, out, &n) != NULL && n == GATEWAY_KEY_HASH;
}

/* ---- the table -------------------------------------------------------------------------------------------------------- */

struct kept {
    struct gateway_key key;
    struct slice *groups;
    size_t group_count;
};

struct slot {
    const struct kept *kept; /* NULL: free */
    bool previous;
};

struct gateway_key_table {
    struct snapshot snapshot;
    struct arena *arena;
    struct kept *list;
    struct slot *slots; /* open addressing; the hashes are evenly spread by themselves */
    size_t mask;
};

static void table_free(struct snapshot *s)
{
    struct gateway_key_table *t = (struct gateway_key_table *)s;

    arena_free(t->arena);
    free(t);
}

static size_t home(const struct gateway_key_table *t, const uint8_t hash[static GATEWAY_KEY_HASH])
{
    uint64_t h;
    memcpy(&h, hash, sizeof h);
    return (size_t)h & t->mask;
}

static void slot_fill(struct gateway_key_table *t, const struct kept *k, bool previous)
{
    size_t i = home(t, previous ? k->key.previous_hash : k->key.hash);

    while (t->slots[i].kept != NULL)
        i = (i + 1) & t->mask;
    t->slots[i] = (struct slot){ .kept = k, .previous = previous };
}

static bool copy(struct arena *a, struct slice *s)
{
    if (s->n == 0) {
        *s = SLICE_NONE;
        return true;
    }
    *s = arena_copy(a, *s);
    return s->p != NULL;
}

static bool lines_split(struct arena *a, struct slice text, struct slice **out, size_t *count)
{
    *count = 0;
    *out = arena_alloc(a, (text.n / 2 + 1) * sizeof **out);
    for (const char *p = text.p, *end = text.p + text.n; *out != NULL && p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = stop != NULL ? (size_t)(stop - p) : (size_t)(end - p);
        if (n > 0)
            (*out)[(*count)++] = slice_make(p, n);
        p += n + 1;
    }
    return *out != NULL;
}

static bool keep(struct gateway_key_table *t, const struct gateway_key *from, struct kept *k)
{
    k->key = *from;
    struct slice *texts[] = { &k->key.id, &k->key.organization, &k->key.team, &k->key.user, &k->key.application, &k->key.cost_center,
                              &k->key.groups, &k->key.models, &k->key.budget };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!copy(t->arena, texts[i]))
            return false;
    if (!lines_split(t->arena, k->key.groups, &k->groups, &k->group_count))
        return false;
    slot_fill(t, k, false);
    if (from->has_previous)
        slot_fill(t, k, true);
    return true;
}

struct gateway_key_table *gateway_key_table_new(const struct gateway_key *keys, size_t count)
{
    struct gateway_key_table *t = calloc(1, sizeof *t);
    size_t slots = 16;

    while (slots < 4 * count) /* two hashes a key, half of it free */
        slots *= 2;
    if (t == NULL)
        return NULL;
    snapshot_init(&t->snapshot, table_free);
    t->mask = slots - 1;
    t->arena = arena_new(ARENA_FIRST);
    t->slots = t->arena != NULL ? arena_zalloc(t->arena, slots * sizeof *t->slots) : NULL;
    t->list = t->arena != NULL ? arena_zalloc(t->arena, (count + 1) * sizeof *t->list) : NULL;
    bool good = t->slots != NULL && t->list != NULL;
    for (size_t i = 0; good && i < count; i++)
        good = keep(t, &keys[i], &t->list[i]);
    if (good)
        return t;
    table_free(&t->snapshot);
    return NULL;
}

struct snapshot *gateway_key_table_snapshot(struct gateway_key_table *t)
{
    return &t->snapshot;
}

const struct gateway_key_table *gateway_key_table_of(const struct snapshot *s)
{
    return (const struct gateway_key_table *)s;
}

enum gateway_key_found gateway_key_find(const struct gateway_key_table *t, const uint8_t hash[static GATEWAY_KEY_HASH], int64_t now_s,
                                        struct identity *out)
{
    const struct slot *found = NULL;

    if (t == NULL)
        return GATEWAY_KEY_UNKNOWN;
    for (size_t i = home(t, hash); t->slots[i].kept != NULL && found == NULL; i = (i + 1) & t->mask) {
        const struct gateway_key *k = &t->slots[i].kept->key;
        if (CRYPTO_memcmp(t->slots[i].previous ? k->previous_hash : k->hash, hash, GATEWAY_KEY_HASH) == 0)
            found = &t->slots[i];
    }
    if (found == NULL)
        return GATEWAY_KEY_UNKNOWN;
    const struct gateway_key *k = &found->kept->key;
    if (k->expires_s != 0 && k->expires_s <= now_s)
        return GATEWAY_KEY_EXPIRED;
    if (found->previous && k->previous_until_s <= now_s)
        return GATEWAY_KEY_REPLACED;
    *out = (struct identity){
        .issuer = SLICE_LIT(GATEWAY_KEY_ISSUER), .subject = k->id, .organization = k->organization, .team = k->team, .user = k->user,
        .application = k->application, .cost_center = k->cost_center, .groups = found->kept->groups,
        .group_count = found->kept->group_count, .key_id = k->id, .key_budget = k->budget, .key_models = k->models,
        .key_endpoints = k->endpoints, .expires_s = k->expires_s, .issued_s = k->created_s,
    };
    return GATEWAY_KEY_GOOD;
}
