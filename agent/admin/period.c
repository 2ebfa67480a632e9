#include "admin/period.h"

#include <time.h>

static int64_t seconds_of(int year, int month, int day)
{
    struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day };

    return (int64_t)timegm(&tm);
}

static bool digits(const char **p, int count, int *out)
{
    *out = 0;
    for (int i = 0; i < count; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return false;
        *out = *out * 10 + (**p - '0');
    }
    return true;
}

/* Reads YYYY-MM or YYYY-MM-DD and leaves *p behind it. *day is 0 when there is none. */
static bool date(const char **p, int *year, int *month, int *day)
{
    static const int longest[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    *day = 0;
    if (!digits(p, 4, year) || *(*p)++ != '-' || !digits(p, 2, month) || *year < 1970 || *year > 2099 || *month < 1 || *month > 12)
        return false;
    if (**p != '-')
        return true;
    (*p)++;
    if (!digits(p, 2, day))
        return false;
    int last = longest[*month - 1] + (*month == 2 && *year % 4 == 0 && *year != 1900); /* 2000 is a leap year, 2100 is out of range */
    return *day >= 1 && *day <= last;
}

bool period_parse(const char *text, struct period *out)
{
    int year, month, day;

    if (!date(&text, &year, &month, &day) || *text != '\0')
        return false;
    out->start_s = seconds_of(year, month, day > 0 ? day : 1);
    out->end_s = day > 0 ? out->start_s + PERIOD_DAY_S : seconds_of(year, month + 1, 1);
    return true;
}

bool period_instant(const char *text, int64_t *seconds)
{
    int year, month, day, hour = 0, minute = 0, second = 0;

    if (!date(&text, &year, &month, &day))
        return false;
    if (day > 0 && (*text == 'T' || *text == ' ')) {
        text++;
        if (!digits(&text, 2, &hour) || *text++ != ':' || !digits(&text, 2, &minute) || hour > 23 || minute > 59)
            return false;
        if (*text == ':') {
            text++;
            if (!digits(&text, 2, &second) || second > 59)
                return false;
        }
        if (*text == 'Z')
            text++;
    }
    *seconds = seconds_of(year, month, day > 0 ? day : 1) + hour * 3600 + minute * 60 + second;
    return *text == '\0';
}

struct period period_month(int64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    gmtime_r(&t, &tm);
    return (struct period){ seconds_of(tm.tm_year + 1900, tm.tm_mon + 1, 1), seconds_of(tm.tm_year + 1900, tm.tm_mon + 2, 1) };
}

void period_day_text(int64_t seconds, char *buf, size_t size)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    gmtime_r(&t, &tm);
    if (strftime(buf, size, "%Y-%m-%d", &tm) == 0 && size > 0)
        buf[0] = '\0';
}

void period_instant_text(int64_t seconds, char *buf, size_t size)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    gmtime_r(&t, &tm);
    if (strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0 && size > 0)
        buf[0] = '\0';
}
