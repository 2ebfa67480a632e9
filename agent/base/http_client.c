#include "base/http_client.h"

#include "base/clock.h"
#include "base/private.h"

#include <curl/curl.h>
#include <ev.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { DEFAULT_MAX_BYTES = 1 << 20, DEFAULT_TIMEOUT_MS = 10000, DEFAULT_CONNECT_MS = 3000 };

struct http_client {
    struct ev_loop *loop;
    CURLM *multi;
    ev_timer timer;
    char *user_agent, *ca_file, *proxy;
    struct http_call *calls; /* under way */
};

struct http_call {
    struct http_client *client;
    struct http_call *prev, *next;
    CURL *easy;
    struct curl_slist *headers;
    char *url, *send;
    size_t send_size;
    char *body;
    size_t body_size, body_cap, max_bytes;
    bool too_large, is_get;
    unsigned redirects_left;
    int64_t deadline_us;
    http_done_fn *done;
    void *user;
    char error[CURL_ERROR_SIZE];
};

struct watched_socket {
    struct http_client *client;
    ev_io io;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_set_up(void)
{
    curl_global_init_mem(CURL_GLOBAL_ALL, private_alloc, private_free, private_realloc, private_strdup, private_calloc);
}

static void calls_remove(struct http_call *call)
{
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        call->client->calls = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
}

static void call_free(struct http_call *call)
{
    if (call->easy != NULL)
        curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    private_free(call->send);
    private_free(call->body);
    free(call->url);
    free(call);
}

static size_t on_body(char *p, size_t size, size_t n, void *user)
{
    struct http_call *call = user;
    size_t more = size * n;

    if (more > call->max_bytes - call->body_size) {
        call->too_large = true;
        return CURL_WRITEFUNC_ERROR;
    }
    if (more > call->body_cap - call->body_size) {
        size_t cap = call->body_cap ? call->body_cap * 2 : 4096;
        while (cap - call->body_size < more)
            cap *= 2;
        char *bigger = private_alloc(cap); /* not realloc: the old block may hold a secret and is wiped */
        if (bigger == NULL)
            return CURL_WRITEFUNC_ERROR;
        if (call->body != NULL) {
            memcpy(bigger, call->body, call->body_size);
            private_free(call->body);
        }
        call->body = bigger;
        call->body_cap = cap;
    }
    if (more > 0)
        memcpy(call->body + call->body_size, p, more);
    call->body_size += more;
    return more;
}

static struct slice header_of(CURL *easy, const char *name)
{
    struct curl_header *h;
    if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return SLICE_NONE;
    return slice_cstr(h->value);
}

/* Same scheme, host and port, and no user name in the new address. */
static bool same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = { CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT };
    CURLU *ua = curl_url(), *ub = curl_url();
    char *user = NULL;
    bool same = ua != NULL && ub != NULL && curl_url_set(ua, CURLUPART_URL, a, 0) == CURLUE_OK &&
                curl_url_set(ub, CURLUPART_URL, b, 0) == CURLUE_OK &&
                curl_url_get(ub, CURLUPART_USER, &user, 0) == CURLUE_NO_USER;

    for (size_t i = 0; same && i < sizeof parts / sizeof parts[0]; i++) {
        char *pa = NULL, *pb = NULL;
        same = curl_url_get(ua, parts[i], &pa, CURLU_DEFAULT_PORT) == CURLUE_OK &&
               curl_url_get(ub, parts[i], &pb, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(pa, pb) == 0;
        curl_free(pa);
        curl_free(pb);
    }
    curl_free(user);
    curl_url_cleanup(ua);
    curl_url_cleanup(ub);
    return same;
}

/* True when the call goes on at another address of the same origin. */
static bool follow_redirect(struct http_call *call, const char *to)
{
    int64_t left_ms = (call->deadline_us - clock_mono_us()) / 1000;
    if (!call->is_get || call->redirects_left == 0 || left_ms <= 0 || !same_origin(call->url, to))
        return false;
    char *url = strdup(to);
    if (url == NULL)
        return false;
    free(call->url);
    call->url = url;
    call->redirects_left--;
    call->body_size = 0;
    call->error[0] = '\0';
    curl_easy_setopt(call->easy, CURLOPT_URL, url);
    curl_easy_setopt(call->easy, CURLOPT_TIMEOUT_MS, (long)left_ms);
    return curl_multi_add_handle(call->client->multi, call->easy) == CURLM_OK;
}

static void describe_failure(struct http_call *call, CURLcode rc, struct http_reply *r)
{
    if (call->too_large || rc == CURLE_FILESIZE_EXCEEDED) {
        r->outcome = HTTP_TOO_LARGE;
        r->why = "the response is larger than allowed";
    } else if (rc == CURLE_OPERATION_TIMEDOUT) {
        r->outcome = HTTP_TIMED_OUT;
        r->why = "no complete response in time";
    } else {
        r->outcome = HTTP_FAILED;
        r->why = call->error[0] != '\0' ? call->error : curl_easy_strerror(rc);
    }
}

static void call_ended(struct http_call *call, CURLcode rc)
{
    struct http_reply r = { .outcome = HTTP_REPLIED, .why = "" };
    const char *to = NULL;

    curl_multi_remove_handle(call->client->multi, call->easy);
    if (rc != CURLE_OK) {
        describe_failure(call, rc, &r);
    } else {
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &r.status);
        curl_easy_getinfo(call->easy, CURLINFO_REDIRECT_URL, &to);
        if (to != NULL && r.status >= 300 && r.status < 400) {
            if (follow_redirect(call, to))
                return;
            r = (struct http_reply){ .outcome = HTTP_REDIRECTED, .why = "redirected to an address that is not followed" };
        } else {
            r.body = slice_make(call->body, call->body_size);
            r.content_type = header_of(call->easy, "content-type");
            r.etag = header_of(call->easy, "etag");
            r.cache_control = header_of(call->easy, "cache-control");
            r.age = header_of(call->easy, "age");
            r.retry_after = header_of(call->easy, "retry-after");
            r.date = header_of(call->easy, "date");
        }
    }
    calls_remove(call);
    call->done(call->user, &r);
    call_free(call);
}

static void reap(struct http_client *c)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct http_call *call = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode rc = m->data.result; /* the message dies with the handle's removal */
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        call_ended(call, rc);
    }
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct http_client *c = w->data;
    int running;

    (void)loop;
    (void)revents;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    reap(c);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct http_client *c = ((struct watched_socket *)w->data)->client; /* the watcher may go during the action */
    int what = (revents & EV_READ ? CURL_CSELECT_IN : 0) | (revents & EV_WRITE ? CURL_CSELECT_OUT : 0);
    int running;

    (void)loop;
    curl_multi_socket_action(c->multi, w->fd, what, &running);
    reap(c);
}

static int want_timer(CURLM *multi, long ms, void *user)
{
    struct http_client *c = user;

    (void)multi;
    ev_timer_stop(c->loop, &c->timer);
    if (ms < 0)
        return 0;
    ev_now_update(c->loop);
    ev_timer_set(&c->timer, (double)ms / 1000, 0.);
    ev_timer_start(c->loop, &c->timer);
    return 0;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *per_socket)
{
    struct http_client *c = user;
    struct watched_socket *s = per_socket;
    int events = (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) {
            ev_io_stop(c->loop, &s->io);
            free(s);
            curl_multi_assign(c->multi, fd, NULL);
        }
        return 0;
    }
    if (s == NULL) {
        s = calloc(1, sizeof *s);
        if (s == NULL)
            return -1;
        s->client = c;
        ev_io_init(&s->io, on_io, fd, events);
        s->io.data = s;
        curl_multi_assign(c->multi, fd, s);
    } else {
        ev_io_stop(c->loop, &s->io);
        ev_io_set(&s->io, fd, events);
    }
    ev_io_start(c->loop, &s->io);
    return 0;
}

static int copy_string(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return from != NULL && *to == NULL ? -1 : 0;
}

struct http_client *http_client_new(struct ev_loop *loop, const struct http_client_options *options)
{
    struct http_client_options none = { 0 };
    const struct http_client_options *o = options ? options : &none;

    pthread_once(&curl_once, curl_set_up);
    struct http_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->loop = loop;
    ev_timer_init(&c->timer, on_timer, 0., 0.);
    c->timer.data = c;
    c->multi = curl_multi_init();
    if (c->multi == NULL || copy_string(&c->ca_file, o->ca_file) != 0 || copy_string(&c->proxy, o->proxy) != 0 ||
        copy_string(&c->user_agent, o->user_agent ? o->user_agent : "tollgate/" TOLLGATE_VERSION) != 0) {
        http_client_free(c);
        return NULL;
    }
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 16L);
    return c;
}

void http_client_free(struct http_client *c)
{
    if (c == NULL)
        return;
    while (c->calls != NULL)
        http_call_cancel(c->calls);
    if (c->multi != NULL)
        curl_multi_cleanup(c->multi); /* closes kept connections: calls want_socket */
    ev_timer_stop(c->loop, &c->timer);
    free(c->user_agent);
    free(c->ca_file);
    free(c->proxy);
    free(c);
}

void http_call_cancel(struct http_call *call)
{
    if (call == NULL)
        return;
    curl_multi_remove_handle(call->client->multi, call->easy);
    calls_remove(call);
    call_free(call);
}

static bool url_acceptable(const struct http_request_options *o, char *why, size_t why_size)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *user = NULL;
    bool good = false;

    if (u == NULL || o->url == NULL || curl_url_set(u, CURLUPART_URL, o->url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        snprintf(why, why_size, "not a complete http(s) address");
    else if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
        snprintf(why, why_size, "the address holds a user name; put credentials into their own settings");
    else if (strcasecmp(scheme, "https") == 0 || (o->allow_http && strcasecmp(scheme, "http") == 0))
        good = true;
    else
        snprintf(why, why_size, "only https addresses are allowed here");
    curl_free(scheme);
    curl_free(user);
    curl_url_cleanup(u);
    return good;
}

static int copy_headers(struct http_call *call, const struct http_request_options *o, char *why, size_t why_size)
{
    call->headers = curl_slist_append(NULL, "Expect:");
    for (size_t i = 0; call->headers != NULL && i < o->header_count; i++) {
        if (strpbrk(o->headers[i], "\r\n") != NULL || strchr(o->headers[i], ':') == NULL) {
            snprintf(why, why_size, "a request header is malformed");
            return -1;
        }
        struct curl_slist *longer = curl_slist_append(call->headers, o->headers[i]);
        if (longer == NULL)
            curl_slist_free_all(call->headers);
        call->headers = longer;
    }
    return call->headers ? 0 : -1;
}

static void set_transport(struct http_call *call, const struct http_request_options *o, int64_t timeout_ms)
{
    struct http_client *c = call->client;
    CURL *e = call->easy;
    int64_t connect_ms = o->connect_timeout_ms > 0 ? o->connect_timeout_ms : DEFAULT_CONNECT_MS;
    const char *ca = o->ca_file ? o->ca_file : c->ca_file;

    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* else ending a call joins the resolver's thread: it would block the loop */
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, o->allow_http ? "http,https" : "https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* the library for 2 keeps headers in memory of its own */
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(connect_ms < timeout_ms ? connect_ms : timeout_ms));
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
    if (ca != NULL) {
        curl_easy_setopt(e, CURLOPT_CAINFO, ca);
        curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    }
    if (o->client_cert != NULL)
        curl_easy_setopt(e, CURLOPT_SSLCERT, o->client_cert);
    if (o->client_key != NULL)
        curl_easy_setopt(e, CURLOPT_SSLKEY, o->client_key);
    curl_easy_setopt(e, CURLOPT_PROXY, c->proxy ? c->proxy : "");
    curl_easy_setopt(e, CURLOPT_NOPROXY, c->proxy ? "localhost,127.0.0.1,::1" : "*");
    curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)call->max_bytes);
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(e, CURLOPT_USERAGENT, c->user_agent);
}

static int set_request(struct http_call *call, const struct http_request_options *o)
{
    CURL *e = call->easy;

    curl_easy_setopt(e, CURLOPT_URL, call->url);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(e, CURLOPT_PRIVATE, call);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
    call->is_get = o->method ? strcmp(o->method, "GET") == 0 : o->body.n == 0;
    if (call->is_get && o->body.n == 0)
        return 0;
    call->send_size = o->body.n;
    call->send = private_alloc(o->body.n);
    if (call->send == NULL)
        return -1;
    if (o->body.n > 0)
        memcpy(call->send, o->body.p, o->body.n);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, call->send);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->send_size);
    if (o->method != NULL)
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, o->method);
    return 0;
}

struct http_call *http_client_start(struct http_client *c, const struct http_request_options *o, char *why, size_t why_size)
{
    int64_t timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : DEFAULT_TIMEOUT_MS;

    snprintf(why, why_size, "out of memory");
    if (!url_acceptable(o, why, why_size))
        return NULL;
    struct http_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    call->client = c;
    call->max_bytes = o->max_bytes ? o->max_bytes : DEFAULT_MAX_BYTES;
    call->redirects_left = o->max_redirects;
    call->deadline_us = clock_mono_us() + timeout_ms * 1000;
    call->done = o->done;
    call->user = o->user;
    call->easy = curl_easy_init();
    call->url = strdup(o->url);
    if (call->easy == NULL || call->url == NULL || copy_headers(call, o, why, why_size) != 0) {
        call_free(call);
        return NULL;
    }
    set_transport(call, o, timeout_ms);
    if (set_request(call, o) != 0 || curl_multi_add_handle(c->multi, call->easy) != CURLM_OK) {
        call_free(call);
        return NULL;
    }
    call->next = c->calls;
    if (c->calls != NULL)
        c->calls->prev = call;
    c->calls = call;
    return call;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A delta-seconds number; one that is too large is a very long time (RFC 9111 1.2.2). */
static int64_t parse_seconds(struct slice s)
{
    int64_t v = 0;
    size_t i = 0;
    for (; i < s.n && is_digit(s.p[i]); i++)
        v = v > INT32_MAX ? v : v * 10 + (s.p[i] - '0');
    return i == 0 ? -1 : v;
}

int64_t http_reply_max_age_s(const struct http_reply *r)
{
    int64_t max_age = -1;
    struct slice rest = r->cache_control;

    while (rest.n > 0) {
        const char *comma = memchr(rest.p, ',', rest.n);
        size_t n = comma ? (size_t)(comma - rest.p) : rest.n;
        struct slice d = slice_make(rest.p, n);
        while (d.n > 0 && (d.p[0] == ' ' || d.p[0] == '\t'))
            d = slice_make(d.p + 1, d.n - 1);
        if ((d.n >= 8 && strncasecmp(d.p, "no-store", 8) == 0) || (d.n >= 8 && strncasecmp(d.p, "no-cache", 8) == 0))
            return 0;
        if (d.n > 8 && strncasecmp(d.p, "max-age=", 8) == 0)
            max_age = parse_seconds(slice_make(d.p + 8, d.n - 8));
        rest = comma ? slice_make(comma + 1, rest.n - n - 1) : SLICE_NONE;
    }
    if (max_age < 0)
        return -1;
    int64_t age = r->age.n ? parse_seconds(r->age) : 0;
    return age > 0 && age < max_age ? max_age - age : age >= max_age ? 0 : max_age;
}
