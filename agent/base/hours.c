#include "base/hours.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { DAY = 1440, WEEK = 7 * DAY };

static const char day_words[7][4] = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun" };

static bool day_read(const char **p, int *day)
{
    for (int i = 0; i < 7; i++)
        if (strncasecmp(*p, day_words[i], 3) == 0) {
            *day = i;
            *p += 3;
            return true;
        }
    return false;
}

/* "Mon", "Mon-Fri"; Sat-Mon goes over the week's end. */
static bool stretch_read(const char **p, uint8_t *days)
{
    int from, to;

    if (!day_read(p, &from))
        return false;
    to = from;
    if (**p == '-') {
        ++*p;
        if (!day_read(p, &to))
            return false;
    }
    for (int d = from;; d = (d + 1) % 7) {
        *days |= (uint8_t)(1u << d);
        if (d == to)
            return true;
    }
}

/* Up to the time; no days at all: every day. */
static bool days_read(const char **p, uint8_t *days)
{
    *days = 0;
    if (!isalpha((unsigned char)**p)) {
        *days = 0x7f;
        return true;
    }
    while (stretch_read(p, days)) {
        if (**p == ' ') {
            *p += strspn(*p, " ");
            return true;
        }
        if (*(*p)++ != ',')
            return false;
    }
    return false;
}

static bool time_read(const char **p, uint16_t *minutes)
{
    const char *s = *p;

    for (int i = 0; i < 5; i++)
        if (i == 2 ? s[i] != ':' : !isdigit((unsigned char)s[i]))
            return false;
    int hour = (s[0] - '0') * 10 + s[1] - '0', minute = (s[3] - '0') * 10 + s[4] - '0';
    if (minute > 59 || hour * 60 + minute > DAY)
        return false;
    *minutes = (uint16_t)(hour * 60 + minute);
    *p = s + 5;
    return true;
}

const char *hours_parse(const char *text, struct hours *out)
{
    *out = (struct hours){ .days = 0 };
    if (!days_read(&text, &out->days) || !time_read(&text, &out->from) || *text++ != '-' || !time_read(&text, &out->to) || *text != '\0')
        return "write days and times as \"Mon-Fri 08:00-18:00\", \"Sat,Sun 10:00-14:00\" or \"22:00-06:00\"";
    if (out->from == out->to || out->from == DAY)
        return "these hours hold no minute; a whole day is 00:00-24:00";
    return NULL;
}

int hours_minute_of_week(int64_t local_s)
{
    int64_t minutes = (local_s / 60 - (local_s % 60 < 0)) % WEEK + 3 * DAY; /* 1970 began on a Thursday */

    return (int)((minutes + WEEK) % WEEK);
}

bool hours_hold(const struct hours *h, int minute_of_week)
{
    int day = minute_of_week / DAY, minute = minute_of_week % DAY;
    bool today = (h->days >> day & 1) != 0, yesterday = (h->days >> (day + 6) % 7 & 1) != 0;

    if (h->from < h->to)
        return today && h->from <= minute && minute < h->to;
    return (today && minute >= h->from) || (yesterday && minute < h->to);
}

void hours_text(int minute_of_week, char out[static 16])
{
    int day = minute_of_week / DAY % 7, minute = minute_of_week % DAY;

    snprintf(out, 16, "%s %02d:%02d", day_words[day], minute / 60 % 24, minute % 60);
}
