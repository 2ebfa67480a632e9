#include "observe/metrics_http.h"

#include "base/redact.h"
#include "observe/metrics.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, IDLE_SECONDS = 10, REASON_BYTES = 512 };

struct metrics_http {
    struct metrics_http_options o;
    struct MHD_Daemon *daemon;
};

/* `text` is freed by the library when `how` says so. */
static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *type, char *text, size_t len,
                             enum MHD_ResponseMemoryMode how)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, text, how);

    if (r == NULL) {
        if (how == MHD_RESPMEM_MUST_FREE)
            free(text);
        return MHD_NO;
    }
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, "Allow", "GET, HEAD");
    MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Cache-Control", "no-store");
    enum MHD_Result rc = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rc;
}

enum MHD_Result metrics_http_reply(struct MHD_Connection *c, unsigned status, const char *type, const char *text, size_t len)
{
    char *copy = malloc(len + 1);

    if (copy == NULL)
        return MHD_NO;
    memcpy(copy, text, len);
    return reply(c, status, type, copy, redact_text(copy, len), MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result reply_line(struct MHD_Connection *c, unsigned status, const char *line)
{
    return metrics_http_reply(c, status, "text/plain; charset=utf-8", line, strlen(line));
}

static enum MHD_Result reply_state(struct metrics_http *h, struct MHD_Connection *c,
                                   bool (*well)(void *user, char *why, size_t why_size))
{
    char why[REASON_BYTES] = "", line[REASON_BYTES + 2];

    if (well(h->o.user, why, sizeof why))
        return reply_line(c, MHD_HTTP_OK, "ok\n");
    snprintf(line, sizeof line, "%s\n", why);
    return reply_line(c, MHD_HTTP_SERVICE_UNAVAILABLE, line);
}

static enum MHD_Result reply_metrics(struct metrics_http *h, struct MHD_Connection *c)
{
    const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept");
    bool open = accept != NULL && strstr(accept, "application/openmetrics-text") != NULL;
    size_t len;
    char *text = metrics_text(h->o.metrics, open ? METRICS_OPENMETRICS : METRICS_TEXT, &len);

    if (text == NULL)
        return reply_line(c, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
    len = redact_text(text, len);
    return reply(c, MHD_HTTP_OK, open ? METRICS_OPENMETRICS_TYPE : METRICS_TEXT_TYPE, text, len, MHD_RESPMEM_MUST_FREE);
}

static const struct http_route *route_find(const struct metrics_http *h, const char *path)
{
    for (const struct http_route *r = h->o.routes; r != NULL && r->path != NULL; r++) {
        size_t n = strlen(r->path);
        if (strcmp(r->path, path) == 0 || (r->path[n - 1] == '/' && strncmp(r->path, path, n) == 0))
            return r;
    }
    return NULL;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                                  const char *body, size_t *body_len, void **state)
{
    static int begun;
    struct metrics_http *h = user;

    (void)version, (void)body;
    if (*state == NULL) { /* the header only: answering from here would close the connection */
        *state = &begun;
        return MHD_YES;
    }
    if (*body_len > 0) {
        *body_len = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return reply_line(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET is answered here\n");
    if (strcmp(url, "/healthz") == 0)
        return reply_state(h, c, h->o.healthy);
    if (strcmp(url, "/readyz") == 0)
        return reply_state(h, c, h->o.ready);
    if (strcmp(url, "/metrics") == 0)
        return reply_metrics(h, c);
    const struct http_route *r = route_find(h, url);
    if (r != NULL)
        return r->answer(r->user, c, url);
    return reply_line(c, MHD_HTTP_NOT_FOUND, "there are /metrics, /healthz and /readyz\n");
}

struct metrics_http *metrics_http_start(const struct metrics_http_options *o)
{
    struct metrics_http *h = calloc(1, sizeof *h);

    if (h != NULL) {
        h->o = *o;
        h->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h,
                                     MHD_OPTION_LISTEN_SOCKET, o->fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_END);
    }
    if (h == NULL || h->daemon == NULL) {
        close(o->fd);
        free(h);
        return NULL;
    }
    return h;
}

void metrics_http_stop(struct metrics_http *h)
{
    if (h == NULL)
        return;
    MHD_stop_daemon(h->daemon);
    free(h);
}
