/* Route: from the model a client names to the provider groups that will be tried.
 *
 * The table is built from the configuration, never changes while in force and belongs to the caller. An alias has an ordered list of
 * targets. Those that cannot serve this request are passed over before they fail: another endpoint, a lacking capability, a member
 * of the body they refuse, too small a context window, conditions (`when`) that do not hold, no valid key. What remains is ordered, and the first
 * two become primary and fallback. Counts may be a little off: for a prompt that nearly fills the primary's window, the fallback is the
 * first that takes longer ones, if there is one in no worse a state.
 *
 * Selecting is a function of its arguments alone: no clock, no state, no memory but for the text of a refusal, which is its only way to
 * fail. What changes over time (circuit breakers, counts, prices, latencies) comes in as one route_fact for each target. */
#ifndef TOLLGATE_ROUTE_ROUTE_H
#define TOLLGATE_ROUTE_ROUTE_H

#include "base/hours.h"
#include "request.h"

enum {
    ROUTE_TARGETS_MAX = 16, /* of one alias */
    ROUTE_MEMBERS_MAX = 32  /* distinct names that targets of one alias refuse */
};

/* How the targets that can serve a request are ordered. */
enum route_order {
    ROUTE_AS_LISTED,
    ROUTE_BY_WEIGHT,  /* shares by weight, drawn by key (weighted rendezvous hashing: changing one weight moves only its own share) */
    ROUTE_BY_COST,    /* least expected cost of this request */
    ROUTE_BY_LATENCY  /* least expected time to the last token */
};

/* What ties requests together: shares and canaries are drawn by it, and a conversation stays where it was. */
enum route_sticky { ROUTE_STICKY_NONE, ROUTE_STICKY_CONVERSATION, ROUTE_STICKY_USER };

struct route_names {
    const struct slice *names;
    size_t count; /* 0: everybody */
};

struct route_hours {
    struct hours week;
    const void *zone; /* for route_table.minute_of_week */
};

/* All of it must hold. Zero: always. */
struct route_when {
    struct route_names organization, team, user, application, cost_center;
    struct route_names group;        /* at least one in common */
    unsigned features, without;      /* ask_feature bits that must, must not be asked for */
    int64_t min_input, max_input;    /* tokens, both inclusive; 0: no bound. Hold as long as nothing is counted */
    const struct route_hours *hours; /* within one of them */
    size_t hours_count;
};

struct route_target {
    struct target target;
    unsigned lacks;         /* ask_feature bits this target cannot serve */
    unsigned endpoints;     /* bit (1 << enum endpoint) for each one served; 0 = all */
    unsigned refuses;       /* bit i: members[i] of the alias must not be in the body */
    int64_t context_window; /* tokens, prompt and output together; 0 = unknown */
    int64_t input_limit;    /* tokens of the prompt alone; 0 = none */
    struct route_when when;
    uint32_t weight;        /* ROUTE_BY_WEIGHT; 0: only when no other is left */
    bool canary;            /* `canary_share` of the keys go here first, and nobody else */
    uint16_t canary_share;  /* hundredths of a per cent */
};

struct route_alias {
    struct slice name; /* what clients put into "model" */
    const struct route_target *targets;
    size_t target_count; /* at most ROUTE_TARGETS_MAX */
    enum route_order order;
    enum route_sticky sticky;
    const struct slice *members; /* names that targets refuse */
    size_t member_count;
};

struct route_table {
    const struct route_alias *aliases;
    size_t alias_count;
    /* Minutes since Monday 0:00 in that zone; needed when a target has hours. */
    int (*minute_of_week)(const void *zone, int64_t now_us);
};

/* Circuit breaker and operator, as of now. */
enum route_state {
    ROUTE_USABLE,
    ROUTE_PROBE,  /* half open, and a probe is due: ordered as if usable; the caller takes the probe when it becomes primary */
    ROUTE_OPEN,   /* behind all usable ones, also as the fallback */
    ROUTE_DRAINED /* set aside by an operator: only when no other target is left, and never as the fallback */
};

/* What is known of one target at this moment. */
struct route_fact {
    enum route_state state;
    int64_t input;     /* tokens as counted for it; -1: not counted */
    int64_t cost_nano; /* expected; -1: unknown, last. Read for ROUTE_BY_COST */
    int64_t wait_us;   /* expected time to the last token; -1: never measured. Read for ROUTE_BY_LATENCY */
    bool keyless;      /* there is no valid key for it now */
    bool stale;        /* the figure is old: one request in ROUTE_EXPLORE goes to see */
};

enum { ROUTE_EXPLORE = 16 };

/* What a choice depends on besides. */
struct route_query {
    struct slice model;
    enum endpoint endpoint;
    unsigned features;  /* ask_feature bits */
    unsigned members;   /* bit i: the body has members[i] of the alias */
    const struct identity *who; /* NULL: nobody; conditions on people do not hold */
    int64_t input;      /* tokens, for targets that were not counted for; -1: not counted, context windows are then not looked at */
    int64_t output;     /* tokens the answer may have; -1: not said */
    int64_t now_us;
    uint64_t request_key, key; /* hashes: of this request; of what `sticky` names (or of the user, when it names nothing) */
    int sticky;         /* index of the target that served the conversation last; -1: none */
};

struct route_choice {
    const struct route_alias *alias;
    const struct route_target *primary;
    const struct route_target *fallback; /* NULL: none */
    bool fallback_larger; /* it takes longer prompts than the primary: worth a try where that one finds the request too long */
};

/* Tokens of the longest prompt it takes; 0: not known. */
int64_t route_prompt_most(const struct route_target *t);

/* The alias of that name; NULL when there is none. Names are compared byte by byte. */
const struct route_alias *route_find(const struct route_table *table, struct slice model);

/* Whether a person may get there at all: the conditions on people of at least one target hold. */
bool route_open_to(const struct route_alias *alias, const struct identity *who);

/* `facts`: one for each target of the alias; NULL: all usable, nothing counted. True with `out` filled. False with `refusal` filled: 404
 * model_not_found (the message names the model asked for, cut to 64 bytes, and no other), or 400 when the alias exists but no target can
 * serve this request: context_length_exceeded, unsupported_feature naming what is lacking, unsupported_parameter naming the member, or
 * 403 model_not_allowed where only conditions stand in the way; or 503 provider_credentials_unavailable when one could but none of those
 * has a valid key. The message lives in `arena`. */
bool route_select(const struct route_table *table, const struct route_query *query, const struct route_fact *facts,
                  struct arena *arena, struct route_choice *out, struct refusal *refusal) __attribute__((warn_unused_result));

/* The same word everywhere for a feature: "stream", "tools", "images", "audio", "json_schema", "logprobs", "files", "stored". 0: unknown. */
unsigned route_feature(struct slice word);
/* By index 0, 1, ...; NULL behind the last. */
const char *route_feature_word(size_t i);

/* A 64-bit hash of bytes, continued from `seed`; the same on every machine and in every version, for shares must not move. */
uint64_t route_hash(uint64_t seed, struct slice bytes);

#endif
