#include "access/gateway_keys_params.h"

#include "agent.h"
#include "base/clock.h"
#include "base/hex.h"
#include "manage/booking.h"
#include "dialect/dialect.h"
#include "manage/limiting.h"
#include "runtime.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local char reason[512];

bool key_param(const msgpack_object *params, uint32_t i, char *buf, size_t size)
{
    return booking_text(params, i, buf, size);
}

bool gateway_keys_endpoint(struct slice name, enum endpoint *out)
{
    return dialect_endpoint_from_name(name, out);
}

static bool digest_read(const msgpack_object *params, uint32_t i, uint8_t out[static 32])
{
    char text[80];

    if (!key_param(params, i, text, sizeof text) || strlen(text) != 7 + 64 || memcmp(text, "digest:", 7) != 0)
        return false;
    for (size_t k = 0; k < 64; k++) {
        int d = hex_digit_lower(text[7 + k]);
        if (d < 0)
            return false;
        out[k / 2] = (uint8_t)(out[k / 2] << 4 | d);
    }
    return true;
}

/* Control characters would tear lines of logs and tables apart; in lists, line breaks part the entries. */
static bool printable(const char *text, bool list)
{
    for (; *text != '\0'; text++)
        if (((unsigned char)*text < ' ' && !(list && *text == '\n')) || *text == 0x7f)
            return false;
    return true;
}

static struct slice line_next(const char **at)
{
    size_t n = strcspn(*at, "\n");
    struct slice line = slice_make(*at, n);
    *at += n + ((*at)[n] == '\n');
    return line;
}

static const char *models_check(const struct agent *a, const char *models)
{
    const struct config *c = a->runtime->config;

    for (const char *at = models; *at != '\0';) {
        struct slice m = line_next(&at);
        const char *star = m.n > 0 ? memchr(m.p, '*', m.n) : NULL;
        bool known = star != NULL && star == m.p + m.n - 1;
        for (unsigned i = 0; i < c->models_count && star == NULL && !known; i++)
            known = slice_eq_cstr(m, c->models[i].name);
        if (known)
            continue;
        snprintf(reason, sizeof reason, "there is no model \"%.*s\" in the configuration; a '*' at the end stands for any ending", SLICE_FMT(m));
        return reason;
    }
    return NULL;
}

static const char *endpoints_check(const char *endpoints)
{
    enum endpoint e;

    for (const char *at = endpoints; *at != '\0';) {
        struct slice name = line_next(&at);
        if (gateway_keys_endpoint(name, &e))
            continue;
        snprintf(reason, sizeof reason, "there is no endpoint \"%.*s\"; allowed: chat, responses, completions, embeddings, messages, passthrough", SLICE_FMT(name));
        return reason;
    }
    return NULL;
}

static const char *texts_read(const msgpack_object *params, struct key_params *out)
{
    const struct {
        char *to;
        size_t size;
        const char *what;
        bool list;
        struct slice *slice;
    } texts[] = {
        { out->name, sizeof out->name, "name", false, &out->key.name },
        { out->organization, sizeof out->organization, "organization", false, &out->key.who.organization },
        { out->team, sizeof out->team, "team", false, &out->key.who.team },
        { out->user, sizeof out->user, "user", false, &out->key.who.user },
        { out->application, sizeof out->application, "application", false, &out->key.who.application },
        { out->cost_center, sizeof out->cost_center, "cost centre", false, &out->key.who.cost_center },
        { out->groups, sizeof out->groups, "list of groups", true, &out->key.groups },
        { out->models, sizeof out->models, "list of models", true, &out->key.models },
        { out->endpoints, sizeof out->endpoints, "list of endpoints", true, &out->key.endpoints },
    };

    for (uint32_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint32_t at = i == 0 ? 1 : i + 2; /* the expiry stands behind the name */
        if (!key_param(params, at, texts[i].to, texts[i].size) || !printable(texts[i].to, texts[i].list)) {
            snprintf(reason, sizeof reason, "the %s is missing, longer than %zu bytes, or holds a control character", texts[i].what, texts[i].size - 1);
            return reason;
        }
        *texts[i].slice = slice_cstr(texts[i].to);
    }
    if (out->name[0] == '\0')
        return "the key needs a name";
    return out->team[0] == '\0' ? "the key needs a team (--team): its spending must belong to somebody" : NULL;
}

const char *key_params_read(struct agent *a, const msgpack_object *params, struct key_params *out)
{
    char text[KEY_TEXT_MAX], number[32];
    const char *why;

    *out = (struct key_params){ .expires_s = 0 };
    if (!digest_read(params, 0, out->digest))
        return "the key's digest is missing";
    if ((why = texts_read(params, out)) != NULL || (why = models_check(a, out->models)) != NULL || (why = endpoints_check(out->endpoints)) != NULL)
        return why;
    if (!key_param(params, 2, number, sizeof number))
        return "the expiry is missing";
    out->expires_s = strtoll(number, NULL, 10);
    if (out->expires_s != 0 && out->expires_s <= clock_wall_us() / 1000000)
        return "the key would expire before it begins";
    if (!key_param(params, 11, text, sizeof text))
        return "the budget is missing";
    if (text[0] == '\0')
        return NULL;
    if (!key_budget_parse(text, out->budget, reason, sizeof reason))
        return reason;
    out->key.budget = slice_cstr(out->budget);
    return limits_admit(a, out->budget);
}

const char *key_rotation_read(const msgpack_object *params, struct key_rotation *out)
{
    char overlap[32], expires[32];

    *out = (struct key_rotation){ .expires_s = -1 };
    if (!key_param(params, 0, out->id, sizeof out->id) || !digest_read(params, 1, out->digest))
        return "the key's id or digest is missing";
    if (!key_param(params, 2, overlap, sizeof overlap) || !key_param(params, 3, expires, sizeof expires))
        return "the overlap or the expiry is missing";
    out->overlap_s = strtoll(overlap, NULL, 10);
    if (out->overlap_s < 0 || out->overlap_s > 366 * 86400)
        return "the overlap is longer than a year";
    if (expires[0] != '\0')
        out->expires_s = strtoll(expires, NULL, 10);
    if (out->expires_s > 0 && out->expires_s <= clock_wall_us() / 1000000)
        return "the key would expire before it begins";
    return NULL;
}
