/* An issuer served over real HTTP and HTTPS by a thread of the test program, and a key store that reads it on a loop which is the control
 * thread's. Time passed to identity_verify is chosen by the tests. Each test has a fixture of its own (set_up, tear_down). */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "base/clock.h"
#include "base/http_client.h"
#include "identity/identity.h"
#include "token_maker.h"

#include <ev.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <cmocka.h>
#include <unistd.h>

#define NOW_US (clock_wall_us())
#define PATIENCE_US INT64_C(120000000) /* for what is expected to come */

struct provider {
    struct MHD_Daemon *daemon;
    char base[64]; /* its own address */
    pthread_mutex_t lock;
    char *jwks, *discovery, *etag; /* under the lock, like all below */
    const char *cache_control, *age;
    int status;   /* for /jwks */
    bool held;    /* nothing is answered while it is set */
    atomic_uint jwks_hits, discovery_hits, not_modified; /* these without it */
};

struct fixture {
    struct ev_loop *loop;
    struct http_client *http;
    struct provider p;
    EVP_PKEY *key[3];
    struct arena *arena;
};

static inline enum MHD_Result answer(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                              const char *data, size_t *size, void **con)
{
    struct provider *p = cls;
    const char *condition = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-None-Match"), *body = "";
    int status = 404;

    (void)method, (void)version, (void)data, (void)size, (void)con;
    pthread_mutex_lock(&p->lock);
    while (p->held) {
        pthread_mutex_unlock(&p->lock);
        usleep(1000);
        pthread_mutex_lock(&p->lock);
    }
    if (strcmp(url, "/jwks") == 0) {
        p->jwks_hits++;
        status = p->status;
        body = p->jwks;
        if (status == 200 && p->etag != NULL && condition != NULL && strcmp(condition, p->etag) == 0) {
            status = 304;
            body = "";
            p->not_modified++;
        }
    } else if (strcmp(url, "/.well-known/openid-configuration") == 0) {
        p->discovery_hits++;
        status = 200;
        body = p->discovery;
    } else if (strcmp(url, "/moved") == 0 || strcmp(url, "/elsewhere") == 0) {
        status = 302;
    }
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(body), (void *)body, MHD_RESPMEM_MUST_COPY);
    if (p->etag != NULL && strcmp(url, "/jwks") == 0)
        MHD_add_response_header(r, "ETag", p->etag);
    if (p->cache_control != NULL)
        MHD_add_response_header(r, "Cache-Control", p->cache_control);
    if (p->age != NULL)
        MHD_add_response_header(r, "Age", p->age);
    if (status == 302)
        MHD_add_response_header(r, "Location", strcmp(url, "/moved") == 0 ? "/jwks" : "http://localhost:1/jwks");
    pthread_mutex_unlock(&p->lock);
    enum MHD_Result done = MHD_queue_response(c, (unsigned)status, r);
    MHD_destroy_response(r);
    return done;
}

static inline void provider_set(struct provider *p, char **field, char *text)
{
    pthread_mutex_lock(&p->lock);
    free(*field);
    *field = text;
    pthread_mutex_unlock(&p->lock);
}

static inline void provider_hold(struct provider *p, bool held)
{
    pthread_mutex_lock(&p->lock);
    p->held = held;
    pthread_mutex_unlock(&p->lock);
}

static inline void provider_start(struct provider *p, unsigned flags, const char *key, const char *cert)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    pthread_mutex_init(&p->lock, NULL);
    p->status = 200;
    if (key != NULL)
        p->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | flags, 0, NULL, NULL, answer, p, MHD_OPTION_SOCK_ADDR, &any,
                                     MHD_OPTION_HTTPS_MEM_KEY, key, MHD_OPTION_HTTPS_MEM_CERT, cert, MHD_OPTION_END);
    else
        p->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | flags, 0, NULL, NULL, answer, p, MHD_OPTION_SOCK_ADDR, &any,
                                     MHD_OPTION_END);
    assert_non_null(p->daemon);
    snprintf(p->base, sizeof p->base, "%s:%u", key ? "https://localhost" : "http://127.0.0.1",
             (unsigned)MHD_get_daemon_info(p->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
}

static inline void provider_stop(struct provider *p)
{
    MHD_stop_daemon(p->daemon);
    free(p->jwks);
    free(p->discovery);
    free(p->etag);
    pthread_mutex_destroy(&p->lock);
}

static inline char *jwks_of(EVP_PKEY *k, const char *kid)
{
    char *jwk = make_jwk(k, kid, ""), *set = make_text("{\"keys\":[%s]}", jwk);
    free(jwk);
    return set;
}

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->loop = ev_loop_new(0);
    f->http = http_client_new(f->loop, NULL);
    for (int i = 0; i < 3; i++)
        f->key[i] = make_ec("P-256");
    f->arena = arena_new(8192);
    provider_start(&f->p, 0, NULL, NULL);
    provider_set(&f->p, &f->p.jwks, jwks_of(f->key[0], "k0"));
    provider_set(&f->p, &f->p.discovery, make_text("{\"issuer\":\"%s\",\"jwks_uri\":\"%s/jwks\"}", f->p.base, f->p.base));
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    http_client_free(f->http);
    ev_loop_destroy(f->loop);
    provider_stop(&f->p);
    for (int i = 0; i < 3; i++)
        EVP_PKEY_free(f->key[i]);
    arena_free(f->arena);
    free(f);
    return 0;
}

static inline struct identity_store *open_store(struct fixture *f, struct identity_issuer issuer, struct identity_store *previous)
{
    static const char *audiences[] = { "tollgate" };
    char why[256];
    if (issuer.issuer == NULL)
        issuer.issuer = f->p.base;
    issuer.audiences = audiences;
    issuer.audiences_count = 1;
    issuer.allow_http = true;
    if (issuer.fetch_timeout_ms == 0)
        issuer.fetch_timeout_ms = 60000; /* the provider's thread may be late */
    struct identity_options o = { .issuers = &issuer, .issuers_count = 1 };
    struct identity_store *s = identity_store_new(&o, f->loop, f->http, previous, why, sizeof why);
    if (s == NULL)
        fail_msg("%s", why);
    return s;
}

static inline struct identity_issuer_state state_of(struct identity_store *s)
{
    struct identity_issuer_state st;
    assert_true(identity_store_state(s, 0, NOW_US, &st));
    return st;
}

/* Turns the loop until the store has done `fetches` good or bad fetches in all. */
static inline void run_until_fetched(struct fixture *f, struct identity_store *s, uint64_t good, uint64_t failures)
{
    int64_t end = clock_mono_us() + PATIENCE_US;
    for (;;) {
        struct identity_issuer_state st = state_of(s);
        if (st.failures >= failures && (good == 0 || st.generation >= good))
            return;
        assert_true(clock_mono_us() < end);
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(1000);
    }
}

static inline char *token_for(struct fixture *f, int key, const char *kid)
{
    char *header = make_text("{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    char *payload = make_text("{\"iss\":\"%s\",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":%lld}", f->p.base,
                              (long long)(NOW_US / 1000000 + 3600));
    char *token = make_token(f->key[key], (struct make_how){ .alg = "ES256" }, header, payload);
    free(header);
    free(payload);
    return token;
}

static inline enum identity_result verify(struct fixture *f, struct identity_verifier *v, const char *token, int64_t now_us, bool may_wait,
                                   struct refusal *no)
{
    char *header = make_text("Bearer %s", token);
    struct http_request rq = { .authorization = slice_cstr(header) };
    struct identity id;
    arena_reset(f->arena, 8192);
    enum identity_result r = identity_verify(v, &rq, now_us, may_wait, f->arena, &id, no);
    free(header);
    return r;
}

static inline void count_ready(void *user)
{
    ++*(int *)user;
}

static inline void turn_until(struct fixture *f, int *ready, int wanted)
{
    int64_t end = clock_mono_us() + PATIENCE_US;
    while (*ready < wanted) {
        assert_true(clock_mono_us() < end);
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(1000);
    }
}

#endif
