#include "manage/alerting.h"

#include "agent.h"
#include "manage/alerting_text.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/log.h"
#include "base/redact.h"
#include "base/secret.h"
#include "budget/budget.h"
#include "config/config.h"
#include "ledger/ledger.h"
#include "ledger/read.h"
#include "observe/metrics.h"
#include "telemetry.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAUSE_MAX_S = 300, ASKING_MAX = 256, TIMEOUT_MS = 10000, REPLY_MAX = 65536 };
#define GIVE_UP_US (INT64_C(24) * 3600 * 1000000)

struct alert {
    struct agent_task task;
    struct ledger_op op;
    struct agent *agent;
    struct alert *next;
    enum ledger_result result;
    int64_t due_mono_us;
    int attempts;
    bool heard;            /* the webhook is configured: it is to be sent */
    struct budget_notice notice;
    char event[ALERT_EVENT_SIZE], body[ALERT_BODY_SIZE];
};

struct webhook {
    char *url, *ca_file;
    bool allow_http;
    int64_t queue;
    struct secret *secret;
    struct redact_entry *redacted;
};

struct alerting {
    struct webhook hook;       /* url NULL: none */
    struct alert *first, *last; /* to be sent; one at a time is under way */
    struct http_call *call;
    struct alert *sending;
    size_t waiting;             /* in the queue or under way */
    size_t asking;             /* on their way to the ledger */
    struct metric *counted;
    struct log_gate drops;
};

static const struct metric_spec spec = { .name = "tollgate_alerts", .kind = METRIC_COUNTER, .labels = { "result" },
                                         .help = "Alerts: raised, sent, failed (tries), dropped (queue full, or not heard for a day)." };

static void count(struct alerting *s, const char *result)
{
    struct slice label = slice_cstr(result);
    metric_add(metric_series(s->counted, &label), 1);
}

/* Prometheus sees no increase in a series that begins with 1. */
static void count_from_zero(struct alerting *s)
{
    static const char *const results[] = { "raised", "sent", "failed", "dropped" };

    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        struct slice label = slice_cstr(results[i]);
        metric_add(metric_series(s->counted, &label), 0);
    }
}

/* ---- the webhook ---- */

static void webhook_end(struct webhook *w)
{
    free(w->url);
    free(w->ca_file);
    redact_remove(w->redacted);
    secret_free(w->secret);
    *w = (struct webhook){ .url = NULL };
}

static bool webhook_make(struct webhook *w, const struct config_alerts *c, char *why, size_t why_size)
{
    char reason[256];

    *w = (struct webhook){ .allow_http = c->allow_http, .queue = c->queue };
    if (c->url == NULL)
        return true;
    w->secret = secret_from_file(c->secret_file, reason, sizeof reason);
    if (w->secret == NULL) {
        snprintf(why, why_size, "alerts.secret_file: %s", reason);
        return false;
    }
    if (!alert_secret_good(secret_view(w->secret))) {
        snprintf(why, why_size, "alerts.secret_file %s: needs 24 bytes or more, plain or as whsec_ and base64", c->secret_file);
        webhook_end(w);
        return false;
    }
    w->redacted = redact_add(secret_view(w->secret), NULL);
    w->url = strdup(c->url);
    w->ca_file = c->ca_file != NULL ? strdup(c->ca_file) : NULL;
    if (w->url != NULL && (c->ca_file == NULL || w->ca_file != NULL))
        return true;
    snprintf(why, why_size, "out of memory");
    webhook_end(w);
    return false;
}

/* ---- to the ledger and back ---- */

static void queue_push(struct alerting *s, struct alert *x)
{
    x->next = NULL;
    if (s->last != NULL)
        s->last->next = x;
    else
        s->first = x;
    s->last = x;
}

/* One that was not in the queue before: it stays among the waiting also while it is under way. */
static void queue_take(struct alerting *s, struct alert *x)
{
    s->waiting++;
    queue_push(s, x);
}

static void notice_log(const struct budget_notice *n)
{
    LOG(LOG_LEVEL_WARN, "limit_threshold", LOG_CSTR("limit", n->state.limit), LOG_CSTR("subject", n->subject), LOG_INT("percent", n->percent),
        LOG_INT("used", n->state.used), LOG_INT("amount", n->state.amount), LOG_CSTR("action", n->action));
}

static void submit(struct alert *x, const struct ledger_alert *row);

static void over(struct alert *x, bool sent)
{
    submit(x, &(struct ledger_alert){ .change = sent ? ALERT_SENT : ALERT_DROPPED, .attempts = x->attempts, .ended_us = clock_wall_us() });
}

static void dropped(struct alerting *s, struct alert *x)
{
    unsigned held = 0;

    count(s, "dropped");
    if (log_gate_open(&s->drops, clock_mono_us(), 10, &held))
        LOG(LOG_LEVEL_ERROR, "alert_dropped", LOG_CSTR("event", x->event), LOG_CSTR("limit", x->notice.state.limit),
            LOG_CSTR("error", "the queue is full; raise alerts.queue or repair the receiver"), LOG_INT("suppressed", held));
    over(x, false);
}

static void on_written(struct agent *a, struct agent_task *task)
{
    struct alert *x = (struct alert *)task;
    struct alerting *s = a->alerting;

    s->asking--;
    if (x->result == LEDGER_INVALID || x->result == LEDGER_FAILED)
        LOG(LOG_LEVEL_ERROR, "alert_not_written", LOG_CSTR("event", x->event));
    if (x->op.alert.change != ALERT_NEW || x->result != LEDGER_OK) {
        free(x);
        return;
    }
    notice_log(&x->notice);
    count(s, "raised");
    if (!x->heard)
        free(x);
    else if (s->waiting < (size_t)s->hook.queue)
        queue_take(s, x);
    else
        dropped(s, x);
}

/* On the ledger's writer thread. */
static void on_row(struct ledger_op *op, enum ledger_result result)
{
    struct alert *x = op->user;

    x->result = result;
    x->task.run = on_written;
    agent_post(x->agent, &x->task);
}

static void submit(struct alert *x, const struct ledger_alert *row)
{
    x->op = (struct ledger_op){ .kind = LEDGER_ALERT, .done = on_row, .user = x };
    x->op.alert = *row;
    x->op.alert.event = slice_cstr(x->event);
    x->agent->alerting->asking++;
    ledger_submit(x->agent->ledger, &x->op);
}

static bool event_name(char out[static ALERT_EVENT_SIZE])
{
    unsigned char random[16];

    if (RAND_bytes(random, sizeof random) != 1)
        return false;
    size_t n = (size_t)sprintf(out, "alert_");
    for (size_t i = 0; i < sizeof random; i++)
        n += (size_t)sprintf(out + n, "%02x", random[i]);
    return true;
}

static void raise_alert(struct agent *a, const struct budget_notice *n)
{
    struct alerting *s = a->alerting;
    struct alert *x = calloc(1, sizeof *x);

    if (x == NULL || !event_name(x->event)) {
        free(x);
        count(s, "dropped");
        LOG(LOG_LEVEL_ERROR, "alert_dropped", LOG_CSTR("limit", n->state.limit), LOG_CSTR("error", "out of memory"));
        return;
    }
    x->agent = a;
    x->notice = *n;
    x->heard = s->hook.url != NULL;
    alert_body(n, x->event, x->body);
    submit(x, &(struct ledger_alert){ .change = ALERT_NEW, .unheard = !x->heard, .limit = slice_cstr(x->notice.state.limit),
                                      .unit = slice_cstr(budget_unit_name(n->state.unit)), .subject = slice_cstr(x->notice.subject),
                                      .body = slice_cstr(x->body), .percent = n->percent, .at_us = n->at_us, .once_since_us = n->once_since_us });
}

/* ---- sending ---- */

static void send_next(struct agent *a);

static void on_reply(void *user, const struct http_reply *r)
{
    struct alert *x = user;
    struct agent *a = x->agent;
    struct alerting *s = a->alerting;
    int64_t pause_s = x->attempts < 10 ? INT64_C(1) << x->attempts : PAUSE_MAX_S;

    s->call = NULL;
    s->sending = NULL;
    x->attempts++;
    if (r->outcome == HTTP_REPLIED && r->status >= 200 && r->status < 300) {
        count(s, "sent");
        s->waiting--;
        over(x, true);
        send_next(a);
        return;
    }
    count(s, "failed");
    bool give_up = clock_wall_us() - x->notice.at_us > GIVE_UP_US;
    LOG(LOG_LEVEL_WARN, "alert_not_heard", LOG_CSTR("event", x->event), LOG_INT("status", r->status), LOG_CSTR("error", r->why),
        LOG_INT("attempts", x->attempts), LOG_CSTR("then", give_up ? "dropped" : "again"));
    if (give_up) {
        count(s, "dropped");
        s->waiting--;
        over(x, false);
        return;
    }
    x->due_mono_us = clock_mono_us() + (pause_s < PAUSE_MAX_S ? pause_s : PAUSE_MAX_S) * 1000000;
    queue_push(s, x);
}

static struct alert *queue_due(struct alerting *s, int64_t now)
{
    struct alert *before = NULL, *x = s->first;

    while (x != NULL && x->due_mono_us > now) {
        before = x;
        x = x->next;
    }
    if (x == NULL)
        return NULL;
    if (before != NULL)
        before->next = x->next;
    else
        s->first = x->next;
    if (s->last == x)
        s->last = before;
    return x;
}

static void send_next(struct agent *a)
{
    struct alerting *s = a->alerting;
    char id[64 + ALERT_EVENT_SIZE], stamp[64], signature[128], why[256];
    int64_t now_s = clock_wall_us() / 1000000;

    if (s->sending != NULL || s->hook.url == NULL)
        return;
    struct alert *x = queue_due(s, clock_mono_us());
    if (x == NULL)
        return;
    snprintf(id, sizeof id, "webhook-id: %s", x->event);
    snprintf(stamp, sizeof stamp, "webhook-timestamp: %lld", (long long)now_s);
    const char *headers[] = { "content-type: application/json", id, stamp, signature };
    bool is_signed = alert_sign(secret_view(s->hook.secret), x->event, now_s, slice_cstr(x->body), signature, sizeof signature);
    struct http_request_options o = { .url = s->hook.url, .headers = headers, .header_count = 4, .body = slice_cstr(x->body),
                                      .ca_file = s->hook.ca_file, .allow_http = s->hook.allow_http, .max_bytes = REPLY_MAX,
                                      .timeout_ms = TIMEOUT_MS, .done = on_reply, .user = x };
    snprintf(why, sizeof why, "out of memory");
    s->sending = x;
    s->call = is_signed ? http_client_start(a->http, &o, why, sizeof why) : NULL;
    if (s->call == NULL)
        on_reply(x, &(struct http_reply){ .outcome = HTTP_FAILED, .why = why });
}

void alerting_tick(struct agent *a)
{
    struct budget_notice n;

    /* What is not taken waits in the engine; a failing ledger holds it up there. */
    while (a->alerting->asking < ASKING_MAX && budget_notice_take(a->budget, &n)) {
        if (n.once_since_us == INT64_MAX)
            notice_log(&n);
        else
            raise_alert(a, &n);
    }
    send_next(a);
}

/* ---- life ---- */

static bool on_pending(void *user, const struct ledger_alert *row)
{
    struct agent *a = user;
    struct alert *x = calloc(1, sizeof *x);

    if (x == NULL)
        return false;
    x->agent = a;
    x->heard = true;
    x->notice.at_us = row->at_us;
    snprintf(x->event, sizeof x->event, "%.*s", SLICE_FMT(row->event));
    snprintf(x->body, sizeof x->body, "%.*s", SLICE_FMT(row->body));
    queue_take(a->alerting, x);
    return true;
}

bool alerting_open(struct agent *a, const struct config *c, const char *ledger_file, char *why, size_t why_size)
{
    struct alerting *s = a->alerting = calloc(1, sizeof *s);

    snprintf(why, why_size, "out of memory");
    if (s == NULL || (s->counted = metrics_add(a->telemetry->metrics, &spec)) == NULL || !webhook_make(&s->hook, &c->alerts, why, why_size))
        return false;
    count_from_zero(s);
    struct ledger_reader *r = ledger_reader_open(ledger_file, why, why_size);
    if (r == NULL)
        return false;
    int rc = ledger_read_alerts(r, on_pending, a);
    if (rc != 0)
        snprintf(why, why_size, "cannot read the alerts still to be sent: %s", ledger_reader_error(r));
    ledger_reader_close(r);
    return rc == 0;
}

bool alerting_check(const struct config *c, char *why, size_t why_size)
{
    struct webhook w;
    bool good = webhook_make(&w, &c->alerts, why, why_size);

    webhook_end(&w);
    return good;
}

void alerting_reload(struct agent *a, const struct config *c)
{
    struct webhook fresh;
    char why[512];

    if (!webhook_make(&fresh, &c->alerts, why, sizeof why)) {
        LOG(LOG_LEVEL_ERROR, "alerts_not_reloaded", LOG_CSTR("error", why), LOG_CSTR("effect", "alerts go where they went"));
        return;
    }
    webhook_end(&a->alerting->hook);
    a->alerting->hook = fresh;
}

void alerting_close(struct agent *a)
{
    struct alerting *s = a->alerting;

    if (s == NULL)
        return;
    http_call_cancel(s->call);
    free(s->sending);
    for (struct alert *x; (x = s->first) != NULL;) {
        s->first = x->next;
        free(x);
    }
    webhook_end(&s->hook);
    free(s);
    a->alerting = NULL;
}
