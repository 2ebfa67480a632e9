#include "decide/verdict.h"

#include "base/redact.h"
#include "dialect/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static struct spop_bytes bytes(struct slice s)
{
    return (struct spop_bytes){ .p = s.p, .n = s.n };
}

static bool set_text(struct spop_ack *ack, const char *name, struct slice value)
{
    return spop_ack_set_string(ack, SPOP_TXN, (struct spop_bytes){ .p = name, .n = strlen(name) }, bytes(value));
}

static bool set_int(struct spop_ack *ack, const char *name, int64_t value)
{
    return spop_ack_set_int(ack, SPOP_TXN, (struct spop_bytes){ .p = name, .n = strlen(name) }, value);
}

static const struct target_names {
    const char *group, *key, *model, *edit, *delta;
} primary_names = { "pri", "pkey", "pmodel", "pedit", "pdelta" }, fallback_names = { "fb", "fkey", "fmodel", "fedit", "fdelta" };

static bool set_target(struct spop_ack *ack, const struct target_names *names, const struct verdict_target *v)
{
    bool ok = set_text(ack, names->group, v->target->group);
    if (v->target->model.n > 0)
        ok = ok && set_text(ack, names->model, v->target->model);
    if (v->target->credential.n > 0)
        ok = ok && set_text(ack, names->key, v->target->credential);
    /* Without the last ';': the configuration puts it there, so that no trailing blank of an edit's text can be trimmed away. */
    if (v->edits.n > 0)
        ok = ok && set_text(ack, names->edit, slice_make(v->edits.p, v->edits.n - 1)) && set_int(ack, names->delta, v->delta);
    return ok;
}

/* "6m0s", as OpenAI's x-ratelimit-reset-* headers are written. */
static struct slice reset_text(int64_t reset_us, int64_t now_us, struct arena *a)
{
    int64_t s = reset_us > now_us ? (reset_us - now_us + 999999) / 1000000 : 0;
    if (s >= 3600)
        return arena_printf(a, "%" PRId64 "h%" PRId64 "m%" PRId64 "s", s / 3600, s / 60 % 60, s % 60);
    if (s >= 60)
        return arena_printf(a, "%" PRId64 "m%" PRId64 "s", s / 60, s % 60);
    return arena_printf(a, "%" PRId64 "s", s);
}

static struct slice dollars(int64_t nano, struct arena *a)
{
    char buf[32];
    const char *text = budget_format_amount(nano, BUDGET_USD, buf, sizeof buf);
    return arena_copy(a, slice_cstr(text[0] == '$' ? text + 1 : text));
}

static void set_rates(struct spop_ack *ack, const struct budget_answer *b, int64_t now_us, struct arena *a)
{
    static const struct {
        enum budget_unit unit;
        const char *limit, *left, *reset;
    } rates[] = { { BUDGET_TOKENS, "rlt", "rrt", "rst" }, { BUDGET_REQUESTS, "rlr", "rrr", "rsr" } };

    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        const struct budget_state *s = &b->tight[rates[i].unit];
        if (!b->tight_known[rates[i].unit])
            continue;
        set_text(ack, rates[i].limit, arena_printf(a, "%" PRId64, s->amount));
        set_text(ack, rates[i].left, arena_printf(a, "%" PRId64, s->left));
        set_text(ack, rates[i].reset, reset_text(s->reset_us, now_us, a));
    }
    if (b->tight_known[BUDGET_USD])
        set_text(ack, "bud", dollars(b->tight[BUDGET_USD].left, a));
}

/* What each try's provider is told; a tracestate without its trace is not passed on (W3C Trace Context, 3.3.1). */
static void set_trace(struct spop_ack *ack, const struct trace_context *t, bool fallback, struct arena *a)
{
    static const char *const names[TRACE_TRIES] = { "ptrace", "ftrace" };
    char text[TRACE_PARENT_BYTES + 1];

    for (unsigned i = 0; i < (fallback ? 2 : 1); i++) {
        trace_parent_write(t, i, text);
        set_text(ack, names[i], arena_copy(a, slice_cstr(text)));
    }
    if (!t->parent)
        spop_ack_set_bool(ack, SPOP_TXN, SPOP_BYTES("tnew"), true);
}

bool verdict_allow(struct spop_ack *ack, const struct verdict_allowed *v, int64_t now_us, struct arena *a)
{
    bool ok = spop_ack_set_bool(ack, SPOP_TXN, SPOP_BYTES("ok"), true) && set_target(ack, &primary_names, &v->primary);

    if (v->fallback.target != NULL)
        ok = ok && set_target(ack, &fallback_names, &v->fallback);
    if (v->fallback.target != NULL && v->fallback_larger)
        ok = ok && spop_ack_set_bool(ack, SPOP_TXN, SPOP_BYTES("larger"), true);
    if (v->fallback.target != NULL && v->again)
        ok = ok && spop_ack_set_bool(ack, SPOP_TXN, SPOP_BYTES("again"), true);
    if (v->fallback.target != NULL && v->pause)
        ok = ok && spop_ack_set_bool(ack, SPOP_TXN, SPOP_BYTES("pause"), true);
    if (v->fallback.target != NULL && v->other)
        ok = ok && spop_ack_set_bool(ack, SPOP_TXN, SPOP_BYTES("other"), true);
    ok = ok && set_int(ack, "tap", v->hide_usage ? 3 : 1) && set_int(ack, "cap", v->capture_bytes);
    if (v->stream)
        ok = ok && spop_ack_set_bool(ack, SPOP_TXN, SPOP_BYTES("stream"), true);
    if (!ok)
        return false;
    set_text(ack, "alias", v->alias);
    set_text(ack, "hold", dollars(v->hold_nano, a));
    set_rates(ack, v->budget, now_us, a);
    if (v->notice.n > 0)
        set_text(ack, "note", v->notice);
    if (v->trace != NULL)
        set_trace(ack, v->trace, v->fallback.target != NULL, a);
    return true;
}

void verdict_refuse(struct spop_ack *ack, enum endpoint endpoint, const struct refusal *no, struct arena *a)
{
    spop_ack_set_bool(ack, SPOP_TXN, SPOP_BYTES("ok"), true);
    set_int(ack, "deny", no->status);
    if (no->retry_after_s >= 0)
        set_int(ack, "retry", no->retry_after_s);
    if (no->do_not_retry)
        set_text(ack, "noretry", SLICE_LIT("false"));
    if (no->allow.n > 0)
        set_text(ack, "allow", no->allow);
    if (no->code != NULL)
        set_text(ack, "code", slice_cstr(no->code));
    struct slice body = dialect_error_body(endpoint, no, a);
    if (body.p != NULL)
        body.n = redact_text((char *)(uintptr_t)body.p, body.n); /* it was made in our own arena */
    if (body.p == NULL || !set_text(ack, "ebody", body))
        set_text(ack, "ebody", SLICE_LIT("{\"error\":{\"message\":\"refused\",\"type\":\"invalid_request_error\","
                                         "\"param\":null,\"code\":null}}"));
}

void verdict_times(struct spop_ack *ack, const struct verdict_spent *t, struct arena *a)
{
    const struct {
        const char *name;
        int64_t us;
    } stages[] = { { "tollgate", t->all_us }, { "identity", t->identity_us }, { "tokens", t->tokens_us }, { "budget", t->budget_us },
                   { "commit", t->commit_us } };
    char text[256];
    size_t n = 0;

    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
        if (stages[i].us >= 0)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s;dur=%" PRId64 ".%03d", n > 0 ? ", " : "", stages[i].name,
                                  stages[i].us / 1000, (int)(stages[i].us % 1000));
    set_int(ack, "ovh", t->all_us);
    set_text(ack, "time", arena_copy(a, slice_make(text, n)));
}

void verdict_answer(struct spop_ack *ack, struct slice body)
{
    spop_ack_set_bool(ack, SPOP_TXN, SPOP_BYTES("ok"), true);
    if (body.p == NULL || !set_text(ack, "ebody", body)) {
        set_int(ack, "deny", 500);
        set_text(ack, "ebody", SLICE_LIT("{\"error\":{\"message\":\"the answer does not fit; raise tune.bufsize\",\"type\":"
                                         "\"server_error\",\"param\":null,\"code\":\"frame_too_small\"}}"));
        return;
    }
    set_int(ack, "deny", 200);
}

void verdict_account(struct spop_ack *ack, const struct budget_answer *budget, int64_t now_us, struct arena *a)
{
    set_text(ack, "cost", SLICE_LIT("0.00"));
    set_rates(ack, budget, now_us, a);
}

static struct slice instant(int64_t us, struct arena *a)
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    char text[32];

    gmtime_r(&s, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return arena_copy(a, slice_cstr(text));
}

/* What stands behind an amount of this unit. */
static const char *noun(enum budget_unit unit, int64_t amount)
{
    if (unit == BUDGET_USD)
        return "";
    if (unit == BUDGET_TOKENS)
        return amount == 1 ? " token" : " tokens";
    return amount == 1 ? " request" : " requests";
}

static struct slice budget_message(const struct budget_refused *r, struct arena *a)
{
    const struct budget_state *s = &r->state;
    char amount[32], used[32], held[32], left[32], asked[32];
    enum budget_unit u = s->unit;

    budget_format_amount(s->amount, u, amount, sizeof amount);
    budget_format_amount(s->used, u, used, sizeof used);
    budget_format_amount(s->held, u, held, sizeof held);
    budget_format_amount(s->left, u, left, sizeof left);
    budget_format_amount(r->asked, u, asked, sizeof asked);
    struct slice head = arena_printf(a,
                                     "Limit \"%s\" (%s, %s) refuses this request: %s%s allowed, %s used, %s held by open requests, %s "
                                     "left; this request may take up to %s%s.",
                                     s->limit, s->level, s->window, amount, noun(u, s->amount), used, held, left, asked, noun(u, r->asked));
    if (r->too_large)
        return arena_printf(a, "%.*s It can never fit: lower max_tokens or shorten the prompt.", SLICE_FMT(head));
    if (r->transient)
        return arena_printf(a, "%.*s It may fit when open requests have ended.", SLICE_FMT(head));
    if (s->reset_us > 0)
        return arena_printf(a, "%.*s It resets at %.*s.", SLICE_FMT(head), SLICE_FMT(instant(s->reset_us, a)));
    return head;
}

struct refusal verdict_budget_refusal(const struct budget_answer *b, struct arena *a)
{
    const struct budget_refused *r = &b->refused;

    if (b->verdict != BUDGET_REFUSED)
        return (struct refusal){ .status = 503, .type = "server_error", .code = "budget_unavailable", .retry_after_s = 1,
                                 .message = b->verdict == BUDGET_NOT_READY
                                                ? SLICE_LIT("The gateway is loading its budgets; try again in a moment.")
                                                : SLICE_LIT("The gateway cannot keep account of more subjects; ask its operators."),
                                 .reason = "budget_unavailable" };
    bool throttle = strcmp(r->state.window, "bucket") == 0 || r->state.unit == BUDGET_CONCURRENT || r->transient;
    if (throttle && !r->too_large)
        return (struct refusal){ .status = 429, .type = r->state.unit == BUDGET_TOKENS ? "tokens" : "requests",
                                 .code = "rate_limit_exceeded", .message = budget_message(r, a),
                                 .retry_after_s = r->retry_after_s < 1 ? 1 : r->retry_after_s, .reason = "rate_limit" };
    return (struct refusal){ .status = 429, .type = "insufficient_quota", .code = "insufficient_quota",
                             .message = budget_message(r, a), .retry_after_s = r->retry_after_s, .do_not_retry = true,
                             .reason = r->too_large ? "budget_too_large" : "budget" };
}
