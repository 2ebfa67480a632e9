#include "route/haproxy_plan.h"
#include "route/haproxy_review_state.h"

#include <stdarg.h>
#include <string.h>

enum { LUA_MAXMEM_MB = 256, MEMORY_NOTE_MB = 2048 };

/* ---- findings --------------------------------------------------------------------------------------------------------- */

static bool said_before(struct review *r, const struct haproxy_section *s, int line, const char *fmt)
{
    for (const struct said *p = r->said; p != NULL; p = p->next)
        if (p->section == s && p->line == line && p->fmt == fmt)
            return true;
    struct said *fresh = arena_alloc(r->text->arena, sizeof *fresh);
    if (fresh == NULL) {
        r->out_of_memory = true;
        return false;
    }
    *fresh = (struct said){ .section = s, .line = line, .fmt = fmt, .next = r->said };
    r->said = fresh;
    return false;
}

void finding(struct review *r, enum weight weight, const struct haproxy_section *s, int line, const char *fmt, ...)
{
    static const char *const words[] = { "unsafe", "conflict", "note" };
    unsigned *counts[] = { &r->result.unsafe, &r->result.conflicts, &r->result.notes };
    va_list ap;

    if (line != 0 && said_before(r, s, line, fmt))
        return;
    ++*counts[weight];
    fprintf(r->out, "%s:%d: %s: ", s->file, line != 0 ? line : s->number, words[weight]);
    va_start(ap, fmt);
    vfprintf(r->out, fmt, ap);
    va_end(ap);
    fputc('\n', r->out);
}

void add_line(struct review *r, const struct haproxy_section *to, int before, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    struct addition *a = arena_zalloc(r->text->arena, sizeof *a);

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (a != NULL)
        *a = (struct addition){ .to = to, .before = before, .line = arena_cstr(r->text->arena, slice_cstr(text)) };
    if (a == NULL || a->line == NULL) {
        r->out_of_memory = true;
        return;
    }
    if (r->last != NULL)
        r->last->next = a;
    else
        r->first = a;
    r->last = a;
    r->result.additions++;
}

static bool same_place(const struct addition *a, const struct addition *b)
{
    return a->to == b->to && a->before == b->before;
}

/* Each place once, with all its lines. */
static void additions_print(const struct review *r)
{
    if (r->first != NULL)
        fprintf(r->out, "\nLines to add:\n");
    for (const struct addition *a = r->first; a != NULL; a = a->next) {
        const struct addition *before = r->first;
        while (before != a && !same_place(before, a))
            before = before->next;
        if (before != a)
            continue;
        if (a->to == NULL)
            fprintf(r->out, "  as a section of its own:\n");
        else
            fprintf(r->out, "  to \"%s%s%s\" (%s:%d)", a->to->kind, a->to->name[0] ? " " : "", a->to->name, a->to->file, a->to->number);
        if (a->to != NULL && a->before != 0)
            fprintf(r->out, ", before line %d", a->before);
        if (a->to != NULL)
            fprintf(r->out, ":\n");
        for (const struct addition *l = a; l != NULL; l = l->next)
            if (same_place(l, a))
                fprintf(r->out, "    %s\n", l->line);
    }
}

bool is_generated(const struct review *r, const struct haproxy_section *s)
{
    for (const struct haproxy_section *other = r->text->first; other != NULL; other = other->next)
        if (other->file == s->file && strcmp(other->kind, "frontend") == 0 && strcmp(other->name, "tg_gateway") == 0)
            return true;
    return false;
}

/* ---- the global section ----------------------------------------------------------------------------------------------- */

static void review_bufsize(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l, int64_t value)
{
    int64_t need = haproxy_plan_bufsize(r->plan);

    if (l->varies || value < 0)
        finding(r, WEIGHT_NOTE, s, l->number, "tune.bufsize cannot be read here; it must be %lld or more, or be left to tollgate.cfg",
                (long long)need);
    else if (value < need)
        finding(r, WEIGHT_UNSAFE, s, l->number,
                "tune.bufsize %lld: a request of %lld bytes (haproxy.max_body) with its headers would be cut short; "
                "remove the line (tollgate.cfg sets %lld) or write: tune.bufsize %lld",
                (long long)value, (long long)haproxy_max_body(r->plan), (long long)need, (long long)need);
    else if (value > need)
        finding(r, WEIGHT_CONFLICT, s, l->number,
                "tune.bufsize %lld: tollgate.cfg, loaded later, sets %lld for all sections; raise haproxy.max_body to %lld if you need "
                "this one, else remove the line",
                (long long)value, (long long)need, (long long)(haproxy_max_body(r->plan) + value - need));
}

static void review_maxrewrite(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l, int64_t value)
{
    if (value != HAPROXY_MAX_REWRITE)
        finding(r, value > HAPROXY_MAX_REWRITE ? WEIGHT_UNSAFE : WEIGHT_NOTE, s, l->number,
                "tune.maxrewrite %s: tollgate needs %d, no less for its edits and no more so that bodies fit; remove the line "
                "(tollgate.cfg sets it)",
                l->count > 1 ? l->words[1] : "", HAPROXY_MAX_REWRITE);
}

static void review_lua(struct review *r, const struct haproxy_section *s)
{
    const struct haproxy_line *load = NULL, *conversion = haproxy_setting(s, "tune.lua.bool-sample-conversion", NULL, NULL);
    const struct haproxy_line *maxmem = haproxy_setting(s, "tune.lua.maxmem", NULL, NULL);

    for (const struct haproxy_line *l = s->first; l != NULL; l = l->next) {
        bool shared = haproxy_line_is(l, "lua-load", NULL);
        if (load == NULL && (shared || haproxy_line_is(l, "lua-load-per-thread", NULL)))
            load = l;
        if (shared)
            finding(r, WEIGHT_NOTE, s, l->number, "lua-load makes all threads wait for one Lua state; lua-load-per-thread does not");
    }
    if (r->plan->lua && load != NULL && conversion == NULL) {
        add_line(r, s, load->number, ".if version_atleast(3.1)");
        add_line(r, s, load->number, "    tune.lua.bool-sample-conversion normal");
        add_line(r, s, load->number, ".endif");
    }
    const struct haproxy_line *strict = haproxy_setting(s, "zero-warning", NULL, NULL);
    if (r->plan->lua && load != NULL && strict != NULL)
        finding(r, WEIGHT_CONFLICT, s, strict->number,
                "zero-warning: from 3.1 on HAProxy warns that a setting of tollgate.cfg comes after this file's Lua, and would not start; remove it");
    int64_t mb = maxmem != NULL && maxmem->count > 1 ? haproxy_size(maxmem->words[1]) : 0;
    if (r->plan->lua && mb > 0 && mb < LUA_MAXMEM_MB)
        finding(r, WEIGHT_UNSAFE, s, maxmem->number,
                "tune.lua.maxmem %s: settlement records that wait for the agent need up to 64 MB a thread, and are lost without; "
                "write: tune.lua.maxmem %d",
                maxmem->words[1], LUA_MAXMEM_MB);
}

/* A setting of the file's that the plan repeats. */
static void review_told(struct review *r, const struct haproxy_section *s, const char *setting, const char *planned)
{
    const struct haproxy_line *l = haproxy_setting(s, setting, NULL, NULL);
    const char *here = l != NULL && l->count > 1 ? l->words[1] : NULL;

    if (here != NULL && planned == NULL)
        finding(r, WEIGHT_CONFLICT, s, l->number, "%s %s: tollgate does not know; write haproxy.%s: %s into tollgate.yaml", setting, here, setting,
                here);
    else if (here != NULL && strcmp(here, planned) != 0)
        finding(r, WEIGHT_CONFLICT, s, l->number, "%s %s, but tollgate.yaml says haproxy.%s: %s; make them the same", setting, here, setting,
                planned);
    else if (here == NULL && planned != NULL)
        finding(r, WEIGHT_CONFLICT, s, 0, "no %s here, but tollgate.yaml says haproxy.%s: %s; remove it there, or write it here", setting, setting,
                planned);
}

static void review_stats_socket(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l)
{
    struct haproxy_endpoint e;
    const char *mode = haproxy_line_after(l, "mode"), *level = haproxy_line_after(l, "level");

    if (l->count < 3 || !endpoint_parse(slice_cstr(l->words[2]), &e))
        return;
    if (e.port != 0 && (level == NULL || strcmp(level, "user") != 0))
        finding(r, WEIGHT_UNSAFE, s, l->number,
                "whoever reaches this port can trace requests, and read clients' tokens and provider keys; use a unix socket with mode 600, or "
                "level user");
    if (e.port == 0 && mode != NULL && mode[0] != '\0' && strchr("2367", mode[strlen(mode) - 1]) != NULL)
        finding(r, WEIGHT_UNSAFE, s, l->number,
                "mode %s lets every user of the machine trace requests, and read clients' tokens and provider keys; write: mode 660", mode);
}

void review_global(struct review *r, const struct haproxy_section *s)
{
    for (const struct haproxy_line *l = s->first; l != NULL; l = l->next) {
        int64_t value = l->count > 1 && !l->varies ? haproxy_size(l->words[1]) : -1;
        if (haproxy_line_is(l, "tune.bufsize", NULL))
            review_bufsize(r, s, l, value);
        else if (haproxy_line_is(l, "tune.maxrewrite", NULL))
            review_maxrewrite(r, s, l, value);
        else if (haproxy_line_is(l, "stats", "socket"))
            review_stats_socket(r, s, l);
        else if (haproxy_line_is(l, "set-dumpable", NULL))
            finding(r, WEIGHT_UNSAFE, s, l->number,
                    "set-dumpable: a core file of HAProxy holds clients' tokens and provider keys of requests under way; remove the line");
        else if (haproxy_line_is(l, "hard-stop-after", NULL) && l->count > 1 && haproxy_time_ms(l->words[1]) >= 0 &&
                 haproxy_time_ms(l->words[1]) < 600000)
            finding(r, WEIGHT_NOTE, s, l->number, "hard-stop-after %s: at a reload, streams that last longer are cut", l->words[1]);
        else if (haproxy_line_is(l, "maxconn", NULL) && value * 2 * (haproxy_plan_bufsize(r->plan) >> 10) >> 10 > MEMORY_NOTE_MB)
            finding(r, WEIGHT_NOTE, s, l->number, "maxconn %lld: if every connection carries a full body, buffers take %lld MB", (long long)value,
                    (long long)(value * 2 * (haproxy_plan_bufsize(r->plan) >> 10) >> 10));
    }
    review_lua(r, s);
}

/* ---- all together ----------------------------------------------------------------------------------------------------- */

bool haproxy_review(struct haproxy_text *t, const struct haproxy_plan *plan, FILE *out, struct haproxy_review_result *result)
{
    struct review r = { .text = t, .plan = plan, .out = out };
    const struct haproxy_section *global = NULL;

    for (const struct haproxy_section *s = t->first; s != NULL; s = s->next) {
        if (is_generated(&r, s))
            continue;
        if (strcmp(s->kind, "global") == 0) {
            global = global != NULL ? global : s;
            review_global(&r, s);
        }
        if (strncmp(s->name, "tg_", 3) == 0)
            finding(&r, WEIGHT_CONFLICT, s, 0, "the name %s: names that begin with tg_ are tollgate.cfg's; choose another", s->name);
        review_proxy(&r, s);
    }
    if (global != NULL) {
        review_told(&r, global, "chroot", plan->chroot);
        review_told(&r, global, "user", plan->user);
    }
    review_way(&r);
    additions_print(&r);
    *result = r.result;
    return !r.out_of_memory;
}
