#include "manage/console_link.h"

#include "agent.h"
#include "base/arena.h"
#include "base/clock.h"
#include "budget/budget.h"
#include "config/config.h"
#include "console/console.h"
#include "console/data.h"
#include "listener.h"
#include "observe/recent.h"
#include "request.h"
#include "runtime.h"
#include "manage/signin.h"
#include "telemetry.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 64, ACCOUNTS_MAX = 2000, ACCOUNTS_PER_STEP = 512, SOCKET_MODE = 0660 };

struct console_link {
    struct agent *agent;
    const struct config_console *config;
    struct signin *signin;
    struct console *console;
};

static void view_put(FILE *json, const struct budget_view *v, bool first)
{
    const struct budget_state *s = &v->state;
    char subject[512];

    snprintf(subject, sizeof subject, "%.*s", SLICE_FMT(v->subject));
    fputs(first ? "{\"limit\":" : ",{\"limit\":", json);
    json_text(json, s->limit);
    fputs(",\"subject\":", json);
    json_text(json, subject);
    fprintf(json, ",\"unit\":\"%s\",\"action\":\"%s\",\"window\":", budget_unit_name(s->unit), v->action);
    json_text(json, s->window);
    fprintf(json, ",\"amount\":%" PRId64 ",\"used\":%" PRId64 ",\"held\":%" PRId64 ",\"left\":%" PRId64 ",\"start_us\":%" PRId64
            ",\"reset_us\":%" PRId64 ",\"per_hour\":%" PRId64 ",\"forecast\":%" PRId64 ",\"previous\":%" PRId64 ",\"holds\":%" PRIu32 "}",
            s->amount, s->used, s->held, s->left, v->start_us, s->reset_us, v->burn_per_hour, v->forecast, v->previous, v->holds);
}

static void all_put(struct agent *a, struct arena *arena, FILE *json)
{
    struct budget_view *views;
    size_t cursor = 0, count = 0, n;

    do {
        arena_reset(arena, 65536);
        if (budget_list(a->budget, clock_wall_us(), clock_mono_us(), ACCOUNTS_PER_STEP, &cursor, arena, &views, &n) != 0)
            return;
        for (size_t i = 0; i < n && count < ACCOUNTS_MAX; i++)
            view_put(json, &views[i], count++ == 0);
    } while (cursor != 0 && count < ACCOUNTS_MAX);
}

/* On a console thread; the budget engine may be asked from any. */
static void budgets_put(void *user, const struct console_person *who, FILE *json)
{
    struct console_link *l = user;
    struct agent *a = l->agent;
    struct arena *arena = arena_new(65536);
    struct budget_view *views;
    size_t n = 0;

    fputc('[', json);
    if (arena != NULL && who->role == CONSOLE_ADMIN) {
        all_put(a, arena, json);
    } else if (arena != NULL) {
        struct identity identity = { .team = slice_cstr(who->team), .organization = slice_cstr(who->organization),
                                     .user = slice_cstr(who->user), .subject = slice_cstr(who->subject) };
        struct budget_subjects subjects = { .who = &identity };
        if (budget_list_for(a->budget, &subjects, clock_wall_us(), clock_mono_us(), arena, &views, &n) == 0)
            for (size_t i = 0; i < n; i++)
                view_put(json, &views[i], i == 0);
    }
    fputc(']', json);
    arena_free(arena);
}

static void number_or_null(FILE *json, const char *name, int64_t v, bool known)
{
    if (known)
        fprintf(json, ",\"%s\":%" PRId64, name, v);
    else
        fprintf(json, ",\"%s\":null", name);
}

static void event_put(FILE *json, const struct event *e)
{
    bool settled = e->kind == EVENT_SETTLED, denied = e->kind == EVENT_DENIED;
    const struct {
        const char *name, *value;
    } texts[] = { { "request_id", e->request_id }, { "team", e->team }, { "user", e->user }, { "alias", e->alias }, { "provider", e->provider },
                  { "deny_reason", denied ? e->reason : NULL }, { "outcome", settled ? e->reason : NULL } };

    fprintf(json, "{\"id\":%" PRId64 ",\"started_us\":%" PRId64 ",\"state\":%d,\"hold_nano\":%" PRId64 ",\"cost_nano\":%" PRId64, e->ledger_id, e->started_us,
            settled ? 1 : denied ? 2 : 0, e->hold_nano, settled ? e->cost_nano : 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fprintf(json, ",\"%s\":", texts[i].name);
        json_text(json, texts[i].value);
    }
    number_or_null(json, "http_status", e->status, e->status > 0);
    number_or_null(json, "ttft_us", e->ttft_us, e->ttft_us >= 0);
    number_or_null(json, "total_us", e->total_us, e->total_us >= 0);
    number_or_null(json, "fallback", e->fallback, settled);
    fputs("}\n", json);
}

/* Texts of events are cut: one that fills its room may be another's beginning, and is nobody's. */
static bool may_see(const struct console_person *who, const struct event *e)
{
    return who->role == CONSOLE_ADMIN || (strlen(e->team) < sizeof e->team - 1 && strlen(e->organization) < sizeof e->organization - 1 &&
                                          strcmp(who->team, e->team) == 0 && strcmp(who->organization, e->organization) == 0);
}

static uint64_t link_now(void *user)
{
    return recent_end(((struct console_link *)user)->agent->telemetry->recent);
}

/* Only what has a row of the ledger: a click on it shows the rest. */
static uint64_t link_happened(void *user, const struct console_person *who, uint64_t *cursor, size_t max, FILE *json)
{
    struct recent *r = ((struct console_link *)user)->agent->telemetry->recent;
    struct event *events = malloc(EVENTS_AT_ONCE * sizeof *events);
    uint64_t more = 0, lost;
    size_t shown = 0, n;

    while (events != NULL && (n = recent_read(r, cursor, events, EVENTS_AT_ONCE, &lost)) > 0) {
        if (who->role == CONSOLE_ADMIN)
            more += lost;
        for (size_t i = 0; i < n; i++) {
            const struct event *e = &events[i];
            if (e->ledger_id == 0 || e->kind == EVENT_CORRECTED || e->kind == EVENT_ANSWERED || !may_see(who, e))
                continue;
            if (shown++ < max)
                event_put(json, e);
            else
                more++;
        }
        if (n < EVENTS_AT_ONCE)
            break;
    }
    free(events);
    return more;
}

/* The console's callbacks know one `user`: this link. */
static bool link_authorize(void *user, const struct oidc_attempt *attempt, char *url, size_t size, char *why, size_t why_size)
{
    return signin_authorize(((struct console_link *)user)->signin, attempt, url, size, why, why_size);
}

static enum console_outcome link_exchange(void *user, const char *code, const char *iss, const struct oidc_attempt *attempt,
                                          struct console_person *who, char *why, size_t why_size)
{
    return signin_exchange(((struct console_link *)user)->signin, code, iss, attempt, who, why, why_size);
}

static bool link_sign_out(void *user, char *url, size_t size)
{
    return signin_sign_out(((struct console_link *)user)->signin, url, size);
}

struct console_link *console_link_start(struct agent *a, const struct config *c, struct runtime *r, char *why, size_t why_size)
{
    gid_t group = (gid_t)-1;

    why[0] = '\0';
    if (c->console == NULL)
        return NULL;
    struct console_link *l = calloc(1, sizeof *l);
    snprintf(why, why_size, "out of memory");
    if (l == NULL || (l->signin = signin_new(a)) == NULL) {
        free(l);
        return NULL;
    }
    l->agent = a;
    l->config = c->console;
    if (!signin_prepare(l->signin, r, why, why_size))
        goto fail;
    signin_commit(l->signin);
    if (c->listen.socket_group != NULL && !listener_group(c->listen.socket_group, &group)) {
        snprintf(why, why_size, "listen.socket_group: there is no group \"%s\"", c->listen.socket_group);
        goto fail;
    }
    int fd = listener_open(c->console->listen, SOCKET_MODE, group, why, why_size);
    if (fd < 0)
        goto fail;
    struct console_options o = {
        .fd = fd, .url = c->console->url, .ledger = c->ledger.file, .user = l, .authorize = link_authorize, .exchange = link_exchange,
        .sign_out = link_sign_out, .budgets = budgets_put, .now = link_now, .happened = link_happened,
    };
    config_duration_us(c->console->session, &o.session_us);
    l->console = console_start(&o, why, why_size);
    if (l->console != NULL)
        return l;
fail:
    signin_free(l->signin);
    free(l);
    return NULL;
}

bool console_link_prepare(struct console_link *l, struct runtime *r, char *why, size_t why_size)
{
    return l == NULL || signin_prepare(l->signin, r, why, why_size);
}

void console_link_commit(struct console_link *l)
{
    if (l == NULL)
        return;
    signin_commit(l->signin);
    console_sign_out_all(l->console);
}

bool console_link_differs(const struct config *a, const struct config *b)
{
    const struct config_console *x = a->console, *y = b->console;

    if (x == NULL || y == NULL)
        return x != y;
    return strcmp(x->listen, y->listen) != 0 || strcmp(x->url, y->url) != 0 || strcmp(x->session, y->session) != 0;
}

void console_link_stop(struct console_link *l)
{
    if (l == NULL)
        return;
    signin_stop(l->signin);
    console_stop(l->console);
    if (strncmp(l->config->listen, "unix@", 5) == 0)
        unlink(l->config->listen + 5);
}

void console_link_free(struct console_link *l)
{
    if (l == NULL)
        return;
    signin_free(l->signin);
    free(l);
}
