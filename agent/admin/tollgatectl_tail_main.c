/* tollgatectl tail: decisions and settlements as they happen. */
#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "admin/tollgatectl_colour.h"
#include "admin/tollgatectl_tail.h"
#include "base/clock.h"
#include "budget/options.h"
#include "config/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_S = 10, PAUSE_MS = 200, RETRY_MS = 1000, FILTERS = 8, PARAMS = FILTERS + 3, PARAM_BYTES = 300 };

struct tail {
    struct ctl_place place;
    const char *filters[FILTERS]; /* "team=research"; NULL: none */
    size_t filter_count;
    char texts[FILTERS][PARAM_BYTES];
    struct event_filter wanted;   /* the same, for what the ledger tells */
    struct tail_shown *recalled;
    bool json, follow, colour;
    int64_t since_us, count;      /* -1: from now on; lines at most, 0: no end */
    int64_t boot, cursor, shown;
};

static void pause_ms(long ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    nanosleep(&t, NULL);
}

static const char *paint(const struct tail *t, enum ctl_colour c)
{
    return ctl_colour(t->colour, c);
}

static void put_usd(const msgpack_object *o, const char *name, const char *label)
{
    char amount[32];

    if (ctl_member(o, name) == NULL)
        return;
    printf("  %s%s", label, budget_format_amount(ctl_number(o, name), BUDGET_USD, amount, sizeof amount));
}

static void put_number(const msgpack_object *o, const char *name, const char *label, int64_t divisor, const char *unit)
{
    if (ctl_member(o, name) != NULL)
        printf("  %s %" PRId64 "%s", label, ctl_number(o, name) / divisor, unit);
}

static void put_tokens(const msgpack_object *o)
{
    static const char *const in[] = { "input", "input_cached", "input_cache_write", "input_cache_write_1h", "input_audio" };
    static const char *const out[] = { "output", "output_reasoning", "output_audio" };
    int64_t sums[2] = { 0, 0 };

    for (size_t i = 0; i < sizeof in / sizeof *in; i++)
        sums[0] += ctl_number(o, in[i]);
    for (size_t i = 0; i < sizeof out / sizeof *out; i++)
        sums[1] += ctl_number(o, out[i]);
    printf("  %" PRId64 " in %" PRId64 " out", sums[0], sums[1]);
}

static void put_texts(const msgpack_object *o, const char *first, const char *between, const char *second)
{
    struct slice a = ctl_text(o, first), b = ctl_text(o, second);

    ctl_put_text(stdout, a.n > 0 ? a : SLICE_LIT("-"), 0);
    if (b.n > 0) {
        fputs(between, stdout);
        ctl_put_text(stdout, b, 0);
    }
}

static void put_decision(const msgpack_object *o)
{
    if (ctl_member(o, "reason") != NULL) {
        printf("  %" PRId64 " ", ctl_number(o, "status"));
        ctl_put_text(stdout, ctl_text(o, "reason"), 0);
    }
    put_number(o, "input_counted", "in", 1, "");
    put_number(o, "output_ceiling", "max", 1, "");
    put_usd(o, "hold_nano", "holds ");
    put_usd(o, "budget_left_nano", "left ");
    put_number(o, "decision_us", "took", 1, "us");
}

static void put_settlement(const msgpack_object *o)
{
    const msgpack_object *fallback = ctl_member(o, "fallback");

    fputs("  ", stdout);
    ctl_put_text(stdout, ctl_text(o, "outcome"), 0);
    if (ctl_member(o, "status") != NULL)
        printf(" %" PRId64, ctl_number(o, "status"));
    if (fallback != NULL && fallback->type == MSGPACK_OBJECT_BOOLEAN && fallback->via.boolean)
        fputs(" by fallback", stdout);
    put_tokens(o);
    put_usd(o, "cost_nano", "");
    fputs(" ", stdout);
    ctl_put_text(stdout, ctl_text(o, "known_by"), 0);
    put_number(o, "ttft_us", "ttft", 1000, "ms");
    put_number(o, "total_us", "total", 1000, "ms");
}

static void put_line(const struct tail *t, const msgpack_object *o)
{
    struct slice event = ctl_text(o, "event");
    int64_t at = ctl_number(o, "at_us");
    bool settlement = slice_eq_cstr(event, "settled") || slice_eq_cstr(event, "corrected"), denied = slice_eq_cstr(event, "denied");
    enum ctl_colour c = denied ? CTL_RED : !settlement ? CTL_DIM : slice_eq_cstr(ctl_text(o, "outcome"), "ok") ? CTL_GREEN : CTL_YELLOW;
    time_t s = (time_t)(at / 1000000);
    struct tm tm;
    char when[16];

    gmtime_r(&s, &tm);
    strftime(when, sizeof when, "%H:%M:%S", &tm);
    printf("%s.%03dZ %s", when, (int)(at % 1000000 / 1000), paint(t, c));
    ctl_put_text(stdout, event, 9);
    printf("%s ", paint(t, CTL_PLAIN));
    put_texts(o, "team", "/", "user");
    fputs("  ", stdout);
    put_texts(o, "alias", " -> ", "provider");
    if (ctl_text(o, "model").n > 0) {
        fputs("/", stdout);
        ctl_put_text(stdout, ctl_text(o, "model"), 0);
    }
    if (settlement)
        put_settlement(o);
    else
        put_decision(o);
    printf("  %s", paint(t, CTL_DIM));
    ctl_put_text(stdout, ctl_text(o, "request_id"), 0);
    printf("%s\n", paint(t, CTL_PLAIN));
}

/* False: that were all that are wanted. */
static bool show(void *user, const msgpack_object *event)
{
    struct tail *t = user;

    t->shown++;
    if (t->json) {
        ctl_print_json(stdout, event);
        putchar('\n');
    } else {
        put_line(t, event);
    }
    return !ferror(stdout) && (t->count == 0 || t->shown < t->count);
}

static void put_events(struct tail *t, const msgpack_object *answer)
{
    const msgpack_object *events = ctl_member(answer, "events");
    int64_t lost = ctl_number(answer, "lost");

    if (lost > 0 && t->json)
        printf("{\"event\":\"lost\",\"count\":%" PRId64 "}\n", lost);
    else if (lost > 0)
        printf("%s... %" PRId64 " events lost: they came faster than they were read here%s\n", paint(t, CTL_YELLOW), lost, paint(t, CTL_PLAIN));
    for (uint32_t i = 0; events != NULL && events->type == MSGPACK_OBJECT_ARRAY && i < events->via.array.size; i++) {
        if (t->count > 0 && t->shown == t->count)
            break;
        if (!tail_shown_has(t->recalled, &events->via.array.ptr[i]))
            show(t, &events->via.array.ptr[i]);
    }
}

/* What happened before the agent's memory begins. False: it told nothing, the agent's memory is all there is. */
static bool recall(struct tail *t, const msgpack_object *answer)
{
    struct slice told = ctl_text(answer, "ledger");
    char *ledger = told.n > 0 ? strndup(told.p, told.n) : NULL, why[512] = "the agent does not say where its ledger is";
    int64_t begins_us = ctl_number(answer, "begins_us");

    bool ok = ledger != NULL && tail_recall(ledger, t->since_us, begins_us, &t->wanted, t->recalled, show, t, why, sizeof why);
    free(ledger);
    if (!ok)
        fprintf(stderr, "tollgatectl: the agent remembers its last events only, not all since then, and the ledger cannot be read: %s\n", why);
    t->since_us = begins_us;
    return ok;
}

/* One step. False when the agent did not answer; `why` is then filled. */
static bool step(struct tail *t, bool *more, char *why, size_t why_size)
{
    const char *params[PARAMS];
    char boot[40], cursor[40], since[40];
    msgpack_unpacked held;
    msgpack_object answer;
    size_t n = 0;

    if (t->boot >= 0) {
        snprintf(boot, sizeof boot, "boot=%" PRId64, t->boot);
        snprintf(cursor, sizeof cursor, "cursor=%" PRId64, t->cursor);
        params[n++] = boot;
        params[n++] = cursor;
    } else if (t->since_us >= 0) {
        snprintf(since, sizeof since, "since_us=%" PRId64, t->since_us);
        params[n++] = since;
    }
    for (size_t i = 0; i < t->filter_count; i++)
        params[n++] = t->texts[i];
    bool ok = rpc_call(t->place.admin, "events", params, n, TIMEOUT_S, &held, &answer, why, why_size);
    if (ok) {
        /* While the ledger was read the agent may have forgotten more: then the ledger is asked for that too. */
        if (t->boot < 0 && t->since_us >= 0 && ctl_number(&answer, "reaches") == 0 && recall(t, &answer)) {
            *more = true;
        } else {
            put_events(t, &answer);
            t->boot = ctl_number(&answer, "boot");
            t->cursor = ctl_number(&answer, "cursor");
            *more = ctl_number(&answer, "more") != 0;
        }
    }
    msgpack_unpacked_destroy(&held);
    return ok;
}

static int follow(struct tail *t)
{
    char why[512];
    bool more = false, gone = false;

    for (;;) {
        if (step(t, &more, why, sizeof why)) {
            if (gone)
                fprintf(stderr, "tollgatectl: the agent is there again\n");
            gone = false;
            if (fflush(stdout) != 0 || ferror(stdout)) {
                fprintf(stderr, "tollgatectl: cannot write: %s\n", strerror(errno));
                return CTL_FAILED;
            }
            if (t->count > 0 && t->shown == t->count)
                return CTL_DONE;
            if (!more)
                pause_ms(PAUSE_MS);
            continue;
        }
        if (!t->follow) {
            fprintf(stderr, "tollgatectl: %s%s\n", t->boot >= 0 ? "the agent has stopped: " : "", why);
            return CTL_FAILED;
        }
        if (!gone)
            fprintf(stderr, "tollgatectl: %s; trying again\n", why);
        gone = true;
        pause_ms(RETRY_MS);
    }
}

static bool filter(struct tail *t, const char *name, const char *value)
{
    if (value == NULL)
        return true;
    if ((size_t)snprintf(t->texts[t->filter_count], PARAM_BYTES, "%s=%s", name, value) >= PARAM_BYTES) {
        fprintf(stderr, "tollgatectl: --%s is too long\n", name);
        return false;
    }
    t->filter_count++;
    return event_filter_set(&t->wanted, slice_cstr(name), slice_cstr(value));
}

static bool min_cost(struct tail *t, const char *text)
{
    char why[256], number[32];
    int64_t nano;

    if (text == NULL)
        return true;
    if (budget_parse_amount(slice_cstr(text), BUDGET_USD, &nano, why, sizeof why) != 0) {
        fprintf(stderr, "tollgatectl: --min-cost %s: allowed is an amount such as $0.05\n", text);
        return false;
    }
    snprintf(number, sizeof number, "%" PRId64, nano);
    return filter(t, "min_cost_nano", number);
}

/* "10m" ago, or a moment. */
static bool since(struct tail *t, const char *text)
{
    char why[256];
    int64_t v;

    t->since_us = -1;
    if (text == NULL)
        return true;
    if (budget_parse_duration(slice_cstr(text), &v, why, sizeof why) == 0) {
        t->since_us = clock_wall_us() - v;
        return true;
    }
    if (period_instant(text, &v)) {
        t->since_us = v * 1000000;
        return true;
    }
    fprintf(stderr, "tollgatectl: --since %s: allowed is a duration such as 10m, or a moment such as 2026-11-23T14:30 (UTC)\n", text);
    return false;
}

int ctl_tail(int argc, char **argv)
{
    struct tail t = { .boot = -1, .cursor = -1, .wanted = EVENT_FILTER_ANY };
    const char *team = NULL, *user = NULL, *model = NULL, *provider = NULL, *request = NULL, *kind = NULL, *outcome = NULL, *cost = NULL, *from = NULL, *count = NULL;
    bool help = false;
    const struct ctl_arg args[] = {
        { "--team", &team, NULL }, { "--user", &user, NULL }, { "--model", &model, NULL }, { "--provider", &provider, NULL },
        { "--request", &request, NULL }, { "--event", &kind, NULL }, { "--outcome", &outcome, NULL }, { "--min-cost", &cost, NULL },
        { "--since", &from, NULL }, { "--count", &count, NULL }, { "--follow", NULL, &t.follow }, { "--json", NULL, &t.json },
        { "--config", &t.place.config_file, NULL }, { "--socket", &t.place.socket, NULL }, { "--help", NULL, &help } };
    size_t n;
    int rc = CTL_FAILED;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, NULL, 0, &n))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "tail");
    if (!filter(&t, "team", team) || !filter(&t, "user", user) || !filter(&t, "model", model) || !filter(&t, "provider", provider) ||
        !filter(&t, "request", request) || !filter(&t, "kind", kind) || !filter(&t, "outcome", outcome) || !min_cost(&t, cost) || !since(&t, from))
        return CTL_USAGE;
    if (!ctl_count_of("--count", count, 0, &t.count))
        return CTL_USAGE;
    t.colour = !t.json && ctl_colour_wanted();
    t.recalled = tail_shown_new();
    if (t.recalled == NULL)
        fprintf(stderr, "tollgatectl: out of memory\n");
    else if (ctl_place_find(&t.place))
        rc = follow(&t);
    tail_shown_free(t.recalled);
    config_free(t.place.config);
    return rc;
}
