#include "admin/tollgatectl.h"
#include "admin/tollgatectl_top.h"
#include "base/log_text.h"
#include "budget/options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS_MAX = 300, LIMITS_MAX = 4, NAME_WIDTH = 28, NAME_BYTES = 512 };

/* Text of the agent's peers: nothing that steers a terminal, at most `width` characters, padded to it. */
static const char *shown(struct slice s, int width, char *buf)
{
    size_t used, n = s.n > 0 ? log_text_escape(LOG_ESCAPE_JOURNAL, buf, NAME_BYTES - NAME_WIDTH - 8, s, &used) : 0;
    int columns = 0;
    size_t i = 0;

    buf[n] = '\0';
    if (n == 0)
        n = (size_t)sprintf(buf, "-");
    for (; i < n; i++)
        if (((unsigned char)buf[i] & 0xc0) != 0x80 && columns++ == width) {
            columns = width;
            break;
        }
    for (; columns < width; columns++)
        buf[i++] = ' ';
    buf[i] = '\0';
    return buf;
}

/* "950", "12.3k", "4.5M" */
static const char *short_number(double v, char buf[16])
{
    static const char *const units[] = { "", "k", "M", "G", "T" };
    int u = 0;

    for (; v >= 1000 && u < 4; u++)
        v /= 1000;
    snprintf(buf, 16, u == 0 && v >= 100 ? "%.0f" : "%.1f%s", v, units[u]);
    return buf;
}

static const char *usd(double nano, char buf[24])
{
    double v = nano / 1e9;

    snprintf(buf, 24, v != 0 && v < 1 && v > -1 ? "$%.4f" : "$%.2f", v);
    return buf;
}

static const char *milliseconds(const msgpack_object *row, const char *name, int at, double divisor, char buf[16])
{
    const msgpack_object *v = ctl_member(row, name);
    const msgpack_object *n = v != NULL && v->type == MSGPACK_OBJECT_ARRAY && v->via.array.size == 3 ? &v->via.array.ptr[at] : NULL;

    if (n == NULL || n->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        snprintf(buf, 16, "-");
    else
        snprintf(buf, 16, n->via.i64 / divisor < 10 ? "%.1f" : "%.0f", n->via.i64 / divisor);
    return buf;
}

static int64_t decisions(const msgpack_object *row)
{
    return ctl_number(row, "allowed") + ctl_number(row, "denied") + ctl_number(row, "answered");
}

static void duration_text(int64_t s, char *buf, size_t size)
{
    if (s >= 86400)
        snprintf(buf, size, "%" PRId64 "d %02d:%02d", s / 86400, (int)(s % 86400 / 3600), (int)(s % 3600 / 60));
    else
        snprintf(buf, size, "%02d:%02d:%02d", (int)(s / 3600), (int)(s % 3600 / 60), (int)(s % 60));
}

static void draw_head(struct screen *s, const msgpack_object *o, double seconds)
{
    const msgpack_object *all = ctl_member(o, "all");
    char up[32], when[32], rate[16], cost[24], in[16], out[16], t[6][16];
    int64_t n;

    duration_text(ctl_number(o, "uptime_s"), up, sizeof up);
    ctl_instant(ctl_number(o, "at_us"), when, sizeof when);
    screen_line(s, CTL_BOLD, "tollgate %.*s  %s  up %s  (rates: the last %.0f s)", SLICE_FMT(ctl_text(o, "version")), when, up, seconds);
    if (all == NULL)
        return;
    n = decisions(all);
    screen_line(s, CTL_PLAIN, "requests  %s/s  allowed %" PRId64 "  denied %" PRId64 " (%.1f %%)  failed %" PRId64 "  by fallback %" PRId64 "  open holds %" PRId64, short_number(n / seconds, rate), ctl_number(all, "allowed"), ctl_number(all, "denied"),
                n > 0 ? 100.0 * ctl_number(all, "denied") / n : 0, ctl_number(all, "failed"), ctl_number(all, "fallback"),
                ctl_number(o, "holds"));
    screen_line(s, CTL_PLAIN, "spend     %s per hour  tokens/s %s in %s out", usd(ctl_number(all, "cost_nano") * 3600.0 / seconds, cost),
                short_number(ctl_number(all, "input") / seconds, in), short_number(ctl_number(all, "output") / seconds, out));
    for (int i = 0; i < 3; i++) {
        milliseconds(all, "ttft_us", i, 1e3, t[i]);
        milliseconds(all, "tpot_ns", i, 1e6, t[3 + i]);
    }
    screen_line(s, CTL_PLAIN, "ttft ms   p50 %s  p95 %s  p99 %s    per token ms  p50 %s  p95 %s  p99 %s", t[0], t[1], t[2], t[3], t[4], t[5]);
    bool ok = slice_eq_cstr(ctl_text(o, "ledger"), "ok");
    screen_line(s, ok ? CTL_PLAIN : CTL_RED, "ledger    %s, %" PRId64 " queued", ok ? "ok" : "FAILING: requests are refused", ctl_number(o, "ledger_queued"));
}

static void draw_targets(struct screen *s, const msgpack_object *o)
{
    const msgpack_object *targets = ctl_member(o, "targets");
    unsigned closed = 0, count = targets != NULL && targets->type == MSGPACK_OBJECT_ARRAY ? targets->via.array.size : 0;
    char group[NAME_BYTES], model[NAME_BYTES], why[NAME_BYTES];

    for (unsigned i = 0; i < count; i++)
        closed += slice_eq_cstr(ctl_text(&targets->via.array.ptr[i], "state"), "closed") && ctl_number(&targets->via.array.ptr[i], "drained") == 0;
    screen_line(s, closed == count ? CTL_PLAIN : CTL_YELLOW, "breakers  %u of %u closed", closed, count);
    for (unsigned i = 0; i < count; i++) {
        const msgpack_object *t = &targets->via.array.ptr[i];
        bool drained = ctl_number(t, "drained") != 0, shut = slice_eq_cstr(ctl_text(t, "state"), "closed");
        if (drained || !shut)
            screen_line(s, drained ? CTL_YELLOW : CTL_RED, "  %s/%s  %.*s%s  %s", shown(ctl_text(t, "group"), (int)ctl_text(t, "group").n, group),
                        shown(ctl_text(t, "model"), (int)ctl_text(t, "model").n, model), SLICE_FMT(ctl_text(t, "state")), drained ? ", drained" : "",
                        shut ? "" : shown(ctl_text(t, "reason"), (int)ctl_text(t, "reason").n, why));
    }
}

static enum budget_unit unit_of(struct slice name)
{
    for (int u = BUDGET_USD; u <= BUDGET_CONCURRENT; u++)
        if (slice_eq_cstr(name, budget_unit_name((enum budget_unit)u)))
            return (enum budget_unit)u;
    return BUDGET_TOKENS;
}

static void draw_limits(struct screen *s, const msgpack_object *o)
{
    const msgpack_object *limits = ctl_member(o, "limits");
    char limit[NAME_BYTES], subject[NAME_BYTES], left[32], amount[32], resets[32];

    for (uint32_t i = 0; limits != NULL && limits->type == MSGPACK_OBJECT_ARRAY && i < limits->via.array.size && i < LIMITS_MAX; i++) {
        const msgpack_object *l = &limits->via.array.ptr[i];
        int64_t ppm = ctl_number(l, "used_ppm");
        enum budget_unit u = unit_of(ctl_text(l, "unit"));
        budget_format_amount(ctl_number(l, "left"), u, left, sizeof left);
        budget_format_amount(ctl_number(l, "amount"), u, amount, sizeof amount);
        ctl_instant(ctl_number(l, "reset_us"), resets, sizeof resets);
        screen_line(s, ppm >= 1000000 ? CTL_RED : ppm >= 800000 ? CTL_YELLOW : CTL_PLAIN, "%s  %3d.%d %%  %s  %s  left %s of %s  resets %s",
                    i == 0 ? "limits  " : "        ", (int)(ppm / 10000), (int)(ppm / 1000 % 10), shown(ctl_text(l, "limit"), 16, limit),
                    shown(ctl_text(l, "subject"), NAME_WIDTH, subject), left, amount, resets);
    }
}

static int64_t sort_value(const msgpack_object *r, enum top_sort sort)
{
    const msgpack_object *ttft = ctl_member(r, "ttft_us");

    switch (sort) {
    case TOP_REQUESTS: return decisions(r);
    case TOP_DENIED: return ctl_number(r, "denied");
    case TOP_TTFT: return ttft != NULL && ttft->type == MSGPACK_OBJECT_ARRAY && ttft->via.array.size == 3 ? ttft->via.array.ptr[1].via.i64 : -1;
    case TOP_COST: break;
    }
    return ctl_number(r, "cost_nano");
}

static void draw_row(struct screen *s, const msgpack_object *r, double seconds)
{
    char name[NAME_BYTES], rate[16], cost[24], in[16], out[16], t[4][16];

    milliseconds(r, "ttft_us", 0, 1e3, t[0]);
    milliseconds(r, "ttft_us", 1, 1e3, t[1]);
    milliseconds(r, "tpot_ns", 0, 1e6, t[2]);
    milliseconds(r, "tpot_ns", 1, 1e6, t[3]);
    screen_line(s, ctl_number(r, "denied") > ctl_number(r, "allowed") ? CTL_YELLOW : CTL_PLAIN,
                "%s %8s %8" PRId64 " %7" PRId64 " %7" PRId64 " %11s %8s %8s %9s %7s %9s %7s", shown(ctl_text(r, "name"), NAME_WIDTH, name),
                short_number(decisions(r) / seconds, rate), ctl_number(r, "allowed"), ctl_number(r, "denied"), ctl_number(r, "failed"),
                usd(ctl_number(r, "cost_nano") * 3600.0 / seconds, cost), short_number(ctl_number(r, "input") / seconds, in),
                short_number(ctl_number(r, "output") / seconds, out), t[0], t[1], t[2], t[3]);
}

void top_draw(struct screen *s, const msgpack_object *o, const char *by, enum top_sort sort)
{
    const msgpack_object *rows = ctl_member(o, "rows"), *sorted[ROWS_MAX];
    double seconds = ctl_number(o, "window_us") / 1e6;
    char title[16];
    size_t n = 0;

    s->count = 0;
    if (seconds <= 0)
        seconds = 1;
    draw_head(s, o, seconds);
    draw_targets(s, o);
    draw_limits(s, o);
    screen_line(s, CTL_PLAIN, "%s", "");
    snprintf(title, sizeof title, "%s", by);
    for (char *p = title; *p != '\0'; p++)
        *p = (char)(*p - 'a' + 'A');
    screen_line(s, CTL_REVERSE, "%-*s %8s %8s %7s %7s %11s %8s %8s %9s %7s %9s %7s", NAME_WIDTH, title, "REQ/S", "ALLOWED", "DENIED", "FAILED", "USD/HOUR",
                "IN/S", "OUT/S", "TTFT p50", "p95", "TOKEN p50", "p95");
    for (uint32_t i = 0; rows != NULL && rows->type == MSGPACK_OBJECT_ARRAY && i < rows->via.array.size && n < ROWS_MAX; i++) {
        size_t at = n++;
        for (; at > 0 && sort_value(sorted[at - 1], sort) < sort_value(&rows->via.array.ptr[i], sort); at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = &rows->via.array.ptr[i];
    }
    for (size_t i = 0; i < n; i++)
        draw_row(s, sorted[i], seconds);
    if (n == 0)
        screen_line(s, CTL_DIM, "nothing in the last minute");
}
