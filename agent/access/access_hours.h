/* Hours of the week, "Mon-Fri 08:00-18:00": in a time zone, days optional, over midnight allowed ("22:00-06:00" belongs to the day it begins). */
#ifndef TOLLGATE_ACCESS_HOURS_H
#define TOLLGATE_ACCESS_HOURS_H

#include <stdbool.h>
#include <stdint.h>

struct access_hours {
    unsigned days;        /* bit 0: Monday */
    int from, to;         /* minutes of the day; to is not included, 1440 is midnight */
};

/* NULL, or what is wrong with the text (static). */
const char *access_hours_parse(const char *text, struct access_hours *out);
/* `local_s`: seconds since 1970 on the zone's clock. */
bool access_hours_hold(const struct access_hours *h, int64_t local_s);
/* "Sat 10:12" */
void access_hours_text(int64_t local_s, char out[static 16]);

#endif
