#include "config/config_traces.h"

#include "config/config_route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BATCH = 512, BATCH_MAX = 4096, QUEUE = 2048, QUEUE_MAX = 65536, HEADERS_MAX = 8, HEADER_NAME_MAX = 64 };

static const int64_t duration_min_us = 50000, duration_max_us = 60 * INT64_C(1000000);

static void text_default(char **at, const char *value)
{
    if (*at == NULL && (*at = strdup(value)) == NULL)
        abort();
}

void config_traces_defaults(struct config_traces *t)
{
    if (t->endpoint == NULL)
        return;
    text_default(&t->compression, "none"); /* as OTEL_EXPORTER_OTLP_COMPRESSION has it (OpenTelemetry, "OTLP Exporter Configuration") */
    text_default(&t->service, "tollgate");
    text_default(&t->sample, "100%");
    text_default(&t->timeout, "10s");
    text_default(&t->interval, "5s");
    if (t->batch == 0)
        t->batch = BATCH;
    if (t->queue == 0)
        t->queue = QUEUE;
}

static void duration_take(const char *text, int64_t *us, const char *path, const struct config_doc *doc, struct config_errors *errors)
{
    if (!config_duration_us(text, us) || *us < duration_min_us || *us > duration_max_us)
        config_doc_error(doc, errors, path, "\"%s\" is no duration from 50ms to 60s", text);
}

/* Names of fields by RFC 9110, 5.1; what tells of the body is ours. */
static bool header_name_ok(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n <= HEADER_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~") == n &&
           strcasecmp(name, "content-type") != 0 && strcasecmp(name, "content-encoding") != 0 && strcasecmp(name, "content-length") != 0 && strcasecmp(name, "host") != 0;
}

static void header_check(const struct config_trace_header *h, unsigned i, const struct config_doc *doc, struct config_errors *errors)
{
    char path[64];

    snprintf(path, sizeof path, "traces.headers[%u].name", i);
    if (!header_name_ok(h->name))
        config_doc_error(doc, errors, path, "\"%s\" is no name of a header that may be set here", h->name);
    snprintf(path, sizeof path, "traces.headers[%u]", i);
    if ((h->value == NULL) == (h->file == NULL))
        config_doc_error(doc, errors, path, "needs either value, or file: where the value is kept secret");
    else if (h->file != NULL && h->file[0] != '/')
        config_doc_error(doc, errors, path, "file must be an absolute path");
    else if (h->value != NULL && strpbrk(h->value, "\r\n") != NULL)
        config_doc_error(doc, errors, path, "value must be one line");
}

void config_traces_check(struct config_traces *t, const struct config_doc *doc, struct config_errors *errors)
{
    if (t->endpoint == NULL)
        return;
    bool https = strncmp(t->endpoint, "https://", 8) == 0, http = strncmp(t->endpoint, "http://", 7) == 0;
    if (!https && !(http && t->allow_http))
        config_doc_error(doc, errors, "traces.endpoint", http ? "http needs allow_http: true" : "must be an https:// address");
    if (t->headers_count > HEADERS_MAX)
        config_doc_error(doc, errors, "traces.headers", "must be %d at most", HEADERS_MAX);
    for (unsigned i = 0; i < t->headers_count; i++)
        header_check(&t->headers[i], i, doc, errors);
    if (strcmp(t->compression, "none") != 0 && strcmp(t->compression, "gzip") != 0)
        config_doc_error(doc, errors, "traces.compression", "\"%s\" is not known; allowed: none, gzip", t->compression);
    t->sample_parts = config_percent(t->sample);
    if (t->sample_parts < 0)
        config_doc_error(doc, errors, "traces.sample", "\"%s\" is no share; write 25%%, 0.5%%", t->sample);
    duration_take(t->timeout, &t->timeout_us, "traces.timeout", doc, errors);
    duration_take(t->interval, &t->interval_us, "traces.interval", doc, errors);
    if (t->batch < 1 || t->batch > BATCH_MAX)
        config_doc_error(doc, errors, "traces.batch", "must be 1 to %d spans", BATCH_MAX);
    if (t->queue < t->batch || t->queue > QUEUE_MAX)
        config_doc_error(doc, errors, "traces.queue", "must be batch to %d spans", QUEUE_MAX);
}
