/* Identity: who asks. A bearer JWT is verified against the keys of the issuer it names, and its claims become struct identity.
 *
 * struct identity_store holds the issuers and their key sets. It lives on the control thread's loop, which fetches and refreshes
 * keys; its key sets are immutable snapshots that any thread may read. struct identity_verifier belongs to one worker thread: a
 * cache of verified tokens, a subscription to refreshes, and no locks on a hit. Both are plain memory; nothing blocks.
 *
 * Fails closed: no keys yet, or keys older than allowed, is 503 auth_provider_unavailable; everything wrong with a token is 401,
 * a good token that the mapping cannot place is 403. Messages say what is wrong and never repeat the token or its signature.
 *
 * Signatures: RS*, PS*, ES* (256, 384, 512) and EdDSA (Ed25519) through OpenSSL with keys parsed once; RS* and ES* must then pass
 * libjwt too where it accepts the header (1.x knows no PS*, no EdDSA and no `typ` but JWT). `none` and HS* are never accepted. Before
 * either library sees a token its three parts are parsed here, strictly, and `alg` is pinned to the type and curve of the key and to
 * the issuer's list (RFC 8725). */
#ifndef TOLLGATE_IDENTITY_H
#define TOLLGATE_IDENTITY_H

#include "request.h"

struct ev_loop;
struct http_client;
struct identity_store;
struct identity_verifier;
struct snapshot_cell;

#define IDENTITY_TOKEN_MAX (16 * 1024) /* bytes of a token */

/* ---- options: plain data, owned by the caller, copied by identity_store_new. A number that is 0 means its default. ---- */

/* Where a field of struct identity comes from. `paths` are tried in order; the first that yields a non-empty string (number, or
 * array holding exactly one string) wins, else `fallback`, else the field stays empty. A path names a claim, or members of nested
 * objects joined by dots ("realm_access.roles"); a claim whose own name has dots is found first. */
struct identity_field {
    const char **paths;
    unsigned paths_count; /* 0: the default named at struct identity_mapping */
    const char *fallback; /* static value; NULL: none */
};

/* If the claim at `claim` (string or array of strings) holds `value`, the fields named here get these values. `value` may hold
 * one '*' (any text); a '*' in a target stands for what it matched: {value: "llm-*", team: "*"}. Rules are tried in order; each
 * field takes the first match, and a rule goes before the field's own paths. */
struct identity_rule {
    const char *claim; /* NULL: the groups found by mapping.groups */
    const char *value; /* required */
    const char *team, *user, *organization, *application, *cost_center; /* NULL: not set by this rule */
};

struct identity_mapping {
    struct identity_field subject;      /* "sub" */
    struct identity_field user;         /* "sub" */
    struct identity_field team;         /* "team" */
    struct identity_field organization; /* "organization" */
    struct identity_field application;  /* "azp", "client_id", "appid" */
    struct identity_field cost_center;  /* "cost_center" */
    struct identity_field groups;       /* "groups"; all strings found at all paths, no fallback */
    struct identity_rule *rules;
    unsigned rules_count;
};

/* The claim must be present (not null); with `values`, it must equal one of them or be an array that holds one. */
struct identity_required {
    const char *claim; /* path, as above */
    const char **values;
    unsigned values_count;
};

struct identity_issuer {
    const char *name;       /* label for logs and metrics; NULL: the issuer */
    const char *issuer;     /* required; compared byte by byte with `iss` (RFC 7519 4.1.1, OpenID Connect Core 3.1.3.7) */
    const char **audiences; /* one of them must be in `aud`; required unless any_audience */
    unsigned audiences_count;
    bool any_audience;
    const char **authorized_parties; /* when given, `azp` (or, without azp, `client_id`) must be one of them */
    unsigned authorized_parties_count;
    const char **algorithms; /* empty: RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA */
    unsigned algorithms_count;
    bool access_tokens_only; /* only `typ: at+jwt` (RFC 9068); default JWT, at+jwt or none */
    struct identity_required *required;
    unsigned required_count;

    const char **logout_audiences; /* `aud` of its logout tokens (the client id it knows us by); none: it may not log anybody out here */
    unsigned logout_audiences_count;

    /* Where keys come from: at most one of these; none: OIDC discovery at issuer + "/.well-known/openid-configuration". */
    const char *jwks_file;     /* re-read when it changes */
    const char *jwks_url;
    const char *discovery_url; /* its `issuer` must equal `issuer` */
    const char *ca_file;       /* PEM bundle for these URLs; NULL: the system's */
    bool allow_http;           /* http: URLs; for loopback and tests */

    /* Introspection (RFC 7662) of tokens that verify; NULL: none. */
    const char *introspection_url, *introspection_client_id;
    const char *introspection_secret_file; /* mode 600 */
    int64_t introspection_cache_s;  /* how long an answer is used; default 60, at most 3600 */
    int64_t introspection_stale_s;  /* how long beyond that while the endpoint does not answer; default 0: refused at once */

    int64_t leeway_s;            /* clock difference tolerated for exp, nbf, iat; default 60, -1: none, at most 600 */
    int64_t max_age_s;           /* refuse tokens issued longer ago (needs iat); default: no limit */
    int64_t refresh_s;           /* background refresh; default 3600; a shorter Cache-Control lifetime wins, down to 60 */
    int64_t refresh_cooldown_s;  /* least time between two refreshes for an unknown kid; default 30 */
    int64_t stale_s;             /* how long keys are still used after the last good fetch; default 86400 (files: no limit) */
    int64_t fetch_timeout_ms;    /* default 5000 */

    struct identity_mapping mapping;
};

/* Who a client certificate is. All that is given must match; rules are tried in order, the first decides. common_name and
 * alternative_name may hold one '*' between them, which a '*' in a target stands for. */
struct identity_certificate {
    const char *name;             /* required; for explanations */
    const char *issuer, *subject; /* whole distinguished names, as `openssl x509 -nameopt RFC2253` prints them */
    const char *common_name;      /* of the subject */
    const char *alternative_name; /* one of the certificate's: "DNS:...", "URI:...", "email:..." */
    const char *fingerprint;      /* SHA-256, 64 hexadecimal digits in lower case */
    const char *team;             /* required */
    const char *user;             /* NULL: the common name, else the subject */
    const char *organization, *application, *cost_center; /* may be NULL */
    const char **groups;
    unsigned groups_count;
};

struct identity_options {
    struct identity_issuer *issuers;
    unsigned issuers_count;
    struct identity_certificate *certificates;
    unsigned certificates_count;
    int64_t cache_entries;   /* verified tokens kept by each worker; default 16384 */
    int64_t wait_ms;         /* how long a request may wait for a key refresh; default 2000 */
    bool refuse_api_key;     /* do not look for the token in x-api-key (Anthropic SDKs) when there is no Authorization */
};

/* NULL when all is well, else what is wrong and what would be right, with the place ("issuers[1].audiences: ..."); formatted
 * into `why`. Reads no files. */
const char *identity_options_check(const struct identity_options *o, char *why, size_t why_size);

/* ---- the store: control thread ---------------------------------------------------------------------------------------- */

/* Copies the options, reads jwks files, starts the first fetches on `loop`. `http` must outlive the store's retirement and may be
 * NULL when all issuers use files. `previous` (may be NULL) is a running store: issuers that have the same name, issuer and key
 * source start with its keys, so a reload has no gap. A file that cannot be read is an error here, later only a log line. A NULL
 * result says why. */
struct identity_store *identity_store_new(const struct identity_options *o, struct ev_loop *loop, struct http_client *http,
                                          struct identity_store *previous, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* Control thread: stops timers and fetches, releases those who wait, drops the creator's reference. Verifiers that still hold it
 * go on with the keys it has; the memory goes with the last of them. NULL is allowed. */
void identity_store_retire(struct identity_store *s);
/* Control thread: re-reads files and fetches all issuers now (SIGHUP). */
void identity_store_refresh(struct identity_store *s);

struct identity_issuer_state {
    const char *name, *issuer; /* valid as long as the store */
    size_t keys;               /* usable keys */
    uint64_t generation;       /* changes when the key set changed */
    int64_t fetched_us;        /* last good fetch, 0: never */
    int64_t next_in_ms;        /* from the end of the last fetch to the next one; 0: none is scheduled (files) */
    uint64_t fetches, failures, refreshes_for_kid;
    bool usable;               /* false: requests get 503 */
};
/* Any thread; false when there is no issuer `i`. For metrics and health. */
bool identity_store_state(const struct identity_store *s, size_t i, int64_t now_us, struct identity_issuer_state *out);
/* How long a parked request may wait, in milliseconds (identity_options.wait_ms). */
int64_t identity_store_wait_ms(const struct identity_store *s);

/* ---- the verifier: one per worker thread ------------------------------------------------------------------------------ */

typedef void identity_ready_fn(void *user);

enum identity_result {
    IDENTITY_OK,      /* *out is filled */
    IDENTITY_REFUSED, /* *no is filled: 401, 403 or 503 */
    IDENTITY_WAIT     /* a key refresh is under way: call again when `ready` fires */
};

/* `ready` runs on `loop` (through ev_async) after each fetch that somebody waited for, good or bad. Takes a reference to the store.
 * `loop` and `ready` may be NULL when the caller never passes may_wait. NULL when memory is out. Call on the worker's thread, or before it
 * runs. */
struct identity_verifier *identity_verifier_new(struct identity_store *s, struct ev_loop *loop, identity_ready_fn *ready,
                                                void *user) __attribute__((warn_unused_result));
/* From now on what the list in `cell` names is refused (identity/revocation.h). The cell outlives the verifier. */
void identity_verifier_revocations(struct identity_verifier *v, struct snapshot_cell *cell);
/* From now on the gateway keys of the table in `cell` are accepted (identity/gateway_key.h). Cell and secret outlive the verifier. */
void identity_verifier_keys(struct identity_verifier *v, struct snapshot_cell *cell, struct slice secret);
/* On the worker's thread, or after it ended. NULL is allowed. */
void identity_verifier_free(struct identity_verifier *v);

/* A client certificate that came with the request must be verified, in force and not revoked, whatever else there is. A token or key
 * decides who asks; without one, or with "certificate" in its place, the certificate does (identity/certificate.h).
 *
 * Verifies the token, or the gateway key, in rq->authorization ("Bearer ..."; the scheme in any case) or, without one, rq->api_key. All slices of *out
 * and *no are in `a` or static. `now_us`: wall time. With may_wait the result may be IDENTITY_WAIT, which only happens while a
 * fetch for the token's issuer is pending; park the request, and call again at `ready`, or with may_wait false once
 * identity_store_wait_ms has passed. A token is never verified against keys of an issuer other than the one it names. */
enum identity_result identity_verify(struct identity_verifier *v, const struct http_request *rq, int64_t now_us, bool may_wait,
                                     struct arena *a, struct identity *out, struct refusal *no) __attribute__((warn_unused_result));

struct identity_cache_state {
    uint64_t hits, misses, evictions;
    size_t entries, bytes;
};
void identity_verifier_state(const struct identity_verifier *v, struct identity_cache_state *out);

/* Codes and reasons in struct refusal (type, code, reason; all static strings):
 *   401 invalid_request_error invalid_api_key: reasons token_missing, token_malformed, token_algorithm, token_issuer, token_key,
 *       token_signature, token_expired, token_not_yet_valid, token_audience, token_party, token_claim, token_type, token_too_old, token_bound, revoked, token_inactive,
 *       key_malformed, key_unknown, key_expired, key_replaced,
 *       certificate_unverified, certificate_malformed, certificate_expired, certificate_not_yet_valid, certificate_missing
 *   403 invalid_request_error identity_not_mapped: reasons certificate_not_mapped, identity_ambiguous (several values where one is needed),
 *       token_group_overage (the issuer left the groups out: `_claim_names`)
 *   503 server_error auth_provider_unavailable: reason issuer_unavailable (retry_after_s is set), also when introspection gives no answer */

#endif
