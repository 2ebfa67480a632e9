#include "decide/assess_route.h"

#include "agent.h"
#include "base/clock.h"
#include "base/json_scan.h"
#include "route/affinity.h"
#include "route/breaker.h"

enum { OUTPUT_UNSEEN = 512 /* expected output tokens as long as no answer has been seen */ };

static size_t index_of(const struct assessment *s, const struct runtime_target *t)
{
    return (size_t)(t - runtime_model_of(s->runtime, s->alias)->targets);
}

/* What the first turn of a conversation and all later ones have in common: system text and the first message of the user. */
static uint64_t conversation_key(const struct assessment *s)
{
    const struct ask *ask = &s->ask;
    uint32_t first = 0;
    uint64_t h = route_hash(0, s->who.subject);

    for (size_t i = 0; i < ask->part_count; i++)
        if (ask_part_at(ask, i)->place == IN_ROLE && slice_eq_cstr(ask_part_at(ask, i)->raw, "user")) {
            first = ask_part_at(ask, i)->message;
            break;
        }
    for (size_t i = 0; i < ask->part_count; i++) {
        const struct ask_part *p = ask_part_at(ask, i);
        if (p->place == IN_SYSTEM || (p->message != UINT32_MAX && p->message <= first) || (p->place == IN_PROMPT && i == 0))
            h = route_hash(h, p->raw);
    }
    return h;
}

static uint64_t key_of(const struct assessment *s, const struct route_alias *alias)
{
    if (alias->sticky != ROUTE_STICKY_CONVERSATION)
        return route_hash(route_hash(0, s->who.issuer), s->who.user.n > 0 ? s->who.user : s->who.subject);
    if (s->rq.conversation.n > 0)
        return route_hash(route_hash(1, s->who.subject), s->rq.conversation);
    return conversation_key(s);
}

/* Which of the names that some target refuses the body has, with a value other than null. */
static unsigned members_of(const struct assessment *s, const struct route_alias *alias)
{
    struct json_scan scan;
    struct json_text key;
    struct slice value;
    unsigned bits = 0;

    if (alias->member_count == 0)
        return 0;
    json_scan_begin(&scan, s->rq.body);
    if (!json_scan_enter(&scan))
        return 0;
    while (json_scan_key(&scan, &key) && json_scan_skip(&scan, &value))
        for (size_t i = 0; i < alias->member_count; i++)
            if (!slice_eq_cstr(value, "null") && json_text_is(key, alias->members[i]))
                bits |= 1u << i;
    return bits;
}

static int64_t ceiling_asked(const struct assessment *s)
{
    int64_t most = runtime_model_of(s->runtime, s->alias)->config->max_output;

    if (s->ask.endpoint == ENDPOINT_EMBEDDINGS)
        return 0;
    return s->ask.max_output >= 0 && s->ask.max_output < most ? s->ask.max_output : most;
}

/* The usual length of an answer, over the targets that gave some. */
static int64_t output_expected(const struct assessment *s)
{
    const struct runtime_model *m = runtime_model_of(s->runtime, s->alias);
    int64_t sum = 0, seen = 0, most = ceiling_asked(s);

    for (size_t i = 0; i < s->alias->target_count; i++) {
        int64_t one = breaker_output(m->targets[i].breaker);
        sum += one >= 0 ? one : 0;
        seen += one >= 0;
    }
    int64_t expected = seen > 0 ? sum / seen : OUTPUT_UNSEEN;
    return expected < most ? expected : most;
}

static int64_t cost_expected(const struct assessment *s, size_t i, int64_t input, int64_t output)
{
    struct price_terms terms = assess_terms(s, &runtime_model_of(s->runtime, s->alias)->targets[i], &s->alias->targets[i]);
    struct token_usage u = { .input = input > 0 ? input : 0, .output = output * s->ask.choices };
    int64_t nano;

    return terms.billed != NULL && price_cost(terms.billed, &u, terms.discount_bp, &nano) == PRICE_DONE ? nano : -1;
}

static int64_t first_count(const struct assessment *s)
{
    for (size_t i = 0; i < s->alias->target_count; i++)
        if (s->counted >> i & 1)
            return s->counts[i].input;
    return -1;
}

/* Figures that ordering by cost or latency needs. */
static void facts_order(struct assessment *s)
{
    const struct runtime_model *m = runtime_model_of(s->runtime, s->alias);
    int64_t output = s->alias->order == ROUTE_AS_LISTED || s->alias->order == ROUTE_BY_WEIGHT ? 0 : output_expected(s);

    for (size_t i = 0; i < s->alias->target_count; i++) {
        struct route_fact *f = &s->facts[i];
        if (s->alias->order == ROUTE_BY_COST)
            f->cost_nano = cost_expected(s, i, f->input >= 0 ? f->input : first_count(s), output);
        else if (s->alias->order == ROUTE_BY_LATENCY)
            f->wait_us = breaker_wait_us(m->targets[i].breaker, s->ask.stream, output, s->route_mono_us, &f->stale);
    }
}

static int sticky_index(const struct assessment *s)
{
    const struct runtime_model *m = runtime_model_of(s->runtime, s->alias);
    int mark = s->alias->sticky == ROUTE_STICKY_NONE ? -1 : affinity_get(s->runtime->agent->affinity, s->route_key, s->route_mono_us);

    for (size_t i = 0; mark >= 0 && i < s->alias->target_count; i++)
        if (m->targets[i].mark == mark)
            return (int)i;
    return -1;
}

void assess_route_same(struct assessment *s)
{
    struct slice group = s->choice.primary->target.group;
    bool passing = s->ask.endpoint == ENDPOINT_PASSTHROUGH;

    s->again = s->key_again = false;
    if (s->choice.fallback != NULL || s->ask.count_only)
        return;
    bool spare = credential_spare(s->credentials, group, s->route_mono_us);
    s->key_again = spare ? passing : credential_renewable(s->credentials, group);
    s->again = s->key_again || (!spare && s->runtime->config->retry_after_us > 0);
    if (spare || s->again)
        s->choice.fallback = s->choice.primary; /* never larger */
}

static bool select_once(struct assessment *s)
{
    struct route_query q = {
        .model = s->alias->name, .endpoint = s->ask.endpoint, .features = s->ask.features, .members = s->members, .who = &s->who,
        .input = first_count(s), .output = s->ask.max_output >= 0 ? ceiling_asked(s) : -1, .now_us = s->route_wall_us,
        .request_key = s->request_key, .key = s->route_key, .sticky = sticky_index(s),
    };

    facts_order(s);
    if (!route_select(&s->runtime->routes, &q, s->facts, s->arena, &s->choice, &s->no))
        return false;
    assess_route_same(s);
    s->primary = runtime_target_of(s->runtime, s->alias, s->choice.primary);
    s->fallback = runtime_target_of(s->runtime, s->alias, s->choice.fallback);
    return true;
}

/* A half-open target takes one request a second: who comes too late chooses again without it. */
static bool select_targets(struct assessment *s)
{
    while (select_once(s)) {
        struct route_fact *f = &s->facts[index_of(s, s->primary)];
        if (f->state != ROUTE_PROBE)
            return true;
        f->state = breaker_probe_take(s->primary->breaker, s->route_mono_us) ? ROUTE_USABLE : ROUTE_OPEN;
    }
    return false;
}

static void facts_start(struct assessment *s)
{
    const struct runtime_model *m = runtime_model_of(s->runtime, s->alias);

    for (size_t i = 0; i < s->alias->target_count; i++)
        s->facts[i] = (struct route_fact){
            .state = breaker_route_state(m->targets[i].breaker, s->route_mono_us), .input = -1, .cost_nano = -1, .wait_us = -1,
            .keyless = s->credentials != NULL && !credential_usable(s->credentials, s->alias->targets[i].target.group, s->route_mono_us),
        };
    /* Counting asks nothing of a provider: its health does not matter, and a half-open breaker's probe is not spent on it. */
    for (size_t i = 0; s->ask.count_only && i < s->alias->target_count; i++) {
        s->facts[i].state = ROUTE_USABLE;
        s->facts[i].keyless = false;
    }
    s->counted = 0;
}

bool assess_route_start(struct assessment *s, struct slice name)
{
    const struct route_alias *alias = route_find(&s->runtime->routes, name), *before = s->alias;
    const struct runtime_target *primary = s->primary, *fallback = s->fallback;
    struct route_choice chosen = s->choice;
    unsigned counted = s->counted;
    struct route_choice choice;

    if (alias == NULL) {
        struct route_query q = { .model = name, .endpoint = s->ask.endpoint };
        return route_select(&s->runtime->routes, &q, NULL, s->arena, &choice, &s->no); /* its refusal */
    }
    s->alias = alias;
    s->route_mono_us = clock_mono_us();
    s->route_wall_us = clock_wall_us();
    s->request_key = route_hash(0, s->rq.id);
    s->route_key = key_of(s, alias);
    s->members = members_of(s, alias);
    if (s->credentials == NULL && s->runtime->credentials != NULL) /* a preview has none */
        s->credentials = credential_acquire(s->runtime->credentials);
    facts_start(s);
    if (select_targets(s))
        return true;
    s->alias = before;
    s->counted = counted;
    s->choice = chosen;
    s->primary = primary;
    s->fallback = fallback;
    return false;
}

const struct token_estimate *assess_count_of(const struct assessment *s, const struct runtime_target *t)
{
    return &s->counts[t->counts_as];
}

static bool is_counted(const struct assessment *s, const struct runtime_target *t)
{
    return t == NULL || (s->counted >> t->counts_as & 1);
}

const struct runtime_target *assess_to_count(const struct assessment *s)
{
    const struct runtime_model *m = runtime_model_of(s->runtime, s->alias);

    if (!is_counted(s, s->primary))
        return s->primary;
    if (!is_counted(s, s->fallback))
        return s->fallback;
    for (size_t i = 0; s->alias->order == ROUTE_BY_COST && i < s->alias->target_count; i++)
        if (!is_counted(s, &m->targets[i]))
            return &m->targets[i];
    return NULL;
}

/* Where a window is not far away, what was learned about this target's counts decides whether the prompt fits. */
static int64_t input_learned(const struct assessment *s, const struct route_target *r, const struct token_estimate *count)
{
    struct token_estimate e = *count;

    if (r->context_window > 0 && count->input > r->context_window / 4) {
        struct token_basis b = token_basis_of(&s->ask, &e);
        token_learned_apply(s->runtime->agent->learner, r->target.provider, r->target.model, &b, &e);
    }
    return e.input;
}

bool assess_counted(struct assessment *s, const struct runtime_target *t, const struct token_estimate *count)
{
    const struct runtime_model *m = runtime_model_of(s->runtime, s->alias);

    s->counts[t->counts_as] = *count;
    s->counted |= 1u << t->counts_as;
    for (size_t i = 0; i < s->alias->target_count; i++)
        if (m->targets[i].counts_as == t->counts_as)
            s->facts[i].input = input_learned(s, &s->alias->targets[i], count);
    return select_targets(s);
}

void assess_route_keep(struct assessment *s)
{
    if (s->alias->sticky != ROUTE_STICKY_NONE)
        affinity_put(s->runtime->agent->affinity, s->route_key, s->primary->mark, s->route_mono_us);
}

uint64_t assess_route_longer(const struct assessment *s)
{
    return s->choice.fallback_larger && s->alias->sticky == ROUTE_STICKY_CONVERSATION ? s->route_key : 0;
}

int64_t assess_output_room(const struct runtime_target *t, const struct route_target *r, int64_t input)
{
    int64_t room = INT64_MAX;

    if (t->price != NULL && t->price->output_limit > 0)
        room = t->price->output_limit;
    if (r->context_window > 0 && r->context_window - input < room)
        room = r->context_window > input ? r->context_window - input : 1;
    return room;
}
