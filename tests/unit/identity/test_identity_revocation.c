/* Revocation lists: what an entry refuses and what it does not, the file's lines, and that a reader sees what was published before. */
#include "identity/revocation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define T(s) SLICE_LIT(s)
#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const struct identity alice = {
    .issuer = SLICE_LIT("https://a"), .subject = SLICE_LIT("alice"), .user = SLICE_LIT("alice@acme"), .team = SLICE_LIT("search"),
    .token_id = SLICE_LIT("jti-1"), .session = SLICE_LIT("sid-1"), .issued_s = 1000,
    .certificate = SLICE_LIT(HEX),
};

static void digest_of_hex(uint8_t out[32])
{
    for (int i = 0; i < 32; i++)
        out[i] = (uint8_t)(i % 16 * 0x11);
}

static void test_what_an_entry_refuses(void **state)
{
    static const struct {
        struct revocation r;
        bool refused;
    } rows[] = {
        { { .kind = REVOKED_SUBJECT, .value = T("alice") }, true },
        { { .kind = REVOKED_SUBJECT, .value = T("alice@acme") }, true }, /* as reports name her */
        { { .kind = REVOKED_SUBJECT, .value = T("Alice") }, false },
        { { .kind = REVOKED_SUBJECT, .value = T("alic") }, false },
        { { .kind = REVOKED_SUBJECT, .value = T("alice"), .issuer = T("https://a") }, true },
        { { .kind = REVOKED_SUBJECT, .value = T("alice"), .issuer = T("https://b") }, false },
        { { .kind = REVOKED_SUBJECT, .value = T("search") }, false },
        { { .kind = REVOKED_TEAM, .value = T("search") }, true },
        { { .kind = REVOKED_TEAM, .value = T("alice") }, false },
        { { .kind = REVOKED_TOKEN, .value = T("jti-1") }, true },
        { { .kind = REVOKED_TOKEN, .value = T("jti-2") }, false },
        { { .kind = REVOKED_TOKEN, .value = T("sha256:" HEX) }, true },
        { { .kind = REVOKED_TOKEN, .value = T("sha256:ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff") }, false },
        { { .kind = REVOKED_SESSION, .value = T("sid-1"), .issuer = T("https://a") }, true },
        { { .kind = REVOKED_SESSION, .value = T("sid-1"), .issuer = T("https://b") }, false },
        { { .kind = REVOKED_KEY, .value = T("alice") }, false },
        { { .kind = REVOKED_CERTIFICATE, .value = T(HEX) }, true },
        { { .kind = REVOKED_CERTIFICATE, .value = T("ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff") }, false },
        { { .kind = REVOKED_SUBJECT, .value = T("alice"), .before_s = 1000 }, true },
        { { .kind = REVOKED_SUBJECT, .value = T("alice"), .before_s = 999 }, false }, /* issued after the logout */
        { { .kind = REVOKED_SUBJECT, .value = T("alice"), .before_s = 1000, .sessionless = true }, false },
        { { .kind = REVOKED_TEAM, .value = T("search"), .expires_s = 5001 }, true },
        { { .kind = REVOKED_TEAM, .value = T("search"), .expires_s = 5000 }, false },
    };
    uint8_t digest[32];
    (void)state;

    digest_of_hex(digest);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct revocation others[] = { { .kind = REVOKED_SUBJECT, .value = T("bob") }, rows[i].r, { .kind = REVOKED_TEAM, .value = T("bob") } };
        assert_null(revocation_check(&rows[i].r));
        struct revocation_list *l = revocation_list_new(others, 3);
        const struct revocation *found = revocation_find(l, &alice, digest, 5000);
        if ((found != NULL) != rows[i].refused)
            fail_msg("row %zu", i);
        if (found != NULL)
            assert_int_equal(found->kind, rows[i].r.kind);
        snapshot_unref(revocation_list_snapshot(l));
    }
    assert_null(revocation_find(NULL, &alice, digest, 5000));
}

/* A token that does not say when it was issued may be older than the logout; one without a session may belong to it. */
static void test_logout_fails_closed(void **state)
{
    struct revocation r = { .kind = REVOKED_SUBJECT, .value = T("alice"), .before_s = 1, .sessionless = true };
    struct revocation_list *l = revocation_list_new(&r, 1);
    struct identity id = alice;
    (void)state;

    assert_null(revocation_find(l, &id, NULL, 5000));
    id.session = SLICE_NONE;
    assert_null(revocation_find(l, &id, NULL, 5000));
    id.issued_s = 0;
    assert_non_null(revocation_find(l, &id, NULL, 5000));
    snapshot_unref(revocation_list_snapshot(l));
}

static void test_lines(void **state)
{
    static const struct {
        const char *line;
        int rc;
        enum revocation_kind kind;
        const char *value;
    } rows[] = {
        { "", 0, 0, "" }, { "   \t", 0, 0, "" }, { "# subject alice", 0, 0, "" }, { "\r\n", 0, 0, "" },
        { "subject alice", 1, REVOKED_SUBJECT, "alice" }, { "  team \t ml research \r\n", 1, REVOKED_TEAM, "ml research" },
        { "token sha256:" HEX, 1, REVOKED_TOKEN, "sha256:" HEX }, { "key abc", 1, REVOKED_KEY, "abc" },
        { "certificate " HEX, 1, REVOKED_CERTIFICATE, HEX }, { "certificate 00:11", -1, 0, NULL }, { "certificate FF" HEX, -1, 0, NULL },
        { "subject # not a comment", 1, REVOKED_SUBJECT, "# not a comment" },
        { "subject", -1, 0, NULL }, { "subject   ", -1, 0, NULL }, { "user alice", -1, 0, NULL }, { "Subject alice", -1, 0, NULL },
        { "alice", -1, 0, NULL }, { "session s", -1, 0, NULL }, { "token sha256:00", -1, 0, NULL }, { "subject a\tb", -1, 0, NULL },
        { "token sha256:0011223344556677889900aabbccddeeff00112233445566778899aabbccddeeffg", -1, 0, NULL },
        { "token eyJhbGciOiJSUzI1NiIsImtpZCI6InJzIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0In0.AAAAAAAAAAAAAAAA", -1, 0, NULL },
    };
    char *big = malloc(1100);
    struct revocation r;
    const char *why = "";
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (revocation_line_parse(slice_cstr(rows[i].line), &r, &why) != rows[i].rc)
            fail_msg("row %zu", i);
        if (rows[i].rc == 1 && (r.kind != rows[i].kind || !slice_eq_cstr(r.value, rows[i].value)))
            fail_msg("row %zu: %.*s", i, SLICE_FMT(r.value));
    }
    for (int n = 1024; n <= 1025; n++) {
        int at = snprintf(big, 1100, "team ");
        memset(big + at, 'x', (size_t)n);
        assert_int_equal(revocation_line_parse(slice_make(big, (size_t)(at + n)), &r, &why), n == 1024 ? 1 : -1);
    }
    free(big);
}

static void test_published_before_is_seen(void **state)
{
    struct snapshot_cell cell;
    struct snapshot_reader a = { .cell = &cell }, b = { .cell = &cell };
    struct revocation r = { .kind = REVOKED_TEAM, .value = T("search") };
    (void)state;

    snapshot_cell_init(&cell);
    assert_null(snapshot_current(&a));
    for (int i = 0; i < 100; i++) {
        r.value = i % 2 ? T("search") : T("other");
        snapshot_publish(&cell, revocation_list_snapshot(revocation_list_new(&r, 1)));
        assert_true((revocation_find(revocation_list_of(snapshot_current(&a)), &alice, NULL, 0) != NULL) == (i % 2 == 1));
        if (i % 3 == 0) /* one that looks less often holds what it saw */
            (void)snapshot_current(&b);
    }
    snapshot_publish(&cell, NULL);
    assert_null(snapshot_current(&a));
    snapshot_reader_clear(&a);
    snapshot_reader_clear(&b);
    snapshot_cell_clear(&cell);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_an_entry_refuses), cmocka_unit_test(test_logout_fails_closed), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_published_before_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
