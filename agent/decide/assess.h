/* Assess: the steps of a decision that look at one request and change nothing outside it, except that the last one takes the hold.
 *
 * Each step fills its part of struct assessment, or `no`. Split from decision.c so that the steps can be read, and tested, without
 * connections, threads and waiting. */
#ifndef TOLLGATE_ASSESS_H
#define TOLLGATE_ASSESS_H

#include "budget/budget.h"
#include "request.h"
#include "runtime.h"
#include "spop_codec.h"
#include "tokens/learn.h"

struct assessment {
    struct arena *arena;
    struct runtime *runtime;
    struct price_table *prices;              /* the runtime's, in force when the request came */
    struct http_request rq;
    struct identity who;
    struct ask ask;
    struct refusal no;                       /* status 0: not refused */
    const struct route_alias *alias;
    struct credential_snapshot *credentials; /* from assess_parse on; the caller releases it */
    struct route_choice choice;
    const struct runtime_target *primary, *fallback;
    /* The route's, see assess_route.h. */
    struct route_fact facts[ROUTE_TARGETS_MAX];
    struct token_estimate counts[ROUTE_TARGETS_MAX]; /* by the first target that counts alike; bit i of `counted`: known */
    unsigned counted, members;
    uint64_t request_key, route_key;
    int64_t route_mono_us, route_wall_us;
    struct token_estimate estimate, fallback_estimate; /* by the built-in rules until assess_price puts in what was learned */
    struct token_basis primary_basis, fallback_basis;
    int64_t ceiling;                         /* output tokens of one choice that the request is held to; 0 where there is no output */
    int64_t images, images_out;              /* sent with it; that it may be answered with, at most */
    int64_t hold_nano;
    struct budget_answer budget;
    struct budget_hold hold;
    struct slice primary_edits, fallback_edits;
    int64_t primary_delta, fallback_delta;
    struct credential_pick primary_key, fallback_key;
    char primary_payload[SIGV4_HEX + 1], fallback_payload[SIGV4_HEX + 1]; /* SHA-256 of the rewritten body, for those that are signed */
    struct slice notice;
    bool again;                              /* the fallback is the primary, for when it asks for a short pause, or key_again, and for nothing else */
    bool key_again;                          /* ... for when its key is refused */
    bool usage_added;                        /* the request asks for usage in its stream, and the client did not */
    bool downgraded;                         /* alias is not the one that was asked for, but the one a limit asked for instead */
};

struct dialect_job;
struct fiber_pool;

/* What a target is charged by. */
struct price_terms assess_terms(const struct assessment *s, const struct runtime_target *t, const struct route_target *r);

/* Walks the arguments of `llm-request` into rq; slices point into the payload. False: no such message. */
bool assess_read(struct spop_bytes payload, struct http_request *rq, struct arena *a);
/* The endpoint as far as it is known from the path, so that a refusal before assess_parse already has the right shape. */
void assess_shape(struct assessment *s);
/* Endpoint, body, alias. False: refused. */
bool assess_parse(struct assessment *s);
/* The same in slices, for a long body: begin makes a job for it, assess_parsed takes what dialect_job_step returned at last. No job and true:
 * nothing is to be parsed, and all is done. False: refused, or memory is out when `no` says nothing. */
bool assess_parse_begin(struct assessment *s, struct fiber_pool *pool, struct dialect_job **job);
bool assess_parsed(struct assessment *s, bool ok);
/* After the counts: targets that can serve it, prices, ceiling. False: refused. */
bool assess_price(struct assessment *s);
enum assess_reserved { ASSESS_RESERVED, ASSESS_REFUSED, ASSESS_DOWNGRADED };
/* Takes the hold from every limit. REFUSED: `no` is filled. DOWNGRADED: a limit asks for a cheaper model; alias and targets are now that
 * one's, to be counted and priced anew. Nothing is held in both cases. */
enum assess_reserved assess_reserve(struct assessment *s, struct budget *b, int64_t now_us, int64_t mono_us);
/* Output tokens after which a stream is to be ended, by the model's `overrun`; 0: never. */
int64_t assess_stop(const struct assessment *s);
/* The edits for HAProxy. False: memory is out; the caller releases the hold. */
bool assess_rewrite(struct assessment *s);

/* Of a request whose tokens have no bound (tokens/estimate.h). */
struct refusal assess_unbounded(void);
/* 405. `methods`: those that the path takes, "GET, POST". */
struct refusal assess_wrong_method(struct slice methods, struct arena *a);
struct refusal refusal_make(int status, const char *type, const char *code, const char *reason, struct slice message);

/* Nano-dollars that the tightest money limit has left with this request's hold taken; -1 when none applies, 0 when it is overdrawn. */
int64_t assess_budget_left(const struct assessment *s);

#endif
