#include "observe/otlp_json.h"

#include "base/json_scan.h"
#include "observe/request_metrics.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* opentelemetry/proto/trace/v1/trace.proto. */
enum { KIND_SERVER = 2, KIND_CLIENT = 3, STATUS_ERROR = 2, FLAG_HAS_IS_REMOTE = 0x100, FLAG_IS_REMOTE = 0x200 };

struct writer {
    FILE *out;
    bool some; /* an attribute is there already */
};

static void put_text(FILE *out, struct slice s)
{
    char piece[6 * 64];

    fputc('"', out);
    while (s.n > 0) {
        size_t n = s.n < 64 ? s.n : 64;
        /* Not within a character. */
        while (n < s.n && n > 60 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
            n--;
        fwrite(piece, 1, json_escape_ascii(slice_make(s.p, n), piece), out);
        s = slice_make(s.p + n, s.n - n);
    }
    fputc('"', out);
}

static void key(struct writer *w, const char *name, const char *type)
{
    fprintf(w->out, "%s{\"key\":\"%s\",\"value\":{\"%s\":", w->some ? "," : "", name, type);
    w->some = true;
}

static void text(struct writer *w, const char *name, struct slice value)
{
    if (value.n == 0)
        return;
    key(w, name, "stringValue");
    put_text(w->out, value);
    fputs("}}", w->out);
}

static void word(struct writer *w, const char *name, const char *value)
{
    text(w, name, slice_cstr(value));
}

static void number(struct writer *w, const char *name, int64_t value)
{
    key(w, name, "intValue");
    fprintf(w->out, "\"%" PRId64 "\"}}", value);
}

/* Left out when it is not known. */
static void number_known(struct writer *w, const char *name, int64_t value)
{
    if (value >= 0)
        number(w, name, value);
}

static void flag(struct writer *w, const char *name, bool value)
{
    key(w, name, "boolValue");
    fprintf(w->out, "%s}}", value ? "true" : "false");
}

static void seconds(struct writer *w, const char *name, int64_t us)
{
    if (us < 0)
        return;
    key(w, name, "doubleValue");
    fprintf(w->out, "%" PRId64 ".%06d}}", us / 1000000, (int)(us % 1000000));
}

static void put_id(FILE *out, const char *name, const unsigned char *id, size_t n)
{
    fprintf(out, "\"%s\":\"", name);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%02x", id[i]);
    fputs("\",", out);
}

void otlp_json_begin(FILE *out, const struct otlp_resource *r)
{
    struct writer w = { .out = out };

    fputs("{\"resourceSpans\":[{\"resource\":{\"attributes\":[", out);
    word(&w, "service.name", r->service);
    word(&w, "service.version", r->version);
    word(&w, "service.instance.id", r->instance);
    fputs("]},\"scopeSpans\":[{\"scope\":{\"name\":\"tollgate\",\"version\":", out);
    put_text(out, slice_cstr(r->version));
    fputs("},\"spans\":[", out);
}

void otlp_json_end(FILE *out)
{
    fputs("]}]}]}", out);
}

/* ---- names ---- */

static bool within(const char *path, const char *prefix)
{
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

/* Of few values, as names of spans must be. */
static void put_name(FILE *out, const struct trace_span *s)
{
    const struct event *e = &s->request.event;
    bool known = s->kind == SPAN_REQUEST && e->provider[0] != '\0'; /* a name of ours, not just any that a client made up */
    char name[256];

    if (s->kind == SPAN_TRY)
        snprintf(name, sizeof name, "%s %s", genai_operation_name(s->attempt.endpoint), s->attempt.model);
    else if (e->kind == EVENT_ANSWERED)
        snprintf(name, sizeof name, "%s %s", s->request.method,
                 within(s->request.path, "/v1/models/") ? "/v1/models/{model}" : s->request.path);
    else
        snprintf(name, sizeof name, "%s%s%s", genai_operation_name(e->endpoint), known ? " " : "", known ? e->alias : "");
    fputs("\"name\":", out);
    put_text(out, slice_cstr(name));
}

/* "host", "host:port", "[address]:port". */
static void host(struct writer *w, const char *name, int port)
{
    const char *end = name + strlen(name), *colon = strrchr(name, ':');
    bool bracket = name[0] == '[' && strchr(name, ']') != NULL;

    if (colon != NULL && (bracket ? colon > strchr(name, ']') : strchr(name, ':') == colon)) {
        int given = atoi(colon + 1);
        port = given > 0 && given < 65536 ? given : port;
        end = colon;
    }
    if (bracket)
        end = strchr(name++, ']');
    text(w, "server.address", slice_make(name, (size_t)(end - name)));
    if (end > name && port > 0)
        number(w, "server.port", port);
}

/* ---- a request ---- */

/* Ways to end that are nobody's failure: what there was to deliver was delivered, or the client had enough. */
static bool outcome_good(const char *outcome)
{
    static const char *const good[] = { "ok", "no_usage", "expired", "client_abort", "count_tokens" };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (strcmp(outcome, good[i]) == 0)
            return true;
    return false;
}

/* "" when it did not fail. */
static const char *request_error(const struct event *e, char status[16])
{
    const char *reason = e->reason != NULL ? e->reason : "unknown";

    if (e->kind == EVENT_ANSWERED || (e->kind == EVENT_SETTLED && e->status < 400 && outcome_good(reason)))
        return "";
    if (e->kind == EVENT_DENIED || strcmp(reason, "provider_error") != 0)
        return reason;
    snprintf(status, 16, "%d", e->status);
    return status;
}

static void usage(struct writer *w, const struct event *e)
{
    if (e->known_by != KNOWN_REPORTED && e->known_by != KNOWN_COUNTED)
        return;
    number(w, "gen_ai.usage.input_tokens", token_usage_input(&e->usage));
    number(w, "gen_ai.usage.output_tokens", token_usage_output(&e->usage));
    if (e->known_by != KNOWN_REPORTED) /* of caches nothing is known then */
        return;
    number(w, "gen_ai.usage.cache_read.input_tokens", e->usage.input_cached);
    number(w, "gen_ai.usage.cache_creation.input_tokens", e->usage.input_cache_write + e->usage.input_cache_write_1h);
    word(w, "tollgate.prompt_cache", e->usage.input_cached > 0 ? "hit" : "miss");
}

static void asked(struct writer *w, const struct event *e)
{
    if (e->kind == EVENT_ANSWERED)
        return;
    word(w, "gen_ai.operation.name", genai_operation_name(e->endpoint));
    text(w, "gen_ai.provider.name", genai_provider_name(slice_cstr(e->provider)));
    word(w, "gen_ai.request.model", e->alias);
    if (e->output_ceiling > 0)
        number(w, "gen_ai.request.max_tokens", e->output_ceiling);
    flag(w, "gen_ai.request.stream", e->stream);
}

static void settled(struct writer *w, const struct event *e)
{
    if (e->kind != EVENT_SETTLED)
        return;
    if (e->attempts > 0)
        word(w, "gen_ai.response.model", e->model);
    seconds(w, "gen_ai.response.time_to_first_chunk", e->ttft_us);
    usage(w, e);
    word(w, "tollgate.provider_request_id", e->provider_id);
    word(w, "tollgate.outcome", e->reason);
    word(w, "tollgate.known_by", event_known_by_name(e->known_by));
    number(w, "tollgate.cost_nano", e->cost_nano);
    number(w, "tollgate.hold_nano", e->hold_nano);
    number(w, "tollgate.attempts", e->attempts);
    flag(w, "tollgate.fallback", e->fallback);
    if (e->attempts > 0)
        word(w, "tollgate.group", e->group);
}

static void put_request(struct writer *w, const struct trace_span *s, const char *error)
{
    const struct event *e = &s->request.event;

    word(w, "http.request.method", s->request.method);
    word(w, "url.path", s->request.path);
    word(w, "url.scheme", s->request.tls ? "https" : "http");
    host(w, s->request.host, s->request.tls ? 443 : 80);
    if (e->status > 0)
        number(w, "http.response.status_code", e->status);
    word(w, "error.type", error);
    asked(w, e);
    word(w, "tollgate.request_id", e->request_id);
    word(w, "tollgate.decision", event_kind_name(e->kind == EVENT_SETTLED ? EVENT_ALLOWED : e->kind));
    if (e->kind == EVENT_DENIED)
        word(w, "tollgate.reason", e->reason);
    settled(w, e);
    word(w, "tollgate.team", e->team);
    word(w, "tollgate.application", e->application);
    word(w, "tollgate.cost_center", e->cost_center);
    number_known(w, "tollgate.budget_left_nano", e->budget_left_nano);
    number_known(w, "tollgate.identity_us", e->identity_us);
    number_known(w, "tollgate.tokens_us", e->tokens_us);
    number_known(w, "tollgate.budget_us", e->budget_us);
    number_known(w, "tollgate.commit_us", e->commit_us);
}

/* ---- a try at a provider ---- */

static const char *try_error(const struct span_try *t, char status[16])
{
    const char *outcome = t->outcome != NULL ? t->outcome : "unknown";

    if (strcmp(outcome, "error") != 0)
        return strcmp(outcome, "ok") == 0 || strcmp(outcome, "client_abort") == 0 ? "" : outcome;
    snprintf(status, 16, "%d", t->status);
    return status;
}

static void put_try(struct writer *w, const struct span_try *t, const char *error)
{
    word(w, "gen_ai.operation.name", genai_operation_name(t->endpoint));
    text(w, "gen_ai.provider.name", genai_provider_name(slice_cstr(t->provider)));
    word(w, "gen_ai.request.model", t->model);
    host(w, t->address, t->port);
    if (t->status > 0)
        number(w, "http.response.status_code", t->status);
    word(w, "error.type", error);
    word(w, "tollgate.request_id", t->request_id);
    word(w, "tollgate.group", t->group);
    number(w, "tollgate.attempt", t->number);
    word(w, "tollgate.outcome", t->outcome);
    number_known(w, "tollgate.first_byte_us", t->first_byte_us);
}

/* ---- spans ---- */

/* HTTP's conventions: of what clients did wrong (4xx) a server's span says nothing. */
static bool request_failed(const struct event *e, const char *error)
{
    return error[0] != '\0' && (e->status < 400 || e->status >= 500);
}

static void put_status(FILE *out, bool failed, const char *error)
{
    if (!failed)
        return;
    fprintf(out, ",\"status\":{\"code\":%d,\"message\":", STATUS_ERROR);
    put_text(out, slice_cstr(error));
    fputc('}', out);
}

void otlp_json_span(FILE *out, const struct trace_span *s, bool first)
{
    const struct trace_context *t = &s->context;
    struct writer w = { .out = out };
    char status[16];
    bool request = s->kind == SPAN_REQUEST;
    const char *error = request ? request_error(&s->request.event, status) : try_error(&s->attempt, status);
    const unsigned char *id = request ? t->span_id : t->try_id[s->attempt.number - 1];

    fputs(first ? "{" : ",{", out);
    put_id(out, "traceId", t->trace_id, sizeof t->trace_id);
    put_id(out, "spanId", id, 8);
    if (!request)
        put_id(out, "parentSpanId", t->span_id, 8);
    else if (t->parent)
        put_id(out, "parentSpanId", t->parent_id, 8);
    if (s->state[0] != '\0') {
        fputs("\"traceState\":", out);
        put_text(out, slice_cstr(s->state));
        fputc(',', out);
    }
    put_name(out, s);
    fprintf(out, ",\"kind\":%d,\"flags\":%d,\"startTimeUnixNano\":\"%" PRId64 "000\",\"endTimeUnixNano\":\"%" PRId64 "000\",\"attributes\":[",
            request ? KIND_SERVER : KIND_CLIENT, (int)t->flags | FLAG_HAS_IS_REMOTE | (request && t->parent ? FLAG_IS_REMOTE : 0),
            s->started_us, s->ended_us > s->started_us ? s->ended_us : s->started_us);
    if (request)
        put_request(&w, s, error);
    else
        put_try(&w, &s->attempt, error);
    fputc(']', out);
    put_status(out, request ? request_failed(&s->request.event, error) : error[0] != '\0', error);
    fputc('}', out);
}

/* ---- replies ---- */

/* An int64 in JSON: a string of digits, or a number. */
static bool count_read(const cJSON *v, int64_t *n)
{
    char *end;

    *n = 0;
    if (v == NULL)
        return true;
    if (cJSON_IsString(v)) {
        *n = strtoll(v->valuestring, &end, 10);
        return *end == '\0' && end != v->valuestring && *n >= 0;
    }
    if (!cJSON_IsNumber(v) || v->valuedouble < 0 || v->valuedouble > 9e15 || floor(v->valuedouble) != v->valuedouble)
        return false;
    *n = (int64_t)v->valuedouble;
    return true;
}

bool otlp_json_reply(struct slice body, int64_t *rejected, char *why, size_t why_size)
{
    *rejected = 0;
    why[0] = '\0';
    if (body.n == 0)
        return true;
    cJSON *root = cJSON_ParseWithLength(body.p, body.n);
    const cJSON *partial = cJSON_GetObjectItemCaseSensitive(root, "partialSuccess");
    const cJSON *message = cJSON_GetObjectItemCaseSensitive(partial, "errorMessage");
    bool ok = cJSON_IsObject(root) && (partial == NULL || cJSON_IsObject(partial)) &&
              count_read(cJSON_GetObjectItemCaseSensitive(partial, "rejectedSpans"), rejected);
    if (ok && cJSON_IsString(message))
        snprintf(why, why_size, "%s", message->valuestring);
    cJSON_Delete(root);
    return ok;
}
