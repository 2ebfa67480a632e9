/* Which certificate files a haproxy.cfg names. */
#include "route/haproxy_certificates.h"
#include "route/haproxy_load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static void put(const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void note(void *user, const char *path, enum haproxy_certificate what)
{
    static const char *const names[] = { [HAPROXY_CERTIFICATE] = "crt", [HAPROXY_CA] = "ca", [HAPROXY_CRL] = "crl" };
    char *all = user;
    size_t n = strlen(all);

    snprintf(all + n, 4096 - n, "%s %s\n", names[what], path);
}

/* What is found in the file or folder. */
static void finds(const char *name, const char *expected)
{
    struct haproxy_text t = { .arena = arena_new(4096) };
    char path[160], why[512], all[4096] = "";

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!haproxy_load(&t, path, NULL, NULL, why, sizeof why))
        fail_msg("%s", why);
    haproxy_certificates(&t, note, all);
    assert_string_equal(all, expected);
    arena_free(t.arena);
}

static void test_lines(void **state)
{
    (void)state;
    put("lines.cfg", "global\n  ssl-default-bind-options crt /no\n"
                     "frontend f\n  bind :443 ssl crt /etc/a.pem crt '/etc/b c.pem' ca-file /etc/ca.pem crl-file /etc/crl.pem alpn h2 # crt /no.pem\n"
                     "  bind :80\n  bind crt:1 # an address\n  http-request set-header crt /no.pem\n"
                     "backend b\n  default-server ssl ca-file @system-ca\n"
                     "  server crt 10.0.0.1:443 ssl verify required ca-file /etc/ours.pem crt /etc/client.pem\n"
                     "  server t ${HOST}:443 ssl ca-file ${CA} crt relative.pem ca-verify-file /etc/old.pem\n"
                     "  server-template s 3 x:443 ca-file /etc/many.pem\n");
    finds("lines.cfg", "crt /etc/a.pem\ncrt /etc/b c.pem\nca /etc/ca.pem\ncrl /etc/crl.pem\n"
                       "ca /etc/ours.pem\ncrt /etc/client.pem\nca /etc/old.pem\nca /etc/many.pem\n");
}

static void test_bases_and_stores(void **state)
{
    (void)state;
    put("bases.cfg", "global\n  crt-base /etc/crts\n  ca-base /etc/cas\n"
                     "crt-store web\n  crt-base /etc/store\n  load crt \"site.pem\" key site.key alias s\n  load crt /abs.pem\n"
                     "listen l\n  bind :443 ssl crt x.pem crt /y.pem crt @web/s ca-file c.pem\n  server s 1.1.1.1:1 ssl crl-file d.pem\n");
    finds("bases.cfg", "crt /etc/store/site.pem\ncrt /abs.pem\ncrt /etc/crts/x.pem\ncrt /y.pem\nca /etc/cas/c.pem\ncrl /etc/cas/d.pem\n");
}

static void test_lists(void **state)
{
    char cfg[512];

    (void)state;
    put("list", "# of sites\n/etc/one.pem\n\n  two.pem [alpn h2 ca-file /etc/no.pem] *.example.com\n/etc/three.pem[ssl-min-ver TLSv1.3]\n");
    snprintf(cfg, sizeof cfg, "global\n  crt-base %s\nfrontend f\n  bind :443 ssl crt-list list\n  bind :444 ssl crt-list /not/there\n", dir);
    put("list.cfg", cfg);
    snprintf(cfg, sizeof cfg, "crt /etc/one.pem\ncrt %s/two.pem\ncrt /etc/three.pem\n", dir);
    finds("list.cfg", cfg);
}

static void test_folders(void **state)
{
    struct haproxy_text t = { .arena = arena_new(4096) };
    char path[160], why[512];

    (void)state;
    snprintf(path, sizeof path, "%s/conf.d", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(haproxy_load(&t, path, NULL, NULL, why, sizeof why));
    assert_non_null(strstr(why, "holds no file whose name ends in .cfg"));
    put("conf.d/20.cfg", "frontend g\n  bind :2 ssl crt two.pem\n");
    put("conf.d/10.cfg", "global\n  crt-base /etc/crts\nfrontend f\n  bind :1 ssl crt one.pem\n");
    put("conf.d/00.txt", "not\n");
    finds("conf.d", "crt /etc/crts/one.pem\ncrt /etc/crts/two.pem\n");
    put("conf.d/30.cfg", "frontend h\n  bind 'open\n");
    assert_false(haproxy_load(&t, path, NULL, NULL, why, sizeof why));
    assert_non_null(strstr(why, "30.cfg:2: "));
    assert_false(haproxy_load(&t, "/not/there", NULL, NULL, why, sizeof why));
    assert_string_equal(why, "cannot read /not/there: No such file or directory");
    arena_free(t.arena);
}

static int folder(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tollgate-haproxy-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int folder_gone(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_lines), cmocka_unit_test(test_bases_and_stores), cmocka_unit_test(test_lists),
                                        cmocka_unit_test(test_folders) };
    return cmocka_run_group_tests(tests, folder, folder_gone);
}
