#include "decide/keys.h"

#include "agent.h"
#include "base/clock.h"
#include "dialect/dialect_rewrite.h"
#include "decide/inflight.h"
#include "route/haproxy_plan.h"

#include <openssl/evp.h>

static size_t count_of(struct slice s, char c)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == c;
    return n;
}

/* A provider's own path may have some more; those are checked with the configuration. */
static bool signable(struct assessment *s)
{
    if (count_of(s->rq.query, '&') < SIGV4_PARAMETERS_MAX && count_of(s->rq.path, '/') <= SIGV4_SEGMENTS_MAX / 2)
        return true;
    s->no = refusal_make(400, "invalid_request_error", "invalid_url", "path",
                         SLICE_LIT("The provider of this path wants signed requests: at most 64 parameters in the query and 32 segments in the path."));
    return false;
}

static bool pick(struct assessment *s, const struct route_target *t, struct credential_pick *out)
{
    if (t == NULL)
        return true;
    if (credential_pick(s->credentials, t->target.group, clock_mono_us(), out) != CREDENTIAL_NONE)
        return out->aws == NULL || signable(s);
    s->no = refusal_make(503, "server_error", "provider_credentials_unavailable", "no_credential",
                         SLICE_LIT("The gateway's credential for this model's provider has just expired; try again in a moment."));
    s->no.retry_after_s = 1;
    return false;
}

/* A second try at the same provider goes with another of its keys, where there is one. */
static bool pick_second(struct assessment *s, const struct route_target *t)
{
    if (t != NULL && s->primary_key.serial != 0 && slice_eq(t->target.group, s->choice.primary->target.group) &&
        credential_pick_other(s->credentials, t->target.group, s->primary_key.key, clock_mono_us(), &s->fallback_key))
        return true;
    return pick(s, t, &s->fallback_key);
}

bool keys_pick(struct assessment *s)
{
    return pick(s, s->choice.primary, &s->primary_key) && pick_second(s, s->choice.fallback);
}

/* ---- signing ----------------------------------------------------------------------------------------------------------- */

static bool hash_piece(void *user, struct slice piece)
{
    return EVP_DigestUpdate(user, piece.p, piece.n) == 1;
}

static bool hash_body(struct slice body, struct slice edits, char *hex)
{
    unsigned char digest[32];
    EVP_MD_CTX *h = EVP_MD_CTX_new();
    bool ok = h != NULL && EVP_DigestInit_ex(h, EVP_sha256(), NULL) == 1 && dialect_rewrite_pieces(body, edits, hash_piece, h) == 0 &&
              EVP_DigestFinal_ex(h, digest, NULL) == 1;

    if (ok)
        sigv4_hex(digest, hex);
    EVP_MD_CTX_free(h);
    return ok;
}

bool keys_hash(struct assessment *s)
{
    return (s->primary_key.aws == NULL || hash_body(s->rq.body, s->primary_edits, s->primary_payload)) &&
           (s->fallback_key.aws == NULL || hash_body(s->rq.body, s->fallback_edits, s->fallback_payload));
}

/* The path HAProxy will ask for: what route/haproxy_config.c writes into the provider's section, done here for one request. */
static struct slice upstream_path(struct arena *a, struct slice path, const struct config_provider *p, const struct haproxy_url *u)
{

    if (p->path != NULL)
        return slice_cstr(p->path);
    if (slice_eq_cstr(u->path, "/v1") || path.n < 3)
        return path;
    return arena_printf(a, "%.*s%.*s", SLICE_FMT(u->path), (int)(path.n - 3), path.p + 3);
}

static struct slice upstream_host(struct arena *a, const struct haproxy_url *u)
{
    const char *open = u->host_is_ipv6 ? "[" : "", *close = u->host_is_ipv6 ? "]" : "";

    if (!u->port_given)
        return arena_printf(a, "%s%.*s%s", open, SLICE_FMT(u->host), close);
    return arena_printf(a, "%s%.*s%s:%d", open, SLICE_FMT(u->host), close, u->port);
}

struct slice keys_sign(struct arena *a, const struct http_request *in, const struct config_provider *p, const struct credential_pick *key,
                       const char *payload)
{
    char date[SIGV4_DATE + 1], authorization[SIGV4_AUTHORIZATION_MAX], why[160];
    struct slice token = key->aws->token != NULL ? secret_view(key->aws->token) : SLICE_NONE;
    struct haproxy_url u;

    if (!haproxy_url_parse(p->url, &u, why, sizeof why))
        return SLICE_NONE; /* refused by the configuration's check */
    sigv4_date(clock_wall_us() / 1000000, date);
    const struct sigv4_header headers[] = { { "host", upstream_host(a, &u) },
                                            { "x-amz-content-sha256", slice_make(payload, SIGV4_HEX) },
                                            { "x-amz-date", slice_make(date, SIGV4_DATE) },
                                            { "x-amz-security-token", token } };
    struct sigv4_request rq = {
        .region = key->signing->region, .service = key->signing->service, .method = in->method, .path = upstream_path(a, in->path, p, &u),
        .query = p->query != NULL ? slice_cstr(p->query) : in->query, .headers = headers, .header_count = token.n > 0 ? 4 : 3,
        .payload_hex = payload, .date = date,
    };
    if (headers[0].value.p == NULL || rq.path.p == NULL || sigv4_sign(key->aws, &rq, authorization, sizeof authorization) == 0)
        return SLICE_NONE;
    return arena_printf(a, "%s" HAPROXY_AWS_SEPARATOR "%s" HAPROXY_AWS_SEPARATOR "%s" HAPROXY_AWS_SEPARATOR "%.*s", authorization,
                        date, payload, SLICE_FMT(token));
}

bool keys_header(struct assessment *s, bool fallback, struct slice *out)
{
    const struct credential_pick *key = fallback ? &s->fallback_key : &s->primary_key;
    const struct runtime_target *t = fallback ? s->fallback : s->primary;

    *out = key->header;
    if (key->aws == NULL)
        return true;
    *out = keys_sign(s->arena, &s->rq, t->provider, key, fallback ? s->fallback_payload : s->primary_payload);
    return out->p != NULL;
}

void keys_header_done(const struct assessment *s, bool fallback, struct slice header)
{
    if ((fallback ? s->fallback_key.aws : s->primary_key.aws) != NULL && header.p != NULL)
        secret_wipe((char *)(uintptr_t)header.p, header.n); /* it stands in our own arena */
}

/* ---- what providers say ------------------------------------------------------------------------------------------------ */

void keys_heard(struct agent *a, const struct inflight *f, bool fallback, int status, int64_t retry_after_s)
{
    const struct key_used *key = fallback ? &f->fallback_key : &f->primary_key;
    const struct target *t = fallback ? &f->fallback : &f->primary;

    if (key->serial == 0 || status <= 0)
        return;
    struct runtime *r = agent_runtime(a);
    credential_report(r->credentials, t->group, key->serial, status, retry_after_s, clock_mono_us());
    runtime_unref(r);
}
