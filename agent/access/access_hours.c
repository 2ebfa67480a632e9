#include "access/access_hours.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char days[7][4] = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun" };

static int day_of(const char *p)
{
    for (int i = 0; i < 7; i++)
        if (strncmp(p, days[i], 3) == 0)
            return i;
    return -1;
}

static bool time_of(const char **p, int *minutes)
{
    const char *s = *p;

    if (!isdigit((unsigned char)s[0]) || !isdigit((unsigned char)s[1]) || s[2] != ':' || !isdigit((unsigned char)s[3]) ||
        !isdigit((unsigned char)s[4]))
        return false;
    int hour = (s[0] - '0') * 10 + s[1] - '0', minute = (s[3] - '0') * 10 + s[4] - '0';
    *minutes = hour * 60 + minute;
    *p = s + 5;
    return minute < 60 && *minutes <= 1440;
}

/* "Mon-Fri ", "Sat,Sun ", or nothing. */
static bool days_of(const char **p, unsigned *mask)
{
    *mask = isalpha((unsigned char)**p) ? 0 : 0x7f;
    while (isalpha((unsigned char)**p)) {
        int from = day_of(*p), to = from;
        if (from < 0)
            return false;
        *p += 3;
        if (**p == '-') {
            to = day_of(*p + 1);
            if (to < 0)
                return false;
            *p += 4;
        }
        for (int d = from;; d = (d + 1) % 7) { /* Sat-Mon goes over the week's end */
            *mask |= 1u << d;
            if (d == to)
                break;
        }
        if (**p == ',')
            ++*p;
        else if (**p != ' ')
            return false;
    }
    *p += strspn(*p, " ");
    return true;
}

const char *access_hours_parse(const char *text, struct access_hours *out)
{
    static const char why[] = "write days and times as \"Mon-Fri 08:00-18:00\", \"Sat,Sun 10:00-14:00\" or \"22:00-06:00\"";

    *out = (struct access_hours){ .days = 0 };
    if (!days_of(&text, &out->days) || !time_of(&text, &out->from) || *text++ != '-' || !time_of(&text, &out->to) || *text != '\0')
        return why;
    if (out->from == out->to || out->from == 1440)
        return "these hours hold no minute; a whole day is 00:00-24:00";
    return NULL;
}

bool access_hours_hold(const struct access_hours *h, int64_t local_s)
{
    int64_t day = local_s / 86400 - (local_s % 86400 < 0);
    int minute = (int)((local_s - day * 86400) / 60), weekday = (int)(((day + 3) % 7 + 7) % 7); /* 1970 began on a Thursday */
    bool today = (h->days & 1u << weekday) != 0, yesterday = (h->days & 1u << (weekday + 6) % 7) != 0;

    if (h->from < h->to)
        return today && h->from <= minute && minute < h->to;
    return (today && minute >= h->from) || (yesterday && minute < h->to);
}

void access_hours_text(int64_t local_s, char out[static 16])
{
    int64_t day = local_s / 86400 - (local_s % 86400 < 0);
    int minute = (int)((local_s - day * 86400) / 60), weekday = (int)(((day + 3) % 7 + 7) % 7);

    snprintf(out, 16, "%s %02d:%02d", days[weekday], minute / 60 % 24, minute % 60);
}
