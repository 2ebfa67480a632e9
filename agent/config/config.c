#include "config/config.h"

#include "config/config_console.h"
#include "config/config_credential.h"
#include "config/config_doc.h"
#include "config/config_map.h"
#include "config/config_passthrough.h"
#include "config/config_route.h"
#include "config/config_schema.h"
#include "config/config_traces.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS_MAX = 64, ALERTS_QUEUE_MAX = 100000, TEAMS_DEFAULT = 100, TEAMS_MAX = 1000, MAX_OUTPUT_DEFAULT = 4096, NAME_MAX_BYTES = 48,
       PROMPTS_BYTES = 64 << 20, PROMPTS_BYTES_MIN = 4096, PROMPTS_KEEP = 4, PROMPTS_KEEP_MAX = 100 };

static const int64_t hold_timeout_default_us = 15 * 60 * (int64_t)1000000;
static const int64_t decision_timeout_default_us = 500000;
static const int64_t retry_after_default_us = 2000000, retry_after_max_us = 30000000;

/* Everything loaded belongs to libcyaml's allocator, defaults included, so that cyaml_free frees all. */
static const cyaml_config_t cyaml = { .log_fn = NULL, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR, .flags = CYAML_CFG_NO_ALIAS };

bool config_duration_us(const char *text, int64_t *us)
{
    static const struct {
        const char *unit;
        int64_t us;
    } units[] = { { "us", 1 },          { "ms", 1000 },         { "s", 1000000 },
                  { "m", 60000000 },    { "h", 3600000000 },    { "d", 86400000000 } };
    char *end;

    if (text == NULL || !isdigit((unsigned char)*text))
        return false;
    long long n = strtoll(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].unit) == 0)
            return !__builtin_mul_overflow((int64_t)n, units[i].us, us);
    return false;
}

struct context {
    const struct config_doc *doc;
    struct config_errors *errors;
};

static void set_default(char **value, const char *text)
{
    if (*value == NULL && (*value = strdup(text)) == NULL)
        abort();
}

/* "unix@/path" and "/path" mean the same where only a unix socket makes sense. */
static void strip_unix(char *path)
{
    if (strncmp(path, "unix@", 5) == 0)
        memmove(path, path + 5, strlen(path + 5) + 1);
}

/* `name` in the folder of the ledger, unless the file has a place of its own. */
static void beside_ledger(const struct config *c, char **file, const char *name)
{
    const char *ledger = c->ledger.file != NULL ? c->ledger.file : "", *slash = strrchr(ledger, '/');
    int folder = slash != NULL ? (int)(slash - ledger) + 1 : 0;

    if (*file == NULL && asprintf(file, "%.*s%s", folder, ledger, name) < 0)
        abort();
}

/* The relay's sockets stand beside the tap's. */
static void relay_default(struct config *c)
{
    if (c->listen.relay != NULL) {
        strip_unix(c->listen.relay);
        return;
    }
    const char *settle = c->listen.settle != NULL ? c->listen.settle : "/";
    const char *slash = strrchr(settle, '/');
    size_t n = slash != NULL ? (size_t)(slash - settle) + 1 : 0;
    c->listen.relay = malloc(n + sizeof "relay");
    if (c->listen.relay == NULL)
        abort();
    memcpy(c->listen.relay, settle, n);
    memcpy(c->listen.relay + n, "relay", sizeof "relay");
}

static void set_true(bool **b)
{
    if (*b != NULL)
        return;
    *b = malloc(sizeof **b);
    if (*b == NULL)
        abort();
    **b = true;
}

static void defaults_fill(struct config *c)
{
    beside_ledger(c, &c->audit.file, "audit.log");
    beside_ledger(c, &c->prompts.file, "prompts.log");
    if (c->prompts.max_bytes == 0)
        c->prompts.max_bytes = PROMPTS_BYTES;
    if (c->prompts.keep == 0)
        c->prompts.keep = PROMPTS_KEEP;
    beside_ledger(c, &c->keys.secret_file, "keys.secret");
    if (c->workers == 0)
        c->workers = 2;
    set_default(&c->log_level, "info");
    set_default(&c->log.format, "logfmt");
    if (c->metrics.max_teams == 0)
        c->metrics.max_teams = TEAMS_DEFAULT;
    set_default(&c->haproxy.conf_dir, "/etc/haproxy/tollgate");
    set_default(&c->haproxy.runtime_dir, "/run/tollgate");
    if (c->haproxy.max_body == 0)
        c->haproxy.max_body = 262144;
    set_true(&c->haproxy.lua);
    set_true(&c->log.decisions);
    if (c->listen.settle != NULL)
        strip_unix(c->listen.settle);
    if (c->listen.admin != NULL)
        strip_unix(c->listen.admin);
    relay_default(c);
    set_default(&c->haproxy.streams, "relay");
    for (unsigned i = 0; i < c->providers_count; i++) {
        struct config_provider *p = &c->providers[i];
        set_default(&p->price_as, p->name);
        set_default(&p->auth, "bearer");
        set_default(&p->output_key, "max_completion_tokens");
    }
    for (unsigned i = 0; i < c->models_count; i++) {
        if (c->models[i].max_output == 0)
            c->models[i].max_output = MAX_OUTPUT_DEFAULT;
        set_default(&c->models[i].overrun, "finish");
    }
    config_traces_defaults(&c->traces);
    config_route_defaults(c);
    if (c->console != NULL) {
        set_default(&c->console->scope, "openid profile");
        set_default(&c->console->session, "8h");
    }
}

static bool one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

static bool name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES)
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

static void duration_check(struct context *x, const char *text, const char *path)
{
    int64_t us;
    if (text != NULL && !config_duration_us(text, &us))
        config_doc_error(x->doc, x->errors, path, "\"%s\" is no duration; write a whole number and a unit: 250ms, 10s, 15m, 2h, 7d",
                         text);
}

bool config_address_ok(const char *a)
{
    if (strncmp(a, "unix@", 5) == 0)
        return a[5] == '/' && strlen(a + 5) < 108;
    const char *colon = strrchr(a, ':');
    if (colon == NULL || colon == a)
        return false;
    char *end;
    long port = strtol(colon + 1, &end, 10);
    return *end == '\0' && end != colon + 1 && port > 0 && port < 65536;
}

static void listen_check(struct context *x, const struct config_listen *l)
{
    char path[64];

    if (l->spop_count == 0)
        config_doc_error(x->doc, x->errors, "listen.spop", "needs at least one address");
    for (unsigned i = 0; i < l->spop_count; i++) {
        snprintf(path, sizeof path, "listen.spop[%u]", i);
        if (!config_address_ok(l->spop[i]))
            config_doc_error(x->doc, x->errors, path, "\"%s\" is no address; write host:port or unix@/absolute/path", l->spop[i]);
    }
    if (!config_address_ok(l->ring))
        config_doc_error(x->doc, x->errors, "listen.ring", "\"%s\" is no address; write host:port or unix@/absolute/path", l->ring);
    if (l->settle[0] != '/' || strlen(l->settle) >= 108)
        config_doc_error(x->doc, x->errors, "listen.settle", "must be the absolute path of a unix socket, shorter than 108 bytes");
    if (l->admin[0] != '/' || strlen(l->admin) >= 108)
        config_doc_error(x->doc, x->errors, "listen.admin", "must be the absolute path of a unix socket, shorter than 108 bytes");
    if (l->relay[0] != '/' || strlen(l->relay) >= 80)
        config_doc_error(x->doc, x->errors, "listen.relay", "must be an absolute path shorter than 80 bytes: -primary.sock and "
                         "-fallback.sock are added to it");
}

static void metrics_check(struct context *x, const struct config_metrics *m)
{
    if (m->listen != NULL && strcmp(m->listen, "off") != 0 && (!config_address_ok(m->listen) || strncmp(m->listen, "unix@", 5) == 0))
        config_doc_error(x->doc, x->errors, "metrics.listen", "\"%s\" is no address; write host:port, or off", m->listen);
    if (m->max_teams < 1 || m->max_teams > TEAMS_MAX)
        config_doc_error(x->doc, x->errors, "metrics.max_teams", "must be 1 to %d", TEAMS_MAX);
}

const struct config_provider *config_provider_find(const struct config *c, struct slice name)
{
    for (unsigned i = 0; i < c->providers_count; i++)
        if (slice_eq_cstr(name, c->providers[i].name))
            return &c->providers[i];
    return NULL;
}

bool config_metrics_equal(const struct config_metrics *a, const struct config_metrics *b)
{
    const char *x = a->listen != NULL ? a->listen : CONFIG_METRICS_LISTEN, *y = b->listen != NULL ? b->listen : CONFIG_METRICS_LISTEN;
    return strcmp(x, y) == 0 && a->max_teams == b->max_teams;
}

static void provider_check(struct context *x, const struct config *c, unsigned i)
{
    static const char *const auths[] = { "bearer", "api-key", "x-api-key", "aws-sigv4", "none", NULL };
    static const char *const keys[] = { "max_completion_tokens", "max_tokens", NULL };
    const struct config_provider *p = &c->providers[i];
    char path[64];

    snprintf(path, sizeof path, "providers[%u].name", i);
    if (!name_ok(p->name))
        config_doc_error(x->doc, x->errors, path, "\"%s\" must be 1 to %d of A-Z a-z 0-9 _ -", p->name, NAME_MAX_BYTES);
    for (unsigned k = 0; k < i; k++)
        if (strcmp(c->providers[k].name, p->name) == 0)
            config_doc_error(x->doc, x->errors, path, "\"%s\" is already the name of providers[%u]", p->name, k);
    snprintf(path, sizeof path, "providers[%u].auth", i);
    if (!one_of(p->auth, auths))
        config_doc_error(x->doc, x->errors, path, "\"%s\" is unknown; allowed: bearer, api-key, x-api-key, aws-sigv4, none", p->auth);
    snprintf(path, sizeof path, "providers[%u].output_key", i);
    if (!one_of(p->output_key, keys))
        config_doc_error(x->doc, x->errors, path, "\"%s\" is unknown; allowed: max_completion_tokens, max_tokens", p->output_key);
    config_credential_check(c, i, x->doc, x->errors);
    snprintf(path, sizeof path, "providers[%u].first_byte_timeout", i);
    duration_check(x, p->first_byte_timeout, path);
    snprintf(path, sizeof path, "providers[%u].first_byte_timeout_stream", i);
    duration_check(x, p->first_byte_timeout_stream, path);
    config_route_check_provider(c, i, x->doc, x->errors);
}

static void model_check(struct context *x, const struct config *c, unsigned i)
{
    static const char *const overruns[] = { "finish", "stop", NULL };
    const struct config_model *m = &c->models[i];
    char path[64];

    snprintf(path, sizeof path, "models[%u].name", i);
    for (unsigned k = 0; k < i; k++)
        if (strcmp(c->models[k].name, m->name) == 0)
            config_doc_error(x->doc, x->errors, path, "\"%s\" is already the name of models[%u]", m->name, k);
    config_route_check_model(c, i, x->doc, x->errors);
    snprintf(path, sizeof path, "models[%u].overrun", i);
    if (!one_of(m->overrun, overruns))
        config_doc_error(x->doc, x->errors, path, "\"%s\" is unknown; allowed: finish, stop", m->overrun);
    else if (strcmp(m->overrun, "stop") == 0 && strcmp(c->haproxy.streams, "tap") == 0)
        config_doc_error(x->doc, x->errors, path, "stop needs haproxy.streams: relay");
    snprintf(path, sizeof path, "models[%u].max_output", i);
    if (m->max_output < 1 || m->max_output > 10000000)
        config_doc_error(x->doc, x->errors, path, "must be 1 to 10000000 tokens");
}

static void bind_check(struct context *x, const struct config_bind *b, unsigned i)
{
    static const char *const words[] = { "required", "optional", NULL };
    char path[64];

    snprintf(path, sizeof path, "haproxy.bind[%u].client_cert", i);
    if (b->client_cert != NULL && !one_of(b->client_cert, words))
        config_doc_error(x->doc, x->errors, path, "\"%s\" is unknown; allowed: required, optional", b->client_cert);
    else if (b->client_cert != NULL && b->client_ca == NULL)
        config_doc_error(x->doc, x->errors, path, "needs client_ca: the file of the authorities client certificates may come from");
}

static void alerts_check(struct context *x, struct config_alerts *a)
{
    bool https = a->url != NULL && strncmp(a->url, "https://", 8) == 0;
    bool http = a->url != NULL && strncmp(a->url, "http://", 7) == 0;

    if (a->url == NULL)
        return;
    if (!https && !(http && a->allow_http))
        config_doc_error(x->doc, x->errors, "alerts.url", http ? "http needs allow_http: true" : "must be an https:// address");
    if (a->secret_file[0] != '/')
        config_doc_error(x->doc, x->errors, "alerts.secret_file", "must be an absolute path");
    if (a->queue == 0)
        a->queue = ALERTS_QUEUE;
    if (a->queue < 1 || a->queue > ALERTS_QUEUE_MAX)
        config_doc_error(x->doc, x->errors, "alerts.queue", "must be 1 to %d", ALERTS_QUEUE_MAX);
}

static void all_check(struct context *x, struct config *c)
{
    static const char *const levels[] = { "debug", "info", "warn", "error", NULL };
    static const char *const formats[] = { "logfmt", "json", NULL };
    static const char *const streams[] = { "relay", "tap", NULL };

    listen_check(x, &c->listen);
    metrics_check(x, &c->metrics);
    config_traces_check(&c->traces, x->doc, x->errors);
    if (c->workers < 1 || c->workers > WORKERS_MAX)
        config_doc_error(x->doc, x->errors, "workers", "must be 1 to %d", WORKERS_MAX);
    if (!one_of(c->log_level, levels))
        config_doc_error(x->doc, x->errors, "log_level", "\"%s\" is unknown; allowed: debug, info, warn, error", c->log_level);
    if (c->prompts.file[0] != '/' || c->prompts.max_bytes < PROMPTS_BYTES_MIN || c->prompts.keep < 1 || c->prompts.keep > PROMPTS_KEEP_MAX)
        config_doc_error(x->doc, x->errors, "prompts", "file must be an absolute path, max_bytes %d or more, keep 1 to %d", PROMPTS_BYTES_MIN, PROMPTS_KEEP_MAX);
    if (!one_of(c->log.format, formats))
        config_doc_error(x->doc, x->errors, "log.format", "\"%s\" is unknown; allowed: logfmt, json", c->log.format);
    if (!one_of(c->haproxy.streams, streams))
        config_doc_error(x->doc, x->errors, "haproxy.streams", "\"%s\" is unknown; allowed: relay, tap", c->haproxy.streams);
    for (unsigned i = 0; i < c->haproxy.files_count; i++)
        if (c->haproxy.files[i][0] != '/')
            config_doc_error(x->doc, x->errors, "haproxy.files", "\"%s\" must be an absolute path", c->haproxy.files[i]);
    for (unsigned i = 0; i < c->haproxy.bind_count; i++)
        bind_check(x, &c->haproxy.bind[i], i);
    duration_check(x, c->haproxy.first_byte_timeout, "haproxy.first_byte_timeout");
    duration_check(x, c->haproxy.first_byte_timeout_stream, "haproxy.first_byte_timeout_stream");
    duration_check(x, c->haproxy.stall_timeout, "haproxy.stall_timeout");
    duration_check(x, c->haproxy.decision_timeout, "haproxy.decision_timeout");
    c->decision_timeout_us = decision_timeout_default_us;
    if (c->haproxy.decision_timeout != NULL && config_duration_us(c->haproxy.decision_timeout, &c->decision_timeout_us) &&
        (c->decision_timeout_us < 100000 || c->decision_timeout_us > 30000000))
        config_doc_error(x->doc, x->errors, "haproxy.decision_timeout", "must be 100ms to 30s");
    duration_check(x, c->haproxy.retry_after_wait, "haproxy.retry_after_wait");
    c->retry_after_us = retry_after_default_us;
    if (c->haproxy.retry_after_wait != NULL)
        config_duration_us(c->haproxy.retry_after_wait, &c->retry_after_us);
    if (c->retry_after_us > retry_after_max_us)
        config_doc_error(x->doc, x->errors, "haproxy.retry_after_wait", "must be at most 30s; 0s: a Retry-After is never waited for");
    duration_check(x, c->ledger.hold_timeout, "ledger.hold_timeout");
    c->hold_timeout_us = hold_timeout_default_us;
    if (c->ledger.hold_timeout != NULL)
        config_duration_us(c->ledger.hold_timeout, &c->hold_timeout_us);
    if (c->hold_timeout_us < 1000000)
        config_doc_error(x->doc, x->errors, "ledger.hold_timeout", "must be at least 1s");
    if (c->issuers_count == 0)
        config_doc_error(x->doc, x->errors, "issuers", "needs at least one issuer: without one nobody could be let in");
    config_route_check_breaker(&c->breaker, "breaker", x->doc, x->errors);
    for (unsigned i = 0; i < c->providers_count; i++)
        provider_check(x, c, i);
    for (unsigned i = 0; i < c->models_count; i++)
        model_check(x, c, i);
    if (c->revocations.file != NULL && c->revocations.file[0] != '/')
        config_doc_error(x->doc, x->errors, "revocations.file", "must be an absolute path");
    config_console_check(c, x->doc, x->errors);
    config_passthrough_check(c, x->doc, x->errors);
    alerts_check(x, &c->alerts);
    if (x->errors->count == 0)
        config_map_check(c, x->doc, x->errors);
}

__attribute__((format(printf, 3, 0))) static void load_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
    struct config_errors *e = ctx;
    (void)level;
    int n = vsnprintf(e->text + e->len, sizeof e->text - e->len, fmt, args);
    if (n > 0 && (size_t)n < sizeof e->text - e->len)
        e->len += (size_t)n;
}

struct config *config_load(const char *file, struct config_errors *errors)
{
    struct config *c = NULL;
    cyaml_config_t load = cyaml;
    size_t n;

    *errors = (struct config_errors){ .count = 0 };
    struct config_doc *doc = config_doc_open(file, errors);
    if (doc == NULL)
        return NULL;
    config_doc_check(doc, &config_schema, errors);
    if (errors->count > 0)
        goto out;
    load.log_fn = load_log;
    load.log_ctx = errors;
    const unsigned char *text = config_doc_text(doc, &n);
    cyaml_err_t rc = cyaml_load_data(text, n, &load, &config_schema, (cyaml_data_t **)&c, NULL);
    if (rc != CYAML_OK || c == NULL) {
        config_doc_error(doc, errors, "", "%s", cyaml_strerror(rc));
        goto out;
    }
    defaults_fill(c);
    struct context x = { .doc = doc, .errors = errors };
    all_check(&x, c);
    if (errors->count > 0) {
        config_free(c);
        c = NULL;
    }
out:
    config_doc_close(doc);
    return c;
}

void config_free(struct config *c)
{
    if (c != NULL)
        cyaml_free(&cyaml, &config_schema, c, 0);
}
