#include "identity/logout.h"

#include "base/hex.h"
#include "identity/claims.h"
#include "identity/strict.h"
#include "identity/verifier.h"

enum { FRESH_S = 300, KEEP_S = 30 * 86400, NAME_BYTES_MAX = 1024 };

static const char *form_text(struct slice s, struct arena *a, struct slice *out)
{
    char *to = arena_alloc(a, s.n + 1);
    size_t n = 0;

    if (to == NULL)
        return "out of memory";
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            to[n++] = s.p[i] == '+' ? ' ' : s.p[i];
            continue;
        }
        int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1, low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
        if (high < 0 || low < 0)
            return "the form has a % that is not followed by two hexadecimal digits";
        to[n++] = (char)(high << 4 | low);
        i += 2;
    }
    *out = slice_make(to, n);
    return NULL;
}

const char *identity_logout_form(struct slice body, struct arena *a, struct slice *token)
{
    static const struct slice name = SLICE_LIT("logout_token=");
    const char *why = NULL;

    *token = SLICE_NONE;
    while (body.n > 0 && why == NULL) {
        const char *stop = memchr(body.p, '&', body.n);
        size_t n = stop != NULL ? (size_t)(stop - body.p) : body.n;
        struct slice field = slice_make(body.p, n);
        body = stop != NULL ? slice_make(stop + 1, body.n - n - 1) : SLICE_NONE;
        if (!slice_starts(field, name))
            continue;
        if (token->p != NULL)
            return "the form has several fields logout_token";
        why = form_text(slice_make(field.p + name.n, field.n - name.n), a, token);
    }
    return why != NULL ? why : token->n == 0 ? "the form has no field logout_token" : NULL;
}

/* ---- the token -------------------------------------------------------------------------------------------------------- */

static bool fail(struct fault *f, const char *message)
{
    *f = (struct fault){ .reason = "logout_token", .message = slice_cstr(message) };
    return false;
}

static bool audience_found(const cJSON *aud, const struct identity_issuer *o)
{
    const cJSON *one = cJSON_IsArray(aud) ? aud->child : aud;

    for (; one != NULL; one = cJSON_IsArray(aud) ? one->next : NULL)
        for (unsigned i = 0; cJSON_IsString(one) && i < o->logout_audiences_count; i++)
            if (strcmp(one->valuestring, o->logout_audiences[i]) == 0)
                return true;
    return false;
}

static bool read_second(const cJSON *payload, const char *name, int64_t *out)
{
    const cJSON *c = strict_member(payload, name);
    if (!cJSON_IsNumber(c) || !(c->valuedouble > 0 && c->valuedouble < 253402300800.0))
        return false;
    *out = (int64_t)c->valuedouble;
    return true;
}

static bool read_names(const cJSON *payload, struct arena *a, struct identity_logout *out, struct fault *f)
{
    static const char *const names[] = { "sub", "sid", "jti" };
    struct slice *const fields[] = { &out->subject, &out->session, &out->token_id };

    for (int i = 0; i < 3; i++) {
        const cJSON *c = strict_member(payload, names[i]);
        if (c != NULL && !cJSON_IsString(c))
            return fail(f, "the logout token's sub, sid or jti is not a string");
        *fields[i] = c != NULL ? arena_copy(a, slice_cstr(c->valuestring)) : SLICE_NONE;
        if (fields[i]->n > NAME_BYTES_MAX)
            return fail(f, "the logout token's sub, sid or jti is longer than 1024 bytes");
    }
    if (out->subject.n == 0 && out->session.n == 0)
        return fail(f, "the logout token names neither a subject (sub) nor a session (sid)");
    if (out->token_id.n == 0)
        return fail(f, "the logout token has no id (jti)");
    return true;
}

static bool check(const struct identity_issuer *o, const struct jws *t, int64_t now_s, struct arena *a, struct identity_logout *out,
                  struct fault *f)
{
    int64_t leeway = claims_leeway_s(o);

    if (t->type == JWS_TYPE_AT_JWT)
        return fail(f, "that is an access token (typ at+jwt), not a logout token");
    if (o->logout_audiences_count == 0)
        return fail(f, "logout is not set up for this issuer; name its logout_audience in the configuration");
    if (!audience_found(strict_member(t->payload, "aud"), o))
        return fail(f, "the logout token is meant for another audience (aud)");
    if (!claims_logout_event(t->payload))
        return fail(f, "the token has no event http://schemas.openid.net/event/backchannel-logout (events)");
    if (strict_member(t->payload, "nonce") != NULL)
        return fail(f, "a logout token must not have a nonce");
    if (!read_second(t->payload, "iat", &out->issued_s) || !read_second(t->payload, "exp", &out->expires_s))
        return fail(f, "the logout token does not say when it was issued (iat) and when it ends (exp)");
    if (now_s >= out->expires_s + leeway || now_s - out->issued_s > FRESH_S + leeway)
        return fail(f, "the logout token has expired");
    if (out->issued_s > now_s + leeway)
        return fail(f, "the logout token was issued in the future (iat): compare the clocks");
    out->keep_until_s = now_s + (o->max_age_s > 0 ? o->max_age_s + leeway : KEEP_S);
    return read_names(t->payload, a, out, f);
}

enum identity_result identity_logout_verify(struct identity_verifier *v, struct slice token, int64_t now_us, bool may_wait, struct arena *a,
                                            struct identity_logout *out, struct refusal *no)
{
    uint64_t generation;
    struct fault f = { 0 };
    struct jws t;
    size_t issuer;

    *out = (struct identity_logout){ 0 };
    enum identity_result r = IDENTITY_REFUSED;
    if (!jws_parse(token, a, &t, &f)) {
        r = verifier_refuse(no, &f);
    } else {
        r = verifier_authenticate(v, &t, now_us, may_wait, &issuer, &generation, no);
        if (r == IDENTITY_OK) {
            const struct identity_issuer *o = v->store->issuers[issuer].o;
            out->issuer = slice_cstr(o->issuer); /* in the store, which outlives the request */
            r = check(o, &t, now_us / 1000000, a, out, &f) ? IDENTITY_OK : verifier_refuse(no, &f);
        }
        jws_clear(&t);
    }
    if (r == IDENTITY_REFUSED && no->status != 503) {
        no->status = 400; /* section 2.8 */
        no->code = "invalid_logout_token";
    }
    return r;
}
