#include "decide/assess.h"

#include "agent.h"
#include "decide/answer.h"
#include "decide/assess_route.h"
#include "dialect/dialect.h"
#include "dialect/dialect_rewrite.h"
#include "decide/passing.h"
#include "access/permission.h"
#include "decide/verdict.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct refusal refusal_make(int status, const char *type, const char *code, const char *reason, struct slice message)
{
    return (struct refusal){ .status = status, .type = type, .code = code, .reason = reason, .message = message, .retry_after_s = -1 };
}

static struct slice text_of(const struct spop_value *v)
{
    return spop_is_text(v->type) ? slice_make(v->bytes.p, v->bytes.n) : SLICE_NONE;
}

static struct slice address_text(const struct spop_value *v, struct arena *a)
{
    char text[INET6_ADDRSTRLEN];

    if (v->type == SPOP_IPV4 && inet_ntop(AF_INET, v->bytes.p, text, sizeof text) != NULL)
        return arena_copy(a, slice_cstr(text));
    if (v->type == SPOP_IPV6 && inet_ntop(AF_INET6, v->bytes.p, text, sizeof text) != NULL)
        return arena_copy(a, slice_cstr(text));
    return text_of(v);
}

static int64_t length_of(const struct spop_value *v)
{
    int64_t n = 0;

    if (spop_is_integer(v->type))
        return (int64_t)v->integer;
    if (!spop_is_text(v->type) || v->bytes.n == 0 || v->bytes.n > 18)
        return -1;
    for (size_t i = 0; i < v->bytes.n; i++) {
        if (v->bytes.p[i] < '0' || v->bytes.p[i] > '9')
            return -1;
        n = n * 10 + (v->bytes.p[i] - '0');
    }
    return n;
}

/* slice_eq compares lengths first, so most of these are one comparison of two numbers. */
static void argument_read(struct slice name, const struct spop_value *v, struct http_request *rq, struct arena *a)
{
    if (slice_eq_cstr(name, "id"))
        rq->id = text_of(v);
    else if (slice_eq_cstr(name, "ip"))
        rq->client_ip = address_text(v, a);
    else if (slice_eq_cstr(name, "method"))
        rq->method = text_of(v);
    else if (slice_eq_cstr(name, "path"))
        rq->path = text_of(v);
    else if (slice_eq_cstr(name, "query"))
        rq->query = text_of(v);
    else if (slice_eq_cstr(name, "auth"))
        rq->authorization = text_of(v);
    else if (slice_eq_cstr(name, "apikey"))
        rq->api_key = text_of(v);
    else if (slice_eq_cstr(name, "akey"))
        rq->api_key = rq->api_key.n > 0 ? rq->api_key : text_of(v);
    else if (slice_eq_cstr(name, "dep"))
        rq->deployment = text_of(v);
    else if (slice_eq_cstr(name, "av"))
        rq->anthropic_version = text_of(v);
    else if (slice_eq_cstr(name, "ctype"))
        rq->content_type = text_of(v);
    else if (slice_eq_cstr(name, "cenc"))
        rq->content_encoding = text_of(v);
    else if (slice_eq_cstr(name, "conv"))
        rq->conversation = text_of(v);
    else if (slice_eq_cstr(name, "tp"))
        rq->traceparent = text_of(v);
    else if (slice_eq_cstr(name, "tpn"))
        rq->traceparents = length_of(v);
    else if (slice_eq_cstr(name, "ts"))
        rq->tracestate = text_of(v);
    else if (slice_eq_cstr(name, "host"))
        rq->host = text_of(v);
    else if (slice_eq_cstr(name, "ua"))
        rq->user_agent = text_of(v);
    else if (slice_eq_cstr(name, "cl"))
        rq->content_length = length_of(v);
    else if (slice_eq_cstr(name, "blen"))
        rq->body_length = length_of(v);
    else if (slice_eq_cstr(name, "cert"))
        rq->certificate_used = v->type == SPOP_BOOL && v->boolean;
    else if (slice_eq_cstr(name, "cverify"))
        rq->certificate_verify = length_of(v);
    else if (slice_eq_cstr(name, "cder"))
        rq->certificate = text_of(v);
    else if (slice_eq_cstr(name, "body"))
        rq->body = text_of(v);
}

bool assess_read(struct spop_bytes payload, struct http_request *rq, struct arena *a)
{
    struct spop_messages it = spop_messages_make(payload);
    struct spop_bytes name;
    struct spop_value value;
    bool found = false;

    *rq = (struct http_request){ .content_length = -1, .body_length = -1, .certificate_verify = -1 };
    while (spop_next_message(&it, &name)) {
        if (!slice_eq_cstr(slice_make(name.p, name.n), "llm-request"))
            continue;
        found = true;
        while (spop_next_arg(&it, &name, &value))
            argument_read(slice_make(name.p, name.n), &value, rq, a);
    }
    return found && !it.cursor.bad;
}

static bool refuse(struct assessment *s, int status, const char *code, const char *reason, struct slice message)
{
    s->no = refusal_make(status, status >= 500 ? "server_error" : "invalid_request_error", code, reason, message);
    return false;
}

struct refusal assess_unbounded(void)
{
    return refusal_make(400, "invalid_request_error", "request_not_boundable", "unbounded",
                        SLICE_LIT("The request refers to content whose size the gateway cannot see (a stored file, conversation or remote "
                                  "document), so its cost has no bound. Send the content inline."));
}

struct refusal assess_wrong_method(struct slice methods, struct arena *a)
{
    struct refusal no = refusal_make(405, "invalid_request_error", "method_not_allowed", "method",
                                     arena_printf(a, "This path takes %.*s only.", SLICE_FMT(methods)));
    no.allow = methods;
    return no;
}

void assess_shape(struct assessment *s)
{
    if (dialect_endpoint(s->rq.method, s->rq.path, &s->ask.endpoint) == DIALECT_NO_PATH)
        s->ask.endpoint = s->rq.anthropic_version.n > 0 ? ENDPOINT_MESSAGES : ENDPOINT_CHAT;
}

static bool endpoint_find(struct assessment *s)
{
    switch (dialect_endpoint(s->rq.method, s->rq.path, &s->ask.endpoint)) {
    case DIALECT_MATCH:
        return true;
    case DIALECT_NO_METHOD:
        s->no = assess_wrong_method(SLICE_LIT("POST"), s->arena);
        return false;
    default:
        if (passing_find(s))
            return s->no.status == 0;
        if (answer_path(s->rq.path)) {
            s->no = assess_wrong_method(SLICE_LIT("GET"), s->arena);
            return false;
        }
        return refuse(s, 404, "unknown_url", "path",
                      arena_printf(s->arena, "There is no endpoint %.*s %.*s here; this gateway serves POST %s, %s, %s, %s and %s, and GET /v1/models.",
                                   SLICE_FMT(s->rq.method), s->rq.path.n > 128 ? 128 : (int)s->rq.path.n, s->rq.path.p != NULL ? s->rq.path.p : "",
                                   dialect_path(ENDPOINT_CHAT), dialect_path(ENDPOINT_RESPONSES), dialect_path(ENDPOINT_COMPLETIONS),
                                   dialect_path(ENDPOINT_EMBEDDINGS), dialect_path(ENDPOINT_MESSAGES)));
    }
}

/* HAProxy hands over what its buffer held: less than the client declared means that it was cut. */
static bool body_whole(struct assessment *s)
{
    int64_t got = (int64_t)s->rq.body.n;

    if (s->ask.endpoint != ENDPOINT_PASSTHROUGH && s->rq.content_encoding.n > 0 && !(s->rq.content_encoding.n == 8 && strncasecmp(s->rq.content_encoding.p, "identity", 8) == 0))
        return refuse(s, 415, "unsupported_encoding", "encoding",
                      SLICE_LIT("Compressed request bodies are not accepted; send the JSON without Content-Encoding."));
    if ((s->rq.content_length >= 0 && s->rq.content_length != got) || (s->rq.body_length >= 0 && s->rq.body_length != got))
        return refuse(s, 413, "request_too_large", "body_truncated",
                      arena_printf(s->arena, "The request body has %" PRId64 " bytes, but only %" PRId64 " reached the gateway: it is "
                                   "larger than HAProxy's buffer (tune.bufsize). Shorten the conversation, or have the operators "
                                   "raise haproxy.max_body.", s->rq.content_length, got));
    return true;
}

bool assess_parsed(struct assessment *s, bool ok)
{
    if (!ok) {
        if (s->no.reason != NULL && strcmp(s->no.reason, "body_truncated") == 0)
            s->no.message = arena_printf(s->arena, "%.*s If it was sent whole, it is larger than HAProxy's buffer (tune.bufsize).",
                                         SLICE_FMT(s->no.message));
        return false;
    }
    if (s->rq.deployment.n > 0)
        s->ask.model = s->rq.deployment;
    return permission_check(s) && assess_route_start(s, s->ask.model);
}

/* The endpoint is known, and the body all there. */
static bool parse_ready(struct assessment *s)
{
    if (!endpoint_find(s) || !body_whole(s))
        return false;
    if (s->ask.endpoint != ENDPOINT_PASSTHROUGH)
        return true;
    if (!permission_check(s))
        return false;
    passing_start(s);
    return true;
}

bool assess_parse(struct assessment *s)
{
    if (!parse_ready(s))
        return false;
    if (s->ask.endpoint == ENDPOINT_PASSTHROUGH)
        return true;
    int rc = dialect_counts_only(s->rq.path) ? dialect_parse_count(s->rq.body, s->arena, &s->ask, &s->no)
                                             : dialect_parse(s->ask.endpoint, s->rq.body, s->arena, &s->ask, &s->no);
    return assess_parsed(s, rc == 0);
}

bool assess_parse_begin(struct assessment *s, struct fiber_pool *pool, struct dialect_job **job)
{
    *job = NULL;
    if (!parse_ready(s))
        return false;
    if (s->ask.endpoint == ENDPOINT_PASSTHROUGH)
        return true;
    *job = dialect_job_new(pool, s->ask.endpoint, dialect_counts_only(s->rq.path), s->rq.body, s->arena, &s->ask, &s->no);
    return *job != NULL;
}

static bool has_output(enum endpoint e)
{
    return e != ENDPOINT_EMBEDDINGS;
}

static void ceiling_find(struct assessment *s)
{
    const struct config_model *m = runtime_model_of(s->runtime, s->alias)->config;
    int64_t most = m->max_output;

    if (!has_output(s->ask.endpoint)) {
        s->ceiling = 0;
        return;
    }
    int64_t room = assess_output_room(s->primary, s->choice.primary, s->estimate.input);
    if (room < most)
        most = room;
    s->ceiling = s->ask.max_output;
    if (s->ceiling < 0) {
        s->ceiling = most;
    } else if (s->ceiling > most) {
        s->ceiling = most;
        s->notice = arena_printf(s->arena, "output lowered to %" PRId64 " tokens: the most this model may use", most);
    }
    /* Without Lua nothing can be written into the body: what the client did not bound, only the model's own limit does. */
    if (!*s->runtime->config->haproxy.lua && (s->ask.max_output < 0 || s->ask.max_output > most)) {
        int64_t own = s->primary->price != NULL ? s->primary->price->output_limit : 0;
        s->ceiling = s->ask.max_output >= 0 ? s->ask.max_output : own > most ? own : most;
        s->notice = SLICE_NONE;
    }
}

struct price_terms assess_terms(const struct assessment *s, const struct runtime_target *t, const struct route_target *r)
{
    const struct model_price *list = s->prices == s->runtime->routed ? t->price
                                                                     : price_lookup(s->prices, r->target.provider, r->target.model, NULL);

    return price_terms_for(s->prices, list, &s->who, r->target.provider, r->target.model);
}

static int64_t images_of(const struct ask *ask)
{
    int64_t n = 0;

    for (size_t i = 0; (ask->features & ASK_IMAGES) && i < ask->part_count; i++)
        n += ask_part_at(ask, i)->kind == PART_IMAGE;
    return n;
}

static bool unpriced(struct assessment *s, const struct runtime_target *t, const struct route_target *r)
{
    if (s->runtime->config->prices.allow_unpriced)
        return true;
    return refuse(s, 400, "model_not_priced", "unpriced",
                  arena_printf(s->arena, "Model \"%.*s\" has no known price for %.*s (%s), so its cost cannot be held to a budget. The "
                               "operators can add it under prices.overrides.", SLICE_FMT(s->ask.model), SLICE_FMT(r->target.provider),
                               assess_terms(s, t, r).list == NULL ? "not in the price table" : "only partly published, or zero"));
}

/* What a client can ask for that costs more than the price table says, so that a hold would not cover it: OpenAI's service tier
 * "priority" about twice, Anthropic's inference in one region a tenth, its fast mode several times. Known not to cost more: `priced`. */
static bool surcharge_refused(struct assessment *s, const struct runtime_target *t, const struct route_target *r)
{
    static const char *const tiers[] = { "auto", "default", "standard", "standard_only", "flex", NULL }, *const geos[] = { "global", NULL },
                      *const speeds[] = { "standard", NULL };
    const struct {
        const char *name;
        struct slice value;
        const char *const *priced;
    } members[] = { { "service_tier", s->ask.service_tier, tiers }, { "inference_geo", s->ask.inference_geo, geos }, { "speed", s->ask.speed, speeds } };

    for (size_t k = 0; k < sizeof members / sizeof *members; k++) {
        struct slice v = members[k].value;
        bool ok = v.n == 0 || s->runtime->config->prices.allow_unpriced;
        for (const char *const *word = members[k].priced; !ok && *word != NULL; word++)
            ok = slice_eq_cstr(v, *word);
        for (size_t i = 0; !ok && i < t->drop_count; i++) /* left out, or set by the operators */
            ok = strcmp(t->drop[i].name, members[k].name) == 0;
        if (ok)
            continue;
        refuse(s, 400, "option_not_priced", "unpriced",
               arena_printf(s->arena, "What %s \"%.*s\" costs at %.*s is not known, so it cannot be held to a budget. Leave %s out.",
                            members[k].name, v.n > 64 ? 64 : (int)v.n, v.p, SLICE_FMT(r->target.provider), members[k].name));
        s->no.param = members[k].name;
        return true;
    }
    return false;
}

/* Images the answer may have at a model: some draw without being asked to. One for each choice; of a tool's as many as it may be called. */
static int64_t images_answered(const struct ask *ask, const struct model_price *m)
{
    bool draws = m->image_out_pico > 0 || m->image_token_pico > 0;

    if (ask->endpoint == ENDPOINT_RESPONSES)
        return ask->images_out == ASK_IMAGES_WANTED && ask->max_tool_calls > 0 ? ask->max_tool_calls : 0;
    if (ask->endpoint != ENDPOINT_CHAT || ask->images_out == ASK_IMAGES_NONE)
        return 0;
    return draws || ask->images_out == ASK_IMAGES_WANTED ? ask->choices : 0;
}

/* Images are asked for, and the table does not say what they cost, or nothing says how many there may be. */
static bool images_refused(struct assessment *s, const struct runtime_target *t, const struct route_target *r, const struct model_price *m)
{
    bool tool = s->ask.endpoint == ENDPOINT_RESPONSES;
    const char *member = tool ? "tools" : "modalities";
    bool piece = m->image_out_pico > 0 || (m->published & PRICE_SAYS_IMAGE_OUT);
    bool token = m->image_token_pico > 0 || (m->published & PRICE_SAYS_IMAGE_TOKEN);

    if (s->ask.images_out != ASK_IMAGES_WANTED || s->runtime->config->prices.allow_unpriced)
        return false;
    for (size_t i = 0; i < t->drop_count; i++)
        if (strcmp(t->drop[i].name, member) == 0)
            return false;
    if (!piece && (tool || !token)) {
        refuse(s, 400, "option_not_priced", "unpriced",
               arena_printf(s->arena, "What images in the answer cost at %.*s is not known, so they cannot be held to a budget. Leave %s out, or have "
                            "the operators set image_output under prices.overrides.", SLICE_FMT(r->target.provider),
                            tool ? "the tool image_generation" : "\"image\" of modalities"));
        s->no.param = member;
        return true;
    }
    if (tool && s->ask.max_tool_calls < 0) {
        refuse(s, 400, "request_not_boundable", "unbounded",
               SLICE_LIT("The tool image_generation may be called any number of times, so what its images cost has no bound. Set max_tool_calls."));
        s->no.param = "max_tool_calls";
        return true;
    }
    return false;
}

/* The most the request can cost at one target. False: refused. */
static bool target_hold(struct assessment *s, const struct runtime_target *t, const struct route_target *r, int64_t input,
                        int64_t ceiling, int64_t *nano)
{
    struct price_ask ask = { .input = input, .output = ceiling, .choices = s->ask.choices, .images = s->images };

    if (s->ask.endpoint != ENDPOINT_MESSAGES)
        ask.kinds = 1u << PRICE_INPUT | 1u << PRICE_CACHED | 1u << PRICE_OUTPUT | 1u << PRICE_REASONING |
                    ((s->ask.features & ASK_AUDIO) ? 1u << PRICE_AUDIO_IN | 1u << PRICE_AUDIO_OUT : 0);
    *nano = 0;
    struct price_terms terms = assess_terms(s, t, r);
    if (terms.billed == NULL || terms.billed->status != PRICE_OK)
        return unpriced(s, t, r);
    if (surcharge_refused(s, t, r) || images_refused(s, t, r, terms.billed))
        return false;
    ask.images_out = images_answered(&s->ask, terms.billed);
    if (ask.images_out > s->images_out)
        s->images_out = ask.images_out;
    ask.discount_bp = terms.discount_bp;
    int rc = price_hold(terms.billed, &ask, nano);
    if (rc != PRICE_DONE)
        return refuse(s, 400, "request_too_large", "price_range",
                      SLICE_LIT("This request could cost more than can be accounted for; lower max_tokens or n."));
    return true;
}

static int64_t fallback_input(const struct assessment *s)
{
    return s->fallback != NULL ? s->fallback_estimate.input_bound : s->estimate.input_bound;
}

static bool holds_find(struct assessment *s, int64_t ceiling, int64_t *nano)
{
    int64_t other = 0;

    if (!target_hold(s, s->primary, s->choice.primary, s->estimate.input_bound, ceiling, nano))
        return false;
    if (s->fallback != NULL && !target_hold(s, s->fallback, s->choice.fallback, fallback_input(s), ceiling, &other))
        return false;
    if (other > *nano)
        *nano = other;
    return true;
}

static struct token_basis learned_apply(const struct assessment *s, const struct route_target *r, struct token_estimate *e)
{
    struct token_basis b = token_basis_of(&s->ask, e);
    token_learned_apply(s->runtime->agent->learner, r->target.provider, r->target.model, &b, e);
    return b;
}

/* The counts of the targets chosen, with what was learned for each. */
static void estimates_finish(struct assessment *s)
{
    s->estimate = *assess_count_of(s, s->primary);
    s->primary_basis = learned_apply(s, s->choice.primary, &s->estimate);
    s->fallback_estimate = (struct token_estimate){ .input = 0 };
    if (s->fallback != NULL) {
        s->fallback_estimate = *assess_count_of(s, s->fallback);
        s->fallback_basis = learned_apply(s, s->choice.fallback, &s->fallback_estimate);
    }
}

bool assess_price(struct assessment *s)
{
    if (s->ask.endpoint == ENDPOINT_PASSTHROUGH) {
        passing_price(s);
        return permission_counted(s);
    }
    estimates_finish(s);
    s->images = images_of(&s->ask);
    s->images_out = 0;
    if (s->ask.count_only) { /* no provider is asked: nothing to pay, no output */
        s->hold_nano = s->ceiling = 0;
        return permission_counted(s);
    }
    ceiling_find(s);
    if (!permission_counted(s) || !holds_find(s, s->ceiling, &s->hold_nano))
        return false;
    assess_route_keep(s);
    return true;
}

/* The hold as a function of the ceiling is convex (the dearest of targets and tiers, each a straight line): the chord from no output to
 * the ceiling is never below it, so what is held for a lower ceiling covers that. */
static void clamp_fill(struct assessment *s, struct budget_clamp *c)
{
    __int128 tokens = (__int128)s->ceiling * s->ask.choices;
    int64_t without = 0;

    *c = (struct budget_clamp){ .ceiling = s->ceiling, .choices = s->ask.choices };
    /* Nothing can be lowered where nothing can be rewritten. */
    if (!*s->runtime->config->haproxy.lua || !has_output(s->ask.endpoint) || (s->ask.features & ASK_AUDIO))
        return;
    if (tokens > 0 && holds_find(s, 0, &without))
        c->pico_per_output = (int64_t)((__int128)(s->hold_nano - without) * 1000 / tokens);
    c->fixed_nano = s->hold_nano - (int64_t)((tokens * c->pico_per_output + 999) / 1000);
    c->fixed_tokens = s->estimate.input_bound > fallback_input(s) ? s->estimate.input_bound : fallback_input(s);
}

/* The alias a limit asks for instead. False: it cannot serve this request, so the one asked for stays. */
static bool reroute(struct assessment *s, const char *name)
{
    const struct route_alias *alias = route_find(&s->runtime->routes, slice_cstr(name));

    return alias != NULL && alias != s->alias && permission_instead(s, alias) && assess_route_start(s, alias->name);
}

enum assess_reserved assess_reserve(struct assessment *s, struct budget *b, int64_t now_us, int64_t mono_us)
{
    int64_t input = s->estimate.input_bound, other = s->fallback != NULL ? fallback_input(s) : 0;
    struct budget_ask ask = {
        .subjects = { .who = &s->who, .alias = s->alias->name, .primary = &s->choice.primary->target,
                      .fallback = s->choice.fallback != NULL ? &s->choice.fallback->target : NULL },
        .downgraded = s->downgraded,
        .hold = { .nano = s->hold_nano, .tokens = (input > other ? input : other) + s->ceiling * s->ask.choices, .requests = 1 },
    };

    if (s->ask.count_only || s->ask.endpoint == ENDPOINT_PASSTHROUGH) {
        ask.hold.tokens = 0;
        ask.downgraded = true; /* there is no cheaper model for it */
    } else {
        clamp_fill(s, &ask.clamp);
    }
    enum budget_verdict v = budget_reserve(b, &ask, now_us, mono_us, &s->hold, &s->budget);
    if (v == BUDGET_DOWNGRADE) {
        /* The answer's texts are in a struct that the next call fills anew. */
        struct slice limit = arena_copy(s->arena, slice_cstr(s->budget.downgrade_by.limit));
        s->downgraded = ask.downgraded = true;
        if (*s->runtime->config->haproxy.lua && reroute(s, s->budget.downgrade_to)) {
            s->notice = arena_printf(s->arena, "model lowered to %.*s: limit %.*s is nearly used up", SLICE_FMT(s->alias->name),
                                     SLICE_FMT(limit));
            return ASSESS_DOWNGRADED;
        }
        v = budget_reserve(b, &ask, now_us, mono_us, &s->hold, &s->budget);
    }
    if (v == BUDGET_CLAMPED) {
        s->ceiling = s->budget.output_ceiling;
        s->hold_nano = s->budget.held.nano;
        s->notice = arena_printf(s->arena, "output lowered to %" PRId64 " tokens: limit %s leaves no more", s->ceiling,
                                 s->budget.clamped_by.limit);
        return ASSESS_RESERVED;
    }
    if (v == BUDGET_ALLOWED && s->ask.endpoint == ENDPOINT_PASSTHROUGH && !passing_payable(s)) {
        budget_release(b, s->hold, mono_us);
        return ASSESS_REFUSED;
    }
    if (v == BUDGET_ALLOWED) {
        if (s->notice.n == 0 && s->budget.warn_percent > 0)
            s->notice = arena_printf(s->arena, "limit %s is used to %d %%", s->budget.warn.limit, s->budget.warn_percent);
        return ASSESS_RESERVED;
    }
    s->no = verdict_budget_refusal(&s->budget, s->arena);
    return ASSESS_REFUSED;
}

int64_t assess_stop(const struct assessment *s)
{
    const struct config_model *m = runtime_model_of(s->runtime, s->alias)->config;

    return s->ask.stream && strcmp(m->overrun, "stop") == 0 && has_output(s->ask.endpoint) ? s->ceiling * s->ask.choices : 0;
}

static bool rewrite_for(struct assessment *s, const struct runtime_target *t, const struct route_target *r, struct slice *edits,
                        int64_t *delta)
{
    int64_t input = t == s->primary ? s->estimate.input : s->fallback_estimate.input, room = assess_output_room(t, r, input);
    struct rewrite_wish wish = {
        .model = r->target.model,
        .output_ceiling = has_output(s->ask.endpoint) ? (room < s->ceiling ? room : s->ceiling) : -1,
        .members = t->drop,
        .member_count = t->drop_count,
        .include_usage = s->ask.stream && (s->ask.endpoint == ENDPOINT_CHAT || s->ask.endpoint == ENDPOINT_COMPLETIONS),
    };
    s->usage_added = wish.include_usage && !s->ask.include_usage;

    if (s->ask.endpoint == ENDPOINT_CHAT) {
        wish.ceiling_key = t->provider->output_key;
    }
    return dialect_rewrite(&s->ask, s->rq.body, &wish, s->arena, edits, delta) == 0;
}

bool assess_rewrite(struct assessment *s)
{
    if (!*s->runtime->config->haproxy.lua || s->ask.endpoint == ENDPOINT_PASSTHROUGH)
        return true;
    if (!rewrite_for(s, s->primary, s->choice.primary, &s->primary_edits, &s->primary_delta))
        return false;
    if (s->again) {
        s->fallback_edits = s->primary_edits;
        s->fallback_delta = s->primary_delta;
        return true;
    }
    return s->fallback == NULL || rewrite_for(s, s->fallback, s->choice.fallback, &s->fallback_edits, &s->fallback_delta);
}

int64_t assess_budget_left(const struct assessment *s)
{
    int64_t left = s->budget.tight[BUDGET_USD].left;

    if (!s->budget.tight_known[BUDGET_USD])
        return -1;
    return left > 0 ? left : 0;
}
