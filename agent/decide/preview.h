/* Preview: what the gateway would count and hold for a request body, by the steps of a decision (assess.h), without an agent: nothing is
 * sent, booked or remembered.
 *
 * Every target counts as healthy and as having its key. Of who asks, only team and organization can be told: contract prices and conditions of
 * targets may depend on them. Access rules and limits, which may refuse a request or lower its output, are not looked at. One thread. */
#ifndef TOLLGATE_PREVIEW_H
#define TOLLGATE_PREVIEW_H

#include "agent.h"
#include "decide/assess.h"

struct preview_options {
    struct config *config;  /* NULL: the model's own name at OpenAI's built-in prices */
    const char *encoding;   /* NULL: the configuration's, or by the model's name; else one that exists */
    const char *ledger;     /* file with what was learned; NULL: nothing was */
    struct tokenizer_set *tokenizers;
    struct token_counter *counter;
    enum endpoint endpoint;
    bool count_only;        /* as dialect_counts_only says of the path */
    struct slice body;      /* stays in place until preview_free */
    struct slice team, organization; /* who asks, likewise; empty: nobody in particular */
};

struct preview {
    struct agent agent;
    struct runtime runtime;
    struct config own_config;       /* without one of the caller's */
    struct config_provider own_provider;
    struct config_model own_model;
    struct config_target own_target;
    struct assessment s;            /* alias, choice, estimate, ceiling, hold_nano */
    struct token_estimate built_in; /* the estimate without what was learned */
    char unlearned[256];            /* why the ledger could not be read: nothing that was learned is in the figures; else "" */
    bool depends;                   /* who asks, or what was measured, decides between targets: s is of the dearest ones */
    bool priced;                    /* false: s.no says why nothing can be held */
    int64_t most_nano;              /* the most that is held, whichever targets of the model it goes to */
};

/* False: the gateway would refuse the request (p->s.no.status > 0), or `why` says what failed here. Call preview_free in every case. */
bool preview_make(struct preview *p, const struct preview_options *o, char *why, size_t why_size) __attribute__((warn_unused_result));
void preview_free(struct preview *p);

#endif
