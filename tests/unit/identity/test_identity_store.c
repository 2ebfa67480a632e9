/* Key sources: start without keys, rotation, outage, documents that are no key sets, redirects, slow answers, files, TLS. */
#include "store_fixture.h"

#include <openssl/x509v3.h>

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
    int64_t end = clock_mono_us() + PATIENCE_US;
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
    int64_t end = clock_mono_us() + PATIENCE_US;
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
    provider_hold(&f->p, true);
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
    provider_hold(&f->p, false);
}

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
        T(test_discovery_of_another_issuer), T(test_one_kid_in_two_issuers), T(test_redirects), T(test_slow_provider),
        T(test_file_is_read_again), T(test_tls_is_verified),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
