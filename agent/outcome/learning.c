#include "outcome/learning.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "decide/inflight.h"
#include "ledger/ledger.h"
#include "ledger/read.h"
#include "tokens/learn.h"

#include <stdio.h>
#include <stdlib.h>

/* A class on its way to the ledger. */
struct keeping {
    struct ledger_op op;
    struct token_learner *learner;
    char histogram[LEARN_TEXT];
};

struct loading {
    struct token_learner *learner;
    struct learning_found *found;
};

static bool on_learned(void *user, const struct ledger_learned *row)
{
    struct loading *l = user;
    struct token_class c = { .provider = row->provider, .model = row->model, .shape = row->shape, .size = row->size,
                             .agreed = row->agreed, .updated_us = row->updated_us };

    if (token_bins_read(row->histogram, c.bins) && token_learner_load(l->learner, &c))
        l->found->classes++;
    else
        l->found->refused++;
    return true;
}

bool learning_read(struct token_learner *learner, const char *ledger_file, struct learning_found *found, char *why, size_t why_size)
{
    struct loading l = { .learner = learner, .found = found };
    struct ledger_reader *r = ledger_reader_open(ledger_file, why, why_size);

    *found = (struct learning_found){ .classes = 0 };
    if (r == NULL)
        return false;
    int rc = ledger_read_learned(r, on_learned, &l);
    if (rc != 0)
        snprintf(why, why_size, "cannot read what was learned about tokens: %s", ledger_reader_error(r));
    ledger_reader_close(r);
    return rc == 0;
}

bool learning_open(struct agent *a, const char *ledger_file, char *why, size_t why_size)
{
    struct learning_found found;

    a->learner = token_learner_new();
    snprintf(why, why_size, "out of memory");
    if (a->learner == NULL || !learning_read(a->learner, ledger_file, &found, why, why_size))
        return false;
    if (found.classes + found.refused > 0)
        LOG(LOG_LEVEL_INFO, "tokens_learned_restored", LOG_INT("classes", found.classes), LOG_INT("refused", found.refused));
    return true;
}

void learning_observe(struct agent *a, const struct inflight *f, bool fallback, const struct token_usage *u)
{
    const struct target *served = fallback && f->has_fallback ? &f->fallback : &f->primary;
    const struct token_basis *basis = fallback && f->has_fallback ? &f->fallback_basis : &f->primary_basis;

    token_learn(a->learner, served->provider, served->model, basis,
                token_usage_input(u), clock_wall_us());
}

/* On the ledger's writer thread. */
static void on_kept(struct ledger_op *op, enum ledger_result result)
{
    struct keeping *k = op->user;
    const struct ledger_learned *row = &op->learned;

    if (result == LEDGER_FAILED)
        token_learner_again(k->learner, row->provider, row->model, row->shape, row->size);
    free(k);
}

static struct keeping *keeping_new(struct token_learner *learner, const struct token_class *c)
{
    struct keeping *k = malloc(sizeof *k);

    if (k == NULL)
        return NULL;
    k->learner = learner;
    k->op = (struct ledger_op){ .kind = LEDGER_LEARNED, .done = on_kept, .user = k };
    k->op.learned = (struct ledger_learned){
        .provider = c->provider, .model = c->model, .shape = c->shape, .size = c->size, .observations = c->observations,
        .agreed = c->agreed, .p01_ppm = c->p01_ppm, .median_ppm = c->median_ppm, .p99_ppm = c->p99_ppm, .max_ppm = c->max_ppm,
        .histogram = slice_make(k->histogram, token_bins_print(c->bins, k->histogram, sizeof k->histogram)), .updated_us = c->updated_us,
    };
    return k;
}

void learning_keep(struct agent *a)
{
    struct token_class c;
    size_t cursor = 0;

    while (token_learner_next(a->learner, &cursor, true, &c)) {
        struct keeping *k = keeping_new(a->learner, &c);
        if (k == NULL) {
            token_learner_again(a->learner, c.provider, c.model, c.shape, c.size);
            return;
        }
        ledger_submit(a->ledger, &k->op);
    }
}
