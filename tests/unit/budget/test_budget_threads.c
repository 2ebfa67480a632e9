/* Many threads against the same budget: what was allowed and is not given back never passes the limit, and nothing is lost. */
#include "budget/budget.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>

#include <cmocka.h>

#define NOW (INT64_C(1795435200) * 1000000)
#define USD INT64_C(1000000000)

enum { THREADS = 8, ROUNDS = 20000 };

struct shared {
    struct budget *b;
    atomic_llong taken;   /* nano-dollars allowed and not given back; raised after a reservation, lowered before its end */
    atomic_llong settled, allowed, refused;
    atomic_bool over, stop;
};

struct worker {
    struct shared *s;
    uint64_t seed;
};

static uint32_t rnd(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s >> 24);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct shared *s = w->s;
    char user[16];
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(user, sizeof user, "u%u", rnd(&w->seed) % 50);
        struct identity who = { .team = SLICE_LIT("red"), .user = slice_cstr(user) };
        struct budget_ask q = { .subjects = { &who, SLICE_LIT("chat"), NULL, NULL },
                                .hold = { (int64_t)(rnd(&w->seed) % 1000) * 1000000, 10, 1 } };
        struct budget_hold h;
        struct budget_answer a;
        if (budget_reserve(s->b, &q, NOW, i, &h, &a) != BUDGET_ALLOWED) {
            atomic_fetch_add(&s->refused, 1);
            continue;
        }
        atomic_fetch_add(&s->allowed, 1);
        if (atomic_fetch_add(&s->taken, q.hold.nano) + q.hold.nano > 20 * USD)
            atomic_store(&s->over, true);
        int64_t cost = q.hold.nano / 1000; /* most comes back */
        atomic_fetch_sub(&s->taken, q.hold.nano - cost);
        struct budget_actual actual = { .primary = { cost, 5, 1 } };
        if (budget_settle(s->b, h, &actual, i) != BUDGET_ENDED || budget_settle(s->b, h, &actual, i) == BUDGET_ENDED)
            atomic_store(&s->over, true);
        atomic_fetch_add(&s->settled, cost);
    }
    return NULL;
}

/* Reloads and lists while the others work. */
static void *control(void *arg)
{
    struct shared *s = arg;
    struct arena *arena = arena_new(65536);
    const char *amounts[] = { "$18", "$20" };
    char why[256];
    unsigned fresh;
    for (int i = 0; !atomic_load(&s->stop); i++) {
        const struct budget_limit l[] = {
            { .name = "team", .scope = { .level = "team" }, .unit = "usd", .amount = amounts[i % 2], .window = "day" },
            { .name = "user", .scope = { .level = "user" }, .unit = "concurrent", .amount = "3" },
            { .name = "extra", .scope = { .level = "user" }, .unit = "tokens", .amount = "1000000", .window = "day" },
        };
        struct budget_options o = { .limits = l, .limits_count = 2 + (i / 2) % 2 };
        struct budget_view *v;
        struct budget_notice n;
        size_t count, cursor = 0;
        if (budget_reload(s->b, &o, NOW, 0, &fresh, why, sizeof why) != 0)
            atomic_store(&s->over, true);
        budget_load_done(s->b, NOW, 0);
        do {
            if (budget_list(s->b, NOW, 0, 16, &cursor, arena, &v, &count) != 0)
                break;
            for (size_t k = 0; k < count; k++)
                if (v[k].state.unit == BUDGET_USD && v[k].state.used + v[k].state.held > 20 * USD)
                    atomic_store(&s->over, true);
        } while (cursor);
        while (budget_notice_take(s->b, &n))
            ;
        budget_tick(s->b, NOW, 0);
        arena_reset(arena, 65536);
    }
    arena_free(arena);
    return NULL;
}

static void threads_never_pass_a_limit(void **state)
{
    const struct budget_limit l[] = {
        { .name = "team", .scope = { .level = "team" }, .unit = "usd", .amount = "$20", .window = "day" },
        { .name = "user", .scope = { .level = "user" }, .unit = "concurrent", .amount = "3" },
    };
    struct budget_options o = { .limits = l, .limits_count = 2 };
    struct shared s = { .over = false };
    struct worker w[THREADS];
    pthread_t t[THREADS], c;
    struct budget_stats st;
    char why[256];
    (void)state;
    s.b = budget_new(&o, NOW, 0, why, sizeof why);
    budget_load_done(s.b, NOW, 0);
    assert_int_equal(pthread_create(&c, NULL, control, &s), 0);
    for (int i = 0; i < THREADS; i++) {
        w[i] = (struct worker){ &s, UINT64_C(88172645463325252) * (unsigned)(i + 1) };
        assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    atomic_store(&s.stop, true);
    pthread_join(c, NULL);
    assert_false(atomic_load(&s.over));
    budget_stats_get(s.b, &st);
    assert_int_equal(st.holds, 0);
    assert_int_equal(st.reserved, atomic_load(&s.allowed));
    assert_int_equal(st.settled, atomic_load(&s.allowed));
    assert_int_equal(st.double_ends, atomic_load(&s.allowed));
    assert_true(atomic_load(&s.allowed) > 0 && atomic_load(&s.refused) > 0);
    assert_true(atomic_load(&s.settled) <= 20 * USD);
    struct identity who = { .team = SLICE_LIT("red") };
    struct budget_subjects subjects = { &who, SLICE_NONE, NULL, NULL };
    struct arena *arena = arena_new(4096);
    struct budget_view *v;
    size_t n;
    assert_int_equal(budget_list_for(s.b, &subjects, NOW, 0, arena, &v, &n), 0);
    assert_string_equal(v[0].state.limit, "team");
    assert_int_equal(v[0].state.used, atomic_load(&s.settled));
    assert_int_equal(v[0].state.held, 0);
    arena_free(arena);
    budget_free(s.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(threads_never_pass_a_limit) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
