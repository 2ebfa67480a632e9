#include "decide/answer.h"

#include "decide/answer_models.h"
#include "decide/inflight.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define REQUESTS "/tollgate/v1/requests/"

static bool add_text(cJSON *o, const char *name, struct slice value, struct arena *a)
{
    char *text = arena_cstr(a, value);
    return text != NULL && cJSON_AddStringToObject(o, name, text) != NULL;
}

/* Dollars as decimal text, everything else as a whole number: no figure passes through floating point. */
static bool add_amount(cJSON *o, const char *name, int64_t amount, enum budget_unit unit)
{
    char text[32];

    if (unit != BUDGET_USD) {
        snprintf(text, sizeof text, "%" PRId64, amount);
        return cJSON_AddRawToObject(o, name, text) != NULL;
    }
    const char *dollars = budget_format_amount(amount, unit, text, sizeof text);
    return cJSON_AddStringToObject(o, name, dollars[0] == '$' ? dollars + 1 : dollars) != NULL;
}

static bool add_instant(cJSON *o, const char *name, int64_t us)
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    char text[32];

    if (us <= 0)
        return cJSON_AddNullToObject(o, name) != NULL;
    gmtime_r(&s, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return cJSON_AddStringToObject(o, name, text) != NULL;
}

static bool add_limit(cJSON *list, const struct budget_view *v, struct arena *a)
{
    enum budget_unit u = v->state.unit;
    cJSON *o = cJSON_CreateObject();

    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    return add_text(o, "limit", slice_cstr(v->state.limit), a) && add_text(o, "subject", v->subject, a) &&
           add_text(o, "window", slice_cstr(v->state.window), a) && add_text(o, "unit", slice_cstr(budget_unit_name(u)), a) &&
           add_text(o, "action", slice_cstr(v->action), a) && add_amount(o, "amount", v->state.amount, u) &&
           add_amount(o, "used", v->state.used, u) && add_amount(o, "held", v->state.held, u) &&
           add_amount(o, "left", v->state.left, u) && add_instant(o, "resets_at", v->state.reset_us);
}

static cJSON *budget_json(const struct assessment *s, struct budget *b, int64_t now_us, int64_t mono_us)
{
    struct budget_subjects subjects = { .who = &s->who };
    struct budget_view *views = NULL;
    size_t n = 0;
    cJSON *o = cJSON_CreateObject(), *who = cJSON_AddObjectToObject(o, "subject"), *list = cJSON_AddArrayToObject(o, "limits");
    bool ok = who != NULL && list != NULL && add_text(who, "user", s->who.user, s->arena) &&
              add_text(who, "team", s->who.team, s->arena) && add_text(who, "organization", s->who.organization, s->arena) &&
              add_text(who, "application", s->who.application, s->arena) &&
              add_text(who, "cost_center", s->who.cost_center, s->arena) &&
              budget_list_for(b, &subjects, now_us, mono_us, s->arena, &views, &n) == 0;

    for (size_t i = 0; ok && i < n; i++)
        ok = add_limit(list, &views[i], s->arena);
    if (ok)
        return o;
    cJSON_Delete(o);
    return NULL;
}

bool answer_path(struct slice path)
{
    return slice_eq_cstr(path, "/tollgate/v1/budget") || slice_eq_cstr(path, "/v1/models") || slice_starts(path, SLICE_LIT("/v1/models/")) ||
           slice_starts(path, SLICE_LIT(REQUESTS));
}

static bool same_caller(const struct identity *a, const struct identity *b)
{
    return slice_eq(a->subject, b->subject) && slice_eq(a->issuer, b->issuer) && slice_eq(a->key_id, b->key_id);
}

static cJSON *cost_json(const struct inflight *f, struct arena *a)
{
    static const char *const known[] = { [KNOWN_OPEN] = "open", [KNOWN_REPORTED] = "reported", [KNOWN_COUNTED] = "counted", [KNOWN_BOUNDED] = "bounded",
                                         [KNOWN_NONE] = "none" };
    enum inflight_state state = atomic_load(&f->state);
    bool ended = state == INFLIGHT_SETTLED || state == INFLIGHT_EXPIRED;
    cJSON *o = cJSON_CreateObject();

    if (add_text(o, "request_id", f->request_id, a) && add_text(o, "model", f->op.decision.alias, a) &&
        cJSON_AddStringToObject(o, "state", ended ? "settled" : "open") != NULL &&
        cJSON_AddStringToObject(o, "known_by", known[ended ? atomic_load(&f->settled_by) : KNOWN_OPEN]) != NULL &&
        add_amount(o, "hold_usd", f->op.decision.hold_nano, BUDGET_USD) &&
        (ended ? add_amount(o, "cost_usd", atomic_load(&f->settled_nano), BUDGET_USD) : cJSON_AddNullToObject(o, "cost_usd") != NULL))
        return o;
    cJSON_Delete(o);
    return NULL;
}

/* Of the caller's own requests; whether another one exists is not told. */
static cJSON *request_json(struct assessment *s, struct inflight_table *t)
{
    const size_t skip = sizeof REQUESTS - 1;
    struct inflight *f = inflight_find(t, slice_make(s->rq.path.p + skip, s->rq.path.n - skip));
    cJSON *o = NULL;

    if (f != NULL && same_caller(&f->who, &s->who))
        o = cost_json(f, s->arena);
    else
        s->no = refusal_make(404, "invalid_request_error", "request_not_found", "request_unknown",
                             SLICE_LIT("No request of yours with this id is under way or has ended within the last 30 seconds; older ones are in the "
                                       "gateway's ledger."));
    if (f != NULL)
        inflight_unref(f);
    return o;
}

enum answer_kind answer_own(struct assessment *s, struct budget *b, struct inflight_table *t, int64_t now_us, int64_t mono_us, struct slice *body)
{
    cJSON *o = NULL;

    if (!slice_eq_cstr(s->rq.method, "GET") || !answer_path(s->rq.path))
        return ANSWER_NOT_OURS;
    if (slice_eq_cstr(s->rq.path, "/tollgate/v1/budget"))
        o = budget_json(s, b, now_us, mono_us);
    else if (slice_eq_cstr(s->rq.path, "/v1/models"))
        o = answer_models(s);
    else
        o = slice_starts(s->rq.path, SLICE_LIT(REQUESTS)) ? request_json(s, t) : answer_model(s);
    if (o == NULL && s->no.status != 0)
        return ANSWER_REFUSED;
    char *text = o != NULL ? cJSON_PrintUnformatted(o) : NULL;
    *body = text != NULL ? arena_copy(s->arena, slice_cstr(text)) : SLICE_NONE;
    cJSON_free(text);
    cJSON_Delete(o);
    return ANSWER_BODY;
}
