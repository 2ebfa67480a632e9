#include "budget/options.h"

#include <inttypes.h>
#include <stdio.h>

/* A cursor over the text of one value. */
struct text {
    const char *p, *end;
};

#define AMOUNT_MAX INT64_C(1000000000000000000)

static const char *const unit_names[] = { "usd", "tokens", "requests", "concurrent" };

const char *budget_unit_name(enum budget_unit unit)
{
    return unit_names[unit];
}

static int fail(char *why, size_t size, struct slice text, const char *problem)
{
    char shown[48];
    size_t n = 0;
    for (size_t i = 0; i < text.n && n < sizeof shown - 1; i++) {
        unsigned char c = (unsigned char)text.p[i];
        shown[n++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    shown[n] = '\0';
    snprintf(why, size, "\"%s\" %s", shown, problem);
    return -1;
}

static struct text text_of(struct slice s)
{
    struct text t = { s.n ? s.p : "", s.n ? s.p + s.n : "" };
    if (!s.n)
        t.end = t.p;
    return t;
}

static void skip_space(struct text *t)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\t'))
        t->p++;
}

static bool is_digit(const struct text *t)
{
    return t->p < t->end && *t->p >= '0' && *t->p <= '9';
}

static bool take(struct text *t, char c)
{
    if (t->p == t->end || *t->p != c)
        return false;
    t->p++;
    return true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* The letters at the cursor. */
static struct slice take_word(struct text *t)
{
    struct slice w = { t->p, 0 };
    while (t->p < t->end && lower(*t->p) >= 'a' && lower(*t->p) <= 'z')
        t->p++;
    w.n = (size_t)(t->p - w.p);
    return w;
}

static bool word_is(struct slice w, const char *s)
{
    size_t i = 0;
    for (; i < w.n && s[i]; i++)
        if (lower(w.p[i]) != s[i])
            return false;
    return i == w.n && !s[i];
}

static bool word_in(struct slice w, const char *const *list)
{
    for (; *list; list++)
        if (word_is(w, *list))
            return true;
    return false;
}

/* Digits with '_' between them and a decimal part: mantissa / 10^decimals. At most 27 digits, so 128 bits hold it. */
static const char *take_number(struct text *t, unsigned __int128 *mantissa, int *decimals)
{
    int digits = 0;
    bool point = false;
    *mantissa = 0;
    *decimals = 0;
    if (!is_digit(t))
        return "does not begin with a number";
    for (; t->p < t->end; t->p++) {
        if (is_digit(t)) {
            if (++digits > 27)
                return "has too many digits";
            *mantissa = *mantissa * 10 + (unsigned)(*t->p - '0');
            *decimals += point;
        } else if (*t->p == '.' && !point) {
            point = true;
            if (t->end - t->p < 2 || t->p[1] < '0' || t->p[1] > '9')
                return "has no digit behind the decimal point";
        } else if (*t->p == ',') {
            return "has a comma: write 1000 or 1_000, and 0.5 with a point";
        } else if (*t->p != '_' || t->end - t->p < 2 || t->p[1] < '0' || t->p[1] > '9') {
            break;
        }
    }
    return NULL;
}

/* mantissa * 10^exponent as an int64 of at most `max`; false when it is not whole or too large. */
static const char *scale(unsigned __int128 m, int exponent, int64_t max, int64_t *out)
{
    for (; exponent > 0 && m != 0; exponent--) {
        if (m > (unsigned __int128)max)
            return "is too large";
        m *= 10;
    }
    for (; exponent < 0 && m != 0; exponent++) {
        if (m % 10 != 0)
            return "is finer than the smallest unit (10^-9 dollars, one token, one request, one microsecond)";
        m /= 10;
    }
    if (m > (unsigned __int128)max)
        return "is too large";
    *out = (int64_t)m;
    return NULL;
}

static bool take_suffix(struct text *t, int *exponent)
{
    static const struct { char c; int e; } suffixes[] = { { 'k', 3 }, { 'K', 3 }, { 'M', 6 }, { 'G', 9 } };
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (t->p == t->end || *t->p != suffixes[i].c)
            continue;
        char next = t->end - t->p > 1 ? lower(t->p[1]) : ' ';
        if (next >= 'a' && next <= 'z')
            return false;
        t->p++;
        *exponent += suffixes[i].e;
        return true;
    }
    return false;
}

static const char *take_amount(struct text *t, enum budget_unit unit, int64_t *out)
{
    static const char *const words[][6] = {
        [BUDGET_USD] = { "usd", "dollar", "dollars", NULL },
        [BUDGET_TOKENS] = { "token", "tokens", "tok", NULL },
        [BUDGET_REQUESTS] = { "request", "requests", "req", NULL },
        [BUDGET_CONCURRENT] = { "concurrent", "request", "requests", NULL },
    };
    unsigned __int128 mantissa;
    int decimals, exponent = unit == BUDGET_USD ? 9 : 0;
    skip_space(t);
    if (take(t, '$')) {
        if (unit != BUDGET_USD)
            return "is in dollars, but the limit's unit is not usd";
        skip_space(t);
    }
    const char *bad = take_number(t, &mantissa, &decimals);
    if (bad)
        return bad;
    skip_space(t);
    take_suffix(t, &exponent);
    skip_space(t);
    struct text before = *t;
    struct slice word = take_word(t);
    if (word_is(word, "per"))
        *t = before;
    else if (word.n && !word_in(word, words[unit]))
        return unit == BUDGET_USD ? "has an unknown word; allowed are $, usd and the suffixes k, M, G"
                                  : "has an unknown word; allowed are the limit's unit and the suffixes k, M, G";
    return scale(mantissa, exponent - decimals, AMOUNT_MAX, out);
}

int budget_parse_amount(struct slice text, enum budget_unit unit, int64_t *out, char *why, size_t why_size)
{
    struct text t = text_of(text);
    int64_t v;
    const char *bad = take_amount(&t, unit, &v);
    skip_space(&t);
    if (!bad && t.p != t.end)
        bad = "has something behind the amount";
    if (bad)
        return fail(why, why_size, text, bad);
    *out = v;
    return 0;
}

struct duration_unit {
    const char *words[6];
    int64_t us;
};

static const struct duration_unit *find_duration_unit(struct slice w)
{
    static const struct duration_unit units[] = {
        { { "us", "usec", "microsecond", "microseconds" }, 1 },
        { { "ms", "msec", "millisecond", "milliseconds" }, 1000 },
        { { "s", "sec", "secs", "second", "seconds" }, 1000000 },
        { { "m", "min", "mins", "minute", "minutes" }, INT64_C(60) * 1000000 },
        { { "h", "hr", "hrs", "hour", "hours" }, INT64_C(3600) * 1000000 },
        { { "d", "day", "days" }, INT64_C(86400) * 1000000 },
        { { "w", "week", "weeks" }, INT64_C(7) * 86400 * 1000000 },
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (word_in(w, units[i].words))
            return &units[i];
    return NULL;
}

/* `bare` allows the number to be left out once: the "min" of "50/min". */
static const char *take_duration(struct text *t, bool bare, int64_t *out)
{
    const int64_t max = INT64_C(36500) * 86400 * 1000000;
    int64_t sum = 0;
    skip_space(t);
    if (t->p == t->end)
        return "has no duration";
    while (t->p < t->end) {
        unsigned __int128 m = 1;
        int decimals = 0;
        int64_t part;
        const char *bad = bare && !is_digit(t) ? NULL : take_number(t, &m, &decimals);
        if (bad)
            return bad;
        bare = false;
        skip_space(t);
        const struct duration_unit *u = find_duration_unit(take_word(t));
        if (!u)
            return "needs a unit of time: us, ms, s, min, h, d or w";
        if (m > (unsigned __int128)max * 1000000)
            return "is too long";
        bad = scale(m * (unsigned __int128)u->us, -decimals, max, &part);
        if (bad)
            return bad;
        if (part > max - sum)
            return "is too long";
        sum += part;
        skip_space(t);
    }
    if (sum == 0)
        return "is no time at all; a duration must be more than zero";
    *out = sum;
    return NULL;
}

int budget_parse_duration(struct slice text, int64_t *out_us, char *why, size_t why_size)
{
    struct text t = text_of(text);
    const char *bad = take_duration(&t, false, out_us);
    return bad ? fail(why, why_size, text, bad) : 0;
}

int budget_parse_rate(struct slice text, enum budget_unit unit, int64_t *amount, int64_t *period_us, char *why, size_t why_size)
{
    struct text t = text_of(text);
    int64_t v, period;
    const char *bad = take_amount(&t, unit, &v);
    if (!bad) {
        skip_space(&t);
        if (!take(&t, '/') && !word_is(take_word(&t), "per"))
            bad = "is not a rate: write amount/time, as in \"50000/min\"";
        else
            bad = take_duration(&t, true, &period);
    }
    if (bad)
        return fail(why, why_size, text, bad);
    *amount = v;
    *period_us = period;
    return 0;
}

const char *budget_format_amount(int64_t amount, enum budget_unit unit, char *buf, size_t size)
{
    if (unit != BUDGET_USD) {
        snprintf(buf, size, "%" PRId64, amount);
        return buf;
    }
    uint64_t v = amount < 0 ? 0 - (uint64_t)amount : (uint64_t)amount;
    char digits[16];
    snprintf(digits, sizeof digits, "%09" PRIu64, v % 1000000000);
    int n = 9;
    while (n > 2 && digits[n - 1] == '0')
        n--;
    snprintf(buf, size, "%s$%" PRIu64 ".%.*s", amount < 0 ? "-" : "", v / 1000000000, n, digits);
    return buf;
}
