#include "config/config_console.h"

#include "config/config_doc.h"
#include "config/config_map.h"
#include "credential/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct config_issuer *config_console_issuer(const struct config *c)
{
    for (unsigned i = 0; c->console != NULL && i < c->issuers_count; i++)
        if (strcmp(c->issuers[i].issuer, c->console->issuer) == 0)
            return &c->issuers[i];
    return NULL;
}

/* "https://host[:port]/path", no slash at the end: cookies, redirects and HAProxy's rule follow from it. */
static bool url_ok(const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0 ? url + 8 : strncmp(url, "http://", 7) == 0 ? url + 7 : NULL;
    size_t n = host == NULL ? 0 : strcspn(host, "/");
    const char *path = host == NULL ? "" : host + n;

    return n > 0 && strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]") == n && strlen(url) < 400 &&
           path[0] == '/' && path[1] != '\0' && path[strlen(path) - 1] != '/' && strstr(path, "//") == NULL && strstr(path, "..") == NULL &&
           strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/") == strlen(path) &&
           strncmp(path, "/v1/", 4) != 0 && strcmp(path, "/v1") != 0;
}

static void roles_check(const struct config_role *roles, unsigned count, const char *key, const struct config_doc *doc,
                        struct config_errors *errors)
{
    char path[64];

    for (unsigned i = 0; i < count; i++) {
        snprintf(path, sizeof path, "console.%s[%u].value", key, i);
        if (roles[i].value[0] == '\0')
            config_doc_error(doc, errors, path, "must not be empty: which value of the claim gives the role?");
    }
}

void config_console_check(const struct config *c, const struct config_doc *doc, struct config_errors *errors)
{
    const struct config_console *k = c->console;
    char names[512] = "";
    int64_t us;
    size_t n = 0;

    if (k == NULL)
        return;
    if (!config_address_ok(k->listen))
        config_doc_error(doc, errors, "console.listen", "\"%s\" is no address; write host:port or unix@/absolute/path", k->listen);
    if (!url_ok(k->url))
        config_doc_error(doc, errors, "console.url", "\"%s\" must be how browsers reach the console, with a path and no slash at the end, "
                         "like https://ai.example.com/tollgate/console", k->url);
    for (unsigned i = 0; i < c->issuers_count && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "", c->issuers[i].issuer);
    if (config_console_issuer(c) == NULL)
        config_doc_error(doc, errors, "console.issuer", "\"%s\" is not among the issuers; defined: %s", k->issuer, names);
    if (k->client_id[0] == '\0' || strlen(k->client_id) > 512)
        config_doc_error(doc, errors, "console.client_id", "must be 1 to 512 bytes");
    const struct config_secret *s = k->client_secret;
    if (s != NULL && (s->file != NULL) + (s->env != NULL) + (s->systemd != NULL) != 1)
        config_doc_error(doc, errors, "console.client_secret", "needs exactly one of file, env, systemd; leave it out for a public client");
    if (strstr(k->scope, "openid") == NULL || strlen(k->scope) > 256)
        config_doc_error(doc, errors, "console.scope", "must contain openid and have at most 256 bytes");
    if (!config_duration_us(k->session, &us) || us < 60000000 || us > INT64_C(7) * 86400 * 1000000)
        config_doc_error(doc, errors, "console.session", "\"%s\" must be a duration from 1m to 7d", k->session);
    roles_check(k->admins, k->admins_count, "admins", doc, errors);
    roles_check(k->viewers, k->viewers_count, "viewers", doc, errors);
}

static void *grab(struct arena *a, size_t size)
{
    void *p = arena_zalloc(a, size);
    if (p == NULL)
        abort();
    return p;
}

static void roles_add(struct identity_rule *out, unsigned *n, const struct config_role *roles, unsigned count, const char *role)
{
    for (unsigned i = 0; i < count; i++)
        out[(*n)++] = (struct identity_rule){ .claim = roles[i].claim, .value = roles[i].value, .application = role };
}

struct identity_options config_console_identity(const struct config *c, struct arena *a)
{
    static const char *never_a_role[] = { "iss" }; /* verified to be the issuer: an address, no role's word */
    const struct config_console *k = c->console;
    struct identity_options all = config_identity(c, a);
    struct identity_issuer *one = grab(a, sizeof *one);
    const char **audience = grab(a, sizeof *audience);
    unsigned n = 0;

    *one = all.issuers[config_console_issuer(c) - c->issuers];
    *audience = k->client_id;
    one->audiences = audience;
    one->audiences_count = 1;
    one->authorized_parties_count = one->required_count = 0; /* those are of access tokens; azp is checked with the nonce */
    one->access_tokens_only = false;
    one->introspection_url = NULL; /* of access tokens too */
    struct identity_rule *rules = grab(a, (one->mapping.rules_count + k->admins_count + k->viewers_count + 1) * sizeof *rules);
    roles_add(rules, &n, k->admins, k->admins_count, CONSOLE_ROLE_ADMIN);
    roles_add(rules, &n, k->viewers, k->viewers_count, CONSOLE_ROLE_VIEWER);
    for (unsigned i = 0; i < one->mapping.rules_count; i++) {
        struct identity_rule r = one->mapping.rules[i];
        r.application = NULL;
        if (r.team != NULL || r.user != NULL || r.organization != NULL || r.cost_center != NULL)
            rules[n++] = r;
    }
    one->mapping.rules = rules;
    one->mapping.rules_count = n;
    one->mapping.application = (struct identity_field){ .paths = never_a_role, .paths_count = 1 };
    one->mapping.team.fallback = NULL;
    return (struct identity_options){ .issuers = one, .issuers_count = 1 };
}

struct credential_options *config_console_secret(const struct config *c, struct arena *a)
{
    const struct config_secret *s = c->console->client_secret;
    struct credential_key *key = grab(a, sizeof *key);
    struct credential_options *o = grab(a, sizeof *o);

    *key = (struct credential_key){ .secret = { .file = s->file, .env = s->env, .systemd = s->systemd }, .weight = 1 };
    *o = (struct credential_options){ .name = CONSOLE_SECRET, .scheme = "", .keys = key, .key_count = 1 };
    return o;
}
