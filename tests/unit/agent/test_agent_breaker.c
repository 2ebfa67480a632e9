/* Circuit breakers with the configuration's own defaults, on a clock of the test's: how many requests a provider that is down still gets, and
 * how soon traffic returns to it once it is well. */
#include "config/config_route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static const int64_t SECOND = 1000000, STEP = 20000 /* a request every 20 ms */;

struct seen {
    int64_t now_us;
    int asked_down;      /* requests that went to the provider while it was down for more than a second */
    int64_t longest_us;  /* from its recovery until every request goes there again */
};

/* One request: to the target unless its breaker says otherwise. Returns whether it went there. */
static bool request(struct breaker *b, bool down, int64_t now)
{
    enum route_state state = breaker_route_state(b, now);

    breaker_tick(b, now);
    if (state == ROUTE_OPEN || (state == ROUTE_PROBE && !breaker_probe_take(b, now)))
        return false;
    (void)breaker_attempt(b, down ? BREAKER_FAILED : BREAKER_GOOD, -1, now);
    return true;
}

static bool closed(const struct breaker *b, int64_t now)
{
    struct breaker_view v;

    breaker_view(b, now, &v);
    return v.state == BREAKER_CLOSED;
}

static void outage(struct breaker *b, struct seen *s, int64_t down_us, int64_t up_us)
{
    int64_t began = s->now_us, returned = -1;

    for (; s->now_us < began + down_us; s->now_us += STEP)
        s->asked_down += request(b, true, s->now_us) && s->now_us > began + SECOND;
    int64_t well = s->now_us;
    for (; s->now_us < well + up_us; s->now_us += STEP) {
        request(b, false, s->now_us);
        if (returned < 0 && closed(b, s->now_us))
            returned = s->now_us;
    }
    if (returned < 0)
        returned = s->now_us;
    if (returned - well > s->longest_us)
        s->longest_us = returned - well;
}

static struct breaker *fresh(struct breaker_table *t, const char *name)
{
    static const struct config c;
    static const struct config_provider p;
    struct breaker *b = breaker_get(t, slice_cstr(name), SLICE_LIT("m"));
    struct breaker_options o = config_breaker(&c, &p);

    assert_non_null(b);
    breaker_configure(b, &o);
    return b;
}

static void test_traffic_returns_within_30_seconds(void **state)
{
    static const int64_t downs[] = { 1, 2, 5, 10, 30, 60, 300, 3600, 86400 };
    struct breaker_table *t = breaker_table_new();

    (void)state;
    for (size_t i = 0; i < sizeof downs / sizeof *downs; i++) {
        char name[24];
        struct seen s = { .now_us = 1000 * SECOND };
        snprintf(name, sizeof name, "p%zu", i);
        outage(fresh(t, name), &s, downs[i] * SECOND, 120 * SECOND);
        if (s.longest_us >= 30 * SECOND)
            fail_msg("down for %d s: %d ms until it was asked again", (int)downs[i], (int)(s.longest_us / 1000));
    }
    breaker_table_free(t);
}

static void test_a_flapping_provider(void **state)
{
    static const int64_t ms[][2] = { { 500, 500 }, { 1000, 4000 }, { 3000, 3000 }, { 10000, 20000 }, { 20000, 45000 }, { 45000, 45000 } };
    struct breaker_table *t = breaker_table_new();

    (void)state;
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        char name[24];
        struct seen s = { .now_us = 1000 * SECOND };
        snprintf(name, sizeof name, "f%zu", i);
        struct breaker *b = fresh(t, name);
        for (int round = 0; round < 20; round++)
            outage(b, &s, ms[i][0] * 1000, ms[i][1] * 1000);
        /* Down for long: after the first second one probe a second at most. */
        if (s.asked_down > 20 * (ms[i][0] / 1000 + 1))
            fail_msg("%d ms down: %d requests went there", (int)ms[i][0], s.asked_down);
        /* However it has been: once it stays well, traffic returns. */
        s.longest_us = 0;
        outage(b, &s, 0, 60 * SECOND);
        if (s.longest_us >= 30 * SECOND)
            fail_msg("%d ms down, %d ms well: %d ms until it was asked again", (int)ms[i][0], (int)ms[i][1], (int)(s.longest_us / 1000));
    }
    breaker_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traffic_returns_within_30_seconds),
        cmocka_unit_test(test_a_flapping_provider),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
