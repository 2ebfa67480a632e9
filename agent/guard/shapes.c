#include "guard/redact.h"

#include <ctype.h>
#include <strings.h>

/* Every look ahead that may fail is bounded, so that a text made of beginnings costs no more than any other. */
enum { LOCAL_MAX = 64, DOMAIN_MAX = 255, LABEL_MAX = 63, TOKEN_LOOK = 64, RANDOM_MIN = 32, JWT_MIN = 20, VALUE_MIN = 6 };

struct text {
    const unsigned char *p;
    size_t n;
};

static bool digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool word(unsigned char c)
{
    return isalnum(c) || c >= 0x80;
}

static bool token(unsigned char c)
{
    return isalnum(c) || c == '-' || c == '_';
}

static bool ends(struct text t, size_t at)
{
    return at >= t.n || !word(t.p[at]);
}

/* ---- e-mail ------------------------------------------------------------------------------------------------------------- */

/* RFC 5321's usual form: local@label.label, unquoted. */
static size_t email(struct text t)
{
    size_t i = 0, dots = 0, label = 0, last = 0;

    while (i < t.n && i <= LOCAL_MAX && (word(t.p[i]) || strchr("._%+-'", t.p[i]) != NULL) && t.p[i] != '\0')
        i++;
    if (i == 0 || i > LOCAL_MAX || i >= t.n || t.p[i] != '@')
        return 0;
    size_t domain = ++i;
    for (; i < t.n && i - domain < DOMAIN_MAX && (word(t.p[i]) || t.p[i] == '-' || t.p[i] == '.'); i++) {
        if (t.p[i] != '.') {
            label++;
            if (dots > 0 && label >= 2 && t.p[i] != '-')
                last = i + 1; /* a top-level domain has two letters at least */
            continue;
        }
        if (label == 0)
            break;
        dots++;
        label = 0;
    }
    return last;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------ */

static bool luhn(const unsigned char *digits, size_t n)
{
    unsigned sum = 0;

    for (size_t i = 0; i < n; i++) {
        unsigned d = digits[n - 1 - i] - '0';
        d *= i % 2 ? 2 : 1;
        sum += d > 9 ? d - 9 : d;
    }
    return sum % 10 == 0;
}

/* Digits with single blanks or hyphens between them. */
static size_t card(struct text t)
{
    unsigned char digits[20];
    size_t n = 0, i = 0, good = 0;

    if (t.p[0] < '2' || t.p[0] > '6')
        return 0;
    for (; i < t.n && n < 20; i++) {
        if (digit(t.p[i])) {
            digits[n++] = t.p[i];
            if (n >= 13 && n <= 19 && ends(t, i + 1) && luhn(digits, n))
                good = i + 1;
        } else if ((t.p[i] != ' ' && t.p[i] != '-') || i == 0 || !digit(t.p[i - 1])) {
            break;
        }
    }
    return good;
}

/* Two letters, two check digits, 11 to 30 letters and digits; single blanks between. The longest that checks. */
static size_t iban(struct text t)
{
    unsigned char c[34];
    size_t n = 0, good = 0;

    if (t.n < 15 || !isalpha(t.p[0]) || !isalpha(t.p[1]) || !digit(t.p[2]) || !digit(t.p[3]))
        return 0;
    for (size_t i = 0; i < t.n && n < 34; i++) {
        if (t.p[i] == ' ' && i > 0 && t.p[i - 1] != ' ')
            continue;
        if (!isalnum(t.p[i]))
            break;
        c[n++] = t.p[i];
        if (n < 15 || !ends(t, i + 1))
            continue;
        unsigned rest = 0;
        for (size_t k = 0; k < n; k++) {
            unsigned char x = c[(k + 4) % n];
            rest = digit(x) ? (rest * 10 + (x - '0')) % 97 : (rest * 100 + (unsigned)(toupper(x) - 'A' + 10)) % 97;
        }
        if (rest == 1)
            good = i + 1;
    }
    return good;
}

/* Digits in groups; *count of them. Ends behind the last digit. Between two digits stand at most two of " -./()". */
static size_t groups(struct text t, size_t from, size_t *count, size_t *parts)
{
    size_t i = from, last = from, apart = 0;

    *count = 0;
    *parts = 1;
    for (; i < t.n && *count <= 16; i++) {
        if (digit(t.p[i])) {
            *parts += *count > 0 && apart > 0;
            (*count)++;
            last = i + 1;
            apart = 0;
        } else if (t.p[i] == '\0' || strchr(" -./()", t.p[i]) == NULL || ++apart > 2) {
            break;
        }
    }
    return last;
}

static size_t phone(struct text t)
{
    size_t count, parts, open = t.p[0] == '(' ? 1 : 0;

    if (t.p[0] == '+') {
        size_t end = t.n > 1 && (digit(t.p[1]) || t.p[1] == '(') ? groups(t, 1, &count, &parts) : 0;
        return end > 0 && count >= 8 && count <= 15 && ends(t, end) ? end : 0;
    }
    if (open >= t.n || !digit(t.p[open]))
        return 0;
    size_t end = groups(t, open, &count, &parts);
    if (!ends(t, end))
        return 0;
    bool national = t.p[open] == '0' && count >= 9 && count <= 15 && (t.n <= open + 1 || t.p[open + 1] != '.');
    bool american = t.p[open] >= '2' && count == 10 && parts == 3 && t.n > open + 7 && !digit(t.p[open + 3]) && digit(t.p[end - 4]) && !digit(t.p[end - 5]);
    return national || american ? end : 0;
}

/* ---- secrets ------------------------------------------------------------------------------------------------------------ */

static size_t token_end(struct text t, size_t i)
{
    while (i < t.n && token(t.p[i]))
        i++;
    return i;
}

/* A JWT's header begins with {" and is base64url: eyJ. */
static size_t jwt(struct text t)
{
    if (t.n < JWT_MIN || memcmp(t.p, "eyJ", 3) != 0)
        return 0;
    for (size_t i = 3; i < JWT_MIN; i++)
        if (!token(t.p[i]) && t.p[i] != '.')
            return 0;
    size_t i = token_end(t, 3);
    while (i + 1 < t.n && t.p[i] == '.' && token(t.p[i + 1]))
        i = token_end(t, i + 1);
    return i;
}

static size_t known_key(struct text t)
{
    static const struct {
        const char *prefix;
        size_t more; /* characters behind it, at least */
    } known[] = { { "sk-", 16 }, { "sk_live_", 12 }, { "sk_test_", 12 }, { "rk_live_", 12 }, { "pk_live_", 12 }, { "ghp_", 20 }, { "gho_", 20 }, { "ghu_", 20 },
                  { "ghs_", 20 }, { "ghr_", 20 }, { "github_pat_", 20 }, { "glpat-", 16 }, { "xoxb-", 10 }, { "xoxp-", 10 }, { "xoxa-", 10 }, { "xoxr-", 10 },
                  { "AKIA", 16 }, { "ASIA", 16 }, { "AIza", 30 }, { "hf_", 20 }, { "npm_", 20 }, { "pypi-", 20 }, { "SG.", 20 }, { "tg_", 40 }, { "hvs.", 20 },
                  { "dop_v1_", 20 }, { "shpat_", 20 } };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i].prefix), k = n;
        if (t.n < n + known[i].more || memcmp(t.p, known[i].prefix, n) != 0)
            continue;
        while (k < n + known[i].more && (token(t.p[k]) || t.p[k] == '.'))
            k++;
        if (k == n + known[i].more) {
            size_t end = token_end(t, k);
            return t.p[n - 1] == '.' && end + 1 < t.n && t.p[end] == '.' && token(t.p[end + 1]) ? token_end(t, end + 1) : end;
        }
    }
    return 0;
}

/* Long and of all kinds of characters, or long and hexadecimal. */
static size_t random_token(struct text t)
{
    bool upper = false, lower = false, number = false, hex = true;
    size_t i = 0;

    for (; i < t.n && i < TOKEN_LOOK && token(t.p[i]); i++) {
        upper = upper || isupper(t.p[i]);
        lower = lower || islower(t.p[i]);
        number = number || digit(t.p[i]);
        hex = hex && isxdigit(t.p[i]);
    }
    if (i < RANDOM_MIN || !number || !((upper && lower) || (hex && (upper || lower))))
        return 0;
    return token_end(t, i);
}

static bool starts(struct text t, const char *word_, size_t n)
{
    return t.n > n && strncasecmp((const char *)t.p, word_, n) == 0;
}

static size_t skip(struct text t, size_t i, const char *set, size_t most)
{
    for (; most > 0 && i < t.n && t.p[i] != '\0' && strchr(set, t.p[i]) != NULL; i++)
        most--;
    return i;
}

/* `Bearer x`, `password: x`, `"api_key" = "x"`: the value, and the word with it. */
static size_t named_value(struct text t)
{
    static const char *const names[] = { "password", "passwd", "passphrase", "secret", "client_secret", "api_key", "api-key", "apikey", "access_token", "auth_token",
                                         "private_key" };
    size_t i = 0, end;

    if (starts(t, "bearer ", 7)) {
        i = 7;
    } else {
        for (size_t k = 0; k < sizeof names / sizeof *names && i == 0; k++)
            if (starts(t, names[k], strlen(names[k])))
                i = skip(t, strlen(names[k]), "\"' ", 3);
        if (i == 0 || i >= t.n || (t.p[i] != '=' && t.p[i] != ':'))
            return 0;
        i = skip(t, i + 1, "\"' ", 3);
    }
    for (end = i; end < t.n && end < i + VALUE_MIN; end++)
        if (t.p[end] <= ' ' || strchr("\"'<>", t.p[end]) != NULL)
            return 0;
    if (end < i + VALUE_MIN)
        return 0;
    while (end < t.n && t.p[end] > ' ' && strchr("\"'<>,;", t.p[end]) == NULL)
        end++;
    return end;
}

static size_t pem(struct text t)
{
    static const char begin[] = "-----BEGIN ", what[] = "PRIVATE KEY-----", stop[] = "-----END ";
    size_t n = sizeof begin - 1;

    if (t.n < n || memcmp(t.p, begin, n) != 0)
        return 0;
    const unsigned char *kind = memmem(t.p + n, t.n - n < 40 ? t.n - n : 40, what, sizeof what - 1);
    if (kind == NULL)
        return 0;
    const unsigned char *end = memmem(kind, t.n - (size_t)(kind - t.p), stop, sizeof stop - 1);
    if (end == NULL)
        return t.n; /* cut off: all that is left is the key's */
    size_t i = (size_t)(end - t.p) + sizeof stop - 1;
    const unsigned char *dashes = memmem(t.p + i, t.n - i < 60 ? t.n - i : 60, "-----", 5);
    return dashes != NULL ? (size_t)(dashes - t.p) + 5 : i;
}

size_t guard_match(struct slice text, size_t at, enum guard_kind *kind)
{
    static const struct {
        enum guard_kind kind;
        size_t (*match)(struct text t);
    } shapes[] = { { GUARD_KEY, pem },    { GUARD_JWT, jwt },   { GUARD_KEY, named_value }, { GUARD_KEY, known_key }, { GUARD_EMAIL, email },
                   { GUARD_IBAN, iban }, { GUARD_CARD, card }, { GUARD_PHONE, phone },     { GUARD_KEY, random_token } };
    struct text t = { (const unsigned char *)text.p + at, text.n - at };

    if (t.n < 6 || !(word(t.p[0]) || strchr("+(-_", t.p[0]) != NULL) || t.p[0] == '\0')
        return 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t n = shapes[i].match(t);
        if (n > 0) {
            *kind = shapes[i].kind;
            return n;
        }
    }
    return 0;
}
