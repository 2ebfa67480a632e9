/* tollgatectl key create, list, rotate, revoke: keys are made here and shown once; the agent gets their digest. */
#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "base/clock.h"
#include "base/secret.h"
#include "config/config.h"
#include "identity/gateway_key.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

enum { RPC_TIMEOUT_S = 10, DIGEST_TEXT = 7 + 64 + 1, WORDS_MAX = 2, LIFE_DEFAULT_S = 365 * 86400 };

struct wishes {
    struct ctl_place place;
    const char *organization, *team, *user, *application, *cost_center, *groups, *models, *endpoints, *budget, *lasts, *overlap, *note;
    bool json;
};

static void digest_of(const char *key, char out[static DIGEST_TEXT])
{
    unsigned char digest[32];

    EVP_Digest(key, strlen(key), digest, NULL, EVP_sha256(), NULL);
    size_t at = (size_t)snprintf(out, DIGEST_TEXT, "digest:");
    for (size_t i = 0; i < sizeof digest; i++)
        at += (size_t)snprintf(out + at, DIGEST_TEXT - at, "%02x", digest[i]);
}

/* "a, b" -> one a line. False: longer than any list. */
static bool lines_of(const char *list, char *out, size_t size)
{
    size_t n = 0;

    while (*list != '\0' && n + 1 < size) {
        list += strspn(list, ", ");
        size_t len = strcspn(list, ",");
        while (len > 0 && list[len - 1] == ' ')
            len--;
        if (len > 0)
            n += (size_t)snprintf(out + n, size - n, "%s%.*s", n > 0 ? "\n" : "", (int)len, list);
        list += strcspn(list, ",");
    }
    out[n < size ? n : size - 1] = '\0';
    if (n + 1 < size)
        return true;
    fprintf(stderr, "tollgatectl: the list is longer than %zu bytes\n", size);
    return false;
}

/* "90d", "never"; NULL: `otherwise` seconds from now. False after saying what is allowed. */
static bool expiry(const char *lasts, int64_t otherwise, char out[static 32])
{
    int64_t us = otherwise * 1000000;

    if (lasts != NULL && strcmp(lasts, "never") == 0) {
        snprintf(out, 32, "0");
        return true;
    }
    if (lasts != NULL && (!config_duration_us(lasts, &us) || us < 1000000)) {
        fprintf(stderr, "tollgatectl: --for %s is no duration; write a whole number and a unit (12h, 90d), or never\n", lasts);
        return false;
    }
    snprintf(out, 32, "%" PRId64, (clock_wall_us() + us) / 1000000);
    return true;
}

/* The key alone on standard output; what belongs to it on standard error, or both as JSON. */
static void show(const char *key, const msgpack_object *answer, bool json)
{
    char until[32], old[32];
    struct slice id = ctl_text(answer, "id");

    ctl_instant(ctl_number(answer, "expires_us"), until, sizeof until);
    ctl_instant(ctl_number(answer, "previous_until_us"), old, sizeof old);
    if (json) {
        printf("{\"id\":\"%.*s\",\"key\":\"%s\",\"expires\":\"%s\",\"old_key_until\":\"%s\"}\n", SLICE_FMT(id), key, until, old);
        return;
    }
    printf("%s\n", key);
    fprintf(stderr, "%.*s is in force, until %s.", SLICE_FMT(id), strcmp(until, "-") == 0 ? "it is revoked" : until);
    if (strcmp(old, "-") != 0)
        fprintf(stderr, " The old key is accepted until %s.", old);
    fprintf(stderr, " The key is shown this once and kept nowhere.\n");
}

static int ask_with_key(const char *method, const char **params, size_t count, size_t digest_at, const struct wishes *w)
{
    char key[GATEWAY_KEY_TEXT + 1], digest[DIGEST_TEXT], why[600];
    msgpack_unpacked held;
    msgpack_object result;

    if (!gateway_key_make(key)) {
        fprintf(stderr, "tollgatectl: the system has no random bytes\n");
        return CTL_FAILED;
    }
    digest_of(key, digest);
    params[digest_at] = digest;
    bool ok = rpc_call(w->place.admin, method, params, count, RPC_TIMEOUT_S, &held, &result, why, sizeof why);
    if (ok)
        show(key, &result, w->json);
    else
        fprintf(stderr, "tollgatectl: %s\n", why);
    secret_wipe(key, sizeof key);
    secret_wipe(digest, sizeof digest);
    msgpack_unpacked_destroy(&held);
    return ok ? CTL_DONE : CTL_FAILED;
}

static int create(const char *name, const struct wishes *w)
{
    char groups[4096], models[4096], endpoints[512], until[32];

    if (!expiry(w->lasts, LIFE_DEFAULT_S, until) || !lines_of(w->groups, groups, sizeof groups) ||
        !lines_of(w->models, models, sizeof models) || !lines_of(w->endpoints, endpoints, sizeof endpoints))
        return CTL_USAGE;
    const char *params[] = { NULL, name, until, w->organization, w->team, w->user != NULL ? w->user : name, w->application, w->cost_center,
                             groups, models, endpoints, w->budget };
    return ask_with_key("key_create", params, sizeof params / sizeof *params, 0, w);
}

static int rotate(const char *id, const struct wishes *w)
{
    char until[32] = "", overlap[32];
    int64_t us;

    if (!config_duration_us(w->overlap, &us)) {
        fprintf(stderr, "tollgatectl: --overlap %s is no duration; write a whole number and a unit: 0s, 1h, 7d\n", w->overlap);
        return CTL_USAGE;
    }
    if (w->lasts != NULL && !expiry(w->lasts, 0, until))
        return CTL_USAGE;
    snprintf(overlap, sizeof overlap, "%" PRId64, us / 1000000);
    const char *params[] = { id, NULL, overlap, until };
    return ask_with_key("key_rotate", params, 4, 1, w);
}

static int revoke(const char *id, const struct wishes *w)
{
    const char *params[] = { id, w->note };
    msgpack_unpacked held;
    msgpack_object result;
    char why[600];
    bool ok = rpc_call(w->place.admin, "key_revoke", params, 2, RPC_TIMEOUT_S, &held, &result, why, sizeof why);

    msgpack_unpacked_destroy(&held);
    if (ok && w->json) {
        fputs("{\"id\":", stdout);
        ctl_print_json_text(stdout, id, (uint32_t)strlen(id));
        puts(",\"state\":\"revoked\"}");
    } else if (ok)
        printf("%s is revoked: in force\n", id);
    else
        fprintf(stderr, "tollgatectl: %s\n", why);
    return ok ? CTL_DONE : CTL_FAILED;
}

static int list(const struct wishes *w, enum table_format format)
{
    static const struct table_column columns[] = {
        { "id", TABLE_TEXT, false }, { "name", TABLE_TEXT, false }, { "state", TABLE_TEXT, false }, { "team", TABLE_TEXT, false },
        { "user", TABLE_TEXT, false }, { "application", TABLE_TEXT, false }, { "cost_center", TABLE_TEXT, false },
        { "organization", TABLE_TEXT, false }, { "groups", TABLE_TEXT, false }, { "models", TABLE_TEXT, false },
        { "endpoints", TABLE_TEXT, false }, { "budget", TABLE_TEXT, false }, { "created", TABLE_TEXT, false },
        { "rotated", TABLE_TEXT, false }, { "old_key_until", TABLE_TEXT, false }, { "expires", TABLE_TEXT, false }, { "actor", TABLE_TEXT, false }
    };
    static const char *const names[] = { "id", "name", "state", "team", "user", "application", "cost_center", "organization", "groups", "models",
                                         "endpoints", "budget", "created_us", "rotated_us", "previous_until_us", "expires_us", "actor" };
    return ctl_list(&w->place, "keys", columns, names, sizeof columns / sizeof *columns, format);
}

static int run(const char *verb, const char *word, const struct wishes *w, enum table_format format)
{
    if (strcmp(verb, "list") == 0)
        return list(w, format);
    if (strcmp(verb, "create") == 0)
        return create(word, w);
    return strcmp(verb, "rotate") == 0 ? rotate(word, w) : revoke(word, w);
}

int ctl_key(int argc, char **argv)
{
    struct wishes w = { .organization = "", .team = "", .application = "", .cost_center = "", .groups = "", .models = "", .endpoints = "",
                        .budget = "", .overlap = "24h", .note = "" };
    const char *words[WORDS_MAX] = { "", NULL }, *word = NULL;
    bool help = false;
    const struct ctl_arg args[] = {
        { "--config", &w.place.config_file, NULL }, { "--socket", &w.place.socket, NULL }, { "--format", &word, NULL },
        { "--json", NULL, &w.json }, { "--help", NULL, &help }, { "--organization", &w.organization, NULL }, { "--team", &w.team, NULL },
        { "--user", &w.user, NULL }, { "--application", &w.application, NULL }, { "--cost-center", &w.cost_center, NULL },
        { "--groups", &w.groups, NULL }, { "--models", &w.models, NULL }, { "--endpoints", &w.endpoints, NULL },
        { "--budget", &w.budget, NULL }, { "--for", &w.lasts, NULL }, { "--overlap", &w.overlap, NULL }, { "--note", &w.note, NULL }
    };
    enum table_format format;
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, WORDS_MAX, &n) || !ctl_format(word, w.json, &format))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "key");
    bool lists = strcmp(words[0], "list") == 0;
    bool known = lists || strcmp(words[0], "create") == 0 || strcmp(words[0], "rotate") == 0 || strcmp(words[0], "revoke") == 0;
    if (!known || n != (lists ? 1 : 2))
        return ctl_help(stderr, "key");
    int rc = ctl_place_find(&w.place) ? run(words[0], words[1], &w, format) : CTL_FAILED;
    config_free(w.place.config);
    return rc;
}
