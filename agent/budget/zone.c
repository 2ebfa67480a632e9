#include "budget/zone.h"

#include "base/file_read.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (256 * 1024)
#define OFFSET_MAX (26 * 3600)
#define DAY 86400

/* One half of a POSIX TZ rule: when summer time begins or ends, in the local time that is then in force. */
struct rule_day {
    enum { RULE_JULIAN, RULE_ZERO_BASED, RULE_MONTH } kind;
    int day;         /* Jn: 1..365 without 29 February; n: 0..365 */
    int month, week; /* Mm.w.d: week 5 is the last */
    int weekday;     /* 0 is Sunday */
    int32_t time;    /* seconds after midnight, -167 h .. 167 h */
};

struct budget_zone {
    size_t count;
    int64_t *at;     /* ascending */
    int32_t *offset; /* from at[i] on */
    int32_t first;   /* before at[0] */
    bool has_rule, has_dst;
    int32_t std, dst;
    struct rule_day start, end;
};

/* ---- days of the proleptic Gregorian calendar --------------------------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static bool leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

/* Days from 1970-01-01 to the first of a month; month 1..12. Years count from March, so that the leap day comes last. */
static int64_t month_day(int64_t year, int month)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = floor_div(y, 400), in_era = y - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static void civil(int64_t days, int64_t *year, int *month)
{
    int64_t z = days + 719468, era = floor_div(z, 146097), doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

/* ---- POSIX TZ rules (POSIX.1-2017, 8.3; times as RFC 8536 3.3.1 extends them) -------------------------------------------- */

static bool rule_number(const char **p, int max, int *out)
{
    int v = 0;
    if (**p < '0' || **p > '9')
        return false;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        v = v * 10 + (**p - '0');
        if (v > max)
            return false;
    }
    *out = v;
    return true;
}

static bool rule_name(const char **p)
{
    const char *s = *p;
    if (*s == '<') {
        while (*s && *s != '>')
            s++;
        if (*s != '>')
            return false;
        *p = s + 1;
        return true;
    }
    while ((*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z'))
        s++;
    bool some = s - *p >= 3;
    *p = s;
    return some;
}

static bool rule_time(const char **p, int32_t *out)
{
    int sign = 1, h, m = 0, s = 0;
    if (**p == '-' || **p == '+')
        sign = *(*p)++ == '-' ? -1 : 1;
    if (!rule_number(p, 167, &h))
        return false;
    if (**p == ':') {
        ++*p;
        if (!rule_number(p, 59, &m))
            return false;
        if (**p == ':') {
            ++*p;
            if (!rule_number(p, 59, &s))
                return false;
        }
    }
    *out = sign * (h * 3600 + m * 60 + s);
    return true;
}

static bool rule_date(const char **p, struct rule_day *d)
{
    *d = (struct rule_day){ .time = 2 * 3600 };
    if (*(*p)++ != ',')
        return false;
    if (**p == 'M') {
        ++*p;
        d->kind = RULE_MONTH;
        if (!rule_number(p, 12, &d->month) || d->month < 1 || *(*p)++ != '.' || !rule_number(p, 5, &d->week) || d->week < 1 ||
            *(*p)++ != '.' || !rule_number(p, 6, &d->weekday))
            return false;
    } else if (**p == 'J') {
        ++*p;
        d->kind = RULE_JULIAN;
        if (!rule_number(p, 365, &d->day) || d->day < 1)
            return false;
    } else {
        d->kind = RULE_ZERO_BASED;
        if (!rule_number(p, 365, &d->day))
            return false;
    }
    if (**p != '/')
        return true;
    ++*p;
    return rule_time(p, &d->time);
}

static bool rule_parse(struct budget_zone *z, const char *p)
{
    int32_t west;
    if (!rule_name(&p) || !rule_time(&p, &west))
        return false;
    z->std = -west;
    z->has_rule = true;
    if (abs(z->std) > OFFSET_MAX)
        return false;
    if (!*p)
        return true;
    if (!rule_name(&p))
        return false;
    z->dst = z->std + 3600;
    if (*p && *p != ',') {
        if (!rule_time(&p, &west))
            return false;
        z->dst = -west;
    }
    z->has_dst = true;
    return abs(z->dst) <= OFFSET_MAX && rule_date(&p, &z->start) && rule_date(&p, &z->end) && !*p;
}

/* Local seconds since 1970 of the rule's moment in `year`. */
static int64_t rule_local(const struct rule_day *d, int64_t year)
{
    int64_t day;
    if (d->kind == RULE_MONTH) {
        int64_t first = month_day(year, d->month), next = month_day(year + (d->month == 12), d->month % 12 + 1);
        int64_t weekday = (first + 4) - 7 * floor_div(first + 4, 7); /* 1970-01-01 was a Thursday */
        day = first + (d->weekday - weekday + 7) % 7 + 7 * (d->week - 1);
        while (day >= next)
            day -= 7;
    } else {
        day = month_day(year, 1) + d->day;
        if (d->kind == RULE_JULIAN)
            day += (d->day >= 60 && leap(year) ? 1 : 0) - 1;
    }
    return day * DAY + d->time;
}

static int32_t rule_offset(const struct budget_zone *z, int64_t t, int64_t *next)
{
    *next = INT64_MAX;
    if (!z->has_dst)
        return z->std;
    int64_t year, best = INT64_MIN;
    int month;
    int32_t offset = z->std;
    civil(floor_div(t, DAY), &year, &month);
    for (int64_t y = year - 1; y <= year + 1; y++) {
        const int64_t at[2] = { rule_local(&z->start, y) - z->std, rule_local(&z->end, y) - z->dst };
        for (int i = 0; i < 2; i++) {
            /* Year-round summer time ends at the instant it begins again: then the beginning counts. */
            if (at[i] <= t && (at[i] > best || (at[i] == best && i == 0))) {
                best = at[i];
                offset = i == 0 ? z->dst : z->std;
            }
            if (at[i] > t && at[i] < *next)
                *next = at[i];
        }
    }
    return offset;
}

int32_t budget_zone_offset(const struct budget_zone *z, int64_t t, int64_t *next)
{
    size_t lo = 0, hi = z->count; /* the first transition after t */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (z->at[mid] <= t)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < z->count) {
        *next = z->at[lo];
        return lo == 0 ? z->first : z->offset[lo - 1];
    }
    if (z->has_rule)
        return rule_offset(z, t, next);
    *next = INT64_MAX;
    return z->count ? z->offset[z->count - 1] : z->first;
}

/* ---- TZif (RFC 8536 3) -------------------------------------------------------------------------------------------------- */

struct tzif_header {
    unsigned version;
    uint32_t isut, isstd, leap, time, type, chars;
};

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be_time(const unsigned char *p, size_t size)
{
    if (size == 4)
        return (int32_t)be32(p);
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

static bool tzif_header_read(const unsigned char *p, size_t n, struct tzif_header *h)
{
    if (n < 44 || memcmp(p, "TZif", 4) != 0)
        return false;
    *h = (struct tzif_header){ p[4], be32(p + 20), be32(p + 24), be32(p + 28), be32(p + 32), be32(p + 36), be32(p + 40) };
    return h->time <= 10000 && h->type >= 1 && h->type <= 256 && h->chars <= 10000 && h->leap <= 1000 && h->isut <= 256 &&
           h->isstd <= 256;
}

static size_t tzif_body(const struct tzif_header *h, size_t time_size)
{
    return h->time * (time_size + 1) + (size_t)h->type * 6 + h->chars + h->leap * (time_size + 4) + h->isstd + h->isut;
}

static bool tzif_read(struct budget_zone *z, const unsigned char *p, const struct tzif_header *h, size_t time_size)
{
    const unsigned char *types = p + h->time * time_size, *infos = types + h->time;
    if (h->leap != 0) /* "right/" zones count leap seconds: not UTC */
        return false;
    z->at = calloc(h->time + 1, sizeof *z->at);
    z->offset = calloc(h->time + 1, sizeof *z->offset);
    if (!z->at || !z->offset)
        return false;
    for (uint32_t i = 0; i < h->type; i++)
        if (abs((int32_t)be32(infos + 6 * i) / 2) > OFFSET_MAX / 2)
            return false;
    z->first = (int32_t)be32(infos);
    for (uint32_t i = 0; i < h->time; i++) {
        z->at[i] = be_time(p + i * time_size, time_size);
        if (types[i] >= h->type || (i > 0 && z->at[i] <= z->at[i - 1]))
            return false;
        z->offset[i] = (int32_t)be32(infos + 6 * types[i]);
    }
    z->count = h->time;
    return true;
}

static bool tzif_footer(struct budget_zone *z, const unsigned char *p, size_t n)
{
    char rule[128];
    if (n < 2 || p[0] != '\n')
        return false;
    const unsigned char *end = memchr(p + 1, '\n', n - 1);
    size_t len = end ? (size_t)(end - p - 1) : 0;
    if (!end || len >= sizeof rule)
        return false;
    memcpy(rule, p + 1, len);
    rule[len] = '\0';
    return len == 0 || rule_parse(z, rule);
}

struct budget_zone *budget_zone_parse(const unsigned char *p, size_t n)
{
    struct tzif_header h;
    size_t time_size = 4;
    struct budget_zone *z = calloc(1, sizeof *z);
    if (!z || !tzif_header_read(p, n, &h))
        goto bad;
    if (h.version >= '2') { /* the first body is for readers of old; the second has 64-bit times */
        size_t skip = 44 + tzif_body(&h, 4);
        if (skip > n || !tzif_header_read(p + skip, n - skip, &h))
            goto bad;
        p += skip;
        n -= skip;
        time_size = 8;
    }
    if (tzif_body(&h, time_size) > n - 44 || !tzif_read(z, p + 44, &h, time_size))
        goto bad;
    size_t used = 44 + tzif_body(&h, time_size);
    if (time_size == 8 && !tzif_footer(z, p + used, n - used))
        goto bad;
    return z;
bad:
    budget_zone_free(z);
    return NULL;
}

static bool name_fits(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 100 || name[0] == '/' || strstr(name, ".."))
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") == n;
}

struct budget_zone *budget_zone_load(const char *dir, const char *name, char *why, size_t why_size)
{
    char path[4096], fault[128];
    size_t n;
    struct budget_zone *z = NULL;
    if (strcmp(name, "UTC") == 0) {
        z = calloc(1, sizeof *z);
        if (!z)
            snprintf(why, why_size, "memory is out");
        return z;
    }
    if (!name_fits(name)) {
        snprintf(why, why_size, "\"%.100s\" is not a time zone; use an IANA name such as Europe/Berlin", name);
        return NULL;
    }
    snprintf(path, sizeof path, "%s/%s", dir ? dir : "/usr/share/zoneinfo", name);
    char *p = file_read(path, FILE_MAX, &n, NULL, fault, sizeof fault);
    if (p)
        z = budget_zone_parse((const unsigned char *)p, n);
    if (!z)
        snprintf(why, why_size, "\"%.100s\" is %s; use an IANA name such as Europe/Berlin (package tzdata)", name,
                 n ? "not a valid zone file" : "not among the installed time zones");
    free(p);
    return z;
}

void budget_zone_free(struct budget_zone *z)
{
    if (!z)
        return;
    free(z->at);
    free(z->offset);
    free(z);
}

/* ---- calendar windows: labels are local seconds since 1970 -------------------------------------------------------------- */

static int64_t label_floor(enum budget_calendar kind, int64_t local)
{
    int64_t day = floor_div(local, DAY), year;
    int month;
    switch (kind) {
    case BUDGET_MINUTE:
        return floor_div(local, 60) * 60;
    case BUDGET_HOUR:
        return floor_div(local, 3600) * 3600;
    case BUDGET_DAY:
        return day * DAY;
    case BUDGET_WEEK: /* day -3 was a Monday (ISO 8601) */
        return (floor_div(day + 3, 7) * 7 - 3) * DAY;
    default:
        break;
    }
    civil(day, &year, &month);
    if (kind == BUDGET_QUARTER)
        month -= (month - 1) % 3;
    return month_day(year, kind == BUDGET_YEAR ? 1 : month) * DAY;
}

static int64_t label_next(enum budget_calendar kind, int64_t label)
{
    static const int64_t step[] = { [BUDGET_MINUTE] = 60, [BUDGET_HOUR] = 3600, [BUDGET_DAY] = DAY, [BUDGET_WEEK] = 7 * DAY };
    int64_t year;
    int month;
    if (kind <= BUDGET_WEEK)
        return label + step[kind];
    civil(label / DAY, &year, &month);
    month += kind == BUDGET_MONTH ? 1 : kind == BUDGET_QUARTER ? 3 : 12;
    return month_day(year + (month > 12), month > 12 ? month - 12 : month) * DAY;
}

/* The first instant whose local time is at or past `label`. */
static int64_t label_instant(const struct budget_zone *z, int64_t label)
{
    int64_t t = label - OFFSET_MAX - 3600, next;
    for (;;) {
        int64_t reached = label - budget_zone_offset(z, t, &next);
        if (reached < t)
            reached = t;
        if (reached < next)
            return reached;
        t = next;
    }
}

void budget_calendar_window(const struct budget_zone *z, enum budget_calendar kind, int64_t now_us, int64_t *start_us, int64_t *end_us)
{
    int64_t now = floor_div(now_us, 1000000), unused;
    int64_t label = label_floor(kind, now + budget_zone_offset(z, now, &unused));
    int64_t start = label_instant(z, label), end;
    /* After a clock was set back over a border the local time is in a window that has ended already: go on in the later one. */
    for (;;) {
        label = label_next(kind, label);
        end = label_instant(z, label);
        if (end > now)
            break;
        start = end;
    }
    *start_us = start * 1000000;
    *end_us = end * 1000000;
}
