/* Claims to identity: paths, arrays, rules, fallbacks, overage; and what the options refuse. */
#include "identity/cache.h"
#include "identity/claims.h"
#include "identity/options.h"
#include "identity/strict.h"

#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define FIELD(...) { .paths = (const char *[]){ __VA_ARGS__ }, .paths_count = sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *) }
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const struct strict_limits limits = { .depth = 16, .members = 512 };

struct mapped {
    struct arena *a;
    struct identity id;
    struct fault f;
    bool good;
};

static struct mapped map(struct identity_mapping m, const char *payload)
{
    struct identity_issuer issuer = { .issuer = "i", .any_audience = true, .jwks_file = "/x", .mapping = m };
    struct identity_options o = { .issuers = &issuer, .issuers_count = 1 };
    struct mapped r = { .a = arena_new(8192) };
    char text[256];
    const char *why;

    why = identity_options_check(&o, text, sizeof text);
    if (why != NULL)
        fail_msg("%s", why);
    struct identity_options *copy = options_copy(&o, r.a);
    cJSON *tree = strict_json_object(slice_cstr(payload), limits, &why);
    if (tree == NULL)
        fail_msg("payload %s", why);
    r.good = claims_map(&copy->issuers[0], tree, r.a, &r.id, &r.f);
    if (r.good)
        assert_true(identity_copy(&r.id, r.a, &r.id)); /* as the tree goes away */
    cJSON_Delete(tree);
    return r;
}

static void expect(struct slice got, const char *wanted)
{
    if (!slice_eq_cstr(got, wanted))
        fail_msg("got \"%.*s\", expected \"%s\"", SLICE_FMT(got), wanted);
}

static void test_defaults(void **state)
{
    (void)state;
    struct mapped r = map((struct identity_mapping){ 0 }, "{\"sub\":\"u1\",\"team\":\"core\",\"organization\":\"acme\",\"client_id\":\"cli\","
                                                          "\"cost_center\":4711,\"groups\":[\"a\",\"\",7,\"b\"]}");
    assert_true(r.good);
    expect(r.id.subject, "u1");
    expect(r.id.user, "u1");
    expect(r.id.team, "core");
    expect(r.id.organization, "acme");
    expect(r.id.application, "cli");
    expect(r.id.cost_center, "4711");
    assert_int_equal(r.id.group_count, 2);
    expect(r.id.groups[1], "b");
    arena_free(r.a);
}

static void test_paths(void **state)
{
    static const struct {
        const char *path, *payload, *wanted;
    } rows[] = {
        { "a.b", "{\"sub\":\"u\",\"a\":{\"b\":\"x\"}}", "x" },
        { "a.b", "{\"sub\":\"u\",\"a.b\":\"flat\",\"a\":{\"b\":\"x\"}}", "flat" },
        { "a.b.c", "{\"sub\":\"u\",\"a\":{\"b.c\":\"x\"}}", "x" },
        { "a.b.c", "{\"sub\":\"u\",\"a.b\":{\"c\":\"x\"}}", "x" },
        { "https://acme.com/claims.team", "{\"sub\":\"u\",\"https://acme.com/claims\":{\"team\":\"x\"}}", "x" },
        { "https://acme.com/team", "{\"sub\":\"u\",\"https://acme.com/team\":\"x\"}", "x" },
        { "a.b", "{\"sub\":\"u\",\"a\":\"b\"}", "" },
        { "a.b", "{\"sub\":\"u\",\"a\":[{\"b\":\"x\"}]}", "" },
        { "a", "{\"sub\":\"u\",\"A\":\"x\"}", "" },
        { "a", "{\"sub\":\"u\",\"a\":[\"only\"]}", "only" },
        { "a", "{\"sub\":\"u\",\"a\":[]}", "" },
        { "a", "{\"sub\":\"u\",\"a\":null}", "" },
        { "a", "{\"sub\":\"u\",\"a\":true}", "" },
        { "a", "{\"sub\":\"u\",\"a\":{\"b\":1}}", "" },
        { "a", "{\"sub\":\"u\",\"a\":12.5}", "" },
        { "a", "{\"sub\":\"u\",\"a\":-12}", "-12" },
        { "a", "{\"sub\":\"u\",\"a\":9007199254740993}", "" }, /* not exact in a double: no wrong number instead */
        { "a.", "{\"sub\":\"u\",\"a\":{\"\":\"x\"}}", "x" },
        { "a..b", "{\"sub\":\"u\",\"a\":{\"\":{\"b\":\"x\"}}}", "x" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct identity_mapping m = { .team = { .paths = (const char *[]){ rows[i].path }, .paths_count = 1 } };
        struct mapped r = map(m, rows[i].payload);
        if (!r.good)
            fail_msg("row %zu: %.*s", i, SLICE_FMT(r.f.message));
        expect(r.id.team, rows[i].wanted);
        arena_free(r.a);
    }
}

static void test_order_and_fallback(void **state)
{
    (void)state;
    struct identity_mapping m = { .team = FIELD("dept", "team"), .cost_center = { .fallback = "unassigned" } };
    struct mapped r = map(m, "{\"sub\":\"u\",\"team\":\"second\",\"dept\":\"\"}");
    assert_true(r.good);
    expect(r.id.team, "second");
    expect(r.id.cost_center, "unassigned");
    arena_free(r.a);
    r = map(m, "{\"sub\":\"u\",\"dept\":\"first\",\"team\":\"second\",\"cost_center\":\"cc\"}");
    expect(r.id.team, "first");
    expect(r.id.cost_center, "cc");
    arena_free(r.a);
}

static void test_several_values_are_ambiguous(void **state)
{
    (void)state;
    struct mapped r = map((struct identity_mapping){ 0 }, "{\"sub\":\"u\",\"team\":[\"a\",\"b\"]}");
    assert_false(r.good);
    assert_string_equal(r.f.reason, "identity_ambiguous");
    assert_non_null(memmem(r.f.message.p, r.f.message.n, "\"team\"", 6));
    arena_free(r.a);
}

static void test_rules(void **state)
{
    struct identity_rule rules[] = {
        { .value = "admins", .team = "platform" },
        { .value = "llm-*", .team = "*", .cost_center = "cc-*-x" },
        { .value = "*-staff", .organization = "*" },
        { .claim = "realm_access.roles", .value = "batch", .application = "batch" },
        { .claim = "department", .value = "Finance", .team = "finance", .cost_center = "9000" },
    };
    struct identity_mapping m = { .rules = rules, .rules_count = COUNT(rules), .groups = FIELD("groups", "roles") };
    (void)state;

    struct mapped r = map(m, "{\"sub\":\"u\",\"groups\":[\"x\",\"llm-search\"],\"roles\":\"acme-staff\",\"realm_access\":{\"roles\":[\"a\",\"batch\"]},"
                             "\"team\":\"claimed\",\"department\":\"Finance\"}");
    assert_true(r.good);
    expect(r.id.team, "search"); /* the first rule that matches, before the claim */
    expect(r.id.cost_center, "cc-search-x");
    expect(r.id.organization, "acme");
    expect(r.id.application, "batch");
    assert_int_equal(r.id.group_count, 3);
    arena_free(r.a);

    r = map(m, "{\"sub\":\"u\",\"groups\":[\"llm-a\",\"admins\"],\"team\":\"claimed\"}");
    expect(r.id.team, "platform");
    expect(r.id.cost_center, "cc-a-x");
    arena_free(r.a);

    r = map(m, "{\"sub\":\"u\",\"groups\":[\"xllm-a\",\"Admins\"],\"team\":\"claimed\"}");
    expect(r.id.team, "claimed");
    arena_free(r.a);

    /* what a rule decided, several values of the claim do not make ambiguous */
    r = map(m, "{\"sub\":\"u\",\"groups\":[\"admins\"],\"team\":[\"a\",\"b\"]}");
    assert_true(r.good);
    expect(r.id.team, "platform");
    arena_free(r.a);
}

static void test_group_overage(void **state)
{
    static const char *const payloads[] = {
        "{\"sub\":\"u\",\"_claim_names\":{\"groups\":\"src1\"},\"_claim_sources\":{\"src1\":{\"endpoint\":\"https://graph.test/\"}}}",
        "{\"sub\":\"u\",\"hasgroups\":true}",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(payloads); i++) {
        struct mapped r = map((struct identity_mapping){ 0 }, payloads[i]);
        assert_false(r.good);
        assert_string_equal(r.f.reason, "token_group_overage");
        assert_non_null(memmem(r.f.message.p, r.f.message.n, "_claim_names", 12));
        arena_free(r.a);
    }
    struct mapped r = map((struct identity_mapping){ .groups = FIELD("roles") }, payloads[0]); /* groups are not looked at */
    assert_true(r.good);
    arena_free(r.a);
}

/* Whatever the mapping reads must not be decided on when the issuer says that it left it out: a default would be a wrong team. */
static void test_claims_left_out(void **state)
{
    static const char payload[] = "{\"sub\":\"u\",\"_claim_names\":{\"department\":\"src1\"},\"_claim_sources\":{\"src1\":{}}}";
    struct identity_rule rules[] = { { .claim = "department", .value = "Finance", .team = "finance" } };
    (void)state;
    struct mapped r = map((struct identity_mapping){ .rules = rules, .rules_count = 1, .groups = FIELD("roles") }, payload);
    assert_false(r.good);
    assert_string_equal(r.f.reason, "token_group_overage");
    assert_non_null(memmem(r.f.message.p, r.f.message.n, "\"department\"", 12));
    arena_free(r.a);
    struct identity_mapping m = { .groups = FIELD("roles"), .team = FIELD("department") };
    m.team.fallback = "unassigned";
    r = map(m, payload);
    assert_false(r.good);
    assert_string_equal(r.f.reason, "token_group_overage");
    arena_free(r.a);
}

/* A group that was dropped silently could be the one a rule looks for. */
static void test_too_many_groups(void **state)
{
    char *text = malloc(32768);
    (void)state;
    for (int count = 1024; count <= 1025; count++) {
        size_t n = (size_t)sprintf(text, "{\"sub\":\"u\",\"groups\":[");
        for (int i = 0; i < count; i++)
            n += (size_t)sprintf(text + n, "%s\"g%d\"", i > 0 ? "," : "", i);
        strcpy(text + n, "]}");
        struct mapped r = map((struct identity_mapping){ 0 }, text);
        assert_int_equal(r.good, count == 1024);
        if (r.good)
            assert_int_equal(r.id.group_count, 1024);
        else
            assert_string_equal(r.f.reason, "token_group_overage");
        arena_free(r.a);
    }
    free(text);
}

/* The ledger takes names of up to 1,024 bytes: a longer one must not turn into an outage for whoever sends it. */
static void test_long_names(void **state)
{
    char name[1026], text[1100];
    (void)state;
    for (int n = 1024; n <= 1025; n++) {
        memset(name, 'x', sizeof name);
        name[n] = '\0';
        snprintf(text, sizeof text, "{\"sub\":\"%s\"}", name);
        struct mapped r = map((struct identity_mapping){ 0 }, text);
        assert_int_equal(r.good, n == 1024);
        if (!r.good)
            assert_string_equal(r.f.reason, "token_claim");
        arena_free(r.a);
    }
}

static void test_options_are_checked(void **state)
{
    static const char *aud[] = { "a" }, *hs[] = { "RS256", "HS256" }, *none[] = { "none" }, *typo[] = { "RS265" };
    static struct identity_rule no_value[] = { { .team = "x" } }, no_target[] = { { .value = "x" } }, stars[] = { { .value = "a*b*", .team = "x" } },
                                wild[] = { { .value = "a", .team = "*" } };
    const struct {
        struct identity_issuer issuer;
        const char *says;
    } rows[] = {
        { { .audiences = aud, .audiences_count = 1 }, "issuers[0].issuer: is required" },
        { { .issuer = "https://i" }, "issuers[0].audience: name the audience(s)" },
        { { .issuer = "http://i", .any_audience = true }, "plain http" },
        { { .issuer = "name", .any_audience = true }, "not an https address" },
        { { .issuer = "i", .any_audience = true, .jwks_url = "file:///etc/passwd" }, "jwks_url: is not an https address" },
        { { .issuer = "i", .any_audience = true, .jwks_url = "https://a", .jwks_file = "/b" }, "give one of them" },
        { { .issuer = "https://i", .any_audience = true, .algorithms = hs, .algorithms_count = 2 }, "never accepted" },
        { { .issuer = "https://i", .any_audience = true, .algorithms = none, .algorithms_count = 1 }, "never accepted" },
        { { .issuer = "https://i", .any_audience = true, .algorithms = typo, .algorithms_count = 1 }, "allowed are RS256" },
        { { .issuer = "https://i", .any_audience = true, .leeway_s = 601 }, "leeway_s: must be between" },
        { { .issuer = "https://i", .any_audience = true, .refresh_s = 5 }, "refresh_s: must be between 10 and 604800" },
        { { .issuer = "https://i", .any_audience = true, .stale_s = -5 }, "stale_s: must be between" },
        { { .issuer = "https://i", .any_audience = true, .mapping = { .rules = no_value, .rules_count = 1 } }, "needs a value" },
        { { .issuer = "https://i", .any_audience = true, .mapping = { .rules = no_target, .rules_count = 1 } }, "sets at least one" },
        { { .issuer = "https://i", .any_audience = true, .mapping = { .rules = stars, .rules_count = 1 } }, "one '*'" },
        { { .issuer = "https://i", .any_audience = true, .mapping = { .rules = wild, .rules_count = 1 } }, "needs a '*' in the value" },
    };
    char why[256];
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct identity_issuer issuer = rows[i].issuer;
        struct identity_options o = { .issuers = &issuer, .issuers_count = 1 };
        const char *fault = identity_options_check(&o, why, sizeof why);
        if (fault == NULL || strstr(fault, rows[i].says) == NULL)
            fail_msg("row %zu: %s", i, fault ? fault : "accepted");
    }
    struct identity_issuer twice[] = { { .issuer = "https://i", .any_audience = true }, { .issuer = "https://i", .any_audience = true } };
    struct identity_options o = { .issuers = twice, .issuers_count = 2 };
    assert_non_null(strstr(identity_options_check(&o, why, sizeof why), "issuers[1].issuer: stands there twice"));
    o.issuers_count = 0;
    assert_non_null(identity_options_check(&o, why, sizeof why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_paths), cmocka_unit_test(test_order_and_fallback),
        cmocka_unit_test(test_several_values_are_ambiguous), cmocka_unit_test(test_rules), cmocka_unit_test(test_group_overage),
        cmocka_unit_test(test_claims_left_out), cmocka_unit_test(test_too_many_groups), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
