#include "budget/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- values and matching ------------------------------------------------------------------------------------------------ */

void values_fill(struct values *v, const struct budget_subjects *s)
{
    const struct identity *who = s->who;
    memset(v, 0, sizeof *v);
    if (who) {
        v->v[LEVEL_ORGANIZATION] = who->organization;
        v->v[LEVEL_TEAM] = who->team;
        v->v[LEVEL_USER] = who->user;
        v->v[LEVEL_APPLICATION] = who->application;
        v->v[LEVEL_COST_CENTER] = who->cost_center;
        v->v[LEVEL_KEY] = who->key_id;
        v->v[LEVEL_KEY_BUDGET] = who->key_budget;
    }
    v->v[LEVEL_ALIAS] = s->alias;
    if (s->primary) {
        v->v[LEVEL_MODEL] = s->primary->model;
        v->v[LEVEL_PROVIDER] = s->primary->provider;
    }
    if (s->fallback) {
        v->v[LEVEL_MODEL + 2] = s->fallback->model;
        v->v[LEVEL_PROVIDER + 2] = s->fallback->provider;
    }
    v->legs = s->fallback ? 2 : 1;
}

static bool pattern_matches(const struct pattern *p, struct slice v)
{
    return (p->prefix ? v.n >= p->n : v.n == p->n) && (p->n == 0 || memcmp(p->p, v.p, p->n) == 0);
}

bool limit_matches(const struct limit *l, const struct values *v, int leg)
{
    for (unsigned i = 0; i < l->scope_count; i++) {
        const struct scope *s = &l->scopes[i];
        struct slice value = v->v[values_index(s->level, leg)];
        bool found = s->any && (s->level != LEVEL_KEY || value.n > 0); /* people without a key have no account for one */
        for (unsigned j = 0; !found && j < s->count; j++)
            found = value.n > 0 && pattern_matches(&s->patterns[j], value);
        if (!found)
            return false;
    }
    return true;
}

/* Eight bytes a step; seeded, so that nobody can choose names that collide. */
static uint64_t hash_bytes(uint64_t seed, struct slice s)
{
    uint64_t h = seed ^ (s.n * UINT64_C(0x9e3779b97f4a7c15)), w;
    const char *p = s.p;
    size_t n = s.n;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    w = 0;
    if (n)
        memcpy(&w, p, n);
    h = (h ^ w) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 29;
}

static struct slice scope_value(const struct scope *s, const struct values *v, int leg)
{
    return s->shared ? SLICE_NONE : v->v[values_index(s->level, leg)];
}

static uint64_t hash_of(const struct budget *b, const struct limit *l, struct values *v, int leg)
{
    uint64_t h = l->seed;
    for (unsigned i = 0; i < l->scope_count; i++) {
        if (l->scopes[i].shared)
            continue;
        int at = values_index(l->scopes[i].level, leg);
        if (!v->hash[at])
            v->hash[at] = hash_bytes(b->seed, v->v[at]) | 1;
        h = (h ^ v->hash[at]) * UINT64_C(0x9fb21c651e98df25);
        h ^= h >> 31;
    }
    return h;
}

static bool key_is(const struct account *a, const struct values *v, int leg)
{
    const char *p = a->key;
    for (unsigned i = 0; i < a->limit->scope_count; i++) {
        struct slice s = scope_value(&a->limit->scopes[i], v, leg);
        uint32_t n;
        memcpy(&n, p, sizeof n);
        p += sizeof n;
        if (n != s.n || (n && memcmp(p, s.p, n) != 0))
            return false;
        p += n;
    }
    return true;
}

/* ---- the table: linear hashing (one chain is split for each account added) ------------------------------------------------ */

static size_t chain_of(const struct budget *b, uint64_t hash)
{
    size_t i = hash & b->chain_mask;
    return i < b->chain_count ? i : i & (b->chain_mask >> 1);
}

static void table_grow(struct budget *b)
{
    if (b->chain_count == b->chain_capacity) {
        size_t capacity = b->chain_capacity ? b->chain_capacity * 2 : 64;
        struct account **chains = realloc(b->chains, capacity * sizeof *chains);
        if (!chains)
            return; /* longer chains, nothing worse */
        b->chains = chains;
        b->chain_capacity = capacity;
    }
    size_t fresh = b->chain_count++;
    b->chains[fresh] = NULL;
    if (fresh > b->chain_mask)
        b->chain_mask = b->chain_mask * 2 + 1;
    if (fresh == 0)
        return;
    struct account **from = &b->chains[fresh & (b->chain_mask >> 1)];
    while (*from) {
        struct account *a = *from;
        if (chain_of(b, a->hash) == fresh) {
            *from = a->next;
            a->next = b->chains[fresh];
            b->chains[fresh] = a;
        } else {
            from = &a->next;
        }
    }
}

static struct account *lookup(struct budget *b, struct limit *l, const struct values *v, int leg, uint64_t hash)
{
    if (b->chain_count == 0)
        return NULL;
    for (struct account *a = b->chains[chain_of(b, hash)]; a; a = a->next)
        if (a->hash == hash && a->limit == l && key_is(a, v, leg))
            return a;
    return NULL;
}

struct account *account_find(struct budget *b, struct limit *l, struct values *v, int leg)
{
    struct account *a = lookup(b, l, v, leg, hash_of(b, l, v, leg));
    if (a)
        account_roll(b, a);
    return a;
}

static void account_blank(struct budget *b, struct limit *l, struct account *a)
{
    a->limit = l;
    a->previous_start = INT64_MIN;
    a->level = l->amount;
    a->mono = b->mono;
    a->start = l->kind == KIND_CALENDAR || l->kind == KIND_ROLLING ? INT64_MIN : 0;
    for (uint32_t i = 0; a->ring && i < l->ring_len; i++)
        a->ring[i] = (struct slot){ .start = INT64_MIN };
    account_roll(b, a);
}

static struct account *account_new(struct budget *b, struct limit *l, const struct values *v, int leg, uint64_t hash)
{
    size_t key_len = 0;
    for (unsigned i = 0; i < l->scope_count; i++)
        key_len += sizeof(uint32_t) + scope_value(&l->scopes[i], v, leg).n;
    if (key_len > UINT32_MAX)
        return NULL;
    struct account *a = calloc(1, sizeof *a + key_len);
    struct slot *ring = l->ring_len ? calloc(l->ring_len, sizeof *ring) : NULL;
    if (!a || (l->ring_len && !ring)) {
        free(a);
        free(ring);
        return NULL;
    }
    a->key_len = (uint32_t)key_len;
    a->hash = hash;
    a->ring = ring;
    char *p = a->key;
    for (unsigned i = 0; i < l->scope_count; i++) {
        struct slice s = scope_value(&l->scopes[i], v, leg);
        uint32_t n = (uint32_t)s.n;
        memcpy(p, &n, sizeof n);
        p += sizeof n;
        if (n)
            memcpy(p, s.p, n);
        p += n;
    }
    account_blank(b, l, a);
    return a;
}

struct account *account_get(struct budget *b, struct limit *l, struct values *v, int leg)
{
    uint64_t hash = hash_of(b, l, v, leg);
    struct account *a = lookup(b, l, v, leg, hash);
    if (a) {
        account_roll(b, a);
        return a;
    }
    if (b->stats.accounts >= b->max_accounts) {
        account_sweep(b, 256);
        if (b->stats.accounts >= b->max_accounts)
            return NULL;
    }
    if (b->stats.accounts >= b->chain_count)
        table_grow(b);
    a = b->chain_count ? account_new(b, l, v, leg, hash) : NULL;
    if (!a)
        return NULL;
    struct account **chain = &b->chains[chain_of(b, hash)];
    a->next = *chain;
    *chain = a;
    l->accounts++;
    b->stats.accounts++;
    return a;
}

static void account_free(struct budget *b, struct account *a)
{
    a->limit->accounts--;
    b->stats.accounts--;
    free(a->ring);
    free(a);
}

/* Nothing would be forgotten with it. */
static bool idle(const struct budget *b, const struct account *a)
{
    if (a->holds > 0)
        return false;
    if (a->limit->retired)
        return true;
    switch (a->limit->kind) {
    case KIND_CALENDAR:
        return b->wall >= a->end || (a->committed == 0 && a->held == 0);
    case KIND_BUCKET:
        return a->level >= a->limit->amount;
    default:
        return a->committed == 0 && a->held == 0;
    }
}

void account_sweep(struct budget *b, size_t buckets)
{
    if (b->rebuilding)
        return;
    for (size_t i = 0; i < buckets && i < b->chain_count; i++) {
        if (b->sweep_at >= b->chain_count)
            b->sweep_at = 0;
        struct account **at = &b->chains[b->sweep_at++];
        while (*at) {
            struct account *a = *at;
            if (a->limit->kind == KIND_BUCKET || a->limit->kind == KIND_ROLLING)
                account_roll(b, a);
            if (idle(b, a)) {
                *at = a->next;
                account_free(b, a);
                b->stats.evicted++;
            } else {
                budget_notice_check(b, a);
                at = &a->next;
            }
        }
    }
}

void accounts_free(struct budget *b)
{
    for (size_t i = 0; i < b->chain_count; i++) {
        while (b->chains[i]) {
            struct account *a = b->chains[i];
            b->chains[i] = a->next;
            account_free(b, a);
        }
    }
    free(b->chains);
}

void account_text(const struct account *a, char *buf, size_t size)
{
    const char *p = a->key;
    size_t used = 0;
    buf[0] = '\0';
    for (unsigned i = 0; i < a->limit->scope_count && used < size; i++) {
        const struct scope *s = &a->limit->scopes[i];
        uint32_t n;
        memcpy(&n, p, sizeof n);
        p += sizeof n;
        int w;
        if (s->level == LEVEL_GLOBAL)
            w = snprintf(buf + used, size - used, "%sglobal", i ? " " : "");
        else if (s->shared)
            w = snprintf(buf + used, size - used, "%s%s=*", i ? " " : "", budget_level_name(s->level));
        else
            w = snprintf(buf + used, size - used, "%s%s=%.*s", i ? " " : "", budget_level_name(s->level), (int)n, p);
        p += n;
        used += w > 0 ? (size_t)w : 0;
    }
}
