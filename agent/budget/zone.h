/* Time zones and calendar windows, thread-safe: TZif files (RFC 8536) are read into memory once, with the POSIX TZ rule in their footer
 * for the years behind their table. Nothing here touches TZ or the C library's zone state.
 *
 * A calendar window is everything between the first instant whose local time has reached its label and the first one that has reached
 * the next: windows follow each other without gap or overlap, an hour that a zone repeats is one window, one that it skips is none. */
#ifndef TOLLGATE_BUDGET_ZONE_H
#define TOLLGATE_BUDGET_ZONE_H

#include <stddef.h>
#include <stdint.h>

struct budget_zone;

enum budget_calendar {
    BUDGET_MINUTE, BUDGET_HOUR, BUDGET_DAY, BUDGET_WEEK, BUDGET_MONTH, BUDGET_QUARTER, BUDGET_YEAR
};

/* NULL with a reason in `why`: no such zone, not a TZif file, memory. `dir` NULL: /usr/share/zoneinfo. "UTC" needs no file. */
struct budget_zone *budget_zone_load(const char *dir, const char *name, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* The same from a file's bytes; NULL when they are not valid. */
struct budget_zone *budget_zone_parse(const unsigned char *p, size_t n) __attribute__((warn_unused_result));
void budget_zone_free(struct budget_zone *z);
/* Seconds east of UTC at `t` (seconds since 1970); *next is the first later instant at which that may change, INT64_MAX for never. */
int32_t budget_zone_offset(const struct budget_zone *z, int64_t t, int64_t *next);
/* The window that holds `now_us`: *start <= now < *end, microseconds UTC. now_us within years 0..9999. */
void budget_calendar_window(const struct budget_zone *z, enum budget_calendar kind, int64_t now_us, int64_t *start_us, int64_t *end_us);

#endif
