/* What providers' own figures teach about our counts.
 *
 * Each settled request whose provider reported its input tokens is one observation: reported / counted, where `counted` is the
 * estimate by the built-in rules (token_rules_for_model). Observations are kept per provider and model, apart by what the request
 * held (shape) and by its size, because hidden prompts and renderings weigh more in small requests: the size takes the place of an
 * offset. For each of these classes there is a fixed histogram of ratios, 2 % a step. From it:
 *   the estimate  the median, once a class has 32 observations;
 *   the bound     LOWER than the built-in one only when 1,000 observations stand behind it, and never below the highest ratio among
 *                 them, 5 % and 2 tokens on top. (The chance that the next of n + 1 exchangeable observations is the highest is
 *                 1 / (n + 1): below 0.1 % without the margin.) HIGHER than the built-in one as soon as 8 observations
 *                 have a 99.9 % quantile, 5 % and 2 tokens on top, above it.
 * Counts that are exact or documented are never changed; how often they agreed with the provider is kept all the same.
 *
 * Memory is bounded: at most LEARN_MODELS models; what comes after them is not learned. At 65,536 observations a class is halved, so
 * that a provider's change shows. All functions may be called from any thread; none but token_learner_new can fail. */
#ifndef TOLLGATE_TOKENS_LEARN_H
#define TOLLGATE_TOKENS_LEARN_H

#include "request.h"

enum {
    LEARN_MODELS = 256,
    LEARN_BINS = 256,          /* ratios from 0.125 on, 2 % a step; the first and the last take what is outside */
    LEARN_ESTIMATE_MIN = 32,   /* observations before the median counts */
    LEARN_RAISE_MIN = 8,
    LEARN_LOWER_MIN = 1000,
    LEARN_MARGIN_PPM = 50000,
    LEARN_MARGIN_TOKENS = 2
};

enum learn_shape {
    LEARN_PLAIN,   /* messages only */
    LEARN_TOOLS,   /* tools are offered */
    LEARN_TURNS,   /* tool calls or results among the messages */
    LEARN_OTHER,   /* a response schema, fields rendered in unknown ways */
    LEARN_EXACT,   /* counted exactly or by a documented rule */
    LEARN_SHAPES
};

enum { LEARN_SIZES = 4, LEARN_CLASSES = LEARN_SHAPES * LEARN_SIZES };

/* The word for a shape: "plain", ... */
const char *learn_shape_name(enum learn_shape shape);
/* Counted tokens from which on a request is of this size: 0, 64, 512, 4096. */
int64_t learn_size_from(unsigned size);

/* What a request's count rests on; kept until its settlement. */
struct token_basis {
    int64_t counted;   /* by the built-in rules; 0: nothing can be learned (images, files, content that was not visible) */
    uint8_t shape, size;
};

struct token_basis token_basis_of(const struct ask *ask, const struct token_estimate *built_in);

struct token_learner;
struct token_learner *token_learner_new(void) __attribute__((warn_unused_result));
/* NULL is allowed. */
void token_learner_free(struct token_learner *l);

/* `reported`: input tokens of all kinds, from a cache or not. Figures of 0 and below are ignored. */
void token_learn(struct token_learner *l, struct slice provider, struct slice model, const struct token_basis *basis, int64_t reported,
                 int64_t now_us);
/* Puts what was learned into an estimate made by the built-in rules. */
void token_learned_apply(struct token_learner *l, struct slice provider, struct slice model, const struct token_basis *basis,
                         struct token_estimate *estimate);

/* One class, as it is kept and shown. */
struct token_class {
    struct slice provider, model; /* the learner's, for as long as it lives */
    unsigned shape, size;
    int64_t observations, agreed; /* agreed: reported exactly what was counted */
    int64_t p01_ppm, median_ppm, p99_ppm, max_ppm; /* of reported / counted */
    /* A hold assumes counted times this and LEARN_MARGIN_TOKENS, where the built-in bound is ... */
    int64_t lower_ppm;            /* higher; 0: not proved yet */
    int64_t raise_ppm;            /* lower; 0: too few observations */
    int64_t updated_us;
    uint32_t bins[LEARN_BINS];
};

/* From the ledger at start. Replaces the class; false when it is not one (a shape or size out of range, no room). */
bool token_learner_load(struct token_learner *l, const struct token_class *c);
/* Copies out the first class from *cursor (0 to begin) on and moves the cursor behind it. `changed_only`: only those that changed since
 * they were last taken this way. False: no more. */
bool token_learner_next(struct token_learner *l, size_t *cursor, bool changed_only, struct token_class *out);
/* It was taken but could not be kept: it counts as changed again. */
void token_learner_again(struct token_learner *l, struct slice provider, struct slice model, unsigned shape, unsigned size);

/* A histogram as text "bin:count bin:count ...", in ascending order, without zeros. `size` LEARN_TEXT is always enough. */
enum { LEARN_TEXT = LEARN_BINS * 15 };
size_t token_bins_print(const uint32_t bins[LEARN_BINS], char *out, size_t size);
/* False: not such a text. */
bool token_bins_read(struct slice text, uint32_t bins[LEARN_BINS]) __attribute__((warn_unused_result));

#endif
