/* tollgatectl top: the last minute, refreshed, like top(1). */
#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "admin/tollgatectl_top.h"
#include "config/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TIMEOUT_S = 10, PERIOD_S = 2, PERIOD_MAX_S = 3600 };

struct top {
    struct ctl_place place;
    const char *by;
    enum top_sort sort;
    bool batch, json;
    int64_t period_ms, count; /* screens in a batch; 0: no end */
};

static const char *const words[] = { "team", "model", "target", "user", NULL };
static const char *const sorts[] = { "cost", "requests", "denied", "ttft", NULL };

static int word_of(const char *const *list, const char *word)
{
    for (int i = 0; list[i] != NULL; i++)
        if (strcmp(list[i], word) == 0)
            return i;
    return -1;
}

/* False with a reason; `held` is to be destroyed in any case. */
static bool ask(const struct top *t, msgpack_unpacked *held, msgpack_object *result, char *why, size_t why_size)
{
    return rpc_call(t->place.admin, "top", (const char *const[]){ t->by }, 1, TIMEOUT_S, held, result, why, why_size);
}

static bool batch_print(const struct top *t, struct screen *s, const msgpack_object *result)
{
    if (t->json) {
        ctl_print_json(stdout, result);
        putchar('\n');
    } else {
        top_draw(s, result, t->by, t->sort);
        for (size_t i = 0; i < s->count; i++) {
            size_t n = strlen(s->lines[i].text);
            while (n > 0 && s->lines[i].text[n - 1] == ' ')
                n--;
            printf("%.*s\n", (int)n, s->lines[i].text);
        }
    }
    if (fflush(stdout) == 0)
        return true;
    fprintf(stderr, "tollgatectl: cannot write: %s\n", strerror(errno));
    return false;
}

static int batch(const struct top *t, struct screen *s)
{
    struct timespec pause = { .tv_sec = t->period_ms / 1000, .tv_nsec = t->period_ms % 1000 * 1000000 };
    msgpack_unpacked held;
    msgpack_object result;
    char why[512];

    for (int64_t i = 0; t->count == 0 || i < t->count; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        if (i > 0 && !t->json)
            putchar('\n');
        bool ok = ask(t, &held, &result, why, sizeof why), printed = ok && batch_print(t, s, &result);
        msgpack_unpacked_destroy(&held);
        if (!ok)
            fprintf(stderr, "tollgatectl: %s\n", why);
        if (!printed)
            return CTL_FAILED;
    }
    return CTL_DONE;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* False: to end. */
static bool key(struct top *t, int c)
{
    switch (c) {
    case 'q': case 'Q': case 3: case -1: return false;
    case 't': t->by = "team"; break;
    case 'm': t->by = "model"; break;
    case 'g': t->by = "target"; break;
    case 'u': t->by = "user"; break;
    case 'c': t->sort = TOP_COST; break;
    case 'r': t->sort = TOP_REQUESTS; break;
    case 'd': t->sort = TOP_DENIED; break;
    case 'l': t->sort = TOP_TTFT; break;
    default: break;
    }
    return true;
}

static void footer(struct screen *s)
{
    screen_line(s, CTL_PLAIN, "%s", "");
    screen_line(s, CTL_DIM, "q quit   t teams  m models  g targets  u users   sort: c cost  r requests  d denied  l latency");
}

static int live(struct top *t, struct screen *s, bool colour)
{
    msgpack_unpacked held;
    msgpack_object result;
    char why[512];

    for (;;) {
        if (ask(t, &held, &result, why, sizeof why)) {
            top_draw(s, &result, t->by, t->sort);
        } else {
            s->count = 0;
            screen_line(s, CTL_RED, "%s", why);
            screen_line(s, CTL_PLAIN, "trying again every %.1f s; q ends it", (double)t->period_ms / 1000);
        }
        msgpack_unpacked_destroy(&held);
        footer(s);
        int c = 0;
        for (int64_t end = now_ms() + t->period_ms, left = t->period_ms; c == 0 && left > 0; left = end - now_ms()) {
            terminal_show(s, colour);
            c = terminal_key((long)left);
        }
        if (!key(t, c))
            return CTL_DONE;
    }
}

/* Seconds, with decimals. */
static bool period(const char *text, int64_t *ms)
{
    char *end;

    *ms = PERIOD_S * 1000;
    if (text == NULL)
        return true;
    double s = strtod(text, &end);
    if (end != text && *end == '\0' && s >= 0.1 && s <= PERIOD_MAX_S) {
        *ms = (int64_t)(s * 1000);
        return true;
    }
    fprintf(stderr, "tollgatectl: -n %s: allowed are 0.1 to %d seconds\n", text, PERIOD_MAX_S);
    return false;
}

static bool options(int argc, char **argv, struct top *t, int *status)
{
    const char *by = "team", *sort = "cost", *seconds = NULL, *count = NULL;
    bool help = false, once = false;
    const struct ctl_arg args[] = {
        { "--by", &by, NULL }, { "--sort", &sort, NULL }, { "-n", &seconds, NULL }, { "--count", &count, NULL }, { "--once", NULL, &once }, { "-b", NULL, &t->batch },
        { "--json", NULL, &t->json }, { "--config", &t->place.config_file, NULL }, { "--socket", &t->place.socket, NULL }, { "--help", NULL, &help } };
    size_t n;

    *status = CTL_USAGE;
    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, NULL, 0, &n))
        return false;
    if (help) {
        *status = ctl_help(stdout, "top");
        return false;
    }
    int w = word_of(words, by), o = word_of(sorts, sort);
    if (w < 0)
        fprintf(stderr, "tollgatectl: --by %s: allowed are team, model, target, user\n", by);
    if (o < 0)
        fprintf(stderr, "tollgatectl: --sort %s: allowed are cost, requests, denied, ttft\n", sort);
    if (w < 0 || o < 0 || !period(seconds, &t->period_ms) || !ctl_count_of("--count", count, 0, &t->count))
        return false;
    t->by = words[w];
    t->sort = (enum top_sort)o;
    if (once)
        t->count = 1;
    t->batch = t->batch || t->json || once || t->count > 0;
    return true;
}

int ctl_top(int argc, char **argv)
{
    struct top t = { .by = NULL };
    struct screen *s = malloc(sizeof *s);
    int rc = CTL_FAILED;

    if (s == NULL || !options(argc, argv, &t, &rc)) {
        free(s);
        return rc;
    }
    rc = CTL_FAILED;
    if (ctl_place_find(&t.place)) {
        bool colour = ctl_colour_wanted();
        rc = t.batch || !terminal_enter() ? batch(&t, s) : live(&t, s, colour);
    }
    terminal_leave();
    config_free(t.place.config);
    free(s);
    return rc;
}
