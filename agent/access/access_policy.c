#include "access/access_policy.h"

#include "base/hours.h"
#include "budget/zone.h"
#include "dialect/dialect.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { SUBJECTS = 7, SHOWN_MAX = 1024 };

struct list {
    char **text;
    unsigned count;
};

struct network {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;
};

struct rule {
    char *name;
    struct list subjects[SUBJECTS]; /* in the order of subject_values; the last is groups */
    struct list models, upstreams, hours_text, networks_text;
    unsigned endpoints;             /* bit per enum endpoint; 0: all */
    struct network *networks;
    struct hours *hours;
    struct budget_zone *zone;
    char *zone_name;
    int64_t max_prompt, max_output; /* -1: none */
};

struct access_policy {
    struct arena *arena;
    struct rule *rules;
    unsigned count, room; /* room: compiled or not */
};

/* ---- compiling -------------------------------------------------------------------------------------------------------- */

struct place {
    unsigned rule;
    char *why;
    size_t size;
};

__attribute__((format(printf, 3, 4))) static bool wrong(const struct place *at, const char *field, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(at->why, at->size, "access[%u].%s: %s", at->rule, field, text);
    return false;
}

static char *copy(struct arena *a, const char *text)
{
    char *s = arena_cstr(a, slice_cstr(text));
    if (s == NULL)
        abort(); /* at start and at reload only, on a few kilobytes */
    return s;
}

static void *grab(struct arena *a, size_t count, size_t size)
{
    void *p = arena_zalloc(a, count * size + 1);
    if (p == NULL)
        abort();
    return p;
}

/* Values may end in '*'. */
static bool list_take(struct arena *a, char **from, unsigned count, const char *field, const struct place *at, struct list *out)
{
    *out = (struct list){ .text = grab(a, count, sizeof(char *)), .count = count };
    for (unsigned i = 0; i < count; i++) {
        const char *star = strchr(from[i], '*');
        if (star != NULL && star[1] != '\0')
            return wrong(at, field, "\"%.64s\" has a '*' before its end; only the last character may be one", from[i]);
        out->text[i] = copy(a, from[i]);
    }
    return true;
}

static bool network_parse(const char *text, struct network *out)
{
    char address[INET6_ADDRSTRLEN + 1], *end;
    const char *slash = strchr(text, '/');
    size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
    unsigned most = 32;

    *out = (struct network){ .address = { [10] = 0xff, [11] = 0xff } };
    if (n == 0 || n >= sizeof address)
        return false;
    memcpy(address, text, n);
    address[n] = '\0';
    if (inet_pton(AF_INET, address, out->address + 12) != 1) {
        most = 128;
        if (inet_pton(AF_INET6, address, out->address) != 1)
            return false;
    }
    unsigned long bits = most;
    if (slash != NULL) {
        bits = strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || bits > most)
            return false;
    }
    out->bits = (unsigned)bits + (most == 32 ? 96 : 0);
    return true;
}

static bool networks_take(struct arena *a, const struct config_access *f, const struct place *at, struct rule *r)
{
    r->networks = grab(a, f->networks_count, sizeof *r->networks);
    r->networks_text = (struct list){ .text = grab(a, f->networks_count, sizeof(char *)), .count = f->networks_count };
    for (unsigned i = 0; i < f->networks_count; i++) {
        if (!network_parse(f->networks[i], &r->networks[i]))
            return wrong(at, "networks", "\"%.64s\" is no network; write 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32", f->networks[i]);
        r->networks_text.text[i] = copy(a, f->networks[i]);
    }
    return true;
}

static bool hours_take(struct arena *a, const struct config_access *f, const struct place *at, struct rule *r)
{
    char why[256];

    r->hours = grab(a, f->hours_count, sizeof *r->hours);
    r->hours_text = (struct list){ .text = grab(a, f->hours_count, sizeof(char *)), .count = f->hours_count };
    for (unsigned i = 0; i < f->hours_count; i++) {
        const char *fault = hours_parse(f->hours[i], &r->hours[i]);
        if (fault != NULL)
            return wrong(at, "hours", "\"%.64s\": %s", f->hours[i], fault);
        r->hours_text.text[i] = copy(a, f->hours[i]);
    }
    r->zone_name = copy(a, f->time_zone != NULL ? f->time_zone : "UTC");
    if (f->time_zone != NULL && f->hours_count == 0)
        return wrong(at, "time_zone", "goes with hours only");
    r->zone = budget_zone_load(NULL, r->zone_name, why, sizeof why);
    return r->zone != NULL || wrong(at, "time_zone", "%s", why);
}

static bool model_known(const struct config *c, const char *name)
{
    bool known = strchr(name, '*') != NULL;

    for (unsigned i = 0; i < c->models_count && !known; i++)
        known = strcmp(c->models[i].name, name) == 0;
    return known;
}

static bool endpoints_take(const struct config_access *f, const struct place *at, struct rule *r)
{
    enum endpoint e;

    for (unsigned i = 0; i < f->endpoints_count; i++) {
        if (!dialect_endpoint_from_name(slice_cstr(f->endpoints[i]), &e))
            return wrong(at, "endpoints", "there is no endpoint \"%.64s\"; allowed: chat, responses, completions, embeddings, messages, passthrough",
                         f->endpoints[i]);
        r->endpoints |= 1u << e;
    }
    return true;
}

static bool subjects_take(struct arena *a, const struct config_access *f, const struct place *at, struct rule *r)
{
    const struct {
        char **text;
        unsigned count;
        const char *field;
    } from[SUBJECTS] = { { f->organizations, f->organizations_count, "organizations" }, { f->teams, f->teams_count, "teams" },
                         { f->users, f->users_count, "users" },       { f->applications, f->applications_count, "applications" },
                         { f->cost_centers, f->cost_centers_count, "cost_centers" }, { f->keys, f->keys_count, "keys" },
                         { f->groups, f->groups_count, "groups" } };

    for (int i = 0; i < SUBJECTS; i++)
        if (!list_take(a, from[i].text, from[i].count, from[i].field, at, &r->subjects[i]))
            return false;
    return true;
}

static bool rule_compile(struct access_policy *p, const struct config *c, unsigned i, const struct place *at)
{
    const struct config_access *f = &c->access[i];
    struct rule *r = &p->rules[i];

    r->name = copy(p->arena, f->name);
    for (unsigned k = 0; k < i; k++)
        if (strcmp(p->rules[k].name, f->name) == 0)
            return wrong(at, "name", "\"%.64s\" is already the name of access[%u]", f->name, k);
    for (unsigned k = 0; k < f->models_count; k++)
        if (!model_known(c, f->models[k]))
            return wrong(at, "models", "there is no model \"%.64s\"; a '*' at the end stands for any ending", f->models[k]);
    if (f->max_prompt < 0 || f->max_output < 0)
        return wrong(at, f->max_prompt < 0 ? "max_prompt" : "max_output", "must be at least 1 token");
    r->max_prompt = f->max_prompt > 0 ? f->max_prompt : -1;
    r->max_output = f->max_output > 0 ? f->max_output : -1;
    return subjects_take(p->arena, f, at, r) && list_take(p->arena, f->models, f->models_count, "models", at, &r->models) &&
           list_take(p->arena, f->upstreams, f->upstreams_count, "upstreams", at, &r->upstreams) && endpoints_take(f, at, r) &&
           networks_take(p->arena, f, at, r) && hours_take(p->arena, f, at, r);
}

struct access_policy *access_policy_new(const struct config *c, char *why, size_t why_size)
{
    struct access_policy *p = calloc(1, sizeof *p);

    snprintf(why, why_size, "out of memory");
    if (p == NULL || (p->arena = arena_new(4096)) == NULL)
        goto fail;
    p->rules = grab(p->arena, c->access_count, sizeof *p->rules);
    p->room = c->access_count;
    for (; p->count < c->access_count; p->count++)
        if (!rule_compile(p, c, p->count, &(struct place){ .rule = p->count, .why = why, .size = why_size }))
            goto fail;
    return p;
fail:
    access_policy_free(p);
    return NULL;
}

void access_policy_free(struct access_policy *p)
{
    if (p == NULL)
        return;
    for (unsigned i = 0; i < p->room; i++)
        budget_zone_free(p->rules[i].zone);
    arena_free(p->arena);
    free(p);
}

/* ---- deciding --------------------------------------------------------------------------------------------------------- */

static bool matches(const char *pattern, struct slice value)
{
    size_t n = strlen(pattern);

    if (n > 0 && pattern[n - 1] == '*')
        return slice_starts(value, slice_make(pattern, n - 1));
    return slice_eq_cstr(value, pattern);
}

static bool any_matches(const struct list *l, struct slice value)
{
    for (unsigned i = 0; i < l->count; i++)
        if (matches(l->text[i], value))
            return true;
    return false;
}

/* Whoever has no value at all is not "any of *": a claim left out opens nothing. */
static bool concerns(const struct rule *r, const struct identity *who)
{
    const struct slice values[SUBJECTS - 1] = { who->organization, who->team, who->user, who->application, who->cost_center, who->key_id };
    const struct list *groups = &r->subjects[SUBJECTS - 1];
    bool member = groups->count == 0;

    for (int i = 0; i < SUBJECTS - 1; i++)
        if (r->subjects[i].count > 0 && (values[i].n == 0 || !any_matches(&r->subjects[i], values[i])))
            return false;
    for (size_t i = 0; i < who->group_count && !member; i++)
        member = any_matches(groups, who->groups[i]);
    return member;
}

static bool network_holds(const struct network *n, const uint8_t address[static 16])
{
    size_t whole = n->bits / 8;
    unsigned rest = n->bits % 8;

    return memcmp(n->address, address, whole) == 0 && (rest == 0 || ((n->address[whole] ^ address[whole]) & (0xff00 >> rest & 0xff)) == 0);
}

static bool from_network(const struct rule *r, const struct access_ask *ask)
{
    struct network client;
    char text[INET6_ADDRSTRLEN + 1];
    bool inside = r->networks_text.count == 0;

    if (inside)
        return true;
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(ask->client_ip));
    if (ask->client_ip.n >= sizeof text || !network_parse(text, &client))
        return false;
    for (unsigned i = 0; i < r->networks_text.count && !inside; i++)
        inside = network_holds(&r->networks[i], client.address);
    return inside;
}

static int minute_of_week(const struct rule *r, int64_t now_us)
{
    int64_t next, now_s = now_us / 1000000;
    return hours_minute_of_week(now_s + budget_zone_offset(r->zone, now_s, &next));
}

static bool at_hour(const struct rule *r, const struct access_ask *ask)
{
    bool inside = r->hours_text.count == 0;

    for (unsigned i = 0; i < r->hours_text.count && !inside; i++)
        inside = hours_hold(&r->hours[i], minute_of_week(r, ask->now_us));
    return inside;
}

static bool at_endpoint(const struct rule *r, const struct access_ask *ask)
{
    return r->endpoints == 0 || (r->endpoints & 1u << ask->endpoint) != 0;
}

/* Every target must be allowed: which one serves a request is not the caller's choice. */
static bool upstreams_allowed(const struct rule *r, const struct route_alias *alias)
{
    char name[512];

    for (size_t i = 0; alias != NULL && i < alias->target_count; i++) {
        const struct target *t = &alias->targets[i].target;
        int n = snprintf(name, sizeof name, "%.*s/%.*s", SLICE_FMT(t->group), SLICE_FMT(t->model));
        if (n < 0 || (size_t)n >= sizeof name || !any_matches(&r->upstreams, slice_make(name, (size_t)n)))
            return false;
    }
    return alias != NULL;
}

static bool of_model(const struct rule *r, const struct access_ask *ask)
{
    return (r->models.count == 0 || any_matches(&r->models, ask->model)) && (r->upstreams.count == 0 || upstreams_allowed(r, ask->alias));
}

static bool within_prompt(const struct rule *r, const struct access_ask *ask)
{
    return r->max_prompt < 0 || ask->input <= r->max_prompt;
}

bool access_may_use(const struct access_policy *p, const struct identity *who, const struct route_alias *alias)
{
    struct access_ask ask = { .who = who, .model = alias->name, .alias = alias };

    if (p == NULL)
        return true;
    for (unsigned i = 0; i < p->count; i++)
        if (concerns(&p->rules[i], who) && of_model(&p->rules[i], &ask))
            return true;
    return false;
}

/* ---- what would be allowed -------------------------------------------------------------------------------------------- */

struct shown {
    char text[SHOWN_MAX];
    size_t n;
};

static void show(struct shown *s, const char *text, const char *behind)
{
    char one[160];
    int n = snprintf(one, sizeof one, "%s%s", text, behind);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof one ? (size_t)n : sizeof one - 1;

    for (const char *p = s->text; (p = strstr(p, one)) != NULL; p++) /* said before? */
        if ((p == s->text || p[-1] == ' ') && (p[len] == ',' || p[len] == '\0'))
            return;
    if (s->n + len + 8 < sizeof s->text)
        s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%s%s", s->n > 0 ? ", " : "", one);
    else if (s->n > 0 && s->text[s->n - 1] != '.')
        s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, ", ...");
}

static void show_list(struct shown *s, const struct list *l, const char *behind)
{
    for (unsigned i = 0; i < l->count; i++)
        show(s, l->text[i], behind);
}

enum step { STEP_NETWORK, STEP_HOURS, STEP_ENDPOINT, STEP_MODEL, STEP_PROMPT, STEPS };

static const struct {
    bool (*holds)(const struct rule *r, const struct access_ask *ask);
    const char *reason;
} steps[STEPS] = { { from_network, "access_network" }, { at_hour, "access_hours" }, { at_endpoint, "access_endpoint" },
                   { of_model, "access_model" }, { within_prompt, "access_prompt" } };

static void show_step(struct shown *s, enum step step, const struct rule *r)
{
    char number[32], zone[80];

    switch (step) {
    case STEP_NETWORK: show_list(s, &r->networks_text, ""); break;
    case STEP_HOURS:
        snprintf(zone, sizeof zone, " %.64s", r->zone_name);
        show_list(s, &r->hours_text, zone);
        break;
    case STEP_ENDPOINT:
        for (int e = ENDPOINT_CHAT; e <= ENDPOINT_PASSTHROUGH; e++)
            if (r->endpoints & 1u << e)
                show(s, dialect_path((enum endpoint)e), "");
        break;
    case STEP_MODEL:
        show_list(s, &r->models, "");
        if (r->models.count == 0)
            show_list(s, &r->upstreams, " (upstream)");
        break;
    default:
        snprintf(number, sizeof number, "%" PRId64, r->max_prompt);
        show(s, number, "");
    }
}

static struct slice message_of(enum step step, const struct access_ask *ask, const struct rule *one, const struct shown *s, struct arena *a)
{
    char now[16];

    switch (step) {
    case STEP_NETWORK:
        return arena_printf(a, "You may not ask from address %.*s; allowed networks: %s.", SLICE_FMT(ask->client_ip), s->text);
    case STEP_HOURS:
        hours_text(minute_of_week(one, ask->now_us), now);
        return arena_printf(a, "You may not ask at this hour (it is %s, %s); allowed hours: %s.", now, one->zone_name, s->text);
    case STEP_ENDPOINT:
        return arena_printf(a, "You may not use %s; allowed endpoints: %s.", dialect_path(ask->endpoint), s->text);
    case STEP_MODEL:
        return arena_printf(a, "You may not use model \"%.*s\"; allowed models: %s.", ask->model.n > 200 ? 200 : (int)ask->model.n,
                            ask->model.n > 0 ? ask->model.p : "", s->text);
    default:
        return arena_printf(a, "Your prompt has %" PRId64 " tokens; allowed prompt tokens: %s.", ask->input, s->text);
    }
}

static void refuse_stranger(const struct access_ask *ask, struct arena *a, struct access_decision *out)
{
    out->reason = "access_subject";
    out->message = arena_printf(a, "No access rule concerns you (team \"%.*s\", user \"%.*s\", %zu groups), so nothing is allowed; ask the "
                                "gateway's operators.", SLICE_FMT(ask->who->team), SLICE_FMT(ask->who->user), ask->who->group_count);
}

/* Does `r` hold for the caller and for every step before `step`? */
static bool reaches(const struct rule *r, const struct access_ask *ask, enum step step)
{
    if (!concerns(r, ask->who))
        return false;
    for (int k = 0; k < (int)step; k++)
        if ((k != STEP_PROMPT || ask->input >= 0) && !steps[k].holds(r, ask))
            return false;
    return true;
}

void access_decide(const struct access_policy *p, const struct access_ask *ask, struct arena *a, struct access_decision *out)
{
    *out = (struct access_decision){ .max_output = -1 };
    for (unsigned i = 0; i < p->count && !out->allowed; i++)
        if (reaches(&p->rules[i], ask, STEPS))
            *out = (struct access_decision){ .allowed = true, .rule = p->rules[i].name, .max_output = p->rules[i].max_output };
    if (out->allowed)
        return;
    /* The furthest step that any rule reaches is the one to tell about. */
    for (int step = STEPS - 1; step >= 0; step--) {
        struct shown s = { .n = 0 };
        const struct rule *one = NULL;
        for (unsigned i = 0; i < p->count; i++)
            if (reaches(&p->rules[i], ask, (enum step)step)) {
                one = &p->rules[i];
                show_step(&s, (enum step)step, one);
            }
        if (one == NULL)
            continue;
        out->reason = steps[step].reason;
        out->message = message_of((enum step)step, ask, one, &s, a);
        return;
    }
    refuse_stranger(ask, a, out);
}

/* The list of subjects that keeps the rule from concerning the caller; -1: it concerns. */
static int stranger_to(const struct rule *r, const struct identity *who)
{
    for (int i = 0; i < SUBJECTS; i++) {
        struct rule one = { .name = NULL };
        one.subjects[i] = r->subjects[i];
        if (!concerns(&one, who))
            return i;
    }
    return -1;
}

bool access_look(const struct access_policy *p, unsigned i, const struct access_ask *ask, struct arena *a, struct access_look *out)
{
    static const char *const subjects[SUBJECTS] = { "organizations", "teams", "users", "applications", "cost_centers", "keys", "groups" };
    static const char *const parts[STEPS] = { "networks", "hours", "endpoints", "models", "max_prompt" };
    struct shown s = { .n = 0 };

    if (p == NULL || i >= p->count)
        return false;
    const struct rule *r = &p->rules[i];
    int list = stranger_to(r, ask->who), step = 0;
    *out = (struct access_look){ .rule = r->name, .concerns = list < 0 };
    if (list >= 0) {
        out->fails = subjects[list];
        show_list(&s, &r->subjects[list], "");
    }
    while (list < 0 && step < STEPS && ((step == STEP_PROMPT && ask->input < 0) || steps[step].holds(r, ask)))
        step++;
    if (list < 0 && step < STEPS) {
        out->fails = parts[step];
        show_step(&s, (enum step)step, r);
    }
    out->wants = arena_copy(a, slice_cstr(s.text));
    return true;
}
