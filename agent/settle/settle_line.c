#include "settle/settle_line.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

/* Below this, a double holds every integer. */
#define EXACT 9007199254740992.0

static bool number_of(const cJSON *v, int64_t *out)
{
    double d;

    if (cJSON_IsNumber(v)) {
        d = v->valuedouble;
    } else if (cJSON_IsString(v)) {
        const char *s = v->valuestring;
        char *end;
        if (*s == '\0' || strcmp(s, "-") == 0) {
            *out = SETTLE_LINE_ABSENT;
            return true;
        }
        if (strspn(s, "+-0123456789") != strlen(s) || strlen(s) > 17)
            return false;
        d = (double)strtoll(s, &end, 10);
        if (*end != '\0')
            return false;
    } else if (cJSON_IsNull(v)) {
        *out = SETTLE_LINE_ABSENT;
        return true;
    } else {
        return false;
    }
    if (!(d > -EXACT && d < EXACT) || d != (double)(int64_t)d)
        return false;
    *out = (int64_t)d;
    return true;
}

static bool read_number(const cJSON *o, const char *key, int64_t *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    *out = SETTLE_LINE_ABSENT;
    return v == NULL || number_of(v, out);
}

static bool read_text(const cJSON *o, const char *key, struct arena *a, struct slice *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    *out = SLICE_NONE;
    if (v == NULL || cJSON_IsNull(v))
        return true;
    if (!cJSON_IsString(v))
        return false;
    if (strcmp(v->valuestring, "-") == 0)
        return true;
    *out = arena_copy(a, slice_cstr(v->valuestring));
    return out->p != NULL;
}

static bool read_numbers(const cJSON *o, struct settle_line *out)
{
    return read_number(o, "att", &out->attempt) && read_number(o, "st", &out->status) && read_number(o, "rst", &out->provider_status) &&
           read_number(o, "long", &out->too_long) && read_number(o, "rc", &out->retries) && read_number(o, "Tw", &out->tw) && read_number(o, "Tc", &out->tc) &&
           read_number(o, "Tr", &out->tr) && read_number(o, "Td", &out->td) && read_number(o, "Ta", &out->ta) &&
           read_number(o, "B", &out->bytes) && read_number(o, "ttfb", &out->ttfb);
}

static int read_line(const cJSON *o, struct arena *a, struct settle_line *out, const char **why)
{
    int64_t tier;

    *why = "a member has the wrong type";
    if (!cJSON_IsObject(o)) {
        *why = "no JSON object";
        return -1;
    }
    if (!read_number(o, "t", &tier) || (tier != 1 && tier != 2)) {
        *why = "no tier (\"t\" must be 1 or 2)";
        return -1;
    }
    out->tier = (int)tier;
    if (!read_text(o, "id", a, &out->id) || !read_text(o, "grp", a, &out->group) || !read_text(o, "tsc", a, &out->state) ||
        !read_text(o, "srv", a, &out->server) || !read_text(o, "ra", a, &out->retry_after) || !read_text(o, "rid", a, &out->provider_id) || !read_numbers(o, out))
        return -1;
    if (out->id.n == 0) {
        *why = "no request id";
        return -1;
    }
    if (out->status != SETTLE_LINE_ABSENT && (out->status < -1 || out->status > 999)) {
        *why = "no HTTP status";
        return -1;
    }
    *why = NULL;
    return 0;
}

int settle_line_parse(struct slice line, struct arena *arena, struct settle_line *out, const char **why)
{
    const char *end = NULL;

    *out = (struct settle_line){ 0 };
    *why = "no JSON object";
    while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r' || line.p[line.n - 1] == '\0'))
        line.n--;
    const char *brace = line.n > 0 ? memchr(line.p, '{', line.n) : NULL;
    if (brace == NULL)
        return -1;
    struct slice json = slice_make(brace, line.n - (size_t)(brace - line.p));
    cJSON *o = cJSON_ParseWithLengthOpts(json.p, json.n, &end, false);
    if (o == NULL || end != json.p + json.n) {
        cJSON_Delete(o);
        *why = "not JSON";
        return -1;
    }
    int rc = read_line(o, arena, out, why);
    cJSON_Delete(o);
    return rc;
}

bool settle_line_error_body(const struct settle_line *l)
{
    return l->tier == 2 && l->provider_status == 200 && l->status == 503;
}

bool settle_line_client_aborted(const struct settle_line *l)
{
    bool left_in_pause = l->tier == 2 && l->status == 499 && l->tc < 0;
    return left_in_pause || (l->state.n > 0 && l->state.p[0] == 'C');
}
