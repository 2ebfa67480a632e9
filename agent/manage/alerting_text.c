#include "manage/alerting_text.h"

#include "base/secret.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { KEY_MIN = 24, KEY_MAX = 512, SUBJECT_MAX = 2048 };

static void instant(int64_t us, char *out, size_t size)
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;

    gmtime_r(&s, &tm);
    strftime(out, size, "\"%Y-%m-%dT%H:%M:%SZ\"", &tm);
}

/* JSON's escapes; stops where an escape would not fit. */
static void escape(const char *text, char *out, size_t size)
{
    size_t n = 0;

    for (; *text != '\0' && n + 7 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            out[n++] = '\\';
        if (c < 0x20 || c == 0x7f)
            n += (size_t)snprintf(out + n, size - n, "\\u%04x", c);
        else
            out[n++] = (char)c;
    }
    out[n] = '\0';
}

/* Dollars as decimal text: no figure passes through floating point. */
static void amount(int64_t v, enum budget_unit unit, char *out, size_t size)
{
    char text[32];

    if (unit != BUDGET_USD) {
        snprintf(out, size, "%" PRId64, v);
        return;
    }
    const char *dollars = budget_format_amount(v, unit, text, sizeof text);
    snprintf(out, size, "\"%s\"", dollars[0] == '$' ? dollars + 1 : dollars);
}

void alert_body(const struct budget_notice *n, const char *event, char out[static ALERT_BODY_SIZE])
{
    char at[40], resets[40] = "null", limit_amount[48], used[48], limit[2 * BUDGET_NAME_MAX + 8], subject[SUBJECT_MAX];

    instant(n->at_us, at, sizeof at);
    if (n->state.reset_us > 0)
        instant(n->state.reset_us, resets, sizeof resets);
    amount(n->state.amount, n->state.unit, limit_amount, sizeof limit_amount);
    amount(n->state.used, n->state.unit, used, sizeof used);
    escape(n->state.limit, limit, sizeof limit);
    escape(n->subject, subject, sizeof subject);
    snprintf(out, ALERT_BODY_SIZE,
             "{\"type\":\"limit.threshold\",\"id\":\"%s\",\"timestamp\":%s,\"data\":{\"limit\":\"%s\",\"level\":\"%s\",\"subject\":\"%s\","
             "\"window\":\"%s\",\"unit\":\"%s\",\"action\":\"%s\",\"percent\":%d,\"amount\":%s,\"used\":%s,\"resets_at\":%s}}",
             event, at, limit, n->state.level, subject, n->state.window, budget_unit_name(n->state.unit), n->action, n->percent,
             limit_amount, used, resets);
}

/* The key's bytes, or 0. */
static size_t key_of(struct slice secret, unsigned char key[static KEY_MAX + 4])
{
    static const char prefix[] = "whsec_";
    size_t skip = sizeof prefix - 1;

    if (secret.n > KEY_MAX)
        return 0;
    if (secret.n < skip || memcmp(secret.p, prefix, skip) != 0) {
        memcpy(key, secret.p, secret.n);
        return secret.n >= KEY_MIN ? secret.n : 0;
    }
    int n = EVP_DecodeBlock(key, (const unsigned char *)secret.p + skip, (int)(secret.n - skip));
    for (size_t i = secret.n; n > 0 && i > skip && secret.p[i - 1] == '='; i--)
        n--; /* it writes zeros for the padding */
    return n >= KEY_MIN ? (size_t)n : 0;
}

bool alert_secret_good(struct slice secret)
{
    unsigned char key[KEY_MAX + 4];
    bool good = key_of(secret, key) > 0;

    secret_wipe(key, sizeof key);
    return good;
}

bool alert_sign(struct slice secret, const char *event, int64_t timestamp_s, struct slice body, char *out, size_t size)
{
    static const char name[] = "webhook-signature: v1,";
    unsigned char key[KEY_MAX + 4], digest[32], text[64];
    char signed_text[ALERT_EVENT_SIZE + 32 + ALERT_BODY_SIZE];
    unsigned digest_n = 0;
    size_t n = key_of(secret, key);
    int len = snprintf(signed_text, sizeof signed_text, "%s.%" PRId64 ".%.*s", event, timestamp_s, SLICE_FMT(body));
    bool ok = n > 0 && len > 0 && (size_t)len < sizeof signed_text &&
              HMAC(EVP_sha256(), key, (int)n, (const unsigned char *)signed_text, (size_t)len, digest, &digest_n) != NULL;

    secret_wipe(key, sizeof key);
    if (!ok)
        return false;
    EVP_EncodeBlock(text, digest, (int)digest_n);
    return (size_t)snprintf(out, size, "%s%s", name, (const char *)text) < size;
}
