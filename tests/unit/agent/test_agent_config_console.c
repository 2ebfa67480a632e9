/* The console's part of the configuration: what is refused, and the identity that comes of it. */
#include "config/config_console.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const char base[] = "listen: {spop: [\"127.0.0.1:9000\"], settle: /run/t/s, ring: \"127.0.0.1:9001\", admin: /run/t/a}\n"
                           "haproxy: {bind: [{address: \"127.0.0.1:8080\"}]}\n"
                           "ledger: {file: /tmp/l.db}\n"
                           "issuers:\n"
                           "  - issuer: https://sso.example\n"
                           "    audience: [tollgate]\n"
                           "    required_claims: [{claim: scope, values: [llm]}]\n"
                           "    claims: {team: {claim: [team], default: unassigned}}\n"
                           "    rules: [{value: \"llm-*\", team: \"*\"}, {value: root, application: admin}]\n"
                           "providers: [{name: openai, url: \"https://api.example/v1\", credential: {env: K}}]\n"
                           "models: [{name: chat, primary: {provider: openai, model: gpt-4o-mini}}]\n"
                           "console:\n";

static struct config *load(const char *console, struct config_errors *errors)
{
    char path[] = "/tmp/tollgate-console-XXXXXX", text[4096];
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    int n = snprintf(text, sizeof text, "%s%s", base, console);
    assert_int_equal(write(fd, text, (size_t)n), n);
    close(fd);
    struct config *c = config_load(path, errors);
    unlink(path);
    return c;
}

#define GOOD "  listen: 127.0.0.1:9180\n  url: https://ai.example/tollgate/console\n  issuer: https://sso.example\n  client_id: c\n"

static void defaults_are_filled_in(void **state)
{
    struct config_errors e;
    struct config *c = load(GOOD, &e);

    (void)state;
    if (c == NULL)
        fail_msg("%s", e.text);
    assert_string_equal(c->console->scope, "openid profile");
    assert_string_equal(c->console->session, "8h");
    assert_null(c->console->client_secret);
    config_free(c);
}

static void what_cannot_work_is_refused(void **state)
{
    static const struct {
        const char *console, *why;
    } cases[] = {
        { "  listen: nowhere\n  url: https://ai.example/t\n  issuer: https://sso.example\n  client_id: c\n", ":13: console.listen: \"nowhere\"" },
        { "  listen: 127.0.0.1:1\n  url: https://ai.example\n  issuer: https://sso.example\n  client_id: c\n", "with a path and no slash at the end" },
        { "  listen: 127.0.0.1:1\n  url: https://ai.example/t/\n  issuer: https://sso.example\n  client_id: c\n", "no slash at the end" },
        { "  listen: 127.0.0.1:1\n  url: https://ai.example/v1/t\n  issuer: https://sso.example\n  client_id: c\n", "console.url" },
        { "  listen: 127.0.0.1:1\n  url: \"https://ai.example/t x\"\n  issuer: https://sso.example\n  client_id: c\n", "console.url" },
        { "  listen: 127.0.0.1:1\n  url: https://ai.example/t\n  issuer: https://other\n  client_id: c\n",
          "console.issuer: \"https://other\" is not among the issuers; defined: https://sso.example" },
        { GOOD "  scope: profile\n", "must contain openid" },
        { GOOD "  session: 30s\n", "from 1m to 7d" },
        { GOOD "  client_secret: {env: A, file: /b}\n", "exactly one of file, env, systemd" },
        { GOOD "  admins: [{value: \"\"}]\n", "console.admins[0].value" },
        { GOOD "  admin: [{value: x}]\n", "admin" },
    };
    struct config_errors e;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = load(cases[i].console, &e);
        assert_null(c);
        if (strstr(e.text, cases[i].why) == NULL)
            fail_msg("%zu: %s", i, e.text);
    }
}

/* A role is what a rule of the console says, never what a rule for requests or a claim says. */
static void roles_come_from_the_console_alone(void **state)
{
    struct config_errors e;
    struct config *c = load(GOOD "  admins: [{value: ops}]\n  viewers: [{claim: department, value: \"r*\"}]\n", &e);
    struct arena *a = arena_new(4096);

    (void)state;
    if (c == NULL)
        fail_msg("%s", e.text);
    struct identity_options o = config_console_identity(c, a);
    assert_int_equal(o.issuers_count, 1);
    const struct identity_issuer *i = &o.issuers[0];
    assert_int_equal(i->audiences_count, 1);
    assert_string_equal(i->audiences[0], "c");
    assert_int_equal(i->required_count, 0);
    assert_null(i->mapping.team.fallback);
    assert_int_equal(i->mapping.rules_count, 3);
    assert_string_equal(i->mapping.rules[0].application, CONSOLE_ROLE_ADMIN);
    assert_string_equal(i->mapping.rules[1].application, CONSOLE_ROLE_VIEWER);
    assert_string_equal(i->mapping.rules[1].claim, "department");
    assert_string_equal(i->mapping.rules[2].team, "*");
    assert_null(i->mapping.rules[2].application);
    assert_int_equal(i->mapping.application.paths_count, 1);
    assert_string_equal(i->mapping.application.paths[0], "iss");
    arena_free(a);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(what_cannot_work_is_refused),
        cmocka_unit_test(roles_come_from_the_console_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
