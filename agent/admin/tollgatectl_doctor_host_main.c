/* The host: clock, sockets, files with secrets, certificates on disk, the price table. */
#include "admin/tollgatectl_doctor.h"
#include "base/arena.h"
#include "budget/options.h"
#include "config/config.h"
#include "config/config_map.h"
#include "price/price.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <unistd.h>

enum { DAY_S = 86400, EXPIRY_WARN_DAYS = 21, EXPIRY_FAIL_DAYS = 3, PRICES_OLD_DAYS = 90, FIX_BYTES = 700 };

void doctor_clock(struct doctor *d)
{
    struct timex t = { .modes = 0 };
    int state = adjtimex(&t);

    if (state < 0)
        doctor_say(d, DOCTOR_WARNING, "clock", "kernel", "run it where adjtimex may be read", "cannot be asked: %s", strerror(errno));
    else if (state == TIME_ERROR || (t.status & STA_UNSYNC) != 0)
        doctor_say(d, DOCTOR_WARNING, "clock", "kernel", "run a time service: apt install chrony; in a container, see to its host",
                   "the kernel says that nothing keeps the clock right: tokens and windows depend on it");
    else
        doctor_say(d, DOCTOR_OK, "clock", "kernel", NULL, "kept right, estimated error %ld ms", t.esterror / 1000);
}

/* ---- sockets --------------------------------------------------------------------------------------------------------- */

static void socket_look(struct doctor *d, const char *path, mode_t mode)
{
    struct stat st;
    char fix[FIX_BYTES];
    const char *group = d->config->listen.socket_group;
    struct group *g = mode == 0660 && group != NULL ? getgrnam(group) : NULL;

    if (stat(path, &st) != 0) {
        doctor_say(d, DOCTOR_FAILURE, "socket", path, errno == ENOENT ? "start the agent; its folder must exist and be the agent's (RuntimeDirectory=tollgate)"
                   : "run it as root or as the agent's user", "%s", strerror(errno));
        return;
    }
    if (!S_ISSOCK(st.st_mode)) {
        doctor_say(d, DOCTOR_FAILURE, "socket", path, "remove the file, then restart the agent", "it is no socket");
        return;
    }
    snprintf(fix, sizeof fix, "chmod %o %s%s%s (the agent sets it when it starts)", mode, path, g != NULL ? "; chgrp " : "", g != NULL ? group : "");
    if ((st.st_mode & 0777 & ~mode) != 0)
        doctor_say(d, DOCTOR_FAILURE, "socket", path, fix, "its mode is %o: others than the agent%s may use it", st.st_mode & 0777, mode == 0660 ? " and HAProxy" : "");
    else if ((st.st_mode & 0777) != mode || (g != NULL && st.st_gid != g->gr_gid))
        doctor_say(d, DOCTOR_WARNING, "socket", path, fix, "its mode is %o, its group %d: HAProxy may be kept out", st.st_mode & 0777, (int)st.st_gid);
    else
        doctor_say(d, DOCTOR_OK, "socket", path, NULL, "mode %o", mode);
}

void doctor_sockets(struct doctor *d)
{
    const struct config_listen *l = &d->config->listen;

    if (!d->agent)
        return; /* said already; without it there are none */
    for (unsigned i = 0; i < l->spop_count; i++)
        if (strncmp(l->spop[i], "unix@", 5) == 0)
            socket_look(d, l->spop[i] + 5, 0660);
    if (strncmp(l->ring, "unix@", 5) == 0)
        socket_look(d, l->ring + 5, 0660);
    socket_look(d, l->settle, 0660);
    for (int i = 0; i < 2 && strcmp(d->config->haproxy.streams, "relay") == 0; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s-%s.sock", l->relay, i == 0 ? "primary" : "fallback");
        socket_look(d, path, 0660);
    }
    socket_look(d, d->place.admin, 0600);
}

/* ---- secrets ----------------------------------------------------------------------------------------------------------- */

static void secret_look(struct doctor *d, const char *path, const char *what)
{
    struct stat st;
    char fix[FIX_BYTES];

    if (path == NULL)
        return;
    snprintf(fix, sizeof fix, "chmod 600 %s", path);
    if (stat(path, &st) != 0)
        doctor_say(d, errno == EACCES ? DOCTOR_WARNING : DOCTOR_FAILURE, "secret", path, errno == EACCES ? "run it as root or as the agent's user" : "put it there, mode 600, the agent's user as its owner",
                   "%s: %s", what, strerror(errno));
    else if ((st.st_mode & 077) != 0)
        doctor_say(d, DOCTOR_FAILURE, "secret", path, fix, "%s: its mode is %o, others may read it", what, st.st_mode & 0777);
    else
        doctor_say(d, DOCTOR_OK, "secret", path, NULL, "%s: mode %o", what, st.st_mode & 0777);
}

static void secret_of(struct doctor *d, const struct config_secret *s, const char *what)
{
    if (s != NULL)
        secret_look(d, s->file, what);
}

static void credential_look(struct doctor *d, const struct config_credential *c)
{
    if (c == NULL)
        return;
    secret_look(d, c->file, "a provider's key");
    if (c->azure != NULL) {
        secret_of(d, c->azure->client_secret, "a client secret");
        secret_of(d, c->azure->private_key, "a private key");
    }
    if (c->google != NULL)
        secret_of(d, &c->google->service_account, "a service account's key");
    if (c->vault != NULL) {
        secret_of(d, c->vault->token, "a Vault token");
        secret_of(d, c->vault->secret_id, "a Vault secret id");
    }
}

void doctor_secrets(struct doctor *d)
{
    const struct config *c = d->config;

    for (unsigned i = 0; i < c->providers_count; i++) {
        credential_look(d, c->providers[i].credential);
        for (unsigned k = 0; k < c->providers[i].credentials_count; k++)
            credential_look(d, &c->providers[i].credentials[k]);
    }
    for (unsigned i = 0; i < c->issuers_count; i++)
        if (c->issuers[i].introspection != NULL)
            secret_look(d, c->issuers[i].introspection->secret_file, "an introspection secret");
    if (access(c->keys.secret_file, F_OK) == 0 || errno == EACCES)
        secret_look(d, c->keys.secret_file, "the gateway keys' secret");
    secret_look(d, c->alerts.secret_file, "the webhook's secret");
    if (c->console != NULL)
        secret_of(d, c->console->client_secret, "the console's client secret");
    if (access(c->audit.file, F_OK) == 0)
        secret_look(d, c->audit.file, "the audit log");
}

/* ---- certificates ------------------------------------------------------------------------------------------------------ */

void doctor_expiry(struct doctor *d, const char *subject, int64_t not_after_s, const char *fix)
{
    int64_t left = not_after_s - d->now_us / 1000000, days = left / DAY_S;

    if (left <= 0)
        doctor_say(d, DOCTOR_FAILURE, "certificate", subject, fix, "it expired %" PRId64 " days ago", -days);
    else if (days < EXPIRY_FAIL_DAYS)
        doctor_say(d, DOCTOR_FAILURE, "certificate", subject, fix, "it expires in %" PRId64 " hours", left / 3600);
    else if (days < EXPIRY_WARN_DAYS)
        doctor_say(d, DOCTOR_WARNING, "certificate", subject, fix, "it expires in %" PRId64 " days", days);
    else
        doctor_say(d, DOCTOR_OK, "certificate", subject, NULL, "valid for %" PRId64 " days", days);
}

/* The first certificate of a PEM file: of a server that is its own; of a CA bundle, the one that ends first. */
static void pem_look(struct doctor *d, const char *path, bool bundle)
{
    BIO *in = BIO_new_file(path, "r");
    X509 *x = NULL;
    int64_t first = INT64_MAX;
    unsigned count = 0;
    struct tm tm;

    while (in != NULL && (count == 0 || bundle) && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
        if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) == 1 && timegm(&tm) < first)
            first = timegm(&tm);
        X509_free(x);
        count++;
    }
    BIO_free(in);
    if (in == NULL)
        doctor_say(d, DOCTOR_FAILURE, "certificate", path, "put it there, readable for its user", "cannot be read: %s", strerror(errno));
    else if (count == 0)
        doctor_say(d, DOCTOR_FAILURE, "certificate", path, "write it as PEM, certificate first", "there is no certificate in it");
    else
        doctor_expiry(d, path, first, bundle ? "put the new CA into the file beside the old one" : "renew it, then reload HAProxy");
}

static void ca_look(struct doctor *d, const char *path)
{
    if (path != NULL)
        pem_look(d, path, true);
}

void doctor_certificates(struct doctor *d)
{
    const struct config *c = d->config;
    struct stat st;

    for (unsigned i = 0; i < c->haproxy.bind_count; i++) {
        const struct config_bind *b = &c->haproxy.bind[i];
        if (b->cert != NULL && (stat(b->cert, &st) != 0 || !S_ISDIR(st.st_mode)))
            pem_look(d, b->cert, false);
        ca_look(d, b->client_ca);
    }
    for (unsigned i = 0; i < c->issuers_count; i++)
        ca_look(d, c->issuers[i].ca_file);
    for (unsigned i = 0; i < c->providers_count; i++)
        ca_look(d, c->providers[i].ca_file);
    ca_look(d, c->alerts.ca_file);
}

/* ---- prices ------------------------------------------------------------------------------------------------------------ */

static const char *price_name(const struct config *c, const char *provider)
{
    const struct config_provider *p = config_provider_find(c, slice_cstr(provider));
    return p != NULL ? p->price_as : provider;
}

static bool money_is_limited(const struct config *c)
{
    struct arena *a = arena_new(16384);
    bool found = false;

    if (a == NULL)
        abort();
    struct budget_options o = config_budget(c, a);
    for (size_t i = 0; i < o.limits_count; i++)
        found = found || (o.limits[i].unit != NULL && strcmp(o.limits[i].unit, "usd") == 0);
    arena_free(a);
    return found;
}

static void unpriced(struct doctor *d, const struct price_table *prices)
{
    const struct config *c = d->config;
    bool money = money_is_limited(c);
    unsigned models = 0, found = 0;
    char name[300];

    for (unsigned i = 0; i < c->models_count; i++)
        for (unsigned k = 0; k < c->models[i].targets_count; k++, models++) {
            const struct config_target *t = &c->models[i].targets[k];
            const struct model_price *p = price_lookup(prices, slice_cstr(price_name(c, t->provider)), slice_cstr(t->model), NULL);
            if (p != NULL && p->status == PRICE_OK)
                continue;
            found++;
            snprintf(name, sizeof name, "%s: %s at %s", c->models[i].name, t->model, price_name(c, t->provider));
            bool counted = c->prices.allow_unpriced;
            doctor_say(d, money ? DOCTOR_FAILURE : DOCTOR_WARNING, "price", name, "add its price under prices.overrides, or a newer table as prices.file",
                       counted ? "has no price: what it costs counts against no limit" : "has no price: requests for it are refused");
        }
    if (found == 0)
        doctor_say(d, DOCTOR_OK, "price", "", NULL, "all %u targets have one", models);
}

void doctor_prices(struct doctor *d)
{
    const char *file = d->config->prices.file;
    char why[512];
    struct stat st;
    struct price_table *prices = config_prices(d->config, why, sizeof why);

    if (prices == NULL) {
        doctor_say(d, DOCTOR_FAILURE, "prices", file != NULL ? file : "built-in", "tollgatectl prices import FILE --dry-run says what is wrong", "%s", why);
        return;
    }
    int64_t age = file != NULL && stat(file, &st) == 0 ? d->now_us / 1000000 - st.st_mtime : -1;
    if (age > PRICES_OLD_DAYS * (int64_t)DAY_S)
        doctor_say(d, DOCTOR_WARNING, "prices", file, "get a newer table (models.dev, LiteLLM); tollgatectl prices import FILE --dry-run shows what changes", "the table is %" PRId64 " days old",
                   age / DAY_S);
    else
        doctor_say(d, DOCTOR_OK, "prices", file != NULL ? file : "built-in", NULL, "%zu models", price_table_count(prices));
    unpriced(d, prices);
    price_table_unref(prices);
}
