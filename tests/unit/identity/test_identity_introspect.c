/* Introspection against an endpoint of this program: asked once for all who wait, kept as long as allowed, refused when it is silent. */
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
#define SECOND INT64_C(1000000)
#define PATIENCE (120 * SECOND) /* for what is expected to come */

/* "client id:s3cr&t" as RFC 6749 wants it: client%20id:s3cr%26t. */
#define BASIC "Basic Y2xpZW50JTIwaWQ6czNjciUyNnQ="

struct world {
    struct MHD_Daemon *daemon;
    char url[80], keys[64], secret[64];
    pthread_mutex_t lock;
    const char *answer; /* under the lock */
    int status;
    bool held; /* nothing is answered while it is set */
    int64_t timeout_ms;
    char last[20000];
    atomic_uint asked, unauthorized;
    struct ev_loop *loop;
    struct http_client *http;
    EVP_PKEY *key;
    struct arena *arena;
    struct identity_store *store;
    struct identity_verifier *v;
    int ready;
};

static enum MHD_Result answer(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version, const char *data,
                              size_t *size, void **con)
{
    struct world *w = cls;
    const char *who = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");

    (void)url, (void)version;
    if (*con == NULL) {
        *con = w;
        pthread_mutex_lock(&w->lock);
        w->last[0] = '\0';
        pthread_mutex_unlock(&w->lock);
        return MHD_YES;
    }
    if (*size > 0) {
        pthread_mutex_lock(&w->lock);
        strncat(w->last, data, *size);
        pthread_mutex_unlock(&w->lock);
        *size = 0;
        return MHD_YES;
    }
    w->asked++;
    if (who == NULL || strcmp(who, BASIC) != 0 || strcmp(method, "POST") != 0)
        w->unauthorized++;
    pthread_mutex_lock(&w->lock);
    while (w->held) {
        pthread_mutex_unlock(&w->lock);
        usleep(1000);
        pthread_mutex_lock(&w->lock);
    }
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(w->answer), (void *)w->answer, MHD_RESPMEM_MUST_COPY);
    int status = w->status;
    pthread_mutex_unlock(&w->lock);
    enum MHD_Result done = MHD_queue_response(c, (unsigned)status, r);
    MHD_destroy_response(r);
    return done;
}

static void say(struct world *w, int status, const char *text)
{
    pthread_mutex_lock(&w->lock);
    w->status = status;
    w->answer = text;
    pthread_mutex_unlock(&w->lock);
}

static void hold(struct world *w, bool held)
{
    pthread_mutex_lock(&w->lock);
    w->held = held;
    pthread_mutex_unlock(&w->lock);
}

static void count_ready(void *user)
{
    ++*(int *)user;
}

static void temporary(char *path, size_t size, const char *text, unsigned mode)
{
    snprintf(path, size, "/tmp/identity_introspect.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    make_file(path, text, mode);
}

static struct identity_issuer issuer_of(struct world *w)
{
    static const char *audiences[] = { "tollgate" };
    return (struct identity_issuer){ .issuer = "https://issuer.test", .audiences = audiences, .audiences_count = 1, .jwks_file = w->keys,
                                     .allow_http = true, .fetch_timeout_ms = w->timeout_ms, .introspection_url = w->url,
                                     .introspection_client_id = "client id", .introspection_secret_file = w->secret,
                                     .introspection_cache_s = 30, .introspection_stale_s = 100 };
}

static void open_store(struct world *w)
{
    struct identity_issuer issuer = issuer_of(w);
    struct identity_options o = { .issuers = &issuer, .issuers_count = 1 };
    char why[256];

    w->store = identity_store_new(&o, w->loop, w->http, NULL, why, sizeof why);
    if (w->store == NULL)
        fail_msg("%s", why);
    w->v = identity_verifier_new(w->store, w->loop, count_ready, &w->ready);
}

static void reopen(struct world *w)
{
    identity_verifier_free(w->v);
    identity_store_retire(w->store);
    open_store(w);
}

static int set_up(void **state)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct world *w = calloc(1, sizeof *w);

    pthread_mutex_init(&w->lock, NULL);
    w->timeout_ms = 60000; /* the endpoint's thread may be late */
    say(w, 200, "{\"active\":true}");
    w->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, answer, w, MHD_OPTION_SOCK_ADDR, &any, MHD_OPTION_END);
    assert_non_null(w->daemon);
    snprintf(w->url, sizeof w->url, "http://127.0.0.1:%u/check", (unsigned)MHD_get_daemon_info(w->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    w->key = make_ec("P-256");
    char *jwk = make_jwk(w->key, "k", ""), *set = make_text("{\"keys\":[%s]}", jwk);
    temporary(w->keys, sizeof w->keys, set, 0644);
    temporary(w->secret, sizeof w->secret, "s3cr&t\n", 0600);
    free(jwk);
    free(set);
    w->loop = ev_loop_new(0);
    w->http = http_client_new(w->loop, NULL);
    w->arena = arena_new(8192);
    open_store(w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    hold(w, false);
    identity_verifier_free(w->v);
    identity_store_retire(w->store);
    http_client_free(w->http);
    ev_loop_destroy(w->loop);
    MHD_stop_daemon(w->daemon);
    EVP_PKEY_free(w->key);
    arena_free(w->arena);
    unlink(w->keys);
    unlink(w->secret);
    free(w);
    return 0;
}

static char *token_of(struct world *w, const char *sub, int64_t exp_s)
{
    char *payload = make_text("{\"iss\":\"https://issuer.test\",\"sub\":\"%s\",\"aud\":\"tollgate\",\"exp\":%lld}", sub, (long long)exp_s);
    char *token = make_token(w->key, (struct make_how){ .alg = "ES256" }, "{\"alg\":\"ES256\",\"kid\":\"k\"}", payload);
    free(payload);
    return token;
}

static enum identity_result verify(struct world *w, const char *token, int64_t now_us, bool may_wait, struct refusal *no)
{
    char *header = make_text("Bearer %s", token);
    struct http_request rq = { .authorization = slice_cstr(header) };
    struct identity id;
    arena_reset(w->arena, 8192);
    enum identity_result r = identity_verify(w->v, &rq, now_us, may_wait, w->arena, &id, no);
    free(header);
    return r;
}

/* Waits as a decision does, until there is an answer. */
static enum identity_result decide(struct world *w, const char *token, int64_t now_us, struct refusal *no)
{
    int64_t end = clock_mono_us() + PATIENCE;
    enum identity_result r;
    while ((r = verify(w, token, now_us, true, no)) == IDENTITY_WAIT) {
        int before = w->ready;
        while (w->ready == before) {
            assert_true(clock_mono_us() < end);
            ev_run(w->loop, EVRUN_NOWAIT);
            usleep(1000);
        }
    }
    return r;
}

static void test_asked_once_and_kept(void **state)
{
    struct world *w = *state;
    struct refusal no;
    int64_t now = NOW_US;
    char *token = token_of(w, "alice", now / SECOND + 3600);

    for (int i = 0; i < 5; i++)
        assert_int_equal(verify(w, token, now, true, &no), IDENTITY_WAIT); /* they join */
    assert_int_equal(decide(w, token, now, &no), IDENTITY_OK);
    assert_int_equal(w->asked, 1);
    assert_int_equal(w->unauthorized, 0);
    char *form = make_text("token=%s&token_type_hint=access_token", token);
    assert_string_equal(w->last, form);
    free(form);
    for (int i = 0; i < 5; i++)
        assert_int_equal(verify(w, token, now + 29 * SECOND, true, &no), IDENTITY_OK);
    assert_int_equal(w->asked, 1);
    say(w, 200, "{\"active\":false}");
    assert_int_equal(decide(w, token, now + 31 * SECOND, &no), IDENTITY_REFUSED);
    assert_string_equal(no.reason, "token_inactive");
    assert_int_equal(no.status, 401);
    assert_int_equal(w->asked, 2);
    free(token);
}

static void test_an_answer_ends_with_the_token(void **state)
{
    struct world *w = *state;
    struct refusal no;
    int64_t now = NOW_US;
    char *token = token_of(w, "alice", now / SECOND + 3600), *answer_text = make_text("{\"active\":true,\"exp\":%lld}", (long long)(now / SECOND + 10));

    say(w, 200, answer_text);
    assert_int_equal(decide(w, token, now, &no), IDENTITY_OK);
    assert_int_equal(verify(w, token, now + 8 * SECOND, true, &no), IDENTITY_OK);
    assert_int_equal(verify(w, token, now + 11 * SECOND, true, &no), IDENTITY_WAIT); /* neither kept nor stale beyond the exp it says */
    assert_int_equal(decide(w, token, now, &no), IDENTITY_OK);
    free(token);
    free(answer_text);
}

static void test_bad_answers_are_no_answers(void **state)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        { 500, "{\"active\":true}" }, { 401, "{\"active\":true}" }, { 204, "" }, { 302, "" }, { 200, "" }, { 200, "{}" }, { 200, "true" },
        { 200, "{\"active\":\"true\"}" }, { 200, "{\"active\":1}" }, { 200, "{\"active\":true,\"active\":true}" }, { 200, "{\"active\":true" },
        { 200, "{\"Active\":true}" },
    };
    struct world *w = *state;
    struct refusal no;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t now = NOW_US;
        reopen(w); /* no pause after the failure before */
        char *sub = make_text("u%zu", i), *token = token_of(w, sub, now / SECOND + 3600);
        say(w, rows[i].status, rows[i].text);
        if (decide(w, token, now, &no) != IDENTITY_REFUSED || no.status != 503 || strcmp(no.code, "auth_provider_unavailable") != 0)
            fail_msg("row %zu", i);
        free(token);
        free(sub);
    }
    assert_int_equal(w->asked, sizeof rows / sizeof rows[0]);
}

static void test_silence(void **state)
{
    struct world *w = *state;
    struct refusal no;
    int64_t now = NOW_US;
    char *known = token_of(w, "alice", now / SECOND + 3600), *fresh = token_of(w, "bob", now / SECOND + 3600);
    int64_t end = clock_mono_us() + PATIENCE;

    w->timeout_ms = 400;
    reopen(w);
    while (decide(w, known, now, &no) != IDENTITY_OK) { /* the endpoint's thread may be late */
        assert_true(clock_mono_us() < end);
        usleep(5000);
    }
    hold(w, true);
    assert_int_equal(decide(w, fresh, now, &no), IDENTITY_REFUSED);
    assert_int_equal(no.status, 503);
    assert_true(no.retry_after_s > 0);
    for (int i = 0, pauses = 0; i < 20; i++) /* while it fails it is left alone, a second each time */
        if (verify(w, fresh, now, true, &no) != IDENTITY_REFUSED) {
            assert_true(++pauses < 50);
            assert_int_equal(decide(w, fresh, now, &no), IDENTITY_REFUSED);
            i = 0;
        }
    /* what was active is used a little longer, because this issuer's `stale` allows it, and not for ever */
    assert_int_equal(decide(w, known, now + 31 * SECOND, &no), IDENTITY_OK);
    assert_int_equal(decide(w, known, now + 129 * SECOND, &no), IDENTITY_OK);
    assert_int_equal(decide(w, known, now + 131 * SECOND, &no), IDENTITY_REFUSED);
    assert_int_equal(no.status, 503);
    /* a decision that has waited long enough goes on without waiting */
    end = clock_mono_us() + PATIENCE;
    while (verify(w, fresh, now + 200 * SECOND, true, &no) != IDENTITY_WAIT) { /* until it is tried again */
        assert_true(clock_mono_us() < end);
        usleep(5000);
    }
    assert_int_equal(verify(w, fresh, now + 200 * SECOND, false, &no), IDENTITY_REFUSED);
    free(known);
    free(fresh);
}

static void test_retire_releases(void **state)
{
    struct world *w = *state;
    struct refusal no;
    int64_t now = NOW_US;
    char *token = token_of(w, "alice", now / SECOND + 3600);

    hold(w, true);
    assert_int_equal(verify(w, token, now, true, &no), IDENTITY_WAIT);
    ev_run(w->loop, EVRUN_NOWAIT); /* the call is under way */
    identity_store_retire(w->store);
    hold(w, false);
    assert_int_equal(decide(w, token, now, &no), IDENTITY_REFUSED);
    assert_int_equal(no.status, 503);
    identity_verifier_free(w->v);
    open_store(w);
    assert_int_equal(decide(w, token, now, &no), IDENTITY_OK);
    free(token);
}

static void test_options(void **state)
{
    struct world *w = *state;
    char why[256];
    static const char *const says[] = { "needs url", "not an https", "between 1 and 3600", "has mode 644" };

    for (int i = 0; i < 4; i++) {
        struct identity_issuer issuer = issuer_of(w);
        struct identity_options o = { .issuers = &issuer, .issuers_count = 1 };
        if (i == 0)
            issuer.introspection_client_id = NULL;
        else if (i == 1)
            issuer.introspection_url = "ftp://x";
        else if (i == 2)
            issuer.introspection_cache_s = 3601;
        else
            assert_int_equal(chmod(w->secret, 0644), 0);
        assert_null(identity_store_new(&o, w->loop, w->http, NULL, why, sizeof why));
        if (strstr(why, says[i]) == NULL)
            fail_msg("%d: %s", i, why);
        assert_null(strstr(why, "s3cr"));
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_asked_once_and_kept), T(test_an_answer_ends_with_the_token), T(test_bad_answers_are_no_answers), T(test_silence),
        T(test_retire_releases), T(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
