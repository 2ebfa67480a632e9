/* Hours of the week, "Mon-Fri 08:00-18:00": days are optional, "Sat,Sun" and "Sat-Mon" are days as well, upper and lower case are alike;
 * "22:00-06:00" goes over midnight and belongs to the day it begins. Time zones are the caller's. */
#ifndef TOLLGATE_BASE_HOURS_H
#define TOLLGATE_BASE_HOURS_H

#include <stdbool.h>
#include <stdint.h>

struct hours {
    uint8_t days;       /* bit 0 Monday ... bit 6 Sunday */
    uint16_t from, to;  /* minutes of the day, never equal; `to` is not part of it, 1440 is midnight */
};

/* NULL, or what is wrong with the text (static). */
const char *hours_parse(const char *text, struct hours *out);
/* Minutes since Monday 0:00; local_s: seconds since 1970 on the zone's own clock. */
int hours_minute_of_week(int64_t local_s);
bool hours_hold(const struct hours *h, int minute_of_week);
/* "Sat 10:12" */
void hours_text(int minute_of_week, char out[static 16]);

#endif
