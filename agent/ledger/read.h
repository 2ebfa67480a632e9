/* Reading the ledger: at start-up, to rebuild holds and balances, and for commands that look at the file of a running agent.
 *
 * A reader has a read-only connection of its own and blocks: not for an event loop once traffic runs. Slices given to callbacks are
 * valid during the call. A callback returns true to go on, false to end early. Functions return 0, or -1 with the reason in
 * ledger_reader_error. */
#ifndef TOLLGATE_LEDGER_READ_H
#define TOLLGATE_LEDGER_READ_H

#include "ledger/ledger.h"

struct ledger_reader;

/* NULL with a reason in `why`. The file must have this program's schema (ledger_open migrates). */
struct ledger_reader *ledger_reader_open(const char *file, char *why, size_t why_size) __attribute__((warn_unused_result));
/* NULL is allowed. */
void ledger_reader_close(struct ledger_reader *r);
const char *ledger_reader_error(const struct ledger_reader *r);

/* A request as it stands in its row. Of an open one the settlement half is zero. */
struct ledger_row {
    struct ledger_decision decision;
    struct ledger_settlement settlement; /* known_by KNOWN_OPEN: none yet */
    int64_t corrected_nano, corrected_tokens, corrected_us; /* sums of its corrections, and when the last was booked; 0: there is none */
    enum known_by known_now;             /* with its corrections */
};
typedef bool ledger_row_fn(void *user, const struct ledger_row *row);

/* Requests still open, by id. */
int ledger_read_open(struct ledger_reader *r, ledger_row_fn *fn, void *user) __attribute__((warn_unused_result));
/* Requests of any state that started at or after since_us, by started_us. Rows moved to an archive are not among them. */
int ledger_read_recent(struct ledger_reader *r, int64_t since_us, ledger_row_fn *fn, void *user) __attribute__((warn_unused_result));

/* A part of a long time, so that nobody who reads slowly keeps one transaction open (which keeps the write-ahead log growing). */
struct ledger_page {
    int64_t after_us, after_id; /* behind the request that started then; */
    int64_t since_us;           /* those that started at or after it, or ended at or after it */
    int64_t rows;               /* at most */
};
/* Requests of any state by started_us and id. Rows moved to an archive are not among them. */
int ledger_read_page(struct ledger_reader *r, const struct ledger_page *p, ledger_row_fn *fn, void *user) __attribute__((warn_unused_result));
typedef bool ledger_correction_fn(void *user, const struct ledger_correction *c);
/* Those of one request in the order they were booked; without discount and subject. */
int ledger_read_corrections(struct ledger_reader *r, int64_t request, ledger_correction_fn *fn, void *user) __attribute__((warn_unused_result));

/* Settled ones of which nothing is known to this day, by started_us. */
int ledger_read_bounded(struct ledger_reader *r, int64_t since_us, ledger_row_fn *fn, void *user) __attribute__((warn_unused_result));

/* Settled ones that were given back: no provider was asked, and the gateway did not answer either. By started_us. */
int ledger_read_unsent(struct ledger_reader *r, int64_t since_us, ledger_row_fn *fn, void *user) __attribute__((warn_unused_result));
static inline bool ledger_row_unsent(const struct ledger_row *row)
{
    return row->settlement.known_by == KNOWN_NONE && row->settlement.attempts == 0 && row->settlement.http_status != 200;
}

/* Sums over the settled and refused requests (and corrections) of 15 minutes, by who, provider group, provider and model (served,
 * or planned when nothing was served). Open requests are not in it. */
struct ledger_slot {
    int64_t start_us;               /* UTC, a multiple of 15 minutes */
    struct ledger_who who;
    struct ledger_target target;
    int64_t settled, denied, corrections; /* rows */
    struct token_usage usage;
    int64_t cost_nano, saved_nano;
};
typedef bool ledger_slot_fn(void *user, const struct ledger_slot *slot);
/* Slots that start at or after since_us, by time. */
int ledger_read_slots(struct ledger_reader *r, int64_t since_us, ledger_slot_fn *fn, void *user) __attribute__((warn_unused_result));

/* The same for limits on an alias: of settled requests and their corrections, archived ones included. `since_us` starts a slot. */
struct ledger_alias_slot {
    int64_t start_us;
    struct ledger_who who;
    struct ledger_target target;
    struct slice alias;
    int64_t settled, tokens, cost_nano;
};
typedef bool ledger_alias_slot_fn(void *user, const struct ledger_alias_slot *slot);
int ledger_read_alias_slots(struct ledger_reader *r, int64_t since_us, ledger_alias_slot_fn *fn, void *user) __attribute__((warn_unused_result));

typedef bool ledger_route_fn(void *user, const struct ledger_route *row);
/* The circuit breakers, by group and model. */
int ledger_read_routes(struct ledger_reader *r, ledger_route_fn *fn, void *user) __attribute__((warn_unused_result));

typedef bool ledger_alert_fn(void *user, const struct ledger_alert *row);
/* Alerts that are still to be sent, oldest first. */
int ledger_read_alerts(struct ledger_reader *r, ledger_alert_fn *fn, void *user) __attribute__((warn_unused_result));

typedef bool ledger_learned_fn(void *user, const struct ledger_learned *l);
/* What was learned about token counts, by provider, model, shape, size. */
int ledger_read_learned(struct ledger_reader *r, ledger_learned_fn *fn, void *user) __attribute__((warn_unused_result));

struct ledger_revocation {
    struct slice kind, issuer, value, origin;
    int64_t before_s;
    bool sessionless;
    int64_t expires_s, revoked_us;
    struct slice actor, note;
};
typedef bool ledger_revocation_fn(void *user, const struct ledger_revocation *r);
/* By kind, issuer, value. */
int ledger_read_revocations(struct ledger_reader *r, ledger_revocation_fn *fn, void *user) __attribute__((warn_unused_result));

struct ledger_key_row {
    struct slice id, actor;
    struct ledger_key key;
    int64_t created_us, rotated_us, expires_s;
};
typedef bool ledger_key_fn(void *user, const struct ledger_key_row *k);
/* By id. */
int ledger_read_keys(struct ledger_reader *r, ledger_key_fn *fn, void *user) __attribute__((warn_unused_result));

struct ledger_price_version {
    int64_t id;
    struct slice hash, source;
    int64_t valid_from_us, imported_us;
    bool active;                    /* the last imported one */
};
typedef bool ledger_price_version_fn(void *user, const struct ledger_price_version *v);
typedef bool ledger_price_fn(void *user, const struct model_price *m);
/* Versions by import time. */
int ledger_read_price_versions(struct ledger_reader *r, ledger_price_version_fn *fn, void *user) __attribute__((warn_unused_result));
/* The models of one version, fit for price_builder_add. */
int ledger_read_prices(struct ledger_reader *r, int64_t version, ledger_price_fn *fn, void *user) __attribute__((warn_unused_result));
/* The contracts of one version in their order, fit for price_builder_contract_terms. */
typedef bool ledger_contract_fn(void *user, struct slice name, struct slice terms);
int ledger_read_contracts(struct ledger_reader *r, int64_t version, ledger_contract_fn *fn, void *user) __attribute__((warn_unused_result));

#endif
