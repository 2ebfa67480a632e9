#include "identity/cache.h"
#include "identity/certificate.h"
#include "identity/certificate_cache.h"
#include "identity/claims.h"
#include "identity/gateway_key.h"
#include "identity/introspect.h"
#include "identity/jws.h"
#include "identity/revocation.h"
#include "identity/store.h"
#include "identity/strict.h"
#include "identity/verifier.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <strings.h>

enum { CACHE_BYTES_PER_ENTRY = 2048, KEYS_TRIED_MAX = 8, RETRY_AFTER_S = 5 };

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static void on_notify(struct ev_loop *loop, ev_async *w, int revents)
{
    struct identity_verifier *v = w->data;

    (void)loop;
    (void)revents;
    v->ready(v->user);
}

struct identity_verifier *identity_verifier_new(struct identity_store *s, struct ev_loop *loop, identity_ready_fn *ready, void *user)
{
    size_t entries = (size_t)s->options->cache_entries;
    struct identity_verifier *v = calloc(1, sizeof *v);

    if (v == NULL)
        return NULL;
    v->cache = cache_new(entries, entries * CACHE_BYTES_PER_ENTRY);
    v->certificates = certificate_cache_new(); /* without memory it goes on without */
    v->digest = EVP_MD_CTX_new();
    EVP_MD *sha256 = EVP_MD_fetch(NULL, "SHA256", NULL); /* once: looking it up costs more than the digest */
    bool good = v->cache != NULL && v->digest != NULL && sha256 != NULL && EVP_DigestInit_ex(v->digest, sha256, NULL) == 1;
    EVP_MD_free(sha256);
    if (!good) {
        cache_free(v->cache);
        certificate_cache_free(v->certificates);
        EVP_MD_CTX_free(v->digest);
        free(v);
        return NULL;
    }
    v->ready = ready;
    v->user = user;
    v->store = s;
    v->loop = ready ? loop : NULL;
    ev_async_init(&v->notify, on_notify);
    v->notify.data = v;
    if (v->loop != NULL)
        ev_async_start(loop, &v->notify);
    store_ref(s);
    pthread_mutex_lock(&s->lock);
    v->next = s->verifiers;
    s->verifiers = v;
    pthread_mutex_unlock(&s->lock);
    return v;
}

void identity_verifier_free(struct identity_verifier *v)
{
    if (v == NULL)
        return;
    struct identity_store *s = v->store;
    pthread_mutex_lock(&s->lock);
    struct identity_verifier **at = &s->verifiers;
    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    pthread_mutex_unlock(&s->lock);
    if (v->loop != NULL)
        ev_async_stop(v->loop, &v->notify);
    store_unref(s);
    cache_free(v->cache);
    certificate_cache_free(v->certificates);
    EVP_MD_CTX_free(v->digest);
    snapshot_reader_clear(&v->revocations);
    snapshot_reader_clear(&v->keys);
    free(v);
}

void identity_verifier_revocations(struct identity_verifier *v, struct snapshot_cell *cell)
{
    snapshot_reader_clear(&v->revocations);
    v->revocations.cell = cell;
}

void identity_verifier_keys(struct identity_verifier *v, struct snapshot_cell *cell, struct slice secret)
{
    snapshot_reader_clear(&v->keys);
    v->keys.cell = cell;
    v->key_secret = secret;
}

void identity_verifier_state(const struct identity_verifier *v, struct identity_cache_state *out)
{
    cache_state(v->cache, out);
}

/* ---- refusing --------------------------------------------------------------------------------------------------------- */

enum identity_result verifier_refuse(struct refusal *no, const struct fault *f)
{
    bool unmapped = strcmp(f->reason, "identity_ambiguous") == 0 || strcmp(f->reason, "certificate_not_mapped") == 0 ||
                    strcmp(f->reason, "token_group_overage") == 0;
    *no = (struct refusal){ .status = unmapped ? 403 : 401, .type = "invalid_request_error",
                            .code = unmapped ? "identity_not_mapped" : "invalid_api_key", .message = f->message,
                            .retry_after_s = -1, .reason = f->reason };
    return IDENTITY_REFUSED;
}

static enum identity_result refuse_text(struct refusal *no, const char *reason, const char *message)
{
    return verifier_refuse(no, &(struct fault){ .reason = reason, .message = slice_cstr(message) });
}

static enum identity_result refuse_unavailable(struct refusal *no)
{
    *no = (struct refusal){ .status = 503, .type = "server_error", .code = "auth_provider_unavailable",
                            .message = SLICE_LIT("the keys of the identity provider are not available at the moment; try again shortly"),
                            .retry_after_s = RETRY_AFTER_S, .reason = "issuer_unavailable" };
    return IDENTITY_REFUSED;
}

/* ---- the steps -------------------------------------------------------------------------------------------------------- */

static struct slice trim(struct slice s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = slice_make(s.p + 1, s.n - 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* The token as sent; a NULL pointer when there is none. The scheme's case does not matter (RFC 9110 11.1). */
static struct slice find_token(const struct http_request *rq, bool api_key)
{
    struct slice s = trim(rq->authorization);
    if (s.n == 0)
        return api_key ? trim(rq->api_key) : SLICE_NONE;
    if (s.n < 7 || strncasecmp(s.p, "Bearer", 6) != 0 || (s.p[6] != ' ' && s.p[6] != '\t'))
        return SLICE_NONE;
    return trim(slice_make(s.p + 7, s.n - 7));
}

static bool digest_token(struct identity_verifier *v, struct slice token, uint8_t out[CACHE_DIGEST])
{
    return EVP_DigestInit_ex(v->digest, NULL, NULL) == 1 && EVP_DigestUpdate(v->digest, token.p, token.n) == 1 &&
           EVP_DigestFinal_ex(v->digest, out, NULL) == 1;
}

static bool from_cache(struct identity_verifier *v, const uint8_t digest[CACHE_DIGEST], int64_t now_us, struct arena *a,
                       struct identity *out, size_t *issuer)
{
    struct cache_entry *e = cache_find(v->cache, digest);
    if (e == NULL)
        return false;
    if (now_us / 1000000 >= e->until_s || !store_usable(v->store, e->issuer, e->generation, now_us)) {
        cache_drop(v->cache, e);
        return false;
    }
    *issuer = e->issuer;
    return identity_copy(&e->id, a, out);
}

/* The issuer the token claims to come from; the number of issuers when it is not one of ours. */
static size_t find_issuer(const struct identity_store *s, const cJSON *payload)
{
    const char *iss = strict_string(payload, "iss");
    size_t i = 0;
    while (i < s->count && (iss == NULL || strcmp(iss, s->issuers[i].o->issuer) != 0))
        i++;
    return i;
}

enum key_search { KEY_VERIFIED, KEY_UNKNOWN, KEY_UNFIT, KEY_BAD_SIGNATURE };

/* Tries the keys the token's kid names; without a kid, those that fit its algorithm (RFC 7515 4.1.4: kid is optional). */
static enum key_search search_keys(const struct jws *t, const struct jwk_set *set)
{
    bool named = false;
    unsigned tried = 0;

    for (size_t i = 0; i < set->count && tried < KEYS_TRIED_MAX; i++) {
        const struct jwk *k = &set->keys[i];
        if (t->kid != NULL && (k->kid == NULL || strcmp(k->kid, t->kid) != 0))
            continue;
        named = true;
        if (!jwk_kind_fits(k->kind, t->alg) || (k->alg >= 0 && k->alg != (int)t->alg))
            continue;
        tried++;
        if (jws_verify(t, k))
            return KEY_VERIFIED;
    }
    if (tried > 0)
        return t->kid != NULL ? KEY_BAD_SIGNATURE : KEY_UNKNOWN;
    return named && t->kid != NULL ? KEY_UNFIT : KEY_UNKNOWN;
}

static enum identity_result refuse_key(const struct jws *t, struct refusal *no)
{
    if (t->kid == NULL)
        return refuse_text(no, "token_signature", "the token names no key (kid) and its signature fits none of its issuer's keys");
    return refuse_text(no, "token_key", "the token's key (kid) is not among its issuer's keys; get a new token");
}

/* Finds the key and verifies the signature. IDENTITY_OK: authentic; *generation is the key set's. */
static enum identity_result authenticate(struct identity_verifier *v, const struct jws *t, size_t issuer, int64_t now_us, bool may_wait,
                                         uint64_t *generation, struct refusal *no)
{
    bool wait = may_wait && v->loop != NULL, there;
    enum key_search found;
    uint64_t seen;

    do { /* again when the keys changed meanwhile: the refresh this token would ask for has just ended, perhaps before it could ask */
        seen = store_generation(v->store, issuer);
        struct jwk_set *set = store_keys(v->store, issuer, now_us);
        there = set != NULL;
        found = there ? search_keys(t, set) : KEY_UNKNOWN;
        *generation = there ? set->generation : 0;
        jwk_set_unref(set);
        if (found == KEY_UNKNOWN && seen == store_generation(v->store, issuer) &&
            store_want(v->store, issuer, there, now_us, wait ? v : NULL) && wait)
            return IDENTITY_WAIT;
    } while (found == KEY_UNKNOWN && seen != store_generation(v->store, issuer));
    switch (found) {
    case KEY_VERIFIED: return IDENTITY_OK;
    case KEY_UNKNOWN: return there ? refuse_key(t, no) : refuse_unavailable(no);
    case KEY_UNFIT:
        return refuse_text(no, "token_algorithm", "the token's algorithm (alg) does not fit the key it names (kid)");
    case KEY_BAD_SIGNATURE: break;
    }
    return refuse_text(no, "token_signature", "the token's signature is wrong");
}

enum identity_result verifier_authenticate(struct identity_verifier *v, const struct jws *t, int64_t now_us, bool may_wait, size_t *issuer,
                                           uint64_t *generation, struct refusal *no)
{
    *issuer = find_issuer(v->store, t->payload);
    if (*issuer == v->store->count)
        return refuse_text(no, "token_issuer", "the token's issuer (iss) is not one that is accepted here");
    if ((v->store->issuers[*issuer].algorithms & 1u << t->alg) == 0)
        return refuse_text(no, "token_algorithm", "the token's algorithm (alg) is not accepted from this issuer");
    return authenticate(v, t, *issuer, now_us, may_wait, generation, no);
}

static enum identity_result verify_parsed(struct identity_verifier *v, const struct jws *t, const uint8_t digest[CACHE_DIGEST],
                                          int64_t now_us, bool may_wait, struct arena *a, struct identity *out, size_t *issuer,
                                          struct refusal *no)
{
    struct claims_times times = { 0 };
    uint64_t generation = 0;
    struct fault f = { 0 };

    enum identity_result r = verifier_authenticate(v, t, now_us, may_wait, issuer, &generation, no);
    if (r != IDENTITY_OK)
        return r;
    struct issuer_state *st = &v->store->issuers[*issuer];
    if (!claims_check(st->o, t, now_us, a, &times, &f) || !claims_map(st->o, t->payload, a, out, &f))
        return verifier_refuse(no, &f);
    out->expires_s = times.exp_s;
    out->issued_s = times.issued_s;
    cache_put(v->cache, digest, (unsigned)*issuer, generation, times.until_s, out);
    return identity_copy(out, a, out) ? IDENTITY_OK : refuse_text(no, "token_malformed", "out of memory while reading the token");
}

/* Last, after every way a credential can be good: what was revoked a moment ago is refused by this very request. */
static enum identity_result not_revoked(struct identity_verifier *v, const uint8_t *digest, int64_t now_us, struct arena *a,
                                        const struct identity *id, struct refusal *no)
{
    const struct revocation_list *l = revocation_list_of(snapshot_current(&v->revocations));
    const struct revocation *r = revocation_find(l, id, digest, now_us / 1000000);

    if (r == NULL)
        return IDENTITY_OK;
    return verifier_refuse(no, &(struct fault){ .reason = "revoked",
                                       .message = arena_printf(a, "this credential was revoked (%s); get a new one, or ask the gateway's operators",
                                                               revocation_kind_name(r->kind)) });
}

/* What the issuer itself says about the token, where it is asked. */
static enum identity_result introspected(struct identity_verifier *v, size_t issuer, const uint8_t *digest, struct slice token, int64_t exp_s,
                                         int64_t now_us, bool may_wait, struct refusal *no)
{
    struct introspection *x = v->store->issuers[issuer].introspection;

    if (x == NULL)
        return IDENTITY_OK;
    switch (introspect_ask(x, digest, token, exp_s, now_us, may_wait && v->loop != NULL ? v : NULL)) {
    case INTROSPECT_ACTIVE: return IDENTITY_OK;
    case INTROSPECT_WAIT: return IDENTITY_WAIT;
    case INTROSPECT_INACTIVE:
        return refuse_text(no, "token_inactive", "the token's issuer says that it is no longer active; get a new one");
    case INTROSPECT_UNAVAILABLE: break;
    }
    refuse_unavailable(no);
    no->message = SLICE_LIT("the identity provider does not say at the moment whether this token is still active; try again shortly");
    return IDENTITY_REFUSED;
}

static enum identity_result verify_key(struct identity_verifier *v, struct slice credential, const uint8_t digest[CACHE_DIGEST], int64_t now_us,
                                       struct arena *a, struct identity *out, struct refusal *no)
{
    uint8_t hash[GATEWAY_KEY_HASH];
    const char *fault = gateway_key_check(credential);

    if (fault != NULL)
        return refuse_text(no, "key_malformed", fault);
    if (v->keys.cell == NULL)
        return refuse_text(no, "key_unknown", "gateway keys are not accepted here");
    if (!gateway_key_hash(v->key_secret, digest, hash))
        return refuse_text(no, "key_malformed", "out of memory while reading the gateway key");
    switch (gateway_key_find(gateway_key_table_of(snapshot_current(&v->keys)), hash, now_us / 1000000, out)) {
    case GATEWAY_KEY_UNKNOWN:
        return refuse_text(no, "key_unknown", "this gateway key is not known here; ask the gateway's operators for one");
    case GATEWAY_KEY_EXPIRED:
        return refuse_text(no, "key_expired", "this gateway key has expired; ask the gateway's operators to rotate it");
    case GATEWAY_KEY_REPLACED:
        return refuse_text(no, "key_replaced", "this gateway key was rotated and is no longer accepted; use the new one");
    case GATEWAY_KEY_GOOD: break;
    }
    if (!identity_copy(out, a, out))
        return refuse_text(no, "key_malformed", "out of memory while reading the gateway key");
    return not_revoked(v, digest, now_us, a, out, no);
}

static enum identity_result no_token(const struct identity_options *o, struct refusal *no)
{
    if (o->certificates_count > 0)
        return refuse_text(no, "token_missing", "no token: send your company token or gateway key as \"Authorization: Bearer ...\" or in x-api-key, "
                                                "or connect with a client certificate");
    return refuse_text(no, "token_missing", o->refuse_api_key
                           ? "no token: send your company token or gateway key as \"Authorization: Bearer ...\""
                           : "no token: send your company token or gateway key as \"Authorization: Bearer ...\" or in x-api-key");
}

static enum identity_result verify_token(struct identity_verifier *v, struct slice token, int64_t now_us, bool may_wait, struct arena *a,
                                         struct identity *out, struct refusal *no)
{
    uint8_t digest[CACHE_DIGEST];
    struct fault f = { 0 };
    size_t issuer = 0;
    struct jws t;

    if (token.n == 0)
        return no_token(v->store->options, no);
    if (token.n > IDENTITY_TOKEN_MAX)
        return refuse_text(no, "token_malformed", "the token is larger than 16384 bytes");
    if (!digest_token(v, token, digest))
        return refuse_text(no, "token_malformed", "out of memory while reading the token");
    if (gateway_key_looks(token))
        return verify_key(v, token, digest, now_us, a, out, no);
    if (!from_cache(v, digest, now_us, a, out, &issuer)) {
        if (!jws_parse(token, a, &t, &f))
            return verifier_refuse(no, &f);
        enum identity_result r = verify_parsed(v, &t, digest, now_us, may_wait, a, out, &issuer, no);
        jws_clear(&t);
        if (r != IDENTITY_OK)
            return r;
    }
    enum identity_result r = not_revoked(v, digest, now_us, a, out, no);
    return r == IDENTITY_OK ? introspected(v, issuer, digest, token, out->expires_s, now_us, may_wait, no) : r;
}

/* Nothing that claims to be a token, or the word that SDKs send who cannot send nothing. */
static bool by_certificate(const struct http_request *rq, struct slice token)
{
    return slice_eq_cstr(token, "certificate") || (trim(rq->authorization).n == 0 && trim(rq->api_key).n == 0);
}

static enum identity_result verify_certificate(struct identity_verifier *v, const struct certificate *c, bool asked, int64_t now_us,
                                               struct arena *a, struct identity *out, struct refusal *no)
{
    struct fault f = { 0 };

    if (c->fingerprint.n == 0)
        return asked ? refuse_text(no, "certificate_missing", "\"certificate\" stands for a client certificate, but this connection has none")
                     : no_token(v->store->options, no);
    if (!certificate_map(v->store->options, c, a, out, &f))
        return verifier_refuse(no, &f);
    return not_revoked(v, NULL, now_us, a, out, no);
}

enum identity_result identity_verify(struct identity_verifier *v, const struct http_request *rq, int64_t now_us, bool may_wait,
                                     struct arena *a, struct identity *out, struct refusal *no)
{
    struct slice token = find_token(rq, !v->store->options->refuse_api_key);
    struct certificate c = { .from_s = 0 };
    struct fault f = { 0 };

    if ((rq->certificate_used || rq->certificate_verify > 0) && !certificate_read(v->certificates, rq, now_us / 1000000, a, &c, &f))
        return verifier_refuse(no, &f);
    if (by_certificate(rq, token))
        return verify_certificate(v, &c, token.n > 0, now_us, a, out, no);
    enum identity_result r = verify_token(v, token, now_us, may_wait, a, out, no);
    if (r != IDENTITY_OK)
        return r;
    if (out->bound.n > 0 && !slice_eq(out->bound, c.fingerprint))
        return refuse_text(no, "token_bound", "the token is bound to a key of its client (cnf): connect with the client certificate it was issued for");
    out->bound = SLICE_NONE;
    if (c.fingerprint.n == 0)
        return r;
    out->certificate = c.fingerprint;
    return not_revoked(v, NULL, now_us, a, out, no);
}
