#include "console/private.h"

#include "base/clock.h"
#include "base/log.h"
#include "console/oidc.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

enum { ATTEMPT_S = 600, SEED = 96, WHY = 400, CODE_MAX = 4096 };

/* What the browser keeps while it is at the provider: when it left and a random number. */
static bool seed_make(char seed[SEED], int64_t now_us)
{
    uint8_t bytes[24];

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    int n = snprintf(seed, SEED, "%lld.", (long long)(now_us / 1000000));
    oidc_base64url(bytes, sizeof bytes, seed + n);
    return true;
}

static bool seed_fresh(struct slice seed, int64_t now_us)
{
    int64_t at = 0;
    size_t i = 0;

    for (; i < seed.n && i < 12 && seed.p[i] >= '0' && seed.p[i] <= '9'; i++)
        at = at * 10 + (seed.p[i] - '0');
    return i > 0 && i < seed.n && seed.n < SEED && seed.p[i] == '.' && at <= now_us / 1000000 && now_us / 1000000 - at <= ATTEMPT_S;
}

enum MHD_Result login_begin(struct exchange *x)
{
    struct console *c = x->c;
    char seed[SEED], cookie[512], why[WHY] = "no random numbers", url[OIDC_URL_MAX];
    struct oidc_attempt attempt;

    if (!seed_make(seed, clock_wall_us()))
        goto unavailable;
    oidc_attempt_derive(c->key, slice_cstr(seed), &attempt);
    bool ok = c->o.authorize(c->o.user, &attempt, url, sizeof url, why, sizeof why);
    OPENSSL_cleanse(&attempt, sizeof attempt);
    if (!ok)
        goto unavailable;
    http_cookie_make(c, c->attempt_cookie, seed, ATTEMPT_S, cookie, sizeof cookie);
    return http_redirect(x, url, (const char *[2]){ cookie, NULL });
unavailable:
    LOG(LOG_LEVEL_WARN, "console_login_unavailable", LOG_CSTR("error", why));
    return http_page(x, MHD_HTTP_SERVICE_UNAVAILABLE, "Signing in is not possible right now",
                     "The identity provider cannot be reached. Requests through the gateway are not affected.", c->o.url, "Try again");
}

static enum MHD_Result refused(struct exchange *x, enum console_outcome outcome, const char *why)
{
    char link[600];

    LOG(LOG_LEVEL_WARN, "console_login_refused", LOG_CSTR("reason", why));
    snprintf(link, sizeof link, "%s/login", x->c->base);
    if (outcome == CONSOLE_FORBIDDEN)
        return http_page(x, MHD_HTTP_FORBIDDEN, "This account has no access",
                         "You are signed in at the identity provider, but none of your groups may use this console. "
                         "Ask whoever runs the gateway.", link, "Sign in with another account");
    if (outcome == CONSOLE_UNAVAILABLE)
        return http_page(x, MHD_HTTP_SERVICE_UNAVAILABLE, "Signing in is not possible right now",
                         "The identity provider did not answer.", link, "Try again");
    return http_page(x, MHD_HTTP_BAD_REQUEST, "Signing in did not work",
                     "The sign-in was cancelled, took too long, or was begun in another browser.", link, "Try again");
}

static enum MHD_Result signed_in(struct exchange *x, struct console_person *who)
{
    struct console *c = x->c;
    char value[SESSION_COOKIE], cookie[512], gone[512], home[600];
    int64_t now = clock_wall_us(), until = who->expires_s * 1000000;

    if (until > now + c->o.session_us)
        until = now + c->o.session_us;
    if (until <= now || !sessions_begin(c->sessions, who, until, now, value))
        return refused(x, CONSOLE_REFUSED, "the token is over already");
    /* Whoever was signed in with this browser before is not any more. */
    sessions_end(c->sessions, http_cookie(x, c->session_cookie));
    http_cookie_make(c, c->session_cookie, value, (until - now) / 1000000, cookie, sizeof cookie);
    http_cookie_make(c, c->attempt_cookie, "", 0, gone, sizeof gone);
    snprintf(home, sizeof home, "%s/", c->base);
    LOG(LOG_LEVEL_INFO, "console_login", LOG_CSTR("user", who->user), LOG_CSTR("team", who->team),
        LOG_CSTR("role", who->role == CONSOLE_ADMIN ? "admin" : "viewer"));
    OPENSSL_cleanse(value, sizeof value);
    return http_redirect(x, home, (const char *[2]){ cookie, gone });
}

enum MHD_Result login_callback(struct exchange *x)
{
    struct console *c = x->c;
    struct slice seed = http_cookie(x, c->attempt_cookie);
    const char *state = http_argument(x, "state"), *code = http_argument(x, "code"), *error = http_argument(x, "error");
    struct console_person who = { .role = CONSOLE_NOBODY };
    struct oidc_attempt attempt;
    char why[WHY] = "";

    if (seed.n == 0 || !seed_fresh(seed, clock_wall_us()))
        return refused(x, CONSOLE_REFUSED, "no sign-in of this browser is under way");
    oidc_attempt_derive(c->key, seed, &attempt);
    enum console_outcome outcome = CONSOLE_REFUSED;
    if (state == NULL || !oidc_equal(slice_cstr(state), slice_cstr(attempt.state)))
        snprintf(why, sizeof why, "the answer is not for this sign-in (state)");
    else if (error != NULL)
        snprintf(why, sizeof why, "the provider refused: %.60s", error);
    else if (code == NULL || code[0] == '\0' || strlen(code) > CODE_MAX)
        snprintf(why, sizeof why, "the answer holds no code");
    else
        outcome = c->o.exchange(c->o.user, code, http_argument(x, "iss"), &attempt, &who, why, sizeof why);
    OPENSSL_cleanse(&attempt, sizeof attempt);
    return outcome == CONSOLE_SIGNED_IN && who.role != CONSOLE_NOBODY ? signed_in(x, &who) : refused(x, outcome, why);
}

/* POST, called by the page's own script: any other site's request lacks the header, and may not add it without our leave (CORS). */
enum MHD_Result login_end(struct exchange *x)
{
    struct console *c = x->c;
    char gone[512], at_provider[OIDC_URL_MAX] = "", *text = NULL;
    size_t n = 0;

    if (MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "X-Tollgate-Console") == NULL)
        return http_error(x, MHD_HTTP_FORBIDDEN, "only the console's own page signs out");
    sessions_end(c->sessions, http_cookie(x, c->session_cookie));
    http_cookie_make(c, c->session_cookie, "", 0, gone, sizeof gone);
    FILE *out = open_memstream(&text, &n);
    if (out == NULL)
        return MHD_NO;
    bool more = c->o.sign_out(c->o.user, at_provider, sizeof at_provider);
    fputs("{\"provider\":", out);
    json_text(out, more ? at_provider : NULL);
    fputs("}\n", out);
    if (fclose(out) != 0) {
        free(text);
        return MHD_NO;
    }
    return http_answer(x, MHD_HTTP_OK, "application/json", text, n, gone);
}
