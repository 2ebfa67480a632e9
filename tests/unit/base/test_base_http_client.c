/* The HTTP client against a server of this program: methods, headers, limits, cancelling, what is refused before anything is sent. */
#include "base/clock.h"
#include "base/http_client.h"

#include <ev.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
enum { PATIENCE_S = 120 }; /* for what is expected to come */

struct fixture {
    struct ev_loop *loop;
    struct http_client *c;
    struct MHD_Daemon *daemon;
    unsigned port;
    atomic_int hits;
    atomic_bool held; /* /held is not answered while it is set */
};

struct upload {
    char text[256];
    size_t n;
};

static ssize_t endless(void *cls, uint64_t at, char *buf, size_t max)
{
    (void)cls, (void)at;
    memset(buf, 'x', max);
    return (ssize_t)max;
}

/* A byte now and then: never idle, never done. */
static ssize_t drip(void *cls, uint64_t at, char *buf, size_t max)
{
    (void)cls, (void)at;
    if (max == 0)
        return 0;
    usleep(20000);
    buf[0] = 'x';
    return 1;
}

/* Echoes "METHOD path header body". */
static enum MHD_Result answer(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                              const char *data, size_t *size, void **con)
{
    struct fixture *f = cls;
    struct upload *up = *con;
    char body[600];
    const char *x = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "X-Test");
    (void)version;
    if (up == NULL) {
        *con = calloc(1, sizeof *up);
        return MHD_YES;
    }
    if (*size > 0) {
        size_t n = *size < sizeof up->text - up->n ? *size : sizeof up->text - up->n;
        memcpy(up->text + up->n, data, n);
        up->n += n;
        *size = 0;
        return MHD_YES;
    }
    atomic_fetch_add(&f->hits, 1);
    while (strcmp(url, "/held") == 0 && atomic_load(&f->held))
        usleep(1000);
    if (strcmp(url, "/endless") == 0 || strcmp(url, "/drip") == 0) { /* chunked: no length says how much there will be */
        free(up);
        *con = NULL;
        struct MHD_Response *stream = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, url[1] == 'e' ? endless : drip, NULL, NULL);
        enum MHD_Result queued = MHD_queue_response(c, 200, stream);
        MHD_destroy_response(stream);
        return queued;
    }
    int n = snprintf(body, sizeof body, "%s %s %s %.*s", method, url, x ? x : "-", (int)up->n, up->text);
    free(up);
    *con = NULL;
    struct MHD_Response *r = MHD_create_response_from_buffer((size_t)n, body, MHD_RESPMEM_MUST_COPY);
    bool loop = strcmp(url, "/loop") == 0;
    if (loop)
        MHD_add_response_header(r, "Location", "/loop");
    MHD_add_response_header(r, "Cache-Control", "public, max-age=120");
    MHD_add_response_header(r, "Age", "20");
    enum MHD_Result rc = MHD_queue_response(c, loop ? 302 : 200, r);
    MHD_destroy_response(r);
    return rc;
}

static int set_up(void **state)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct fixture *f = calloc(1, sizeof *f);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* must not be used */
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    f->loop = ev_loop_new(0);
    f->c = http_client_new(f->loop, NULL);
    f->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, answer, f, MHD_OPTION_SOCK_ADDR, &any, MHD_OPTION_END);
    f->port = MHD_get_daemon_info(f->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    http_client_free(f->c);
    ev_loop_destroy(f->loop);
    MHD_stop_daemon(f->daemon);
    free(f);
    return 0;
}

struct result {
    int done;
    enum http_outcome outcome;
    long status;
    char body[600], why[300];
    int64_t max_age;
};

static void note(void *user, const struct http_reply *r)
{
    struct result *res = user;
    res->done++;
    res->outcome = r->outcome;
    res->status = r->status;
    res->max_age = http_reply_max_age_s(r);
    snprintf(res->body, sizeof res->body, "%.*s", SLICE_FMT(r->body));
    snprintf(res->why, sizeof res->why, "%s", r->why);
}

static struct result call(struct fixture *f, const char *path, struct http_request_options o)
{
    char url[200], why[200];
    struct result res = { 0 };
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", f->port, path);
    o.url = url;
    o.allow_http = true;
    o.done = note;
    o.user = &res;
    if (o.timeout_ms == 0)
        o.timeout_ms = PATIENCE_S * 1000;
    o.connect_timeout_ms = o.timeout_ms;
    if (http_client_start(f->c, &o, why, sizeof why) == NULL)
        fail_msg("%s", why);
    assert_int_equal(res.done, 0); /* never from inside the start */
    int64_t end = clock_mono_us() + PATIENCE_S * INT64_C(1000000);
    while (res.done == 0) {
        assert_true(clock_mono_us() < end);
        ev_run(f->loop, EVRUN_ONCE);
    }
    assert_int_equal(res.done, 1);
    return res;
}

static void test_methods(void **state)
{
    struct fixture *f = *state;
    const char *headers[] = { "X-Test: yes" };
    struct result r = call(f, "/a", (struct http_request_options){ .headers = headers, .header_count = 1 });
    assert_int_equal(r.outcome, HTTP_REPLIED);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "GET /a yes ");
    assert_int_equal(r.max_age, 100);
    r = call(f, "/b", (struct http_request_options){ .body = SLICE_LIT("grant_type=x") });
    assert_string_equal(r.body, "POST /b - grant_type=x");
    r = call(f, "/c", (struct http_request_options){ .method = "PUT", .body = SLICE_LIT("x") });
    assert_string_equal(r.body, "PUT /c - x");
    r = call(f, "/d", (struct http_request_options){ .method = "POST" });
    assert_string_equal(r.body, "POST /d - ");
}

static void test_limits(void **state)
{
    struct fixture *f = *state;
    struct result r = call(f, "/a", (struct http_request_options){ .max_bytes = 4 });
    assert_int_equal(r.outcome, HTTP_TOO_LARGE);
    assert_string_equal(r.body, "");
    atomic_store(&f->held, true);
    r = call(f, "/held?secret=1", (struct http_request_options){ .timeout_ms = 50 });
    atomic_store(&f->held, false);
    assert_int_equal(r.outcome, HTTP_TIMED_OUT);
    assert_null(strstr(r.why, "secret"));
    r = call(f, "/endless", (struct http_request_options){ .max_bytes = 100000 });
    assert_int_equal(r.outcome, HTTP_TOO_LARGE);
    assert_string_equal(r.body, "");
    r = call(f, "/drip", (struct http_request_options){ .timeout_ms = 400 }); /* the whole call, however busy the connection */
    assert_int_equal(r.outcome, HTTP_TIMED_OUT);
    assert_string_equal(r.body, "");
    r = call(f, "/loop", (struct http_request_options){ .max_redirects = 0 });
    assert_int_equal(r.outcome, HTTP_REDIRECTED);
    int before = atomic_load(&f->hits);
    r = call(f, "/loop", (struct http_request_options){ .max_redirects = 3 });
    assert_int_equal(r.outcome, HTTP_REDIRECTED);
    assert_int_equal(atomic_load(&f->hits), before + 4);
    before = atomic_load(&f->hits);
    r = call(f, "/loop", (struct http_request_options){ .max_redirects = 3, .body = SLICE_LIT("x") }); /* a POST is never sent on */
    assert_int_equal(r.outcome, HTTP_REDIRECTED);
    assert_int_equal(atomic_load(&f->hits), before + 1);
}

static void test_connection_refused(void **state)
{
    struct fixture *f = *state;
    unsigned port = f->port;
    f->port = 1;
    struct result r = call(f, "/", (struct http_request_options){ 0 });
    f->port = port;
    assert_int_equal(r.outcome, HTTP_FAILED);
    assert_true(r.why[0] != '\0');
}

static void test_refused_before_sending(void **state)
{
    struct fixture *f = *state;
    const char *bad_header[] = { "X-A: b\r\nX-C: d" }, *no_colon[] = { "nonsense" };
    const struct {
        struct http_request_options o;
        const char *says;
    } rows[] = {
        { { .url = "http://a.test/" }, "only https" },
        { { .url = "file:///etc/passwd", .allow_http = true }, "only https" },
        { { .url = "gopher://a/", .allow_http = true }, "only https" },
        { { .url = "https://user:pw@a.test/" }, "user name" },
        { { .url = "not an address" }, "not a complete" },
        { { .url = "" }, "not a complete" },
        { { .url = NULL }, "not a complete" },
        { { .url = "https://a.test/", .headers = bad_header, .header_count = 1 }, "malformed" },
        { { .url = "https://a.test/", .headers = no_colon, .header_count = 1 }, "malformed" },
    };
    char why[200];
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct http_request_options o = rows[i].o;
        struct result res = { 0 };
        o.done = note;
        o.user = &res;
        assert_null(http_client_start(f->c, &o, why, sizeof why));
        if (strstr(why, rows[i].says) == NULL)
            fail_msg("row %zu: %s", i, why);
        assert_int_equal(res.done, 0);
    }
}

static void test_cancel_and_free(void **state)
{
    struct fixture *f = *state;
    char url[100], why[200];
    struct result res = { 0 };
    snprintf(url, sizeof url, "http://127.0.0.1:%u/held", f->port);
    atomic_store(&f->held, true);
    struct http_request_options o = { .url = url, .allow_http = true, .timeout_ms = PATIENCE_S * 1000, .done = note, .user = &res };
    struct http_call *one = http_client_start(f->c, &o, why, sizeof why);
    struct http_call *two = http_client_start(f->c, &o, why, sizeof why);
    assert_true(one != NULL && two != NULL);
    for (int i = 0; i < 20; i++) {
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(1000);
    }
    http_call_cancel(one);
    http_call_cancel(NULL);
    struct http_client *c = http_client_new(f->loop, NULL);
    assert_non_null(http_client_start(c, &o, why, sizeof why));
    http_client_free(c); /* with a call under way: dropped silently */
    atomic_store(&f->held, false);
    int64_t end = clock_mono_us() + PATIENCE_S * INT64_C(1000000);
    while (res.done == 0 && clock_mono_us() < end)
        ev_run(f->loop, EVRUN_ONCE);
    assert_int_equal(res.done, 1); /* only `two` */
    assert_string_equal(res.body, "GET /held - ");
}

static void test_max_age(void **state)
{
    static const struct {
        const char *cache_control, *age;
        int64_t wanted;
    } rows[] = {
        { "", "", -1 }, { "max-age=60", "", 60 }, { "public, MAX-AGE=60", "", 60 }, { "max-age=60", "10", 50 }, { "max-age=60", "60", 0 }, { "max-age=60", "99", 0 },
        { "no-store", "", 0 }, { "no-cache, max-age=60", "", 0 }, { "max-age=60, no-store", "", 0 }, { "max-age=", "", -1 }, { "max-age=x", "", -1 }, { "max-age=0", "", 0 },
        { "max-age=60", "junk", 60 }, { "s-maxage=5", "", -1 }, { ",,max-age=7,", "", 7 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct http_reply r = { .cache_control = slice_cstr(rows[i].cache_control), .age = slice_cstr(rows[i].age) };
        if (http_reply_max_age_s(&r) != rows[i].wanted)
            fail_msg("row %zu: %lld", i, (long long)http_reply_max_age_s(&r));
    }
    struct http_reply huge = { .cache_control = SLICE_LIT("max-age=99999999999999999999999999") };
    assert_true(http_reply_max_age_s(&huge) > 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods), cmocka_unit_test(test_limits), cmocka_unit_test(test_connection_refused),
        cmocka_unit_test(test_refused_before_sending), cmocka_unit_test(test_cancel_and_free), cmocka_unit_test(test_max_age),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
