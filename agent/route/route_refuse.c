#include "route/route_refuse.h"

static const struct {
    unsigned bit;
    const char *word, *shown;
} features[] = { { ASK_STREAM, "stream", "streaming" },   { ASK_TOOLS, "tools", "tools" },
                 { ASK_IMAGES, "images", "images" },      { ASK_AUDIO, "audio", "audio" },
                 { ASK_FILES, "files", "files" },         { ASK_JSON_SCHEMA, "json_schema", "a JSON schema" },
                 { ASK_LOGPROBS, "logprobs", "logprobs" }, { ASK_STORED, "stored", "stored items" } };
enum { FEATURES = sizeof features / sizeof *features };

unsigned route_feature(struct slice word)
{
    for (size_t i = 0; i < FEATURES; i++)
        if (slice_eq_cstr(word, features[i].word))
            return features[i].bit;
    return 0;
}

const char *route_feature_word(size_t i)
{
    return i < FEATURES ? features[i].word : NULL;
}

int64_t route_input(const struct route_query *q, const struct route_fact *f)
{
    return f != NULL && f->input >= 0 ? f->input : q->input;
}

static bool named(const struct route_names *n, struct slice value)
{
    if (n->count == 0)
        return true;
    for (size_t i = 0; i < n->count; i++)
        if (slice_eq(n->names[i], value))
            return true;
    return false;
}

static bool in_groups(const struct route_names *n, const struct identity *who)
{
    if (n->count == 0)
        return true;
    for (size_t i = 0; i < who->group_count; i++)
        if (named(n, who->groups[i]))
            return true;
    return false;
}

static bool people_hold(const struct route_when *w, const struct identity *who)
{
    static const struct identity nobody;

    if (who == NULL)
        who = &nobody;
    return named(&w->organization, who->organization) && named(&w->team, who->team) && named(&w->user, who->user) &&
           named(&w->application, who->application) && named(&w->cost_center, who->cost_center) && in_groups(&w->group, who);
}

bool route_open_to(const struct route_alias *alias, const struct identity *who)
{
    for (size_t i = 0; i < alias->target_count; i++)
        if (people_hold(&alias->targets[i].when, who))
            return true;
    return false;
}

static bool time_holds(const struct route_table *table, const struct route_when *w, int64_t now_us)
{
    for (size_t i = 0; i < w->hours_count; i++)
        if (hours_hold(&w->hours[i].week, table->minute_of_week(w->hours[i].zone, now_us)))
            return true;
    return w->hours_count == 0;
}

static bool when_holds(const struct route_table *table, const struct route_when *w, const struct route_query *q, int64_t input)
{
    if ((w->features & ~q->features) != 0 || (w->without & q->features) != 0)
        return false;
    if (input >= 0 && (input < w->min_input || (w->max_input > 0 && input > w->max_input)))
        return false;
    return people_hold(w, q->who) && time_holds(table, w, q->now_us);
}

static bool too_small(const struct route_target *t, int64_t input)
{
    return input >= 0 && ((t->context_window > 0 && input >= t->context_window) || (t->input_limit > 0 && input > t->input_limit));
}

enum route_obstacle route_obstacle(const struct route_table *table, const struct route_target *t, const struct route_query *q,
                                   const struct route_fact *f)
{
    int64_t input = route_input(q, f);

    if (!when_holds(table, &t->when, q, input))
        return OBSTACLE_CONDITION;
    if (t->endpoints != 0 && (t->endpoints & 1u << q->endpoint) == 0)
        return OBSTACLE_ENDPOINT;
    if ((q->features & t->lacks) != 0)
        return OBSTACLE_FEATURE;
    if ((q->members & t->refuses) != 0)
        return OBSTACLE_MEMBER;
    if (too_small(t, input))
        return OBSTACLE_SIZE;
    return f != NULL && f->keyless ? OBSTACLE_KEY : OBSTACLE_NONE;
}

static struct slice shown_model(struct slice model)
{
    if (model.n <= 64)
        return model;
    size_t n = 64;
    while (n > 0 && ((unsigned char)model.p[n] & 0xc0) == 0x80) /* not in the middle of a character */
        n--;
    return slice_make(model.p, n);
}

static void refuse(struct refusal *r, int status, const char *code, const char *param, const char *reason, struct slice message)
{
    *r = (struct refusal){ .status = status, .type = "invalid_request_error", .code = code, .param = param, .retry_after_s = -1,
                           .do_not_retry = true, .reason = reason,
                           .message = message.p ? message : SLICE_LIT("The model cannot be used.") };
}

void route_refuse_unknown(struct slice model, struct arena *arena, struct refusal *r)
{
    refuse(r, 404, "model_not_found", "model", "unknown_model",
           arena_printf(arena, "The model \"%.*s\" does not exist or you may not use it.", SLICE_FMT(shown_model(model))));
}

static void refuse_keyless(struct refusal *r)
{
    *r = (struct refusal){ .status = 503, .type = "server_error", .code = "provider_credentials_unavailable", .retry_after_s = 1,
                           .reason = "no_credential",
                           .message = SLICE_LIT("The gateway has no valid credential for this model's provider at the moment; try again "
                                                "shortly. Its operators find the cause in the agent's log.") };
}

static const char *lacking(const struct route_target *t, const struct route_query *q)
{
    for (size_t i = 0; i < FEATURES; i++)
        if (q->features & t->lacks & features[i].bit)
            return features[i].shown;
    return "what it asks for";
}

static struct slice refused_member(const struct route_alias *alias, unsigned bits)
{
    for (size_t i = 0; i < alias->member_count; i++)
        if (bits >> i & 1)
            return alias->members[i];
    return SLICE_NONE;
}

int64_t route_prompt_most(const struct route_target *t)
{
    return t->input_limit > 0 && (t->context_window == 0 || t->input_limit < t->context_window) ? t->input_limit : t->context_window;
}

static void refuse_size(const struct route_alias *alias, const struct route_query *q, const struct route_fact *facts, size_t at,
                        struct slice name, struct arena *arena, struct refusal *r)
{
    int64_t largest = 0;

    for (size_t i = 0; i < alias->target_count; i++) {
        int64_t most = route_prompt_most(&alias->targets[i]);
        largest = most > largest ? most : largest;
    }
    refuse(r, 400, "context_length_exceeded", "messages", "context_length",
           arena_printf(arena, "The request has %lld input tokens; the largest context window behind model %.*s holds %lld. Shorten the "
                        "input.", (long long)route_input(q, facts != NULL ? &facts[at] : NULL), SLICE_FMT(name), (long long)largest));
}

void route_refuse_all(const struct route_table *table, const struct route_alias *alias, const struct route_query *q,
                      const struct route_fact *facts, struct arena *arena, struct refusal *r)
{
    struct slice name = shown_model(q->model);
    enum route_obstacle last = OBSTACLE_CONDITION;
    size_t at = 0;

    for (size_t i = 0; i < alias->target_count; i++) {
        enum route_obstacle o = route_obstacle(table, &alias->targets[i], q, facts != NULL ? &facts[i] : NULL);
        if (o > last) {
            last = o;
            at = i;
        }
    }
    const struct route_target *t = &alias->targets[at];
    if (alias->target_count == 0)
        refuse(r, 404, "model_not_found", "model", "unknown_model",
               arena_printf(arena, "The model %.*s has no provider.", SLICE_FMT(name)));
    else if (last == OBSTACLE_KEY)
        refuse_keyless(r);
    else if (last == OBSTACLE_SIZE)
        refuse_size(alias, q, facts, at, name, arena, r);
    else if (last == OBSTACLE_MEMBER)
        refuse(r, 400, "unsupported_parameter", NULL, "unsupported_parameter",
               arena_printf(arena, "Model %.*s does not take \"%.*s\"; leave it out.", SLICE_FMT(name),
                            SLICE_FMT(refused_member(alias, q->members & t->refuses))));
    else if (last == OBSTACLE_FEATURE || last == OBSTACLE_ENDPOINT)
        refuse(r, 400, "unsupported_feature", NULL, "unsupported_feature",
               arena_printf(arena, "Model %.*s cannot be used with %s.", SLICE_FMT(name),
                            last == OBSTACLE_ENDPOINT ? "this endpoint" : lacking(t, q)));
    else
        refuse(r, 403, "model_not_allowed", "model", "route_condition",
               arena_printf(arena, "No route of model %.*s is open to this request: its conditions (who asks, size, features, time of day) "
                            "do not hold.", SLICE_FMT(name)));
}
