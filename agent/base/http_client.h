/* HTTP client: asynchronous calls on a libev loop, through libcurl's multi interface.
 *
 * For what the agent itself asks of others: key sets, discovery documents, token endpoints, vaults, embeddings. Nothing here
 * blocks the loop. One client belongs to one loop and one thread. Defaults are the safe ones: TLS verified (peer and host),
 * https only, no proxy from the environment, no cookies, no redirect to another origin, a size limit and time limits on every
 * call. A call ends in exactly one `done`, never from inside http_client_start. Requests and replies may carry secrets: they
 * stand in private memory (base/private.h), libcurl's copies too; the client logs nothing, and `why` texts hold neither header nor body nor the query part of an address. */
#ifndef TOLLGATE_BASE_HTTP_CLIENT_H
#define TOLLGATE_BASE_HTTP_CLIENT_H

#include "base/slice.h"

#include <stdint.h>

struct ev_loop;
struct http_client;
struct http_call; /* one call under way; gone once `done` returned or it was cancelled */

struct http_client_options {
    const char *user_agent; /* NULL: "tollgate/<version>" */
    const char *ca_file;    /* PEM bundle used instead of the system's store; NULL: the system's */
    const char *proxy;      /* e.g. "http://proxy.corp:3128"; NULL: none, whatever the environment says */
};

enum http_outcome {
    HTTP_REPLIED,    /* a complete HTTP response of any status */
    HTTP_FAILED,     /* resolve, connect, TLS or protocol failure */
    HTTP_TIMED_OUT,
    HTTP_TOO_LARGE,  /* the body passed max_bytes */
    HTTP_REDIRECTED  /* a redirect that is not followed: other origin, or one too many */
};

struct http_reply {
    enum http_outcome outcome;
    long status;      /* HTTP status; 0 unless HTTP_REPLIED */
    struct slice body;
    /* Response headers of the last response; empty when absent. All slices live until `done` returns. */
    struct slice content_type, etag, cache_control, age, retry_after, date;
    const char *why;  /* for the log, never NULL; "" when HTTP_REPLIED */
};

typedef void http_done_fn(void *user, const struct http_reply *reply);

struct http_request_options {
    const char *method;          /* NULL: GET, or POST when there is a body */
    const char *url;             /* http or https; user:password in it is refused */
    const char *const *headers;  /* "Name: value"; copied. CR, LF and NUL are refused */
    size_t header_count;
    struct slice body;           /* copied; wiped after use */
    const char *ca_file;         /* this call only; NULL: the client's */
    const char *client_cert, *client_key; /* PEM files for TLS client authentication; NULL: none */
    bool allow_http;             /* without it only https is accepted */
    unsigned max_redirects;      /* 0 (default): none. Only GET, and only to the same scheme, host and port */
    size_t max_bytes;            /* body limit after decoding; 0: 1 MiB */
    int64_t timeout_ms;          /* whole call; 0: 10,000 */
    int64_t connect_timeout_ms;  /* 0: 3,000, never more than timeout_ms */
    http_done_fn *done;          /* required */
    void *user;
};

/* `options` may be NULL; its strings are copied. NULL when memory is out or libcurl cannot start. Call curl-free code may run
 * before: the library's global state is set up once, thread-safely. */
struct http_client *http_client_new(struct ev_loop *loop, const struct http_client_options *options)
    __attribute__((warn_unused_result));
/* NULL is allowed. Calls under way are dropped without `done`. Not from inside a `done`. */
void http_client_free(struct http_client *c);
/* Starts a call. NULL with a reason in `why` (at most why_size bytes, NUL-terminated) when the options are wrong or memory is
 * out; `done` is then not called. */
struct http_call *http_client_start(struct http_client *c, const struct http_request_options *o, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* Ends the call without `done`. Not for a call whose `done` ran or is running. NULL is allowed. */
void http_call_cancel(struct http_call *call);

/* The freshness lifetime a reply declares (RFC 9111 4.2.1): max-age minus Age in seconds, 0 for no-store and no-cache, -1 when it
 * declares none. */
int64_t http_reply_max_age_s(const struct http_reply *r);

#endif
