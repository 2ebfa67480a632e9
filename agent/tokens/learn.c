#include "tokens/learn.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_EDGE_PPM = 125000, CLASS_MAX = 65536, PPM = 1000000 };

struct class {
    uint32_t bins[LEARN_BINS];
    int64_t observations, agreed, updated_us;
    int64_t p01_ppm, median_ppm, p99_ppm, p999_ppm, max_ppm; /* kept up to date: readers only look */
    bool changed;
};

struct model {
    char *name;               /* provider and model, one after the other */
    size_t provider_n, name_n;
    struct class *classes[LEARN_CLASSES]; /* NULL: nothing seen yet */
};

struct token_learner {
    pthread_mutex_t lock;
    int64_t edges[LEARN_BINS]; /* bins[i] holds ratios in (edges[i - 1], edges[i]] */
    struct model models[LEARN_MODELS];
    size_t count;
};

const char *learn_shape_name(enum learn_shape shape)
{
    static const char *const names[LEARN_SHAPES] = { "plain", "tools", "tool turns", "other", "exact" };
    return names[shape];
}

int64_t learn_size_from(unsigned size)
{
    static const int64_t from[LEARN_SIZES] = { 0, 64, 512, 4096 };
    return from[size];
}

static unsigned size_of(int64_t counted)
{
    unsigned size = LEARN_SIZES - 1;
    while (counted < learn_size_from(size))
        size--;
    return size;
}

/* A request with content that is not text has bounds of its own kind: nothing is learned from it, and nothing applied to it. */
struct token_basis token_basis_of(const struct ask *ask, const struct token_estimate *built_in)
{
    struct token_basis b = { .counted = built_in->input, .shape = LEARN_PLAIN };

    for (size_t i = 0; i < ask->part_count; i++) {
        const struct ask_part *p = ask_part_at(ask, i);
        if ((p->kind != PART_TEXT && p->kind != PART_JSON && p->kind != PART_TOKENS) || p->place == IN_PREDICTION)
            return (struct token_basis){ .counted = 0 };
        if (p->place == IN_TOOL_CALL || p->place == IN_TOOL_RESULT)
            b.shape = LEARN_TURNS;
        else if (p->place == IN_TOOLS && b.shape != LEARN_TURNS)
            b.shape = LEARN_TOOLS;
        else if ((p->place == IN_SCHEMA || p->place == IN_OTHER) && b.shape == LEARN_PLAIN)
            b.shape = LEARN_OTHER;
    }
    if (ask->had_invalid_text || built_in->input <= 0)
        return (struct token_basis){ .counted = 0 };
    if (built_in->exactness != ESTIMATED_TOKENS)
        b.shape = LEARN_EXACT;
    b.size = (uint8_t)size_of(b.counted);
    return b;
}

struct token_learner *token_learner_new(void)
{
    struct token_learner *l = calloc(1, sizeof *l);
    int64_t edge = FIRST_EDGE_PPM;

    if (l == NULL)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    for (size_t i = 0; i < LEARN_BINS; i++) {
        l->edges[i] = edge;
        edge += (edge + 49) / 50;
    }
    return l;
}

void token_learner_free(struct token_learner *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->count; i++) {
        for (size_t k = 0; k < LEARN_CLASSES; k++)
            free(l->models[i].classes[k]);
        free(l->models[i].name);
    }
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct model *model_find(struct token_learner *l, struct slice provider, struct slice model)
{
    for (size_t i = 0; i < l->count; i++) {
        struct model *m = &l->models[i];
        if (m->provider_n == provider.n && m->name_n == provider.n + model.n && (provider.n == 0 || memcmp(m->name, provider.p, provider.n) == 0) &&
            (model.n == 0 || memcmp(m->name + provider.n, model.p, model.n) == 0))
            return m;
    }
    return NULL;
}

/* NULL: no room. */
static struct class *class_make(struct token_learner *l, struct slice provider, struct slice model, unsigned shape, unsigned size)
{
    struct model *m = model_find(l, provider, model);
    unsigned k = shape * LEARN_SIZES + size;

    if (m == NULL) {
        char *name = l->count < LEARN_MODELS ? malloc(provider.n + model.n + 1) : NULL;
        if (name == NULL)
            return NULL;
        if (provider.n > 0)
            memcpy(name, provider.p, provider.n);
        if (model.n > 0)
            memcpy(name + provider.n, model.p, model.n);
        m = &l->models[l->count++];
        *m = (struct model){ .name = name, .provider_n = provider.n, .name_n = provider.n + model.n };
    }
    if (m->classes[k] == NULL)
        m->classes[k] = calloc(1, sizeof *m->classes[k]);
    return m->classes[k];
}

static size_t bin_of(const struct token_learner *l, int64_t ppm)
{
    size_t low = 0, high = LEARN_BINS - 1;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ppm <= l->edges[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The bin of the observation of rank ceil(n * ppm / 10^6), counted from 1 upwards. */
static size_t quantile(const struct class *c, int64_t ppm)
{
    int64_t rank = (c->observations * ppm + PPM - 1) / PPM, seen = 0;

    for (size_t i = 0; i < LEARN_BINS; i++) {
        seen += c->bins[i];
        if (seen >= rank && seen > 0)
            return i;
    }
    return LEARN_BINS - 1;
}

/* The middle of a bin, for the estimate; its upper edge, for a bound. */
static int64_t middle_ppm(const struct token_learner *l, size_t bin)
{
    return bin == 0 ? l->edges[0] : (l->edges[bin - 1] + l->edges[bin]) / 2;
}

static void class_sum_up(const struct token_learner *l, struct class *c)
{
    size_t top = LEARN_BINS - 1;

    while (top > 0 && c->bins[top] == 0)
        top--;
    c->p01_ppm = middle_ppm(l, quantile(c, 10000));
    c->median_ppm = middle_ppm(l, quantile(c, 500000));
    c->p99_ppm = middle_ppm(l, quantile(c, 990000));
    c->p999_ppm = l->edges[quantile(c, 999000)];
    c->max_ppm = l->edges[top];
}

static void class_halve(struct class *c)
{
    c->observations = 0;
    for (size_t i = 0; i < LEARN_BINS; i++) {
        c->bins[i] /= 2;
        c->observations += c->bins[i];
    }
    c->agreed /= 2;
    if (c->agreed > c->observations)
        c->agreed = c->observations;
}

void token_learn(struct token_learner *l, struct slice provider, struct slice model, const struct token_basis *basis, int64_t reported,
                 int64_t now_us)
{
    if (basis->counted <= 0 || reported <= 0 || reported > INT64_C(1000000000000))
        return;
    int64_t ppm = (int64_t)(((__int128)reported * PPM + basis->counted - 1) / basis->counted);
    pthread_mutex_lock(&l->lock);
    struct class *c = class_make(l, provider, model, basis->shape, basis->size);
    if (c != NULL) {
        c->bins[bin_of(l, ppm)]++;
        c->observations++;
        c->agreed += reported == basis->counted;
        c->updated_us = now_us;
        c->changed = true;
        if (c->observations >= CLASS_MAX)
            class_halve(c);
        class_sum_up(l, c);
    }
    pthread_mutex_unlock(&l->lock);
}

static int64_t with_margin(int64_t ppm)
{
    return ppm + (ppm * LEARN_MARGIN_PPM + PPM - 1) / PPM;
}

static int64_t scaled(int64_t tokens, int64_t ppm)
{
    return (int64_t)(((__int128)tokens * ppm + PPM - 1) / PPM);
}

/* What 1,000 observations allow, or what the 99.9 % quantile demands. */
static int64_t bound_of(const struct class *c, int64_t counted, int64_t built_in)
{
    int64_t demanded = scaled(counted, with_margin(c->p999_ppm)) + LEARN_MARGIN_TOKENS;
    int64_t allowed = scaled(counted, with_margin(c->max_ppm)) + LEARN_MARGIN_TOKENS;

    if (c->observations >= LEARN_RAISE_MIN && demanded > built_in)
        return demanded;
    return c->observations >= LEARN_LOWER_MIN && allowed < built_in ? allowed : built_in;
}

void token_learned_apply(struct token_learner *l, struct slice provider, struct slice model, const struct token_basis *basis,
                         struct token_estimate *estimate)
{
    if (basis->counted <= 0 || basis->shape == LEARN_EXACT)
        return;
    pthread_mutex_lock(&l->lock);
    const struct model *m = model_find(l, provider, model);
    const struct class *c = m != NULL ? m->classes[basis->shape * LEARN_SIZES + basis->size] : NULL;
    if (c != NULL && c->observations >= LEARN_ESTIMATE_MIN)
        estimate->input = scaled(basis->counted, c->median_ppm);
    if (c != NULL)
        estimate->input_bound = bound_of(c, basis->counted, estimate->input_bound);
    pthread_mutex_unlock(&l->lock);
    if (estimate->input_bound < estimate->input)
        estimate->input_bound = estimate->input;
}

/* ---- keeping and showing ----------------------------------------------------------------------------------------- */

bool token_learner_load(struct token_learner *l, const struct token_class *from)
{
    struct class *c;

    if (from->shape >= LEARN_SHAPES || from->size >= LEARN_SIZES)
        return false;
    pthread_mutex_lock(&l->lock);
    c = class_make(l, from->provider, from->model, from->shape, from->size);
    if (c != NULL) {
        *c = (struct class){ .updated_us = from->updated_us };
        memcpy(c->bins, from->bins, sizeof c->bins);
        for (size_t i = 0; i < LEARN_BINS; i++)
            c->observations += c->bins[i];
        c->agreed = from->agreed > c->observations ? c->observations : from->agreed < 0 ? 0 : from->agreed;
        while (c->observations >= CLASS_MAX)
            class_halve(c);
        class_sum_up(l, c);
    }
    pthread_mutex_unlock(&l->lock);
    return c != NULL;
}

static void copy_out(const struct model *m, unsigned k, struct token_class *out)
{
    const struct class *c = m->classes[k];

    *out = (struct token_class){
        .provider = slice_make(m->name, m->provider_n), .model = slice_make(m->name + m->provider_n, m->name_n - m->provider_n),
        .shape = k / LEARN_SIZES, .size = k % LEARN_SIZES, .observations = c->observations, .agreed = c->agreed,
        .p01_ppm = c->p01_ppm, .median_ppm = c->median_ppm, .p99_ppm = c->p99_ppm, .max_ppm = c->max_ppm, .updated_us = c->updated_us,
    };
    if (out->shape != LEARN_EXACT && c->observations >= LEARN_LOWER_MIN)
        out->lower_ppm = with_margin(c->max_ppm);
    if (out->shape != LEARN_EXACT && c->observations >= LEARN_RAISE_MIN)
        out->raise_ppm = with_margin(c->p999_ppm);
    memcpy(out->bins, c->bins, sizeof out->bins);
}

bool token_learner_next(struct token_learner *l, size_t *cursor, bool changed_only, struct token_class *out)
{
    bool found = false;

    pthread_mutex_lock(&l->lock);
    for (; !found && *cursor < l->count * LEARN_CLASSES; ++*cursor) {
        struct model *m = &l->models[*cursor / LEARN_CLASSES];
        struct class *c = m->classes[*cursor % LEARN_CLASSES];
        found = c != NULL && c->observations > 0 && (c->changed || !changed_only);
        if (!found)
            continue;
        copy_out(m, (unsigned)(*cursor % LEARN_CLASSES), out);
        if (changed_only)
            c->changed = false;
    }
    pthread_mutex_unlock(&l->lock);
    return found;
}

void token_learner_again(struct token_learner *l, struct slice provider, struct slice model, unsigned shape, unsigned size)
{
    pthread_mutex_lock(&l->lock);
    struct model *m = model_find(l, provider, model);
    struct class *c = m != NULL && shape < LEARN_SHAPES && size < LEARN_SIZES ? m->classes[shape * LEARN_SIZES + size] : NULL;
    if (c != NULL)
        c->changed = true;
    pthread_mutex_unlock(&l->lock);
}

size_t token_bins_print(const uint32_t bins[LEARN_BINS], char *out, size_t size)
{
    size_t n = 0;

    if (size > 0)
        out[0] = '\0';
    for (unsigned i = 0; i < LEARN_BINS; i++) {
        if (bins[i] == 0)
            continue;
        int added = snprintf(out + n, size - n, "%s%u:%u", n > 0 ? " " : "", i, bins[i]);
        if (added < 0 || (size_t)added >= size - n) {
            out[n] = '\0';
            break;
        }
        n += (size_t)added;
    }
    return n;
}

/* False when there are no digits or the number is above `most`. */
static bool number_read(struct slice text, size_t *at, uint32_t most, uint32_t *out)
{
    uint64_t v = 0;
    size_t begin = *at;

    for (; *at < text.n && text.p[*at] >= '0' && text.p[*at] <= '9' && v <= most; ++*at)
        v = v * 10 + (uint64_t)(text.p[*at] - '0');
    *out = (uint32_t)v;
    return *at > begin && v <= most;
}

bool token_bins_read(struct slice text, uint32_t bins[LEARN_BINS])
{
    size_t at = 0;
    uint32_t bin, n, next = 0;

    memset(bins, 0, LEARN_BINS * sizeof *bins);
    while (at < text.n) {
        if (!number_read(text, &at, LEARN_BINS - 1, &bin) || bin < next || at >= text.n || text.p[at++] != ':' ||
            !number_read(text, &at, CLASS_MAX * 2, &n) || n == 0)
            return false;
        bins[bin] = n;
        next = bin + 1;
        if (at < text.n && (text.p[at++] != ' ' || at == text.n))
            return false;
    }
    return true;
}
