#include "observe/metrics.h"
#include "observe/metrics_http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    const char *why;
};

static bool healthy(void *user, char *why, size_t why_size)
{
    (void)user, (void)why, (void)why_size;
    return true;
}

static bool ready(void *user, char *why, size_t why_size)
{
    struct fixture *x = user;

    if (x->why != NULL)
        snprintf(why, why_size, "%s", x->why);
    return x->why == NULL;
}

static enum MHD_Result echo(void *user, struct MHD_Connection *c, const char *path)
{
    assert_string_equal(user, "mine");
    return metrics_http_reply(c, 200, "text/plain", path, strlen(path));
}

/* The whole answer to a request, in `answer`. */
static void ask(const struct sockaddr_in *to, const char *request, char answer[4096])
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t n = 0;
    ssize_t got;

    assert_int_equal(connect(fd, (const struct sockaddr *)to, sizeof *to), 0);
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    while (n < 4095 && (got = read(fd, answer + n, 4095 - n)) > 0)
        n += (size_t)got;
    answer[n] = '\0';
    close(fd);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void test_http(void **state)
{
    struct fixture x = { .why = NULL };
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof to;
    char answer[4096];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct metrics *m = metrics_new(4, 1);

    (void)state;
    assert_non_null(m);
    struct metric *g = metrics_add(m, &(struct metric_spec){ .name = "g", .help = "G.", .kind = METRIC_GAUGE });
    assert_non_null(g);
    metric_set(metric_series(g, NULL), 7);
    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&to, &len), 0);
    struct metrics_http *h = metrics_http_start(&(struct metrics_http_options){
        .fd = fd, .metrics = m, .healthy = healthy, .ready = ready, .user = &x,
        .routes = (const struct http_route[]){ { "/one", echo, "mine" }, { "/all/", echo, "mine" }, { NULL, NULL, NULL } } });
    assert_non_null(h);
    ask(&to, GET("/metrics"), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    assert_non_null(strstr(answer, "Content-Type: " METRICS_TEXT_TYPE "\r\n"));
    assert_non_null(strstr(answer, "\r\n\r\n# TYPE g gauge\n# HELP g G.\ng 7\n"));
    assert_null(strstr(answer, "# EOF"));
    ask(&to, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: application/openmetrics-text;version=1.0.0,*/*\r\n\r\n",
        answer);
    assert_non_null(strstr(answer, "Content-Type: " METRICS_OPENMETRICS_TYPE "\r\n"));
    assert_non_null(strstr(answer, "\r\n\r\n# TYPE g gauge\n# HELP g G.\ng 7\n# EOF\n"));
    ask(&to, GET("/healthz"), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    ask(&to, GET("/readyz"), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    x.why = "the ledger cannot be written";
    ask(&to, GET("/healthz"), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    ask(&to, GET("/readyz"), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 503 "));
    assert_non_null(strstr(answer, x.why));
    ask(&to, GET("/all/of/it"), answer);
    assert_non_null(strstr(answer, "\r\n\r\n/all/of/it"));
    ask(&to, GET("/one"), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    ask(&to, GET("/one/more"), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 404 "));
    ask(&to, GET("/other"), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 404 "));
    ask(&to, "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", answer);
    assert_non_null(strstr(answer, "HTTP/1.1 405 "));
    metrics_http_stop(h);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_http) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
