#include "config/config_map.h"

#include "access/access_policy.h"
#include "config/config_doc.h"

#include <stdio.h>
#include <stdlib.h>

static void *grab(struct arena *a, size_t count, size_t size)
{
    void *p = arena_zalloc(a, count * size + 1);
    if (p == NULL)
        abort();
    return p;
}

static int64_t duration_s(const char *text)
{
    int64_t us = 0;
    if (text == NULL || !config_duration_us(text, &us))
        return 0;
    return us / 1000000;
}

/* Where 0 stands for "the default", a configured 0s is -1: none. */
static int64_t duration_s_or_none(const char *text)
{
    int64_t s = duration_s(text);
    return text != NULL && s == 0 ? -1 : s;
}

static int duration_ms(const char *text)
{
    int64_t us = 0;
    if (text == NULL || !config_duration_us(text, &us))
        return 0;
    return us / 1000 > 600000 ? 600001 : (int)(us / 1000); /* the plan's check names its range */
}

struct budget_options config_budget(const struct config *c, struct arena *a)
{
    struct budget_limit *limits = grab(a, c->limits_count, sizeof *limits);

    for (unsigned i = 0; i < c->limits_count; i++) {
        const struct config_limit *f = &c->limits[i];
        struct budget_scope *within = grab(a, f->within_count, sizeof *within);
        for (unsigned k = 0; k < f->within_count; k++)
            within[k] = (struct budget_scope){ .level = f->within[k].level, .match = (const char **)f->within[k].match,
                                               .match_count = f->within[k].match_count, .shared = f->within[k].shared };
        limits[i] = (struct budget_limit){
            .name = f->name,
            .scope = { .level = f->level, .match = (const char **)f->match, .match_count = f->match_count, .shared = f->shared },
            .within = within,
            .within_count = f->within_count,
            .unit = f->unit,
            .amount = f->amount,
            .window = f->window,
            .burst = f->burst,
            .timezone = f->time_zone,
            .action = f->action,
            .downgrade_to = f->downgrade_to,
            .thresholds = f->thresholds,
            .thresholds_count = f->thresholds_count,
            .clamp_floor = f->clamp_floor,
            .slots = f->slots < 0 || f->slots > 1000 ? 1000 : (unsigned)f->slots,
        };
        /* An amount in dollars says its unit; saying it twice would only be one more thing to get wrong. */
        if (limits[i].unit == NULL && (f->amount[0] == '$' || strstr(f->amount, "USD") != NULL))
            limits[i].unit = "usd";
        else if (limits[i].unit == NULL && strstr(f->amount, "request") != NULL)
            limits[i].unit = "requests";
        else if (limits[i].unit == NULL && strstr(f->amount, "token") != NULL)
            limits[i].unit = "tokens";
    }
    return (struct budget_options){ .limits = limits, .limits_count = c->limits_count, .hold_max_us = c->hold_timeout_us };
}

static struct identity_field field_map(const struct config_field *f)
{
    return (struct identity_field){ .paths = (const char **)f->claim, .paths_count = f->claim_count, .fallback = f->fallback };
}

static void issuer_map(const struct config_issuer *f, struct arena *a, struct identity_issuer *out)
{
    struct identity_required *required = grab(a, f->required_claims_count, sizeof *required);
    struct identity_rule *rules = grab(a, f->rules_count, sizeof *rules);

    for (unsigned i = 0; i < f->required_claims_count; i++)
        required[i] = (struct identity_required){ .claim = f->required_claims[i].claim,
                                                  .values = (const char **)f->required_claims[i].values,
                                                  .values_count = f->required_claims[i].values_count };
    for (unsigned i = 0; i < f->rules_count; i++) {
        const struct config_rule *r = &f->rules[i];
        rules[i] = (struct identity_rule){ .claim = r->claim, .value = r->value, .team = r->team, .user = r->user,
                                           .organization = r->organization, .application = r->application,
                                           .cost_center = r->cost_center };
    }
    const struct config_introspection none = { .url = NULL }, *x = f->introspection != NULL ? f->introspection : &none;
    *out = (struct identity_issuer){
        .name = f->name,
        .issuer = f->issuer,
        .audiences = (const char **)f->audience,
        .audiences_count = f->audience_count,
        .authorized_parties = (const char **)f->authorized_parties,
        .authorized_parties_count = f->authorized_parties_count,
        .algorithms = (const char **)f->algorithms,
        .algorithms_count = f->algorithms_count,
        .access_tokens_only = f->access_tokens_only,
        .introspection_url = x->url,
        .introspection_client_id = x->client_id,
        .introspection_secret_file = x->secret_file,
        .introspection_cache_s = duration_s_or_none(x->cache),
        .introspection_stale_s = duration_s(x->stale),
        .logout_audiences = (const char **)f->logout_audience,
        .logout_audiences_count = f->logout_audience_count,
        .required = required,
        .required_count = f->required_claims_count,
        .jwks_file = f->jwks != NULL && f->jwks[0] == '/' ? f->jwks : NULL,
        .jwks_url = f->jwks != NULL && f->jwks[0] != '/' ? f->jwks : NULL,
        .discovery_url = f->discovery,
        .ca_file = f->ca_file,
        .allow_http = f->allow_http,
        .leeway_s = duration_s_or_none(f->leeway),
        .max_age_s = duration_s(f->max_age),
        .refresh_s = duration_s(f->refresh),
        .refresh_cooldown_s = duration_s_or_none(f->refresh_cooldown),
        .stale_s = duration_s(f->stale),
        .mapping = { .subject = field_map(&f->claims.subject), .user = field_map(&f->claims.user),
                     .team = field_map(&f->claims.team), .organization = field_map(&f->claims.organization),
                     .application = field_map(&f->claims.application), .cost_center = field_map(&f->claims.cost_center),
                     .groups = field_map(&f->claims.groups), .rules = rules, .rules_count = f->rules_count },
    };
}

struct identity_options config_identity(const struct config *c, struct arena *a)
{
    struct identity_issuer *issuers = grab(a, c->issuers_count, sizeof *issuers);

    struct identity_certificate *certificates = grab(a, c->certificates_count, sizeof *certificates);

    for (unsigned i = 0; i < c->issuers_count; i++)
        issuer_map(&c->issuers[i], a, &issuers[i]);
    for (unsigned i = 0; i < c->certificates_count; i++) {
        const struct config_certificate *f = &c->certificates[i];
        certificates[i] = (struct identity_certificate){
            .name = f->name, .issuer = f->issuer, .subject = f->subject, .common_name = f->common_name,
            .alternative_name = f->alternative_name, .fingerprint = f->fingerprint, .team = f->team, .user = f->user,
            .organization = f->organization, .application = f->application, .cost_center = f->cost_center,
            .groups = (const char **)f->groups, .groups_count = f->groups_count,
        };
    }
    return (struct identity_options){ .issuers = issuers, .issuers_count = c->issuers_count, .certificates = certificates,
                                      .certificates_count = c->certificates_count };
}

static void group_map(const struct config_provider *p, struct arena *a, struct haproxy_group *out)
{
    struct haproxy_header *headers = grab(a, p->headers_count, sizeof *headers);
    enum haproxy_auth auth = HAPROXY_AUTH_BEARER;

    for (unsigned i = 0; i < p->headers_count; i++)
        headers[i] = (struct haproxy_header){ .name = p->headers[i].name, .value = p->headers[i].value };
    if (!haproxy_auth_from_word(p->auth, &auth))
        auth = HAPROXY_AUTH_NONE; /* refused by the configuration's check before */
    *out = (struct haproxy_group){
        .name = p->name, .url = p->url, .path = p->path, .query = p->query, .ca_file = p->ca_file, .server_name = p->server_name, .insecure = p->insecure,
        .auth = auth, .headers = headers, .header_count = p->headers_count,
        .first_byte_stream_ms = duration_ms(p->first_byte_timeout_stream), .first_byte_plain_ms = duration_ms(p->first_byte_timeout),
        .max_connections = p->max_connections < 0 || p->max_connections > 1000000 ? 0 : (int)p->max_connections,
    };
}

struct haproxy_plan config_haproxy(const struct config *c, struct arena *a)
{
    const struct config_haproxy *h = &c->haproxy;
    struct haproxy_bind *binds = grab(a, h->bind_count, sizeof *binds);
    struct haproxy_group *groups = grab(a, c->providers_count, sizeof *groups);
    const char *spop = c->listen.spop_count > 0 ? c->listen.spop[0] : "";

    for (unsigned i = 0; i < h->bind_count; i++)
        binds[i] = (struct haproxy_bind){ .address = h->bind[i].address, .cert = h->bind[i].cert, .client_ca = h->bind[i].client_ca,
                                          .crl = h->bind[i].client_crl,
                                          .client_cert_optional = h->bind[i].client_cert != NULL && strcmp(h->bind[i].client_cert, "optional") == 0,
                                          .http2_only = h->bind[i].http2_only, .accept_proxy = h->bind[i].accept_proxy };
    for (unsigned i = 0; i < c->providers_count; i++)
        group_map(&c->providers[i], a, &groups[i]);
    /* A unix socket costs HAProxy and the agent less than TCP does: taken when there is one. */
    for (unsigned i = 0; i < c->listen.spop_count; i++)
        if (strncmp(c->listen.spop[i], "unix@", 5) == 0)
            spop = c->listen.spop[i];
    const char *console = c->console != NULL ? strstr(c->console->url, "://") : NULL;
    return (struct haproxy_plan){
        .console_address = console != NULL ? c->console->listen : NULL, .console_path = console != NULL ? strchr(console + 3, '/') : NULL,
        .binds = binds, .bind_count = h->bind_count, .groups = groups, .group_count = c->providers_count, .conf_dir = h->conf_dir,
        .run_dir = h->runtime_dir, .chroot = h->chroot, .user = h->user, .log = h->log, .lua = *h->lua, .spop_address = spop,
        .ring_address = c->listen.ring, .settle_socket = c->listen.settle,
        .relay = strcmp(h->streams, "relay") == 0 ? c->listen.relay : NULL, .socket_group = c->listen.socket_group, .max_body_bytes = h->max_body,
        .first_byte_stream_ms = duration_ms(h->first_byte_timeout_stream), .first_byte_plain_ms = duration_ms(h->first_byte_timeout),
        .stall_ms = duration_ms(h->stall_timeout), .decision_ms = duration_ms(h->decision_timeout),
        .retry_after_ms = (int)(c->retry_after_us / 1000),
    };
}

/* "provider group azure: url must ..." speaks of providers[1].url. False: it does not. */
static bool place_provider(const struct config *c, const struct config_doc *doc, struct config_errors *errors, const char *why)
{
    static const char *const keys[] = { "url", "path", "query", "ca_file", "server_name", "max_connections" };
    char path[128], name[64], field[32];
    int used = 0;

    if (sscanf(why, "provider group %63[^:]: %n%31[a-z_]", name, &used, field) != 2)
        return false;
    for (unsigned i = 0; i < c->providers_count; i++) {
        if (strcmp(c->providers[i].name, name) != 0)
            continue;
        snprintf(path, sizeof path, "providers[%u]", i);
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (strcmp(field, keys[k]) == 0 && why[used + (int)strlen(field)] == ' ') {
                snprintf(path, sizeof path, "providers[%u].%s", i, field);
                used += (int)strlen(field) + 1;
            }
        config_doc_error(doc, errors, path, "%s", why + used);
        return true;
    }
    return false;
}

/* Messages of the concerns begin with the place they mean, "issuers[1].audience: ..." or "limit \"x\": window: ...": turned into a line. */
static void place_error(const struct config *c, const struct config_doc *doc, struct config_errors *errors, const char *why,
                        const char *otherwise)
{
    char path[128], name[BUDGET_NAME_MAX + 2], field[32];
    int used = 0;

    if (sscanf(why, "limit \"%64[^\"]\": %31[a-z_]:%n", name, field, &used) == 2 && used > 0)
        for (unsigned i = 0; i < c->limits_count; i++)
            if (strcmp(c->limits[i].name, name) == 0) {
                snprintf(path, sizeof path, "limits[%u].%s", i, strcmp(field, "timezone") == 0 ? "time_zone" : field);
                config_doc_error(doc, errors, path, "%s", why + used + strspn(why + used, " "));
                return;
            }
    if (place_provider(c, doc, errors, why))
        return;
    if (strncmp(why, "client address", strlen("client address")) == 0)
        otherwise = "haproxy.bind";
    size_t n = strcspn(why, ":");
    if (why[n] == ':' && strcspn(why, " ") > n && n < sizeof path) {
        memcpy(path, why, n);
        path[n] = '\0';
        config_doc_error(doc, errors, path, "%s", why + n + 1 + strspn(why + n + 1, " "));
        return;
    }
    config_doc_error(doc, errors, otherwise, "%s", why);
}

void config_map_check(const struct config *c, const struct config_doc *doc, struct config_errors *errors)
{
    struct arena *a = arena_new(16384);
    char why[1024];

    if (a == NULL)
        abort();
    struct budget_options budget = config_budget(c, a);
    if (budget_options_check(&budget, why, sizeof why) != NULL)
        place_error(c, doc, errors, why, "limits");
    for (unsigned i = 0; i < c->limits_count; i++) {
        const char *alias = c->limits[i].downgrade_to;
        bool found = alias == NULL;
        for (unsigned k = 0; k < c->models_count && !found; k++)
            found = strcmp(c->models[k].name, alias) == 0;
        if (!found) {
            snprintf(why, sizeof why, "limits[%u].downgrade_to: there is no model \"%s\"", i, alias);
            place_error(c, doc, errors, why, "limits");
        }
    }
    struct identity_options identity = config_identity(c, a);
    if (identity_options_check(&identity, why, sizeof why) != NULL)
        place_error(c, doc, errors, why, "issuers");
    struct haproxy_plan plan = config_haproxy(c, a);
    if (!haproxy_plan_check(&plan, why, sizeof why))
        place_error(c, doc, errors, why, "haproxy");
    struct access_policy *access = access_policy_new(c, why, sizeof why);
    if (access == NULL)
        place_error(c, doc, errors, why, "access");
    access_policy_free(access);
    unsigned steps_count;
    struct config_price_step *steps = config_price_steps(c, &steps_count, why, sizeof why);
    if (steps == NULL)
        place_error(c, doc, errors, why, "prices");
    config_price_steps_free(steps, steps != NULL ? steps_count : 0);
    arena_free(a);
}
