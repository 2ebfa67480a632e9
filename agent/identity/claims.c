#include "identity/claims.h"

#include "identity/strict.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BOUND_DIGEST = 32, BOUND_TEXT = 43 /* its base64url */ };

enum { DEFAULT_LEEWAY_S = 60, PATH_MAX_BYTES = 256, GROUPS_MAX = 1024, NAME_BYTES_MAX = 1024 /* the ledger takes no longer ones */ };

#define TIME_MAX_S INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static bool fail(struct fault *f, const char *reason, struct slice message)
{
    f->reason = reason;
    f->message = message.p ? message : SLICE_LIT("out of memory while checking the token");
    return false;
}

const cJSON *claims_find(const cJSON *object, const char *path)
{
    char first[PATH_MAX_BYTES];
    const cJSON *c = strict_member(object, path); /* a name that has dots itself goes first */

    for (const char *dot = strchr(path, '.'); c == NULL && dot != NULL; dot = strchr(dot + 1, '.')) {
        size_t n = (size_t)(dot - path);
        if (n >= sizeof first)
            break;
        memcpy(first, path, n);
        first[n] = '\0';
        const cJSON *inner = strict_member(object, first);
        if (cJSON_IsObject(inner))
            c = claims_find(inner, dot + 1);
    }
    return cJSON_IsNull(c) ? NULL : c;
}

/* ---- checks --------------------------------------------------------------------------------------------------------- */

static struct slice utc(struct arena *a, int64_t s)
{
    char text[32];
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return arena_copy(a, slice_cstr(text));
}

static bool listed(const char *value, const char *const *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(value, list[i]) == 0)
            return true;
    return false;
}

/* A NumericDate (RFC 7519 section 2), rounded down. Absent: *out stays. */
static bool read_time(const cJSON *payload, const char *name, struct arena *a, int64_t *out, struct fault *f)
{
    const cJSON *c = strict_member(payload, name);
    if (c == NULL)
        return true;
    if (!cJSON_IsNumber(c) || !(c->valuedouble >= 0 && c->valuedouble <= (double)TIME_MAX_S))
        return fail(f, "token_malformed", arena_printf(a, "the token's %s is not a time in seconds since 1970", name));
    *out = (int64_t)floor(c->valuedouble);
    return true;
}

int64_t claims_leeway_s(const struct identity_issuer *o)
{
    return o->leeway_s == 0 ? DEFAULT_LEEWAY_S : o->leeway_s < 0 ? 0 : o->leeway_s;
}

static bool check_times(const struct identity_issuer *o, const cJSON *payload, int64_t now_s, struct arena *a, struct claims_times *out, struct fault *f)
{
    int64_t exp = -1, nbf = -1, iat = -1, leeway = claims_leeway_s(o);

    if (!read_time(payload, "exp", a, &exp, f) || !read_time(payload, "nbf", a, &nbf, f) || !read_time(payload, "iat", a, &iat, f))
        return false;
    if (exp < 0)
        return fail(f, "token_claim", SLICE_LIT("the token has no expiry (exp)"));
    if (now_s >= exp + leeway)
        return fail(f, "token_expired", arena_printf(a, "the token expired at %.*s, %" PRId64 " seconds ago; get a new one",
                                                     SLICE_FMT(utc(a, exp)), now_s - exp));
    if (nbf >= 0 && now_s + leeway < nbf)
        return fail(f, "token_not_yet_valid", arena_printf(a, "the token is not valid before %.*s (nbf)", SLICE_FMT(utc(a, nbf))));
    if (iat >= 0 && now_s + leeway < iat)
        return fail(f, "token_not_yet_valid",
                    arena_printf(a, "the token was issued in the future, at %.*s (iat): compare the clocks", SLICE_FMT(utc(a, iat))));
    *out = (struct claims_times){ .exp_s = exp, .until_s = exp + leeway, .issued_s = iat > 0 ? iat : 0 };
    if (o->max_age_s <= 0)
        return true;
    if (iat < 0)
        return fail(f, "token_claim", SLICE_LIT("the token has no time of issue (iat), which is required here"));
    if (now_s >= iat + o->max_age_s + leeway)
        return fail(f, "token_too_old", arena_printf(a, "the token was issued at %.*s, longer ago than the %" PRId64
                                                        " seconds allowed here; get a new one", SLICE_FMT(utc(a, iat)), o->max_age_s));
    if (iat + o->max_age_s + leeway < out->until_s)
        out->until_s = iat + o->max_age_s + leeway;
    return true;
}

/* "a", "b" or "c" */
static struct slice quoted_list(struct arena *a, const char *const *list, unsigned count)
{
    struct slice s = SLICE_LIT("");
    for (unsigned i = 0; i < count && i < 4; i++)
        s = arena_printf(a, "%.*s%s\"%s\"", SLICE_FMT(s), i == 0 ? "" : i + 1 == count ? " or " : ", ", list[i]);
    return s;
}

static bool check_audience(const struct identity_issuer *o, const cJSON *payload, struct arena *a, struct fault *f)
{
    const cJSON *aud = strict_member(payload, "aud"), *one;
    bool found = false;

    if (o->any_audience)
        return true;
    if (aud == NULL)
        return fail(f, "token_audience", arena_printf(a, "the token names no audience (aud); ask the issuer for one with %.*s",
                                                      SLICE_FMT(quoted_list(a, o->audiences, o->audiences_count))));
    if (cJSON_IsString(aud)) {
        found = listed(aud->valuestring, o->audiences, o->audiences_count);
    } else if (cJSON_IsArray(aud)) {
        cJSON_ArrayForEach(one, aud)
        {
            if (!cJSON_IsString(one))
                return fail(f, "token_malformed", SLICE_LIT("the token's audience (aud) holds something that is not a string"));
            found = found || listed(one->valuestring, o->audiences, o->audiences_count);
        }
    } else {
        return fail(f, "token_malformed", SLICE_LIT("the token's audience (aud) is neither a string nor an array of strings"));
    }
    return found ? true
                 : fail(f, "token_audience", arena_printf(a, "the token is meant for another audience (aud); ask the issuer for one with %.*s",
                                                          SLICE_FMT(quoted_list(a, o->audiences, o->audiences_count))));
}

static bool check_party(const struct identity_issuer *o, const cJSON *payload, struct fault *f)
{
    const cJSON *azp = strict_member(payload, "azp");

    if (azp != NULL && !cJSON_IsString(azp))
        return fail(f, "token_malformed", SLICE_LIT("the token's authorized party (azp) is not a string"));
    if (o->authorized_parties_count == 0)
        return true;
    const char *party = azp ? azp->valuestring : strict_string(payload, "client_id");
    if (party == NULL)
        return fail(f, "token_party", SLICE_LIT("the token does not name the client it was issued to (azp, client_id)"));
    if (!listed(party, o->authorized_parties, o->authorized_parties_count))
        return fail(f, "token_party", SLICE_LIT("the token was issued to a client (azp) that is not accepted here"));
    return true;
}

/* The digest of the certificate that a token is bound to by `cnf` and nothing else (RFC 8705, 3.1). */
static bool bound_digest(const cJSON *cnf, uint8_t digest[BOUND_DIGEST])
{
    const char *text = strict_string(cnf, "x5t#S256");
    uint8_t bytes[64];
    size_t n = 0;

    if (!cJSON_IsObject(cnf) || cnf->child == NULL || cnf->child->next != NULL || text == NULL || strlen(text) != BOUND_TEXT ||
        !strict_base64url(slice_cstr(text), bytes, &n) || n != BOUND_DIGEST)
        return false;
    memcpy(digest, bytes, BOUND_DIGEST);
    return true;
}

/* A token bound to a key (RFC 7800) proves nothing in the hands of whoever cannot show that he has the key. Client certificates are shown
 * (identity_verify compares them); keys of DPoP are not. */
static bool check_confirmation(const cJSON *payload, struct fault *f)
{
    const cJSON *cnf = strict_member(payload, "cnf");
    uint8_t digest[BOUND_DIGEST];

    if (cnf == NULL || bound_digest(cnf, digest))
        return true;
    return fail(f, "token_bound", SLICE_LIT("the token is bound to a key of its client (cnf), which cannot be checked here; ask the issuer "
                                            "for a bearer token"));
}

static bool claim_has(const cJSON *c, const char *const *values, unsigned count)
{
    const cJSON *one;
    if (count == 0)
        return true;
    if (cJSON_IsString(c))
        return listed(c->valuestring, values, count);
    if (cJSON_IsBool(c))
        return listed(cJSON_IsTrue(c) ? "true" : "false", values, count);
    cJSON_ArrayForEach(one, c) if (cJSON_IsArray(c) && cJSON_IsString(one) && listed(one->valuestring, values, count)) return true;
    return false;
}

static bool check_required(const struct identity_issuer *o, const cJSON *payload, struct arena *a, struct fault *f)
{
    for (unsigned i = 0; i < o->required_count; i++) {
        const struct identity_required *r = &o->required[i];
        const cJSON *c = claims_find(payload, r->claim);
        if (c == NULL)
            return fail(f, "token_claim", arena_printf(a, "the token lacks the claim \"%s\", which is required here", r->claim));
        if (!claim_has(c, r->values, r->values_count))
            return fail(f, "token_claim", arena_printf(a, "the token's claim \"%s\" does not have a value that is accepted here", r->claim));
    }
    return true;
}

bool claims_logout_event(const cJSON *payload)
{
    const cJSON *events = strict_member(payload, "events");
    return cJSON_IsObject(strict_member(events, "http://schemas.openid.net/event/backchannel-logout"));
}

bool claims_check(const struct identity_issuer *o, const struct jws *t, int64_t now_us, struct arena *a,
                  struct claims_times *out, struct fault *f)
{
    if (o->access_tokens_only && t->type != JWS_TYPE_AT_JWT)
        return fail(f, "token_type", SLICE_LIT("only access tokens of type at+jwt (RFC 9068) are accepted here"));
    if (t->type == JWS_TYPE_LOGOUT || claims_logout_event(t->payload))
        return fail(f, "token_type", SLICE_LIT("a logout token is no access token"));
    return check_times(o, t->payload, now_us / 1000000, a, out, f) && check_audience(o, t->payload, a, f) &&
           check_party(o, t->payload, f) && check_confirmation(t->payload, f) && check_required(o, t->payload, a, f);
}

/* ---- mapping -------------------------------------------------------------------------------------------------------- */

struct groups {
    struct slice *list;
    size_t count, cap;
};

static bool groups_add(struct groups *g, const cJSON *c, struct arena *a)
{
    if (!cJSON_IsString(c) || c->valuestring[0] == '\0' || g->count > GROUPS_MAX)
        return true;
    if (g->count == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 16;
        struct slice *more = arena_alloc(a, cap * sizeof *more);
        if (more == NULL)
            return false;
        if (g->count > 0)
            memcpy(more, g->list, g->count * sizeof *more);
        g->list = more;
        g->cap = cap;
    }
    struct slice s = arena_copy(a, slice_cstr(c->valuestring));
    g->list[g->count++] = s;
    return s.p != NULL;
}

/* Claims an issuer leaves out (OpenID Connect Core 1.0, 5.6.2; Microsoft Entra ID, "groups overage claim"): `_claim_names` says where they
 * could be fetched, `hasgroups` only that there are groups. Deciding without them would be guessing. */
static bool left_out(const cJSON *payload, const char *path)
{
    const cJSON *names = strict_member(payload, "_claim_names");
    return strict_member(names, path) != NULL || (strcmp(path, "groups") == 0 && cJSON_IsTrue(strict_member(payload, "hasgroups")));
}

/* The claim at a path of the mapping; false when the issuer left it out of the token. */
static bool find_mapped(const cJSON *payload, const char *path, const cJSON **c, struct arena *a, struct fault *f)
{
    *c = claims_find(payload, path);
    if (*c != NULL || !left_out(payload, path))
        return true;
    if (strcmp(path, "groups") == 0)
        return fail(f, "token_group_overage",
                    SLICE_LIT("the user is in too many groups: the issuer left them out of the token (_claim_names). Let it emit "
                              "only the groups assigned to this application, or use application roles"));
    return fail(f, "token_group_overage",
                arena_printf(a, "the issuer left the claim \"%s\" out of the token (_claim_names); let it put the claim in", path));
}

static bool collect_groups(const struct identity_field *field, const cJSON *payload, struct arena *a, struct groups *g, struct fault *f)
{
    for (unsigned i = 0; i < field->paths_count; i++) {
        const cJSON *c, *one;
        if (!find_mapped(payload, field->paths[i], &c, a, f))
            return false;
        if (cJSON_IsArray(c)) {
            cJSON_ArrayForEach(one, c) if (!groups_add(g, one, a)) return fail(f, "token_malformed", SLICE_NONE);
        } else if (!groups_add(g, c, a)) {
            return fail(f, "token_malformed", SLICE_NONE);
        }
    }
    if (g->count > GROUPS_MAX)
        return fail(f, "token_group_overage", SLICE_LIT("the token names more than 1024 groups; let the issuer emit only those assigned to "
                                                        "this application"));
    return true;
}

bool claims_match(const char *pattern, struct slice value, struct slice *star)
{
    const char *wild = strchr(pattern, '*');
    *star = SLICE_LIT("");
    if (wild == NULL)
        return slice_eq_cstr(value, pattern);
    struct slice head = slice_make(pattern, (size_t)(wild - pattern)), tail = slice_cstr(wild + 1);
    if (value.n < head.n + tail.n || !slice_starts(value, head) ||
        !slice_eq(slice_make(value.p + value.n - tail.n, tail.n), tail))
        return false;
    *star = slice_make(value.p + head.n, value.n - head.n - tail.n);
    return true;
}

/* True when a value of the rule's claim matches. */
static bool rule_matches(const struct identity_rule *r, const cJSON *c, const struct groups *g, struct slice *star)
{
    const cJSON *one;

    if (r->claim == NULL) {
        for (size_t i = 0; i < g->count; i++)
            if (claims_match(r->value, g->list[i], star))
                return true;
        return false;
    }
    if (cJSON_IsString(c))
        return claims_match(r->value, slice_cstr(c->valuestring), star);
    if (cJSON_IsArray(c))
        cJSON_ArrayForEach(one, c) if (cJSON_IsString(one) && claims_match(r->value, slice_cstr(one->valuestring), star)) return true;
    return false;
}

static bool set_from_rule(struct slice *field, const char *target, struct slice star, struct arena *a)
{
    if (target == NULL || field->n > 0)
        return true;
    const char *wild = strchr(target, '*');
    *field = wild ? arena_printf(a, "%.*s%.*s%s", (int)(wild - target), target, SLICE_FMT(star), wild + 1) : slice_cstr(target);
    return field->p != NULL;
}

static bool apply_rules(const struct identity_mapping *m, const cJSON *payload, const struct groups *g, struct arena *a,
                        struct identity *out, struct fault *f)
{
    for (unsigned i = 0; i < m->rules_count; i++) {
        const struct identity_rule *r = &m->rules[i];
        const cJSON *c = NULL;
        struct slice star;
        if (r->claim != NULL && !find_mapped(payload, r->claim, &c, a, f))
            return false;
        if (!rule_matches(r, c, g, &star))
            continue;
        if (!set_from_rule(&out->team, r->team, star, a) || !set_from_rule(&out->user, r->user, star, a) ||
            !set_from_rule(&out->organization, r->organization, star, a) ||
            !set_from_rule(&out->application, r->application, star, a) || !set_from_rule(&out->cost_center, r->cost_center, star, a))
            return fail(f, "token_malformed", SLICE_NONE);
    }
    return true;
}

/* The text of a scalar; SLICE_NONE for anything else or nothing. An array stands for its only element. */
static bool scalar(const cJSON *c, struct arena *a, struct slice *out, bool *several)
{
    *out = SLICE_NONE;
    if (cJSON_IsArray(c)) {
        *several = c->child != NULL && c->child->next != NULL;
        if (*several)
            return true;
        c = c->child;
    }
    if (cJSON_IsString(c))
        *out = arena_copy(a, slice_cstr(c->valuestring));
    else if (cJSON_IsNumber(c) && c->valuedouble == floor(c->valuedouble) && fabs(c->valuedouble) < 9007199254740992.0)
        *out = arena_printf(a, "%.0f", c->valuedouble);
    else
        return true;
    return out->p != NULL;
}

static bool map_field(const struct identity_field *field, const char *name, const cJSON *payload, struct arena *a, struct slice *out,
                      struct fault *f)
{
    for (unsigned i = 0; i < field->paths_count && out->n == 0; i++) {
        const cJSON *c;
        bool several = false;
        if (!find_mapped(payload, field->paths[i], &c, a, f))
            return false;
        if (!scalar(c, a, out, &several))
            return fail(f, "token_malformed", SLICE_NONE);
        if (several)
            return fail(f, "identity_ambiguous", arena_printf(a, "the token's claim \"%s\" has several values, but the %s must be one; "
                                                                 "a mapping rule can choose", field->paths[i], name));
    }
    if (out->n == 0 && field->fallback != NULL)
        *out = slice_cstr(field->fallback);
    if (out->n > NAME_BYTES_MAX)
        return fail(f, "token_claim", arena_printf(a, "the token's %s is longer than %d bytes", name, NAME_BYTES_MAX));
    return true;
}

static bool map_bound(const cJSON *cnf, struct arena *a, struct slice *out)
{
    uint8_t digest[BOUND_DIGEST];
    char hex[2 * BOUND_DIGEST + 1];

    if (cnf == NULL || !bound_digest(cnf, digest))
        return true;
    for (size_t i = 0; i < BOUND_DIGEST; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    *out = arena_copy(a, slice_make(hex, 2 * BOUND_DIGEST));
    return out->p != NULL;
}

bool claims_map(const struct identity_issuer *o, const cJSON *payload, struct arena *a, struct identity *out, struct fault *f)
{
    const struct identity_mapping *m = &o->mapping;
    struct groups g = { 0 };

    *out = (struct identity){ .issuer = slice_cstr(o->issuer) };
    if (!collect_groups(&m->groups, payload, a, &g, f))
        return false;
    out->groups = g.list;
    out->group_count = g.count;
    if (!apply_rules(m, payload, &g, a, out, f))
        return false;
    if (!map_field(&m->subject, "subject", payload, a, &out->subject, f) || !map_field(&m->user, "user", payload, a, &out->user, f) ||
        !map_field(&m->team, "team", payload, a, &out->team, f) ||
        !map_field(&m->organization, "organization", payload, a, &out->organization, f) ||
        !map_field(&m->application, "application", payload, a, &out->application, f) ||
        !map_field(&m->cost_center, "cost centre", payload, a, &out->cost_center, f))
        return false;
    if (!map_bound(strict_member(payload, "cnf"), a, &out->bound))
        return fail(f, "token_malformed", SLICE_LIT("out of memory while reading the token"));
    out->token_id = slice_cstr(strict_string(payload, "jti"));
    out->session = slice_cstr(strict_string(payload, "sid"));
    if (out->subject.n == 0)
        return fail(f, "token_claim", SLICE_LIT("the token does not say who it is for (sub)"));
    return true;
}
