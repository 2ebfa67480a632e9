#include "price/price.h"

enum { MANTISSA_DIGITS = 30, EXPONENT_MAX = 9999 };

struct decimal {
    unsigned __int128 mantissa; /* the first MANTISSA_DIGITS significant digits; cutting the rest leaves half-up rounding as it is */
    int significant;            /* digits in it */
    long exponent;              /* value = mantissa * 10^exponent */
};

static void add_digit(struct decimal *d, char ch, bool fraction)
{
    if (d->significant == 0 && ch == '0') {
        d->exponent -= fraction;
    } else if (d->significant < MANTISSA_DIGITS) {
        d->mantissa = d->mantissa * 10 + (unsigned)(ch - '0');
        d->significant++;
        d->exponent -= fraction;
    } else {
        d->exponent += !fraction;
    }
}

/* Digits and a point. Returns where it stopped; NULL when there is no digit. */
static const char *read_digits(const char *p, const char *end, struct decimal *d)
{
    bool fraction = false;
    int seen = 0;
    for (; p < end; p++) {
        if (*p == '.' && !fraction) {
            fraction = true;
        } else if (*p >= '0' && *p <= '9') {
            add_digit(d, *p, fraction);
            seen = 1;
        } else {
            break;
        }
    }
    return seen ? p : NULL;
}

static const char *read_exponent(const char *p, const char *end, long *exponent)
{
    bool negative = false;
    long e = 0;
    if (p < end && (*p == '+' || *p == '-'))
        negative = *p++ == '-';
    if (p == end)
        return NULL;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        e = e >= EXPONENT_MAX ? EXPONENT_MAX : e * 10 + (*p - '0');
    *exponent += negative ? -e : e;
    return p;
}

int price_parse_decimal(struct slice text, int scale, int64_t *out, bool *rounded)
{
    const char *p = text.p, *end = text.p ? text.p + text.n : NULL;
    struct decimal d = { 0, 0, 0 };
    bool negative = text.n > 0 && *p == '-', cut = false;
    p = text.n > 0 ? read_digits(p + negative, end, &d) : NULL;
    if (p && p < end && (*p == 'e' || *p == 'E'))
        p = read_exponent(p + 1, end, &d.exponent);
    if (!p || p != end)
        return PRICE_ESYNTAX;
    if (negative && d.mantissa != 0)
        return PRICE_ERANGE;
    long shift = d.mantissa == 0 ? 0 : d.exponent + scale;
    unsigned __int128 v = d.mantissa;
    for (; shift > 0; shift--) {
        if (v > INT64_MAX)
            return PRICE_ERANGE;
        v *= 10;
    }
    unsigned last = 0; /* the first digit that is cut off decides */
    for (; shift < 0; shift++) {
        if (v == 0 && last == 0)
            break;
        cut = cut || last != 0;
        last = (unsigned)(v % 10);
        v /= 10;
    }
    cut = cut || last != 0;
    if (shift == 0)
        v += last >= 5;
    if (v == 0 && d.mantissa != 0)
        v = 1;
    if (v > INT64_MAX)
        return PRICE_ERANGE;
    *out = (int64_t)v;
    if (rounded)
        *rounded = cut;
    return PRICE_DONE;
}
