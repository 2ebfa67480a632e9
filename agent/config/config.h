/* Configuration: one YAML file, read with libcyaml against a schema.
 *
 * config_load gives an immutable struct config whose strings live as long as it. Every refusal names file, line and what is
 * allowed. Optional values that are absent are NULL, 0 or an empty list here; defaults are filled in by config_load, so readers never
 * meet them (except where a comment says "may be NULL"). haproxy/examples/tollgate.yaml documents every key. */
#ifndef TOLLGATE_CONFIG_H
#define TOLLGATE_CONFIG_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_listen {
    char **spop;      /* "host:port" or "unix@/path" */
    unsigned spop_count;
    char *settle;     /* path of a unix socket, with or without "unix@" in the file, without it here */
    char *ring;       /* "host:port" or "unix@/path" */
    char *admin;      /* path of a unix socket */
    char *relay;      /* beginning of the paths of the relay's two unix sockets; default: "relay" beside `settle` */
    char *socket_group; /* may be NULL: group that may use the unix sockets (HAProxy's) */
};

struct config_bind {
    char *address;
    char *cert;       /* may be NULL */
    char *client_ca, *client_crl; /* may be NULL */
    char *client_cert; /* required, optional; NULL: required with client_ca */
    bool http2_only, accept_proxy;
};

struct config_haproxy {
    char **files;     /* of the configuration that tollgate's stands beside; may be folders */
    unsigned files_count;
    struct config_bind *bind;
    unsigned bind_count;
    char *conf_dir;   /* where the generated files will live */
    char *runtime_dir;
    char *chroot, *user, *log; /* may be NULL */
    bool *lua;
    int64_t max_body; /* bytes */
    char *first_byte_timeout, *first_byte_timeout_stream, *stall_timeout, *decision_timeout, *retry_after_wait;
    char *streams;    /* relay, tap */
};

struct config_ledger {
    char *file;
    char *hold_timeout;
};

/* Where metrics and health are served. */
struct config_metrics {
    char *listen;      /* "host:port" or "off"; NULL: CONFIG_METRICS_LISTEN */
    int64_t max_teams; /* teams that keep their name in labels */
};

/* The default port of OpenTelemetry's Prometheus exporters. */
#define CONFIG_METRICS_LISTEN "127.0.0.1:9464"

struct config_log {
    char *format;    /* logfmt, json */
    bool *decisions; /* a line for each decision and each settlement */
};

/* A header sent along with traces. */
struct config_trace_header {
    char *name;
    char *value, *file; /* exactly one; a file's content is a secret */
};

/* Where traces go: OTLP over HTTP. */
struct config_traces {
    char *endpoint;    /* the collector's /v1/traces; NULL: no traces */
    struct config_trace_header *headers;
    unsigned headers_count;
    char *ca_file;     /* may be NULL */
    bool allow_http;
    char *compression; /* of bodies: none, gzip */
    char *service;     /* service.name */
    char *sample;      /* "25%": of the traces that begin here */
    char *timeout, *interval; /* durations */
    int64_t batch, queue; /* spans */
    /* Derived. */
    int32_t sample_parts; /* of 10,000 */
    int64_t timeout_us, interval_us;
};

/* Where the prompts of models with log_prompts go, redacted. */
struct config_prompts {
    char *file;        /* default: prompts.log beside the ledger */
    int64_t max_bytes; /* then the next file is begun */
    int64_t keep;      /* files before the current one */
};

struct config_audit {
    char *file; /* default: audit.log beside the ledger */
};

struct config_field {
    char **claim;     /* paths, tried in order */
    unsigned claim_count;
    char *fallback;   /* may be NULL */
};

struct config_claims {
    struct config_field subject, user, team, organization, application, cost_center, groups;
};

struct config_rule {
    char *claim, *value, *team, *user, *organization, *application, *cost_center; /* all but value may be NULL */
};

struct config_required {
    char *claim;
    char **values;
    unsigned values_count;
};

struct config_introspection {
    char *url, *client_id, *secret_file;
    char *cache, *stale; /* durations; may be NULL */
};

struct config_issuer {
    char *name;       /* may be NULL */
    char *issuer;
    char **audience;
    unsigned audience_count;
    char **authorized_parties;
    unsigned authorized_parties_count;
    char **algorithms;
    unsigned algorithms_count;
    struct config_required *required_claims;
    unsigned required_claims_count;
    bool access_tokens_only;
    struct config_introspection *introspection; /* may be NULL */
    char **logout_audience;
    unsigned logout_audience_count;
    char *jwks;       /* may be NULL (discovery): an absolute path, or an http(s) URL */
    char *discovery;  /* may be NULL */
    char *ca_file;    /* may be NULL */
    bool allow_http;
    char *leeway, *max_age, *refresh, *refresh_cooldown, *stale; /* durations; may be NULL */
    struct config_claims claims;
    struct config_rule *rules;
    unsigned rules_count;
};

struct config_secret {
    char *file, *env, *systemd; /* exactly one */
};

struct config_azure {
    char *tenant, *client_id, *scope;
    char *authority;            /* may be NULL */
    struct config_secret *client_secret; /* may be NULL: certificate and private_key */
    char *certificate;
    struct config_secret *private_key;
    char *ca_file;              /* may be NULL */
    bool allow_http;
};

struct config_google {
    struct config_secret service_account;
    char *scope, *token_url, *ca_file; /* may be NULL */
    bool allow_http;
};

struct config_vault {
    char *url, *path;
    char *field, *vault_namespace; /* may be NULL */
    struct config_secret *token; /* may be NULL: role_id and secret_id */
    char *role_id;
    struct config_secret *secret_id;
    char *approle_mount, *ca_file, *refresh; /* may be NULL */
    bool allow_http;
};

struct config_command {
    char **argv;
    unsigned argv_count;
    char *refresh, *timeout;    /* durations; may be NULL */
};

struct config_credential {
    char *name;                 /* may be NULL */
    char *file, *env, *systemd; /* exactly one of these and the following */
    struct config_azure *azure;
    struct config_google *google;
    struct config_vault *vault;
    struct config_command *command;
    int64_t weight;             /* 0: 1 */
};

struct config_aws {
    char *region, *service;     /* service may be NULL */
};

struct config_header {
    char *name, *value;
};

/* Circuit breakers. Each may be NULL: the one above it, or the default. */
struct config_breaker {
    int64_t *failures, *min_requests, *ttft_percentile, *probes;
    char *error_rate;  /* "50%" */
    char *window, *ttft, *open, *open_max, *retry_after, *retry_after_max;
};

struct config_provider {
    char *name;       /* the provider group */
    char *price_as;   /* provider name in the price table; default: name */
    char *url;
    char *path, *query, *ca_file, *server_name; /* may be NULL */
    bool insecure;
    char *auth;       /* bearer, api-key, x-api-key, aws-sigv4, none */
    struct config_aws *aws; /* with auth: aws-sigv4, else NULL */
    char *output_key; /* max_completion_tokens (default) or max_tokens */
    struct config_header *headers;
    unsigned headers_count;
    struct config_credential *credential; /* one key, or: */
    struct config_credential *credentials; /* several; none of either only with auth: none */
    unsigned credentials_count;
    char *first_byte_timeout, *first_byte_timeout_stream; /* may be NULL */
    int64_t max_connections;
    char **dialects;  /* endpoints it serves; none: every one */
    unsigned dialects_count;
    char **drop, **refuse; /* members of request bodies */
    unsigned drop_count, refuse_count;
    struct config_breaker *breaker; /* may be NULL */
};

struct config_hours {
    char *at;         /* "22:00-06:00", "Mon-Fri 08:00-18:00"; may be NULL: the whole day */
    char **days;      /* when `at` names none; none at all: every day */
    unsigned days_count;
    char *time_zone;  /* may be NULL: UTC */
};

/* All that is given must hold. */
struct config_when {
    char **organization, **team, **user, **application, **cost_center, **group, **features, **without;
    unsigned organization_count, team_count, user_count, application_count, cost_center_count, group_count, features_count, without_count;
    int64_t min_input, max_input; /* tokens; 0: no bound */
    struct config_hours *hours;
    unsigned hours_count;
};

struct config_target {
    char *provider, *model;
    int64_t *weight;  /* may be NULL: 1 */
    char *canary;     /* "5%"; may be NULL: no canary */
    char **capabilities; /* words of route_feature; NULL: what the price table says */
    unsigned capabilities_count;
    int64_t context_window; /* tokens; 0: what the price table says */
    char **drop, **refuse; /* beside the provider's */
    unsigned drop_count, refuse_count;
    struct config_when *when; /* may be NULL */
};

struct config_model {
    char *name;       /* the alias clients use */
    struct config_target *primary, *fallback; /* the short form of targets; NULL once loaded */
    struct config_target *targets; /* at least one */
    unsigned targets_count;
    bool from_pair;   /* derived: the file has the short form */
    char *order;      /* listed, weight, cost, latency */
    char *sticky;     /* none, conversation, user */
    int64_t max_output; /* tokens for one choice when the client names none, and the most it may name */
    char *encoding;   /* may be NULL: by the model's name */
    char *overrun;    /* finish, stop: a stream whose use passes what was held */
    bool log_prompts;
};

struct config_scope {
    char *level;
    char **match;     /* none: every subject */
    unsigned match_count;
    bool shared;
};

/* Read by budget_options_check; all but name, level and amount may be NULL. */
struct config_limit {
    char *name, *level, *unit, *window, *time_zone, *action, *downgrade_to, *amount, *burst;
    char **match;
    unsigned match_count;
    bool shared;
    struct config_scope *within;
    unsigned within_count;
    int *thresholds;  /* per cent */
    unsigned thresholds_count;
    int64_t clamp_floor;
    int64_t slots;
};

/* USD per million tokens, as written. */
struct config_rates {
    char *input, *output, *cached_input, *cache_write, *cache_write_1h, *reasoning, *audio_input, *audio_output;
};

/* From above + 1 input tokens on, for the whole request. */
struct config_tier {
    int64_t above;
    struct config_rates rates;
};

struct config_price {
    char *provider, *model;
    struct config_rates rates;
    char *request;    /* USD per request */
    char *image;      /* USD per image sent */
    char *image_output, *image_output_tokens; /* USD per image answered with, per million tokens of such images */
    struct config_tier *tiers;
    unsigned tiers_count;
};

struct config_scheduled {
    char *file, *valid_from;
};

/* Lists that are empty do not restrict. */
struct config_contract {
    char *name, *discount; /* percent; may be NULL */
    char **organizations;
    unsigned organizations_count;
    char **teams;
    unsigned teams_count;
    char **providers;
    unsigned providers_count;
    char **models;
    unsigned models_count;
    struct config_price *rates; /* provider and model unset; may be NULL */
};

struct config_prices {
    char *file;       /* may be NULL: the table that came with tollgate */
    struct config_scheduled *scheduled; /* catalogues that take its place, ascending by valid_from */
    unsigned scheduled_count;
    struct config_contract *contracts;
    unsigned contracts_count;
    struct config_price *overrides;
    unsigned overrides_count;
    bool allow_unpriced;
};

/* Who may do what; read by access_policy_new. Lists that are empty do not restrict. */
struct config_access {
    char *name;
    char **organizations;
    unsigned organizations_count;
    char **teams;
    unsigned teams_count;
    char **users;
    unsigned users_count;
    char **groups;
    unsigned groups_count;
    char **applications;
    unsigned applications_count;
    char **cost_centers;
    unsigned cost_centers_count;
    char **keys;
    unsigned keys_count;
    char **models;
    unsigned models_count;
    char **upstreams;
    unsigned upstreams_count;
    char **endpoints;
    unsigned endpoints_count;
    char **networks;
    unsigned networks_count;
    char **hours;
    unsigned hours_count;
    char *time_zone;   /* of hours; may be NULL: UTC */
    int64_t max_prompt, max_output; /* tokens; 0: no limit */
};

/* Read by certificate_rules_check; all but name and team may be NULL. */
struct config_certificate {
    char *name, *issuer, *subject, *common_name, *alternative_name, *fingerprint;
    char *team, *user, *organization, *application, *cost_center;
    char **groups;
    unsigned groups_count;
};

/* A path, with all below it, that is handed to one provider as it comes. */
struct config_passthrough {
    char *path;       /* "/v1/audio" */
    char *provider;
    char **methods;
    unsigned methods_count;
    char *price;      /* dollars for one request; NULL: not known */
};

struct config_keys {
    char *secret_file; /* default: keys.secret beside the ledger */
};

enum { ALERTS_QUEUE = 1000 };

struct config_alerts {
    char *url;         /* may be NULL: nothing is sent */
    char *secret_file; /* with url: what requests are signed with */
    char *ca_file;     /* may be NULL */
    bool allow_http;
    int64_t queue;     /* alerts waiting at most */
};

struct config_revocations {
    char *file;       /* may be NULL */
};

struct config_role {
    char *claim;      /* may be NULL: groups */
    char *value;
};

struct config_console {
    char *listen;     /* "host:port" or "unix@/path" */
    char *url;        /* how browsers reach it, no slash at the end */
    char *issuer;     /* one of the issuers */
    char *client_id;
    struct config_secret *client_secret; /* NULL: a public client */
    char *scope;
    char *session;    /* duration */
    struct config_role *admins, *viewers;
    unsigned admins_count, viewers_count; /* no viewers: everybody whose token names a team */
};

struct config {
    struct config_listen listen;
    int64_t workers;
    char *log_level;
    struct config_log log;
    struct config_prompts prompts;
    struct config_haproxy haproxy;
    struct config_ledger ledger;
    struct config_issuer *issuers;
    unsigned issuers_count;
    struct config_provider *providers;
    unsigned providers_count;
    struct config_model *models;
    unsigned models_count;
    struct config_limit *limits;
    unsigned limits_count;
    struct config_prices prices;
    struct config_metrics metrics;
    struct config_traces traces;
    struct config_audit audit;
    struct config_revocations revocations;
    struct config_keys keys;
    struct config_certificate *certificates; /* who client certificates are */
    unsigned certificates_count;
    struct config_alerts alerts;
    struct config_breaker breaker;
    struct config_console *console; /* NULL: none */
    struct config_access *access; /* NULL: no policy, everybody who is known may ask for everything */
    unsigned access_count;
    struct config_passthrough *passthrough;
    unsigned passthrough_count;
    /* Derived by config_load. */
    int64_t hold_timeout_us, decision_timeout_us;
    int64_t retry_after_us; /* the longest Retry-After that is waited for; 0: none */
};

/* What is wrong, for people: "FILE:LINE: text", several lines, each ended by a newline. Always NUL-terminated. */
struct config_errors {
    char text[8192];
    size_t len;
    unsigned count;
};

/* NULL when the file is refused; `errors` then holds every reason found. */
struct config *config_load(const char *file, struct config_errors *errors) __attribute__((warn_unused_result));
void config_free(struct config *c);

/* The provider of that name; NULL: there is none. What a loaded configuration names does exist. */
const struct config_provider *config_provider_find(const struct config *c, struct slice name);

bool config_metrics_equal(const struct config_metrics *a, const struct config_metrics *b);

/* "250ms", "10s", "15m", "2h", "7d" -> microseconds. False when it is none of these. */
bool config_duration_us(const char *text, int64_t *us);
/* "host:port" or "unix@/absolute/path". */
bool config_address_ok(const char *address);

#endif
