/* tollgatectl revoke, unrevoke, revocations: through the agent, which answers when the change is on disk and in force. */
#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "admin/tollgatectl_certificate.h"
#include "base/clock.h"
#include "config/config.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>
#include <time.h>

enum { RPC_TIMEOUT_S = 10, TOKEN_MAX = 65536, DIGEST_TEXT = 72 };

/* "sha256:" and the digest of the file's content without blanks around it. */
static bool token_digest(const char *path, char out[static DIGEST_TEXT])
{
    static char text[TOKEN_MAX];
    unsigned char digest[32];
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    size_t from = 0, n = f != NULL ? fread(text, 1, sizeof text, f) : 0;

    if (f == NULL || ferror(f) || n == sizeof text) {
        fprintf(stderr, "tollgatectl: %s: %s\n", path, f == NULL || ferror(f) ? strerror(errno) : "larger than any token");
        return false;
    }
    if (f != stdin)
        fclose(f);
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
        n--;
    while (from < n && strchr(" \t\r\n", text[from]) != NULL)
        from++;
    if (from == n) {
        fprintf(stderr, "tollgatectl: %s is empty\n", path);
        return false;
    }
    EVP_Digest(text + from, n - from, digest, NULL, EVP_sha256(), NULL);
    explicit_bzero(text, sizeof text);
    size_t at = (size_t)snprintf(out, DIGEST_TEXT, "sha256:");
    for (size_t i = 0; i < sizeof digest; i++)
        at += (size_t)snprintf(out + at, DIGEST_TEXT - at, "%02x", digest[i]);
    return true;
}

static int change(const char *method, const char *const *params, size_t count, const struct ctl_place *p, bool json)
{
    msgpack_unpacked held;
    msgpack_object result;
    char why[600];
    bool ok = rpc_call(p->admin, method, params, count, RPC_TIMEOUT_S, &held, &result, why, sizeof why);

    msgpack_unpacked_destroy(&held);
    if (!ok) {
        fprintf(stderr, "tollgatectl: %s\n", why);
    } else if (json) {
        printf("{\"%s\":\"%s\",\"value\":", method, params[0]);
        ctl_print_json_text(stdout, params[1], (uint32_t)strlen(params[1]));
        puts(",\"in_force\":true}");
    } else {
        printf("%s %s %s: in force\n", method, params[0], params[1]);
    }
    return ok ? CTL_DONE : CTL_FAILED;
}

static int run(const char *method, int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *words[2] = { NULL, NULL }, *issuer = "", *lasts = NULL, *note = "", *file = NULL;
    bool help = false, json = false, revoke = strcmp(method, "revoke") == 0;
    const struct ctl_arg args[] = { { "--config", &p.config_file, NULL }, { "--socket", &p.socket, NULL }, { "--issuer", &issuer, NULL },
                                    { "--json", NULL, &json },            { "--help", NULL, &help },       { "--for", &lasts, NULL },
                                    { "--note", &note, NULL },            { "--file", &file, NULL } };
    char digest[DIGEST_TEXT], until[32] = "0";
    int64_t us;
    size_t n;

    if (!ctl_args(argc, argv, args, revoke ? 8 : 5, words, 2, &n))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, method);
    if (n != (file != NULL ? 1 : 2) || (file != NULL && strcmp(words[0], "token") != 0 && strcmp(words[0], "certificate") != 0))
        return ctl_help(stderr, method);
    if (lasts != NULL && (!config_duration_us(lasts, &us) || us < 1000000)) {
        fprintf(stderr, "tollgatectl: --for %s is no duration; write a whole number and a unit: 30s, 15m, 2h, 7d\n", lasts);
        return CTL_USAGE;
    }
    if (lasts != NULL)
        snprintf(until, sizeof until, "%" PRId64, (clock_wall_us() + us) / 1000000);
    bool certificate = strcmp(words[0], "certificate") == 0;
    if (file != NULL && !(certificate ? ctl_certificate_read(file, NULL, digest) : token_digest(file, digest)))
        return CTL_FAILED;
    const char *params[] = { words[0], file != NULL ? digest : words[1], issuer, until, note };
    int rc = ctl_place_find(&p) ? change(method, params, revoke ? 5 : 3, &p, json) : CTL_FAILED;
    config_free(p.config);
    return rc;
}

int ctl_revoke(int argc, char **argv)
{
    return run("revoke", argc, argv);
}

int ctl_unrevoke(int argc, char **argv)
{
    return run("unrevoke", argc, argv);
}

static const struct table_column columns[] = {
    { "kind", TABLE_TEXT, false }, { "value", TABLE_TEXT, false }, { "issuer", TABLE_TEXT, false }, { "origin", TABLE_TEXT, false },
    { "actor", TABLE_TEXT, false }, { "revoked", TABLE_TEXT, false }, { "ends", TABLE_TEXT, false }, { "issued_until", TABLE_TEXT, false },
    { "note", TABLE_TEXT, false }
};

static void cell(struct table *t, const msgpack_object *map, const char *name)
{
    for (uint32_t i = 0; map->type == MSGPACK_OBJECT_MAP && i < map->via.map.size; i++) {
        const msgpack_object *k = &map->via.map.ptr[i].key, *v = &map->via.map.ptr[i].val;
        char when[32];
        if (k->type != MSGPACK_OBJECT_STR || k->via.str.size != strlen(name) || memcmp(k->via.str.ptr, name, k->via.str.size) != 0)
            continue;
        if (v->type == MSGPACK_OBJECT_STR) {
            table_text(t, slice_make(v->via.str.ptr, v->via.str.size));
            return;
        }
        time_t s = (time_t)(v->via.i64 / 1000000);
        struct tm tm;
        gmtime_r(&s, &tm);
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
        table_text(t, s > 0 ? slice_cstr(when) : SLICE_NONE);
        return;
    }
    table_null(t);
}

int ctl_list(const struct ctl_place *p, const char *method, const struct table_column *head, const char *const *names, size_t count,
             enum table_format format)
{
    msgpack_unpacked held;
    msgpack_object result;
    struct table *t = table_new(head, count);
    char why[600];
    int rc = CTL_FAILED;

    if (!rpc_call(p->admin, method, NULL, 0, RPC_TIMEOUT_S, &held, &result, why, sizeof why)) {
        fprintf(stderr, "tollgatectl: %s\n", why);
    } else if (t != NULL) {
        for (uint32_t i = 0; result.type == MSGPACK_OBJECT_ARRAY && i < result.via.array.size; i++)
            for (size_t k = 0; k < count; k++)
                cell(t, &result.via.array.ptr[i], names[k]);
        rc = table_write(t, format, "", stdout) == 0 ? CTL_DONE : CTL_FAILED;
    }
    msgpack_unpacked_destroy(&held);
    table_free(t);
    return rc;
}

static int list(const struct ctl_place *p, enum table_format format)
{
    static const char *const names[] = { "kind", "value", "issuer", "origin", "actor", "revoked_us", "expires_us", "before_us", "note" };
    return ctl_list(p, "revocations", columns, names, sizeof columns / sizeof *columns, format);
}

int ctl_revocations(int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *words[1], *word = NULL;
    bool json = false, help = false;
    const struct ctl_arg args[] = { { "--config", &p.config_file, NULL }, { "--socket", &p.socket, NULL }, { "--format", &word, NULL },
                                    { "--json", NULL, &json }, { "--help", NULL, &help } };
    enum table_format format;
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 1, &n) || !ctl_format(word, json, &format))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "revocations");
    if (n == 1 && strcmp(words[0], "list") != 0)
        return ctl_help(stderr, "revocations");
    int rc = ctl_place_find(&p) ? list(&p, format) : CTL_FAILED;
    config_free(p.config);
    return rc;
}
