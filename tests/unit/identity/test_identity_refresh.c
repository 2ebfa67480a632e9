/* When keys are fetched again: ETags, Cache-Control, ahead of their end, and workers that wait for one fetch. */
#include "store_fixture.h"

static void test_etag(void **state)
{
    struct fixture *f = *state;
    char *url = make_text("%s/jwks", f->p.base);
    provider_set(&f->p, &f->p.etag, strdup("\"v1\""));
    struct identity_store *s = open_store(f, (struct identity_issuer){ .jwks_url = url }, NULL);
    run_until_fetched(f, s, 1, 0);
    int64_t first = state_of(s).fetched_us;
    identity_store_refresh(s);
    int64_t end = clock_mono_us() + PATIENCE_US;
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
    int64_t end = clock_mono_us() + PATIENCE_US;

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
    provider_hold(&f->p, true);
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
    provider_hold(&f->p, false);
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
    int64_t end = clock_mono_us() + PATIENCE_US;
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

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_etag), T(test_cache_control_is_bounded), T(test_not_modified_is_a_good_fetch),
        T(test_nobody_waits_for_a_background_refresh), T(test_retire_releases_those_who_wait),
        T(test_workers_wait_for_one_refresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
