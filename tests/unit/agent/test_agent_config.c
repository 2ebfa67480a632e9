/* The configuration: what is accepted, and that every refusal names its line and what is allowed. */
#include "config/config.h"
#include "config/config_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <stdio.h>

static const char good[] = "listen:\n"                                                              /* 1 */
                           "  spop: [\"127.0.0.1:9000\", unix@/run/t/spop.sock]\n"                 /* 2 */
                           "  settle: unix@/run/t/settle.sock\n"                                    /* 3 */
                           "  ring: 127.0.0.1:9001\n"                                               /* 4 */
                           "  admin: /run/t/admin.sock\n"                                           /* 5 */
                           "haproxy:\n"                                                             /* 6 */
                           "  bind: [{address: \"127.0.0.1:8080\"}]\n"                              /* 7 */
                           "ledger: {file: /tmp/l.db}\n"                                            /* 8 */
                           "issuers:\n"                                                             /* 9 */
                           "  - issuer: https://sso.example\n"                                      /* 10 */
                           "    audience: [tollgate]\n"                                             /* 11 */
                           "providers:\n"                                                           /* 12 */
                           "  - {name: openai, url: \"https://api.example/v1\", credential: {env: K}}\n" /* 13 */
                           "models:\n"                                                              /* 14 */
                           "  - name: chat\n"                                                       /* 15 */
                           "    primary: {provider: openai, model: gpt-4o-mini}\n"                  /* 16 */
                           "limits:\n"                                                              /* 17 */
                           "  - {name: day, level: team, amount: \"$50\", window: day}\n";           /* 18 */

static struct config *load_text(const char *text, struct config_errors *errors)
{
    char path[] = "/tmp/tollgate-config-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct config *c = config_load(path, errors);
    unlink(path);
    return c;
}

/* `good` with one line replaced (or, when `line` is 0, appended). */
static struct config *load_changed(unsigned line, const char *with, struct config_errors *errors)
{
    char text[4096];
    size_t n = 0;
    unsigned at = 1;

    for (const char *p = good; *p != '\0'; at++) {
        size_t len = strcspn(p, "\n") + 1;
        n += (size_t)snprintf(text + n, sizeof text - n, "%.*s", at == line ? 0 : (int)len, p);
        if (at == line)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s\n", with);
        p += len;
    }
    if (line == 0)
        snprintf(text + n, sizeof text - n, "%s\n", with);
    return load_text(text, errors);
}

static void accepts_the_smallest_and_fills_defaults(void **state)
{
    struct config_errors e;
    struct config *c = load_text(good, &e);
    (void)state;

    if (c == NULL)
        fail_msg("%s", e.text);
    assert_int_equal(c->workers, 2);
    assert_string_equal(c->listen.settle, "/run/t/settle.sock");
    assert_true(*c->haproxy.lua);
    assert_string_equal(c->providers[0].price_as, "openai");
    assert_string_equal(c->providers[0].auth, "bearer");
    assert_int_equal(c->models[0].max_output, 4096);
    assert_int_equal(c->hold_timeout_us, 900000000);
    assert_int_equal(c->models[0].targets_count, 1);
    assert_string_equal(c->models[0].targets[0].provider, "openai");
    assert_null(c->models[0].primary);
    config_free(c);
}

static void accepts_the_example(void **state)
{
    struct config_errors e;
    struct config *c = config_load(SOURCE_DIR "/haproxy/examples/tollgate.yaml", &e);
    (void)state;

    if (c == NULL)
        fail_msg("%s", e.text);
    assert_int_equal(c->providers_count, 2);
    struct arena *a = arena_new(4096);
    struct budget_options o = config_budget(c, a);
    assert_int_equal(o.limits_count, 2);
    assert_string_equal(o.limits[0].unit, "usd");
    assert_string_equal(o.limits[1].unit, "tokens");
    struct haproxy_plan plan = config_haproxy(c, a);
    assert_string_equal(plan.spop_address, "unix@/run/tollgate/spop.sock");
    arena_free(a);
    config_free(c);
}

static void refuses_with_line_and_reason(void **state)
{
    static const struct {
        unsigned line;
        const char *with, *expect_line, *expect;
    } cases[] = {
        { 15, "  - nam: chat", ":15: models[0]", "unknown key \"nam\"; allowed here: name, primary" },
        { 15, "  - nam: chat", ":", "\"name\" is missing" },
        { 8, "ledger: {file: /tmp/l.db, hold_timeout: soon}", ":8: ledger.hold_timeout", "10s, 15m" },
        { 2, "  spop: 127.0.0.1:9000", ":2: listen.spop", "must be a list" },
        { 2, "  spop: [\"nowhere\"]", ":2: listen.spop[0]", "host:port or unix@" },
        { 4, "  ring: [a]", ":4: listen.ring", "must be a single value" },
        { 8, "ledger: {file: /tmp/l.db}\npassthrough: [{path: /v1/audio, provider: opena, methods: [GET]}]", ":9: passthrough[0].provider", "there is no provider \"opena\"" },
        { 8, "ledger: {file: /tmp/l.db}\npassthrough: [{path: /v1/audio, provider: openai, methods: [get]}]", ":9: passthrough[0].methods[0]", "allowed: GET, POST" },
        { 8, "ledger: {file: /tmp/l.db}\npassthrough: [{path: /v1/audio, provider: openai, methods: []}]", ":9: passthrough[0].methods", "" },
        { 8, "ledger: {file: /tmp/l.db}\npassthrough: [{path: /v1/chat, provider: openai, methods: [POST]}]", ":9: passthrough[0].path", "would cover /v1/chat/completions" },
        { 8, "ledger: {file: /tmp/l.db}\npassthrough: [{path: /v1/models, provider: openai, methods: [GET]}]", ":9: passthrough[0].path", "would cover /v1/models" },
        { 8, "ledger: {file: /tmp/l.db}\npassthrough: [{path: /v1/, provider: openai, methods: [POST]}]", ":9: passthrough[0].path", "like /v1/audio" },
        { 8, "ledger: {file: /tmp/l.db}\npassthrough: [{path: /v1/../x, provider: openai, methods: [POST]}]", ":9: passthrough[0].path", "like /v1/audio" },
        { 8, "ledger: {file: /tmp/l.db}\npassthrough: [{path: /v1/a, provider: openai, methods: [GET], price: cheap}]", ":9: passthrough[0].price", "dollars for one request" },
        { 8, "ledger: {file: /tmp/l.db}\npassthrough: [{path: /v1/a, provider: openai, methods: [GET]}, {path: /v1/a, provider: openai, methods: [GET]}]",
          ":9: passthrough[1].path", "already the path of passthrough[0]" },
        { 16, "    primary: {provider: opena, model: gpt-4o-mini}", ":16: models[0].primary.provider",
          "there is no provider \"opena\"; defined: openai" },
        { 16, "    targets: [{provider: openai, model: m}, {provider: opena, model: m}]", ":16: models[0].targets[1].provider",
          "there is no provider \"opena\"" },
        { 16, "    targets: [{provider: openai, model: m}]\n    primary: {provider: openai, model: m}", ":16: models[0].targets",
          "either targets, or primary and fallback" },
        { 16, "    max_output: 5", ":15: models[0].targets", "needs 1 to 16 targets" },
        { 16, "    targets: [{provider: openai, model: m, canary: 5%}]", ":16: models[0].targets", "must not be a canary" },
        { 16, "    targets: [{provider: openai, model: m}, {provider: openai, model: n, canary: \"101%\"}]", ":16: models[0].targets[1].canary",
          "write 5%" },
        { 16, "    targets: [{provider: openai, model: m, weight: -1}]", ":16: models[0].targets[0].weight", "0 to 1000000" },
        { 16, "    targets: [{provider: openai, model: m, capabilities: [vision]}]", ":16: models[0].targets[0].capabilities",
          "allowed: stream, tools, images" },
        { 16, "    targets: [{provider: openai, model: m, drop: [max_tokens]}]", ":16: models[0].targets[0].drop", "cannot stand here" },
        { 16, "    targets: [{provider: openai, model: m, when: {hours: [{at: \"22:00-25:00\"}]}}]", ":16: models[0].targets[0].when.hours[0]",
          "\"22:00-25:00\": write days and times" },
        { 16, "    targets: [{provider: openai, model: m, when: {hours: [{days: [monday]}]}}]", ":16: models[0].targets[0].when.hours[0]",
          "days: [Sat, Sun]" },
        { 16, "    targets: [{provider: openai, model: m, when: {hours: [{at: \"+8:00-18:00\"}]}}]", ":16: models[0].targets[0].when.hours[0]",
          "write days and times" },
        { 16, "    targets: [{provider: openai, model: m, when: {hours: [{at: \"09:00-09:00\"}]}}]", ":16: models[0].targets[0].when.hours[0]",
          "hold no minute" },
        { 16, "    targets: [{provider: openai, model: m, when: {hours: [{at: \"Mon 09:00-10:00\", days: [tue]}]}}]",
          ":16: models[0].targets[0].when.hours[0]", "write days and times" },
        { 16, "    targets: [{provider: openai, model: m, when: {hours: [{time_zone: Mars/Base}]}}]",
          ":16: models[0].targets[0].when.hours[0].time_zone", "Mars/Base" },
        { 16, "    targets: [{provider: openai, model: m, when: {min_input: 9, max_input: 8}}]",
          ":16: models[0].targets[0].when.max_input", "min_input not above" },
        { 16, "    primary: {provider: openai, model: m}\n    order: dearest", ":17: models[0].order", "listed, weight, cost, latency" },
        { 16, "    primary: {provider: openai, model: m}\n    sticky: maybe", ":17: models[0].sticky", "none, conversation, user" },
        { 13, "  - {name: openai, url: \"https://api.example/v1\", credential: {env: K}, dialects: [gemini]}", ":13: providers[0].dialects",
          "openai (the first four)" },
        { 13, "  - {name: openai, url: \"https://api.example/v1\", credential: {env: K}, refuse: [\"a b\"]}", ":13: providers[0].refuse",
          "letters, digits" },
        { 13, "  - {name: openai, url: \"https://api.example/v1\", credential: {env: K}, breaker: {window: 1ms}}",
          ":13: providers[0].breaker.window", "1s to 24h" },
        { 0, "breaker: {error_rate: half}", ":19: breaker.error_rate", "write 50%" },
        { 0, "breaker: {probes: 0}", ":19: breaker.probes", "1 to 100" },
        { 16, "    primary: {provider: openai, model: m}\n    max_output: many", ":17: models[0].max_output", "whole number" },
        { 13, "  - {name: openai, url: \"https://api.example/v1\", credential: {env: K, file: /k}}", ":13: providers[0].credential",
          "exactly one of file, env, systemd" },
        { 13, "  - {name: openai, url: \"https://api.example/v1\", credentials: [{name: a, env: K}, {name: a, env: L}]}",
          ":13: providers[0].credentials[1].name", "the name of another" },
        { 13, "  - {name: openai, url: \"https://api.example/v1\", credentials: [{name: openai-2, env: K}, {env: L}]}",
          ":13: providers[0].credentials[1]", "the name of another" }, /* which the second would have by itself */
        { 13, "  - {name: openai, url: \"https://api.example/v1\", credential: {name: \"a b\", env: K}}",
          ":13: providers[0].credential.name", "without blanks" },
        { 13, "  - {name: openai, url: \"https://api.example/v1\", auth: basic, credential: {env: K}}", ":13: providers[0].auth",
          "allowed: bearer, api-key, x-api-key, aws-sigv4, none" },
        { 13, "  - {name: \"a b\", url: \"https://api.example/v1\", credential: {env: K}}", ":13: providers[0].name", "A-Z a-z 0-9" },
        { 18, "  - {name: day, level: planet, amount: \"$50\", window: day}", ":18: limits[0].", "planet" },
        { 18, "  - {name: day, level: team, amount: \"$5O\", window: day}", ":18: limits[0].amount", "" },
        { 18, "  - {name: day, level: team, amount: \"$50\", window: day, time_zone: Mars/Base}", ":18: limits[0].time_zone", "" },
        { 0, "workers: 0x2", ":19: workers", "whole number" },
        { 0, "workers: 1000", ":19: workers", "1 to 64" },
        { 0, "log_level: loud", ":19: log_level", "debug, info, warn, error" },
        { 0, "prompts: {file: here.log}", ":19: prompts", "absolute path" },
        { 0, "prompts: {file: /x, keep: 101}", ":19: prompts", "keep 1 to 100" },
        { 0, "log: {format: xml}", ":19: log.format", "logfmt, json" },
        { 0, "log: {decisions: maybe}", ":19", "log" },
        { 0, "log_level: info\nlog_level: warn", ":20", "given twice" },
        { 7, "  bind: [{address: \"127.0.0.1:8080\"}]\n  lua: maybe", ":8: haproxy.lua", "true or false" },
        { 7, "  bind: [{address: \"127.0.0.1:8080\"}]\n  files: [haproxy.cfg]", ":8: haproxy.files", "must be an absolute path" },
        { 11, "    audience: [tollgate", ":1", "not YAML" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config_errors e;
        struct config *c = load_changed(cases[i].line, cases[i].with, &e);
        if (c != NULL)
            fail_msg("accepted: %s", cases[i].with);
        if (strstr(e.text, cases[i].expect_line) == NULL || strstr(e.text, cases[i].expect) == NULL)
            fail_msg("\"%s\" gave:\n%swithout \"%s\" and \"%s\"", cases[i].with, e.text, cases[i].expect_line, cases[i].expect);
    }
}

static void reports_every_error_at_once(void **state)
{
    struct config_errors e;
    struct config *c = load_changed(0, "log_level: loud\nworkers: 99\nledgr: x", &e);
    (void)state;

    assert_null(c);
    assert_non_null(strstr(e.text, ":21:"));
    c = load_changed(0, "log_level: loud\nworkers: 99", &e);
    assert_null(c);
    assert_int_equal(e.count, 2);
}

static void refuses_what_is_no_file(void **state)
{
    struct config_errors e;
    (void)state;

    assert_null(config_load("/nonexistent/tollgate.yaml", &e));
    assert_non_null(strstr(e.text, "cannot be read: No such file"));
    assert_null(config_load("/tmp", &e));
    assert_null(load_text("", &e));
    assert_non_null(strstr(e.text, "empty"));
}

/* libyaml resolves aliases to shared nodes: a few lines can stand for a very wide tree. */
static void refuses_aliases_quickly(void **state)
{
    struct config_errors e;
    (void)state;

    assert_null(load_text("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nlisten: &c {spop: [*b,*b]}\nhaproxy: *c\n", &e));
    assert_true(e.count > 0);
}

static void without_lua_models_keep_their_names(void **state)
{
    struct config_errors e;
    struct config *c = load_changed(7, "  bind: [{address: \"127.0.0.1:8080\"}]\n  lua: false", &e);
    (void)state;

    assert_null(c);
    assert_non_null(strstr(e.text, "models[0].primary.model: without Lua"));
}

static void durations(void **state)
{
    int64_t us;
    (void)state;

    assert_true(config_duration_us("250ms", &us) && us == 250000);
    assert_true(config_duration_us("7d", &us) && us == INT64_C(604800000000));
    assert_false(config_duration_us("10", &us));
    assert_false(config_duration_us("-1s", &us));
    assert_false(config_duration_us("9223372036854775807d", &us));
    assert_false(config_duration_us("", &us));
}

static void test_metrics(void **state)
{
    struct config_errors e;

    (void)state;
    struct config *c = load_changed(0, "", &e);
    assert_non_null(c);
    assert_null(c->metrics.listen);
    assert_int_equal(c->metrics.max_teams, 100);
    config_free(c);
    c = load_changed(0, "metrics: {listen: \"off\", max_teams: 7}", &e);
    assert_non_null(c);
    assert_string_equal(c->metrics.listen, "off");
    assert_int_equal(c->metrics.max_teams, 7);
    config_free(c);
    assert_null(load_changed(0, "metrics: {listen: unix@/run/x, max_teams: 2000}", &e));
    assert_non_null(strstr(e.text, "metrics.listen: \"unix@/run/x\" is no address; write host:port, or off"));
    assert_non_null(strstr(e.text, "metrics.max_teams: must be 1 to 1000"));
}

/* 10^6 of an override's figure is the rate in pico-dollars; a price per request counts once. */
static void overrides_name_every_kind_of_price(void **state)
{
    struct config_errors e;
    char why[256] = "";
    struct config *c = load_changed(0, "prices:\n  overrides:\n    - {provider: openai, model: mine, input: \"1\", output: \"2\", cached_input: \"3\", "
                                       "cache_write: \"4\", cache_write_1h: \"5\", reasoning: \"6\", audio_input: \"7\", audio_output: \"8\", "
                                       "request: \"0.01\"}", &e);
    (void)state;

    if (c == NULL)
        fail_msg("%s", e.text);
    struct price_table *t = config_prices(c, why, sizeof why);
    if (t == NULL)
        fail_msg("%s", why);
    const struct model_price *m = price_lookup(t, SLICE_LIT("openai"), SLICE_LIT("mine"), NULL);
    assert_non_null(m);
    static const int64_t want[PRICE_KINDS] = { [PRICE_INPUT] = 1, [PRICE_OUTPUT] = 2, [PRICE_CACHED] = 3, [PRICE_CACHE_WRITE] = 4,
                                               [PRICE_CACHE_WRITE_1H] = 5, [PRICE_REASONING] = 6, [PRICE_AUDIO_IN] = 7, [PRICE_AUDIO_OUT] = 8 };
    for (int k = 0; k < PRICE_KINDS; k++)
        assert_int_equal(m->base.pico[k], want[k] * 1000000);
    assert_int_equal(m->request_pico, INT64_C(10000000000));
    price_table_unref(t);
    config_free(c);
    assert_null(load_changed(0, "prices:\n  overrides:\n    - {provider: openai, model: mine, input: \"1\", output: \"2\", request: \"2000\"}", &e));
    assert_non_null(strstr(e.text, "USD per request"));
}

static void contracts_are_read_and_checked(void **state)
{
    static const struct { const char *text, *want; } cases[] = {
        { "prices: {contracts: [{name: x, discount: \"101\"}]}", "prices.contracts[0]: discount must be percent" },
        { "prices: {contracts: [{name: x, discount: \"5\", teams: []}]}", "teams" },
        { "prices: {contracts: [{name: x, discount: \"5\"}, {name: x, discount: \"6\"}]}", "prices.contracts[1]: another contract has this name" },
        { "prices: {contracts: [{name: x, rates: {input: \"1\"}, models: [m]}]}", "prices.contracts[0]: rates of its own need exactly one provider" },
    };
    struct config_errors e;
    char why[256] = "";
    struct config *c = load_changed(0, "prices:\n  contracts:\n    - {name: acme, organizations: [acme], teams: [a, b], providers: [openai], models: "
                                       "[mine], discount: \"12.5\", rates: {input: \"1\", output: \"2\", request: \"0.01\"}}", &e);
    (void)state;

    if (c == NULL)
        fail_msg("%s", e.text);
    struct price_table *t = config_prices(c, why, sizeof why);
    if (t == NULL)
        fail_msg("%s", why);
    struct identity who = { .organization = SLICE_LIT("acme"), .team = SLICE_LIT("b") };
    struct price_terms terms = price_terms_for(t, NULL, &who, SLICE_LIT("openai"), SLICE_LIT("mine"));
    assert_int_equal(terms.discount_bp, 1250);
    assert_non_null(terms.billed);
    assert_int_equal(terms.billed->base.pico[PRICE_OUTPUT], 2000000);
    assert_int_equal(terms.billed->request_pico, INT64_C(10000000000));
    who.team = SLICE_LIT("c");
    assert_null(price_terms_for(t, NULL, &who, SLICE_LIT("openai"), SLICE_LIT("mine")).billed);
    price_table_unref(t);
    config_free(c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_null(load_changed(0, cases[i].text, &e));
        if (strstr(e.text, cases[i].want) == NULL)
            fail_msg("%s: %s", cases[i].text, e.text);
    }
}

static void traces_are_checked_and_get_defaults(void **state)
{
    static const char *const cases[][2] = {
        { "traces: {sample: 1%}", "endpoint" },
        { "traces: {endpoint: \"http://c:4318/v1/traces\"}", "traces.endpoint: http needs allow_http: true" },
        { "traces: {endpoint: \"c:4318\"}", "traces.endpoint: must be an https:// address" },
        { "traces: {endpoint: \"https://c\", sample: often}", "traces.sample: \"often\" is no share; write 25%, 0.5%" },
        { "traces: {endpoint: \"https://c\", compression: zstd}", "traces.compression: \"zstd\" is not known; allowed: none, gzip" },
        { "traces: {endpoint: \"https://c\", headers: [{name: Content-Encoding, value: a}]}", "is no name of a header" },
        { "traces: {endpoint: \"https://c\", timeout: 2h}", "traces.timeout: \"2h\" is no duration from 50ms to 60s" },
        { "traces: {endpoint: \"https://c\", interval: 1ms}", "traces.interval: \"1ms\" is no duration" },
        { "traces: {endpoint: \"https://c\", batch: 5000, queue: 9000}", "traces.batch: must be 1 to 4096" },
        { "traces: {endpoint: \"https://c\", queue: 100}", "traces.queue: must be batch to 65536" },
        { "traces: {endpoint: \"https://c\", headers: [{name: a}]}", "traces.headers[0]: needs either value, or file" },
        { "traces: {endpoint: \"https://c\", headers: [{name: a, value: b, file: /c}]}", "traces.headers[0]: needs either value, or file" },
        { "traces: {endpoint: \"https://c\", headers: [{name: a, file: c}]}", "traces.headers[0]: file must be an absolute path" },
        { "traces: {endpoint: \"https://c\", headers: [{name: \"a b\", value: c}]}", "traces.headers[0].name: \"a b\" is no name" },
        { "traces: {endpoint: \"https://c\", headers: [{name: Host, value: c}]}", "traces.headers[0].name" },
        { "traces: {endpoint: \"https://c\", headers: [{name: a, value: \"c\\nd\"}]}", "traces.headers[0]: value must be one line" },
    };
    char text[16384];
    struct config_errors e;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "%s%s\n", good, cases[i][0]);
        assert_null(load_text(text, &e));
        if (strstr(e.text, cases[i][1]) == NULL)
            fail_msg("%s: %s", cases[i][0], e.text);
    }
    snprintf(text, sizeof text, "%straces: {endpoint: \"http://c/v1/traces\", allow_http: true, sample: \"12.5%%\"}\n", good);
    struct config *c = load_text(text, &e);
    if (c == NULL)
        fail_msg("%s", e.text);
    assert_int_equal(c->traces.sample_parts, 1250);
    assert_int_equal(c->traces.timeout_us, 10000000);
    assert_int_equal(c->traces.interval_us, 5000000);
    assert_int_equal(c->traces.batch, 512);
    assert_int_equal(c->traces.queue, 2048);
    assert_string_equal(c->traces.service, "tollgate");
    assert_string_equal(c->traces.compression, "none");
    config_free(c);
}

static void alerts_need_https_and_a_secret(void **state)
{
    static const struct { const char *text, *want; } cases[] = {
        { "alerts: {url: \"http://hooks.example/x\", secret_file: /etc/k}", "alerts.url: http needs allow_http: true" },
        { "alerts: {url: \"ftp://hooks.example/x\", secret_file: /etc/k}", "alerts.url: must be an https:// address" },
        { "alerts: {url: \"https://hooks.example/x\"}", "secret_file" },
        { "alerts: {url: \"https://hooks.example/x\", secret_file: k}", "alerts.secret_file: must be an absolute path" },
        { "alerts: {url: \"https://hooks.example/x\", secret_file: /etc/k, queue: -1}", "alerts.queue: must be 1 to 100000" },
    };
    struct config_errors e;
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_null(load_changed(0, cases[i].text, &e));
        if (strstr(e.text, cases[i].want) == NULL)
            fail_msg("%s: %s", cases[i].text, e.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_the_smallest_and_fills_defaults),
        cmocka_unit_test(overrides_name_every_kind_of_price),
        cmocka_unit_test(contracts_are_read_and_checked),
        cmocka_unit_test(traces_are_checked_and_get_defaults),
        cmocka_unit_test(alerts_need_https_and_a_secret),
        cmocka_unit_test(accepts_the_example),
        cmocka_unit_test(refuses_with_line_and_reason),
        cmocka_unit_test(reports_every_error_at_once),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(refuses_aliases_quickly),
        cmocka_unit_test(without_lua_models_keep_their_names),
        cmocka_unit_test(durations),
        cmocka_unit_test(test_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
