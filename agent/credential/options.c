#include "credential/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool refuse(char *why, size_t why_size, const char *place, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static bool refuse(char *why, size_t why_size, const char *place, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(why, why_size, "%s: %s", place, text);
    return false;
}

static int secret_sources(const struct credential_secret *s)
{
    return (s->file != NULL) + (s->env != NULL) + (s->systemd != NULL);
}

static const char *secret_kind(const struct credential_secret *s)
{
    return s->file != NULL ? "file" : s->env != NULL ? "env" : "systemd";
}

const char *credential_key_kind(const struct credential_key *k)
{
    int sources = secret_sources(&k->secret) + (k->azure != NULL) + (k->google != NULL) + (k->vault != NULL) + (k->command != NULL);

    if (sources != 1)
        return NULL;
    return k->azure != NULL     ? "azure"
           : k->google != NULL  ? "google"
           : k->vault != NULL   ? "vault"
           : k->command != NULL ? "command"
                                : secret_kind(&k->secret);
}

static bool secret_check(const struct credential_secret *s, const char *place, char *why, size_t why_size)
{
    int sources = secret_sources(s);

    if (sources != 1)
        return refuse(why, why_size, place, "give exactly one of file, env, systemd");
    const char *text = s->file != NULL ? s->file : s->env != NULL ? s->env : s->systemd;
    if (text[0] == '\0')
        return refuse(why, why_size, place, "%s is empty", secret_kind(s));
    if (s->systemd != NULL && strchr(s->systemd, '/') != NULL)
        return refuse(why, why_size, place, "a systemd credential is named without a path");
    return true;
}

/* Values that go into addresses, headers and forms: no blanks, nothing below the space. */
static bool word_check(const char *text, const char *place, const char *field, char *why, size_t why_size)
{
    if (text == NULL || text[0] == '\0')
        return refuse(why, why_size, place, "%s is required", field);
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return refuse(why, why_size, place, "%s must be printable ASCII without blanks", field);
    return true;
}

static bool url_check(const char *url, bool allow_http, const char *place, const char *field, char *why, size_t why_size)
{
    if (!word_check(url, place, field, why, why_size))
        return false;
    if (strncmp(url, "https://", 8) == 0 || (allow_http && strncmp(url, "http://", 7) == 0))
        return true;
    return refuse(why, why_size, place, "%s must begin with https://%s", field, allow_http ? " or http://" : "");
}

static bool azure_check(const struct credential_azure *o, const char *place, char *why, size_t why_size)
{
    bool secret = secret_sources(&o->client_secret) > 0;

    if (!word_check(o->tenant, place, "tenant", why, why_size) || !word_check(o->client_id, place, "client_id", why, why_size) ||
        !word_check(o->scope, place, "scope", why, why_size))
        return false;
    if (strpbrk(o->tenant, "/?#") != NULL)
        return refuse(why, why_size, place, "tenant must be a directory id or a domain name");
    if (o->authority != NULL && !url_check(o->authority, o->allow_http, place, "authority", why, why_size))
        return false;
    if (secret == (o->certificate != NULL))
        return refuse(why, why_size, place, "give either client_secret, or certificate and private_key");
    return secret ? secret_check(&o->client_secret, place, why, why_size) : secret_check(&o->private_key, place, why, why_size);
}

static bool google_check(const struct credential_google *o, const char *place, char *why, size_t why_size)
{
    return (o->token_url == NULL || url_check(o->token_url, o->allow_http, place, "token_url", why, why_size)) &&
           secret_check(&o->service_account, place, why, why_size);
}

static bool vault_check(const struct credential_vault *o, const char *place, char *why, size_t why_size)
{
    bool token = secret_sources(&o->token) > 0;

    if (!url_check(o->url, o->allow_http, place, "url", why, why_size) || !word_check(o->path, place, "path", why, why_size))
        return false;
    if (strpbrk(o->path, "?#") != NULL || o->path[0] == '/' || strstr(o->path, "..") != NULL)
        return refuse(why, why_size, place, "path is what follows /v1/, without a leading slash, as in secret/data/llm/openai");
    if (token == (o->role_id != NULL))
        return refuse(why, why_size, place, "give either token, or role_id and secret_id");
    if (o->refresh_s < 0 || o->refresh_s > 30 * 86400)
        return refuse(why, why_size, place, "refresh must be 1s to 30d");
    if (o->vault_namespace != NULL && !word_check(o->vault_namespace, place, "namespace", why, why_size))
        return false;
    return token ? secret_check(&o->token, place, why, why_size) : secret_check(&o->secret_id, place, why, why_size);
}

static bool command_check(const struct credential_command *o, const char *place, char *why, size_t why_size)
{
    if (o->argc == 0 || o->argv[0][0] != '/')
        return refuse(why, why_size, place, "argv must begin with the program's absolute path");
    if (o->refresh_s < 0 || o->refresh_s > 30 * 86400)
        return refuse(why, why_size, place, "refresh must be 1s to 30d");
    if (o->timeout_s < 0 || o->timeout_s > 300)
        return refuse(why, why_size, place, "timeout must be 1s to 5m");
    return true;
}

static bool key_check(const struct credential_key *k, size_t i, char *why, size_t why_size)
{
    char place[64];
    const char *kind = credential_key_kind(k);

    snprintf(place, sizeof place, "keys[%zu]", i);
    if (kind == NULL)
        return refuse(why, why_size, place, "give exactly one of file, env, systemd, azure, google, vault, command");
    if (k->weight > CREDENTIAL_WEIGHT_MAX)
        return refuse(why, why_size, place, "weight must be 1 to %d", CREDENTIAL_WEIGHT_MAX);
    if (k->azure != NULL || k->google != NULL || k->vault != NULL || k->command != NULL)
        snprintf(place, sizeof place, "keys[%zu].%s", i, kind);
    if (k->azure != NULL)
        return azure_check(k->azure, place, why, why_size);
    if (k->google != NULL)
        return google_check(k->google, place, why, why_size);
    if (k->vault != NULL)
        return vault_check(k->vault, place, why, why_size);
    if (k->command != NULL)
        return command_check(k->command, place, why, why_size);
    return secret_check(&k->secret, place, why, why_size);
}

static bool name_check(const struct credential_options *o, size_t i, char *why, size_t why_size)
{
    const char *name = o->keys[i].name;
    char place[32];

    if (name == NULL)
        return true;
    snprintf(place, sizeof place, "keys[%zu].name", i);
    if (name[0] == '\0' || strlen(name) > CREDENTIAL_KEY_NAME_MAX)
        return refuse(why, why_size, place, "give 1 to %d characters; the ledger knows the key by them", CREDENTIAL_KEY_NAME_MAX);
    for (const char *c = name; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~' || *c == ',' || *c == '=')
            return refuse(why, why_size, place, "printable ASCII without blanks, comma and =");
    for (size_t k = 0; k < i; k++)
        if (o->keys[k].name != NULL && strcmp(o->keys[k].name, name) == 0)
            return refuse(why, why_size, place, "%s is the name of another of these keys", name);
    return true;
}

static bool aws_check(const struct credential_options *o, char *why, size_t why_size)
{
    static const char region_bytes[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

    if (o->aws->region == NULL || o->aws->region[0] == '\0' || strspn(o->aws->region, region_bytes) != strlen(o->aws->region))
        return refuse(why, why_size, "aws", "region is required, as in us-east-1");
    if (o->aws->service != NULL && (o->aws->service[0] == '\0' || strspn(o->aws->service, region_bytes) != strlen(o->aws->service)))
        return refuse(why, why_size, "aws", "service must be a signing name, as in bedrock");
    for (size_t i = 0; i < o->key_count; i++)
        if (o->keys[i].azure != NULL || o->keys[i].google != NULL)
            return refuse(why, why_size, "aws", "requests cannot be signed with a token of another cloud");
    return true;
}

bool credential_options_check(const struct credential_options *o, char *why, size_t why_size)
{
    if (o->name == NULL || o->name[0] == '\0')
        return refuse(why, why_size, "name", "a name is required");
    if (o->key_count == 0 || o->key_count > CREDENTIAL_KEYS_MAX)
        return refuse(why, why_size, "keys", "give 1 to %d keys", CREDENTIAL_KEYS_MAX);
    for (size_t i = 0; i < o->key_count; i++)
        if (!name_check(o, i, why, why_size) || !key_check(&o->keys[i], i, why, why_size))
            return false;
    for (const char *c = o->scheme; c != NULL && *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return refuse(why, why_size, "scheme", "must be one word of printable ASCII");
    return o->aws == NULL || aws_check(o, why, why_size);
}

/* ---- identity --------------------------------------------------------------------------------------------------------- */

static void put(FILE *f, const char *text)
{
    fprintf(f, "|%s", text != NULL ? text : "");
}

static void put_secret(FILE *f, const struct credential_secret *s)
{
    put(f, s->file);
    put(f, s->env);
    put(f, s->systemd);
}

char *credential_key_identity(const struct credential_options *o, const struct credential_key *k)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    if (f == NULL)
        return NULL;
    put(f, o->scheme);
    put(f, o->aws != NULL ? "aws" : "");
    put_secret(f, &k->secret);
    if (k->azure != NULL) {
        put(f, k->azure->tenant), put(f, k->azure->client_id), put(f, k->azure->scope), put(f, k->azure->authority);
        put(f, k->azure->certificate), put_secret(f, &k->azure->client_secret), put_secret(f, &k->azure->private_key);
    }
    if (k->google != NULL) {
        put(f, k->google->scope), put(f, k->google->token_url), put_secret(f, &k->google->service_account);
    }
    if (k->vault != NULL) {
        put(f, k->vault->url), put(f, k->vault->path), put(f, k->vault->field), put(f, k->vault->vault_namespace);
        put(f, k->vault->role_id), put(f, k->vault->approle_mount), put_secret(f, &k->vault->token);
        put_secret(f, &k->vault->secret_id);
    }
    for (size_t i = 0; k->command != NULL && i < k->command->argc; i++)
        put(f, k->command->argv[i]);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
