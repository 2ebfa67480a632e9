/* Key sources: an issuer served over real HTTP and HTTPS by a thread of this program, with rotation, outage, ETags, slow answers, and a worker
 * that waits for a refresh. The loop is the control thread's; time passed to identity_verify is chosen by the tests. */
#include "base/clock.h"
#include "base/http_client.h"
#include "identity/identity.h"
#include "token_maker.h"

#include <ev.h>
#include <microhttpd.h>
#include <openssl/x509v3.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <cmocka.h>
#include <unistd.h>

#define NOW_US (clock_wall_us())

struct provider {
    struct MHD_Daemon *daemon;
    char base[64]; /* its own address */
    pthread_mutex_t lock;
    char *jwks, *discovery, *etag; /* under the lock, like all below */
    const char *cache_control, *age;
    int status;   /* for /jwks */
    unsigned delay_ms;
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

static enum MHD_Result answer(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                              const char *data, size_t *size, void **con)
{
    struct provider *p = cls;
    const char *condition = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-None-Match"), *body = "";
    int status = 404;

    (void)method, (void)version, (void)data, (void)size, (void)con;
    pthread_mutex_lock(&p->lock);
    unsigned delay = p->delay_ms;
    pthread_mutex_unlock(&p->lock);
    usleep(delay * 1000);
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

static void provider_set(struct provider *p, char **field, char *text)
{
    pthread_mutex_lock(&p->lock);
    free(*field);
    *field = text;
    pthread_mutex_unlock(&p->lock);
}

static void provider_start(struct provider *p, unsigned flags, const char *key, const char *cert)
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
    snprintf(p->base, sizeof p->base, "%s://localhost:%u", key ? "https" : "http",
             (unsigned)MHD_get_daemon_info(p->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
}

static void provider_stop(struct provider *p)
{
    MHD_stop_daemon(p->daemon);
    free(p->jwks);
    free(p->discovery);
    free(p->etag);
    pthread_mutex_destroy(&p->lock);
}

static char *jwks_of(EVP_PKEY *k, const char *kid)
{
    char *jwk = make_jwk(k, kid, ""), *set = make_text("{\"keys\":[%s]}", jwk);
    free(jwk);
    return set;
}

static int set_up(void **state)
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

static int tear_down(void **state)
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

static struct identity_store *open_store(struct fixture *f, struct identity_issuer issuer, struct identity_store *previous)
{
    static const char *audiences[] = { "tollgate" };
    char why[256];
    if (issuer.issuer == NULL)
        issuer.issuer = f->p.base;
    issuer.audiences = audiences;
    issuer.audiences_count = 1;
    issuer.allow_http = true;
    struct identity_options o = { .issuers = &issuer, .issuers_count = 1 };
    struct identity_store *s = identity_store_new(&o, f->loop, f->http, previous, why, sizeof why);
    if (s == NULL)
        fail_msg("%s", why);
    return s;
}

static struct identity_issuer_state state_of(struct identity_store *s)
{
    struct identity_issuer_state st;
    assert_true(identity_store_state(s, 0, NOW_US, &st));
    return st;
}

/* Turns the loop until the store has done `fetches` good or bad fetches in all, or 10 s have passed. */
static void run_until_fetched(struct fixture *f, struct identity_store *s, uint64_t good, uint64_t failures)
{
    int64_t end = clock_mono_us() + 10 * 1000000;
    for (;;) {
        struct identity_issuer_state st = state_of(s);
        if (st.failures >= failures && (good == 0 || st.generation >= good))
            return;
        assert_true(clock_mono_us() < end);
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(1000);
    }
}

static char *token_for(struct fixture *f, int key, const char *kid)
{
    char *header = make_text("{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    char *payload = make_text("{\"iss\":\"%s\",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":%lld}", f->p.base,
                              (long long)(NOW_US / 1000000 + 3600));
    char *token = make_token(f->key[key], (struct make_how){ .alg = "ES256" }, header, payload);
    free(header);
    free(payload);
    return token;
}

static enum identity_result verify(struct fixture *f, struct identity_verifier *v, const char *token, int64_t now_us, bool may_wait,
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

static void count_ready(void *user)
{
    ++*(int *)user;
}

static void turn_until(struct fixture *f, int *ready, int wanted)
{
    int64_t end = clock_mono_us() + 10 * 1000000;
    while (*ready < wanted) {
        assert_true(clock_mono_us() < end);
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(1000);
    }
}

/* ---- ------------------------------------------------------------------------------------------------------------------ */

static void test_start_without_keys_fails_closed(void **state)
{
    struct fixture *f = *state;
    struct identity_store *s = open_store(f, (struct identity_issuer){ 0 }, NULL);
    int ready = 0;
    struct identity_verifier *v = identity_verifier_new(s, f->loop, count_ready, &ready);
    struct refusal no;
    char *token = token_for(f, 0, "k0");

    assert_int_equal(verify(f, v, token, NOW_US, false, &no), IDENTITY_REFUSED);
    assert_int_equal(no.status, 503);
    assert_string_equal(no.code, "auth_provider_unavailable");
    assert_true(no.retry_after_s > 0);
    assert_false(state_of(s).usable);
    assert_int_equal(verify(f, v, token, NOW_US, true, &no), IDENTITY_WAIT); /* discovery is under way */
    turn_until(f, &ready, 1);
    assert_int_equal(verify(f, v, token, NOW_US, true, &no), IDENTITY_OK);
    assert_true(state_of(s).usable);
    assert_int_equal(f->p.discovery_hits, 1);
    assert_int_equal(f->p.jwks_hits, 1);
    free(token);
    identity_verifier_free(v);
    identity_store_retire(s);
}

static void test_rotation(void **state)
{
    struct fixture *f = *state;
    char *url = make_text("%s/jwks", f->p.base);
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url }, NULL);
    int ready = 0;
    struct identity_verifier *v = identity_verifier_new(s, f->loop, count_ready, &ready);
    struct refusal no;
    char *old = token_for(f, 0, "k0"), *new = token_for(f, 1, "k1"), *junk = token_for(f, 2, "k2");
    int64_t t = NOW_US;

    run_until_fetched(f, s, 1, 0);
    assert_int_equal(verify(f, v, old, t, true, &no), IDENTITY_OK);
    assert_int_equal(verify(f, v, old, t, true, &no), IDENTITY_OK); /* cached */
    provider_set(&f->p, &f->p.jwks, jwks_of(f->key[1], "k1"));
    assert_int_equal(verify(f, v, new, t, true, &no), IDENTITY_WAIT);
    assert_int_equal(verify(f, v, junk, t, true, &no), IDENTITY_WAIT); /* joins the same fetch */
    turn_until(f, &ready, 1);
    assert_int_equal(verify(f, v, new, t, true, &no), IDENTITY_OK);
    assert_int_equal(f->p.jwks_hits, 2);
    /* the removed key no longer verifies, although its token was in the cache */
    assert_int_equal(verify(f, v, old, t, true, &no), IDENTITY_REFUSED);
    assert_string_equal(no.reason, "token_key");
    assert_int_equal(no.status, 401);
    /* within the cooldown nothing is fetched, however many ask */
    for (int i = 0; i < 100; i++) {
        assert_int_equal(verify(f, v, junk, t + i * 1000, true, &no), IDENTITY_REFUSED);
        ev_run(f->loop, EVRUN_NOWAIT);
    }
    assert_int_equal(state_of(s).refreshes_for_kid, 1);
    assert_int_equal(f->p.jwks_hits, 2);
    /* after it, one more */
    assert_int_equal(verify(f, v, junk, t + 30 * 1000000, true, &no), IDENTITY_WAIT);
    turn_until(f, &ready, 2);
    assert_int_equal(verify(f, v, junk, t + 30 * 1000000, true, &no), IDENTITY_REFUSED);
    assert_string_equal(no.reason, "token_key");
    assert_int_equal(f->p.jwks_hits, 3);
    /* the set did not change: what was cached stays */
    struct identity_cache_state before, after;
    identity_verifier_state(v, &before);
    assert_int_equal(verify(f, v, new, t, true, &no), IDENTITY_OK);
    identity_verifier_state(v, &after);
    assert_int_equal(after.hits, before.hits + 1);
    assert_int_equal(after.entries, 1);
    free(old);
    free(new);
    free(junk);
    free(url);
    identity_verifier_free(v);
    identity_store_retire(s);
}

static void test_outage_and_staleness(void **state)
{
    struct fixture *f = *state;
    char *url = make_text("%s/jwks", f->p.base);
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url, .stale_s = 100 }, NULL);
    struct identity_verifier *v = identity_verifier_new(s, NULL, NULL, NULL);
    struct refusal no;
    char *token = token_for(f, 0, "k0");

    run_until_fetched(f, s, 1, 0);
    pthread_mutex_lock(&f->p.lock);
    f->p.status = 500;
    pthread_mutex_unlock(&f->p.lock);
    identity_store_refresh(s);
    run_until_fetched(f, s, 0, 1);
    int64_t fetched = state_of(s).fetched_us;
    assert_int_equal(verify(f, v, token, fetched + 99 * 1000000, false, &no), IDENTITY_OK); /* also into the cache */
    assert_int_equal(verify(f, v, token, fetched + 102 * 1000000, false, &no), IDENTITY_REFUSED);
    assert_int_equal(no.status, 503);
    /* it comes back by itself: the first retry follows after about a second */
    pthread_mutex_lock(&f->p.lock);
    f->p.status = 200;
    pthread_mutex_unlock(&f->p.lock);
    int64_t end = clock_mono_us() + 10 * 1000000;
    while (state_of(s).fetched_us == fetched) {
        assert_true(clock_mono_us() < end);
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(2000);
    }
    assert_int_equal(verify(f, v, token, NOW_US, false, &no), IDENTITY_OK);
    free(token);
    free(url);
    identity_verifier_free(v);
    identity_store_retire(s);
}

/* What the provider may send that must not become a key set, and must not replace one. */
static void test_bad_documents(void **state)
{
    struct fixture *f = *state;
    static const char *const docs[] = { "", "nonsense", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[],\"keys\":[]}", "{\"keys\":[]", NULL };
    char *url = make_text("%s/jwks", f->p.base);
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url }, NULL);
    run_until_fetched(f, s, 1, 0);
    for (size_t i = 0; i < sizeof docs / sizeof docs[0]; i++) {
        if (docs[i] == NULL) { /* too large */
            char *big = malloc(600 * 1024 + 1);
            memset(big, ' ', 600 * 1024);
            big[600 * 1024] = '\0';
            provider_set(&f->p, &f->p.jwks, big);
        } else {
            provider_set(&f->p, &f->p.jwks, strdup(docs[i]));
        }
        identity_store_refresh(s);
        run_until_fetched(f, s, 0, i + 1);
        assert_int_equal(state_of(s).keys, 1);
        assert_int_equal(state_of(s).generation, 1);
    }
    /* an empty set is one: the issuer withdrew its keys */
    provider_set(&f->p, &f->p.jwks, strdup("{\"keys\":[]}"));
    identity_store_refresh(s);
    run_until_fetched(f, s, 2, 0);
    assert_false(state_of(s).usable);
    free(url);
    identity_store_retire(s);
}

static void test_discovery_of_another_issuer(void **state)
{
    struct fixture *f = *state;
    char *slash = make_text("{\"issuer\":\"%s/\",\"jwks_uri\":\"%s/jwks\"}", f->p.base, f->p.base);
    provider_set(&f->p, &f->p.discovery, slash);
    struct identity_store *s = open_store(f, (struct identity_issuer){ 0 }, NULL);
    run_until_fetched(f, s, 0, 1);
    assert_int_equal(f->p.jwks_hits, 0);
    assert_false(state_of(s).usable);
    identity_store_retire(s);
}

static void test_etag(void **state)
{
    struct fixture *f = *state;
    char *url = make_text("%s/jwks", f->p.base);
    provider_set(&f->p, &f->p.etag, strdup("\"v1\""));
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url }, NULL);
    run_until_fetched(f, s, 1, 0);
    int64_t first = state_of(s).fetched_us;
    identity_store_refresh(s);
    int64_t end = clock_mono_us() + 10 * 1000000;
    while (state_of(s).fetched_us == first) {
        assert_true(clock_mono_us() < end);
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(f->p.not_modified, 1);
    assert_int_equal(state_of(s).generation, 1);
    /* a reload of the configuration starts with the keys and the ETag of the store before */
    struct identity_store *next = open_store(f, (struct identity_issuer){ .jwks_url = url }, s);
    assert_true(state_of(next).usable);
    identity_store_retire(s);
    while (f->p.not_modified < 2) {
        assert_true(clock_mono_us() < end);
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(1000);
    }
    identity_store_retire(next);
    free(url);
}

/* Fetches once more and waits for the end of it. */
static struct identity_issuer_state fetch_again(struct fixture *f, struct identity_store *s)
{
    struct identity_issuer_state before = state_of(s), st;
    int64_t end = clock_mono_us() + 10 * 1000000;

    identity_store_refresh(s);
    do {
        assert_true(clock_mono_us() < end);
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(500);
        st = state_of(s);
    } while (st.fetched_us == before.fetched_us && st.failures == before.failures);
    return st;
}

/* Spread over 90 to 100 %. */
static void assert_next(const struct identity_issuer_state *st, int64_t seconds, const char *row)
{
    if (st->next_in_ms < seconds * 900 - 1 || st->next_in_ms > seconds * 1000)
        fail_msg("%s: next fetch in %lld ms, wanted about %lld s", row, (long long)st->next_in_ms, (long long)seconds);
}

/* How long keys are kept is declared by the provider and bounded by the configuration. */
static void test_cache_control_is_bounded(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int64_t refresh_s;
        const char *cache_control, *age;
        int64_t wanted_s;
    } rows[] = {
        { 3600, NULL, NULL, 3600 },           { 3600, "max-age=300", NULL, 300 },      { 3600, "max-age=5", NULL, 60 },
        { 3600, "max-age=0", NULL, 60 },      { 3600, "max-age=31536000", NULL, 3600 }, { 3600, "max-age=99999999999999999999", NULL, 3600 },
        { 3600, "no-store", NULL, 60 },       { 3600, "no-cache", NULL, 60 },          { 3600, "max-age=600, no-store", NULL, 60 },
        { 3600, "max-age=600", "300", 300 },  { 3600, "max-age=600", "9999", 60 },     { 3600, "max-age=junk", NULL, 3600 },
        { 3600, "private", NULL, 3600 },      { 30, "max-age=5", NULL, 30 },           { 30, "max-age=600", NULL, 30 },
        { 30, "no-store", NULL, 30 },         { 0, NULL, NULL, 3600 },
    };
    char *url = make_text("%s/jwks", f->p.base);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url, .refresh_s = rows[i].refresh_s }, NULL);
        run_until_fetched(f, s, 1, 0);
        pthread_mutex_lock(&f->p.lock);
        f->p.cache_control = rows[i].cache_control;
        f->p.age = rows[i].age;
        pthread_mutex_unlock(&f->p.lock);
        struct identity_issuer_state st = fetch_again(f, s);
        assert_int_equal(st.failures, 0);
        assert_next(&st, rows[i].wanted_s, rows[i].cache_control ? rows[i].cache_control : "none");
        identity_store_retire(s);
    }
    free(url);
}

/* 304 keeps the keys and starts their life anew, with the lifetime it declares itself; a changed ETag brings the new set. */
static void test_not_modified_is_a_good_fetch(void **state)
{
    struct fixture *f = *state;
    char *url = make_text("%s/jwks", f->p.base), *new = token_for(f, 1, "k1");
    struct refusal no;

    provider_set(&f->p, &f->p.etag, strdup("\"v1\""));
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url, .stale_s = 100 }, NULL);
    struct identity_verifier *v = identity_verifier_new(s, NULL, NULL, NULL);
    run_until_fetched(f, s, 1, 0);
    pthread_mutex_lock(&f->p.lock);
    f->p.cache_control = "max-age=200";
    pthread_mutex_unlock(&f->p.lock);
    struct identity_issuer_state st = fetch_again(f, s);
    assert_int_equal(f->p.not_modified, 1);
    assert_int_equal(st.generation, 1);
    assert_next(&st, 200, "304");
    pthread_mutex_lock(&f->p.lock);
    f->p.status = 500;
    pthread_mutex_unlock(&f->p.lock);
    do { /* 1, 2, 4 ... at most 60 s */
        st = fetch_again(f, s);
        assert_next(&st, st.failures < 7 ? 1 << (st.failures - 1) : 60, "failure");
    } while (st.failures < 8);
    pthread_mutex_lock(&f->p.lock);
    f->p.status = 200;
    pthread_mutex_unlock(&f->p.lock);
    provider_set(&f->p, &f->p.jwks, jwks_of(f->key[1], "k1"));
    provider_set(&f->p, &f->p.etag, strdup("\"v2\""));
    st = fetch_again(f, s);
    assert_int_equal(st.generation, 2);
    assert_int_equal(verify(f, v, new, NOW_US, false, &no), IDENTITY_OK);
    assert_next(&st, 200, "after the outage");
    identity_verifier_free(v);
    identity_store_retire(s);
    free(new);
    free(url);
}

/* A refresh in the background: whoever has a known key is verified meanwhile, and a stalled provider changes nothing for them. */
static void test_nobody_waits_for_a_background_refresh(void **state)
{
    struct fixture *f = *state;
    char *url = make_text("%s/jwks", f->p.base);
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url, .fetch_timeout_ms = 60000 }, NULL);
    int ready = 0;
    struct identity_verifier *v = identity_verifier_new(s, f->loop, count_ready, &ready);
    struct refusal no;
    char *seen = token_for(f, 0, "k0"), *next = token_for(f, 1, "k1");

    run_until_fetched(f, s, 1, 0);
    assert_int_equal(verify(f, v, seen, NOW_US, true, &no), IDENTITY_OK);
    char *fresh = token_for(f, 0, "k0"); /* another signature: not in the cache */
    provider_set(&f->p, &f->p.jwks, jwks_of(f->key[1], "k1"));
    pthread_mutex_lock(&f->p.lock);
    f->p.held = true;
    pthread_mutex_unlock(&f->p.lock);
    identity_store_refresh(s);
    for (int i = 0; i < 20; i++)
        ev_run(f->loop, EVRUN_NOWAIT);
    assert_int_equal(state_of(s).fetches, 2);
    assert_int_equal(verify(f, v, seen, NOW_US, true, &no), IDENTITY_OK);
    assert_int_equal(verify(f, v, fresh, NOW_US, true, &no), IDENTITY_OK);
    identity_store_refresh(s); /* one at a time */
    assert_int_equal(state_of(s).fetches, 2);
    assert_int_equal(verify(f, v, next, NOW_US, true, &no), IDENTITY_WAIT); /* joins it and asks for no other */
    assert_int_equal(state_of(s).refreshes_for_kid, 0);
    pthread_mutex_lock(&f->p.lock);
    f->p.held = false;
    pthread_mutex_unlock(&f->p.lock);
    turn_until(f, &ready, 1);
    assert_int_equal(verify(f, v, next, NOW_US, true, &no), IDENTITY_OK);
    assert_int_equal(f->p.jwks_hits, 2);
    assert_string_not_equal(seen, fresh);
    free(seen);
    free(fresh);
    free(next);
    free(url);
    identity_verifier_free(v);
    identity_store_retire(s);
}

/* Two issuers that name their keys alike: each token is verified with its own issuer's key, whatever the other publishes. */
static void test_one_kid_in_two_issuers(void **state)
{
    struct fixture *f = *state;
    static const char *audiences[] = { "tollgate" };
    struct provider other = { 0 };
    struct refusal no;
    char why[256];

    provider_start(&other, 0, NULL, NULL);
    provider_set(&other, &other.jwks, jwks_of(f->key[1], "k0"));
    char *urls[] = { make_text("%s/jwks", f->p.base), make_text("%s/jwks", other.base) };
    struct identity_issuer issuers[] = {
        { .issuer = f->p.base, .jwks_url = urls[0], .audiences = audiences, .audiences_count = 1, .allow_http = true },
        { .issuer = other.base, .jwks_url = urls[1], .audiences = audiences, .audiences_count = 1, .allow_http = true },
    };
    struct identity_options o = { .issuers = issuers, .issuers_count = 2 };
    struct identity_store *s = identity_store_new(&o, f->loop, f->http, NULL, why, sizeof why);
    assert_non_null(s);
    struct identity_verifier *v = identity_verifier_new(s, NULL, NULL, NULL);
    struct identity_issuer_state st;
    int64_t end = clock_mono_us() + 10 * 1000000;
    for (size_t i = 0; i < 2; i++)
        while (identity_store_state(s, i, NOW_US, &st) && !st.usable) {
            assert_true(clock_mono_us() < end);
            ev_run(f->loop, EVRUN_NOWAIT);
            usleep(500);
        }
    char *own = token_for(f, 0, "k0"), *forged = token_for(f, 1, "k0"); /* both say that they are from the first issuer */
    for (int again = 0; again < 2; again++) {
        assert_int_equal(verify(f, v, own, NOW_US, false, &no), IDENTITY_OK);
        assert_int_equal(verify(f, v, forged, NOW_US, false, &no), IDENTITY_REFUSED);
        assert_string_equal(no.reason, "token_signature");
    }
    identity_verifier_free(v);
    identity_store_retire(s);
    provider_stop(&other);
    free(own);
    free(forged);
    free(urls[0]);
    free(urls[1]);
}

static void test_redirects(void **state)
{
    struct fixture *f = *state;
    char *same = make_text("%s/moved", f->p.base), *other = make_text("%s/elsewhere", f->p.base);
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = same }, NULL);
    run_until_fetched(f, s, 1, 0);
    identity_store_retire(s);
    s = open_store(f, (struct identity_issuer){ .jwks_url = other }, NULL);
    run_until_fetched(f, s, 0, 1);
    assert_false(state_of(s).usable);
    identity_store_retire(s);
    free(same);
    free(other);
}

static void test_slow_provider(void **state)
{
    struct fixture *f = *state;
    char *url = make_text("%s/jwks", f->p.base);
    pthread_mutex_lock(&f->p.lock);
    f->p.delay_ms = 1500;
    pthread_mutex_unlock(&f->p.lock);
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url, .fetch_timeout_ms = 200 }, NULL);
    int ready = 0;
    struct identity_verifier *v = identity_verifier_new(s, f->loop, count_ready, &ready);
    struct refusal no;
    char *token = token_for(f, 0, "k0");
    assert_int_equal(verify(f, v, token, NOW_US, true, &no), IDENTITY_WAIT);
    turn_until(f, &ready, 1); /* those who wait hear of the failure too */
    assert_int_equal(verify(f, v, token, NOW_US, true, &no), IDENTITY_REFUSED);
    assert_int_equal(no.status, 503);
    free(token);
    free(url);
    identity_verifier_free(v);
    identity_store_retire(s); /* with a retry scheduled */
}

static void test_retire_releases_those_who_wait(void **state)
{
    struct fixture *f = *state;
    struct identity_store *s = open_store(f, (struct identity_issuer){ 0 }, NULL);
    int ready = 0;
    struct identity_verifier *v = identity_verifier_new(s, f->loop, count_ready, &ready);
    struct refusal no;
    char *token = token_for(f, 0, "k0");
    assert_int_equal(verify(f, v, token, NOW_US, true, &no), IDENTITY_WAIT);
    identity_store_retire(s); /* the fetch is cancelled, the verifier keeps the memory */
    turn_until(f, &ready, 1);
    assert_int_equal(verify(f, v, token, NOW_US, true, &no), IDENTITY_REFUSED);
    assert_int_equal(no.status, 503);
    free(token);
    identity_verifier_free(v);
}

/* ---- a worker thread of its own ---------------------------------------------------------------------------------------- */

struct worker {
    struct fixture *f;
    struct identity_store *s;
    struct ev_loop *loop;
    struct identity_verifier *v;
    char *token;
    atomic_int verified;
    int waits;
};

static void try_again(void *user)
{
    struct worker *w = user;
    struct arena *a = arena_new(8192);
    struct refusal no;
    struct identity id;
    char *header = make_text("Bearer %s", w->token);
    struct http_request rq = { .authorization = slice_cstr(header) };
    enum identity_result r = identity_verify(w->v, &rq, NOW_US, true, a, &id, &no);

    if (r == IDENTITY_WAIT) {
        w->waits++;
    } else {
        atomic_store(&w->verified, r == IDENTITY_OK ? 1 : -1);
        ev_break(w->loop, EVBREAK_ALL);
    }
    free(header);
    arena_free(a);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    w->v = identity_verifier_new(w->s, w->loop, try_again, w);
    try_again(w);
    if (atomic_load(&w->verified) == 0)
        ev_run(w->loop, 0);
    identity_verifier_free(w->v);
    return NULL;
}

static void test_workers_wait_for_one_refresh(void **state)
{
    enum { WORKERS = 4 };
    struct fixture *f = *state;
    struct worker w[WORKERS];
    pthread_t thread[WORKERS];
    char *url = make_text("%s/jwks", f->p.base);
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url }, NULL);

    run_until_fetched(f, s, 1, 0);
    provider_set(&f->p, &f->p.jwks, jwks_of(f->key[1], "k1"));
    for (int i = 0; i < WORKERS; i++) {
        w[i] = (struct worker){ .f = f, .s = s, .loop = ev_loop_new(0), .token = token_for(f, 1, "k1") };
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    int64_t end = clock_mono_us() + 10 * 1000000;
    for (int i = 0; i < WORKERS; i++)
        while (atomic_load(&w[i].verified) == 0) {
            assert_true(clock_mono_us() < end);
            ev_run(f->loop, EVRUN_NOWAIT);
            usleep(500);
        }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(atomic_load(&w[i].verified), 1);
        ev_loop_destroy(w[i].loop);
        free(w[i].token);
    }
    assert_int_equal(state_of(s).refreshes_for_kid, 1);
    assert_int_equal(f->p.jwks_hits, 2);
    identity_store_retire(s);
    free(url);
}

/* ---- a file ------------------------------------------------------------------------------------------------------------- */

static void test_file_is_read_again(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/identity_store.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    char *first = jwks_of(f->key[0], "k0"), *second = jwks_of(f->key[1], "k1");
    make_file(path, first, 0644);
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_file = path }, NULL);
    struct identity_verifier *v = identity_verifier_new(s, NULL, NULL, NULL);
    struct refusal no;
    char *old = token_for(f, 0, "k0"), *new = token_for(f, 1, "k1");

    assert_int_equal(verify(f, v, old, NOW_US, false, &no), IDENTITY_OK);
    make_file(path, "half a fi", 0644); /* a file that is being written keeps the keys there were */
    identity_store_refresh(s);
    assert_int_equal(state_of(s).failures, 1);
    assert_int_equal(verify(f, v, old, NOW_US, false, &no), IDENTITY_OK);
    make_file(path, second, 0644);
    run_until_fetched(f, s, 2, 0); /* seen by the watch */
    assert_int_equal(verify(f, v, new, NOW_US, false, &no), IDENTITY_OK);
    assert_int_equal(verify(f, v, old, NOW_US, false, &no), IDENTITY_REFUSED);
    assert_string_equal(no.reason, "token_key");
    identity_verifier_free(v);
    identity_store_retire(s);
    make_file(path, first, 0646);
    struct identity_issuer open_to_all = { .issuer = "x", .any_audience = true, .jwks_file = path };
    struct identity_options anybody = { .issuers = &open_to_all, .issuers_count = 1 };
    char says[256];
    assert_null(identity_store_new(&anybody, f->loop, NULL, NULL, says, sizeof says));
    assert_non_null(strstr(says, "writable for everyone"));
    unlink(path);
    struct identity_issuer missing = { .issuer = "x", .any_audience = true, .jwks_file = path };
    struct identity_options o = { .issuers = &missing, .issuers_count = 1 };
    char why[256];
    assert_null(identity_store_new(&o, f->loop, NULL, NULL, why, sizeof why));
    assert_non_null(strstr(why, path));
    free(first);
    free(second);
    free(old);
    free(new);
}

/* ---- TLS ----------------------------------------------------------------------------------------------------------------- */

static char *self_signed(EVP_PKEY *k, const char *name)
{
    char *at, *pem, *alt = make_text("DNS:%s", name);
    X509 *x = X509_new();
    BIO *b = BIO_new(BIO_s_mem());
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, k);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alt);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    ext = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    MAKE(X509_sign(x, k, EVP_sha256()) > 0 && PEM_write_bio_X509(b, x) == 1);
    long n = BIO_get_mem_data(b, &at);
    pem = strndup(at, (size_t)n);
    BIO_free(b);
    X509_free(x);
    free(alt);
    return pem;
}

static void test_tls_is_verified(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *name;
        bool give_ca, good;
    } rows[] = { { "localhost", true, true }, { "localhost", false, false }, { "other.test", true, false } };

    for (size_t i = 0; i < 3; i++) {
        struct provider tls = { 0 };
        char path[] = "/tmp/identity_ca.XXXXXX", *at, *key;
        EVP_PKEY *k = make_rsa(2048);
        char *cert = self_signed(k, rows[i].name);
        BIO *b = BIO_new(BIO_s_mem());
        MAKE(PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL) == 1);
        long n = BIO_get_mem_data(b, &at);
        key = strndup(at, (size_t)n);
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        make_file(path, cert, 0644);
        provider_start(&tls, MHD_USE_TLS, key, cert);
        provider_set(&tls, &tls.jwks, jwks_of(f->key[0], "k0"));
        char *url = make_text("%s/jwks", tls.base);
        struct identity_issuer issuer = { .jwks_url = url, .ca_file = rows[i].give_ca ? path : NULL };
        struct identity_store *s = open_store(f, issuer, NULL);
        run_until_fetched(f, s, rows[i].good ? 1 : 0, rows[i].good ? 0 : 1);
        assert_int_equal(state_of(s).usable, rows[i].good);
        assert_int_equal(tls.jwks_hits, rows[i].good ? 1 : 0);
        identity_store_retire(s);
        provider_stop(&tls);
        unlink(path);
        BIO_free(b);
        EVP_PKEY_free(k);
        free(url);
        free(key);
        free(cert);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_start_without_keys_fails_closed), T(test_rotation), T(test_outage_and_staleness), T(test_bad_documents),
        T(test_discovery_of_another_issuer), T(test_etag), T(test_cache_control_is_bounded), T(test_not_modified_is_a_good_fetch),
        T(test_nobody_waits_for_a_background_refresh), T(test_one_kid_in_two_issuers), T(test_redirects), T(test_slow_provider),
        T(test_retire_releases_those_who_wait), T(test_workers_wait_for_one_refresh), T(test_file_is_read_again), T(test_tls_is_verified),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
