/* The company's own sections in front of the gateway: what they must and must not do to requests and streams on their way. */
#include "route/haproxy_plan.h"
#include "route/haproxy_review_state.h"

#include <string.h>

/* The longest wait inside an answer, and room for HAProxy's own. */
static int64_t wait_ms(const struct review *r)
{
    int64_t most = haproxy_stall(r->plan);

    for (size_t i = 0; i < r->plan->group_count; i++) {
        int64_t first = haproxy_first_byte(r->plan, &r->plan->groups[i], false);
        /* The fallback may wait as long as the primary did. */
        most = 2 * first > most ? 2 * first : most;
    }
    return most + 20000;
}

static const struct haproxy_bind *bind_of(const struct review *r, const struct haproxy_line *l)
{
    struct haproxy_endpoint server, bind;

    if (!haproxy_line_is(l, "server", NULL) || l->count < 3 || l->varies || !endpoint_parse(slice_cstr(l->words[2]), &server))
        return NULL;
    for (size_t i = 0; i < r->plan->bind_count; i++)
        if (endpoint_parse(slice_cstr(r->plan->binds[i].address), &bind) && endpoint_reaches(&server, &bind))
            return &r->plan->binds[i];
    return NULL;
}

static bool is_http(const struct haproxy_section *s)
{
    const struct haproxy_line *mode = haproxy_setting(s, "mode", NULL, NULL);
    return mode != NULL && mode->count > 1 && strcmp(mode->words[1], "http") == 0;
}

static void review_server_line(struct review *r, const struct haproxy_section *s, const struct haproxy_line *l, const struct haproxy_bind *b)
{
    bool proxied = false;

    for (size_t i = 3; i < l->count; i++)
        proxied = proxied || strncmp(l->words[i], "send-proxy", 10) == 0;
    if (proxied && !b->accept_proxy)
        finding(r, WEIGHT_CONFLICT, s, l->number, "%s: tollgate's %s does not accept the PROXY protocol; set accept_proxy: true there, or remove it here",
                l->words[1], b->address);
    if (!proxied && b->accept_proxy)
        finding(r, WEIGHT_CONFLICT, s, l->number, "%s: tollgate's %s waits for the PROXY protocol; add send-proxy-v2 to this line", l->words[1],
                b->address);
}

/* The first word of a retry-on line that repeats what may have been answered, or NULL. */
static const char *repeats(const struct haproxy_line *on)
{
    for (size_t i = 1; i < on->count; i++)
        if (strcmp(on->words[i], "conn-failure") != 0 && strcmp(on->words[i], "none") != 0)
            return on->words[i];
    return NULL;
}

static void review_retries(struct review *r, const struct haproxy_section *s)
{
    const struct haproxy_section *where = s;
    const struct haproxy_line *on = haproxy_setting(s, "retry-on", NULL, &where), *retries = haproxy_setting(s, "retries", NULL, NULL);

    if (on == NULL || repeats(on) == NULL || (retries != NULL && retries->count > 1 && strcmp(retries->words[1], "0") == 0))
        return;
    finding(r, WEIGHT_UNSAFE, where, on->number,
            "retry-on %s: backend %s would send a request again that a provider has answered already, and it is paid for twice; the gateway "
            "tries again where that is right",
            repeats(on), s->name);
    add_line(r, s, 0, "retry-on conn-failure");
}

/* Compressing an event stream holds events back until a block is full. */
static void review_compression(struct review *r, const struct haproxy_section *s, enum weight weight)
{
    const struct haproxy_section *where = s;
    const struct haproxy_line *algo = haproxy_setting(s, "compression", "algo", &where), *type = haproxy_setting(s, "compression", "type", NULL);
    if (algo == NULL) { /* from 2.8 on each direction has its own */
        algo = haproxy_setting(s, "compression", "algo-res", &where);
        type = haproxy_setting(s, "compression", "type-res", NULL);
    }
    bool streams = type == NULL;

    for (size_t i = 2; type != NULL && i < type->count; i++)
        streams = streams || strncmp(type->words[i], "text/event-stream", 17) == 0 || strcmp(type->words[i], "text/") == 0;
    if (algo != NULL && streams)
        finding(r, weight, where, algo->number,
                "event streams would be compressed, and tokens arrive in lumps; name what is compressed: compression type text/html text/css "
                "application/javascript");
}

static void review_timeout(struct review *r, const struct haproxy_section *s)
{
    const struct haproxy_section *where = s;
    const struct haproxy_line *l = haproxy_setting(s, "timeout", "server", &where);
    int64_t ms = l != NULL && l->count > 2 ? haproxy_time_ms(l->words[2]) : -1;

    if (l == NULL || ms >= wait_ms(r) || l->varies)
        return;
    finding(r, WEIGHT_UNSAFE, where, l->number, "timeout server %s: %s %s would cut answers that the gateway still waits for", l->count > 2 ? l->words[2] : "",
            s->kind, s->name);
    add_line(r, s, 0, "timeout server %llds", (long long)(wait_ms(r) / 1000));
}

/* What happens to the client's own token on its way. */
static void review_token(struct review *r, const struct haproxy_section *s, enum weight weight)
{
    for (const struct haproxy_line *l = s->first; l != NULL; l = l->next)
        if (l->count > 2 && strcmp(l->words[0], "http-request") == 0 &&
            (strcmp(l->words[1], "del-header") == 0 || strcmp(l->words[1], "set-header") == 0 || strcmp(l->words[1], "replace-header") == 0) &&
            strcasecmp(l->words[2], "authorization") == 0)
            finding(r, weight, s, l->number, "the client's token does not reach the gateway: it would answer 401; remove the line");
}

static void review_backend(struct review *r, const struct haproxy_section *s)
{
    const struct haproxy_section *where = s;
    const struct haproxy_line *reuse = haproxy_setting(s, "http-reuse", NULL, &where);

    if (!haproxy_option_on(s, "http-no-delay")) {
        finding(r, WEIGHT_UNSAFE, s, 0, "option http-no-delay is missing: tokens of a stream would arrive in lumps of 200 ms");
        add_line(r, s, 0, "option http-no-delay");
    }
    if (!haproxy_option_on(s, "abortonclose")) {
        finding(r, WEIGHT_UNSAFE, s, 0, "option abortonclose is missing: when a client goes away the provider works, and charges, to the end");
        add_line(r, s, 0, "option abortonclose");
    }
    review_timeout(r, s);
    review_retries(r, s);
    review_compression(r, s, WEIGHT_UNSAFE);
    review_token(r, s, WEIGHT_CONFLICT);
    if (reuse != NULL && reuse->count > 1 && strcmp(reuse->words[1], "never") == 0)
        finding(r, WEIGHT_NOTE, where, reuse->number, "http-reuse never: each request to the gateway makes a connection of its own");
    if (reuse != NULL && reuse->count > 1 && (strcmp(reuse->words[1], "always") == 0 || strcmp(reuse->words[1], "aggressive") == 0))
        finding(r, WEIGHT_NOTE, where, reuse->number,
                "http-reuse %s: a client's first request may meet a connection that the gateway is just closing, and get 502; write: http-reuse safe",
                reuse->words[1]);
}

static bool leads_to(const struct haproxy_section *frontend, const char *backend)
{
    for (const struct haproxy_line *l = frontend->first; l != NULL; l = l->next)
        if ((haproxy_line_is(l, "use_backend", backend) || haproxy_line_is(l, "default_backend", backend)))
            return true;
    return false;
}

static void review_frontends(struct review *r, const char *backend)
{
    for (const struct haproxy_section *s = r->text->first; s != NULL; s = s->next) {
        if (!haproxy_section_is_proxy(s) || is_generated(r, s) || !leads_to(s, backend))
            continue;
        review_compression(r, s, WEIGHT_UNSAFE);
        review_token(r, s, WEIGHT_CONFLICT);
    }
}

/* ---- nothing leads to the gateway yet --------------------------------------------------------------------------------- */

/* Whether a section that is added may be given a retry-on that pays for requests twice. */
static bool defaults_repeat(const struct review *r)
{
    for (const struct haproxy_section *s = r->text->first; s != NULL; s = s->next)
        for (const struct haproxy_line *l = s->first; strcmp(s->kind, "defaults") == 0 && l != NULL; l = l->next)
            if (haproxy_line_is(l, "retry-on", NULL) && repeats(l) != NULL)
                return true;
    return false;
}

static void offer_way(struct review *r)
{
    const struct haproxy_bind *b = NULL;
    bool any = false;

    for (size_t i = 0; i < r->plan->bind_count && b == NULL; i++)
        if (r->plan->binds[i].cert == NULL && !r->plan->binds[i].http2_only)
            b = &r->plan->binds[i];
    for (const struct haproxy_section *s = r->text->first; s != NULL && b != NULL; s = s->next) {
        if (is_generated(r, s) || !is_http(s) || (strcmp(s->kind, "frontend") != 0 && strcmp(s->kind, "listen") != 0))
            continue;
        any = true;
        add_line(r, s, 0, "# only if this address shall serve the API as well");
        add_line(r, s, 0, "use_backend to_tollgate if { path_beg /v1/ } || { path_beg /tollgate/v1/ }");
        review_compression(r, s, WEIGHT_NOTE);
        review_token(r, s, WEIGHT_NOTE);
    }
    if (!any)
        return;
    struct haproxy_endpoint e;
    char local[32];
    const char *address = b->address;
    if (endpoint_parse(slice_cstr(address), &e) && endpoint_is_any(&e)) {
        snprintf(local, sizeof local, "127.0.0.1:%d", e.port);
        address = local;
    }
    add_line(r, NULL, 0, "backend to_tollgate");
    add_line(r, NULL, 0, "    mode http");
    add_line(r, NULL, 0, "    option http-no-delay");
    add_line(r, NULL, 0, "    option abortonclose");
    if (defaults_repeat(r))
        add_line(r, NULL, 0, "    retry-on conn-failure");
    add_line(r, NULL, 0, "    timeout connect 4s");
    add_line(r, NULL, 0, "    timeout server %llds", (long long)(wait_ms(r) / 1000));
    add_line(r, NULL, 0, "    server gateway %s%s", address, b->accept_proxy ? " send-proxy-v2" : "");
}

void review_way(struct review *r)
{
    bool found = false;

    for (const struct haproxy_section *s = r->text->first; s != NULL; s = s->next) {
        const struct haproxy_bind *b = NULL;
        if (!haproxy_section_is_proxy(s) || is_generated(r, s))
            continue;
        for (const struct haproxy_line *l = s->first; l != NULL; l = l->next) {
            const struct haproxy_bind *one = bind_of(r, l);
            if (one != NULL)
                review_server_line(r, s, l, one);
            b = one != NULL ? one : b;
        }
        if (b == NULL)
            continue;
        found = true;
        if (!is_http(s))
            continue;
        review_backend(r, s);
        if (strcmp(s->kind, "backend") == 0)
            review_frontends(r, s->name);
    }
    if (!found)
        offer_way(r);
}
