/* The configuration's prices as tables, and from when on each holds. */
#ifndef TOLLGATE_CONFIG_PRICES_H
#define TOLLGATE_CONFIG_PRICES_H

#include "config/config.h"
#include "price/price.h"

/* The catalogue (prices.file, else the built-in one) with overrides and contracts on top. NULL with a reason. */
struct price_table *config_prices(const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));

/* A catalogue's text, the caller's to free. NULL with a reason that names the file: it cannot be read, or is empty. */
char *config_prices_catalogue(const char *file, size_t *n, char *why, size_t why_size) __attribute__((warn_unused_result));

/* One catalogue after the other, each with the same overrides and contracts on top. */
struct config_price_step {
    int64_t from_us;   /* INT64_MIN for the first, then ascending */
    const char *file;  /* the configuration's; NULL: built in */
    struct price_table *table;
};
/* At least one; the caller frees. NULL with a reason. */
struct config_price_step *config_price_steps(const struct config *c, unsigned *count, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* The one in force at that instant. */
const struct config_price_step *config_price_step_at(const struct config_price_step *steps, unsigned count, int64_t wall_us);
/* NULL is allowed. */
void config_price_steps_free(struct config_price_step *steps, unsigned count);

/* "2027-01-01" or "2027-01-01T06:00:00Z", UTC. False: neither. */
bool config_instant(const char *text, int64_t *us);

#endif
