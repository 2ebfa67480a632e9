/* The recent events: cursors, what a slow reader is told, waiting; and the log that is written from them. */
#include "base/log.h"
#include "observe/event_fields.h"
#include "observe/recent.h"
#include "observe/request_log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct event numbered(int n)
{
    struct event e = { .kind = EVENT_DENIED, .at_us = 1000 + n, .reason = "budget", .status = n, .input_counted = -1, .output_ceiling = -1,
                       .budget_left_nano = -1, .identity_us = -1, .tokens_us = -1, .budget_us = -1, .commit_us = -1, .decision_us = -1 };
    snprintf(e.request_id, sizeof e.request_id, "r%d", n);
    return e;
}

static void fill(struct recent *r, int from, int count)
{
    for (int i = from; i < from + count; i++) {
        struct event e = numbered(i);
        recent_put(r, &e);
    }
}

static void test_readers_have_cursors_of_their_own(void **state)
{
    struct recent *r = recent_new();
    struct event out[8];
    uint64_t a = recent_end(r), b, lost = 77;

    (void)state;
    assert_int_equal(recent_read(r, &a, out, 8, &lost), 0);
    assert_int_equal(lost, 0);
    fill(r, 0, 5);
    b = recent_end(r);
    fill(r, 5, 5);
    assert_int_equal(recent_read(r, &a, out, 8, &lost), 8);
    assert_int_equal(out[0].status, 0);
    assert_int_equal(recent_read(r, &a, out, 8, &lost), 2);
    assert_int_equal(out[1].status, 9);
    assert_int_equal(recent_read(r, &b, out, 8, &lost), 5);
    assert_int_equal(out[0].status, 5);
    assert_int_equal(lost, 0);
    a = UINT64_MAX; /* of another process's ring */
    assert_int_equal(recent_read(r, &a, out, 1, &lost), 1);
    assert_int_equal(out[0].status, 0);
    recent_free(r);
}

static void test_a_slow_reader_is_told_what_it_lost(void **state)
{
    struct recent *r = recent_new();
    struct event out[4];
    uint64_t cursor = 0, lost;

    (void)state;
    fill(r, 0, RECENT_EVENTS + 100);
    assert_int_equal(recent_read(r, &cursor, out, 4, &lost), 4);
    assert_int_equal(lost, 100);
    assert_int_equal(out[0].status, 100);
    assert_int_equal(recent_read(r, &cursor, out, 4, &lost), 4);
    assert_int_equal(lost, 0);
    assert_int_equal(out[0].status, 104);
    recent_free(r);
}

static void test_since_a_moment(void **state)
{
    struct recent *r = recent_new();
    struct event out;
    uint64_t lost;
    int64_t oldest_us;
    bool overwritten;

    (void)state;
    assert_int_equal(recent_since(r, 0, &overwritten, &oldest_us), 0);
    assert_false(overwritten);
    assert_int_equal(oldest_us, 0);
    fill(r, 0, 10);
    uint64_t at = recent_since(r, 1004, &overwritten, &oldest_us);
    assert_false(overwritten);
    assert_int_equal(oldest_us, 1000);
    assert_int_equal(recent_read(r, &at, &out, 1, &lost), 1);
    assert_int_equal(out.status, 4);
    assert_int_equal(recent_since(r, 0, &overwritten, &oldest_us), 0);
    assert_int_equal(recent_since(r, 5000, &overwritten, &oldest_us), recent_end(r));
    fill(r, 10, RECENT_EVENTS);
    assert_int_equal(recent_since(r, 0, &overwritten, &oldest_us), 10);
    assert_true(overwritten);
    assert_int_equal(oldest_us, 1010);
    assert_int_equal(recent_since(r, 1500, &overwritten, &oldest_us), 500);
    recent_free(r);
}

/* Threads put their events a little out of order: an early one between later ones hides none of those. */
static void test_since_a_moment_among_events_out_of_order(void **state)
{
    static const int at[] = { 5, 9, 7, 6, 8 };
    struct recent *r = recent_new();
    int64_t oldest_us;
    bool overwritten;

    (void)state;
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        fill(r, at[i], 1);
    assert_int_equal(recent_since(r, 1008, &overwritten, &oldest_us), 1);
    recent_free(r);
}

static void *put_later(void *r)
{
    struct event e = numbered(1);
    usleep(20000);
    recent_put(r, &e);
    return NULL;
}

static void test_waiting_ends_with_an_event(void **state)
{
    struct recent *r = recent_new();
    pthread_t t;
    uint64_t cursor = 0, lost;
    struct event out;

    (void)state;
    assert_int_equal(pthread_create(&t, NULL, put_later, r), 0);
    while (recent_read(r, &cursor, &out, 1, &lost) == 0)
        recent_wait(r, cursor, 60000);
    pthread_join(t, NULL);
    assert_int_equal(out.status, 1);
    recent_wait(r, cursor, 1); /* comes back without one */
    recent_free(r);
}

/* Every event makes one line; what the writer could not keep up with is counted in a line; switched off, none is written. */
static void test_the_log(void **state)
{
    struct recent *r = recent_new();
    FILE *f = tmpfile();
    char text[512];
    int lines = 0, counted = 0;

    (void)state;
    log_set_fd(fileno(f));
    struct request_log *l = request_log_start(r, true);
    fill(r, 0, 200);
    request_log_stop(l);
    l = request_log_start(r, false);
    fill(r, 200, 10);
    request_log_stop(l);
    l = request_log_start(r, true);
    assert_true(request_log_on(l));
    fill(r, 300, 3 * RECENT_EVENTS); /* more than fits, faster than is written, perhaps */
    request_log_stop(l);
    rewind(f);
    while (fgets(text, sizeof text, f) != NULL) {
        int n;
        const char *p = strstr(text, " denied request_id=r");
        if (p != NULL) {
            assert_int_equal(sscanf(p, " denied request_id=r%d", &n), 1);
            assert_true(n < 200 || n >= 300);
            assert_non_null(strstr(text, " reason=budget"));
            lines++;
        } else {
            p = strstr(text, " events_not_logged count=");
            assert_non_null(p);
            counted += atoi(p + strlen(" events_not_logged count="));
        }
    }
    assert_int_equal(lines + counted, 200 + 3 * RECENT_EVENTS);
    assert_true(lines >= 200 + RECENT_EVENTS);
    log_set_fd(2);
    fclose(f);
    recent_free(r);
}

static const struct log_field *find(const struct log_field *f, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(f[i].key, key) == 0)
            return &f[i];
    return NULL;
}

static void test_fields_of_each_kind(void **state)
{
    struct log_field f[EVENT_FIELDS_MAX];
    struct event e = numbered(429);

    (void)state;
    size_t n = event_fields(&e, f);
    assert_true(slice_eq_cstr(find(f, n, "reason")->s, "budget"));
    assert_int_equal(find(f, n, "status")->i, 429);
    assert_null(find(f, n, "cost_nano"));
    assert_null(find(f, n, "input_counted")); /* not known */
    assert_null(find(f, n, "team"));
    e.kind = EVENT_ALLOWED;
    n = event_fields(&e, f);
    assert_non_null(find(f, n, "hold_nano"));
    assert_null(find(f, n, "reason"));
    e = (struct event){ .kind = EVENT_SETTLED, .reason = "ok", .status = 200, .known_by = KNOWN_REPORTED, .cost_nano = 0, .attempts = 2, .ttft_us = -1,
                        .usage = { .input = 5, .input_cached = 1, .input_cache_write = 1, .input_cache_write_1h = 1, .output = 3, .output_reasoning = 1,
                                   .input_audio = 1, .output_audio = 1 }, .total_us = 9, .tpot_ns = 4, .fallback = true };
    memset(e.provider_id, 'x', sizeof e.provider_id - 1);
    EVENT_TEXT(e.request_id, SLICE_LIT("r"));
    EVENT_TEXT(e.team, SLICE_LIT("t")), EVENT_TEXT(e.user, SLICE_LIT("u")), EVENT_TEXT(e.application, SLICE_LIT("a"));
    EVENT_TEXT(e.cost_center, SLICE_LIT("c")), EVENT_TEXT(e.alias, SLICE_LIT("al")), EVENT_TEXT(e.group, SLICE_LIT("g"));
    EVENT_TEXT(e.provider, SLICE_LIT("p")), EVENT_TEXT(e.model, SLICE_LIT("m"));
    n = event_fields(&e, f);
    assert_in_range(n, 25, EVENT_FIELDS_MAX);
    assert_true(slice_eq_cstr(find(f, n, "outcome")->s, "ok"));
    assert_int_equal(find(f, n, "cost_nano")->i, 0);
    assert_int_equal(find(f, n, "provider_request_id")->s.n, sizeof e.provider_id - 1);
    assert_null(find(f, n, "ttft_us"));
    assert_true(find(f, n, "fallback")->i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers_have_cursors_of_their_own),
        cmocka_unit_test(test_a_slow_reader_is_told_what_it_lost),
        cmocka_unit_test(test_since_a_moment),
        cmocka_unit_test(test_since_a_moment_among_events_out_of_order),
        cmocka_unit_test(test_waiting_ends_with_an_event),
        cmocka_unit_test(test_the_log),
        cmocka_unit_test(test_fields_of_each_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
