#include "identity/options.h"

#include "identity/certificate.h"
#include "identity/jwk.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

/* ---- checking ------------------------------------------------------------------------------------------------------- */

struct report {
    char *why;
    size_t size;
    unsigned issuer;
};

static const char *complain(const struct report *r, const char *place, const char *what)
{
    snprintf(r->why, r->size, "issuers[%u].%s: %s", r->issuer, place, what);
    return r->why;
}

static bool starts(const char *s, const char *prefix)
{
    return strncasecmp(s, prefix, strlen(prefix)) == 0;
}

static const char *check_url(const struct report *r, const struct identity_issuer *i, const char *place, const char *url)
{
    if (starts(url, "https://") || (i->allow_http && starts(url, "http://")))
        return NULL;
    if (starts(url, "http://"))
        return complain(r, place, "is plain http; use https, or set allow_http for a provider on this machine");
    return complain(r, place, "is not an https address");
}

static const char *check_source(const struct report *r, const struct identity_issuer *i)
{
    const char *fault = NULL;
    int given = (i->jwks_file != NULL) + (i->jwks_url != NULL) + (i->discovery_url != NULL);

    if (given > 1)
        return complain(r, "jwks_file, jwks_url, discovery_url", "give one of them, or none for discovery at the issuer");
    if (i->jwks_url != NULL)
        fault = check_url(r, i, "jwks_url", i->jwks_url);
    else if (i->discovery_url != NULL)
        fault = check_url(r, i, "discovery_url", i->discovery_url);
    else if (i->jwks_file == NULL)
        fault = check_url(r, i, "issuer", i->issuer);
    return fault;
}

static const char *check_algorithms(const struct report *r, const struct identity_issuer *i)
{
    for (unsigned k = 0; k < i->algorithms_count; k++) {
        if (i->algorithms[k] == NULL)
            return complain(r, "algorithms", "must not be empty");
        if (starts(i->algorithms[k], "HS") || strcasecmp(i->algorithms[k], "none") == 0)
            return complain(r, "algorithms", "none and shared secrets (HS256, HS384, HS512) are never accepted");
        if (jws_alg_from_name(i->algorithms[k]) < 0)
            return complain(r, "algorithms", "allowed are RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA");
    }
    return NULL;
}

static const char *check_range(const struct report *r, const char *place, int64_t v, int64_t low, int64_t high)
{
    char what[96];
    if (v == 0 || (v >= low && v <= high))
        return NULL;
    snprintf(what, sizeof what, "must be between %" PRId64 " and %" PRId64, low, high);
    return complain(r, place, what);
}

static unsigned stars(const char *s)
{
    unsigned n = 0;
    for (; s != NULL && *s != '\0'; s++)
        n += *s == '*';
    return n;
}

static const char *check_rules(const struct report *r, const struct identity_mapping *m)
{
    for (unsigned i = 0; i < m->rules_count; i++) {
        const struct identity_rule *u = &m->rules[i];
        const char *targets[] = { u->team, u->user, u->organization, u->application, u->cost_center };
        bool any = false;
        if (u->value == NULL || u->value[0] == '\0')
            return complain(r, "mapping.rules", "each rule needs a value");
        if (stars(u->value) > 1)
            return complain(r, "mapping.rules", "a value may hold one '*'");
        for (size_t k = 0; k < sizeof targets / sizeof targets[0]; k++) {
            any = any || targets[k] != NULL;
            if (stars(targets[k]) > stars(u->value))
                return complain(r, "mapping.rules", "a '*' in a target needs a '*' in the value, and there may be one");
        }
        if (!any)
            return complain(r, "mapping.rules", "each rule sets at least one of team, user, organization, application, cost_center");
    }
    return NULL;
}

static bool all_named(const char *const *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (list[i] == NULL || list[i][0] == '\0')
            return false;
    return true;
}

static const char *check_names(const struct report *r, const struct identity_issuer *i)
{
    const struct identity_field *fields[] = { &i->mapping.subject, &i->mapping.user, &i->mapping.team, &i->mapping.organization,
                                              &i->mapping.application, &i->mapping.cost_center, &i->mapping.groups };
    if (i->audiences_count == 0 && !i->any_audience)
        return complain(r, "audience", "name the audience(s), of which tokens must carry one");
    if (!all_named(i->audiences, i->audiences_count))
        return complain(r, "audience", "must not be empty strings");
    if (!all_named(i->logout_audiences, i->logout_audiences_count))
        return complain(r, "logout_audience", "must not be empty strings");
    if (!all_named(i->authorized_parties, i->authorized_parties_count))
        return complain(r, "authorized_parties", "must not be empty strings");
    for (size_t k = 0; k < sizeof fields / sizeof fields[0]; k++)
        if (!all_named(fields[k]->paths, fields[k]->paths_count))
            return complain(r, "mapping", "the name of a claim must not be empty");
    for (unsigned k = 0; k < i->required_count; k++)
        if (i->required[k].claim == NULL || i->required[k].claim[0] == '\0')
            return complain(r, "required", "each entry names a claim");
    return NULL;
}

static const char *check_introspection(const struct report *r, const struct identity_issuer *i)
{
    const char *fault;

    if (i->introspection_url == NULL)
        return NULL;
    if (i->introspection_client_id == NULL || i->introspection_secret_file == NULL)
        return complain(r, "introspection", "needs url, client_id and secret_file");
    if ((fault = check_url(r, i, "introspection", i->introspection_url)) != NULL ||
        (fault = check_range(r, "introspection", i->introspection_cache_s, 1, 3600)) != NULL)
        return fault;
    return check_range(r, "introspection", i->introspection_stale_s, 1, 86400);
}

static const char *check_issuer(const struct report *r, const struct identity_issuer *i)
{
    const char *fault;

    if (i->issuer == NULL || i->issuer[0] == '\0')
        return complain(r, "issuer", "is required: the exact value of the tokens' iss");
    if ((fault = check_source(r, i)) != NULL || (fault = check_names(r, i)) != NULL || (fault = check_algorithms(r, i)) != NULL ||
        (fault = check_rules(r, &i->mapping)) != NULL)
        return fault;
    if (i->leeway_s < -1 || i->leeway_s > 600)
        return complain(r, "leeway_s", "must be between 1 and 600, or -1 for none");
    if ((fault = check_range(r, "max_age_s", i->max_age_s, 1, 31536000)) != NULL ||
        (fault = check_range(r, "refresh_s", i->refresh_s, 10, 604800)) != NULL ||
        (fault = check_range(r, "refresh_cooldown_s", i->refresh_cooldown_s, 1, 3600)) != NULL ||
        (fault = check_range(r, "stale_s", i->stale_s, 1, 31536000)) != NULL)
        return fault;
    if ((fault = check_introspection(r, i)) != NULL)
        return fault;
    return check_range(r, "fetch_timeout_ms", i->fetch_timeout_ms, 100, 60000);
}

static const char *label(const struct identity_issuer *i)
{
    return i->name ? i->name : i->issuer;
}

const char *identity_options_check(const struct identity_options *o, char *why, size_t why_size)
{
    struct report r = { .why = why, .size = why_size };
    const char *fault;

    if (o->issuers_count == 0) {
        snprintf(why, why_size, "issuers: at least one is required");
        return why;
    }
    for (r.issuer = 0; r.issuer < o->issuers_count; r.issuer++) {
        const struct identity_issuer *i = &o->issuers[r.issuer];
        if ((fault = check_issuer(&r, i)) != NULL)
            return fault;
        for (unsigned k = 0; k < r.issuer; k++) {
            if (strcmp(o->issuers[k].issuer, i->issuer) == 0)
                return complain(&r, "issuer", "stands there twice");
            if (strcmp(label(&o->issuers[k]), label(i)) == 0)
                return complain(&r, "name", "stands there twice");
        }
    }
    if ((fault = certificate_rules_check(o, why, why_size)) != NULL)
        return fault;
    if (o->cache_entries < 0 || o->cache_entries > 1048576) {
        snprintf(why, why_size, "cache_entries: must be between 1 and 1048576");
        return why;
    }
    if (o->wait_ms < 0 || o->wait_ms > 30000) {
        snprintf(why, why_size, "wait_ms: must be between 1 and 30000");
        return why;
    }
    return NULL;
}

/* ---- copying -------------------------------------------------------------------------------------------------------- */

/* Where a copy goes, and whether one failed so far. */
struct copier {
    struct arena *a;
    bool failed;
};

static const char *text(struct copier *c, const char *s)
{
    const char *t = s ? arena_cstr(c->a, slice_cstr(s)) : NULL;
    c->failed = c->failed || (s != NULL && t == NULL);
    return t;
}

static void *array(struct copier *c, const void *from, size_t count, size_t size)
{
    void *to = count ? arena_alloc(c->a, count * size) : NULL;
    if (to != NULL)
        memcpy(to, from, count * size);
    c->failed = c->failed || (count > 0 && to == NULL);
    return to;
}

static void texts(struct copier *c, const char ***list, unsigned count)
{
    *list = array(c, *list, count, sizeof **list);
    for (unsigned i = 0; *list != NULL && i < count; i++)
        (*list)[i] = text(c, (*list)[i]);
}

static void field(struct copier *c, struct identity_field *f, const char *const *defaults, unsigned count)
{
    if (f->paths_count == 0) {
        f->paths = (const char **)defaults; /* only read from here on; texts() copies */
        f->paths_count = count;
    }
    texts(c, &f->paths, f->paths_count);
    f->fallback = text(c, f->fallback);
}

static void mapping(struct copier *c, struct identity_mapping *m)
{
    static const char *const sub[] = { "sub" }, *const team[] = { "team" }, *const org[] = { "organization" },
                      *const app[] = { "azp", "client_id", "appid" }, *const cost[] = { "cost_center" }, *const groups[] = { "groups" };
    field(c, &m->subject, sub, 1);
    field(c, &m->user, sub, 1);
    field(c, &m->team, team, 1);
    field(c, &m->organization, org, 1);
    field(c, &m->application, app, 3);
    field(c, &m->cost_center, cost, 1);
    field(c, &m->groups, groups, 1);
    m->rules = array(c, m->rules, m->rules_count, sizeof *m->rules);
    for (unsigned i = 0; m->rules != NULL && i < m->rules_count; i++) {
        struct identity_rule *r = &m->rules[i];
        r->claim = text(c, r->claim);
        r->value = text(c, r->value);
        r->team = text(c, r->team);
        r->user = text(c, r->user);
        r->organization = text(c, r->organization);
        r->application = text(c, r->application);
        r->cost_center = text(c, r->cost_center);
    }
}

static void set_default(int64_t *v, int64_t value)
{
    if (*v == 0)
        *v = value;
}

static void issuer(struct copier *c, struct identity_issuer *i)
{
    i->issuer = text(c, i->issuer);
    i->name = i->name ? text(c, i->name) : i->issuer;
    texts(c, &i->audiences, i->audiences_count);
    texts(c, &i->authorized_parties, i->authorized_parties_count);
    texts(c, &i->logout_audiences, i->logout_audiences_count);
    texts(c, &i->algorithms, i->algorithms_count);
    i->required = array(c, i->required, i->required_count, sizeof *i->required);
    for (unsigned k = 0; i->required != NULL && k < i->required_count; k++) {
        i->required[k].claim = text(c, i->required[k].claim);
        texts(c, &i->required[k].values, i->required[k].values_count);
    }
    i->jwks_file = text(c, i->jwks_file);
    i->jwks_url = text(c, i->jwks_url);
    i->discovery_url = text(c, i->discovery_url);
    i->ca_file = text(c, i->ca_file);
    i->introspection_url = text(c, i->introspection_url);
    i->introspection_client_id = text(c, i->introspection_client_id);
    i->introspection_secret_file = text(c, i->introspection_secret_file);
    set_default(&i->introspection_cache_s, 60);
    mapping(c, &i->mapping);
    set_default(&i->refresh_s, 3600);
    set_default(&i->refresh_cooldown_s, 30);
    set_default(&i->stale_s, i->jwks_file ? INT64_C(1) << 40 : 86400);
    set_default(&i->fetch_timeout_ms, 5000);
}

static void certificate(struct copier *c, struct identity_certificate *r)
{
    const char **fields[] = { &r->name, &r->issuer, &r->subject, &r->common_name, &r->alternative_name, &r->fingerprint,
                              &r->team, &r->user, &r->organization, &r->application, &r->cost_center };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = text(c, *fields[i]);
    texts(c, &r->groups, r->groups_count);
}

struct identity_options *options_copy(const struct identity_options *o, struct arena *a)
{
    struct copier c = { .a = a };
    struct identity_options *to = arena_alloc(a, sizeof *to);

    if (to == NULL)
        return NULL;
    *to = *o;
    to->issuers = array(&c, o->issuers, o->issuers_count, sizeof *o->issuers);
    for (unsigned i = 0; to->issuers != NULL && i < to->issuers_count; i++)
        issuer(&c, &to->issuers[i]);
    to->certificates = array(&c, o->certificates, o->certificates_count, sizeof *o->certificates);
    for (unsigned i = 0; to->certificates != NULL && i < to->certificates_count; i++)
        certificate(&c, &to->certificates[i]);
    set_default(&to->cache_entries, 16384);
    set_default(&to->wait_ms, 2000);
    return c.failed ? NULL : to;
}

unsigned options_algorithms(const struct identity_issuer *o)
{
    unsigned mask = 0;
    if (o->algorithms_count == 0)
        return (1u << JWS_ALG_COUNT) - 1;
    for (unsigned i = 0; i < o->algorithms_count; i++)
        mask |= 1u << jws_alg_from_name(o->algorithms[i]);
    return mask;
}
