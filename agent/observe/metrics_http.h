/* HTTP for monitoring, on a thread of its own: GET /metrics (OpenMetrics) and GET /healthz (200 "ok", or 503 with the reason).
 *
 * Nothing here is secret, nothing is changed; access is the listening address's matter. */
#ifndef TOLLGATE_OBSERVE_METRICS_HTTP_H
#define TOLLGATE_OBSERVE_METRICS_HTTP_H

struct metrics;
struct metrics_http;

struct metrics_http_options {
    int fd;                             /* listening TCP socket; owned by the server from metrics_http_start on, also when that fails */
    struct metrics *metrics;            /* outlives the server */
    /* Both are called on the server's thread. */
    void (*refresh)(void *user);        /* sets gauges before each exposition; may be NULL */
    const char *(*unwell)(void *user);  /* NULL: healthy; else the reason, a static string */
    void *user;
};

/* NULL: no thread or no memory. */
struct metrics_http *metrics_http_start(const struct metrics_http_options *o) __attribute__((warn_unused_result));
/* Ends the thread and closes the socket. NULL is allowed. */
void metrics_http_stop(struct metrics_http *h);

#endif
