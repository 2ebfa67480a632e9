#include "config/config_credential.h"

#include "config/config_doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grab(struct arena *a, size_t count, size_t size)
{
    void *p = arena_zalloc(a, count * size + 1);
    if (p == NULL)
        abort();
    return p;
}

static int64_t seconds(const char *text)
{
    int64_t us = 0;

    if (text == NULL || !config_duration_us(text, &us))
        return 0;
    return us < 1000000 ? 1 : us / 1000000;
}

static struct credential_secret secret_map(const struct config_secret *s)
{
    if (s == NULL)
        return (struct credential_secret){ .file = NULL };
    return (struct credential_secret){ .file = s->file, .env = s->env, .systemd = s->systemd };
}

static const struct credential_azure *azure_map(const struct config_azure *f, struct arena *a)
{
    struct credential_azure *o = grab(a, 1, sizeof *o);

    *o = (struct credential_azure){
        .tenant = f->tenant, .client_id = f->client_id, .scope = f->scope, .authority = f->authority,
        .client_secret = secret_map(f->client_secret), .certificate = f->certificate, .private_key = secret_map(f->private_key),
        .ca_file = f->ca_file, .allow_http = f->allow_http,
    };
    return o;
}

static const struct credential_google *google_map(const struct config_google *f, struct arena *a)
{
    struct credential_google *o = grab(a, 1, sizeof *o);

    *o = (struct credential_google){ .service_account = secret_map(&f->service_account), .scope = f->scope, .token_url = f->token_url,
                                     .ca_file = f->ca_file, .allow_http = f->allow_http };
    return o;
}

static const struct credential_vault *vault_map(const struct config_vault *f, struct arena *a)
{
    struct credential_vault *o = grab(a, 1, sizeof *o);

    *o = (struct credential_vault){
        .url = f->url, .path = f->path, .field = f->field, .vault_namespace = f->vault_namespace, .token = secret_map(f->token),
        .role_id = f->role_id, .secret_id = secret_map(f->secret_id), .approle_mount = f->approle_mount, .ca_file = f->ca_file,
        .allow_http = f->allow_http, .refresh_s = seconds(f->refresh),
    };
    return o;
}

static const struct credential_command *command_map(const struct config_command *f, struct arena *a)
{
    struct credential_command *o = grab(a, 1, sizeof *o);

    *o = (struct credential_command){ .argv = (const char *const *)f->argv, .argc = f->argv_count, .refresh_s = seconds(f->refresh),
                                      .timeout_s = seconds(f->timeout) };
    return o;
}

/* What the ledger calls a key that has no name of its own: the provider's name, with a number where there are several. */
static const char *key_name(const struct config_provider *p, unsigned i, unsigned count, const struct config_credential *f, struct arena *a)
{
    if (f->name != NULL)
        return f->name;
    if (count == 1)
        return p->name;
    struct slice s = arena_printf(a, "%s-%u%c", p->name, i + 1, '\0');
    if (s.p == NULL)
        abort();
    return s.p;
}

static void key_map(const struct config_credential *f, struct arena *a, struct credential_key *out)
{
    *out = (struct credential_key){
        .secret = { .file = f->file, .env = f->env, .systemd = f->systemd },
        .azure = f->azure != NULL ? azure_map(f->azure, a) : NULL,
        .google = f->google != NULL ? google_map(f->google, a) : NULL,
        .vault = f->vault != NULL ? vault_map(f->vault, a) : NULL,
        .command = f->command != NULL ? command_map(f->command, a) : NULL,
        .weight = f->weight < 0 || f->weight > CREDENTIAL_WEIGHT_MAX ? CREDENTIAL_WEIGHT_MAX + 1 : (unsigned)f->weight,
    };
}

static unsigned keys_of(const struct config_provider *p, const struct config_credential **keys)
{
    *keys = p->credential != NULL ? p->credential : p->credentials;
    return p->credential != NULL ? 1 : p->credentials_count;
}

static struct credential_options provider_map(const struct config_provider *p, struct arena *a)
{
    const struct config_credential *from;
    unsigned count = keys_of(p, &from);
    struct credential_key *keys = grab(a, count, sizeof *keys);
    struct credential_aws *aws = NULL;

    for (unsigned i = 0; i < count; i++) {
        key_map(&from[i], a, &keys[i]);
        keys[i].name = key_name(p, i, count, &from[i], a);
    }
    if (p->aws != NULL) {
        aws = grab(a, 1, sizeof *aws);
        *aws = (struct credential_aws){ .region = p->aws->region, .service = p->aws->service };
    }
    return (struct credential_options){ .name = p->name, .scheme = strcmp(p->auth, "bearer") == 0 ? "Bearer" : "", .aws = aws,
                                        .keys = keys, .key_count = count };
}

struct credential_options *config_credentials(const struct config *c, struct arena *a, size_t *count)
{
    struct credential_options *o = grab(a, c->providers_count, sizeof *o);

    *count = 0;
    for (unsigned i = 0; i < c->providers_count; i++)
        if (strcmp(c->providers[i].auth, "none") != 0)
            o[(*count)++] = provider_map(&c->providers[i], a);
    return o;
}

static void durations_check(const struct config_credential *k, const char *place, const struct config_doc *doc,
                            struct config_errors *errors)
{
    const struct {
        const char *text, *name;
    } all[] = { { k->vault != NULL ? k->vault->refresh : NULL, "vault.refresh" },
                { k->command != NULL ? k->command->refresh : NULL, "command.refresh" },
                { k->command != NULL ? k->command->timeout : NULL, "command.timeout" } };
    char path[128];
    int64_t us;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].text != NULL && !config_duration_us(all[i].text, &us)) {
            snprintf(path, sizeof path, "%s.%s", place, all[i].name);
            config_doc_error(doc, errors, path, "\"%s\" is no duration; write a whole number and a unit: 10s, 15m, 2h", all[i].text);
        }
}

/* "keys[2].vault: text" of the options' check, at the line of the configuration. */
static void options_check(const struct config_provider *p, const char *place, const struct config_doc *doc, struct config_errors *errors)
{
    char why[512], path[160], rest[64] = "";
    unsigned k = 0;
    int used = 0;
    struct arena *a = arena_new(4096);

    if (a == NULL)
        abort();
    struct credential_options o = provider_map(p, a);
    bool good = credential_options_check(&o, why, sizeof why);
    arena_free(a);
    if (good)
        return;
    const char *text = strstr(why, ": ");
    text = text != NULL ? text + 2 : why;
    if (sscanf(why, "keys[%u]%n", &k, &used) == 1 && used > 0) {
        snprintf(rest, sizeof rest, "%.*s", (int)strcspn(why + used, ":"), why + used);
        if (p->credential != NULL)
            snprintf(path, sizeof path, "%s.credential%s", place, rest);
        else
            snprintf(path, sizeof path, "%s.credentials[%u]%s", place, k, rest);
    } else {
        snprintf(path, sizeof path, "%s.%s", place, strncmp(why, "aws", 3) == 0 ? "aws" : "credential");
    }
    config_doc_error(doc, errors, path, "%s", text);
}

void config_credential_check(const struct config *c, unsigned i, const struct config_doc *doc, struct config_errors *errors)
{
    const struct config_provider *p = &c->providers[i];
    const struct config_credential *keys;
    unsigned count = keys_of(p, &keys), before = errors->count;
    bool none = strcmp(p->auth, "none") == 0, aws = strcmp(p->auth, "aws-sigv4") == 0;
    char place[32], path[96];

    snprintf(place, sizeof place, "providers[%u]", i);
    snprintf(path, sizeof path, "%s.credential", place);
    if (p->credential != NULL && p->credentials_count > 0)
        config_doc_error(doc, errors, path, "give either credential or credentials");
    else if (none ? count != 0 : count == 0)
        config_doc_error(doc, errors, path, "needs a credential: exactly one of file, env, systemd, azure, google, vault, command (none with "
                         "auth: none)");
    snprintf(path, sizeof path, "%s.aws", place);
    if (aws != (p->aws != NULL))
        config_doc_error(doc, errors, path, "goes with auth: aws-sigv4, and only with it: {region: us-east-1}");
    for (unsigned k = 0; k < count; k++) {
        if (p->credential != NULL)
            snprintf(path, sizeof path, "%s.credential", place);
        else
            snprintf(path, sizeof path, "%s.credentials[%u]", place, k);
        durations_check(&keys[k], path, doc, errors);
    }
    if (errors->count == before && !none)
        options_check(p, place, doc, errors);
}

bool config_runs_commands(const struct config *c)
{
    for (unsigned i = 0; i < c->providers_count; i++) {
        const struct config_credential *keys;
        unsigned count = keys_of(&c->providers[i], &keys);
        for (unsigned k = 0; k < count; k++)
            if (keys[k].command != NULL)
                return true;
    }
    return false;
}
