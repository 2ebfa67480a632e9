#include "console/private.h"

#include "base/clock.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, IDLE_SECONDS = 30, STACK_BYTES = 512 * 1024, REQUEST_BYTES = 32 * 1024 };

bool console_pause(struct console *c, int ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&c->lock);
    while (!c->stopping && pthread_cond_timedwait(&c->stopping_changed, &c->lock, &until) == 0)
        ;
    bool stopping = c->stopping;
    pthread_mutex_unlock(&c->lock);
    return stopping;
}

/* The path below the base; NULL: not ours. "" when it is the base without its slash. */
static const char *path_below(const struct console *c, const char *url)
{
    size_t n = strlen(c->base);
    return strncmp(url, c->base, n) == 0 && (url[n] == '/' || url[n] == '\0') ? url + n : NULL;
}

static enum MHD_Result home(struct exchange *x)
{
    char to[600];

    if (x->path[0] == '/' && x->signed_in)
        return http_file(x, "index.html");
    snprintf(to, sizeof to, "%s/%s", x->c->base, x->path[0] == '\0' ? "" : "login");
    return http_redirect(x, to, (const char *[2]){ NULL, NULL });
}

static enum MHD_Result route(struct exchange *x, bool post)
{
    if (post)
        return strcmp(x->path, "/logout") == 0 ? login_end(x) : http_error(x, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET is answered here");
    if (x->path[0] == '\0' || strcmp(x->path, "/") == 0)
        return home(x);
    if (strncmp(x->path, "/api/", 5) == 0)
        return api_handle(x, x->path + 5);
    if (strcmp(x->path, "/login") == 0)
        return login_begin(x);
    if (strcmp(x->path, "/callback") == 0)
        return login_callback(x);
    if (strcmp(x->path, "/signed-out") == 0)
        return http_page(x, MHD_HTTP_OK, "Signed out", "Your session here is over.", x->c->o.url, "Sign in again");
    if (strcmp(x->path, "/index.html") == 0)
        return http_error(x, MHD_HTTP_NOT_FOUND, "there is no such page");
    return http_file(x, x->path + 1);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                  const char *body, size_t *body_n, void **state)
{
    static int begun;
    struct exchange x = { .c = user, .connection = connection };
    bool post = strcmp(method, "POST") == 0;

    (void)version, (void)body;
    if (*state == NULL) { /* the header only: answering from here would close the connection */
        *state = &begun;
        return MHD_YES;
    }
    if (*body_n > 0) { /* nothing here has a body */
        *body_n = 0;
        return MHD_YES;
    }
    if (!post && strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return http_error(&x, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET is answered here");
    x.path = path_below(x.c, url);
    if (x.path == NULL)
        return http_error(&x, MHD_HTTP_NOT_FOUND, "there is no such page");
    x.signed_in = sessions_find(x.c->sessions, http_cookie(&x, x.c->session_cookie), clock_wall_us(), &x.who);
    return route(&x, post);
}

/* "https://host[:port]/base": checked by the configuration. */
static bool url_split(struct console *c)
{
    const char *host = strstr(c->o.url, "://"), *path = host == NULL ? NULL : strchr(host + 3, '/');

    if (path == NULL)
        return false;
    c->secure = strncmp(c->o.url, "https:", 6) == 0;
    c->base = strdup(path);
    c->origin = strndup(c->o.url, (size_t)(path - c->o.url));
    snprintf(c->session_cookie, sizeof c->session_cookie, "%stollgate_session", c->secure ? "__Secure-" : "");
    snprintf(c->attempt_cookie, sizeof c->attempt_cookie, "%stollgate_login", c->secure ? "__Secure-" : "");
    return c->base != NULL && c->origin != NULL;
}

static void console_free(struct console *c)
{
    data_free(c->data);
    sessions_free(c->sessions);
    pthread_cond_destroy(&c->stopping_changed);
    pthread_mutex_destroy(&c->lock);
    OPENSSL_cleanse(c->key, sizeof c->key);
    free(c->base);
    free(c->origin);
    free(c);
}

struct console *console_start(const struct console_options *o, char *why, size_t why_size)
{
    struct console *c = calloc(1, sizeof *c);
    pthread_condattr_t attr;

    snprintf(why, why_size, "out of memory");
    if (c == NULL) {
        close(o->fd);
        return NULL;
    }
    c->o = *o;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->stopping_changed, &attr);
    pthread_condattr_destroy(&attr);
    c->data = data_new(o->ledger);
    c->sessions = sessions_new();
    if (c->data == NULL || c->sessions == NULL || !url_split(c) || RAND_bytes(c->key, sizeof c->key) != 1) {
        close(o->fd);
        goto fail;
    }
    /* A thread for each connection: what it waits for, a slow question or the OpenID provider, stops nobody else. */
    c->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL, on_request, c,
                                 MHD_OPTION_LISTEN_SOCKET, o->fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                                 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_BYTES, MHD_OPTION_END);
    if (c->daemon == NULL) {
        snprintf(why, why_size, "the console's HTTP server cannot start");
        close(o->fd);
        goto fail;
    }
    return c;
fail:
    console_free(c);
    return NULL;
}

void console_sign_out_all(struct console *c)
{
    sessions_clear(c->sessions);
}

void console_stop(struct console *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_broadcast(&c->stopping_changed);
    pthread_mutex_unlock(&c->lock);
    MHD_stop_daemon(c->daemon);
    console_free(c);
}
