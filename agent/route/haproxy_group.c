#include "route/haproxy_group.h"

/* Statuses a provider answers with that another provider may do better on, besides 500, 502, 503 and 504. HAProxy 2.6 cannot retry on
 * them, so the second tier turns them into 503 and the first tier, when nothing better came, turns them back. */
static const int retried_statuses[] = { 401, 403, 408, 409, 425, 429, 501, 505, 507, 508, 520, 521, 522, 523, 524, 525, 526, 527, 529, 530 };
#define RETRIED_COUNT (sizeof(retried_statuses) / sizeof(retried_statuses[0]))

static void put_retried(FILE *out)
{
    for (size_t i = 0; i < RETRIED_COUNT; i++)
        fprintf(out, " %d", retried_statuses[i]);
}

void haproxy_put_statuses(FILE *out)
{
    for (size_t i = 0; i < RETRIED_COUNT; i++)
        fprintf(out, "    http-response set-status %d if { res.hdr(x-tg-status) %d }\n", retried_statuses[i], retried_statuses[i]);
    fputs("    http-response set-status 503 if { res.hdr(x-tg-status) 503 }\n"
          "    http-response set-status 400 if { res.hdr(x-tg-status) 400 }\n"
          "    http-response set-status 200 if { res.hdr(x-tg-status) 200 }\n", out);
}

/* `s` for a place where HAProxy evaluates %[...]: percent signs doubled, <model> replaced by the encoded model. */
static void put_evaluated(FILE *out, struct slice s)
{
    const size_t mark = sizeof(HAPROXY_MODEL_MARK) - 1;
    for (size_t i = 0; i < s.n; i++) {
        if (s.n - i >= mark && memcmp(s.p + i, HAPROXY_MODEL_MARK, mark) == 0) {
            fputs("%[var(txn.tgx.model),url_enc]", out);
            i += mark - 1;
        } else if (s.p[i] == '%') {
            fputs("%%", out);
        } else {
            fputc(s.p[i], out);
        }
    }
}

/* The agent has signed this request, body and all, for this provider: the variable holds the headers' values between bars. */
static void put_signature(FILE *out)
{
    static const char *const headers[] = { "authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token" };

    fputs("    http-request del-header ^x-amz- -m reg\n", out);
    for (int i = 0; i < 4; i++) {
        fprintf(out, "    http-request set-header %s \"%%[var(txn.tgx.key),field(%d," HAPROXY_AWS_SEPARATOR ")]\"", headers[i], i + 1);
        fprintf(out, " if { var(txn.tgx.key),field(%d," HAPROXY_AWS_SEPARATOR ") -m len gt 0 }\n", i + 1);
    }
}

static void put_upstream_request(FILE *out, const struct haproxy_group *g, const struct haproxy_url *u)
{
    const char *open = u->host_is_ipv6 ? "[" : "", *close = u->host_is_ipv6 ? "]" : "";
    const struct haproxy_auth_style *auth = haproxy_auth_style(g->auth);
    if (g->auth == HAPROXY_AUTH_AWS_SIGV4)
        put_signature(out);
    else if (auth->header)
        fprintf(out, "    http-request set-header %s \"%%[var(txn.tgx.key)]\" if { var(txn.tgx.key) -m found }\n", auth->header);
    fprintf(out, "    http-request set-header host %s%.*s%s", open, SLICE_FMT(u->host), close);
    if (u->port_given)
        fprintf(out, ":%d", u->port);
    fputs("\n", out);
    if (g->path || !slice_eq_cstr(u->path, "/v1")) {
        fputs("    http-request set-path ", out);
        put_evaluated(out, g->path ? slice_cstr(g->path) : u->path);
        fputs(g->path ? "\n" : "%[path,bytes(3)]\n", out);
    }
    if (g->query) {
        fputs("    http-request set-query ", out);
        put_evaluated(out, slice_cstr(g->query));
        fputs("\n", out);
    }
    for (size_t i = 0; i < g->header_count; i++) {
        fprintf(out, "    http-request set-header %s '", g->headers[i].name);
        for (const char *c = g->headers[i].value; *c; c++)
            fputs(*c == '%' ? "%%" : (char[]){ *c, '\0' }, out);
        fputs("'\n", out);
    }
}

static void put_server(FILE *out, const struct haproxy_group *g, const struct haproxy_url *u)
{
    const char *open = u->host_is_ipv6 ? "[" : "", *close = u->host_is_ipv6 ? "]" : "";
    fprintf(out, "    server up %s%.*s%s:%d", open, SLICE_FMT(u->host), close, u->port);
    if (u->tls) {
        struct slice name = g->server_name ? slice_cstr(g->server_name) : u->host;
        fputs(" ssl alpn http/1.1", out);
        if (g->server_name || !u->host_is_address)
            fprintf(out, " sni str(%.*s)", SLICE_FMT(name));
        if (g->insecure)
            fputs(" verify none", out);
        else
            fprintf(out, " verify required ca-file %s", g->ca_file ? g->ca_file : "/etc/ssl/certs/ca-certificates.crt");
    }
    if (!u->host_is_address)
        fputs(" resolvers tollgate init-addr last,libc,none", out);
    if (g->max_connections)
        fprintf(out, " maxconn %d", g->max_connections);
    fputs("\n", out);
}

/* The provider's own id of the request, under the first of the names that providers give it; cut, so that a log line stays whole. */
void haproxy_put_provider_id(FILE *out, const char *converter)
{
    static const char *const names[] = { "x-request-id", "request-id", "apim-request-id", "x-amzn-requestid" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        fprintf(out, "    http-response set-var(txn.tgx.rid) res.fhdr(%s),bytes(0,128)%s if %s{ res.fhdr(%s) -m found }\n", names[i], converter,
                i > 0 ? "!{ var(txn.tgx.rid) -m found } " : "", names[i]);
}

/* Types and codes of errors that are the request's own; relay/relay_stream.c and tollgate.lua know them too. */
static const char *const request_faults[] = { "content_filter", "content_policy_violation", "context_length_exceeded", "invalid_prompt",
                                              "invalid_request_error" };

/* A JSON answer with status 200 that is an error object, or that ends before its first byte, is a failed try: 503 for the first tier, which
 * gives 200 back when nothing better came. Not an error that blames the request: that is the client's answer. */
static void put_error_body(FILE *out, int wait_ms, bool stream)
{
    static const char json[] = "{ status 200 } { res.hdr(content-type) -i -m beg application/json }";

    /* A stream's first byte of any kind, a plain answer's only where it may be an error: a download need not wait. */
    fprintf(out, "    http-response wait-for-body time %dms at-least 1 if %s\n", wait_ms, stream ? "{ status 200 }" : json);
    fprintf(out,
            "    http-response set-var(txn.tgx.err) int(1) if %s { res.body -m reg "
            "'^\\s*\\{\\s*\"(error\"\\s*:\\s*[{\"]|(type|object)\"\\s*:\\s*\"error\")' } !{ res.body -m sub ",
            json);
    for (size_t i = 0; i < sizeof(request_faults) / sizeof(request_faults[0]); i++)
        fprintf(out, "'\"%s\"' ", request_faults[i]);
    fputs("}\n", out);
    fprintf(out, "    http-response set-var(txn.tgx.err) int(1) if %s { res.body_len 0 } !{ res.hdr_val(content-length) 0 }\n", json);
}

void haproxy_put_group(FILE *out, const struct haproxy_plan *p, const struct haproxy_group *g, bool stream)
{
    struct haproxy_url u;
    char why[160];
    if (!haproxy_url_parse(g->url, &u, why, sizeof(why)))
        return; /* checked before */
    fprintf(out, "\nbackend " HAPROXY_GROUP_PREFIX "%s%s from tg_defaults\n", g->name, stream ? HAPROXY_STREAM_SUFFIX : "");
    int first = haproxy_first_byte(p, g, stream) + (p->relay && stream ? 500 : 0), between = haproxy_server_timeout(p) + (p->relay && stream ? 5000 : 0);
    /* 2.6 knows one server timeout for head and body: there the head is waited for by a rule. 3.2 can spin in that rule when the
     * connection breaks before the head. */
    fprintf(out,
            "    http-reuse always\n"
            "    retries 0\n"
            "    timeout server %dms\n"
            ".if version_atleast(3.1)\n"
            "    http-request set-timeout server %dms\n"
            "    http-response set-timeout server %dms\n"
            ".else\n"
            "    tcp-response inspect-delay %dms\n"
            "    tcp-response content accept if { status gt 0 }\n"
            "    tcp-response content close if WAIT_END\n"
            ".endif\n", between, first, between, first);
    /* The relay waits for the first event that says something, and knows an error from it; without it the first byte has to do. */
    bool look = !p->relay || !stream;
    if (look)
        put_error_body(out, haproxy_first_byte(p, g, stream), stream);
    put_upstream_request(out, g, &u);
    fputs("    http-response del-header ^x-tg- -m reg\n"
          "    http-response set-var(txn.tgx.rst) status\n"
          "    http-response set-var(txn.tgx.ra) res.fhdr(retry-after),json(utf8s) if { res.fhdr(retry-after) -m found }\n", out);
    haproxy_put_provider_id(out, ",json(utf8s)");
    fputs("    http-response set-header x-tg-status %[status] if { status", out);
    put_retried(out);
    fputs(" }\n    http-response set-status 503 if { status", out);
    put_retried(out);
    fputs(" }\n", out);
    if (look)
        fputs("    http-response set-header x-tg-status 200 if { var(txn.tgx.err) -m found }\n"
              "    http-response set-status 503 if { var(txn.tgx.err) -m found }\n", out);
    put_server(out, g, &u);
}
