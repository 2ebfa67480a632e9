#include "observe/audit_private.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

static const char mark[] = ",\"hash\":\"";

void audit_hash(const char *p, size_t n, char out[AUDIT_HASH_BYTES])
{
    unsigned char digest[32];

    EVP_Digest(p, n, digest, NULL, EVP_sha256(), NULL);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

const char *audit_member(const cJSON *o, const char *name)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    return s != NULL ? s : "";
}

cJSON *audit_line_parse(const char *line, size_t n, const char **why)
{
    enum { TAIL = sizeof mark - 1 + AUDIT_HASH_BYTES - 1 + 2 };
    char hash[AUDIT_HASH_BYTES];

    *why = "it is no entry";
    if (n <= TAIL || memcmp(line + n - TAIL, mark, sizeof mark - 1) != 0 || memcmp(line + n - 2, "\"}", 2) != 0)
        return NULL;
    cJSON *o = cJSON_ParseWithLength(line, n);
    if (o == NULL || !cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(o, "seq"))) {
        cJSON_Delete(o);
        return NULL;
    }
    audit_hash(line, n - TAIL, hash);
    if (memcmp(hash, line + n - 2 - (AUDIT_HASH_BYTES - 1), AUDIT_HASH_BYTES - 1) != 0) {
        *why = "it was changed: its hash is another";
        cJSON_Delete(o);
        return NULL;
    }
    return o;
}

static bool follow(const cJSON *o, struct audit_verified *v, const char **why)
{
    int64_t seq = (int64_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(o, "seq"));

    *why = "an entry before it is missing, or it was put in: it does not follow the one before";
    if (seq != v->entries + 1 || strcmp(audit_member(o, "prev"), v->entries == 0 ? AUDIT_GENESIS : v->head) != 0)
        return false;
    v->entries = seq;
    snprintf(v->head, sizeof v->head, "%s", audit_member(o, "hash"));
    return true;
}

static void broken(struct audit_verified *v, const char *why)
{
    v->bad_line = v->entries + 1;
    snprintf(v->why, sizeof v->why, "%s", why);
}

bool audit_verify(const char *file, const char *sought, void (*each)(void *user, const struct audit_line *line), void *user,
                  struct audit_verified *out, char *why, size_t why_size)
{
    FILE *f = fopen(file, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    const char *reason;

    *out = (struct audit_verified){ .head = AUDIT_GENESIS };
    if (f == NULL) {
        snprintf(why, why_size, "cannot read %s: %s", file, strerror(errno));
        return false;
    }
    while (out->bad_line == 0 && (n = getline(&line, &room, f)) > 0) {
        bool whole = line[n - 1] == '\n';
        cJSON *o = audit_line_parse(line, (size_t)n - whole, &reason);
        if (!whole || o == NULL || !follow(o, out, &reason)) {
            broken(out, whole ? reason : "it is cut short (an agent that starts repairs that)");
        } else {
            out->sought_found = out->sought_found || (sought != NULL && strcmp(out->head, sought) == 0);
            if (each != NULL)
                each(user, &(struct audit_line){ .seq = out->entries, .at = audit_member(o, "at"), .actor = audit_member(o, "actor"),
                                                 .action = audit_member(o, "action"), .object = audit_member(o, "object"),
                                                 .detail = audit_member(o, "detail"), .hash = out->head });
        }
        cJSON_Delete(o);
    }
    bool ok = ferror(f) == 0;
    if (!ok)
        snprintf(why, why_size, "cannot read %s: %s", file, strerror(errno));
    free(line);
    fclose(f);
    return ok;
}
