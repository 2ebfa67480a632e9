#include "config/config_schema.h"

#include "config/config.h"

enum { TEXT_MAX = 4096, LIST_MAX = 10000 };

#define P CYAML_FLAG_POINTER
#define O CYAML_FLAG_OPTIONAL
#define TEXT(key, s, m) CYAML_FIELD_STRING_PTR(key, P, struct s, m, 0, TEXT_MAX)
#define TEXT_OPT(key, s, m) CYAML_FIELD_STRING_PTR(key, P | O, struct s, m, 0, TEXT_MAX)
#define INT_OPT(key, s, m) CYAML_FIELD_INT(key, O, struct s, m)
#define INT_PTR_OPT(key, s, m) CYAML_FIELD_INT_PTR(key, P | O, struct s, m)
#define BOOL_OPT(key, s, m) CYAML_FIELD_BOOL(key, O, struct s, m)
#define LIST(key, s, m, entry) CYAML_FIELD_SEQUENCE(key, P, struct s, m, entry, 0, LIST_MAX)
#define LIST_OPT(key, s, m, entry) CYAML_FIELD_SEQUENCE(key, P | O, struct s, m, entry, 0, LIST_MAX)
/* Optional, but not empty: an empty list of who is let in must not read like no list at all. */
#define LIST_SOME(key, s, m, entry) CYAML_FIELD_SEQUENCE(key, P | O, struct s, m, entry, 1, LIST_MAX)
#define PART(key, s, m, fields) CYAML_FIELD_MAPPING(key, CYAML_FLAG_DEFAULT, struct s, m, fields)
#define PART_OPT(key, s, m, fields) CYAML_FIELD_MAPPING(key, O, struct s, m, fields)
#define PART_PTR(key, s, m, fields) CYAML_FIELD_MAPPING_PTR(key, P, struct s, m, fields)
#define PART_PTR_OPT(key, s, m, fields) CYAML_FIELD_MAPPING_PTR(key, P | O, struct s, m, fields)
#define ENTRY(name, s, fields)                                                                                         \
    static const cyaml_schema_value_t name = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct s, fields) }

static const cyaml_schema_value_t text_entry = { CYAML_VALUE_STRING(P, char, 0, TEXT_MAX) };

static const cyaml_schema_field_t listen_fields[] = {
    LIST("spop", config_listen, spop, &text_entry),
    TEXT("settle", config_listen, settle),
    TEXT("ring", config_listen, ring),
    TEXT("admin", config_listen, admin),
    TEXT_OPT("relay", config_listen, relay),
    TEXT_OPT("socket_group", config_listen, socket_group),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t bind_fields[] = {
    TEXT("address", config_bind, address),
    TEXT_OPT("cert", config_bind, cert),
    TEXT_OPT("client_ca", config_bind, client_ca),
    TEXT_OPT("client_crl", config_bind, client_crl),
    TEXT_OPT("client_cert", config_bind, client_cert),
    BOOL_OPT("http2_only", config_bind, http2_only),
    BOOL_OPT("accept_proxy", config_bind, accept_proxy),
    CYAML_FIELD_END
};
ENTRY(bind_entry, config_bind, bind_fields);

static const cyaml_schema_field_t haproxy_fields[] = {
    LIST("bind", config_haproxy, bind, &bind_entry),
    LIST_OPT("files", config_haproxy, files, &text_entry),
    TEXT_OPT("conf_dir", config_haproxy, conf_dir),
    TEXT_OPT("runtime_dir", config_haproxy, runtime_dir),
    TEXT_OPT("chroot", config_haproxy, chroot),
    TEXT_OPT("log", config_haproxy, log),
    TEXT_OPT("user", config_haproxy, user),
    CYAML_FIELD_BOOL_PTR("lua", P | O, struct config_haproxy, lua),
    INT_OPT("max_body", config_haproxy, max_body),
    TEXT_OPT("first_byte_timeout", config_haproxy, first_byte_timeout),
    TEXT_OPT("first_byte_timeout_stream", config_haproxy, first_byte_timeout_stream),
    TEXT_OPT("stall_timeout", config_haproxy, stall_timeout),
    TEXT_OPT("decision_timeout", config_haproxy, decision_timeout),
    TEXT_OPT("retry_after_wait", config_haproxy, retry_after_wait),
    TEXT_OPT("streams", config_haproxy, streams),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t ledger_fields[] = {
    TEXT("file", config_ledger, file),
    TEXT_OPT("hold_timeout", config_ledger, hold_timeout),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t field_fields[] = {
    LIST_OPT("claim", config_field, claim, &text_entry),
    TEXT_OPT("default", config_field, fallback),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t claims_fields[] = {
    PART_OPT("subject", config_claims, subject, field_fields),
    PART_OPT("user", config_claims, user, field_fields),
    PART_OPT("team", config_claims, team, field_fields),
    PART_OPT("organization", config_claims, organization, field_fields),
    PART_OPT("application", config_claims, application, field_fields),
    PART_OPT("cost_center", config_claims, cost_center, field_fields),
    PART_OPT("groups", config_claims, groups, field_fields),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t rule_fields[] = {
    TEXT_OPT("claim", config_rule, claim),
    TEXT("value", config_rule, value),
    TEXT_OPT("team", config_rule, team),
    TEXT_OPT("user", config_rule, user),
    TEXT_OPT("organization", config_rule, organization),
    TEXT_OPT("application", config_rule, application),
    TEXT_OPT("cost_center", config_rule, cost_center),
    CYAML_FIELD_END
};
ENTRY(rule_entry, config_rule, rule_fields);

static const cyaml_schema_field_t required_fields[] = {
    TEXT("claim", config_required, claim),
    LIST_OPT("values", config_required, values, &text_entry),
    CYAML_FIELD_END
};
ENTRY(required_entry, config_required, required_fields);

static const cyaml_schema_field_t introspection_fields[] = {
    TEXT("url", config_introspection, url),
    TEXT("client_id", config_introspection, client_id),
    TEXT("secret_file", config_introspection, secret_file),
    TEXT_OPT("cache", config_introspection, cache),
    TEXT_OPT("stale", config_introspection, stale),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t issuer_fields[] = {
    TEXT_OPT("name", config_issuer, name),
    TEXT("issuer", config_issuer, issuer),
    LIST("audience", config_issuer, audience, &text_entry),
    LIST_OPT("authorized_parties", config_issuer, authorized_parties, &text_entry),
    LIST_OPT("algorithms", config_issuer, algorithms, &text_entry),
    LIST_OPT("required_claims", config_issuer, required_claims, &required_entry),
    BOOL_OPT("access_tokens_only", config_issuer, access_tokens_only),
    PART_PTR_OPT("introspection", config_issuer, introspection, introspection_fields),
    LIST_OPT("logout_audience", config_issuer, logout_audience, &text_entry),
    TEXT_OPT("jwks", config_issuer, jwks),
    TEXT_OPT("discovery", config_issuer, discovery),
    TEXT_OPT("ca_file", config_issuer, ca_file),
    BOOL_OPT("allow_http", config_issuer, allow_http),
    TEXT_OPT("leeway", config_issuer, leeway),
    TEXT_OPT("max_age", config_issuer, max_age),
    TEXT_OPT("refresh", config_issuer, refresh),
    TEXT_OPT("refresh_cooldown", config_issuer, refresh_cooldown),
    TEXT_OPT("stale", config_issuer, stale),
    PART_OPT("claims", config_issuer, claims, claims_fields),
    LIST_OPT("rules", config_issuer, rules, &rule_entry),
    CYAML_FIELD_END
};
ENTRY(issuer_entry, config_issuer, issuer_fields);

static const cyaml_schema_field_t secret_fields[] = {
    TEXT_OPT("file", config_secret, file),
    TEXT_OPT("env", config_secret, env),
    TEXT_OPT("systemd", config_secret, systemd),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t azure_fields[] = {
    TEXT("tenant", config_azure, tenant),
    TEXT("client_id", config_azure, client_id),
    TEXT("scope", config_azure, scope),
    TEXT_OPT("authority", config_azure, authority),
    PART_PTR_OPT("client_secret", config_azure, client_secret, secret_fields),
    TEXT_OPT("certificate", config_azure, certificate),
    PART_PTR_OPT("private_key", config_azure, private_key, secret_fields),
    TEXT_OPT("ca_file", config_azure, ca_file),
    BOOL_OPT("allow_http", config_azure, allow_http),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t google_fields[] = {
    PART("service_account", config_google, service_account, secret_fields),
    TEXT_OPT("scope", config_google, scope),
    TEXT_OPT("token_url", config_google, token_url),
    TEXT_OPT("ca_file", config_google, ca_file),
    BOOL_OPT("allow_http", config_google, allow_http),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t vault_fields[] = {
    TEXT("url", config_vault, url),
    TEXT("path", config_vault, path),
    TEXT_OPT("field", config_vault, field),
    TEXT_OPT("namespace", config_vault, vault_namespace),
    PART_PTR_OPT("token", config_vault, token, secret_fields),
    TEXT_OPT("role_id", config_vault, role_id),
    PART_PTR_OPT("secret_id", config_vault, secret_id, secret_fields),
    TEXT_OPT("approle_mount", config_vault, approle_mount),
    TEXT_OPT("ca_file", config_vault, ca_file),
    TEXT_OPT("refresh", config_vault, refresh),
    BOOL_OPT("allow_http", config_vault, allow_http),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t command_fields[] = {
    LIST("argv", config_command, argv, &text_entry),
    TEXT_OPT("refresh", config_command, refresh),
    TEXT_OPT("timeout", config_command, timeout),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t credential_fields[] = {
    TEXT_OPT("name", config_credential, name),
    TEXT_OPT("file", config_credential, file),
    TEXT_OPT("env", config_credential, env),
    TEXT_OPT("systemd", config_credential, systemd),
    PART_PTR_OPT("azure", config_credential, azure, azure_fields),
    PART_PTR_OPT("google", config_credential, google, google_fields),
    PART_PTR_OPT("vault", config_credential, vault, vault_fields),
    PART_PTR_OPT("command", config_credential, command, command_fields),
    INT_OPT("weight", config_credential, weight),
    CYAML_FIELD_END
};
ENTRY(credential_entry, config_credential, credential_fields);

static const cyaml_schema_field_t aws_fields[] = {
    TEXT("region", config_aws, region),
    TEXT_OPT("service", config_aws, service),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t header_fields[] = {
    TEXT("name", config_header, name),
    TEXT("value", config_header, value),
    CYAML_FIELD_END
};
ENTRY(header_entry, config_header, header_fields);

static const cyaml_schema_field_t breaker_fields[] = {
    INT_PTR_OPT("failures", config_breaker, failures),
    TEXT_OPT("error_rate", config_breaker, error_rate),
    INT_PTR_OPT("min_requests", config_breaker, min_requests),
    TEXT_OPT("window", config_breaker, window),
    TEXT_OPT("ttft", config_breaker, ttft),
    INT_PTR_OPT("ttft_percentile", config_breaker, ttft_percentile),
    TEXT_OPT("open", config_breaker, open),
    TEXT_OPT("open_max", config_breaker, open_max),
    TEXT_OPT("retry_after", config_breaker, retry_after),
    TEXT_OPT("retry_after_max", config_breaker, retry_after_max),
    INT_PTR_OPT("probes", config_breaker, probes),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t provider_fields[] = {
    TEXT("name", config_provider, name),
    TEXT_OPT("price_as", config_provider, price_as),
    TEXT("url", config_provider, url),
    TEXT_OPT("path", config_provider, path),
    TEXT_OPT("query", config_provider, query),
    TEXT_OPT("ca_file", config_provider, ca_file),
    TEXT_OPT("server_name", config_provider, server_name),
    BOOL_OPT("insecure", config_provider, insecure),
    TEXT_OPT("auth", config_provider, auth),
    TEXT_OPT("output_key", config_provider, output_key),
    LIST_OPT("headers", config_provider, headers, &header_entry),
    PART_PTR_OPT("credential", config_provider, credential, credential_fields),
    LIST_OPT("credentials", config_provider, credentials, &credential_entry),
    PART_PTR_OPT("aws", config_provider, aws, aws_fields),
    TEXT_OPT("first_byte_timeout", config_provider, first_byte_timeout),
    TEXT_OPT("first_byte_timeout_stream", config_provider, first_byte_timeout_stream),
    INT_OPT("max_connections", config_provider, max_connections),
    LIST_OPT("dialects", config_provider, dialects, &text_entry),
    LIST_OPT("drop", config_provider, drop, &text_entry),
    LIST_OPT("refuse", config_provider, refuse, &text_entry),
    PART_PTR_OPT("breaker", config_provider, breaker, breaker_fields),
    CYAML_FIELD_END
};
ENTRY(provider_entry, config_provider, provider_fields);

static const cyaml_schema_field_t hours_fields[] = {
    TEXT_OPT("at", config_hours, at),
    LIST_OPT("days", config_hours, days, &text_entry),
    TEXT_OPT("time_zone", config_hours, time_zone),
    CYAML_FIELD_END
};
ENTRY(hours_entry, config_hours, hours_fields);

static const cyaml_schema_field_t when_fields[] = {
    LIST_OPT("organization", config_when, organization, &text_entry),
    LIST_OPT("team", config_when, team, &text_entry),
    LIST_OPT("user", config_when, user, &text_entry),
    LIST_OPT("application", config_when, application, &text_entry),
    LIST_OPT("cost_center", config_when, cost_center, &text_entry),
    LIST_OPT("group", config_when, group, &text_entry),
    LIST_OPT("features", config_when, features, &text_entry),
    LIST_OPT("without", config_when, without, &text_entry),
    INT_OPT("min_input", config_when, min_input),
    INT_OPT("max_input", config_when, max_input),
    LIST_OPT("hours", config_when, hours, &hours_entry),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t target_fields[] = {
    TEXT("provider", config_target, provider),
    TEXT("model", config_target, model),
    INT_PTR_OPT("weight", config_target, weight),
    TEXT_OPT("canary", config_target, canary),
    LIST_OPT("capabilities", config_target, capabilities, &text_entry),
    INT_OPT("context_window", config_target, context_window),
    LIST_OPT("drop", config_target, drop, &text_entry),
    LIST_OPT("refuse", config_target, refuse, &text_entry),
    PART_PTR_OPT("when", config_target, when, when_fields),
    CYAML_FIELD_END
};
ENTRY(target_entry, config_target, target_fields);

static const cyaml_schema_field_t model_fields[] = {
    TEXT("name", config_model, name),
    PART_PTR_OPT("primary", config_model, primary, target_fields),
    PART_PTR_OPT("fallback", config_model, fallback, target_fields),
    LIST_OPT("targets", config_model, targets, &target_entry),
    TEXT_OPT("order", config_model, order),
    TEXT_OPT("sticky", config_model, sticky),
    INT_OPT("max_output", config_model, max_output),
    TEXT_OPT("encoding", config_model, encoding),
    TEXT_OPT("overrun", config_model, overrun),
    BOOL_OPT("log_prompts", config_model, log_prompts),
    CYAML_FIELD_END
};
ENTRY(model_entry, config_model, model_fields);

static const cyaml_schema_field_t scope_fields[] = {
    TEXT("level", config_scope, level),
    LIST_OPT("match", config_scope, match, &text_entry),
    BOOL_OPT("shared", config_scope, shared),
    CYAML_FIELD_END
};
ENTRY(scope_entry, config_scope, scope_fields);

static const cyaml_schema_value_t threshold_entry = { CYAML_VALUE_INT(CYAML_FLAG_DEFAULT, int) };

static const cyaml_schema_field_t limit_fields[] = {
    TEXT("name", config_limit, name),
    TEXT("level", config_limit, level),
    LIST_OPT("match", config_limit, match, &text_entry),
    BOOL_OPT("shared", config_limit, shared),
    LIST_OPT("within", config_limit, within, &scope_entry),
    TEXT_OPT("unit", config_limit, unit),
    TEXT("amount", config_limit, amount),
    TEXT_OPT("window", config_limit, window),
    TEXT_OPT("burst", config_limit, burst),
    TEXT_OPT("time_zone", config_limit, time_zone),
    TEXT_OPT("action", config_limit, action),
    TEXT_OPT("downgrade_to", config_limit, downgrade_to),
    LIST_OPT("thresholds", config_limit, thresholds, &threshold_entry),
    INT_OPT("clamp_floor", config_limit, clamp_floor),
    INT_OPT("slots", config_limit, slots),
    CYAML_FIELD_END
};
ENTRY(limit_entry, config_limit, limit_fields);

#define RATES(s, m)                                                                                                    \
    TEXT_OPT("cached_input", s, m.cached_input), TEXT_OPT("cache_write", s, m.cache_write), TEXT_OPT("cache_write_1h", s, m.cache_write_1h), \
        TEXT_OPT("reasoning", s, m.reasoning), TEXT_OPT("audio_input", s, m.audio_input), TEXT_OPT("audio_output", s, m.audio_output)

static const cyaml_schema_field_t tier_fields[] = {
    INT_OPT("above", config_tier, above),
    TEXT_OPT("input", config_tier, rates.input),
    TEXT_OPT("output", config_tier, rates.output),
    RATES(config_tier, rates),
    CYAML_FIELD_END
};
ENTRY(tier_entry, config_tier, tier_fields);

static const cyaml_schema_field_t price_fields[] = {
    TEXT("provider", config_price, provider),
    TEXT("model", config_price, model),
    TEXT("input", config_price, rates.input),
    TEXT("output", config_price, rates.output),
    RATES(config_price, rates),
    TEXT_OPT("request", config_price, request),
    TEXT_OPT("image", config_price, image),
    TEXT_OPT("image_output", config_price, image_output),
    TEXT_OPT("image_output_tokens", config_price, image_output_tokens),
    LIST_OPT("tiers", config_price, tiers, &tier_entry),
    CYAML_FIELD_END
};
ENTRY(price_entry, config_price, price_fields);

static const cyaml_schema_field_t contract_rates_fields[] = {
    TEXT_OPT("input", config_price, rates.input),
    TEXT_OPT("output", config_price, rates.output),
    RATES(config_price, rates),
    TEXT_OPT("request", config_price, request),
    TEXT_OPT("image", config_price, image),
    TEXT_OPT("image_output", config_price, image_output),
    TEXT_OPT("image_output_tokens", config_price, image_output_tokens),
    LIST_OPT("tiers", config_price, tiers, &tier_entry),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t scheduled_fields[] = {
    TEXT("file", config_scheduled, file),
    TEXT("valid_from", config_scheduled, valid_from),
    CYAML_FIELD_END
};
ENTRY(scheduled_entry, config_scheduled, scheduled_fields);

static const cyaml_schema_field_t contract_fields[] = {
    TEXT("name", config_contract, name),
    LIST_SOME("organizations", config_contract, organizations, &text_entry),
    LIST_SOME("teams", config_contract, teams, &text_entry),
    LIST_SOME("providers", config_contract, providers, &text_entry),
    LIST_SOME("models", config_contract, models, &text_entry),
    TEXT_OPT("discount", config_contract, discount),
    PART_PTR_OPT("rates", config_contract, rates, contract_rates_fields),
    CYAML_FIELD_END
};
ENTRY(contract_entry, config_contract, contract_fields);

static const cyaml_schema_field_t prices_fields[] = {
    TEXT_OPT("file", config_prices, file),
    LIST_OPT("scheduled", config_prices, scheduled, &scheduled_entry),
    LIST_OPT("contracts", config_prices, contracts, &contract_entry),
    LIST_OPT("overrides", config_prices, overrides, &price_entry),
    BOOL_OPT("allow_unpriced", config_prices, allow_unpriced),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t audit_fields[] = {
    TEXT_OPT("file", config_audit, file),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t prompts_fields[] = {
    TEXT_OPT("file", config_prompts, file),
    INT_OPT("max_bytes", config_prompts, max_bytes),
    INT_OPT("keep", config_prompts, keep),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t log_fields[] = {
    TEXT_OPT("format", config_log, format),
    CYAML_FIELD_BOOL_PTR("decisions", P | O, struct config_log, decisions),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t metrics_fields[] = {
    TEXT_OPT("listen", config_metrics, listen),
    INT_OPT("max_teams", config_metrics, max_teams),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t trace_header_fields[] = {
    TEXT("name", config_trace_header, name),
    TEXT_OPT("value", config_trace_header, value),
    TEXT_OPT("file", config_trace_header, file),
    CYAML_FIELD_END
};
ENTRY(trace_header_entry, config_trace_header, trace_header_fields);

static const cyaml_schema_field_t traces_fields[] = {
    TEXT("endpoint", config_traces, endpoint),
    LIST_OPT("headers", config_traces, headers, &trace_header_entry),
    TEXT_OPT("ca_file", config_traces, ca_file),
    BOOL_OPT("allow_http", config_traces, allow_http),
    TEXT_OPT("compression", config_traces, compression),
    TEXT_OPT("service", config_traces, service),
    TEXT_OPT("sample", config_traces, sample),
    TEXT_OPT("timeout", config_traces, timeout),
    TEXT_OPT("interval", config_traces, interval),
    INT_OPT("batch", config_traces, batch),
    INT_OPT("queue", config_traces, queue),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t revocations_fields[] = {
    TEXT_OPT("file", config_revocations, file),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t alerts_fields[] = {
    TEXT("url", config_alerts, url),
    TEXT("secret_file", config_alerts, secret_file),
    TEXT_OPT("ca_file", config_alerts, ca_file),
    BOOL_OPT("allow_http", config_alerts, allow_http),
    INT_OPT("queue", config_alerts, queue),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t certificate_fields[] = {
    TEXT("name", config_certificate, name),
    TEXT_OPT("issuer", config_certificate, issuer),
    TEXT_OPT("subject", config_certificate, subject),
    TEXT_OPT("common_name", config_certificate, common_name),
    TEXT_OPT("alternative_name", config_certificate, alternative_name),
    TEXT_OPT("fingerprint", config_certificate, fingerprint),
    TEXT("team", config_certificate, team),
    TEXT_OPT("user", config_certificate, user),
    TEXT_OPT("organization", config_certificate, organization),
    TEXT_OPT("application", config_certificate, application),
    TEXT_OPT("cost_center", config_certificate, cost_center),
    LIST_OPT("groups", config_certificate, groups, &text_entry),
    CYAML_FIELD_END
};
ENTRY(certificate_entry, config_certificate, certificate_fields);

static const cyaml_schema_field_t keys_fields[] = {
    TEXT_OPT("secret_file", config_keys, secret_file),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t role_fields[] = {
    TEXT_OPT("claim", config_role, claim),
    TEXT("value", config_role, value),
    CYAML_FIELD_END
};
ENTRY(role_entry, config_role, role_fields);

static const cyaml_schema_field_t console_fields[] = {
    TEXT("listen", config_console, listen),
    TEXT("url", config_console, url),
    TEXT("issuer", config_console, issuer),
    TEXT("client_id", config_console, client_id),
    PART_PTR_OPT("client_secret", config_console, client_secret, secret_fields),
    TEXT_OPT("scope", config_console, scope),
    TEXT_OPT("session", config_console, session),
    LIST_OPT("admins", config_console, admins, &role_entry),
    LIST_OPT("viewers", config_console, viewers, &role_entry),
    CYAML_FIELD_END
};
static const cyaml_schema_field_t access_fields[] = {
    TEXT("name", config_access, name),
    LIST_SOME("organizations", config_access, organizations, &text_entry),
    LIST_SOME("teams", config_access, teams, &text_entry),
    LIST_SOME("users", config_access, users, &text_entry),
    LIST_SOME("groups", config_access, groups, &text_entry),
    LIST_SOME("applications", config_access, applications, &text_entry),
    LIST_SOME("cost_centers", config_access, cost_centers, &text_entry),
    LIST_SOME("keys", config_access, keys, &text_entry),
    LIST_SOME("models", config_access, models, &text_entry),
    LIST_SOME("upstreams", config_access, upstreams, &text_entry),
    LIST_SOME("endpoints", config_access, endpoints, &text_entry),
    LIST_SOME("networks", config_access, networks, &text_entry),
    LIST_SOME("hours", config_access, hours, &text_entry),
    TEXT_OPT("time_zone", config_access, time_zone),
    INT_OPT("max_prompt", config_access, max_prompt),
    INT_OPT("max_output", config_access, max_output),
    CYAML_FIELD_END
};
ENTRY(access_entry, config_access, access_fields);

static const cyaml_schema_field_t passthrough_fields[] = {
    TEXT("path", config_passthrough, path),
    TEXT("provider", config_passthrough, provider),
    CYAML_FIELD_SEQUENCE("methods", P, struct config_passthrough, methods, &text_entry, 1, LIST_MAX),
    TEXT_OPT("price", config_passthrough, price),
    CYAML_FIELD_END
};
ENTRY(passthrough_entry, config_passthrough, passthrough_fields);

static const cyaml_schema_field_t config_fields[] = {
    PART("listen", config, listen, listen_fields),
    INT_OPT("workers", config, workers),
    TEXT_OPT("log_level", config, log_level),
    PART_OPT("log", config, log, log_fields),
    PART_OPT("prompts", config, prompts, prompts_fields),
    PART("haproxy", config, haproxy, haproxy_fields),
    PART("ledger", config, ledger, ledger_fields),
    LIST("issuers", config, issuers, &issuer_entry),
    LIST("providers", config, providers, &provider_entry),
    LIST("models", config, models, &model_entry),
    LIST_OPT("limits", config, limits, &limit_entry),
    PART_OPT("prices", config, prices, prices_fields),
    PART_OPT("metrics", config, metrics, metrics_fields),
    PART_OPT("traces", config, traces, traces_fields),
    PART_OPT("audit", config, audit, audit_fields),
    PART_OPT("revocations", config, revocations, revocations_fields),
    PART_OPT("keys", config, keys, keys_fields),
    LIST_OPT("certificates", config, certificates, &certificate_entry),
    PART_OPT("alerts", config, alerts, alerts_fields),
    PART_OPT("breaker", config, breaker, breaker_fields),
    PART_PTR_OPT("console", config, console, console_fields),
    LIST_SOME("access", config, access, &access_entry),
    LIST_OPT("passthrough", config, passthrough, &passthrough_entry),
    CYAML_FIELD_END
};

const cyaml_schema_value_t config_schema = { CYAML_VALUE_MAPPING(P, struct config, config_fields) };
