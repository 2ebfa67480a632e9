#include "observe/metrics_http.h"

#include "observe/metrics.h"

#include <microhttpd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 32, IDLE_SECONDS = 10 };

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
    enum MHD_Result rc = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result reply_line(struct MHD_Connection *c, unsigned status, const char *line)
{
    return reply(c, status, "text/plain; charset=utf-8", (char *)(uintptr_t)line, strlen(line), MHD_RESPMEM_MUST_COPY);
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
    if (strcmp(url, "/healthz") == 0) {
        const char *why = h->o.unwell(h->o.user);
        return reply_line(c, why == NULL ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, why == NULL ? "ok" : why);
    }
    if (strcmp(url, "/metrics") != 0)
        return reply_line(c, MHD_HTTP_NOT_FOUND, "there are /metrics and /healthz\n");
    if (h->o.refresh != NULL)
        h->o.refresh(h->o.user);
    size_t len;
    char *text = metrics_text(h->o.metrics, &len);
    if (text == NULL)
        return reply_line(c, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
    return reply(c, MHD_HTTP_OK, METRICS_CONTENT_TYPE, text, len, MHD_RESPMEM_MUST_FREE);
}

struct metrics_http *metrics_http_start(const struct metrics_http_options *o)
{
    struct metrics_http *h = calloc(1, sizeof *h);

    if (h != NULL) {
        h->o = *o;
        h->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, o->fd,
                                     MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                                     (unsigned)IDLE_SECONDS, MHD_OPTION_END);
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
