#include "route/haproxy_config.h"
#include "route/haproxy_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const struct haproxy_bind bind_any = { .address = ":8080" };
static const struct haproxy_header openai_headers[] = { { "openai-organization", "org-example" } };
static const struct haproxy_group groups[] = {
    { .name = "openai", .url = "https://api.openai.com/v1", .headers = openai_headers, .header_count = 1 },
    { .name = "azure", .url = "https://example.openai.azure.com/openai/deployments/<model>", .query = "api-version=2024-10-21",
      .auth = HAPROXY_AUTH_API_KEY },
};

/* The plan haproxy/tollgate.cfg and haproxy/examples/ are written from. */
static struct haproxy_plan example(void)
{
    return (struct haproxy_plan){ .binds = &bind_any, .bind_count = 1, .groups = groups, .group_count = 2,
                                  .conf_dir = "/etc/haproxy/tollgate", .run_dir = "/run", .chroot = "/var/lib/haproxy",
                                  .user = "haproxy", .lua = true, .retry_after_ms = 2000, .spop_address = "127.0.0.1:9000", .ring_address = "127.0.0.1:9001",
                                  .settle_socket = "/run/tollgate-settle.sock", .relay = "/run/tollgate-relay", .socket_group = "haproxy" };
}

static char *text_of(const struct haproxy_plan *plan)
{
    char *text = NULL, why[512] = "";
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    if (!haproxy_write_config(out, plan, why, sizeof(why)))
        fail_msg("refused: %s", why);
    fclose(out);
    return text;
}

static char *file_text(const char *path)
{
    FILE *in = fopen(path, "r");
    if (!in)
        fail_msg("%s is missing", path);
    char *text = calloc(1, 200000);
    assert_non_null(text);
    assert_true(fread(text, 1, 199999, in) > 0);
    fclose(in);
    return text;
}

static void expect_refused(const struct haproxy_plan *plan, const char *part)
{
    char why[512] = "", *text = NULL;
    size_t size = 0;
    assert_false(haproxy_plan_check(plan, why, sizeof(why)));
    if (!strstr(why, part))
        fail_msg("\"%s\" is not in \"%s\"", part, why);
    FILE *out = open_memstream(&text, &size);
    assert_false(haproxy_write_config(out, plan, why, sizeof(why)));
    fclose(out);
    assert_int_equal(size, 0); /* nothing is written of a refused plan */
    free(text);
}

/* What a user finds in haproxy/ is what the program writes. To renew: TOLLGATE_RENEW=1. */
static void same_as_shipped(const struct haproxy_plan *plan, const char *path)
{
    char *made = text_of(plan);
    if (getenv("TOLLGATE_RENEW")) {
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fputs(made, out);
        fclose(out);
    }
    char *shipped = file_text(path);
    assert_string_equal(made, shipped);
    free(made);
    free(shipped);
}

static void test_shipped_files(void **state)
{
    (void)state;
    struct haproxy_plan plan = example();
    same_as_shipped(&plan, SOURCE_DIR "/haproxy/tollgate.cfg");
    plan.lua = false;
    plan.settle_socket = NULL;
    same_as_shipped(&plan, SOURCE_DIR "/haproxy/examples/variables-only/tollgate.cfg");
}

/* A unix socket's end cannot be told as a reset: HAProxy 3.0 needs another framing there (haproxy/README.md, Ring). */
static void test_ring_framing(void **state)
{
    (void)state;
    struct haproxy_plan plan = example();
    char *text = text_of(&plan);
    assert_null(strstr(text, "legacy"));
    free(text);
    plan.ring_address = "unix@/run/ring.sock";
    text = text_of(&plan);
    assert_non_null(strstr(text, ".if version_atleast(3.0) && !version_atleast(3.2)\n    server agent unix@/run/ring.sock log-proto legacy\n"
                                 ".else\n    server agent unix@/run/ring.sock log-proto octet-count\n.endif\n"));
    free(text);
}

static void test_embedded_files(void **state)
{
    (void)state;
    char *text = NULL, why[256];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct haproxy_plan plan = example();
    assert_true(haproxy_write_spoe(out, &plan, why, sizeof(why)));
    fclose(out);
    char *shipped = file_text(SOURCE_DIR "/haproxy/tollgate-spoe.conf");
    assert_string_equal(text, shipped);
    free(text);
    free(shipped);
    out = open_memstream(&text, &size);
    assert_true(haproxy_write_lua(out, why, sizeof(why)));
    fclose(out);
    shipped = file_text(SOURCE_DIR "/haproxy/lua/tollgate.lua");
    assert_string_equal(text, shipped);
    free(text);
    free(shipped);
}

static void test_decision_timeout(void **state)
{
    (void)state;
    struct haproxy_plan plan = example();
    char *text = text_of(&plan), why[256];
    assert_null(strstr(text, "timeout check"));
    free(text);
    plan.decision_ms = 20000;
    text = text_of(&plan);
    assert_non_null(strstr(text, "    timeout connect 12000ms\n    timeout server 3m\n    timeout check 20000ms\n    server agent "));
    free(text);
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_true(haproxy_write_spoe(out, &plan, why, sizeof(why)));
    fclose(out);
    assert_non_null(strstr(text, "    timeout     hello 12000ms\n    timeout     idle 1m\n    timeout     processing 20000ms\n    use-backend tg_agent\n"));
    assert_non_null(strstr(text, "spoe-message llm-again\n"));
    /* The pause's own engine has the same patience beside the pause itself. */
    assert_non_null(strstr(text, "    timeout     hello 12000ms\n    timeout     idle 1m\n    timeout     processing 22000ms\n    use-backend tg_agent\n"));
    free(text);
}

static void test_folder(void **state)
{
    (void)state;
    char folder[] = "/tmp/tollgate-route-XXXXXX", path[128], why[256];
    assert_non_null(mkdtemp(folder));
    struct haproxy_plan plan = example();
    assert_true(haproxy_write_folder(folder, &plan, why, sizeof(why)));
    static const char *const names[] = { "tollgate.cfg", "tollgate-spoe.conf", "tollgate.lua" };
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        assert_int_equal(access(path, R_OK), 0);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0); /* nothing else was left behind */
    assert_false(haproxy_write_folder(folder, &plan, why, sizeof(why)));
    assert_non_null(strstr(why, folder));
}

/* Values that would end a line, open a directive, a comment, a quote, a variable or a log-format expression. */
static const char *const hostile[] = { "a b",      "a\nb",     "a\rb",    "a\tb",   "a\"b",        "a'b",       "a\\b", "a#b",
                                       "a;b",      "$HOME",    "a`b",     "a{b",    "%[var(txn.x)]", "a<b",       "a,b",  "\x7f",
                                       "caf\xc3\xa9", "a\n    http-request deny", "a b if TRUE", "x'\n'y" };

static void test_hostile_values_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        const char *bad = hostile[i];
        char joined[128];
        struct haproxy_bind b = { .address = ":1" };
        struct haproxy_header h = { "x-note", "v" };
        struct haproxy_group g = { .name = "g", .url = "https://h/v1", .headers = &h, .header_count = 1 };
        struct haproxy_plan p = example();
        p.binds = &b;
        p.groups = &g;
        p.group_count = 1;
        char why[512];
        assert_true(haproxy_plan_check(&p, why, sizeof(why)));
#define TRY(field, value, good)                                                                                                \
    do {                                                                                                                       \
        field = value;                                                                                                         \
        expect_refused(&p, "");                                                                                                \
        field = good;                                                                                                          \
    } while (0)
        TRY(g.name, bad, "g");
        snprintf(joined, sizeof(joined), "https://%s/v1", bad);
        TRY(g.url, joined, "https://h/v1");
        snprintf(joined, sizeof(joined), "https://h/%s", bad);
        TRY(g.url, joined, "https://h/v1");
        snprintf(joined, sizeof(joined), "/%s", bad);
        TRY(g.path, joined, NULL);
        TRY(g.ca_file, joined, NULL);
        TRY(g.server_name, bad, NULL);
        TRY(h.name, bad, "x-note");
        TRY(p.conf_dir, joined, "/c");
        TRY(p.run_dir, joined, "/r");
        TRY(p.chroot, joined, NULL);
        TRY(p.lua_dir, joined, NULL);
        TRY(p.settle_socket, joined, "/s");
        TRY(b.cert, joined, NULL);
        TRY(p.user, bad, NULL);
        snprintf(joined, sizeof(joined), "%s:1", bad);
        TRY(b.address, joined, ":1");
        TRY(p.spop_address, joined, "h:1");
        TRY(p.ring_address, joined, "h:1");
#undef TRY
    }
}

static void test_header_values_and_queries(void **state)
{
    (void)state;
    struct haproxy_header h = { "x-note", "100% %[src] #1 ; $HOME {a}" };
    struct haproxy_group g = { .name = "g", .url = "http://h/v1", .headers = &h, .header_count = 1, .query = "a=b%20c&d=e,f" };
    struct haproxy_plan p = example();
    p.groups = &g;
    p.group_count = 1;
    char *text = text_of(&p);
    assert_non_null(strstr(text, "set-header x-note '100%% %%[src] #1 ; $HOME {a}'\n"));
    assert_non_null(strstr(text, "set-query a=b%%20c&d=e,f\n"));
    free(text);
    static const char *const bad[] = { "", "a'b", "a\"b", "a\\b", "a\nb", "a\x7f", "\xc3\xa9" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        h.value = bad[i];
        expect_refused(&p, "x-note");
    }
    static const char *const own[] = { "Authorization", "HOST", "content-length", "x-tg-pk", "X-API-Key", "cookie", "transfer-encoding" };
    h.value = "v";
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        h.name = own[i];
        expect_refused(&p, "set by the gateway itself");
    }
}

static void test_urls(void **state)
{
    (void)state;
    struct haproxy_url u;
    char why[256];
    assert_true(haproxy_url_parse("https://api.openai.com/v1/", &u, why, sizeof(why)));
    assert_true(u.tls && u.port == 443 && !u.port_given && slice_eq_cstr(u.host, "api.openai.com") && slice_eq_cstr(u.path, "/v1"));
    assert_true(haproxy_url_parse("http://[::1]:8080", &u, why, sizeof(why)));
    assert_true(!u.tls && u.port == 8080 && u.host_is_ipv6 && slice_eq_cstr(u.host, "::1") && u.path.n == 0);
    assert_true(haproxy_url_parse("http://10.0.0.1/x/<model>/y", &u, why, sizeof(why)));
    assert_true(u.host_is_address && slice_eq_cstr(u.path, "/x/<model>/y"));
    static const char *const bad[] = { "", "api.openai.com", "ftp://h", "https://", "https:///v1", "https://h:0", "https://h:65536", "https://h:",
                                       "https://h:1x", "https://u:p@h/v1", "https://[::1", "https://[x]/", "https://h/v1?x=1", "https://h/<mod>",
                                       "https://-h/", "https://.h/", "https://[::1]x/" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (haproxy_url_parse(bad[i], &u, why, sizeof(why)))
            fail_msg("accepted: %s", bad[i]);
}

static void test_plan_limits(void **state)
{
    (void)state;
    struct haproxy_plan p = example();
    p.max_body_bytes = 1000;
    expect_refused(&p, "haproxy.max_body: must be");
    p = example();
    p.stall_ms = 10;
    expect_refused(&p, "stall");
    p = example();
    p.decision_ms = 30001;
    expect_refused(&p, "decision");
    p = example();
    p.group_count = 0;
    expect_refused(&p, "no provider group");
    p = example();
    p.bind_count = 0;
    expect_refused(&p, "no address");
    p = example();
    p.settle_socket = NULL;
    expect_refused(&p, "settlement socket");
    struct haproxy_group twice[] = { groups[0], groups[0] };
    p = example();
    p.groups = twice;
    expect_refused(&p, "given twice");
    twice[1] = (struct haproxy_group){ .name = "x", .url = "https://10.0.0.1/v1" };
    expect_refused(&p, "server_name");
    twice[1] = (struct haproxy_group){ .name = "x", .url = "http://h/v1", .insecure = true };
    expect_refused(&p, "https");
    p = example();
    p.max_body_bytes = 4194304;
    assert_true(haproxy_plan_bufsize(&p) >= 4194304 + HAPROXY_MAX_HEADERS + HAPROXY_MAX_REWRITE);
}

static void client_certificates(void **state)
{
    struct haproxy_bind binds[] = {
        { .address = ":8443", .cert = "/c.pem", .client_ca = "/ca.pem" },
        { .address = ":8444", .cert = "/c.pem", .client_ca = "/ca.pem", .crl = "/crl.pem", .client_cert_optional = true },
    };
    struct haproxy_plan p = example();

    (void)state;
    p.binds = binds;
    p.bind_count = 2;
    char *text = text_of(&p);
    assert_non_null(strstr(text, "    bind :8443 ssl crt /c.pem alpn h2,http/1.1 ca-file /ca.pem verify required\n"));
    assert_non_null(strstr(text, "    bind :8444 ssl crt /c.pem alpn h2,http/1.1 ca-file /ca.pem verify optional crl-file /crl.pem\n"));
    free(text);
    binds[0].client_ca = "/ca.pem verify none";
    expect_refused(&p, "absolute paths");
    binds[0].client_ca = "/ca.pem";
    binds[0].crl = "crl.pem";
    expect_refused(&p, "absolute paths");
    binds[0] = (struct haproxy_bind){ .address = ":8443", .client_ca = "/ca.pem" };
    expect_refused(&p, "needs cert");
    binds[0] = (struct haproxy_bind){ .address = ":8443", .cert = "/c.pem", .crl = "/crl.pem" };
    expect_refused(&p, "needs client_ca");
}

static void test_auth_words(void **state)
{
    (void)state;
    enum haproxy_auth auth;
    for (int i = HAPROXY_AUTH_BEARER; i <= HAPROXY_AUTH_NONE; i++) {
        assert_true(haproxy_auth_from_word(haproxy_auth_style((enum haproxy_auth)i)->word, &auth));
        assert_int_equal(auth, i);
    }
    assert_false(haproxy_auth_from_word("basic", &auth));
    assert_string_equal(haproxy_auth_style(HAPROXY_AUTH_BEARER)->prefix, "Bearer ");
}

/* Before anything is decided, and only when there is a console. */
static void the_console_has_a_way_of_its_own(void **state)
{
    struct haproxy_plan plan = example();

    (void)state;
    char *text = text_of(&plan);
    assert_null(strstr(text, "tg_console"));
    free(text);
    plan.console_address = "unix@/run/tollgate/console.sock";
    plan.console_path = "/tollgate/console";
    text = text_of(&plan);
    const char *allow = strstr(text, "http-request allow if { var(txn.tgx.console) -m found }"), *decide = strstr(text, "send-spoe-group");
    assert_non_null(allow);
    assert_true(allow < decide);
    assert_non_null(strstr(text, "{ path /tollgate/console } || { path_beg /tollgate/console/ }"));
    assert_non_null(strstr(text, "    server agent unix@/run/tollgate/console.sock\n"));
    free(text);
}

static void test_lines_go_to_another_log_too(void **state)
{
    static const char *const bad[] = { "", " global", "global ", "global  local0", "global\n    log x", "127.0.0.1 'x'", "a;b", "#", "%[env(X)]" };
    static const char *const good[] = { "global", "127.0.0.1:514 local0", "/dev/log local0 info", "10.1.1.9:514 len 4096 format rfc5424 local1" };
    struct haproxy_plan p = example();
    char why[512], line[200];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        p.log = bad[i];
        expect_refused(&p, "log must be global");
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char *text = NULL;
        size_t n = 0, found = 0;
        p.log = good[i];
        FILE *out = open_memstream(&text, &n);
        assert_true(haproxy_write_config(out, &p, why, sizeof why));
        fclose(out);
        snprintf(line, sizeof line, "\n    log %s\n    log-format '{\"t\":", good[i]);
        for (const char *at = text; (at = strstr(at, line)) != NULL; at++)
            found++;
        assert_int_equal(found, 3); /* requests, first and second attempts */
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_files), cmocka_unit_test(test_ring_framing),
        cmocka_unit_test(test_embedded_files),
        cmocka_unit_test(test_decision_timeout),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_hostile_values_are_refused),
        cmocka_unit_test(test_lines_go_to_another_log_too),
        cmocka_unit_test(test_header_values_and_queries),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_plan_limits),
        cmocka_unit_test(client_certificates),
        cmocka_unit_test(test_auth_words),
        cmocka_unit_test(the_console_has_a_way_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
