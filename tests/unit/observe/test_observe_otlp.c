/* The exporter's patience, by clocks of the test's own, and gzip. Replies of all kinds: tests/e2e/test_observe_traces.py. */
#include "observe/gzip.h"
#include "observe/otlp.h"
#include "observe/otlp_retry.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define S INT64_C(1000000)

/* Nobody answers: when each try comes, in seconds after the first. */
static void test_pauses_grow_until_two_minutes(void **state)
{
    static const int64_t tries_s[] = { 1, 3, 7, 15, 31, 61, 91 };
    struct otlp_retry r;
    int64_t now = 77 * S, pause;
    size_t n = 0;

    (void)state;
    otlp_retry_begin(&r, now);
    while ((pause = otlp_retry_pause_us(&r, now, 0, 0)) >= 0) {
        assert_true(n < sizeof tries_s / sizeof *tries_s);
        now += pause;
        assert_int_equal(now, 77 * S + tries_s[n++] * S);
    }
    assert_int_equal(n, sizeof tries_s / sizeof *tries_s);
    otlp_retry_begin(&r, now); /* the next batch begins anew */
    assert_int_equal(otlp_retry_pause_us(&r, now, 0, 0), S);
}

static void test_pauses_that_are_asked_for(void **state)
{
    struct otlp_retry r;

    (void)state;
    otlp_retry_begin(&r, 0);
    assert_int_equal(otlp_retry_pause_us(&r, 0, 20, 0), 20 * S);
    assert_int_equal(otlp_retry_pause_us(&r, 20 * S, 1, 0), 2 * S);       /* never sooner than without asking */
    assert_int_equal(otlp_retry_pause_us(&r, 22 * S, 3600, 0), 60 * S);   /* nor than a minute */
    assert_int_equal(otlp_retry_pause_us(&r, 82 * S, 3600, 0), -1);       /* beyond two minutes */
    otlp_retry_begin(&r, 0);
    assert_int_equal(otlp_retry_pause_us(&r, 60 * S, 3600, 0), 60 * S);   /* the last moment there is */
    assert_int_equal(otlp_retry_pause_us(&r, 60 * S + 1, 3600, 0), -1);
    otlp_retry_begin(&r, 0);
    assert_int_equal(otlp_retry_pause_us(&r, 0, 0, 999), S + 249750);     /* a quarter more at most */
    assert_int_equal(otlp_retry_pause_us(&r, OTLP_RETRY_US, 0, 0), -1);   /* the clock went on while a try hung */
}

/* ---- the exporter with a clock that is two minutes later whenever it is read ---- */

static atomic_llong leap;

static int64_t leaping_us(void)
{
    return (int64_t)atomic_fetch_add(&leap, OTLP_RETRY_US + 1);
}

/* A port of this machine's that refuses connections for as long as it is held. */
static int refusing(char url[64])
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    snprintf(url, 64, "http://127.0.0.1:%u/v1/traces", ntohs(at.sin_port));
    return fd;
}

struct exporter {
    struct metrics *metrics;
    struct otlp *otlp;
    int fd;
};

static void exporter_start(struct exporter *x, int64_t (*clock_us)(void))
{
    struct otlp_metrics m;
    char url[64];

    x->fd = refusing(url);
    x->metrics = metrics_new(100, 1);
    assert_non_null(x->metrics);
    assert_true(otlp_metrics_add(&m, x->metrics));
    struct otlp_settings *s = otlp_settings_new(url, NULL, "test");
    assert_non_null(s);
    s->allow_http = s->gzip = true;
    s->timeout_ms = 60000;
    s->interval_ms = 20;
    s->batch = 4;
    s->clock_us = clock_us;
    x->otlp = otlp_start(s, 16, &m);
    assert_non_null(x->otlp);
    struct trace_span *span = calloc(1, sizeof *span);
    assert_non_null(span);
    otlp_offer(x->otlp, span);
    free(span);
}

static void exporter_end(struct exporter *x)
{
    otlp_stop(x->otlp, 0);
    metrics_free(x->metrics);
    close(x->fd);
}

static bool shows(struct exporter *x, const char *line)
{
    size_t n;
    char *text = metrics_text(x->metrics, METRICS_TEXT, &n);

    assert_non_null(text);
    bool found = strstr(text, line) != NULL;
    free(text);
    return found;
}

static void until_shown(struct exporter *x, const char *line)
{
    for (int i = 0; !shows(x, line); i++) {
        assert_true(i < 60000);
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
}

static void test_a_batch_is_given_up_after_two_minutes(void **state)
{
    struct exporter x;

    (void)state;
    exporter_start(&x, leaping_us);
    until_shown(&x, "tollgate_trace_spans_total{result=\"failed\"} 1\n");
    assert_true(shows(&x, "tollgate_trace_exports_total{result=\"failed\"} 1\n"));
    struct trace_span *span = calloc(1, sizeof *span);
    assert_non_null(span);
    otlp_offer(x.otlp, span); /* the exporter lives on */
    free(span);
    until_shown(&x, "tollgate_trace_spans_total{result=\"failed\"} 2\n");
    exporter_end(&x);
}

static int64_t standing_us(void)
{
    return 5 * S;
}

static void test_before_that_it_is_kept(void **state)
{
    struct exporter x;

    (void)state;
    exporter_start(&x, standing_us);
    until_shown(&x, "tollgate_trace_exports_total{result=\"failed\"} 2\n"); /* after a pause of a second */
    assert_true(shows(&x, "tollgate_trace_spans_total{result=\"failed\"} 0\n"));
    exporter_end(&x);
}

static void unpacks_to(struct slice text)
{
    size_t n;
    char *packed = gzip_pack(text, &n), *back = malloc(text.n + 1);
    z_stream z = { .next_in = (Bytef *)packed, .avail_in = (uInt)n, .next_out = (Bytef *)back, .avail_out = (uInt)text.n + 1 };

    assert_non_null(packed);
    assert_non_null(back);
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, text.n);
    assert_int_equal(z.avail_in, 0);
    assert_memory_equal(back, text.p, text.n);
    inflateEnd(&z);
    free(packed);
    free(back);
}

static void test_gzip(void **state)
{
    enum { SIZE = 300000 };
    char *noise = malloc(SIZE);
    uint32_t x = 1;

    (void)state;
    assert_non_null(noise);
    for (int i = 0; i < SIZE; i++) {
        x = x * 1664525 + 1013904223;
        noise[i] = (char)(x >> 24);
    }
    unpacks_to(SLICE_LIT(""));
    unpacks_to(SLICE_LIT("{}"));
    unpacks_to(slice_make(noise, SIZE)); /* larger when packed */
    free(noise);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pauses_grow_until_two_minutes), cmocka_unit_test(test_pauses_that_are_asked_for),
        cmocka_unit_test(test_a_batch_is_given_up_after_two_minutes), cmocka_unit_test(test_before_that_it_is_kept),
        cmocka_unit_test(test_gzip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
