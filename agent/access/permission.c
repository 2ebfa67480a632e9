#include "access/permission.h"

#include "base/clock.h"
#include "dialect/dialect.h"

#include <inttypes.h>
#include <stdio.h>

static bool line_matches(struct slice line, struct slice name)
{
    if (line.n > 0 && line.p[line.n - 1] == '*')
        return slice_starts(name, slice_make(line.p, line.n - 1));
    return slice_eq(line, name);
}

static bool key_has_model(const struct identity *who, struct slice name)
{
    const char *p = who->key_models.p, *end = p + who->key_models.n;

    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = stop != NULL ? (size_t)(stop - p) : (size_t)(end - p);
        if (line_matches(slice_make(p, n), name))
            return true;
        p += n + 1;
    }
    return who->key_models.n == 0;
}

static bool key_has_endpoint(const struct identity *who, enum endpoint e)
{
    return who->key_endpoints == 0 || (who->key_endpoints & 1u << e) != 0;
}

bool permission_alias(const struct runtime *r, const struct identity *who, const struct route_alias *alias)
{
    return key_has_model(who, alias->name) && access_may_use(r->access, who, alias);
}

static struct access_ask ask_of(const struct assessment *s, const struct route_alias *alias, struct slice model, int64_t input, int64_t now_us)
{
    return (struct access_ask){ .who = &s->who, .client_ip = s->rq.client_ip, .endpoint = s->ask.endpoint, .model = model, .alias = alias,
                                .input = input, .now_us = now_us };
}

static void decide(const struct assessment *s, const struct route_alias *alias, struct slice model, int64_t input, int64_t now_us,
                   struct access_decision *out)
{
    struct access_ask ask = ask_of(s, alias, model, input, now_us);

    *out = (struct access_decision){ .allowed = true, .max_output = -1 };
    if (s->runtime->access != NULL)
        access_decide(s->runtime->access, &ask, s->arena, out);
}

bool permission_instead(const struct assessment *s, const struct route_alias *alias)
{
    struct access_decision d;

    if (!key_has_model(&s->who, alias->name))
        return false;
    decide(s, alias, alias->name, -1, clock_wall_us(), &d);
    return d.allowed;
}

static bool refuse(struct assessment *s, const char *reason, const char *param, struct slice message)
{
    s->no = refusal_make(403, "invalid_request_error", "access_denied", reason, message);
    s->no.param = param;
    return false;
}

/* "a, b" for one a line. */
static struct slice commas(struct arena *a, struct slice lines)
{
    char *out = arena_alloc(a, 2 * lines.n + 1);
    size_t n = 0;

    if (out == NULL)
        return SLICE_LIT("?");
    for (size_t i = 0; i < lines.n; i++) {
        out[n++] = lines.p[i] == '\n' ? ',' : lines.p[i];
        if (lines.p[i] == '\n')
            out[n++] = ' ';
    }
    return slice_make(out, n);
}

static struct slice endpoint_paths(struct arena *a, unsigned mask)
{
    struct slice out = SLICE_NONE;

    for (int e = ENDPOINT_CHAT; e <= ENDPOINT_PASSTHROUGH; e++)
        if (mask & 1u << e)
            out = arena_printf(a, "%.*s%s%s", SLICE_FMT(out), out.n > 0 ? ", " : "", dialect_path((enum endpoint)e));
    return out;
}

/* NULL when the key's own scope lets it pass, or when it is no key; else the reason. */
static const char *key_refuses(struct assessment *s, struct slice *message)
{
    if (!key_has_endpoint(&s->who, s->ask.endpoint)) {
        *message = arena_printf(s->arena, "This gateway key may not use %s; it may use: %.*s.", dialect_path(s->ask.endpoint),
                                SLICE_FMT(endpoint_paths(s->arena, s->who.key_endpoints)));
        return "access_endpoint";
    }
    if (key_has_model(&s->who, s->ask.model))
        return NULL;
    *message = arena_printf(s->arena, "This gateway key may not use model \"%.*s\"; it may use: %.*s.",
                            s->ask.model.n > 200 ? 200 : (int)s->ask.model.n, s->ask.model.n > 0 ? s->ask.model.p : "",
                            SLICE_FMT(commas(s->arena, s->who.key_models)));
    return "access_model";
}

bool permission_decide(struct assessment *s, int64_t now_us, struct access_decision *d)
{
    struct slice message = SLICE_NONE;
    const char *reason = key_refuses(s, &message);

    if (reason != NULL)
        *d = (struct access_decision){ .rule = "(the key's own scope)", .max_output = -1, .reason = reason, .message = message };
    else
        decide(s, route_find(&s->runtime->routes, s->ask.model), s->ask.model, s->estimate.input, now_us, d);
    return d->allowed;
}

bool permission_look(const struct assessment *s, int64_t now_us, unsigned i, struct access_look *out)
{
    struct access_ask ask = ask_of(s, route_find(&s->runtime->routes, s->ask.model), s->ask.model, s->estimate.input, now_us);
    return access_look(s->runtime->access, i, &ask, s->arena, out);
}

bool permission_check(struct assessment *s)
{
    struct access_decision d;

    s->estimate.input = -1;
    bool allowed = permission_decide(s, clock_wall_us(), &d);
    s->estimate.input = 0;
    return allowed || refuse(s, d.reason, strcmp(d.reason, "access_model") == 0 ? "model" : NULL, d.message);
}

bool permission_counted(struct assessment *s)
{
    struct access_decision d;

    decide(s, s->alias, s->alias->name, s->estimate.input, clock_wall_us(), &d);
    if (!d.allowed)
        return refuse(s, d.reason, NULL, d.message);
    if (d.max_output < 0 || s->ceiling <= d.max_output)
        return true;
    if (!*s->runtime->config->haproxy.lua) /* nothing can be written into the body */
        return refuse(s, "access_output", "max_tokens",
                      arena_printf(s->arena, "Access rule \"%s\" allows %" PRId64 " output tokens; send that as max_tokens, or less.", d.rule, d.max_output));
    s->ceiling = d.max_output;
    s->notice = arena_printf(s->arena, "output lowered to %" PRId64 " tokens: the most access rule %s allows", d.max_output, d.rule);
    return true;
}
