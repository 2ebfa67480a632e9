/* Days and months as people write them, in UTC. Days since 1970 and microseconds; no time zone but UTC, as in the ledger's roll-ups. */
#ifndef TOLLGATE_ADMIN_PERIOD_H
#define TOLLGATE_ADMIN_PERIOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PERIOD_DAY_S INT64_C(86400)

/* From the first instant of the first day to just before `end_s`, in seconds since 1970. */
struct period {
    int64_t start_s, end_s;
};

/* "2026-11-23" (that day) or "2026-11" (that month). Years 1970 to 2099. False when it is neither, or no such day exists. */
bool period_parse(const char *text, struct period *out);
/* "2026-11-23", "2026-11" (their first instant), "2026-11-23T14:30" or "2026-11-23T14:30:00", each also with a final Z. */
bool period_instant(const char *text, int64_t *seconds);
/* The month that holds `seconds`. */
struct period period_month(int64_t seconds);
/* "2026-11-23"; size at least 11. */
void period_day_text(int64_t seconds, char *buf, size_t size);
/* "2026-11-23T14:30:00Z"; size at least 21. */
void period_instant_text(int64_t seconds, char *buf, size_t size);

#endif
