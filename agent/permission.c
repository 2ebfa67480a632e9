#include "permission.h"

#include "dialect/dialect.h"

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

bool permission_alias(const struct identity *who, struct slice alias, const enum endpoint *endpoint)
{
    return key_has_model(who, alias) && (endpoint == NULL || key_has_endpoint(who, *endpoint));
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

    for (int e = ENDPOINT_CHAT; e <= ENDPOINT_MESSAGES; e++)
        if (mask & 1u << e)
            out = arena_printf(a, "%.*s%s%s", SLICE_FMT(out), out.n > 0 ? ", " : "", dialect_path((enum endpoint)e));
    return out;
}

bool permission_check(struct assessment *s)
{
    if (!key_has_endpoint(&s->who, s->ask.endpoint))
        return refuse(s, "access_endpoint", NULL,
                      arena_printf(s->arena, "This gateway key may not use %s; it may use: %.*s.", dialect_path(s->ask.endpoint),
                                   SLICE_FMT(endpoint_paths(s->arena, s->who.key_endpoints))));
    if (!key_has_model(&s->who, s->ask.model))
        return refuse(s, "access_model", "model",
                      arena_printf(s->arena, "This gateway key may not use model \"%.*s\"; it may use: %.*s.",
                                   s->ask.model.n > 200 ? 200 : (int)s->ask.model.n, s->ask.model.n > 0 ? s->ask.model.p : "",
                                   SLICE_FMT(commas(s->arena, s->who.key_models))));
    return true;
}
