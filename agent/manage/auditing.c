#include "manage/auditing.h"

#include "admin/rpc.h"
#include "agent.h"
#include "base/slice.h"
#include "config/config.h"
#include "observe/audit.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { PARAM_BYTES = 200, PARAMS = 16, DETAIL_BYTES = PARAMS * (PARAM_BYTES + 4) };

/* Methods that change nothing. Whatever is not here is an act. */
static const char *const reading[] = { "ping", "status", "budget", "tokens", "revocations", "keys", "explain", "archive_status", "route_status",
                                       "events", "top", NULL };

static bool reads_only(const char *method)
{
    for (const char *const *r = reading; *r != NULL; r++)
        if (strcmp(*r, method) == 0)
            return true;
    return false;
}

bool auditing_open(struct agent *a, const struct config *c, char *why, size_t why_size)
{
    a->audit = audit_open(c->audit.file, why, why_size);
    return a->audit != NULL;
}

bool auditing_note(struct agent *a, const char *actor, const char *action, const char *object, const char *detail)
{
    return audit_append(a->audit, &(struct audit_entry){ .actor = slice_cstr(actor), .action = slice_cstr(action),
                                                         .object = slice_cstr(object), .detail = slice_cstr(detail) });
}

/* What stands for a parameter that must not be kept: a token given where its id was asked for, the unkeyed digest of a gateway key. */
static const char *kept_out(struct slice param)
{
    if (slice_starts(param, SLICE_LIT("eyJ")))
        return "(token)";
    if (slice_starts(param, SLICE_LIT("digest:")))
        return "(digest)";
    return slice_starts(param, SLICE_LIT("tg_")) ? "(key)" : NULL;
}

/* Parameters, a blank between them. */
static void params_print(const msgpack_object *params, char out[static DETAIL_BYTES])
{
    uint32_t count = params->via.array.size;
    size_t n = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < count && i < PARAMS - 1; i++) {
        const msgpack_object *o = &params->via.array.ptr[i];
        if (o->type != MSGPACK_OBJECT_STR)
            continue;
        struct slice param = slice_make(o->via.str.ptr, o->via.str.size < PARAM_BYTES ? o->via.str.size : PARAM_BYTES);
        const char *instead = kept_out(param);
        if (instead != NULL)
            param = slice_cstr(instead);
        n += (size_t)snprintf(out + n, DETAIL_BYTES - n, "%s%.*s", i > 0 ? " " : "", SLICE_FMT(param));
    }
    if (count >= PARAMS)
        snprintf(out + n, DETAIL_BYTES - n, " (%u in all)", count);
}

static const char *on_asked(void *user, const struct rpc_asking *who)
{
    char actor[64], detail[DETAIL_BYTES];

    if (reads_only(who->method))
        return NULL;
    snprintf(actor, sizeof actor, "uid %u pid %d", who->uid, who->pid);
    params_print(who->params, detail);
    return auditing_note(user, actor, who->method, NULL, detail) ? NULL : "the audit log cannot be written, so nothing was done";
}

static void on_refused(void *user, const struct rpc_asking *who, const char *reason)
{
    char actor[64];

    if (reads_only(who->method))
        return;
    snprintf(actor, sizeof actor, "uid %u pid %d", who->uid, who->pid);
    (void)auditing_note(user, actor, who->method, "refused", reason);
}

void auditing_watch(struct agent *a, struct rpc_server *s)
{
    rpc_server_watch(s, on_asked, on_refused, a);
}

void auditing_loaded(struct agent *a, const char *actor, const char *action, bool good)
{
    unsigned char digest[32];
    char block[4096], detail[256] = "sha256 ";
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    FILE *f = fopen(a->config_file, "re");
    size_t n;

    if (md != NULL && f != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) {
        while ((n = fread(block, 1, sizeof block, f)) > 0)
            EVP_DigestUpdate(md, block, n);
        EVP_DigestFinal_ex(md, digest, NULL);
        for (size_t i = 0, at = strlen(detail); i < sizeof digest; i++)
            at += (size_t)snprintf(detail + at, sizeof detail - at, "%02x", digest[i]);
    }
    if (f != NULL)
        fclose(f);
    EVP_MD_CTX_free(md);
    strcat(detail, good ? ", in force" : ", refused");
    (void)auditing_note(a, actor, action, a->config_file, detail);
}
