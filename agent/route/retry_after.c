#include "route/breaker.h"

#include <stdio.h>
#include <time.h>

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7); the two obsolete forms are not sent by anybody who would be asked here. */
static bool date_read(struct slice v, int64_t *s)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[32], month[4];
    struct tm tm = { .tm_isdst = 0 };

    if (v.n != 29)
        return false;
    memcpy(text, v.p, v.n);
    text[v.n] = '\0';
    if (sscanf(text, "%*3s, %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
        return false;
    const char *at = strlen(month) == 3 ? strstr(months, month) : NULL;
    if (at == NULL || (at - months) % 3 != 0 || tm.tm_year < 1970)
        return false;
    tm.tm_mon = (int)(at - months) / 3;
    tm.tm_year -= 1900;
    *s = (int64_t)timegm(&tm);
    return true;
}

int64_t breaker_retry_after_us(struct slice value, int64_t now_wall_us)
{
    int64_t s = 0;

    while (value.n > 0 && (value.p[0] == ' ' || value.p[0] == '\t'))
        value = slice_make(value.p + 1, value.n - 1);
    while (value.n > 0 && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
        value.n--;
    if (date_read(value, &s)) {
        int64_t us = s * 1000000 - now_wall_us;
        return us > 0 ? us : 0;
    }
    if (value.n == 0 || value.n > 9)
        return -1;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return -1;
        s = s * 10 + (value.p[i] - '0');
    }
    return s * 1000000;
}
