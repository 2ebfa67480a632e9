/* Budget options: what a limit is, as written in the configuration, and how human amounts are read.
 *
 * Plain data, filled from YAML by the owner of the configuration and copied by the engine (budget.h). Everything that a person types
 * stays text until budget_options_check has had its say, so that a message can name the limit, the field and what is allowed.
 * Integers only: no double ever holds an amount. */
#ifndef TOLLGATE_BUDGET_OPTIONS_H
#define TOLLGATE_BUDGET_OPTIONS_H

#include "base/slice.h"

#include <stdint.h>

#define BUDGET_NAME_MAX 63       /* bytes of a limit's name */
#define BUDGET_WITHIN_MAX 3      /* further scopes of one limit */
#define BUDGET_THRESHOLDS_MAX 8
#define BUDGET_LIMITS_MAX 4096

enum budget_unit { BUDGET_USD, BUDGET_TOKENS, BUDGET_REQUESTS, BUDGET_CONCURRENT };

/* Whom a limit is about. Levels: organization, team, user, application, cost_center (from the identity), key (a gateway key's id; such a limit concerns
 * nobody else), alias (the model name the
 * client used), model, provider (the real ones of primary and fallback), global. */
struct budget_scope {
    const char *level;
    /* Values that match: exact, or a prefix when the last character is '*'. None, or "*" alone: every value. Each value has an
     * account of its own (unless shared). A request that has no value at this level (no team in its token) has the value "": only
     * a "*" matches it, and all such requests share that account, so that leaving a claim out escapes nothing. */
    const char **match;
    unsigned match_count;
    bool shared; /* all values that match share one account */
};

struct budget_limit {
    const char *name;   /* required, unique: letters, digits, '-', '_', '.'; the key by which a reload recognises a limit */
    struct budget_scope scope;   /* required */
    struct budget_scope *within; /* all must match too; their values are part of the account: per user within team X */
    unsigned within_count;
    const char *unit;   /* usd, tokens (input and output together), requests, concurrent */
    const char *amount; /* "$50", "1.5M tokens", "100"; for a bucket a rate: "50000/min", "$2/hour", "600 per minute" */
    /* minute, hour, day, week (from Monday), month, quarter, year: calendar windows in `timezone`.
     * "rolling 24h": any duration from 1 s to 366 days. total: never resets. bucket: token bucket.
     * NULL: bucket when the amount is a rate; none is needed (or allowed) for unit concurrent. */
    const char *window;
    const char *burst;    /* bucket only: its size, in the unit; NULL: the amount of the rate */
    const char *timezone; /* IANA name, calendar windows only; NULL: UTC */
    /* hard (NULL): refuse. soft: only tell. downgrade: once a threshold (default 90) is passed, ask for the cheaper alias. */
    const char *action;
    const char *downgrade_to; /* downgrade only, required: the alias to use */
    const int *thresholds;    /* per cent of the amount that was really used, 1..1000; default 50 80 100 (downgrade: 90) */
    unsigned thresholds_count;
    int64_t clamp_floor; /* least output tokens when a hold is made to fit by lowering the output ceiling; 0: what the request
                            says (in the agent: it is not lowered), -1: never lower because of this limit */
    unsigned slots;      /* rolling only: sub-slots, 4..96, default 24. The window is exact to one sub-slot, on the strict side */
};

struct budget_options {
    const struct budget_limit *limits;
    unsigned limits_count;
    const char *zoneinfo; /* directory of TZif files; NULL: /usr/share/zoneinfo */
    unsigned max_accounts; /* 0: 1,000,000. When all are in use, requests that need another are refused */
    int64_t hold_max_us;   /* longest life of a hold, for look-back after a restart; 0: one hour */
};

/* NULL when all is well, else what is wrong and what would be right ("limit \"team-day\": window: ..."), formatted into `why`.
 * Reads zone files. */
const char *budget_options_check(const struct budget_options *o, char *why, size_t why_size);

/* "$50", "0.25 USD", "$1.5k" in nano-dollars; "1.5M tokens", "200k", "1_000_000" as counts. Suffixes k, M, G (10^3, 10^6, 10^9).
 * Exact: what is not a whole number of nano-dollars or tokens is refused, as is more than 10^18 or less than 0. The unit's word may
 * follow. 0, or -1 with a reason in `why`. */
int budget_parse_amount(struct slice text, enum budget_unit unit, int64_t *out, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* An amount per duration: "50000/min", "$1 / hour", "100k tokens per minute", "10/5s". *period_us > 0. */
int budget_parse_rate(struct slice text, enum budget_unit unit, int64_t *amount, int64_t *period_us, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* "500ms", "30s", "15 min", "24h", "7d", "2w", "1h30m"; words in full too (seconds, minutes, hours, days, weeks). Microseconds, > 0,
 * at most 100 years of 365 days. */
int budget_parse_duration(struct slice text, int64_t *out_us, char *why, size_t why_size) __attribute__((warn_unused_result));
/* "usd", "tokens", "requests", "concurrent" */
const char *budget_unit_name(enum budget_unit unit);
/* "$12.50" (all digits that matter, at least two decimals) or a plain count, NUL-terminated. Returns `buf`; 32 bytes always do. */
const char *budget_format_amount(int64_t amount, enum budget_unit unit, char *buf, size_t size);

#endif
