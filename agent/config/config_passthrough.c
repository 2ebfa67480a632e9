#include "config/config_passthrough.h"

#include "dialect/dialect.h"
#include "price/price.h"

#include <stdio.h>
#include <string.h>

/* Dollars: far beyond what one request may cost, far below what an account can hold. */
static const int64_t price_max = INT64_C(1000000) * 1000000000;

int64_t config_passthrough_price(const struct config_passthrough *p)
{
    int64_t nano = -1;

    if (p->price == NULL || price_parse_decimal(slice_cstr(p->price), 9, &nano, NULL) != PRICE_DONE)
        return -1;
    return nano;
}

static bool path_ok(const char *path)
{
    size_t n = strlen(path);

    return strncmp(path, "/v1/", 4) == 0 && n > 4 && n <= 128 && path[n - 1] != '/' && strstr(path, "//") == NULL &&
           strstr(path, "/.") == NULL && strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/") == n;
}

static bool covers(const char *prefix, const char *path)
{
    size_t n = strlen(prefix);
    return strncmp(path, prefix, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* A path that the gateway counts and limits by tokens must not have a way around that. */
static const char *metered_below(const char *prefix)
{
    for (int e = ENDPOINT_CHAT; e <= ENDPOINT_MESSAGES; e++)
        if (covers(prefix, dialect_path((enum endpoint)e)))
            return dialect_path((enum endpoint)e);
    return covers(prefix, "/v1/models") ? "/v1/models" : NULL;
}

static void path_check(const struct config *c, unsigned i, const struct config_doc *doc, struct config_errors *errors)
{
    const char *path = c->passthrough[i].path, *metered;
    char place[64];

    snprintf(place, sizeof place, "passthrough[%u].path", i);
    if (!path_ok(path)) {
        config_doc_error(doc, errors, place, "\"%s\" must be a path below /v1/ without a slash at its end, like /v1/audio", path);
        return;
    }
    if ((metered = metered_below(path)) != NULL)
        config_doc_error(doc, errors, place, "\"%s\" would cover %s, which the gateway serves itself; name a longer path", path, metered);
    for (unsigned k = 0; k < i; k++)
        if (strcmp(c->passthrough[k].path, path) == 0)
            config_doc_error(doc, errors, place, "\"%s\" is already the path of passthrough[%u]", path, k);
}

static void provider_check(const struct config *c, unsigned i, const struct config_doc *doc, struct config_errors *errors)
{
    const struct config_provider *p = config_provider_find(c, slice_cstr(c->passthrough[i].provider));
    char place[64];

    snprintf(place, sizeof place, "passthrough[%u].provider", i);
    if (p == NULL)
        config_doc_error(doc, errors, place, "there is no provider \"%s\"", c->passthrough[i].provider);
    else if (p->path != NULL || strstr(p->url, "<model>") != NULL || (p->query != NULL && strstr(p->query, "<model>") != NULL))
        config_doc_error(doc, errors, place, "provider \"%s\" has an address that is fixed or holds <model>; paths cannot be passed on to it",
                         p->name);
}

static void methods_check(const struct config_passthrough *p, unsigned i, const struct config_doc *doc, struct config_errors *errors)
{
    static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
    char place[64];

    for (unsigned k = 0; k < p->methods_count; k++) {
        bool known = false;
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
            known = known || strcmp(methods[m], p->methods[k]) == 0;
        snprintf(place, sizeof place, "passthrough[%u].methods[%u]", i, k);
        if (!known)
            config_doc_error(doc, errors, place, "\"%s\" is unknown; allowed: GET, POST, PUT, PATCH, DELETE", p->methods[k]);
    }
}

void config_passthrough_check(const struct config *c, const struct config_doc *doc, struct config_errors *errors)
{
    char place[64];

    for (unsigned i = 0; i < c->passthrough_count; i++) {
        const struct config_passthrough *p = &c->passthrough[i];
        int64_t nano = config_passthrough_price(p);
        path_check(c, i, doc, errors);
        provider_check(c, i, doc, errors);
        methods_check(p, i, doc, errors);
        snprintf(place, sizeof place, "passthrough[%u].price", i);
        if (p->price != NULL && (nano < 0 || nano > price_max))
            config_doc_error(doc, errors, place, "\"%s\" must be dollars for one request, 0 to 1000000, like \"0.006\"", p->price);
    }
}
