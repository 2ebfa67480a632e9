/* Access rules: whom they concern, what they let pass, and what a refusal says would pass. */
#include "access/access_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define T(s) SLICE_LIT(s)
#define LIST(field, ...) .field = (char *[]){ __VA_ARGS__ }, .field##_count = sizeof((char *[]){ __VA_ARGS__ }) / sizeof(char *)

/* 2026-11-25 is a Wednesday; Berlin is an hour ahead of UTC then, two in July. */
#define WED_0900_UTC (INT64_C(1795597200) * 1000000)
#define HOUR (INT64_C(3600) * 1000000)

static struct config_model models[] = { { .name = "small" }, { .name = "large" }, { .name = "gpt-a" }, { .name = "gpt-b" } };
static const struct route_target small_targets[] = { { .target = { .group = SLICE_LIT("eu"), .model = SLICE_LIT("m-small") } } };
static const struct route_target large_targets[] = { { .target = { .group = SLICE_LIT("eu"), .model = SLICE_LIT("m-large") } },
                                                     { .target = { .group = SLICE_LIT("us"), .model = SLICE_LIT("m-large") } } };
static const struct route_alias small = { .name = SLICE_LIT("small"), .targets = small_targets, .target_count = 1 },
                                large = { .name = SLICE_LIT("large"), .targets = large_targets, .target_count = 2 };

static struct access_policy *policy_of(struct config_access *rules, unsigned n)
{
    struct config c = { .models = models, .models_count = 4, .access = rules, .access_count = n };
    char why[512];
    struct access_policy *p = access_policy_new(&c, why, sizeof why);

    if (p == NULL)
        fail_msg("%s", why);
    return p;
}

static struct config_access rules[] = {
    { .name = "search", LIST(teams, "search", "data-*"), LIST(models, "small", "gpt-*"), LIST(endpoints, "chat", "messages"), .max_prompt = 1000,
      .max_output = 200 },
    { .name = "office", LIST(groups, "staff"), LIST(networks, "10.0.0.0/8", "2001:db8::/33"), LIST(hours, "Mon-Fri 08:00-18:00"),
      .time_zone = "Europe/Berlin", LIST(models, "small") },
    { .name = "eu-only", LIST(users, "eve"), LIST(upstreams, "eu/*") },
    { .name = "machines", LIST(keys, "key_1"), LIST(models, "large") },
};

static const struct slice staff[] = { SLICE_LIT("x"), SLICE_LIT("staff") };

struct probe {
    struct identity who;
    const char *ip, *model;
    enum endpoint endpoint;
    int64_t input, now_us;
    const char *rule;           /* NULL: refused */
    const char *reason, *says;
};

#define SEARCH .who = { .team = SLICE_LIT("search") }
#define STAFF .who = { .groups = staff, .group_count = 2 }

static const struct probe probes[] = {
    { SEARCH, .model = "small", .input = -1, .rule = "search" },
    { SEARCH, .model = "small", .input = 1000, .rule = "search" },
    { SEARCH, .model = "small", .input = 1001, .reason = "access_prompt", .says = "has 1001 tokens; allowed prompt tokens: 1000." },
    { SEARCH, .model = "gpt-b", .input = 1, .rule = "search" },
    { SEARCH, .model = "large", .input = 1, .reason = "access_model", .says = "model \"large\"; allowed models: small, gpt-*." },
    { SEARCH, .model = "small", .endpoint = ENDPOINT_EMBEDDINGS, .input = 1, .reason = "access_endpoint",
      .says = "/v1/embeddings; allowed endpoints: /v1/chat/completions, /v1/messages." },
    { .who = { .team = SLICE_LIT("data-lake") }, .model = "small", .input = 1, .rule = "search" },
    { .who = { .team = SLICE_LIT("data") }, .model = "small", .input = 1, .reason = "access_subject", .says = "team \"data\"" },
    { .who = { .team = SLICE_LIT("") }, .model = "small", .input = 1, .reason = "access_subject", .says = "No access rule concerns you" },
    { STAFF, .ip = "10.1.2.3", .model = "small", .input = 9999, .now_us = WED_0900_UTC, .rule = "office" },
    { STAFF, .ip = "11.1.2.3", .model = "small", .input = 1, .now_us = WED_0900_UTC, .reason = "access_network",
      .says = "address 11.1.2.3; allowed networks: 10.0.0.0/8, 2001:db8::/33." },
    { STAFF, .ip = "::ffff:10.1.2.3", .model = "small", .input = 1, .now_us = WED_0900_UTC, .rule = "office" },
    { STAFF, .ip = "2001:db8:7fff::1", .model = "small", .input = 1, .now_us = WED_0900_UTC, .rule = "office" },
    { STAFF, .ip = "2001:db8:8000::1", .model = "small", .input = 1, .now_us = WED_0900_UTC, .reason = "access_network", .says = "2001:db8:8000::1" },
    { STAFF, .ip = "unix", .model = "small", .input = 1, .now_us = WED_0900_UTC, .reason = "access_network", .says = "address unix" },
    { STAFF, .ip = "10.1.2.3", .model = "small", .input = 1, .now_us = WED_0900_UTC + 8 * HOUR - 1, .rule = "office" },
    { STAFF, .ip = "10.1.2.3", .model = "small", .input = 1, .now_us = WED_0900_UTC + 8 * HOUR, .reason = "access_hours",
      .says = "it is Wed 18:00, Europe/Berlin); allowed hours: Mon-Fri 08:00-18:00 Europe/Berlin." },
    { STAFF, .ip = "10.1.2.3", .model = "small", .input = 1, .now_us = WED_0900_UTC + 3 * 24 * HOUR, .reason = "access_hours", .says = "Sat 10:00" },
    { STAFF, .ip = "10.1.2.3", .model = "large", .input = 1, .now_us = WED_0900_UTC, .reason = "access_model", .says = "allowed models: small." },
    { .who = { .user = SLICE_LIT("eve") }, .model = "small", .input = 1, .rule = "eu-only" },
    { .who = { .user = SLICE_LIT("eve") }, .model = "large", .input = 1, .reason = "access_model", .says = "eu/* (upstream)" }, /* its fallback is in the US */
    { .who = { .user = SLICE_LIT("eve") }, .model = "nonesuch", .input = 1, .reason = "access_model", .says = "nonesuch" },
    { .who = { .key_id = SLICE_LIT("key_1") }, .model = "large", .input = 1, .rule = "machines" },
    { .who = { .key_id = SLICE_LIT("key_2") }, .model = "large", .input = 1, .reason = "access_subject", .says = "nothing is allowed" },
    /* Two rules concern her: what one refuses the other may allow, and a refusal names both. */
    { .who = { .team = SLICE_LIT("search"), .key_id = SLICE_LIT("key_1") }, .model = "large", .input = 5000, .rule = "machines" },
    { .who = { .team = SLICE_LIT("search"), .user = SLICE_LIT("eve") }, .model = "small", .input = 5000, .rule = "eu-only" },
    { .who = { .team = SLICE_LIT("search"), .key_id = SLICE_LIT("key_1") }, .model = "other", .input = 5, .reason = "access_model",
      .says = "allowed models: small, gpt-*, large." },
};

static const struct route_alias *alias_of(const char *name)
{
    return strcmp(name, "small") == 0 ? &small : strcmp(name, "large") == 0 ? &large : NULL;
}

static void test_every_probe(void **state)
{
    struct access_policy *p = policy_of(rules, sizeof rules / sizeof rules[0]);
    struct arena *a = arena_new(4096);

    (void)state;
    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++) {
        const struct probe *b = &probes[i];
        struct access_ask ask = { .who = &b->who, .client_ip = slice_cstr(b->ip), .endpoint = b->endpoint, .model = slice_cstr(b->model),
                                  .alias = alias_of(b->model), .input = b->input, .now_us = b->now_us };
        struct access_decision d;
        access_decide(p, &ask, a, &d);
        if (d.allowed != (b->rule != NULL) || (d.allowed && strcmp(d.rule, b->rule) != 0))
            fail_msg("probe %zu: %s %.*s", i, d.allowed ? d.rule : d.reason, SLICE_FMT(d.message));
        if (!d.allowed && (strcmp(d.reason, b->reason) != 0 || memmem(d.message.p, d.message.n, b->says, strlen(b->says)) == NULL))
            fail_msg("probe %zu: %s: %.*s", i, d.reason, SLICE_FMT(d.message));
        assert_int_equal(d.max_output, d.allowed && strcmp(d.rule, "search") == 0 ? 200 : -1);
    }
    struct identity eve = { .user = T("eve") }, nobody = { .team = T("none") };
    assert_true(access_may_use(p, &eve, &small) && !access_may_use(p, &eve, &large) && !access_may_use(p, &nobody, &small));
    assert_true(access_may_use(NULL, &nobody, &small));
    access_policy_free(p);
    arena_free(a);
}

static void test_no_rule_at_all_lets_nobody_in(void **state)
{
    struct config c = { .models = models, .models_count = 4 };
    char why[256];
    struct access_policy *p = access_policy_new(&c, why, sizeof why);
    struct identity who = { .team = T("search") };
    struct access_ask ask = { .who = &who, .model = T("small"), .alias = &small, .input = 1 };
    struct access_decision d;
    struct arena *a = arena_new(1024);

    (void)state;
    assert_non_null(p);
    access_decide(p, &ask, a, &d);
    assert_false(d.allowed);
    assert_string_equal(d.reason, "access_subject");
    access_policy_free(p);
    arena_free(a);
}

static const struct {
    struct config_access rule;
    const char *says;
} wrongs[] = {
    { { .name = "r", LIST(models, "smal") }, "access[0].models: there is no model \"smal\"" },
    { { .name = "r", LIST(teams, "a*b") }, "access[0].teams: \"a*b\" has a '*' before its end" },
    { { .name = "r", LIST(endpoints, "images") }, "access[0].endpoints: there is no endpoint \"images\"" },
    { { .name = "r", LIST(networks, "10.0.0.0/33") }, "access[0].networks: \"10.0.0.0/33\" is no network" },
    { { .name = "r", LIST(networks, "10.0.0") }, "is no network" },
    { { .name = "r", LIST(networks, "10.0.0.0/") }, "is no network" },
    { { .name = "r", LIST(networks, "::/129") }, "is no network" },
    { { .name = "r", LIST(hours, "8-18") }, "access[0].hours: \"8-18\": write days" },
    { { .name = "r", LIST(hours, "08:00-08:00") }, "hold no minute" },
    { { .name = "r", LIST(hours, "08:00-18:00"), .time_zone = "Mars/Base" }, "access[0].time_zone: " },
    { { .name = "r", .time_zone = "UTC" }, "goes with hours only" },
    { { .name = "r", .max_prompt = -1 }, "access[0].max_prompt: must be at least 1" },
    { { .name = "r", .max_output = -5 }, "access[0].max_output: must be at least 1" },
};

static void test_what_no_rule_may_be(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        struct config_access one = wrongs[i].rule;
        struct config c = { .models = models, .models_count = 4, .access = &one, .access_count = 1 };
        char why[512];
        assert_null(access_policy_new(&c, why, sizeof why));
        if (strstr(why, wrongs[i].says) == NULL)
            fail_msg("%zu: %s", i, why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_probe),
        cmocka_unit_test(test_no_rule_at_all_lets_nobody_in),
        cmocka_unit_test(test_what_no_rule_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
