#include "server.h"

#include "access/access_change.h"
#include "agent.h"
#include "manage/alerting.h"
#include "manage/archiving.h"
#include "manage/auditing.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/log.h"
#include "budget/budget.h"
#include "config/config.h"
#include "manage/console_link.h"
#include "manage/control.h"
#include "decide/inflight.h"
#include "outcome/intake.h"
#include "outcome/learning.h"
#include "ledger/ledger.h"
#include "manage/limiting.h"
#include "manage/prompting.h"
#include "listener.h"
#include "observe/audit.h"
#include "observe/request_log.h"
#include "outcome/relaying.h"
#include "prices.h"
#include "restore.h"
#include "outcome/routing.h"
#include "runtime.h"
#include "outcome/settlement.h"
#include "telemetry.h"
#include "tokens/count.h"
#include "tokens/learn.h"
#include "tracing.h"
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHARED_MODE = 0660, ADMIN_MODE = 0600 };

struct server {
    struct agent agent;
    struct config *config;       /* the one it started with: listeners and ledger */
    int *spop;
    unsigned spop_count, workers_started;
    struct intake *intake;
    struct relaying *relaying;
    int admin_fd;
    struct rpc_server *admin;
    struct console_link *console; /* NULL: not configured */
    ev_signal term, interrupt, hangup;
    ev_timer housekeeping;
    char why[1024];
};

struct runtime *agent_runtime(struct agent *a)
{
    pthread_mutex_lock(&a->lock);
    struct runtime *r = runtime_ref(a->runtime);
    pthread_mutex_unlock(&a->lock);
    return r;
}

void agent_runtime_retired(struct agent *a, struct runtime *r)
{
    pthread_mutex_lock(&a->lock);
    r->retired_next = a->retired;
    a->retired = r;
    pthread_mutex_unlock(&a->lock);
    ev_async_send(a->loop, &a->wake);
}

void agent_post(struct agent *a, struct agent_task *task)
{
    pthread_mutex_lock(&a->lock);
    task->next = a->tasks;
    a->tasks = task;
    pthread_mutex_unlock(&a->lock);
    ev_async_send(a->loop, &a->wake);
}

static void tasks_run(struct agent *a)
{
    pthread_mutex_lock(&a->lock);
    struct agent_task *list = a->tasks, *ordered = NULL;
    struct runtime *retired = a->retired;
    a->tasks = NULL;
    a->retired = NULL;
    pthread_mutex_unlock(&a->lock);
    while (list != NULL) {
        struct agent_task *next = list->next;
        list->next = ordered;
        ordered = list;
        list = next;
    }
    while (ordered != NULL) {
        struct agent_task *next = ordered->next;
        ordered->run(a, ordered);
        ordered = next;
    }
    while (retired != NULL) {
        struct runtime *next = retired->retired_next;
        runtime_free(retired);
        retired = next;
    }
}

static void on_wake(struct ev_loop *loop, ev_async *async, int events)
{
    (void)loop, (void)events;
    tasks_run(async->data);
}

/* On the ledger's writer thread. */
static void on_ledger_state(void *user, const struct ledger_status *s)
{
    struct agent *a = user;

    atomic_store(&a->ledger_failing, s->failing);
    if (s->failing)
        LOG(LOG_LEVEL_ERROR, "ledger_failing", LOG_CSTR("error", s->error), LOG_INT("kept", s->retrying),
            LOG_CSTR("effect", "requests are refused with 503 until it recovers"));
    else
        LOG(LOG_LEVEL_WARN, "ledger_recovered", LOG_INT("kept", s->retrying));
}

static void on_housekeeping(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct server *s = timer->data;

    (void)loop, (void)events;
    budget_tick(s->agent.budget, clock_wall_us(), clock_mono_us());
    alerting_tick(&s->agent);
    settlement_tick(&s->agent, clock_mono_us());
    learning_keep(&s->agent);
    telemetry_tick(&s->agent);
    routing_tick(&s->agent);
    prices_tick(&s->agent);
}

static void log_apply(const struct config *c)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    for (int i = 0; i < 4; i++)
        if (strcmp(c->log_level, names[i]) == 0)
            log_set_level((enum log_level)i);
    log_set_format(strcmp(c->log.format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_FMT);
}

static void errors_log(const struct config_errors *e)
{
    const char *p = e->text;

    while (*p != '\0') {
        size_t n = strcspn(p, "\n");
        LOG(LOG_LEVEL_ERROR, "config_refused", LOG_STR("error", slice_make(p, n)));
        p += n + (p[n] == '\n');
    }
}

static bool listeners_differ(const struct config *a, const struct config *b)
{
    bool differ = a->listen.spop_count != b->listen.spop_count || strcmp(a->listen.settle, b->listen.settle) != 0 ||
                  strcmp(a->listen.ring, b->listen.ring) != 0 || !config_metrics_equal(&a->metrics, &b->metrics) || strcmp(a->listen.admin, b->listen.admin) != 0 ||
                  strcmp(a->listen.relay, b->listen.relay) != 0 || strcmp(a->haproxy.streams, b->haproxy.streams) != 0 ||
                  strcmp(a->haproxy.runtime_dir, b->haproxy.runtime_dir) != 0 ||
                  a->workers != b->workers || strcmp(a->ledger.file, b->ledger.file) != 0 || strcmp(a->audit.file, b->audit.file) != 0 ||
                  strcmp(a->prompts.file, b->prompts.file) != 0 || a->prompts.max_bytes != b->prompts.max_bytes || a->prompts.keep != b->prompts.keep ||
                  (a->traces.endpoint != NULL && b->traces.endpoint != NULL && a->traces.queue != b->traces.queue) ||
                  console_link_differs(a, b);
    for (unsigned i = 0; !differ && i < a->listen.spop_count; i++)
        differ = strcmp(a->listen.spop[i], b->listen.spop[i]) != 0;
    return differ;
}

static void reload_over(struct agent *a, bool good)
{
    telemetry_reloaded(a, good);
    auditing_loaded(a, "signal HUP", "reload", good);
}

static void reload(struct server *s)
{
    struct agent *a = &s->agent;
    struct config_errors errors;
    struct config *c = config_load(a->config_file, &errors);

    if (c == NULL) {
        errors_log(&errors);
        reload_over(a, false);
        LOG(LOG_LEVEL_ERROR, "reload_refused", LOG_CSTR("effect", "the configuration in force stays"));
        return;
    }
    if (listeners_differ(s->config, c))
        LOG(LOG_LEVEL_WARN, "restart_needed", LOG_CSTR("keys", "listen, workers, metrics, traces.queue, ledger.file, audit.file, prompts and the console's listen, url "
                                                               "and session change at a restart only"));
    struct runtime *fresh = runtime_new(a, c, a->loop, a->http, a->runtime, s->why, sizeof s->why);
    if (fresh == NULL || !access_lists_check(c, s->why, sizeof s->why) || !alerting_check(c, s->why, sizeof s->why) ||
        !tracing_check(c, s->why, sizeof s->why) ||
        !console_link_prepare(s->console, fresh, s->why, sizeof s->why) ||
        !limits_reload(a, c, s->config->ledger.file, s->why, sizeof s->why)) {
        reload_over(a, false);
        LOG(LOG_LEVEL_ERROR, "reload_refused", LOG_CSTR("error", s->why), LOG_CSTR("effect", "the configuration in force stays"));
        if (fresh == NULL)
            config_free(c);
        runtime_unref(fresh);
        return;
    }
    log_apply(c);
    request_log_switch(a->telemetry->log, *c->log.decisions);
    access_lists_reload(a, c);
    alerting_reload(a, c);
    tracing_reload(a, c);
    prices_record(a, fresh);
    console_link_commit(s->console);
    pthread_mutex_lock(&a->lock);
    struct runtime *old = a->runtime;
    a->runtime = fresh;
    pthread_mutex_unlock(&a->lock);
    runtime_unref(old);
    for (unsigned i = 0; i < a->worker_count; i++)
        worker_runtime_changed(&a->workers[i]);
    reload_over(a, true);
    LOG(LOG_LEVEL_INFO, "reloaded", LOG_CSTR("file", a->config_file), LOG_CSTR("prices", price_table_hash(fresh->routed)));
}

static void on_signal(struct ev_loop *loop, ev_signal *signal, int events)
{
    struct server *s = signal->data;

    (void)events;
    LOG(LOG_LEVEL_INFO, "signal", LOG_INT("number", signal->signum));
    if (signal->signum == SIGHUP)
        reload(s);
    else
        ev_break(loop, EVBREAK_ALL);
}

static void signals_start(struct server *s)
{
    struct ev_loop *loop = s->agent.loop;

    signal(SIGPIPE, SIG_IGN);
    ev_signal_init(&s->term, on_signal, SIGTERM);
    ev_signal_init(&s->interrupt, on_signal, SIGINT);
    ev_signal_init(&s->hangup, on_signal, SIGHUP);
    s->term.data = s->interrupt.data = s->hangup.data = s;
    ev_signal_start(loop, &s->term);
    ev_signal_start(loop, &s->interrupt);
    ev_signal_start(loop, &s->hangup);
}

static bool books_open(struct server *s)
{
    struct agent *a = &s->agent;
    struct ledger_options o = { .file = s->config->ledger.file, .on_state = on_ledger_state, .user = a };

    a->ledger = ledger_open(&o, s->why, sizeof s->why);
    /* Gateway keys bring limits of their own, so they come before the budgets. */
    return a->ledger != NULL && access_lists_open(a, s->config->ledger.file, s->config, s->why, sizeof s->why) &&
           limits_open(a, s->config, s->why, sizeof s->why) && restore_all(a, s->config->ledger.file, s->why, sizeof s->why) &&
           learning_open(a, s->config->ledger.file, s->why, sizeof s->why) &&
           routing_open(a, s->config->ledger.file, s->why, sizeof s->why) &&
           alerting_open(a, s->config, s->config->ledger.file, s->why, sizeof s->why);
}

static bool spop_listen(struct server *s)
{
    const struct config_listen *l = &s->config->listen;
    gid_t group = (gid_t)-1;

    if (l->socket_group != NULL && !listener_group(l->socket_group, &group)) {
        snprintf(s->why, sizeof s->why, "listen.socket_group: there is no group \"%s\"", l->socket_group);
        return false;
    }
    s->spop = calloc(l->spop_count, sizeof *s->spop);
    if (s->spop == NULL)
        return false;
    for (; s->spop_count < l->spop_count; s->spop_count++) {
        int fd = listener_open(l->spop[s->spop_count], SHARED_MODE, group, s->why, sizeof s->why);
        if (fd < 0)
            return false;
        s->spop[s->spop_count] = fd;
    }
    s->intake = intake_start(&s->agent, l->settle, l->ring, SHARED_MODE, group, s->why, sizeof s->why);
    if (s->intake == NULL)
        return false;
    if (strcmp(s->config->haproxy.streams, "relay") == 0) {
        s->relaying = relaying_start(&s->agent, s->config, SHARED_MODE, group, s->why, sizeof s->why);
        if (s->relaying == NULL)
            return false;
    }
    s->admin_fd = listener_open(l->admin, ADMIN_MODE, (gid_t)-1, s->why, sizeof s->why);
    if (s->admin_fd >= 0)
        s->admin = rpc_server_new(s->agent.loop, s->admin_fd, control_methods, &s->agent);
    s->agent.admin = s->admin;
    if (s->admin != NULL)
        auditing_watch(&s->agent, s->admin);
    return s->admin != NULL;
}

static bool start(struct server *s, const char *config_file)
{
    struct agent *a = &s->agent;
    struct config_errors errors;

    snprintf(s->why, sizeof s->why, "out of memory");
    s->admin_fd = -1;
    pthread_mutex_init(&a->lock, NULL);
    a->config_file = config_file;
    a->started_us = clock_wall_us();
    a->loop = ev_default_loop(EVFLAG_AUTO);
    ev_async_init(&a->wake, on_wake);
    a->wake.data = a;
    ev_async_start(a->loop, &a->wake);
    listener_room();
    signals_start(s); /* heard from now on, acted on once the loop runs */
    s->config = config_load(config_file, &errors);
    if (s->config == NULL) {
        errors_log(&errors);
        snprintf(s->why, sizeof s->why, "the configuration is refused");
        return false;
    }
    log_apply(s->config);
    a->telemetry = telemetry_new(s->config);
    if (a->telemetry == NULL)
        return false;
    if (!tracing_open(a, s->config, s->why, sizeof s->why))
        return false;
    a->prompting = prompting_new(s->config);
    a->inflight = inflight_table_new();
    a->counter = token_counter_new(NULL);
    a->http = http_client_new(a->loop, NULL);
    if (a->prompting == NULL || a->inflight == NULL || a->counter == NULL || a->http == NULL)
        return false;
    a->tokenizers = tokenizer_set_open(NULL, s->why, sizeof s->why);
    /* The ledger first: of two agents with one configuration, the second is told of what matters most. */
    if (a->tokenizers == NULL || !books_open(s) || !auditing_open(a, s->config, s->why, sizeof s->why))
        return false;
    struct config *own = config_load(config_file, &errors); /* the runtime's copy; s->config keeps what a restart is needed for */
    if (own == NULL)
        return false;
    a->runtime = runtime_new(a, own, a->loop, a->http, NULL, s->why, sizeof s->why);
    if (a->runtime == NULL) {
        config_free(own);
        return false;
    }
    prices_record(a, a->runtime);
    if (!spop_listen(s))
        return false;
    a->workers = calloc((size_t)s->config->workers, sizeof *a->workers);
    if (a->workers == NULL)
        return false;
    for (unsigned i = 0; i < (unsigned)s->config->workers; i++, s->workers_started++, a->worker_count++)
        if (!worker_start(&a->workers[i], a, i, s->spop, s->spop_count)) {
            snprintf(s->why, sizeof s->why, "cannot start worker %u", i);
            return false;
        }
    if (!telemetry_serve(a, s->config, s->why, sizeof s->why))
        return false;
    telemetry_tick(a);
    s->console = console_link_start(a, s->config, a->runtime, s->why, sizeof s->why);
    if (s->console == NULL && s->why[0] != '\0')
        return false;
    ev_timer_init(&s->housekeeping, on_housekeeping, 1., 1.);
    s->housekeeping.data = s;
    ev_timer_start(a->loop, &s->housekeeping);
    return true;
}

/* Answers in flight are given, settlements that came are written; then everything goes in reverse order. */
static void stop(struct server *s)
{
    struct agent *a = &s->agent;

    relaying_stop(s->relaying);
    tasks_run(a); /* breakers hear of the tries it gave up while the ledger is open */
    console_link_stop(s->console);
    for (unsigned i = 0; i < s->workers_started; i++)
        worker_stop(&a->workers[i]);
    for (unsigned i = 0; i < s->workers_started; i++)
        worker_join(&a->workers[i]);
    telemetry_stop(a->telemetry);
    rpc_server_free(s->admin);
    if (s->admin_fd >= 0)
        listener_close(s->admin_fd, s->config->listen.admin);
    intake_stop(s->intake);
    if (a->learner != NULL)
        learning_keep(a);
    routing_keep_all(a);
    archiving_free(a->archiving);
    ledger_close(a->ledger);
    tracing_close(a);
    for (unsigned i = 0; i < s->workers_started; i++)
        worker_free(&a->workers[i]);
    tasks_run(a);
    console_link_free(s->console);
    intake_free(s->intake);
    runtime_unref(a->runtime);
    tasks_run(a);
    access_lists_close(a);
    for (unsigned i = 0; i < s->spop_count; i++)
        listener_close(s->spop[i], s->config->listen.spop[i]);
    alerting_close(a);
    inflight_table_free(a->inflight);
    telemetry_free(a->telemetry);
    budget_free(a->budget);
    token_learner_free(a->learner);
    routing_close(a);
    tokenizer_set_close(a->tokenizers);
    token_counter_free(a->counter);
    http_client_free(a->http);
    config_free(s->config);
    prompting_free(a->prompting);
    audit_close(a->audit);
    free(a->workers);
    free(s->spop);
    ev_loop_destroy(a->loop);
    pthread_mutex_destroy(&a->lock);
}

int server_run(const char *config_file)
{
    struct server *s = calloc(1, sizeof *s);

    if (s == NULL)
        return 1;
    bool ok = start(s, config_file);
    if (ok) {
        LOG(LOG_LEVEL_INFO, "started", LOG_CSTR("version", TOLLGATE_VERSION), LOG_CSTR("config", config_file),
            LOG_INT("workers", s->agent.worker_count), LOG_CSTR("ledger", s->config->ledger.file),
            LOG_CSTR("prices", price_table_hash(s->agent.runtime->routed)));
        auditing_loaded(&s->agent, "agent", "start", true);
        ev_run(s->agent.loop, 0);
        (void)auditing_note(&s->agent, "agent", "stop", NULL, NULL);
        LOG(LOG_LEVEL_INFO, "stopping", LOG_INT("in_flight", inflight_count(s->agent.inflight)));
    } else {
        LOG(LOG_LEVEL_ERROR, "cannot_start", LOG_CSTR("error", s->why));
    }
    stop(s);
    free(s);
    return ok ? 0 : 1;
}
