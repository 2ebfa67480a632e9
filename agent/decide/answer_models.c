#include "decide/answer_models.h"

#include "access/permission.h"
#include "base/hex.h"

static bool may_use(const struct assessment *s, const struct route_alias *alias)
{
    return permission_alias(s->runtime, &s->who, alias) && route_open_to(alias, &s->who);
}

/* When a model came to be is not known here: the epoch, as both APIs allow. */
static cJSON *model_json(const struct assessment *s, const struct route_alias *alias)
{
    char *name = arena_cstr(s->arena, alias->name);
    cJSON *o = cJSON_CreateObject();
    bool ok = name != NULL && cJSON_AddStringToObject(o, "id", name) != NULL;

    if (s->rq.anthropic_version.n > 0)
        ok = ok && cJSON_AddStringToObject(o, "type", "model") != NULL && cJSON_AddStringToObject(o, "display_name", name) != NULL &&
             cJSON_AddStringToObject(o, "created_at", "1970-01-01T00:00:00Z") != NULL;
    else
        ok = ok && cJSON_AddStringToObject(o, "object", "model") != NULL && cJSON_AddRawToObject(o, "created", "0") != NULL &&
             cJSON_AddStringToObject(o, "owned_by", "tollgate") != NULL;
    if (ok)
        return o;
    cJSON_Delete(o);
    return NULL;
}

static bool add_name(const struct assessment *s, cJSON *o, const char *key, const struct route_alias *alias)
{
    char *name = alias != NULL ? arena_cstr(s->arena, alias->name) : NULL;

    if (alias == NULL)
        return cJSON_AddNullToObject(o, key) != NULL;
    return name != NULL && cJSON_AddStringToObject(o, key, name) != NULL;
}

cJSON *answer_models(const struct assessment *s)
{
    const struct route_alias *first = NULL, *last = NULL;
    cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "data");
    bool ok = list != NULL;

    for (size_t i = 0; ok && i < s->runtime->routes.alias_count; i++) {
        const struct route_alias *alias = &s->runtime->routes.aliases[i];
        if (!may_use(s, alias))
            continue;
        cJSON *m = model_json(s, alias);
        ok = m != NULL && cJSON_AddItemToArray(list, m);
        first = first != NULL ? first : alias;
        last = alias;
    }
    if (s->rq.anthropic_version.n > 0)
        ok = ok && cJSON_AddFalseToObject(o, "has_more") != NULL && add_name(s, o, "first_id", first) && add_name(s, o, "last_id", last);
    else
        ok = ok && cJSON_AddStringToObject(o, "object", "list") != NULL;
    if (ok)
        return o;
    cJSON_Delete(o);
    return NULL;
}

/* Percent-encoding taken off (RFC 3986 2.1); what is no valid triplet stands for itself. p NULL: memory is out. */
static struct slice decoded(struct slice s, struct arena *a)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;

    if (out == NULL)
        return SLICE_NONE;
    for (size_t i = 0; i < s.n; i++) {
        bool triplet = s.p[i] == '%' && s.n - i > 2 && hex_digit(s.p[i + 1]) >= 0 && hex_digit(s.p[i + 2]) >= 0;
        out[n++] = triplet ? (char)(hex_digit(s.p[i + 1]) * 16 + hex_digit(s.p[i + 2])) : s.p[i];
        i += triplet ? 2 : 0;
    }
    return slice_make(out, n);
}

cJSON *answer_model(struct assessment *s)
{
    const size_t skip = sizeof "/v1/models/" - 1;
    struct slice name = decoded(slice_make(s->rq.path.p + skip, s->rq.path.n - skip), s->arena);
    const struct route_alias *alias = route_find(&s->runtime->routes, name);

    if (name.p == NULL)
        return NULL;
    if (alias != NULL && may_use(s, alias))
        return model_json(s, alias);
    /* Whether it exists for others is not told. */
    s->no = refusal_make(404, "invalid_request_error", "model_not_found", "model_unknown",
                         SLICE_LIT("There is no such model for you here; GET /v1/models lists those you may use."));
    s->no.param = "model";
    return NULL;
}
