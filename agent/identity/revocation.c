#include "identity/revocation.h"

#include "base/hex.h"

#include <stdlib.h>

enum { DIGEST_BYTES = 32, DIGEST_TEXT = 7 + 2 * DIGEST_BYTES };

struct slot {
    struct revocation entry;
    uint8_t digest[DIGEST_BYTES]; /* of a token entry by digest */
    bool by_digest;
    struct slot *next;
};

struct revocation_list {
    struct snapshot snapshot;
    size_t count, mask;
    unsigned kinds; /* bit per kind there is at least one entry of */
    bool digests;
    struct slot **buckets;
    struct slot *slots;
    char *texts;
};

static const char *const names[REVOKED_KINDS] = { "subject", "token", "team", "key", "session", "certificate" };

const char *revocation_kind_name(enum revocation_kind kind)
{
    return names[kind];
}

bool revocation_kind_from_name(struct slice name, enum revocation_kind *out)
{
    for (int k = 0; k < REVOKED_KINDS; k++)
        if (slice_eq_cstr(name, names[k])) {
            *out = (enum revocation_kind)k;
            return true;
        }
    return false;
}

/* ---- values ----------------------------------------------------------------------------------------------------------- */

static bool is_fingerprint(struct slice value)
{
    for (size_t i = 0; i < value.n; i++)
        if (hex_digit_lower(value.p[i]) < 0)
            return false;
    return value.n == 2 * DIGEST_BYTES;
}

static bool is_digest(struct slice value)
{
    return slice_starts(value, SLICE_LIT("sha256:"));
}

static bool read_digest(struct slice value, uint8_t out[DIGEST_BYTES])
{
    if (value.n != DIGEST_TEXT)
        return false;
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        int high = hex_digit_lower(value.p[7 + 2 * i]), low = hex_digit_lower(value.p[8 + 2 * i]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Control characters would tear lines of logs and tables apart; a name that has them is nobody's. */
static bool printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return true;
}

const char *revocation_check(const struct revocation *r)
{
    uint8_t digest[DIGEST_BYTES];

    if ((unsigned)r->kind >= REVOKED_KINDS)
        return "the kind is none of subject, token, team, key, session, certificate";
    if (r->value.n == 0)
        return "the value is empty";
    if (r->value.n > REVOCATION_VALUE_MAX || r->issuer.n > REVOCATION_VALUE_MAX)
        return "the value is longer than 1024 bytes";
    if (!printable(r->value) || !printable(r->issuer))
        return "the value holds a control character";
    if (r->kind == REVOKED_TOKEN && is_digest(r->value) && !read_digest(r->value, digest))
        return "a token's digest is sha256: and 64 hexadecimal digits in lower case";
    if (r->kind == REVOKED_CERTIFICATE && !is_fingerprint(r->value))
        return "a certificate is named by its SHA-256: 64 hexadecimal digits in lower case, without colons";
    if (r->kind == REVOKED_TOKEN && memchr(r->value.p, '.', r->value.n) != NULL && r->value.n > 64 && slice_starts(r->value, SLICE_LIT("ey")))
        return "that is a token itself; name its jti or its digest (tollgatectl revoke token --file)";
    return NULL;
}

static struct slice trim(struct slice s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = slice_make(s.p + 1, s.n - 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r' || s.p[s.n - 1] == '\n'))
        s.n--;
    return s;
}

int revocation_line_parse(struct slice line, struct revocation *out, const char **why)
{
    struct slice s = trim(line);
    size_t n = 0;

    *out = (struct revocation){ .kind = REVOKED_SUBJECT };
    if (s.n == 0 || s.p[0] == '#')
        return 0;
    while (n < s.n && s.p[n] != ' ' && s.p[n] != '\t')
        n++;
    if (!revocation_kind_from_name(slice_make(s.p, n), &out->kind) || out->kind == REVOKED_SESSION) {
        *why = "a line is: subject, token, team, key or certificate, a blank, and the value";
        return -1;
    }
    out->value = trim(slice_make(s.p + n, s.n - n));
    *why = revocation_check(out);
    return *why == NULL ? 1 : -1;
}

/* ---- the list --------------------------------------------------------------------------------------------------------- */

static size_t hash(enum revocation_kind kind, bool by_digest, const void *p, size_t n)
{
    const unsigned char *b = p;
    uint64_t h = 14695981039346656037u ^ (uint64_t)kind << 1 ^ (uint64_t)by_digest; /* FNV-1a: entries are the operators' own */

    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

static void list_free(struct snapshot *s)
{
    struct revocation_list *l = (struct revocation_list *)s;

    free(l->buckets);
    free(l->slots);
    free(l->texts);
    free(l);
}

static void add(struct revocation_list *l, const struct revocation *r, char **at)
{
    struct slot *slot = &l->slots[l->count++];

    *slot = (struct slot){ .entry = *r };
    slot->entry.issuer = slice_pack(at, r->issuer);
    slot->entry.value = slice_pack(at, r->value);
    slot->by_digest = r->kind == REVOKED_TOKEN && is_digest(r->value) && read_digest(r->value, slot->digest);
    l->digests = l->digests || slot->by_digest;
    l->kinds |= 1u << r->kind;
    size_t h = slot->by_digest ? hash(r->kind, true, slot->digest, DIGEST_BYTES) : hash(r->kind, false, r->value.p, r->value.n);
    slot->next = l->buckets[h & l->mask];
    l->buckets[h & l->mask] = slot;
}

struct revocation_list *revocation_list_new(const struct revocation *entries, size_t count)
{
    struct revocation_list *l = calloc(1, sizeof *l);
    size_t buckets = 16, bytes = 1;

    if (l == NULL)
        return NULL;
    snapshot_init(&l->snapshot, list_free);
    for (size_t i = 0; i < count; i++)
        bytes += entries[i].issuer.n + entries[i].value.n;
    while (buckets < count * 2)
        buckets *= 2;
    l->mask = buckets - 1;
    l->buckets = calloc(buckets, sizeof(struct slot *));
    l->slots = calloc(count + 1, sizeof *l->slots);
    l->texts = malloc(bytes);
    if (l->buckets == NULL || l->slots == NULL || l->texts == NULL) {
        list_free(&l->snapshot);
        return NULL;
    }
    char *at = l->texts;
    for (size_t i = 0; i < count; i++)
        add(l, &entries[i], &at);
    return l;
}

struct snapshot *revocation_list_snapshot(struct revocation_list *l)
{
    return &l->snapshot;
}

const struct revocation_list *revocation_list_of(const struct snapshot *s)
{
    return (const struct revocation_list *)s;
}

static bool applies(const struct revocation *r, const struct identity *id, int64_t now_s)
{
    if (r->expires_s != 0 && now_s >= r->expires_s)
        return false;
    if (r->issuer.n > 0 && !slice_eq(r->issuer, id->issuer))
        return false;
    if (r->sessionless && id->session.n > 0)
        return false;
    return r->before_s == 0 || id->issued_s <= r->before_s; /* 0: it does not say when it was issued */
}

static const struct revocation *look(const struct revocation_list *l, enum revocation_kind kind, struct slice value,
                                     const struct identity *id, int64_t now_s)
{
    if ((l->kinds & 1u << kind) == 0 || value.n == 0)
        return NULL;
    for (const struct slot *s = l->buckets[hash(kind, false, value.p, value.n) & l->mask]; s != NULL; s = s->next)
        if (s->entry.kind == kind && !s->by_digest && slice_eq(s->entry.value, value) && applies(&s->entry, id, now_s))
            return &s->entry;
    return NULL;
}

static const struct revocation *look_digest(const struct revocation_list *l, const uint8_t digest[DIGEST_BYTES], const struct identity *id,
                                            int64_t now_s)
{
    if (!l->digests || digest == NULL)
        return NULL;
    for (const struct slot *s = l->buckets[hash(REVOKED_TOKEN, true, digest, DIGEST_BYTES) & l->mask]; s != NULL; s = s->next)
        if (s->by_digest && memcmp(s->digest, digest, DIGEST_BYTES) == 0 && applies(&s->entry, id, now_s))
            return &s->entry;
    return NULL;
}

const struct revocation *revocation_find(const struct revocation_list *l, const struct identity *id, const uint8_t digest[32], int64_t now_s)
{
    const struct revocation *r = NULL;

    if (l == NULL || l->count == 0)
        return NULL;
    if ((r = look_digest(l, digest, id, now_s)) != NULL || (r = look(l, REVOKED_TOKEN, id->token_id, id, now_s)) != NULL ||
        (r = look(l, REVOKED_SUBJECT, id->subject, id, now_s)) != NULL || (r = look(l, REVOKED_SUBJECT, id->user, id, now_s)) != NULL ||
        (r = look(l, REVOKED_TEAM, id->team, id, now_s)) != NULL || (r = look(l, REVOKED_KEY, id->key_id, id, now_s)) != NULL ||
        (r = look(l, REVOKED_CERTIFICATE, id->certificate, id, now_s)) != NULL)
        return r;
    return look(l, REVOKED_SESSION, id->session, id, now_s);
}
