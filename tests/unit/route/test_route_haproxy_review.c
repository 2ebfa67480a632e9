/* What is read in a company's haproxy.cfg, and what is said about it. */
#include "route/haproxy_review.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct haproxy_bind bind_any = { .address = ":8080" };
static const struct haproxy_group groups[] = { { .name = "own", .url = "https://llm.example.com/v1" } };

static struct haproxy_plan plan_of(void)
{
    return (struct haproxy_plan){ .binds = &bind_any, .bind_count = 1, .groups = groups, .group_count = 1, .conf_dir = "/etc/haproxy/tollgate",
                                  .run_dir = "/run", .lua = true, .spop_address = "127.0.0.1:9000", .ring_address = "127.0.0.1:9001",
                                  .settle_socket = "/run/tollgate-settle.sock" };
}

static struct haproxy_review_result review(struct haproxy_plan plan, const char *cfg, char **said)
{
    struct haproxy_review_result found;
    char why[256];
    size_t n = 0;
    struct arena *a = arena_new(4096);
    FILE *out = open_memstream(said, &n);

    assert_non_null(a);
    assert_non_null(out);
    struct haproxy_text t = { .arena = a };
    if (!haproxy_text_add(&t, "a.cfg", slice_cstr(cfg), why, sizeof why))
        fail_msg("refused: %s", why);
    assert_true(haproxy_review(&t, &plan, out, &found));
    fclose(out);
    arena_free(a);
    return found;
}

#define HTTP "defaults\n mode http\n option http-no-delay\n option abortonclose\n timeout server 150s\n"

static const struct {
    const char *cfg, *said; /* NULL: nothing at all */
} cases[] = {
    { "global\n maxconn 100\n", NULL },
    { "global\n tune.bufsize 16384\n", "a.cfg:2: unsafe: tune.bufsize 16384" },
    { "global\n tune.bufsize 16k\n", "tune.bufsize 311296" },
    { "global\n tune.bufsize 311296\n", NULL },
    { "global\n tune.bufsize 400000\n", "raise haproxy.max_body to 350848" },
    { "global\n tune.bufsize ${SIZE}\n", "a.cfg:2: note: tune.bufsize cannot be read here" },
    { "global\n tune.maxrewrite 65536\n", "a.cfg:2: unsafe: tune.maxrewrite 65536" },
    { "global\n maxconn 100000\n", "a.cfg:2: note: maxconn 100000: if every connection carries a full body, buffers take" },
    { "global\n lua-load-per-thread /a.lua\n", "to \"global\" (a.cfg:1), before line 2:\n    .if version_atleast(3.1)\n" },
    { "global\n tune.lua.bool-sample-conversion normal\n lua-load-per-thread /a.lua\n", NULL },
    { "global\n tune.lua.maxmem 32\n", "a.cfg:2: unsafe: tune.lua.maxmem 32" },
    { "global\n chroot /var/lib/haproxy\n", "haproxy.chroot: /var/lib/haproxy into tollgate.yaml" },
    { "global\n stats socket ipv4@127.0.0.1:9999 level admin\n", "a.cfg:2: unsafe: whoever reaches this port" },
    { "global\n stats socket /run/h.sock mode 660 level admin\n", NULL },
    { "global\n stats socket /run/h.sock mode 666 level admin\n", "mode 666 lets every user" },
    { "global\n hard-stop-after 30s\n", "hard-stop-after 30s: at a reload" },
    { "frontend tg_mine\n mode http\n", "a.cfg:1: conflict: the name tg_mine" },
    { "frontend f\n bind 10.0.0.1:443,*:8080\n", "a.cfg:2: conflict: bind *:8080" },
    { "frontend f\n bind :8000-8100\n", "conflict: bind :8000-8100" },
    { "frontend f\n bind unix@/run/x.sock\n bind :8081\n", NULL },
    { "defaults\n capture request header Authorization len 9\n", "a.cfg:2: unsafe: the authorization header goes to the log" },
    { "frontend f\n log-format \"%ci %[req.hdr(X-Api-Key)]\"\n", "the x-api-key header goes to the log" },
    { "frontend f\n http-request capture req.body len 100\n", "req.body goes to the log" },
    { "frontend f\n log-format '%ci %ST' # authorization\n", NULL },
    { "backend b\n server s api.openai.com:443 ssl\n", "a.cfg:2: unsafe: server s is a provider" },
    { "backend b\n server s eu.openai.azure.com:443 ssl\n", "server s is a provider" },
    { "backend b\n server s llm.example.com:443 ssl\n", "server s is a provider" },
    { "backend b\n server s openai.com.example.org:443 ssl\n", NULL },
    { "backend b\n http-request set-header Authorization \"Bearer k-1\"\n", "a key stands in this file, in authorization" },
    { "backend b\n http-request set-header Authorization %[var(txn.k)]\n", NULL },
    { HTTP "backend b\n server g 127.0.0.1:8080\n", NULL },
    { "backend b\n mode http\n server g 127.0.0.1:8080\n", "    option http-no-delay\n    option abortonclose\n" },
    { HTTP "backend b\n no option http-no-delay\n server g localhost:8080\n", "a.cfg:6: unsafe: option http-no-delay is missing" },
    { HTTP "backend b\n timeout server 30s\n server g 127.0.0.1:8080\n", "    timeout server 140s\n" },
    { HTTP " retry-on conn-failure 503\nbackend b\n server g 127.0.0.1:8080\n", "a.cfg:6: unsafe: retry-on 503: backend b" },
    { HTTP " retry-on 503\nbackend b\n retries 0\n server g 127.0.0.1:8080\n", NULL },
    { HTTP "backend b\n server g 127.0.0.1:8080 send-proxy-v2\n", "does not accept the PROXY protocol" },
    { HTTP "backend b\n http-request del-header authorization\n server g 127.0.0.1:8080\n", "it would answer 401" },
    { HTTP "backend b\n compression algo gzip\n server g 127.0.0.1:8080\n", "a.cfg:7: unsafe: event streams would be compressed" },
    { HTTP "backend b\n compression algo gzip\n compression type text/html\n server g 127.0.0.1:8080\n", NULL },
    { HTTP "frontend f\n compression algo gzip\n default_backend b\nbackend b\n server g 127.0.0.1:8080\n", "a.cfg:7: unsafe: event" },
    { HTTP "frontend f\n bind :80\n", "use_backend to_tollgate if { path_beg /v1/ }" },
    { "frontend f\n filter spoe engine tollgate config /x\n", "http-request deny deny_status 413 if { req.body_len gt 262144 }" },
    { "frontend f\n filter spoe engine other config /x\n", NULL },
    { HTTP "frontend f\n bind :80\n compression algo gzip\n", "a.cfg:8: note: event streams would be compressed" },
    { HTTP "frontend f\n bind :80\n http-request del-header Authorization\n", "a.cfg:8: note: the client's token does not reach" },
    { HTTP " retry-on 503\nfrontend f\n bind :80\n", "    option abortonclose\n        retry-on conn-failure\n" },
    { HTTP "backend b\n http-reuse always\n server g 127.0.0.1:8080\n", "a.cfg:7: note: http-reuse always" },
    { HTTP "backend b\n http-reuse safe\n server g 127.0.0.1:8080\n", NULL },
    { "global\n set-dumpable\n", "a.cfg:2: unsafe: set-dumpable" },
    { "global\n setenv K sk-ant-k-1-0123456789abcdef\n", "a.cfg:2: unsafe: a key stands in this file, in K" },
    { "global\n setenv NAME task-sk-overview-of-the-2nd-floor\n setenv B /etc/sk-x\n", NULL },
    { "backend b\n http-request set-header X-Own \"k=AIzaSyk-1-0123456789abcdef\"\n", "a key stands in this file, in http-request" },
    { "backend b\n http-check send meth GET uri / hdr Authorization \"Bearer k-1\"\n", "a key stands in this file, in authorization" },
    { "backend b\n http-check send meth GET uri / hdr Host authorization\n", NULL },
    { "frontend f\n http-request track-sc0 req.hdr(Authorization) table t\n", "req.hdr(Authorization),sha2(256),hex" },
    { "frontend f\n http-request track-sc0 req.hdr(authorization),sha2(256),hex\n http-request track-sc1 src\n", NULL },
    { "backend b\n stick on req.hdr(x-api-key)\n", "a.cfg:2: unsafe: clients' tokens are kept in a table" },
    /* What HAProxy 3 brought. */
    { "frontend f\n bind quic4@:8080 ssl crt /a.pem alpn h3\n bind quic6@[::]:8080\n", NULL },
    { "frontend f\n bind abns@x:8080\n bind fd@8080\n bind rhttp@b/s\n bind quic4@\n bind @\n bind unix@\n", NULL },
    { "frontend f\n bind mptcp4@*:8080\n", "conflict: bind mptcp4@*:8080" },
    { "backend b\n server s tcp4@api.openai.com:443 ssl\n", "server s is a provider" },
    { "backend b\n server-template s 1-3 api.openai.com:443 ssl\n", "server s is a provider" },
    { "backend a\n mode spop\n server a 127.0.0.1:1 proto spop\nbackend l\n mode log\n server a udp@127.0.0.1:514\n", NULL },
    { "crt-store w\n load crt a.pem alias a\nacme x\n directory https://h/d\ntraces\n trace h1 sink buf0\n", NULL },
    { "log-profile p\n on any format \"%[req.hdr(authorization)]\"\n", "a.cfg:2: unsafe: the authorization header" },
    { HTTP "defaults d from e\n timeout server 5s\nbackend b from d\n option http-no-delay\n option abortonclose\n mode http\n server g 127.0.0.1:8080\n",
      "a.cfg:7: unsafe: timeout server 5s: backend b" },
    { HTTP "backend b\n compression algo-res gzip\n server g 127.0.0.1:8080\n", "a.cfg:7: unsafe: event streams would be compressed" },
    { HTTP "backend b\n compression algo-req gzip\n server g 127.0.0.1:8080\n", NULL },
    { "global\n zero-warning\n tune.lua.bool-sample-conversion normal\n lua-load-per-thread /a.lua\n", "a.cfg:2: conflict: zero-warning" },
    { "global\n zero-warning\n", NULL },
};

static void test_findings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *said = NULL;
        struct haproxy_review_result found = review(plan_of(), cases[i].cfg, &said);
        if (cases[i].said == NULL && (said[0] != '\0' || found.unsafe + found.conflicts + found.notes + found.additions > 0))
            fail_msg("case %zu: nothing was to be said of\n%s\nbut:\n%s", i, cases[i].cfg, said);
        if (cases[i].said != NULL && strstr(said, cases[i].said) == NULL)
            fail_msg("case %zu: not said: %s\nof\n%s\nbut:\n%s", i, cases[i].said, cases[i].cfg, said);
        assert_null(strstr(said, "k-1"));
        free(said);
    }
}

static void test_plan_knows_more(void **state)
{
    static const struct haproxy_bind proxied = { .address = "127.0.0.1:8088", .accept_proxy = true };
    struct haproxy_plan plan = plan_of();
    char *said = NULL;
    (void)state;

    plan.chroot = "/var/lib/haproxy";
    plan.user = "haproxy";
    plan.binds = &proxied;
    review(plan, "global\n chroot /srv/jail\n" HTTP "frontend f\n bind :80\nbackend x\n server s 127.0.0.1:81\n", &said);
    assert_non_null(strstr(said, "chroot /srv/jail, but tollgate.yaml says haproxy.chroot: /var/lib/haproxy"));
    assert_non_null(strstr(said, "no user here, but tollgate.yaml says haproxy.user: haproxy"));
    assert_non_null(strstr(said, "    server gateway 127.0.0.1:8088 send-proxy-v2\n"));
    free(said);
    review(plan, HTTP "backend b\n server g 127.0.0.1:8088\n", &said);
    assert_non_null(strstr(said, "add send-proxy-v2 to this line"));
    free(said);
}

/* Words as HAProxy reads them. */
static void test_words(void **state)
{
    static const struct {
        const char *line, *words[5];
    } lines[] = {
        { "a b\\ c 'd e' \"f \\\"g\"", { "a", "b c", "d e", "f \"g" } },
        { "x#y z", { "x" } },
        { "log-format 'a # b'", { "log-format", "a # b" } },
        { "one \\\n   two", { "one", "two" } },
        { "pre'fix'ed \"\"", { "prefixed", "" } },
        { "tab\\tbed \\x41", { "tab\tbed", "A" } },
        { "crlf here\r", { "crlf", "here" } },
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct arena *a = arena_new(1024);
        struct haproxy_text t = { .arena = a };
        char cfg[256], why[256];
        snprintf(cfg, sizeof cfg, "global\n%s\n.if defined(X)\n last\n.endif\n", lines[i].line);
        assert_true(haproxy_text_add(&t, "w.cfg", slice_cstr(cfg), why, sizeof why));
        const struct haproxy_line *l = t.first->first;
        size_t n = 0;
        for (; n < 5 && lines[i].words[n] != NULL; n++) {
            assert_true(n < l->count);
            assert_string_equal(l->words[n], lines[i].words[n]);
        }
        assert_int_equal(l->count, n);
        assert_int_equal(l->number, 2);
        assert_string_equal(t.first->last->words[0], "last");
        arena_free(a);
    }
}

static void test_refused(void **state)
{
    static const char *const texts[][2] = { { "global\n log 'open\n", "w.cfg:2: a quote is not closed" },
                                            { " maxconn 1\n", "w.cfg:1: the line stands outside of every section" } };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct arena *a = arena_new(1024);
        struct haproxy_text t = { .arena = a };
        char why[256] = "";
        assert_false(haproxy_text_add(&t, "w.cfg", slice_cstr(texts[i][0]), why, sizeof why));
        assert_non_null(strstr(why, texts[i][1]));
        arena_free(a);
    }
}

/* Defaults by name, by place, and one defaults section from another. */
static void test_defaults(void **state)
{
    static const char cfg[] = "defaults base\n timeout server 9s\ndefaults more from base\n mode http\nfrontend f\nbackend b from base\ndefaults\nlisten l\n";
    struct arena *a = arena_new(1024);
    struct haproxy_text t = { .arena = a };
    char why[256];
    (void)state;

    assert_true(haproxy_text_add(&t, "d.cfg", slice_cstr(cfg), why, sizeof why));
    const struct haproxy_section *f = t.first->next->next, *b = f->next, *l = t.last;
    assert_string_equal(haproxy_setting(f, "timeout", "server", NULL)->words[2], "9s");
    assert_non_null(haproxy_setting(f, "mode", NULL, NULL));
    assert_null(haproxy_setting(b, "mode", NULL, NULL));
    assert_null(haproxy_setting(l, "timeout", "server", NULL));
    arena_free(a);
    assert_int_equal(haproxy_time_ms("2m"), 120000);
    assert_int_equal(haproxy_time_ms("1500us"), 1);
    assert_int_equal(haproxy_time_ms("7"), 7);
    assert_int_equal(haproxy_time_ms("7x"), -1);
    assert_int_equal(haproxy_size("16k"), 16384);
    assert_int_equal(haproxy_size("k"), -1);
    assert_int_equal(haproxy_size("9999999999g"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_findings), cmocka_unit_test(test_plan_knows_more), cmocka_unit_test(test_words),
                                        cmocka_unit_test(test_refused), cmocka_unit_test(test_defaults) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
