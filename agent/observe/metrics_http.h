/* HTTP for monitoring and whatever else is served to people, on a thread of its own. It answers itself:
 *
 *   GET /metrics   OpenMetrics, or Prometheus' older text format for those who do not ask for it
 *   GET /healthz   the process works: 200 "ok", or 503 with the reason
 *   GET /readyz    it can decide on requests: likewise
 *
 * Nothing of that is secret and nothing is changed; access is the listening address's matter. Further routes see to their own access. */
#ifndef TOLLGATE_OBSERVE_METRICS_HTTP_H
#define TOLLGATE_OBSERVE_METRICS_HTTP_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>

struct metrics;
struct metrics_http;

/* Runs on the server's thread, once a request's header (and body, which is thrown away) has come; queues an answer or suspends the
 * connection, as libmicrohttpd's access handlers do. Methods other than GET and HEAD do not get here. */
struct http_route {
    const char *path; /* the whole path; one that ends in '/' stands for all below it as well */
    enum MHD_Result (*answer)(void *user, struct MHD_Connection *c, const char *path);
    void *user;
};

struct metrics_http_options {
    int fd;                          /* listening TCP socket; owned by the server from metrics_http_start on, also when that fails */
    struct metrics *metrics;         /* outlives the server */
    /* Called on the server's thread. True: all is well; else a reason of one line in `why`. */
    bool (*healthy)(void *user, char *why, size_t why_size);
    bool (*ready)(void *user, char *why, size_t why_size);
    void *user;
    const struct http_route *routes; /* ended by a NULL path; outlive the server; NULL: none */
};

/* NULL: no thread or no memory. */
struct metrics_http *metrics_http_start(const struct metrics_http_options *o) __attribute__((warn_unused_result));
/* Ends the thread and closes the socket. NULL is allowed. */
void metrics_http_stop(struct metrics_http *h);

/* For routes. `text` must be static, or is copied. */
enum MHD_Result metrics_http_reply(struct MHD_Connection *c, unsigned status, const char *type, const char *text, size_t len);

#endif
