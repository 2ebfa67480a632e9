/* Client certificates: what is read of them, which never counts, which rule decides, and that HAProxy's word on them is obeyed. Made here
 * with OpenSSL; only what HAProxy would have verified is not signed by anybody but itself. */
#include "identity/certificate.h"
#include "identity/certificate_cache.h"
#include "token_maker.h"

#include <ctype.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stddef.h>
#include <ev.h>
#include <cmocka.h>
#include <unistd.h>

#define FROM_S 1799990000
#define UNTIL_S 1800000000

struct maker {
    EVP_PKEY *key;
    struct arena *arena;
};

/* Texts may hold NUL; a name's part with n 0 is left out. */
struct wish {
    struct slice cn, second_cn, organization;
    const char *names; /* subjectAltName as openssl.cnf has it; NULL: none */
    struct slice raw_dns;
};

static void name_add(X509_NAME *n, const char *field, struct slice value)
{
    if (value.n > 0)
        assert_int_equal(X509_NAME_add_entry_by_txt(n, field, MBSTRING_UTF8, (const unsigned char *)value.p, (int)value.n, -1, 0), 1);
}

static void names_add(X509 *x, const struct wish *w)
{
    if (w->names != NULL) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, w->names);
        assert_non_null(e);
        assert_int_equal(X509_add_ext(x, e, -1), 1);
        X509_EXTENSION_free(e);
    }
    if (w->raw_dns.n > 0) {
        GENERAL_NAMES *all = GENERAL_NAMES_new();
        GENERAL_NAME *one = GENERAL_NAME_new();
        ASN1_IA5STRING *text = ASN1_IA5STRING_new();
        assert_int_equal(ASN1_STRING_set(text, w->raw_dns.p, (int)w->raw_dns.n), 1);
        GENERAL_NAME_set0_value(one, GEN_DNS, text);
        sk_GENERAL_NAME_push(all, one);
        assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, all, 0, 0), 1);
        GENERAL_NAMES_free(all);
    }
}

static struct slice make(struct maker *m, const struct wish *w)
{
    X509 *x = X509_new();
    X509_NAME *issuer = X509_NAME_new();
    unsigned char *der = NULL;

    ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
    X509_set_version(x, 2);
    ASN1_TIME_set(X509_getm_notBefore(x), FROM_S);
    ASN1_TIME_set(X509_getm_notAfter(x), UNTIL_S);
    name_add(issuer, "CN", SLICE_LIT("Our CA"));
    X509_set_issuer_name(x, issuer);
    name_add(X509_get_subject_name(x), "O", w->organization);
    name_add(X509_get_subject_name(x), "CN", w->cn);
    name_add(X509_get_subject_name(x), "CN", w->second_cn);
    X509_set_pubkey(x, m->key);
    names_add(x, w);
    assert_true(X509_sign(x, m->key, EVP_sha256()) > 0);
    int n = i2d_X509(x, &der);
    assert_true(n > 0);
    struct slice out = arena_copy(m->arena, slice_make((char *)der, (size_t)n));
    OPENSSL_free(der);
    X509_NAME_free(issuer);
    X509_free(x);
    return out;
}

static int set_up(void **state)
{
    static struct maker m;

    m = (struct maker){ .key = make_ec("P-256"), .arena = arena_new(65536) };
    *state = &m;
    return 0;
}

static int tear_down(void **state)
{
    struct maker *m = *state;

    EVP_PKEY_free(m->key);
    arena_free(m->arena);
    return 0;
}

static struct certificate parsed(struct maker *m, const struct wish *w)
{
    struct certificate c;
    struct fault f;

    assert_true(certificate_parse(make(m, w), m->arena, &c, &f));
    return c;
}

#define EQ(s, text)                                                                                                                   \
    do {                                                                                                                              \
        if (!slice_eq_cstr(s, text))                                                                                                  \
            fail_msg("%.*s is not %s", SLICE_FMT(s), text);                                                                           \
    } while (0)

static void test_names(void **state)
{
    struct maker *m = *state;
    struct certificate c = parsed(m, &(struct wish){ .cn = SLICE_LIT("batch-a"), .organization = SLICE_LIT("A, B+C=\"D\""),
                                                     .names = "DNS:a.example,URI:spiffe://x/y,email:a@b.example,IP:10.0.0.1" });

    EQ(c.subject, "CN=batch-a,O=A\\, B\\+C=\\\"D\\\"");
    EQ(c.issuer, "CN=Our CA");
    EQ(c.common_name, "batch-a");
    assert_int_equal(c.fingerprint.n, 64);
    assert_int_equal(c.alternative_count, 3);
    EQ(c.alternative_names[0], "DNS:a.example");
    EQ(c.alternative_names[1], "URI:spiffe://x/y");
    EQ(c.alternative_names[2], "email:a@b.example");
    assert_int_equal(c.from_s, FROM_S);
    assert_int_equal(c.until_s, UNTIL_S);
    c = parsed(m, &(struct wish){ .cn = SLICE_LIT("Zo\xc3\xab") });
    EQ(c.common_name, "Zo\xc3\xab");
    EQ(c.subject, "CN=Zo\\C3\\AB");
    c = parsed(m, &(struct wish){ .names = "URI:spiffe://x/only" });
    EQ(c.subject, "");
}

/* What somebody could have slipped into a certificate's names, to be taken for somebody else. */
static void test_names_that_do_not_count(void **state)
{
    struct maker *m = *state;

    assert_int_equal(parsed(m, &(struct wish){ .cn = SLICE_LIT("a"), .second_cn = SLICE_LIT("admin") }).common_name.n, 0);
    assert_int_equal(parsed(m, &(struct wish){ .cn = SLICE_LIT("admin\0.evil") }).common_name.n, 0);
    assert_int_equal(parsed(m, &(struct wish){ .cn = SLICE_LIT("admin\n") }).common_name.n, 0);
    struct certificate c = parsed(m, &(struct wish){ .raw_dns = SLICE_LIT("admin\0.evil") });
    assert_int_equal(c.alternative_count, 0);
    c = parsed(m, &(struct wish){ .raw_dns = SLICE_LIT("a\r\nURI:b") });
    assert_int_equal(c.alternative_count, 0);
    c = parsed(m, &(struct wish){ .cn = SLICE_LIT("a,O=Other") }); /* a part of one name is not a part of the whole name */
    EQ(c.subject, "CN=a\\,O=Other");
}

static void test_what_cannot_be_read(void **state)
{
    struct maker *m = *state;
    struct slice der = make(m, &(struct wish){ .cn = SLICE_LIT("a"), .names = "DNS:a" });
    struct certificate c;
    struct fault f;

    for (size_t n = 0; n < der.n; n++) {
        assert_false(certificate_parse(slice_make(der.p, n), m->arena, &c, &f));
        assert_string_equal(f.reason, "certificate_malformed");
    }
    char *more = arena_zalloc(m->arena, CERTIFICATE_MAX + 1);
    memcpy(more, der.p, der.n);
    assert_false(certificate_parse(slice_make(more, der.n + 1), m->arena, &c, &f));
    assert_false(certificate_parse(slice_make(more, CERTIFICATE_MAX + 1), m->arena, &c, &f));
    char names[2048] = "DNS:a";
    for (int i = 0; i < CERTIFICATE_NAMES_MAX; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), ",DNS:%d", i);
    assert_false(certificate_parse(make(m, &(struct wish){ .names = names }), m->arena, &c, &f));
    assert_string_equal(f.reason, "certificate_malformed");
}

static void test_haproxy_has_the_word(void **state)
{
    struct maker *m = *state;
    struct http_request good = { .certificate = make(m, &(struct wish){ .cn = SLICE_LIT("a") }), .certificate_used = true };
    struct certificate c;
    struct fault f = { 0 };

    assert_true(certificate_read(NULL, &good, UNTIL_S, m->arena, &c, &f) && certificate_read(NULL, &good, FROM_S, m->arena, &c, &f));
    assert_false(certificate_read(NULL, &good, UNTIL_S + 1, m->arena, &c, &f));
    assert_string_equal(f.reason, "certificate_expired");
    assert_false(certificate_read(NULL, &good, FROM_S - 1, m->arena, &c, &f));
    assert_string_equal(f.reason, "certificate_not_yet_valid");
    struct http_request bad = good;
    for (int verify = -1; verify <= 80; verify++) {
        bad.certificate_verify = verify;
        if (certificate_read(NULL, &bad, UNTIL_S, m->arena, &c, &f) != (verify == 0))
            fail_msg("verify %d", verify);
    }
    bad = good;
    bad.certificate_used = false;
    assert_false(certificate_read(NULL, &bad, UNTIL_S, m->arena, &c, &f));
    assert_string_equal(f.reason, "certificate_unverified");
    bad = good;
    bad.certificate = SLICE_NONE;
    assert_false(certificate_read(NULL, &bad, UNTIL_S, m->arena, &c, &f));
    assert_string_equal(f.reason, "certificate_malformed");
}

static void test_rules(void **state)
{
    static const char *groups[] = { "one", "two" };
    static struct identity_certificate rules[] = {
        { .name = "whole", .issuer = "CN=Our CA", .subject = "CN=a,O=X", .common_name = "a", .alternative_name = "DNS:a.test", .team = "whole",
          .user = "u", .organization = "o", .application = "p", .cost_center = "c", .groups = groups, .groups_count = 2 },
        { .name = "other ca", .issuer = "CN=Other CA", .common_name = "*", .team = "wrong" },
        { .name = "star", .common_name = "batch-*", .team = "t-*-x", .user = "*" },
        { .name = "uri", .alternative_name = "URI:spiffe://x/*", .team = "*" },
        { .name = "later", .common_name = "batch-*", .team = "later" },
    };
    static const struct {
        struct wish w;
        const char *rule, *team, *user; /* rule NULL: none */
    } rows[] = {
        { { .cn = SLICE_LIT("a"), .organization = SLICE_LIT("X"), .names = "DNS:b.test,DNS:a.test" }, "whole", "whole", "u" },
        { { .cn = SLICE_LIT("a"), .organization = SLICE_LIT("X") }, NULL, NULL, NULL },
        { { .cn = SLICE_LIT("a"), .organization = SLICE_LIT("X"), .names = "URI:DNS:a.test" }, NULL, NULL, NULL },
        { { .cn = SLICE_LIT("batch-q") }, "star", "t-q-x", "q" },
        { { .cn = SLICE_LIT("Batch-q") }, NULL, NULL, NULL },
        { { .cn = SLICE_LIT("n"), .names = "URI:spiffe://x/w" }, "uri", "w", "n" },
        { { .names = "URI:spiffe://x/w" }, "uri", "w", "URI:spiffe://x/w" },
        { { .names = "DNS:spiffe://x/w" }, NULL, NULL, NULL },
    };
    struct identity_options o = { .certificates = rules, .certificates_count = sizeof rules / sizeof rules[0] };
    struct maker *m = *state;
    struct identity id;
    struct fault f;
    char why[256];

    assert_null(certificate_rules_check(&o, why, sizeof why));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct certificate c = parsed(m, &rows[i].w);
        bool found = certificate_map(&o, &c, m->arena, &id, &f);
        if (found != (rows[i].rule != NULL))
            fail_msg("row %zu", i);
        if (!found) {
            assert_string_equal(f.reason, "certificate_not_mapped");
            continue;
        }
        EQ(id.certificate_rule, rows[i].rule);
        EQ(id.team, rows[i].team);
        EQ(id.user, rows[i].user);
        EQ(id.issuer, "client-certificate:CN=Our CA");
        assert_true(slice_eq(id.certificate, c.fingerprint));
        assert_int_equal(id.group_count, i == 0 ? 2 : 0);
    }
    /* A pattern that stood for nothing leaves no team: refused, not spent on nobody. */
    struct certificate c = parsed(m, &(struct wish){ .names = "URI:spiffe://x/" });
    assert_false(certificate_map(&o, &c, m->arena, &id, &f));
    assert_string_equal(f.reason, "certificate_malformed");
    rules[0].fingerprint = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    c = parsed(m, &rows[0].w);
    assert_false(certificate_map(&o, &c, m->arena, &id, &f));
    char *mark = arena_cstr(m->arena, c.fingerprint);
    rules[0].fingerprint = mark;
    assert_true(certificate_map(&o, &c, m->arena, &id, &f));
    mark[0] = (char)toupper(mark[0] == '0' ? 'f' : '0');
    assert_false(certificate_map(&o, &c, m->arena, &id, &f));
    rules[0].fingerprint = NULL;
}

/* The whole way, with an issuer that is not asked. */
static void test_beside_tokens(void **state)
{
    static const char *audience[] = { "tollgate" };
    struct maker *m = *state;
    char path[] = "/tmp/identity_certificate.XXXXXX", why[256];
    struct identity_certificate rule = { .name = "r", .common_name = "a", .team = "t" };
    int fd = mkstemp(path);

    assert_true(fd >= 0 && write(fd, "{\"keys\":[]}", 11) == 11 && close(fd) == 0);
    struct identity_issuer issuer = { .issuer = "https://issuer.test", .audiences = audience, .audiences_count = 1, .jwks_file = path };
    struct identity_options o = { .issuers = &issuer, .issuers_count = 1, .certificates = &rule, .certificates_count = 1 };
    struct ev_loop *loop = ev_loop_new(0);
    struct identity_store *store = identity_store_new(&o, loop, NULL, NULL, why, sizeof why);
    if (store == NULL)
        fail_msg("%s", why);
    struct identity_verifier *v = identity_verifier_new(store, NULL, NULL, NULL);
    struct slice der = make(m, &(struct wish){ .cn = SLICE_LIT("a") });
    const struct {
        struct http_request rq;
        const char *reason; /* NULL: let in */
    } rows[] = {
        { { .certificate = der, .certificate_used = true }, NULL },
        { { .certificate = der, .certificate_used = true, .authorization = SLICE_LIT("Bearer certificate") }, NULL },
        { { .certificate = der, .certificate_used = true, .api_key = SLICE_LIT("certificate") }, NULL },
        { { .certificate = der }, "token_missing" }, /* not used: as if it were not there */
        { { .certificate = der, .authorization = SLICE_LIT("Bearer certificate") }, "certificate_missing" },
        { { .authorization = SLICE_LIT("Bearer certificate") }, "certificate_missing" },
        { { .certificate = der, .certificate_used = true, .certificate_verify = 10 }, "certificate_unverified" },
        { { .certificate = der, .certificate_used = true, .certificate_verify = -1 }, "certificate_unverified" },
        { { .certificate_verify = 20, .authorization = SLICE_LIT("Bearer tg_x") }, "certificate_unverified" }, /* whatever else there is */
        { { .certificate_used = true }, "certificate_malformed" },
        { { .certificate = der, .certificate_used = true, .authorization = SLICE_LIT("Basic YTpi") }, "token_missing" },
        { { .certificate = der, .certificate_used = true, .authorization = SLICE_LIT("Bearer x") }, "token_malformed" },
        { { .certificate = der, .certificate_used = true, .api_key = SLICE_LIT("sk-x") }, "token_malformed" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct identity id;
        struct refusal no = { .reason = NULL };
        bool in = identity_verify(v, &rows[i].rq, INT64_C(1000000) * FROM_S, false, m->arena, &id, &no) == IDENTITY_OK;
        if (in != (rows[i].reason == NULL) || (!in && strcmp(no.reason, rows[i].reason) != 0))
            fail_msg("row %zu: %s", i, in ? "let in" : no.reason);
        if (in)
            EQ(id.team, "t");
    }
    identity_verifier_free(v);
    identity_store_retire(store);
    ev_loop_destroy(loop);
    unlink(path);
}

/* ---- the cache ---------------------------------------------------------------------------------------------------------- */

static bool same_slice(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static bool same_certificate(const struct certificate *a, const struct certificate *b)
{
    bool same = same_slice(a->fingerprint, b->fingerprint) && same_slice(a->issuer, b->issuer) && same_slice(a->subject, b->subject) &&
                same_slice(a->common_name, b->common_name) && a->alternative_count == b->alternative_count && a->from_s == b->from_s &&
                a->until_s == b->until_s;
    for (size_t i = 0; same && i < a->alternative_count; i++)
        same = same_slice(a->alternative_names[i], b->alternative_names[i]);
    return same;
}

/* Three times as many as there is room for, each asked for twice in a row and again at the end: always what the certificate itself says. */
static void test_cache(void **state)
{
    enum { MANY = 3 * CERTIFICATE_CACHE_PLACES };
    struct maker *m = *state;
    struct certificate_cache *k = certificate_cache_new();
    struct arena *a = arena_new(4096);
    struct slice *der = calloc(MANY, sizeof *der);
    struct certificate plain, cached;
    struct fault f;

    for (int round = 0; round < 2; round++)
        for (int i = 0; i < MANY; i++) {
            struct slice name = arena_printf(m->arena, "host-%d", i);
            if (round == 0)
                der[i] = make(m, &(struct wish){ .cn = name, .organization = i % 3 ? SLICE_NONE : SLICE_LIT("Acme") });
            arena_reset(a, 4096);
            assert_true(certificate_parse(der[i], a, &plain, &f));
            assert_true(certificate_cache_parse(k, der[i], a, &cached, &f) && same_certificate(&plain, &cached));
            uint64_t misses = certificate_cache_misses(k);
            assert_true(certificate_cache_parse(k, der[i], a, &cached, &f) && same_certificate(&plain, &cached));
            assert_int_equal(certificate_cache_misses(k), misses); /* the second one was there */
        }
    assert_true(certificate_cache_misses(k) >= 2 * MANY - CERTIFICATE_CACHE_PLACES); /* not more are kept than there is room for */

    uint64_t misses = certificate_cache_misses(k);
    for (int i = 0; i < 3; i++) { /* what cannot be read is not kept, nor taken for its neighbour */
        assert_false(certificate_cache_parse(k, slice_make(der[0].p, der[0].n - 1), a, &cached, &f));
        assert_string_equal(f.reason, "certificate_malformed");
    }
    assert_int_equal(certificate_cache_misses(k), misses + 3);
    assert_false(certificate_cache_parse(k, SLICE_NONE, a, &cached, &f));
    assert_true(certificate_cache_parse(NULL, der[0], a, &cached, &f)); /* without a cache */
    certificate_cache_free(k);
    certificate_cache_free(NULL);
    arena_free(a);
    free(der);
}

/* Dates are looked at whatever the cache holds. */
static void test_cached_and_expired(void **state)
{
    struct maker *m = *state;
    struct certificate_cache *k = certificate_cache_new();
    struct http_request rq = { .certificate_used = true, .certificate = make(m, &(struct wish){ .cn = SLICE_LIT("a") }) };
    struct certificate c;
    struct fault f;

    assert_true(certificate_read(k, &rq, UNTIL_S, m->arena, &c, &f));
    assert_false(certificate_read(k, &rq, UNTIL_S + 1, m->arena, &c, &f));
    assert_string_equal(f.reason, "certificate_expired");
    rq.certificate_verify = 1;
    assert_false(certificate_read(k, &rq, UNTIL_S, m->arena, &c, &f));
    assert_string_equal(f.reason, "certificate_unverified");
    assert_int_equal(certificate_cache_misses(k), 1);
    certificate_cache_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_names_that_do_not_count), cmocka_unit_test(test_what_cannot_be_read),
        cmocka_unit_test(test_haproxy_has_the_word), cmocka_unit_test(test_rules), cmocka_unit_test(test_beside_tokens),
        cmocka_unit_test(test_cache), cmocka_unit_test(test_cached_and_expired),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
