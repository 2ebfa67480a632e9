#include "route/haproxy_plan.h"
#include "route/haproxy_review_state.h"

#include <ctype.h>
#include <string.h>

/* Hosts of providers that every company meets; those of the plan are added. A leading dot: everything below it. */
static const char *const provider_hosts[] = { "api.openai.com", ".openai.azure.com", ".services.ai.azure.com", "api.anthropic.com",
                                              "generativelanguage.googleapis.com", ".aiplatform.googleapis.com", "api.mistral.ai",
                                              "api.groq.com", "api.deepseek.com", "api.x.ai", "api.cohere.com", "api.together.xyz",
                                              "openrouter.ai", NULL };
static const char *const key_headers[] = { "authorization", "x-api-key", "api-key", NULL };

/* ---- what ends up in logs --------------------------------------------------------------------------------------------- */

static const char *key_header_in(const char *word)
{
    for (const char *const *h = key_headers; *h != NULL; h++)
        if (strcasestr(word, *h) != NULL)
            return *h;
    return NULL;
}

static bool writes_log(const struct haproxy_section *s, const struct haproxy_line *l)
{
    return haproxy_line_is(l, "capture", NULL) || haproxy_line_is(l, "log-format", NULL) || haproxy_line_is(l, "log-format-sd", NULL) ||
           haproxy_line_is(l, "error-log-format", NULL) || haproxy_line_is(l, "http-request", "capture") ||
           (strcmp(s->kind, "log-profile") == 0 && haproxy_line_is(l, "on", NULL));
}

static void review_log(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l)
{
    static const char *const whole[] = { "req.body", "req.hdrs", "req.payload", "res.body", NULL };

    for (size_t i = 1; i < l->count; i++) {
        const char *header = key_header_in(l->words[i]);
        if (header != NULL) {
            finding(r, WEIGHT_UNSAFE, s, l->number, "the %s header goes to the log: clients' tokens can be read there; remove it from this line",
                    header);
            return;
        }
        for (const char *const *w = whole; *w != NULL; w++)
            if (strstr(l->words[i], *w) != NULL) {
                finding(r, WEIGHT_UNSAFE, s, l->number, "%s goes to the log: prompts and tokens can be read there; remove it from this line", *w);
                return;
            }
    }
}

/* ---- keys in the file itself: their values are never shown ------------------------------------------------------------- */

/* How keys of providers begin. */
static const char *const key_beginnings[] = { "sk-", "sk_", "gsk_", "xai-", "hf_", "AIza", "AKIA", NULL };

/* Such a beginning at the begin of a word or name, and 16 characters of a key behind it, a digit among them. */
static bool has_key(const char *word)
{
    for (const char *const *b = key_beginnings; *b != NULL; b++)
        for (const char *at = strstr(word, *b); at != NULL; at = strstr(at + 1, *b)) {
            const char *rest = at + strlen(*b);
            size_t n = strspn(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
            bool begins = at == word || (!isalnum((unsigned char)at[-1]) && strchr("-_/.", at[-1]) == NULL);
            if (begins && n >= 16 && strcspn(rest, "0123456789") < n)
                return true;
        }
    return false;
}

static const char *key_header(const char *word)
{
    for (const char *const *h = key_headers; *h != NULL; h++)
        if (strcasecmp(word, *h) == 0)
            return *h;
    return NULL;
}

static bool sets_header(const struct haproxy_line *l, size_t at)
{
    if (strcmp(l->words[0], "http-request") == 0)
        return at == 2 && (strcmp(l->words[1], "set-header") == 0 || strcmp(l->words[1], "add-header") == 0);
    return strcmp(l->words[0], "http-check") == 0 && strcmp(l->words[at - 1], "hdr") == 0;
}

/* The header that a literal is written into, or NULL. */
static const char *literal_header(const struct haproxy_line *l)
{
    for (size_t i = 2; i + 1 < l->count; i++)
        if (sets_header(l, i) && strstr(l->words[i + 1], "%[") == NULL && key_header(l->words[i]) != NULL)
            return key_header(l->words[i]);
    return NULL;
}

static void review_key(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l)
{
    const char *where = l->varies ? NULL : literal_header(l);
    bool environment = haproxy_line_is(l, "setenv", NULL) || haproxy_line_is(l, "presetenv", NULL);

    for (size_t i = 1; where == NULL && i < l->count; i++)
        if (has_key(l->words[i]))
            where = environment ? l->words[1] : l->words[0];
    if (where != NULL)
        finding(r, WEIGHT_UNSAFE, s, l->number,
                "a key stands in this file, in %s; whoever reads the file has it. Give it to tollgate (providers: credential) and remove the line", where);
}

/* ---- tokens in tables --------------------------------------------------------------------------------------------------- */

/* A table's keys are shown by `show table`, and sent to peers. */
static void review_table(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l)
{
    bool stores = haproxy_line_is(l, "stick", NULL) ||
                  (l->count > 1 && strncmp(l->words[0], "http-request", 12) == 0 && strncmp(l->words[1], "track-sc", 8) == 0);

    for (size_t i = 2; stores && i < l->count; i++)
        if (key_header_in(l->words[i]) != NULL && strstr(l->words[i], ",sha") == NULL)
            finding(r, WEIGHT_UNSAFE, s, l->number,
                    "clients' tokens are kept in a table that `show table` and peers tell; write a digest of them: %s,sha2(256),hex", l->words[i]);
}

/* ---- addresses -------------------------------------------------------------------------------------------------------- */

static void review_bind(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l)
{
    struct slice all = l->count > 1 ? slice_cstr(l->words[1]) : SLICE_NONE;

    while (all.n > 0 && !l->varies) {
        const char *comma = memchr(all.p, ',', all.n);
        struct slice one = slice_make(all.p, comma != NULL ? (size_t)(comma - all.p) : all.n);
        struct haproxy_endpoint here, ours;
        all = comma != NULL ? slice_make(comma + 1, all.n - one.n - 1) : SLICE_NONE;
        if (!endpoint_parse(one, &here))
            continue;
        for (size_t i = 0; i < r->plan->bind_count; i++)
            if (endpoint_parse(slice_cstr(r->plan->binds[i].address), &ours) && endpoint_clash(&here, &ours))
                finding(r, WEIGHT_CONFLICT, s, l->number,
                        "bind %.*s: tollgate listens on %s, and connections would go to either; change this one or haproxy.bind in tollgate.yaml",
                        SLICE_FMT(one), r->plan->binds[i].address);
    }
}

static bool host_matches(struct slice host, const char *pattern)
{
    size_t n = strlen(pattern);

    return pattern[0] == '.' ? host.n > n && strncasecmp(host.p + host.n - n, pattern, n) == 0
                             : host.n == n && strncasecmp(host.p, pattern, n) == 0;
}

static bool is_provider(const struct review *r, struct slice host)
{
    struct haproxy_url u;
    char why[160];

    for (const char *const *h = provider_hosts; *h != NULL; h++)
        if (host_matches(host, *h))
            return true;
    if (slice_starts(host, SLICE_LIT("bedrock-runtime.")))
        return true;
    for (size_t i = 0; i < r->plan->group_count; i++)
        if (haproxy_url_parse(r->plan->groups[i].url, &u, why, sizeof why) && !u.host_is_address && host.n == u.host.n &&
            strncasecmp(host.p, u.host.p, host.n) == 0)
            return true;
    return false;
}

static void review_server(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l)
{
    if (l->count < 3 || l->varies)
        return;
    struct slice host = slice_cstr(strcmp(l->words[0], "server-template") == 0 && l->count > 3 ? l->words[3] : l->words[2]);
    bool path;
    (void)endpoint_family(&host, &path);
    const char *colon = memchr(host.p, ':', host.n);
    if (colon != NULL)
        host.n = (size_t)(colon - host.p);
    if (!is_provider(r, host))
        return;
    finding(r, WEIGHT_UNSAFE, s, l->number,
            "server %s is a provider: requests that come here are neither checked nor counted; send them to the gateway and remove the section",
            l->words[1]);
}

/* ---- the agent asked by hand ------------------------------------------------------------------------------------------ */

static bool any_line_with(const struct haproxy_section *s, const char *first, const char *part)
{
    for (const struct haproxy_line *l = s->first; l != NULL; l = l->next)
        for (size_t i = 1; strcmp(l->words[0], first) == 0 && i < l->count; i++)
            if (strstr(l->words[i], part) != NULL)
                return true;
    return false;
}

static void review_spoe(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l)
{
    if (haproxy_line_after(l, "engine") == NULL || strcmp(haproxy_line_after(l, "engine"), "tollgate") != 0)
        return;
    finding(r, WEIGHT_NOTE, s, l->number, "the agent is asked here by hand: tollgate.cfg does the same and is kept in step with tollgate.yaml");
    if (!haproxy_option_on(s, "http-buffer-request"))
        add_line(r, s, 0, "option http-buffer-request");
    if (!haproxy_option_on(s, "http-no-delay"))
        add_line(r, s, 0, "option http-no-delay");
    if (!haproxy_option_on(s, "abortonclose"))
        add_line(r, s, 0, "option abortonclose");
    if (haproxy_setting(s, "unique-id-format", NULL, NULL) == NULL)
        add_line(r, s, 0, "unique-id-format %%[uuid()]");
    if (!any_line_with(s, "http-request", "req.body_len")) {
        finding(r, WEIGHT_UNSAFE, s, l->number, "nothing refuses a body that is larger than the buffer: the agent would be shown its beginning only");
        add_line(r, s, 0, "http-request deny deny_status 413 if { req.body_len gt %lld } || { req.hdr_val(content-length) gt %lld }",
                 (long long)haproxy_max_body(r->plan), (long long)haproxy_max_body(r->plan));
    }
    if (!any_line_with(s, "http-request", "txn.tg.ok")) {
        finding(r, WEIGHT_UNSAFE, s, l->number, "without an answer of the agent requests pass");
        add_line(r, s, 0, "http-request deny deny_status 503 unless { var(txn.tg.ok) -m bool }");
    }
}

void review_proxy(struct review *r, const struct haproxy_section *s)
{
    for (const struct haproxy_line *l = s->first; l != NULL; l = l->next) {
        if (writes_log(s, l))
            review_log(r, s, l);
        else if (haproxy_line_is(l, "filter", "spoe"))
            review_spoe(r, s, l);
        else if (haproxy_line_is(l, "bind", NULL))
            review_bind(r, s, l);
        else if (haproxy_line_is(l, "server", NULL) || haproxy_line_is(l, "server-template", NULL))
            review_server(r, s, l);
        review_key(r, s, l);
        review_table(r, s, l);
    }
}
