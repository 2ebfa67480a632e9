#include "budget/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define HOUR_US (INT64_C(3600) * 1000000)

static const char *const level_names[] = { "organization", "team", "user", "application", "cost_center", "alias", "global", "key",
                                           "key_budget", "model", "provider" };
static const char *const action_names[] = { "hard", "soft", "downgrade" };
static const char *const calendar_names[] = { "minute", "hour", "day", "week", "month", "quarter", "year" };

const char *budget_level_name(enum budget_level level)
{
    return level_names[level];
}

const char *budget_action_name(enum budget_action action)
{
    return action_names[action];
}

const char *limit_window_name(const struct limit *l)
{
    static const char *const kinds[] = { "", "rolling", "total", "bucket", "concurrent" };
    return l->kind == KIND_CALENDAR ? calendar_names[l->calendar] : kinds[l->kind];
}

bool limit_has_alias(const struct limit *l)
{
    for (unsigned i = 0; i < l->scope_count; i++)
        if (l->scopes[i].level == LEVEL_ALIAS)
            return true;
    return false;
}

bool limit_is_fine(const struct limit *l)
{
    switch (l->kind) {
    case KIND_CALENDAR:
        return l->calendar == BUDGET_MINUTE;
    case KIND_ROLLING:
        return l->roll_us + l->slot_us <= 2 * HOUR_US;
    case KIND_BUCKET:
        return l->fill_us <= HOUR_US;
    default:
        return false;
    }
}

bool limit_needs_load(const struct limit *l)
{
    return l->kind != KIND_CONCURRENT;
}

/* `why` of one limit: "limit "NAME": FIELD: text". */
struct context {
    const char *name;
    char *why;
    size_t size;
};

static int wrong(const struct context *c, const char *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int wrong(const struct context *c, const char *field, const char *fmt, ...)
{
    char text[384];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(c->why, c->size, "limit \"%.*s\": %s: %s", BUDGET_NAME_MAX, c->name, field, text);
    return -1;
}

static int find_name(const char *s, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(s, names[i]) == 0)
            return i;
    return -1;
}

static int compile_patterns(struct scope *s, const struct budget_scope *o, const struct context *c)
{
    s->any = o->match_count == 0;
    s->patterns = calloc(o->match_count + 1, sizeof *s->patterns);
    if (!s->patterns)
        return wrong(c, "match", "memory is out");
    for (unsigned i = 0; i < o->match_count; i++) {
        const char *m = o->match[i];
        if (!m || !*m)
            return wrong(c, "match", "is empty; give a value, a prefix such as \"gpt-4*\", or \"*\" for all");
        size_t n = strlen(m);
        bool prefix = m[n - 1] == '*';
        if (memchr(m, '*', n - 1))
            return wrong(c, "match", "\"%.64s\" has a '*' before its end; only the last character may be one", m);
        if (n == 1 && prefix)
            s->any = true;
        struct pattern *p = &s->patterns[s->count++];
        *p = (struct pattern){ strdup(m), prefix ? n - 1 : n, prefix };
        if (!p->p)
            return wrong(c, "match", "memory is out");
    }
    return 0;
}

static int compile_scope(struct limit *l, const struct budget_scope *o, const char *field, const struct context *c)
{
    int level = o->level ? find_name(o->level, level_names, LEVEL_COUNT) : -1;
    if (level < 0)
        return wrong(c, field,
                     "%s%.40s%s; allowed are organization, team, user, application, cost_center, key, alias, model, provider, global",
                     o->level ? "\"" : "is missing", o->level ? o->level : "", o->level ? "\" is no level" : "");
    for (unsigned i = 0; i < l->scope_count; i++)
        if ((int)l->scopes[i].level == level)
            return wrong(c, field, "%s is named twice in this limit", o->level);
    struct scope *s = &l->scopes[l->scope_count++];
    s->level = (enum budget_level)level;
    s->shared = o->shared || level == LEVEL_GLOBAL;
    l->by_target |= level >= LEVEL_MODEL;
    if (compile_patterns(s, o, c) != 0)
        return -1;
    if (level == LEVEL_GLOBAL && !s->any)
        return wrong(c, "match", "has no meaning at level global; leave it out");
    return 0;
}

static int compile_window(struct limit *l, const struct budget_limit *o, const struct context *c)
{
    char why[160];
    const char *w = o->window;
    bool rate = o->amount && (strchr(o->amount, '/') || strstr(o->amount, " per "));
    if (l->unit == BUDGET_CONCURRENT) {
        l->kind = KIND_CONCURRENT;
        return w ? wrong(c, "window", "a limit on concurrent requests has none; leave it out") : 0;
    }
    if (!w && !rate)
        return wrong(c, "window", "is missing; allowed are minute, hour, day, week, month, quarter, year, rolling DURATION, total, "
                                  "bucket (or give the amount as a rate: \"50000/min\")");
    int calendar = w ? find_name(w, calendar_names, 7) : -1;
    if (!w || strcmp(w, "bucket") == 0) {
        l->kind = KIND_BUCKET;
    } else if (calendar >= 0) {
        l->kind = KIND_CALENDAR;
        l->calendar = (enum budget_calendar)calendar;
    } else if (strcmp(w, "total") == 0) {
        l->kind = KIND_TOTAL;
    } else if (strncmp(w, "rolling ", 8) == 0) {
        l->kind = KIND_ROLLING;
        if (budget_parse_duration(slice_cstr(w + 8), &l->roll_us, why, sizeof why) != 0)
            return wrong(c, "window", "%s", why);
        if (l->roll_us < 1000000 || l->roll_us > 366 * 24 * HOUR_US)
            return wrong(c, "window", "a rolling window is from 1 s to 366 days long");
    } else {
        return wrong(c, "window", "\"%.40s\" is no window; allowed are minute, hour, day, week, month, quarter, year, "
                                  "rolling DURATION (\"rolling 24h\"), total, bucket", w);
    }
    if (rate && l->kind != KIND_BUCKET)
        return wrong(c, "amount", "\"%.40s\" is a rate, which only a bucket has; write the amount alone, or window: bucket", o->amount);
    return 0;
}

/* What goes with one kind of window only. */
static int compile_window_parts(struct limit *l, const struct budget_limit *o, const char *zoneinfo, const struct context *c)
{
    char why[256];
    if (o->timezone && l->kind != KIND_CALENDAR)
        return wrong(c, "timezone", "only calendar windows (minute to year) have one; leave it out");
    if (o->burst && l->kind != KIND_BUCKET)
        return wrong(c, "burst", "only a bucket has one; leave it out, or use window: bucket");
    if (o->slots && l->kind != KIND_ROLLING)
        return wrong(c, "slots", "only a rolling window has them; leave it out");
    if (l->kind == KIND_CALENDAR) {
        const char *zone = o->timezone ? o->timezone : "UTC";
        l->zone = budget_zone_load(zoneinfo, zone, why, sizeof why);
        if (!l->zone)
            return wrong(c, "timezone", "%s", why);
        snprintf(l->zone_name, sizeof l->zone_name, "%s", zone);
    }
    if (l->kind == KIND_ROLLING) {
        unsigned slots = o->slots ? o->slots : 24;
        if (slots < 4 || slots > 96)
            return wrong(c, "slots", "%u is not within 4 to 96", slots);
        l->ring_len = slots + 1;
        l->slot_us = (l->roll_us + slots - 1) / slots;
    }
    return 0;
}

static int compile_amount(struct limit *l, const struct budget_limit *o, const struct context *c)
{
    char why[160];
    if (!o->amount)
        return wrong(c, "amount", "is missing, for example \"$50\", \"1.5M tokens\", \"50000/min\"");
    if (l->kind != KIND_BUCKET) {
        if (budget_parse_amount(slice_cstr(o->amount), l->unit, &l->amount, why, sizeof why) != 0)
            return wrong(c, "amount", "%s", why);
        return 0;
    }
    if (budget_parse_rate(slice_cstr(o->amount), l->unit, &l->refill, &l->period_us, why, sizeof why) != 0)
        return wrong(c, "amount", "%s", why);
    if (l->refill == 0)
        return wrong(c, "amount", "a rate of 0 never refills its bucket; use an amount with a window to forbid use");
    l->amount = l->refill;
    if (o->burst && budget_parse_amount(slice_cstr(o->burst), l->unit, &l->amount, why, sizeof why) != 0)
        return wrong(c, "burst", "%s", why);
    if (l->amount == 0)
        return wrong(c, "burst", "0 would refuse everything; it must hold at least one request");
    __int128 fill = ((__int128)l->amount * l->period_us + l->refill - 1) / l->refill;
    if (fill > 366 * 24 * HOUR_US)
        return wrong(c, "burst", "takes more than 366 days to refill at this rate; lower it or raise the rate");
    l->fill_us = (int64_t)fill;
    return 0;
}

void limit_set_passes(struct limit *l)
{
    for (unsigned i = 0; i < l->threshold_count; i++) {
        __int128 at = ((__int128)l->amount * l->thresholds[i] + 99) / 100;
        l->passes[i] = at < 1 ? 1 : at > INT64_MAX ? INT64_MAX : (int64_t)at;
    }
}

static int compile_action(struct limit *l, const struct budget_limit *o, const struct context *c)
{
    static const int usual[] = { 50, 80, 100 };
    int action = o->action ? find_name(o->action, action_names, 3) : ACTION_HARD;
    if (action < 0)
        return wrong(c, "action", "\"%.40s\" is no action; allowed are hard, soft, downgrade", o->action);
    l->action = (enum budget_action)action;
    if (action == ACTION_DOWNGRADE && (!o->downgrade_to || !*o->downgrade_to))
        return wrong(c, "downgrade_to", "is missing; name the alias to use instead");
    if (action != ACTION_DOWNGRADE && o->downgrade_to)
        return wrong(c, "downgrade_to", "needs action: downgrade");
    if (o->downgrade_to && strlen(o->downgrade_to) > BUDGET_NAME_MAX)
        return wrong(c, "downgrade_to", "is longer than %d bytes", BUDGET_NAME_MAX);
    snprintf(l->downgrade_to, sizeof l->downgrade_to, "%s", o->downgrade_to ? o->downgrade_to : "");
    if (o->thresholds_count > BUDGET_THRESHOLDS_MAX)
        return wrong(c, "thresholds", "has more than %d values", BUDGET_THRESHOLDS_MAX);
    for (unsigned i = 0; i < o->thresholds_count; i++) {
        if (o->thresholds[i] < 1 || o->thresholds[i] > 1000)
            return wrong(c, "thresholds", "%d is not within 1 to 1000 per cent", o->thresholds[i]);
        l->thresholds[l->threshold_count++] = o->thresholds[i];
    }
    if (l->threshold_count == 0 && action == ACTION_DOWNGRADE)
        l->thresholds[l->threshold_count++] = 90;
    for (size_t i = 0; o->thresholds_count == 0 && action != ACTION_DOWNGRADE && i < 3; i++)
        l->thresholds[l->threshold_count++] = usual[i];
    limit_set_passes(l);
    if (o->clamp_floor < -1)
        return wrong(c, "clamp_floor", "is below -1; give output tokens, 0 for the request's own floor, -1 for never");
    l->clamp_floor = o->clamp_floor;
    return 0;
}

static int compile(struct limit *l, const struct budget_limit *o, const char *zoneinfo, const struct context *c)
{
    static const char *const units[] = { "usd", "tokens", "requests", "concurrent" };
    size_t n = strlen(o->name);
    if (n > BUDGET_NAME_MAX || strspn(o->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != n)
        return wrong(c, "name", "must be at most %d letters, digits, '-', '_' and '.'", BUDGET_NAME_MAX);
    memcpy(l->name, o->name, n + 1);
    if (compile_scope(l, &o->scope, "level", c) != 0)
        return -1;
    if (o->within_count > BUDGET_WITHIN_MAX)
        return wrong(c, "within", "has more than %d entries", BUDGET_WITHIN_MAX);
    for (unsigned i = 0; i < o->within_count; i++)
        if (compile_scope(l, &o->within[i], "within", c) != 0)
            return -1;
    int unit = o->unit ? find_name(o->unit, units, 4) : -1;
    if (unit < 0)
        return wrong(c, "unit", "%s%.40s%s; allowed are usd, tokens, requests, concurrent", o->unit ? "\"" : "is missing, and the amount does not say it ($50, 1.5M tokens, 1000 requests)",
                     o->unit ? o->unit : "", o->unit ? "\" is no unit" : "");
    l->unit = (enum budget_unit)unit;
    if (compile_window(l, o, c) != 0 || compile_window_parts(l, o, zoneinfo, c) != 0 || compile_amount(l, o, c) != 0)
        return -1;
    return compile_action(l, o, c);
}

struct limit *limit_compile(const struct budget_limit *o, const char *zoneinfo, char *why, size_t why_size)
{
    const struct context c = { o->name && *o->name ? o->name : "(without a name)", why, why_size };
    struct limit *l = calloc(1, sizeof *l);
    if (!l)
        wrong(&c, "memory", "is out");
    else if (!o->name || !*o->name)
        wrong(&c, "name", "is missing");
    else if (compile(l, o, zoneinfo, &c) == 0)
        return l;
    limit_free(l);
    return NULL;
}

void limit_free(struct limit *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < l->scope_count; i++) {
        for (unsigned j = 0; j < l->scopes[i].count; j++)
            free(l->scopes[i].patterns[j].p);
        free(l->scopes[i].patterns);
    }
    budget_zone_free(l->zone);
    free(l);
}

static bool scope_same(const struct scope *a, const struct scope *b)
{
    if (a->level != b->level || a->any != b->any || a->shared != b->shared || a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++)
        if (strcmp(a->patterns[i].p, b->patterns[i].p) != 0)
            return false;
    return true;
}

bool limit_same(const struct limit *a, const struct limit *b)
{
    if (strcmp(a->name, b->name) != 0 || a->unit != b->unit || a->kind != b->kind || a->calendar != b->calendar ||
        strcmp(a->zone_name, b->zone_name) != 0 || a->roll_us != b->roll_us || a->ring_len != b->ring_len ||
        a->scope_count != b->scope_count)
        return false;
    for (unsigned i = 0; i < a->scope_count; i++)
        if (!scope_same(&a->scopes[i], &b->scopes[i]))
            return false;
    return true;
}

const char *budget_options_check(const struct budget_options *o, char *why, size_t why_size)
{
    if (o->limits_count > BUDGET_LIMITS_MAX) {
        snprintf(why, why_size, "limits: %u are too many; at most %d", o->limits_count, BUDGET_LIMITS_MAX);
        return why;
    }
    if (o->hold_max_us < 0 || o->hold_max_us > 24 * HOUR_US) {
        snprintf(why, why_size, "hold_max: must be at most 24 hours");
        return why;
    }
    for (unsigned i = 0; i < o->limits_count; i++) {
        struct limit *l = limit_compile(&o->limits[i], o->zoneinfo, why, why_size);
        if (!l)
            return why;
        limit_free(l);
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(o->limits[j].name, o->limits[i].name) == 0) {
                snprintf(why, why_size, "limit \"%s\": name: is used twice (limits[%u] and limits[%u])", o->limits[i].name, j, i);
                return why;
            }
        }
    }
    return NULL;
}
