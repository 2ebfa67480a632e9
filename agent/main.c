#include "base/log.h"
#include "base/private.h"
#include "config/config.h"
#include "config/config_map.h"
#include "credential/credential.h"
#include "credential/sandbox.h"
#include "manage/haproxy_check.h"
#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { EXIT_USAGE = 2 };

static int usage(FILE *out)
{
    fprintf(out, "usage: tollgate COMMAND\n"
                 "\n"
                 "  run --config FILE                 run the agent in the foreground (log on standard error)\n"
                 "  check FILE                        check a configuration; 0 when it is good\n"
                 "  check --haproxy FILE... [--config FILE]\n"
                 "                                    read an existing haproxy.cfg (or several, or a folder): what is unsafe,\n"
                 "                                    and which lines to add; 0 when nothing is wrong, 1 when something is\n"
                 "  haproxy --config FILE             print the HAProxy configuration that belongs to FILE\n"
                 "  haproxy --config FILE --out DIR   write tollgate.cfg, tollgate-spoe.conf and tollgate.lua into DIR\n"
                 "  version                           print the version\n"
                 "\n"
                 "Signals to a running agent: HUP reloads the configuration, TERM stops it gracefully.\n");
    return out == stdout ? 0 : EXIT_USAGE;
}

static const char *option(int argc, char **argv, const char *name)
{
    for (int i = 2; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return NULL;
}

static struct config *load(const char *file)
{
    struct config_errors errors;
    struct config *c = config_load(file, &errors);

    if (c == NULL)
        fprintf(stderr, "%s%s: refused, %u error%s\n", errors.text, file, errors.count, errors.count == 1 ? "" : "s");
    return c;
}

static void price_warn(const struct price_table *prices, const struct config *c, const struct config_target *t, const char *model)
{
    const struct config_provider *known = config_provider_find(c, slice_cstr(t->provider));
    const char *provider = known != NULL ? known->price_as : t->provider;
    const struct model_price *p = price_lookup(prices, slice_cstr(provider), slice_cstr(t->model), NULL);
    if (p == NULL || p->status != PRICE_OK)
        printf("warning: model \"%s\": no price for %s at %s; %s\n", model, t->model, provider,
               c->prices.allow_unpriced ? "its cost will not be counted (prices.allow_unpriced)"
                                        : "requests for it will be refused; add it under prices.overrides");
}

static int command_check(const char *file)
{
    char why[512];
    struct config *c = load(file);

    if (c == NULL)
        return 1;
    struct price_table *prices = config_prices(c, why, sizeof why);
    for (unsigned i = 0; prices != NULL && i < c->models_count; i++) {
        for (unsigned k = 0; k < c->models[i].targets_count; k++)
            price_warn(prices, c, &c->models[i].targets[k], c->models[i].name);
    }
    if (c->limits_count == 0)
        printf("warning: there are no limits: nobody's spending is bounded\n");
    printf("%s: good: %u issuers, %u providers, %u models, %u limits; price table %.12s with %zu models\n", file, c->issuers_count,
           c->providers_count, c->models_count, c->limits_count, prices != NULL ? price_table_hash(prices) : "",
           prices != NULL ? price_table_count(prices) : 0);
    price_table_unref(prices);
    config_free(c);
    return 0;
}

static bool folder_make(const char *dir)
{
    if (mkdir(dir, 0755) == 0 || errno == EEXIST)
        return true;
    fprintf(stderr, "tollgate: cannot make folder %s: %s\n", dir, strerror(errno));
    return false;
}

static int command_haproxy(const char *file, const char *out)
{
    char why[1024] = "";
    bool ok;
    struct config *c = load(file);

    if (c == NULL)
        return 1;
    struct arena *a = arena_new(16384);
    if (a == NULL)
        abort();
    struct haproxy_plan plan = config_haproxy(c, a);
    if (out != NULL)
        plan.conf_dir = out;
    if (out == NULL)
        ok = haproxy_write_config(stdout, &plan, why, sizeof why);
    else
        ok = folder_make(out) && haproxy_write_folder(out, &plan, why, sizeof why);
    if (!ok && why[0] != '\0')
        fprintf(stderr, "tollgate: %s\n", why);
    if (ok && out != NULL)
        printf("wrote %s; start HAProxy with: haproxy -f /etc/haproxy/haproxy.cfg -f %s/tollgate.cfg\n", out, out);
    arena_free(a);
    config_free(c);
    return ok ? 0 : 1;
}

/* check --haproxy FILE... [--config FILE], options in any order. */
static int command_check_haproxy(int argc, char **argv)
{
    const char *files[64], *config = "/etc/tollgate/tollgate.yaml";
    size_t count = 0;

    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--haproxy") == 0 && i + 1 < argc)
            continue;
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            config = argv[++i];
        else if (argv[i][0] == '-' || count == sizeof files / sizeof *files)
            return usage(stderr);
        else
            files[count++] = argv[i];
    }
    struct config *c = count > 0 ? load(config) : NULL;
    if (count == 0)
        return usage(stderr);
    if (c == NULL)
        return EXIT_USAGE;
    int status = haproxy_check(c, config, files, count, stdout, stderr);
    config_free(c);
    return status;
}

static int command_run(const char *file)
{
    struct credential_hardening h;
    char why[128] = "";

    if (!private_libraries())
        LOG(LOG_LEVEL_WARN, "hardening_incomplete", LOG_CSTR("openssl", "keeps secrets in memory that core dumps hold"));
    log_use_journal(getenv("JOURNAL_STREAM"), LOG_JOURNAL_SOCKET);
    credential_harden_process(&h);
    if (!h.undumpable || !h.no_core)
        LOG(LOG_LEVEL_WARN, "hardening_incomplete", LOG_INT("undumpable", h.undumpable), LOG_INT("no_core", h.no_core));
    switch (sandbox_enter(why, sizeof why)) {
    case SANDBOX_ON:
        break;
    case SANDBOX_UNSUPPORTED:
        LOG(LOG_LEVEL_WARN, "seccomp_missing", LOG_CSTR("error", why));
        break;
    case SANDBOX_FAILED:
        fprintf(stderr, "tollgate: cannot restrict system calls: %s; what confines this process must allow it the call seccomp\n", why);
        return 1;
    }
    return server_run(file);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    const char *config = argc > 1 ? option(argc, argv, "--config") : NULL;

    if (strcmp(command, "run") == 0 && config != NULL && argc == 4)
        return command_run(config);
    if (strcmp(command, "check") == 0 && argc > 3)
        return command_check_haproxy(argc, argv);
    if (strcmp(command, "check") == 0 && argc == 3 && argv[2][0] != '-')
        return command_check(argv[2]);
    if (strcmp(command, "haproxy") == 0 && config != NULL && (argc == 4 || (argc == 6 && option(argc, argv, "--out") != NULL)))
        return command_haproxy(config, option(argc, argv, "--out"));
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        printf("tollgate %s\n", TOLLGATE_VERSION);
        return 0;
    }
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0)
        return usage(stdout);
    if (command[0] != '\0' && strcmp(command, "run") != 0 && strcmp(command, "check") != 0 && strcmp(command, "haproxy") != 0)
        fprintf(stderr, "tollgate: there is no command \"%s\"\n", command);
    return usage(stderr);
}
