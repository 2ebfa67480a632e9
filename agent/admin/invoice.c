#include "admin/invoice.h"

#include "admin/period.h"

#include <stdio.h>
#include <strings.h>

enum { NAMES_MAX = 6, SHOWN_MAX = 40 };

static const char *const names[INVOICE_COLUMNS][NAMES_MAX] = {
    [INVOICE_DAY] = { "date", "day", "usage_date", "usage_date_utc", "start_time_iso", "start_time" },
    [INVOICE_MODEL] = { "model", "model_version", "snapshot_id" },
    [INVOICE_LINE_ITEM] = { "line_item" },
    [INVOICE_KEY] = { "key", "api_key", "api_key_name", "provider_key" },
    [INVOICE_KEY_ID] = { "api_key_id" },
    [INVOICE_REQUESTS] = { "requests", "num_model_requests", "n_requests" },
    [INVOICE_INPUT] = { "input_tokens", "prompt_tokens", "n_context_tokens_total" },
    [INVOICE_UNCACHED] = { "usage_input_tokens_no_cache" },
    [INVOICE_CACHE_WRITE] = { "usage_input_tokens_cache_write_5m" },
    [INVOICE_CACHE_WRITE_1H] = { "usage_input_tokens_cache_write_1h" },
    [INVOICE_CACHE_READ] = { "usage_input_tokens_cache_read" },
    [INVOICE_CACHED] = { "cached_tokens", "input_cached_tokens", "cached_input_tokens" },
    [INVOICE_OUTPUT] = { "output_tokens", "completion_tokens", "usage_output_tokens", "n_generated_tokens_total" },
    [INVOICE_COST] = { "cost", "cost_usd", "amount_value", "amount" },
    [INVOICE_CURRENCY] = { "currency", "amount_currency" },
};

/* ---- heading ----------------------------------------------------------------------------------------------------- */

static bool is(struct slice text, const char *name)
{
    return text.n == strlen(name) && strncasecmp(text.p, name, text.n) == 0;
}

/* Of several names the one that stands first in the list: start_time_iso says more than start_time. */
static int find(const struct slice *fields, int n, enum invoice_column c)
{
    for (int k = 0; k < NAMES_MAX && names[c][k] != NULL; k++)
        for (int i = 0; i < n; i++)
            if (is(fields[i], names[c][k]))
                return i;
    return -1;
}

static bool missing(enum invoice_column c, const char *what, char *why, size_t size)
{
    size_t used = (size_t)snprintf(why, size, "no column for the %s; its heading may be:", what);

    for (int k = 0; k < NAMES_MAX && names[c][k] != NULL && used < size; k++)
        used += (size_t)snprintf(why + used, size - used, " %s", names[c][k]);
    return false;
}

bool invoice_heading_read(const struct slice *fields, int n, struct invoice_heading *h, char *why, size_t size)
{
    *h = (struct invoice_heading){ .fields = n };
    for (int c = 0; c < INVOICE_COLUMNS; c++)
        h->at[c] = find(fields, n, (enum invoice_column)c);
    if (h->at[INVOICE_DAY] < 0)
        return missing(INVOICE_DAY, "date", why, size);
    if (h->at[INVOICE_MODEL] < 0 && h->at[INVOICE_LINE_ITEM] < 0)
        return missing(INVOICE_MODEL, "model (or line_item; an export of days without use has none)", why, size);
    bool input = h->at[INVOICE_INPUT] >= 0 || h->at[INVOICE_UNCACHED] >= 0, output = h->at[INVOICE_OUTPUT] >= 0;
    if (input && !output)
        return missing(INVOICE_OUTPUT, "output tokens", why, size);
    if (output && !input)
        return missing(INVOICE_INPUT, "input tokens", why, size);
    h->tokens = input;
    h->cost = h->at[INVOICE_COST] >= 0;
    if (!h->tokens && !h->cost) {
        snprintf(why, size, "neither tokens (input_tokens, output_tokens) nor a cost");
        return false;
    }
    h->cached = h->tokens && (h->at[INVOICE_CACHED] >= 0 || h->at[INVOICE_CACHE_READ] >= 0);
    h->requests = h->at[INVOICE_REQUESTS] >= 0;
    h->keys = h->at[INVOICE_KEY] >= 0 || h->at[INVOICE_KEY_ID] >= 0;
    return true;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

struct decimal {
    bool negative;
    int64_t digits;  /* up to 18 of them, without leading zeros; the rest cannot matter */
    int exponent;    /* digits * 10^exponent */
    bool half;       /* what was cut off the digits is half a unit or more */
};

static bool exponent_read(const char *p, const char *end, int *out)
{
    bool negative = p < end && *p == '-';
    int v = 0;

    p += p < end && (*p == '-' || *p == '+');
    if (p == end || end - p > 3)
        return false;
    for (; p < end; p++) {
        if (!digit(*p))
            return false;
        v = v * 10 + (*p - '0');
    }
    *out = negative ? -v : v;
    return true;
}

static bool decimal_read(struct slice text, struct decimal *out)
{
    const char *p = text.p, *end = text.p + text.n;
    bool any = false, point = false, cut = false;
    int exponent = 0;

    *out = (struct decimal){ .negative = p < end && *p == '-' };
    p += p < end && (*p == '-' || *p == '+');
    for (; p < end && (digit(*p) || (*p == '.' && !point)); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        if (out->digits < INT64_C(100000000000000000)) {
            out->digits = out->digits * 10 + (*p - '0');
            out->exponent -= point;
        } else {
            out->half = cut ? out->half : *p >= '5';
            cut = true;
            out->exponent += !point;
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        if (!exponent_read(p + 1, end, &exponent))
            return false;
        p = end;
    }
    out->exponent += exponent;
    return any && p == end;
}

bool invoice_number(struct slice text, int scale, int64_t *out, int *exponent)
{
    struct decimal d;

    if (!decimal_read(text, &d))
        return false;
    *exponent = d.exponent > 0 ? 0 : d.exponent;
    int shift = d.exponent + scale;
    bool up = d.half && shift == 0;
    for (; shift > 0 && d.digits != 0; shift--) {
        if (d.digits > INT64_C(10000000000000000))
            return false;
        d.digits *= 10;
    }
    for (; shift < 0 && (d.digits != 0 || up); shift++) {
        up = d.digits % 10 >= 5;
        d.digits /= 10;
    }
    d.digits += up;
    *out = d.negative ? -d.digits : d.digits;
    return d.digits <= INT64_C(100000000000000000);
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static struct slice cell(const struct invoice_heading *h, const struct slice *fields, enum invoice_column c)
{
    struct slice s = h->at[c] < 0 ? SLICE_NONE : fields[h->at[c]];

    while (s.n > 0 && s.p[0] == ' ')
        s = slice_make(s.p + 1, s.n - 1);
    while (s.n > 0 && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

static bool bad(const char *what, struct slice text, const char *wanted, char *why, size_t size)
{
    snprintf(why, size, "%s: \"%.*s\" %s", what, text.n < SHOWN_MAX ? (int)text.n : SHOWN_MAX, text.n > 0 ? text.p : "", wanted);
    return false;
}

/* An empty cell is 0. */
static bool count_read(const struct invoice_heading *h, const struct slice *fields, enum invoice_column c, int64_t *sum, char *why, size_t size)
{
    struct slice text = cell(h, fields, c);
    int64_t v = 0;
    int exponent = 0;

    if (text.n == 0)
        return true;
    if (!invoice_number(text, 3, &v, &exponent) || v < 0 || v % 1000 != 0) /* "3.0" is one, as Python writes it */
        return bad(names[c][0], text, "is no whole number of 0 or more", why, size);
    *sum += v / 1000;
    return *sum <= INT64_C(100000000000000000) || bad(names[c][0], text, "is too large", why, size);
}

/* "+02:00", "-0800", "Z" behind a time. False: none of them. */
static bool offset_read(const char *p, const char *end, int64_t *seconds)
{
    int sign = p < end && *p == '-' ? -1 : 1;

    if (end - p == 1 && (*p == 'Z' || *p == 'z'))
        return true;
    if (p == end || (*p != '+' && *p != '-'))
        return false;
    p++;
    if ((end - p != 5 || p[2] != ':') && end - p != 4)
        return false;
    const char *m = end - 2;
    if (!digit(p[0]) || !digit(p[1]) || !digit(m[0]) || !digit(m[1]))
        return false;
    *seconds = sign * (((p[0] - '0') * 10 + (p[1] - '0')) * 3600 + ((m[0] - '0') * 10 + (m[1] - '0')) * 60);
    return *seconds > -PERIOD_DAY_S && *seconds < PERIOD_DAY_S;
}

/* A date; a date and a time, with an offset or without; seconds since 1970. */
static bool day_read(struct slice text, struct invoice_line *out)
{
    char head[20];
    struct period p;
    int64_t v = 0, offset = 0;
    int exponent = 0;

    if (text.n >= 9 && text.n <= 13 && invoice_number(text, 0, &v, &exponent) && v > 0 && v < INT64_C(4102444800)) {
        out->instant = true;
        out->start_s = v;
        period_day_text(v, out->day, sizeof out->day);
        return true;
    }
    if (text.n < 10)
        return false;
    memcpy(out->day, text.p, 10);
    out->day[10] = '\0';
    if (!period_parse(out->day, &p))
        return false;
    if (text.n == 10)
        return true;
    size_t n = 10;
    while (n < text.n && n < sizeof head - 1 && text.p[n] != '.' && text.p[n] != 'Z' && text.p[n] != 'z' && text.p[n] != '+' && text.p[n] != '-')
        n++;
    memcpy(head, text.p, n);
    head[n] = '\0';
    if (!period_instant(head, &out->start_s))
        return false;
    if (n < text.n && text.p[n] == '.')
        for (n++; n < text.n && digit(text.p[n]);)
            n++;
    if (n == text.n)
        return true;
    out->instant = offset_read(text.p + n, text.p + text.n, &offset);
    out->start_s -= offset;
    return out->instant;
}

/* "gpt-4o-2024-08-06, cached input": the model is what stands in front of the last comma. */
static struct slice item_model(struct slice item)
{
    for (size_t i = item.n; i > 0; i--)
        if (item.p[i - 1] == ',')
            return slice_make(item.p, i - 1);
    return item;
}

static bool cost_read(const struct invoice_heading *h, const struct slice *fields, struct invoice_line *out, char *why, size_t size)
{
    struct slice cost = cell(h, fields, INVOICE_COST), currency = cell(h, fields, INVOICE_CURRENCY);
    int exponent = 0;

    if (cost.n > 0 && !invoice_number(cost, 9, &out->cost_nano, &exponent))
        return bad("cost", cost, "is no amount; wanted: 12.34, without currency and thousands' separators", why, size);
    if (currency.n > 0 && !is(currency, "usd"))
        return bad("currency", currency, "is not USD, which the ledger keeps", why, size);
    for (out->unit_nano = 1; exponent > -9; exponent--)
        out->unit_nano *= 10;
    return true;
}

bool invoice_line_read(const struct invoice_heading *h, const struct slice *fields, int n, struct invoice_line *out, char *why, size_t size)
{
    static const enum invoice_column inputs[] = { INVOICE_INPUT, INVOICE_UNCACHED, INVOICE_CACHE_WRITE, INVOICE_CACHE_WRITE_1H, INVOICE_CACHE_READ };

    *out = (struct invoice_line){ .unit_nano = 1 };
    if (n != h->fields) {
        snprintf(why, size, "it has %d fields, the heading has %d", n, h->fields);
        return false;
    }
    if (!day_read(cell(h, fields, INVOICE_DAY), out))
        return bad("date", cell(h, fields, INVOICE_DAY), "is no date; wanted: 2026-11-23, a time with it, or seconds since 1970", why, size);
    out->model = cell(h, fields, INVOICE_MODEL);
    if (out->model.n == 0)
        out->model = item_model(cell(h, fields, INVOICE_LINE_ITEM));
    out->key = cell(h, fields, INVOICE_KEY);
    out->key_id = cell(h, fields, INVOICE_KEY_ID);
    /* Anthropic's input is what came from no cache, in columns of its own; OpenAI's is the sum, and INPUT alone. */
    for (size_t i = h->at[INVOICE_UNCACHED] >= 0; i < (h->at[INVOICE_UNCACHED] >= 0 ? sizeof inputs / sizeof *inputs : 1); i++)
        if (!count_read(h, fields, inputs[i], &out->input, why, size))
            return false;
    if (!count_read(h, fields, h->at[INVOICE_UNCACHED] >= 0 ? INVOICE_CACHE_READ : INVOICE_CACHED, &out->cached, why, size) ||
        !count_read(h, fields, INVOICE_OUTPUT, &out->output, why, size) || !count_read(h, fields, INVOICE_REQUESTS, &out->requests, why, size) ||
        !cost_read(h, fields, out, why, size))
        return false;
    if (out->cached > out->input)
        return bad("cached tokens", cell(h, fields, INVOICE_CACHED), "are more than the input they are part of", why, size);
    out->empty = out->model.n == 0 && out->input == 0 && out->output == 0 && out->cost_nano == 0;
    if (out->model.n == 0 && !out->empty) {
        snprintf(why, size, "no model; export it grouped by model (usage) or line item (costs)");
        return false;
    }
    return true;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* Without a date at its end: -YYYY-MM-DD, -YYYYMMDD. */
static size_t undated(const char *p, size_t n)
{
    static const char *const shapes[] = { "-dddd-dd-dd", "-dddddddd" };

    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(shapes[i]), k = 0;
        if (n <= len)
            continue;
        while (k < len && (shapes[i][k] == 'd' ? digit(p[n - len + k]) : p[n - len + k] == shapes[i][k]))
            k++;
        if (k == len)
            return n - len;
    }
    return n;
}

size_t invoice_model(struct slice name, char *buf, size_t size)
{
    size_t n = 0;

    for (size_t i = name.n; i > 1; i--)
        if (name.p[i - 1] == '/' && i < name.n && name.p[0] != '/') { /* "/v1/audio" is a path, no vendor's model */
            name = slice_make(name.p + i, name.n - i);
            break;
        }
    for (size_t i = 0; i < name.n && n + 1 < size; i++) {
        char c = name.p[i];
        buf[n++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c == ' ' || c == '.' || c == '_' ? '-' : c);
    }
    n = undated(buf, n);
    if (size > 0)
        buf[n] = '\0';
    return n;
}
