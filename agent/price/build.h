/* Between the files of price/: what a source says about one model, before the rules for what it does not say. */
#ifndef TOLLGATE_PRICE_BUILD_H
#define TOLLGATE_PRICE_BUILD_H

#include "price/price.h"

#include <stdatomic.h>

/* 0.1 USD for one token is 150 times the dearest price known; more is a unit mistaken (per million typed as per token). */
#define PRICE_PICO_MAX INT64_C(100000000000)
/* 1,000 USD for one request. */
#define PRICE_REQUEST_MAX INT64_C(1000000000000000)

struct price_raw_tier {
    int64_t above;
    int64_t pico[PRICE_KINDS]; /* -1: not published */
    unsigned believed;         /* as in price_raw */
};

struct price_raw {
    struct slice provider, model;
    int64_t pico[PRICE_KINDS]; /* -1: not published */
    unsigned believed;         /* bits: a 0 here means 0 (overrides) */
    struct price_raw_tier tiers[PRICE_TIERS];
    unsigned tier_count;
    int64_t request_pico, image_pico;
    int64_t image_out_pico, image_token_pico; /* -1: not published */
    int64_t context, input_limit, output_limit;
    unsigned lacks;
    bool unmeasured;           /* charges exist that no usage record carries, or tiers of another kind */
    bool no_output;            /* produces no tokens: embeddings, rerankers */
};

void price_raw_init(struct price_raw *raw);
/* The tier for `above`, made if needed; NULL when there are PRICE_TIERS already (then unmeasured is set). */
struct price_raw_tier *price_raw_tier(struct price_raw *raw, int64_t above);
/* Applies the rules of price.h. Slices are taken over as they are. */
void price_resolve(const struct price_raw *raw, struct model_price *out);

/* Both read the whole text and append to `list` (in `arena`); they set the cursor's error or `why`. */
struct price_list {
    struct model_price *items;
    size_t count, capacity;
};
struct json_cursor;
/* The cursor stands before the outer object. False: memory is out, or the cursor has an error. */
bool price_read_models_dev(struct json_cursor *c, struct price_list *list, struct price_import_report *report);
bool price_read_litellm(struct json_cursor *c, struct price_list *list, struct price_import_report *report);
bool price_list_add(struct price_list *list, const struct model_price *m);
/* A rate in USD, 10^scale of it a pico-dollar; numbers, and numbers in quotes. -1 for null. Counts roundings. */
bool price_read_rate(struct json_cursor *c, int scale, int64_t max, int64_t *pico, struct price_import_report *report);
/* A count of tokens: whole numbers, also written 128000.0; anything else is 0. */
bool price_read_limit(struct json_cursor *c, int64_t *limit);
bool price_is_outputless(struct slice model);

/* ---- the table's and the builder's insides, for the files that fill them ---- */
struct price_contracts {
    struct price_contract *items;
    size_t count;
};

struct price_builder {
    struct arena *arena;
    struct price_list list; /* later entries replace earlier ones of the same name */
    struct price_contracts contracts;
};

struct price_table {
    atomic_size_t references;
    struct arena *arena;
    struct model_price *models;
    size_t count;
    struct price_contracts contracts;
    int64_t id;
    char hash[65];
};

/* Figures within their ranges, tiers ascending. */
bool price_valid(const struct model_price *m);
/* What an override makes of the builder's price; nothing is added. Slices stay the override's. */
int price_override_resolve(const struct price_builder *b, const struct price_override *o, struct model_price *m, char *why, size_t why_size);

#endif
