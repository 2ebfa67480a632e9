#include "credential/aws_keys.h"

#include "base/json_scan.h"

#include <ctype.h>
#include <stdio.h>
#include <time.h>

enum { VALUE_MAX = 4096 };

enum part { PART_NONE, PART_ID, PART_KEY, PART_TOKEN, PART_EXPIRY };

void aws_keys_clear(struct aws_keys *k)
{
    secret_free(k->key);
    secret_free(k->token);
    k->key = k->token = NULL;
}

/* Everything goes into header values: printable, without blanks. */
static bool plain(struct slice v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] > '~')
            return false;
    return v.n > 0 && v.n <= VALUE_MAX;
}

static bool two_digits(const char *p, int *out)
{
    if (!isdigit((unsigned char)p[0]) || !isdigit((unsigned char)p[1]))
        return false;
    *out = (p[0] - '0') * 10 + p[1] - '0';
    return true;
}

bool aws_time_parse(struct slice t, int64_t *seconds)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd";
    int century, year, month, day, hour, minute, second;

    if (t.n < sizeof shape - 1 || !two_digits(t.p, &century) || !two_digits(t.p + 2, &year) || !two_digits(t.p + 5, &month) ||
        !two_digits(t.p + 8, &day) || !two_digits(t.p + 11, &hour) || !two_digits(t.p + 14, &minute) || !two_digits(t.p + 17, &second))
        return false;
    for (size_t i = 0; shape[i] != '\0'; i++)
        if (shape[i] != 'd' && t.p[i] != shape[i])
            return false;
    size_t at = sizeof shape - 1;
    if (at < t.n && t.p[at] == '.')
        for (at++; at < t.n && isdigit((unsigned char)t.p[at]); at++)
            ;
    struct slice zone = slice_make(t.p + at, t.n - at);
    if (!slice_eq_cstr(zone, "Z") && !slice_eq_cstr(zone, "+00:00"))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;
    struct tm tm = { .tm_year = century * 100 + year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute,
                     .tm_sec = second };
    *seconds = (int64_t)timegm(&tm);
    return true;
}

/* False with *why set: a value that cannot be used. */
static bool take(struct aws_keys *k, enum part part, struct slice v, const char **why)
{
    struct secret **where = part == PART_KEY ? &k->key : &k->token;

    if (part == PART_TOKEN && v.n == 0)
        return true; /* long-term keys */
    if (!plain(v)) {
        *why = "a value is empty, too long or not printable ASCII";
        return false;
    }
    if (part == PART_EXPIRY) {
        *why = "Expiration must be a UTC time as in 2026-11-25T03:30:00Z";
        return aws_time_parse(v, &k->expires_s);
    }
    if (part == PART_ID) {
        *why = "the access key id is too long";
        return (size_t)snprintf(k->id, sizeof k->id, "%.*s", SLICE_FMT(v)) < sizeof k->id;
    }
    secret_free(*where); /* the last one counts */
    *where = secret_new(v.p, v.n);
    *why = "out of memory";
    return *where != NULL;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------- */

static enum part part_of_json(struct json_text key)
{
    static const struct {
        const char *name;
        enum part part;
    } names[] = { { "AccessKeyId", PART_ID },       { "SecretAccessKey", PART_KEY }, { "SessionToken", PART_TOKEN },
                  { "Token", PART_TOKEN },          { "Expiration", PART_EXPIRY },   { "access_key", PART_ID },
                  { "secret_key", PART_KEY },       { "security_token", PART_TOKEN }, { "session_token", PART_TOKEN } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_text_is(key, slice_cstr(names[i].name)))
            return names[i].part;
    return PART_NONE;
}

static bool take_json(struct aws_keys *k, enum part part, struct json_text value, const char **why)
{
    char buf[VALUE_MAX];

    *why = "a value is too long";
    if (value.raw.n > sizeof buf)
        return false;
    size_t n = json_unescape(value.raw, buf);
    bool ok = take(k, part, slice_make(buf, n), why);
    secret_wipe(buf, sizeof buf);
    return ok;
}

static bool read_json(struct slice text, struct aws_keys *k, const char **why)
{
    struct json_scan s;
    struct json_text key, value;

    *why = "it is not a JSON object";
    json_scan_begin(&s, text);
    if (!json_scan_enter(&s))
        return false;
    while (json_scan_key(&s, &key)) {
        enum part part = part_of_json(key);
        if (part != PART_NONE && json_scan_string(&s, &value)) {
            if (!take_json(k, part, value, why))
                return false;
        } else {
            json_scan_skip(&s, NULL);
        }
    }
    *why = "it is not a JSON object";
    return json_scan_end(&s);
}

/* ---- INI -------------------------------------------------------------------------------------------------------------- */

static struct slice trim(struct slice s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = slice_make(s.p + 1, s.n - 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

static enum part part_of_ini(struct slice name)
{
    if (slice_eq_cstr(name, "aws_access_key_id"))
        return PART_ID;
    if (slice_eq_cstr(name, "aws_secret_access_key"))
        return PART_KEY;
    return slice_eq_cstr(name, "aws_session_token") ? PART_TOKEN : PART_NONE;
}

static bool next_line(struct slice *text, struct slice *line)
{
    if (text->n == 0)
        return false;
    const char *end = memchr(text->p, '\n', text->n);
    size_t n = end != NULL ? (size_t)(end - text->p) : text->n;
    *line = trim(slice_make(text->p, n));
    n += end != NULL;
    *text = slice_make(text->p + n, text->n - n);
    return true;
}

static bool read_ini(struct slice text, struct aws_keys *k, const char **why)
{
    bool wanted = true, other = false; /* the default section; another one was met */
    struct slice line;

    while (next_line(&text, &line)) {
        if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';')
            continue;
        if (line.p[0] == '[') {
            wanted = slice_eq_cstr(line, "[default]") || (!other && k->key == NULL);
            other = true;
            if (slice_eq_cstr(line, "[default]"))
                aws_keys_clear(k);
            continue;
        }
        const char *eq = memchr(line.p, '=', line.n);
        if (eq == NULL) {
            *why = "a line is neither a section nor name = value";
            return false;
        }
        enum part part = part_of_ini(trim(slice_make(line.p, (size_t)(eq - line.p))));
        struct slice value = trim(slice_make(eq + 1, line.n - (size_t)(eq + 1 - line.p)));
        if (wanted && part != PART_NONE && !take(k, part, value, why))
            return false;
    }
    return true;
}

int aws_keys_parse(struct slice text, struct aws_keys *out, const char **why)
{
    size_t blank = 0;

    *out = (struct aws_keys){ .expires_s = -1 };
    *why = "";
    while (blank < text.n && isspace((unsigned char)text.p[blank]))
        blank++;
    bool ok = blank < text.n && text.p[blank] == '{' ? read_json(text, out, why) : read_ini(text, out, why);
    if (ok && (out->id[0] == '\0' || out->key == NULL)) {
        *why = "access key id or secret access key is missing (a credentials file, or JSON with AccessKeyId and SecretAccessKey)";
        ok = false;
    }
    if (!ok)
        aws_keys_clear(out);
    return ok ? 0 : -1;
}
