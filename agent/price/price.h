/* Prices: what a token of each kind costs, as integers, and what a request may cost at most or did cost.
 *
 * A price_table is an immutable snapshot, shared by threads and counted: a request keeps the one it was decided with, so that its
 * hold and its cost come from the same version. A price_builder collects catalogues and overrides and is finished into a table.
 * Nothing here uses floating point: prices are read digit by digit. Nothing is global, nothing blocks.
 *
 * Units: rates are pico-dollars (10^-12 USD) per token, so 1 USD per million tokens = 1,000,000; results are nano-dollars
 * (10^-9 USD). A published figure finer than a pico-dollar is rounded half up, never to 0 (real catalogues contain such figures
 * only as decimal noise, 0.049999999999999996 for 0.05).
 *
 * What was not published, in the base rates and in each tier:
 *   cached input, cache write   the full input price; 0 beside a non-zero input price means "not published" too
 *   cache write for 1 hour      1.6 times the 5-minute write (Anthropic: 2 and 1.25 times input), never below it; else input
 *   reasoning                   the output price (providers bill it as output)
 *   audio in, audio out         the input, the output price
 *   per image sent              nothing beside the tokens it makes
 *   tokens of images answered   the output price
 *   in a tier                   the dearer of the base rate and what the rules above give within the tier
 * Images that a request is answered with are billed by their tokens, where these have a price and the usage tells them from others, else by
 * the piece, and their tokens are then not billed beside it. What no usage record tells apart cannot be billed: dearer tokens of images
 * sent. A catalogue that has such a price: PRICE_HALF.
 * No input or no output price: PRICE_HALF, which is not cheap but unpriced. Output may be 0 for embeddings and rerankers. All 0 in
 * a catalogue: PRICE_ZERO; an override may say 0 and is then believed (PRICE_OK). */
#ifndef TOLLGATE_PRICE_PRICE_H
#define TOLLGATE_PRICE_PRICE_H

#include "request.h"

struct price_table;
struct price_builder;

enum price_error {
    PRICE_DONE = 0,
    PRICE_EUNPRICED = -1, /* status is not PRICE_OK */
    PRICE_ERANGE = -2,    /* the result, or an argument, does not fit (negative counts too) */
    PRICE_ESYNTAX = -3,   /* not the JSON, or not the format, that is understood */
    PRICE_EMEMORY = -4,
    PRICE_EVALUE = -5     /* an override makes no sense */
};

/* ---- asking ------------------------------------------------------------------------------------------------------ */

enum price_match {
    PRICE_MATCH_NONE,
    PRICE_MATCH_EXACT,
    PRICE_MATCH_SNAPSHOT /* found under the name without its date: gpt-4o-2024-11-20 -> gpt-4o */
};

/* The price of `model` at `provider`; NULL when the table has none. The exact name goes first; else one trailing date is taken off
 * (-YYYY-MM-DD, -YYYYMMDD, @YYYYMMDD) and the rest is looked up. No other guess is made. `match` may be NULL. The result lives as
 * long as the table. */
const struct model_price *price_lookup(const struct price_table *t, struct slice provider, struct slice model, enum price_match *match);

/* What is asked, for a hold. */
struct price_ask {
    int64_t input;          /* upper bound of the input tokens */
    int64_t output;         /* ceiling of the output tokens of one choice */
    int64_t choices;        /* n, at least 1 */
    unsigned kinds;         /* bit per price_kind that can occur (1u << PRICE_CACHE_WRITE when the request asks for caching, ...);
                             * input, cached, output and reasoning are always taken to be possible; 0: all kinds */
    int32_t discount_bp;    /* contract discount in basis points (1/100 %), 0..10000 */
    int64_t images;         /* sent with the request */
    int64_t images_out;     /* that it may be answered with */
};

/* The most the request can cost: each token at the dearest kind possible, in the dearest tier that `input` can reach, rounded up to
 * a nano-dollar. PRICE_EUNPRICED, PRICE_ERANGE. On error *nano is untouched. For any usage within the bounds,
 * price_cost <= price_hold. */
int price_hold(const struct model_price *m, const struct price_ask *ask, int64_t *nano) __attribute__((warn_unused_result));

/* The largest output ceiling (of one choice) whose hold is at most `nano`, at most ask->output; -1 when even 0 does not fit.
 * For lowering max tokens to what the budget affords. Errors as price_hold. */
int price_affordable(const struct model_price *m, const struct price_ask *ask, int64_t nano, int64_t *output)
    __attribute__((warn_unused_result));

/* What `usage` costs: the pico-dollars are summed exactly, the discount is taken off the sum and it is rounded half up once.
 * The tier follows from the input tokens of all kinds. PRICE_EUNPRICED, PRICE_ERANGE. */
int price_cost(const struct model_price *m, const struct token_usage *usage, int32_t discount_bp, int64_t *nano)
    __attribute__((warn_unused_result));

/* ---- contracts --------------------------------------------------------------------------------------------------- */

/* What somebody pays at some targets instead of the list price. An empty list does not restrict. Models are matched as they are asked
 * for and as the table has them; '*' at the end stands for any ending. The first contract that matches holds, in the order written. */
struct price_scope {
    const struct slice *items;
    size_t count;
};
struct price_contract {
    struct slice name;
    struct price_scope organizations, teams, providers, models;
    int32_t discount_bp;           /* off its own rates, or off the list price; 0..10000 */
    const struct model_price *own; /* its own rates, for its one provider and model; NULL: the list price */
    struct slice terms;            /* all of it as JSON: part of the version, and what the ledger keeps */
};

/* What a request is charged by. */
struct price_terms {
    const struct model_price *list, *billed; /* NULL: unknown */
    int32_t discount_bp;                     /* off `billed` */
    const struct price_contract *contract;   /* NULL: none */
};

/* `list` is price_lookup's for the same target, or NULL. Results live as long as the table. */
struct price_terms price_terms_for(const struct price_table *t, const struct model_price *list, const struct identity *who,
                                   struct slice provider, struct slice model);
size_t price_contract_count(const struct price_table *t);
/* i < price_contract_count. */
const struct price_contract *price_contract_at(const struct price_table *t, size_t i);

/* ---- tables ------------------------------------------------------------------------------------------------------ */

struct price_table *price_table_ref(struct price_table *t);
/* NULL is allowed. */
void price_table_unref(struct price_table *t);
/* SHA-256 of the canonical form (every model in order, every figure), 64 hexadecimal digits, NUL-terminated: equal content, equal
 * version, whatever file it came from. */
const char *price_table_hash(const struct price_table *t);
/* The first 48 bits of the hash as a number: what ledger rows carry (price_version.id = the first 12 digits of price_version.hash). */
int64_t price_table_id(const struct price_table *t);
size_t price_table_count(const struct price_table *t);
/* In order of provider and model; i < price_table_count. */
const struct model_price *price_table_at(const struct price_table *t, size_t i);

enum price_change { PRICE_ADDED, PRICE_REMOVED, PRICE_CHANGED };
typedef void price_diff_fn(void *user, enum price_change change, const struct model_price *before, const struct model_price *after);
/* Calls `fn` for every model that differs, in order. */
void price_table_diff(const struct price_table *before, const struct price_table *after, price_diff_fn *fn, void *user);

/* ---- building ---------------------------------------------------------------------------------------------------- */

struct price_import_report {
    const char *format;        /* "models.dev", "litellm" */
    unsigned models;           /* entries read */
    unsigned priced, half, zero, none; /* by status */
    unsigned duplicates;       /* same provider and model twice in one file: the dearer stays */
    unsigned rounded;          /* figures finer than a pico-dollar */
    unsigned skipped;          /* entries that are no model (LiteLLM's sample_spec) */
};

/* NULL when memory is out. */
struct price_builder *price_builder_new(void) __attribute__((warn_unused_result));
/* NULL is allowed. */
void price_builder_free(struct price_builder *b);

/* Adds a catalogue: the models.dev-like list {"unit":"USD per 1,000,000 tokens","models":[{provider, model, cost, limit}...]} or
 * LiteLLM's model_prices_and_context_window.json (object by model, USD per token; provider names are turned into the ones of
 * models.dev, bedrock -> amazon-bedrock). Which one it is, is seen from the content. A model that an earlier catalogue brought is
 * replaced. All or nothing: on PRICE_ESYNTAX and PRICE_ERANGE the builder is as before and `why` names line and reason. */
int price_import_json(struct price_builder *b, struct slice json, struct price_import_report *report, char *why, size_t why_size)
    __attribute__((warn_unused_result));

/* Adds or replaces one model as it stands (rows read back from the ledger). Slices are copied. */
int price_builder_add(struct price_builder *b, const struct model_price *m) __attribute__((warn_unused_result));

/* Prices from the configuration, decimal text in USD per million tokens ("2.50"); an empty slice leaves the catalogue's figure. A model
 * the catalogue does not know needs input and output. Naming input or output alone keeps nothing derived from the old figures:
 * what the override does not say and the catalogue did not publish follows the rules above. Tiers of the catalogue are dropped when
 * input or output is overridden, or tiers are; a tier of an override names at least one rate, what it leaves out follows the rules above. PRICE_EVALUE with `why` saying what to change. */
struct price_override_tier {
    int64_t above;
    struct slice usd_per_million[PRICE_KINDS];
};
struct price_override {
    struct slice provider, model;
    struct slice usd_per_million[PRICE_KINDS];
    struct slice usd_per_request, usd_per_image;
    struct slice usd_per_image_out, usd_per_million_image_tokens; /* answered with */
    const struct price_override_tier *tiers; /* from above + 1 input tokens of all kinds on, for the whole request */
    size_t tier_count;
    int64_t context, output_limit; /* 0: as before */
};
int price_builder_override(struct price_builder *b, const struct price_override *o, char *why, size_t why_size)
    __attribute__((warn_unused_result));

/* A contract from the configuration, after all catalogues and overrides. `discount` is decimal text in percent ("12.5", 0.01 at the finest),
 * may be empty. `rates`: like an override of the one provider and model in the scopes; NULL: none. Slices are copied. PRICE_EVALUE with
 * `why` saying what to change. */
struct price_contract_text {
    struct slice name, discount;
    struct price_scope organizations, teams, providers, models;
    const struct price_override *rates;
};
int price_builder_contract(struct price_builder *b, const struct price_contract_text *c, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* A contract read back from the ledger. PRICE_ESYNTAX. */
int price_builder_contract_terms(struct price_builder *b, struct slice name, struct slice terms) __attribute__((warn_unused_result));

/* Makes the table (one reference, the caller's); the builder is left empty and can be freed. NULL when memory is out. */
struct price_table *price_builder_finish(struct price_builder *b) __attribute__((warn_unused_result));

/* The catalogue that is built into the program. */
struct slice price_builtin_json(void);

/* Decimal text (digits, '.', exponent) times 10^scale as an integer, rounded half up, a non-zero value never to 0. PRICE_ESYNTAX,
 * PRICE_ERANGE (negative or above int64). `rounded` may be NULL. scale 9 reads dollars as nano-dollars. */
int price_parse_decimal(struct slice text, int scale, int64_t *out, bool *rounded) __attribute__((warn_unused_result));

#endif
