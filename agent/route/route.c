#include "route/route.h"

#include "route/route_refuse.h"

#include <math.h>

/* From best to worst. Fallbacks are taken up to RANK_OPEN: a second try at a doubtful target is better than a sure error. */
enum rank { RANK_USABLE, RANK_TIGHT, RANK_OPEN, RANK_ASIDE, RANK_DRAINED };

struct candidate {
    const struct route_target *target;
    enum rank rank;
    int place;    /* within a rank: 0 the conversation's own, 1 canary or exploration, 2 by score */
    double score; /* the lower, the better */
};

const struct route_alias *route_find(const struct route_table *table, struct slice model)
{
    for (size_t i = 0; i < table->alias_count; i++)
        if (slice_eq(table->aliases[i].name, model))
            return &table->aliases[i];
    return NULL;
}

/* Uniform in (0, 1], from the key and the target's own name: independent of the other targets and of the order they stand in. */
static double draw(uint64_t key, const struct route_target *t)
{
    uint64_t h = route_hash(route_hash(key, t->target.group), t->target.model);
    return (double)((h >> 11) + 1) * 0x1p-53;
}

static bool canary_hit(const struct route_alias *alias, const struct route_target *t, const struct route_query *q)
{
    uint64_t h = route_hash(route_hash(q->key, alias->name), t->target.model);
    return h % 10000 < t->canary_share;
}

/* Output the answer may have, beside the prompt; where nothing was said at least one token. */
static bool tight(const struct route_target *t, const struct route_query *q, int64_t input)
{
    return t->context_window > 0 && input >= 0 && q->output > t->context_window - input;
}

static enum rank rank_of(const struct route_target *t, const struct route_query *q, const struct route_fact *f, bool aside)
{
    enum route_state state = f != NULL ? f->state : ROUTE_USABLE;

    if (state == ROUTE_DRAINED)
        return RANK_DRAINED;
    if (aside)
        return RANK_ASIDE;
    if (state == ROUTE_OPEN)
        return RANK_OPEN;
    return tight(t, q, route_input(q, f)) ? RANK_TIGHT : RANK_USABLE;
}

static double unknown_last(int64_t figure)
{
    return figure >= 0 ? (double)figure : INFINITY;
}

static double score_of(const struct route_alias *alias, const struct route_target *t, const struct route_query *q,
                       const struct route_fact *f)
{
    switch (alias->order) {
    case ROUTE_BY_WEIGHT:
        return t->weight == 0 ? INFINITY
                              : -log(draw(alias->sticky != ROUTE_STICKY_NONE ? q->key : q->request_key, t)) / (double)t->weight;
    case ROUTE_BY_COST:
        return f != NULL ? unknown_last(f->cost_nano) : 0;
    case ROUTE_BY_LATENCY:
        return f != NULL ? unknown_last(f->wait_us) : 0;
    default:
        return 0;
    }
}

static struct candidate candidate_of(const struct route_alias *alias, size_t i, const struct route_query *q, const struct route_fact *f)
{
    const struct route_target *t = &alias->targets[i];
    bool hit = t->canary && canary_hit(alias, t, q);
    bool explored = alias->order == ROUTE_BY_LATENCY && f != NULL && (f->wait_us < 0 || f->stale) && q->request_key % ROUTE_EXPLORE == 0;

    return (struct candidate){
        .target = t,
        .rank = rank_of(t, q, f, t->canary && !hit),
        .place = q->sticky == (int)i ? 0 : hit || explored ? 1 : 2,
        .score = score_of(alias, t, q, f),
    };
}

static bool better(const struct candidate *a, const struct candidate *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank;
    if (a->place != b->place)
        return a->place < b->place;
    return a->score < b->score; /* equal: the one listed first stays */
}

static bool larger(const struct route_target *t, const struct route_target *than)
{
    return route_prompt_most(than) > 0 && route_prompt_most(t) > route_prompt_most(than);
}

/* The last quarter of what it takes: there, a count that is not exact may be wrong about whether it fits. */
static bool nearly_full(const struct route_target *t, int64_t input)
{
    int64_t most = route_prompt_most(t);
    return most > 0 && input > most - most / 4;
}

/* Those that can serve the request, the best of all and the best of the others. */
struct ranking {
    struct candidate all[ROUTE_TARGETS_MAX];
    size_t count;
    const struct candidate *first, *second;
};

/* The best but `first`; with `only_larger` among those that take longer prompts. */
static const struct candidate *best_but(const struct ranking *r, const struct candidate *first, bool only_larger)
{
    const struct candidate *best = NULL;

    for (size_t i = 0; i < r->count; i++) {
        const struct candidate *c = &r->all[i];
        if (c != first && (!only_larger || larger(c->target, first->target)) && (best == NULL || better(c, best)))
            best = c;
    }
    return best;
}

static void rank_all(struct ranking *r, const struct route_alias *alias, const struct route_query *q, const struct route_fact *facts)
{
    r->first = best_but(r, NULL, false);
    r->second = best_but(r, r->first, false);
    if (r->second == NULL || larger(r->second->target, r->first->target))
        return;
    size_t at = (size_t)(r->first->target - alias->targets);
    if (!nearly_full(r->first->target, route_input(q, facts != NULL ? &facts[at] : NULL)))
        return;
    const struct candidate *longer = best_but(r, r->first, true);
    if (longer != NULL && longer->rank <= r->second->rank)
        r->second = longer;
}

bool route_select(const struct route_table *table, const struct route_query *q, const struct route_fact *facts, struct arena *arena,
                  struct route_choice *out, struct refusal *refusal)
{
    const struct route_alias *alias = route_find(table, q->model);
    struct ranking r = { .count = 0 };

    if (alias == NULL) {
        route_refuse_unknown(q->model, arena, refusal);
        return false;
    }
    for (size_t i = 0; i < alias->target_count; i++) {
        const struct route_fact *f = facts != NULL ? &facts[i] : NULL;
        if (route_obstacle(table, &alias->targets[i], q, f) == OBSTACLE_NONE)
            r.all[r.count++] = candidate_of(alias, i, q, f);
    }
    if (r.count == 0) {
        route_refuse_all(table, alias, q, facts, arena, refusal);
        return false;
    }
    rank_all(&r, alias, q, facts);
    *out = (struct route_choice){ .alias = alias, .primary = r.first->target };
    if (r.second != NULL && r.second->rank <= RANK_OPEN) {
        out->fallback = r.second->target;
        out->fallback_larger = larger(out->fallback, out->primary);
    }
    return true;
}
