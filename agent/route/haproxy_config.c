#include "route/haproxy_config.h"

#include "route/haproxy_files.h"
#include "route/haproxy_group.h"
#include "route/haproxy_plan.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TOO_LONG_MS = 2000, TOO_LONG_BYTES = 8192 }; /* for the beginning of an error's body */
enum { CHECK_EVERY_MS = 1000 };                     /* the agent's health */

/* A JSON error that both OpenAI and Anthropic clients read, on one line. */
#define ERROR_JSON(message, type, code)                                                                                        \
    "'{\"type\":\"error\",\"error\":{\"message\":\"" message "\",\"type\":\"" type "\",\"param\":null,\"code\":\"" code "\"}}'"

static void put_global(FILE *out, const struct haproxy_plan *p)
{
    fputs("# tollgate beside HAProxy. Written by `tollgate haproxy`: change tollgate's own configuration and write it again.\n"
          "# Load it after your own file:  haproxy -f haproxy.cfg -f tollgate.cfg\n\n"
          "global\n"
          "    # A request is decided on as a whole: body, headers and room for edits must fit one buffer.\n", out);
    fprintf(out, "    tune.bufsize %" PRId64 "\n    tune.maxrewrite %d\n", haproxy_plan_bufsize(p), HAPROXY_MAX_REWRITE);
    if (p->lua)
        fprintf(out,
                ".if version_atleast(3.1)\n    tune.lua.bool-sample-conversion normal\n.endif\n"
                "    # One Lua state for each thread; a shared one would serialise all requests.\n"
                "    lua-load-per-thread %s/tollgate.lua\n", p->lua_dir ? p->lua_dir : p->conf_dir);
    fprintf(out,
            "\n# One line for each request and each attempt, kept while the agent is away.\n"
            "ring tg_ring\n"
            "    description \"tollgate: requests and attempts\"\n"
            "    format raw\n"
            "    maxlen 8000\n"
            "    size 4194304\n"
            "    timeout connect 1s\n"
            "    timeout server 5s\n");
    /* 3.0 gives up an octet-counted ring for good when its server closes; a TCP connection is reset by the agent, a unix socket cannot be. */
    if (strncmp(p->ring_address, "unix@", 5) == 0)
        fprintf(out,
                ".if version_atleast(3.0) && !version_atleast(3.2)\n"
                "    server agent %s log-proto legacy\n"
                ".else\n"
                "    server agent %s log-proto octet-count\n"
                ".endif\n", p->ring_address, p->ring_address);
    else
        fprintf(out, "    server agent %s log-proto octet-count\n", p->ring_address);
}

static void put_defaults(FILE *out, const struct haproxy_plan *p)
{
    static const struct {
        int status;
        const char *body;
    } errors[] = {
        { 400, ERROR_JSON("The request is not valid HTTP.", "invalid_request_error", "bad_request") },
        { 408, ERROR_JSON("The request did not arrive in time.", "invalid_request_error", "request_timeout") },
        { 413, ERROR_JSON("The request body is too large.", "invalid_request_error", "request_too_large") },
        { 500, ERROR_JSON("The gateway failed.", "server_error", "gateway_error") },
        { 502, ERROR_JSON("The provider gave no usable answer.", "server_error", "provider_error") },
        { 503, ERROR_JSON("The provider cannot be reached.", "server_error", "provider_unavailable") },
        { 504, ERROR_JSON("The provider did not answer in time.", "server_error", "provider_timeout") },
    };
    /* The client side and the first tier wait a little longer than the second tier, so that it is the second tier that gives up. */
    int longest = haproxy_server_timeout(p) + p->retry_after_ms + 10000;
    fprintf(out,
            "\n# A defaults section with a name: only the sections below that name it use it.\n"
            "defaults tg_defaults\n"
            "    mode http\n"
            "    # Without it the tokens of a stream are held back and sent in lumps.\n"
            "    option http-no-delay\n"
            "    # A client that goes away stops the provider's work.\n"
            "    option abortonclose\n"
            "    option dontlognull\n"
            "    timeout client %dms\n"
            "    timeout connect 4s\n"
            "    timeout server %dms\n"
            "    timeout queue 2s\n"
            "    timeout http-request 30s\n"
            "    timeout http-keep-alive 60s\n", longest, longest);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        fprintf(out, "    http-error status %d content-type application/json string %s\n", errors[i].status, errors[i].body);
}

/* The same lines, with the request's id, for the company's own log. */
static void put_log(FILE *out, const struct haproxy_plan *p)
{
    if (p->log)
        fprintf(out, "    log %s\n", p->log);
}

static void put_gateway_open(FILE *out, const struct haproxy_plan *p)
{
    fputs("\n# ---- first tier: decide, then try the primary and, if need be, the fallback ----\n"
          "frontend tg_gateway from tg_defaults\n", out);
    for (size_t i = 0; i < p->bind_count; i++) {
        const struct haproxy_bind *b = &p->binds[i];
        fprintf(out, "    bind %s", b->address);
        if (b->cert)
            fprintf(out, " ssl crt %s alpn h2,http/1.1", b->cert);
        if (b->client_ca)
            fprintf(out, " ca-file %s verify %s", b->client_ca, b->client_cert_optional ? "optional" : "required");
        if (b->crl)
            fprintf(out, " crl-file %s", b->crl);
        fprintf(out, "%s%s\n", b->http2_only ? " proto h2" : "", b->accept_proxy ? " accept-proxy" : "");
    }
    fputs("    option http-buffer-request\n"
          "    unique-id-format %[uuid()]\n"
          "    log ring@tg_ring len 8000 format raw local0\n", out);
    put_log(out, p);
    fputs("    log-format '{\"t\":1,\"id\":\"%ID\",\"st\":%ST,\"tsc\":\"%tsc\",\"srv\":\"%s\",\"rc\":\"%rc\",\"Tw\":%Tw,\"Tr\":%Tr,"
          "\"Ta\":%Ta,\"Td\":%Td,\"B\":%B,\"grp\":\"%[var(txn.tgx.grp)]\",\"att\":\"%[var(txn.tgx.att)]\","
          "\"deny\":\"%[var(txn.tg.deny)]\",\"code\":\"%[var(txn.tg.code)]\",\"err\":\"%[var(txn.tg.err)]\","
          "\"spoe_ms\":\"%[var(txn.tg.ptime)]\"}'\n", out);
    if (p->lua)
        fprintf(out, "    filter lua.tollgate-tap %s\n", p->settle_socket);
    fprintf(out, "    filter spoe engine tollgate config %s/tollgate-spoe.conf\n", p->conf_dir);
}

/* The statuses the agent may answer with. HAProxy wants each as a literal. */
static void put_denials(FILE *out)
{
    static const int statuses[] = { 200, 400, 401, 402, 403, 404, 405, 408, 413, 415, 422, 429, 500, 503 };
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        const char *extra = statuses[i] == 401 ? " hdr www-authenticate Bearer" : statuses[i] == 405 ? " hdr allow \"%[var(txn.tg.allow)]\"" : "";
        fprintf(out,
                "    http-request return status %d content-type application/json lf-string \"%%[var(txn.tg.ebody)]\""
                " hdr retry-after \"%%[var(txn.tg.retry)]\" hdr x-should-retry \"%%[var(txn.tg.noretry)]\" hdr cache-control no-store%s"
                " if { var(txn.tg.deny) -m int %d }\n", statuses[i], extra, statuses[i]);
    }
    fputs("    http-request return status 500 content-type application/json string "
          ERROR_JSON("The decision on this request cannot be carried out.", "server_error", "gateway_error")
          " if { var(txn.tg.deny) -m found } || !{ var(txn.tg.pri) -m found }\n", out);
}

/* People's requests are no requests for a provider: nothing is decided, stripped or logged to the ledger about them. */
static void put_console_rules(FILE *out, const struct haproxy_plan *p)
{
    if (p->console_address == NULL)
        return;
    fprintf(out,
            "    http-request set-var(txn.tgx.console) bool(true) if { path %s } || { path_beg %s/ }\n"
            "    http-request set-log-level silent if { var(txn.tgx.console) -m found }\n"
            "    http-request allow if { var(txn.tgx.console) -m found }\n"
            "    http-response allow if { var(txn.tgx.console) -m found }\n"
            "    use_backend tg_console if { var(txn.tgx.console) -m found }\n", p->console_path, p->console_path);
}

static void put_console(FILE *out, const struct haproxy_plan *p)
{
    if (p->console_address != NULL)
        fprintf(out,
                "\n# ---- the console: pages for people, from the agent ----\n"
                "backend tg_console from tg_defaults\n"
                "    http-request set-header x-forwarded-for %%[src]\n"
                "    http-request set-header x-forwarded-proto %%[ssl_fc,iif(https,http)]\n"
                "    server agent %s\n", p->console_address);
}

static void put_decision(FILE *out, const struct haproxy_plan *p)
{
    fprintf(out,
            "    http-request set-var(txn.tgx.id) unique-id\n"
            "    # What might not fit the buffer is refused before the agent sees it: a body cut short must never be decided on.\n"
            "    http-request return status 431 content-type application/json string %s if { req.hdrs,length gt %d }\n"
            "    http-request return status 413 content-type application/json string %s if { req.hdr_val(content-length) gt %" PRId64
            " } || { req.body_len gt %" PRId64 " }\n"
            "    # Azure's clients name the deployment in the path; the rest of it is the same API.\n"
            "    http-request set-var(txn.tgx.dep) path,field(4,/),url_dec if { path_reg ^/openai/deployments/[^/]+/. }\n"
            "    http-request replace-path ^/openai/deployments/[^/]+/(.+) /v1/\\1\n"
            "    http-request replace-path ^/openai/v1/(.+) /v1/\\1\n"
            "    http-request set-uri %%[path] if { var(txn.tgx.dep) -m found }\n"
            "    http-request return status 404 content-type application/json string %s"
            " unless { path_beg /v1/ } || { path_beg /tollgate/v1/ }\n"
            "    # The agent decides. No answer, no passage: remove the second line to let requests through undecided.\n"
            "    http-request send-spoe-group tollgate llm\n"
            "    http-request return status 503 content-type application/json hdr retry-after 1 string %s"
            " unless { var(txn.tg.ok) -m bool }\n",
            ERROR_JSON("The request headers are too large.", "invalid_request_error", "headers_too_large"), HAPROXY_MAX_HEADERS,
            ERROR_JSON("The request body is too large for this gateway.", "invalid_request_error", "request_too_large"),
            haproxy_max_body(p), haproxy_max_body(p),
            ERROR_JSON("Unknown path: this gateway serves /v1/.", "invalid_request_error", "unknown_path"),
            ERROR_JSON("The policy agent is not available. Try again shortly.", "server_error", "policy_unavailable"));
    put_denials(out);
}

static void put_forwarding(FILE *out, const struct haproxy_plan *p)
{
    /* What a client may not bring along: credentials, the choice of who is billed, and names this configuration uses itself. */
    static const char *const stripped[] = { "authorization", "proxy-authorization", "x-api-key", "api-key", "cookie",
                                            "openai-organization", "openai-project", "x-goog-api-key", "x-request-id",
                                            "x-client-request-id", "accept-encoding", "forwarded", "x-forwarded-for", "x-real-ip",
                                            "via", "expect", "x-tollgate-conversation" };
    fputs("    # The client's credential ends here; the provider's key is added in the provider's own section only.\n"
          "    http-request set-uri %[pathq]\n"
          "    http-request del-header ^x-tg- -m reg\n", out);
    for (size_t i = 0; i < sizeof(stripped) / sizeof(stripped[0]); i++)
        fprintf(out, "    http-request del-header %s\n", stripped[i]);
    fputs("    http-request set-header accept-encoding identity\n"
          "    http-request set-header x-tg-id %[var(txn.tgx.id)]\n"
          "    http-request set-header x-tg-s 1 if { var(txn.tg.stream) -m bool }\n"
          "    http-request set-header x-tg-l 1 if { var(txn.tg.larger) -m bool }\n"
          "    http-request set-header x-tg-a 2 if { var(txn.tg.pause) -m bool } !{ var(txn.tg.other) -m bool }\n"
          "    http-request set-header x-tg-a 1 if { var(txn.tg.again) -m bool }\n"
          "    http-request set-header x-tg-w 1 if { var(txn.tg.pause) -m bool }\n"
          "    http-request set-header x-tg-o 1 if { var(txn.tg.other) -m bool }\n", out);
    static const char *const attempts[][2] = { { "p", "pri" }, { "f", "fb" } };
    for (size_t i = 0; i < 2; i++) {
        const char *t = attempts[i][0];
        fprintf(out, "    http-request set-header x-tg-%sg %%[var(txn.tg.%s)] if { var(txn.tg.%s) -m found }\n", t, attempts[i][1],
                attempts[i][1]);
        fprintf(out, "    http-request set-header x-tg-%sk \"%%[var(txn.tg.%skey)]\" if { var(txn.tg.%skey) -m found }\n", t, t, t);
        fprintf(out, "    http-request set-header x-tg-%sm %%[var(txn.tg.%smodel)] if { var(txn.tg.%smodel) -m found }\n", t, t, t);
        if (p->lua) {
            fprintf(out, "    http-request set-header x-tg-%se \"%%[var(txn.tg.%sedit)];\" if { var(txn.tg.%sedit) -m found }\n", t, t, t);
            fprintf(out, "    http-request set-header x-tg-%sd %%[var(txn.tg.%sdelta)] if { var(txn.tg.%sdelta) -m found }\n", t, t, t);
        }
    }
    fputs("    # The trace goes on below the gateway's spans; a tracestate without its trace does not.\n"
          "    http-request del-header tracestate if { var(txn.tg.tnew) -m bool }\n"
          "    http-request set-header x-tg-pt %[var(txn.tg.ptrace)] if { var(txn.tg.ptrace) -m found }\n"
          "    http-request set-header x-tg-ft %[var(txn.tg.ftrace)] if { var(txn.tg.ftrace) -m found }\n"
          "    http-request set-var(txn.tgx.go) int(1)\n", out);
}

static void put_response(FILE *out, const struct haproxy_plan *p)
{
    static const char *const informing[][2] = {
        { "x-ratelimit-limit-tokens", "rlt" },   { "x-ratelimit-remaining-tokens", "rrt" },   { "x-ratelimit-reset-tokens", "rst" },
        { "x-ratelimit-limit-requests", "rlr" }, { "x-ratelimit-remaining-requests", "rrr" }, { "x-ratelimit-reset-requests", "rsr" },
        { "x-tollgate-budget-left", "bud" },     { "x-tollgate-hold-usd", "hold" },           { "x-tollgate-cost-usd", "cost" },
        { "x-tollgate-notice", "note" },
        { "x-tollgate-alias", "alias" },         { "x-tollgate-overhead-us", "ovh" },
    };
    fputs("    # What the tap and the log want to know, then everything about the account and the provider's site goes.\n"
          "    http-response set-var(txn.tgx.st) status\n"
          "    http-response set-var(txn.tgx.grp) res.hdr(x-tg-group) if { res.hdr(x-tg-group) -m found }\n"
          "    http-response set-var(txn.tgx.att) res.hdr(x-tg-attempt) if { res.hdr(x-tg-attempt) -m found }\n", out);
    haproxy_put_provider_id(out, "");
    fputs("    http-response set-var(txn.tgx.retry) res.fhdr(retry-after) if { res.fhdr(retry-after) -m found }\n"
          "    http-response set-var(txn.tgx.coding) res.fhdr(content-encoding) if { res.fhdr(content-encoding) -m found }\n"
          "    http-response set-var(txn.tgx.sse) int(1) if { res.hdr(content-type) -i -m beg text/event-stream }\n"
          "    http-response del-header ^(x-tg-|x-ratelimit-|anthropic-ratelimit-|anthropic-organization-|cf-|x-ms-|x-envoy-) -m reg\n"
          "    http-response del-header ^(set-cookie|alt-svc|strict-transport-security|server|via|x-request-id|request-id|"
          "openai-organization|openai-project|apim-request-id|x-powered-by|nel|report-to)$ -m reg\n"
          "    # On every answer, also those HAProxy gives itself.\n"
          "    http-after-response set-header x-request-id %[unique-id]\n"
          "    http-after-response set-header request-id %[unique-id]\n"
          "    http-after-response set-header x-tollgate-request-id %[unique-id]\n"
          "    http-after-response set-header x-tollgate-provider %[var(txn.tgx.grp)] if { var(txn.tgx.grp) -m found }\n"
          "    http-after-response set-header x-tollgate-attempt %[var(txn.tgx.att)] if { var(txn.tgx.att) -m found }\n"
          "    http-after-response set-header x-tollgate-model %[var(txn.tg.pmodel)] if { var(txn.tgx.att) -m str 1 } { var(txn.tg.pmodel) -m found }\n"
          "    http-after-response set-header x-tollgate-model %[var(txn.tg.fmodel)] if { var(txn.tgx.att) -m str 2 } { var(txn.tg.fmodel) -m found }\n",
          out);
    for (size_t i = 0; i < sizeof(informing) / sizeof(informing[0]); i++)
        fprintf(out, "    http-after-response set-header %s %%[var(txn.tg.%s)] if { var(txn.tg.%s) -m found }\n", informing[i][0],
                informing[i][1], informing[i][1]);
    fputs("    http-after-response add-header server-timing %[var(txn.tg.time)] if { var(txn.tg.time) -m found }\n", out);
    if (p->relay)
        fputs("    use_backend tg_route_stream_again if { req.hdr(x-tg-a) -m found } { var(txn.tg.stream) -m bool }\n", out);
    fputs("    use_backend tg_route_again if { req.hdr(x-tg-a) -m found }\n", out);
    if (p->relay)
        fputs("    # Streams pass the relay on their way to the second tier.\n"
              "    use_backend tg_route_stream if { var(txn.tg.stream) -m bool }\n", out);
    fputs("    default_backend tg_route\n", out);
}

/* `sockets`: the beginning of the two servers' paths, which end in -primary.sock and -fallback.sock. */
static void put_route(FILE *out, const char *name, const char *comment, const char *sockets, bool again)
{
    fprintf(out, "\n%sbackend %s from tg_defaults\n", comment, name);
    fputs("    # A new connection for each request: on a reused one HAProxy would answer some failures with a silent close.\n"
          "    option http-server-close\n"
          "    option redispatch 1\n"
          "    retries 1\n", out);
    fputs(again ? "    retry-on 401 403 425\n"
                : "    retry-on 500 502 503 504 conn-failure empty-response junk-response response-timeout\n"
                  "    http-request disable-l7-retry unless { var(txn.tg.fb) -m found }\n", out);
    fputs("    use-server primary if TRUE\n", out);
    haproxy_put_statuses(out);
    fprintf(out, "    server primary unix@%s-primary.sock weight 0\n    server fallback unix@%s-fallback.sock weight 100\n", sockets,
            sockets);
}

static void put_routes(FILE *out, const struct haproxy_plan *p)
{
    char sockets[128];

    snprintf(sockets, sizeof sockets, "%s/tg", p->run_dir);
    put_route(out, "tg_route",
              "# Two servers, both this HAProxy's own second tier. The first try always goes to primary (use-server); a weight of 0 keeps it out\n"
              "# of load balancing, so that the one retry, which balances anew, always goes to fallback.\n", sockets, false);
    if (p->relay)
        put_route(out, "tg_route_stream", "# The same for streams, by way of the agent's relay.\n", p->relay, false);
    put_route(out, "tg_route_again",
              "# No fallback: a second try only when the provider has refused the key (401, 403), with what the key is then, and where tg_primary\n"
              "# says so with a 425: with another key after a 429, or after a short Retry-After.\n", sockets, true);
    if (p->relay)
        put_route(out, "tg_route_stream_again", "", p->relay, true);
}

/* Of the first try only. An error's code says it, else the beginning of its message as providers word it; an error with another code of its
 * own (a content filter's) is never taken for one. */
static void put_too_long(FILE *out)
{
    static const char *const messages[] = {
        "this model's maximum context length is",                /* OpenAI, vLLM */
        "prompt is too long",                                    /* Anthropic */
        "input length and `max_tokens` exceed context limit",    /* Anthropic */
        "input is too long for requested model",                 /* AWS Bedrock */
        "the input token count",                                 /* Google: "... exceeds the maximum number of tokens allowed" */
        "the request exceeds the available context size",        /* llama.cpp */
    };

    fprintf(out,
            "    # Where the fallback takes longer prompts: does this answer say that the prompt is too long? Nothing in it is changed.\n"
            "    http-request set-var(txn.tgx.larger) int(1) if { req.hdr(x-tg-l) 1 }\n"
            "    acl tg_larger var(txn.tgx.larger) -m found\n"
            "    http-response wait-for-body time %dms at-least %d if tg_larger { status 400 }\n"
            "    http-response set-var(txn.tgx.ecode) res.body,json_query('$.error.code') if tg_larger { status 400 }\n"
            "    http-response set-var(txn.tgx.emsg) res.body,json_query('$.error.message') if tg_larger { status 400 }\n"
            "    http-response set-var(txn.tgx.emsg) res.body,json_query('$.message') if tg_larger { status 400 } !{ var(txn.tgx.emsg) -m found }\n"
            "    http-response set-var(txn.tgx.emsg) res.body,json_query('$[0].error.message') if tg_larger { status 400 } !{ var(txn.tgx.emsg) -m found }\n"
            "    http-response set-var(txn.tgx.long) int(1) if { var(txn.tgx.ecode) -m str context_length_exceeded }\n"
            "    http-response set-var(txn.tgx.ecode) str(none) if !{ var(txn.tgx.ecode) -m found }\n"
            "    http-response set-var(txn.tgx.long) int(1) if { var(txn.tgx.ecode) -m str none 400 } { var(txn.tgx.emsg) -m beg -i",
            TOO_LONG_MS, TOO_LONG_BYTES);
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        fprintf(out, " \"%s\"", messages[i]);
    fputs(" }\n" /* Mistral */
          "    http-response set-var(txn.tgx.long) int(1) if { var(txn.tgx.ecode) -m str none } { var(txn.tgx.emsg) -m beg -i \"prompt contains\" }"
          " { var(txn.tgx.emsg) -m sub -i \"maximum context length\" }\n"
          "    http-response set-header x-tg-status 400 if { var(txn.tgx.long) -m found }\n"
          "    http-response set-status 503 if { var(txn.tgx.long) -m found }\n", out);
}

/* The first try leaves a refusal of the key as it is, for tg_route_again knows no other; the second asks the agent for the key. */
static void put_again(FILE *out, int attempt)
{
    fputs("    http-request set-var(txn.tgx.again) int(1) if { req.hdr(x-tg-a) 1 }\n", out);
    if (attempt == 1)
        fputs("    http-request set-var(txn.tgx.other) int(1) if { req.hdr(x-tg-o) 1 }\n"
              "    http-after-response set-status 401 if { var(txn.tgx.again) -m found } { res.hdr(x-tg-status) 401 }\n"
              "    http-after-response set-status 403 if { var(txn.tgx.again) -m found } { res.hdr(x-tg-status) 403 }\n"
              "    http-after-response set-status 425 if { var(txn.tgx.again) -m found } { var(txn.tgx.other) -m found } { res.hdr(x-tg-status) 429 }\n",
              out);
    else
        fputs("    http-request send-spoe-group tollgate again if { var(txn.tgx.again) -m found } !{ var(txn.tgx.pause) -m found }\n"
              "    http-request set-var(txn.tgx.key) var(txn.tg.key) if { var(txn.tg.key) -m found }\n", out);
}

/* The first try leaves the pause that the provider asks for in a table, for the second one runs in a stream of its own. */
static void put_pause(FILE *out, const struct haproxy_plan *p, int attempt)
{
    if (p->retry_after_ms == 0)
        return;
    if (attempt == 2) {
        fputs("    # The pause that the first try was asked for, if it was.\n"
              "    http-request set-var(txn.tgx.pause) var(txn.tgx.id),table_gpt0(tg_pauses) if { req.hdr(x-tg-w) 1 } { var(txn.tgx.id),in_table(tg_pauses) }\n"
              "    http-request send-spoe-group tollgate-pause pause if { var(txn.tgx.pause) -m int gt 0 }\n"
              "    # The client has left meanwhile: the agent says so, or HAProxy broke the wait off (4, 5). No provider is asked.\n"
              "    http-request return status 499 if { var(txn.tgw.over) -m found } || { var(txn.tgw.err) -m int 4 5 }\n", out);
        return;
    }
    fprintf(out,
            "    # Where the second try is at the same provider: a short Retry-After is waited for, unless another key may do better at once.\n"
            "    http-request set-var(txn.tgx.again2) int(1) if { req.hdr(x-tg-a) 2 }\n"
            "    http-request set-var(txn.tgx.wait) int(1) if { req.hdr(x-tg-w) 1 }\n"
            "    acl tg_busy var(txn.tgx.rst) -m int 429 503 529\n"
            "    acl tg_pause var(txn.tgx.pause) -m found\n"
            "    http-response set-var(txn.tgx.pause) res.hdr_val(retry-after),mul(1000) if { var(txn.tgx.wait) -m found } tg_busy { res.fhdr(retry-after) -m reg ^[0-9]{1,2}$ }\n"
            "    http-response set-var(txn.tgx.pause) res.hdr_val(retry-after-ms) if { var(txn.tgx.wait) -m found } tg_busy { res.fhdr(retry-after-ms) -m reg ^[0-9]{1,5}$ }\n"
            "    http-response unset-var(txn.tgx.pause) if { var(txn.tgx.pause) -m int gt %d } || { var(txn.tgx.rst) -m int 429 } { var(txn.tgx.other) -m found }\n"
            "    http-response track-sc0 var(txn.tgx.id) table tg_pauses if tg_pause\n"
            "    http-response sc-set-gpt0(0) var(txn.tgx.pause) if tg_pause\n"
            "    http-response set-header x-tg-status 503 if tg_pause { var(txn.tgx.rst) -m int 503 }\n"
            "    http-after-response set-status 425 if tg_pause { var(txn.tgx.again) -m found } || tg_pause { var(txn.tgx.again2) -m found }\n",
            p->retry_after_ms);
}

static void put_pauses(FILE *out, const struct haproxy_plan *p)
{
    if (p->retry_after_ms > 0)
        fputs("\n# How long second tries wait, in ms, by request id: written by tg_primary, read by tg_fallback a moment later.\n"
              "backend tg_pauses from tg_defaults\n"
              "    stick-table type string len 64 size 100k expire 10s store gpt0\n", out);
}

/* The two second-tier frontends differ in which headers they read and in the number of the attempt. */
static void put_tier2(FILE *out, const struct haproxy_plan *p, const char *name, char t, int attempt)
{
    fprintf(out, "\nfrontend tg_%s from tg_defaults\n    bind unix@%s%s/tg-%s.sock mode %s", name, p->chroot ? p->chroot : "", p->run_dir, name,
            p->relay && p->socket_group ? "660" : "600");
    if (p->user)
        fprintf(out, " user %s", p->user);
    if (p->relay && p->socket_group)
        fprintf(out, " group %s", p->socket_group);
    fputs("\n", out);
    if (attempt == 2)
        fprintf(out, "    filter spoe engine tollgate config %s/tollgate-spoe.conf\n", p->conf_dir);
    if (attempt == 2 && p->retry_after_ms > 0)
        fprintf(out, "    filter spoe engine tollgate-pause config %s/tollgate-spoe.conf\n", p->conf_dir);
    if (p->lua)
        fputs("    option http-buffer-request\n    filter lua.tollgate-splice\n", out);
    fputs("    log ring@tg_ring len 8000 format raw local0\n", out);
    put_log(out, p);
    fprintf(out,
            "    log-format '{\"t\":2,\"id\":\"%%[var(txn.tgx.id)]\",\"grp\":\"%%[var(txn.tgx.grp)]\",\"att\":%d,\"st\":%%ST,"
            "\"rst\":\"%%[var(txn.tgx.rst)]\",\"long\":\"%%[var(txn.tgx.long)]\",\"ra\":\"%%[var(txn.tgx.ra)]\",\"rid\":\"%%[var(txn.tgx.rid)]\",\"tsc\":\"%%tsc\",\"Tw\":%%Tw,\"Tc\":%%Tc,\"Tr\":%%Tr,\"Td\":%%Td,\"Ta\":%%Ta,\"B\":%%B}'\n",
            attempt);
    fprintf(out,
            "    http-request set-var(txn.tgx.id) req.hdr(x-tg-id)\n"
            "    http-request set-var(txn.tgx.grp) req.fhdr(x-tg-%cg)\n"
            "    http-request set-var(txn.tgx.key) req.fhdr(x-tg-%ck) if { req.fhdr(x-tg-%ck) -m found }\n"
            "    http-request set-var(txn.tgx.model) req.fhdr(x-tg-%cm) if { req.fhdr(x-tg-%cm) -m found }\n"
            "    http-request set-var(txn.tgx.stream) int(1) if { req.hdr(x-tg-s) 1 }\n", t, t, t, t, t);
    if (attempt == 1)
        put_too_long(out);
    put_pause(out, p, attempt);
    put_again(out, attempt);
    if (p->lua)
        fprintf(out,
                "    # The splicer edits the body; its new length is put right here. Chunked bodies need nothing.\n"
                "    http-request set-var(txn.tgx.edit) req.fhdr(x-tg-%ce) if { req.fhdr(x-tg-%ce) -m found }\n"
                "    http-request set-var(txn.tgx.delta) req.hdr_val(x-tg-%cd) if { req.fhdr(x-tg-%cd) -m found }\n"
                "    http-request set-header content-length %%[req.hdr_val(content-length),add(txn.tgx.delta)]"
                " if { var(txn.tgx.delta) -m found } { req.hdr(content-length) -m found }\n", t, t, t, t);
    fprintf(out,
            "    http-request set-header traceparent %%[req.fhdr(x-tg-%ct)] if { req.fhdr(x-tg-%ct) -m found }\n"
            "    http-request del-header ^x-tg- -m reg\n"
            "    http-request set-header x-client-request-id %%[var(txn.tgx.id)]\n"
            "    http-after-response set-header x-tg-group %%[var(txn.tgx.grp)]\n"
            "    http-after-response set-header x-tg-attempt %d\n"
            "    # The prefix keeps any name from reaching a section that is not a provider group.\n"
            "    use_backend " HAPROXY_GROUP_PREFIX "%%[var(txn.tgx.grp)]" HAPROXY_STREAM_SUFFIX " if { var(txn.tgx.stream) -m found }\n"
            "    use_backend " HAPROXY_GROUP_PREFIX "%%[var(txn.tgx.grp)]\n"
            "    default_backend tg_none\n", t, t, attempt);
}

static void put_rest(FILE *out, const struct haproxy_plan *p)
{
    bool names = false;
    fputs("\nbackend tg_none from tg_defaults\n"
          "    http-request return status 502 content-type application/json string "
          ERROR_JSON("The gateway has no such provider group.", "server_error", "unknown_provider_group") "\n"
          "\n# ---- provider groups: plain answers and streams differ only in how long the first byte may take ----\n", out);
    for (size_t i = 0; i < p->group_count; i++) {
        struct haproxy_url u;
        char why[160];
        haproxy_put_group(out, p, &p->groups[i], false);
        haproxy_put_group(out, p, &p->groups[i], true);
        names = names || (haproxy_url_parse(p->groups[i].url, &u, why, sizeof(why)) && !u.host_is_address);
    }
    if (names)
        fputs("\n# Provider addresses are looked up again while HAProxy runs; one that cannot be found is a failed attempt, not a failed start.\n"
              "resolvers tollgate\n"
              "    parse-resolv-conf\n"
              "    hold valid 30s\n", out);
    fprintf(out,
            "\n# ---- the agent ----\n"
            "backend tg_agent from tg_defaults\n"
            "    mode tcp\n"
            "    no option http-no-delay\n"
            "    retries 0\n"
            "    option spop-check\n"
            "    timeout connect %dms\n"
            "    timeout server 3m\n", haproxy_greeting(p));
    if (haproxy_decision(p) > CHECK_EVERY_MS) /* who may decide slowly may also be slow to answer a check; it has CHECK_EVERY_MS otherwise */
        fprintf(out, "    timeout check %dms\n", haproxy_decision(p));
    fprintf(out, "    server agent %s check inter %ds fastinter 200ms downinter 200ms rise 1 fall 2\n", p->spop_address, CHECK_EVERY_MS / 1000);
}

static bool written(FILE *out, char *why, size_t why_size)
{
    if (fflush(out) == 0 && !ferror(out))
        return true;
    snprintf(why, why_size, "writing failed: %s", strerror(errno));
    return false;
}

bool haproxy_write_config(FILE *out, const struct haproxy_plan *plan, char *why, size_t why_size)
{
    if (!haproxy_plan_check(plan, why, why_size))
        return false;
    put_global(out, plan);
    put_defaults(out, plan);
    put_gateway_open(out, plan);
    put_console_rules(out, plan);
    put_decision(out, plan);
    put_forwarding(out, plan);
    put_response(out, plan);
    put_routes(out, plan);
    fputs("\n# ---- second tier: one frontend for each attempt ----", out);
    put_tier2(out, plan, "primary", 'p', 1);
    put_tier2(out, plan, "fallback", 'f', 2);
    put_pauses(out, plan);
    put_rest(out, plan);
    put_console(out, plan);
    return written(out, why, why_size);
}

/* The text up to a line that is in it; what follows that line. */
static const char *put_until(FILE *out, const char *text, const char *end, const char *line)
{
    const char *at = memmem(text, (size_t)(end - text), line, strlen(line));

    assert(at != NULL);
    fwrite(text, 1, (size_t)(at - text), out);
    return at + strlen(line);
}

bool haproxy_write_spoe(FILE *out, const struct haproxy_plan *plan, char *why, size_t why_size)
{
    const char *text = (const char *)haproxy_file_spoe, *end = text + haproxy_file_spoe_size;

    const struct {
        const char *processing; /* as it is shipped */
        int longest;
    } engines[] = { { "    timeout     processing 500ms\n", haproxy_decision(plan) },
                    { "    timeout     processing 2500ms\n", plan->retry_after_ms + haproxy_decision(plan) } };

    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++) {
        text = put_until(out, text, end, "    timeout     hello 300ms\n");
        fprintf(out, "    timeout     hello %dms\n", haproxy_greeting(plan));
        text = put_until(out, text, end, engines[i].processing);
        fprintf(out, "    timeout     processing %dms\n", engines[i].longest);
    }
    fwrite(text, 1, (size_t)(end - text), out);
    return written(out, why, why_size);
}

bool haproxy_write_lua(FILE *out, char *why, size_t why_size)
{
    fwrite(haproxy_file_lua, 1, haproxy_file_lua_size, out);
    return written(out, why, why_size);
}

enum part { PART_CONFIG, PART_SPOE, PART_LUA };

static bool write_part(const char *folder, const char *name, enum part part, const struct haproxy_plan *plan, char *why, size_t why_size)
{
    char path[1200], fresh[1208];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    FILE *out = fopen(fresh, "we");
    if (!out) {
        snprintf(why, why_size, "%s cannot be written: %s", fresh, strerror(errno));
        return false;
    }
    bool ok = part == PART_CONFIG ? haproxy_write_config(out, plan, why, why_size)
              : part == PART_SPOE ? haproxy_write_spoe(out, plan, why, why_size)
                                  : haproxy_write_lua(out, why, why_size);
    if (fclose(out) != 0 && ok) {
        snprintf(why, why_size, "%s cannot be written: %s", fresh, strerror(errno));
        ok = false;
    }
    if (ok && rename(fresh, path) != 0) {
        snprintf(why, why_size, "%s cannot be put in place: %s", path, strerror(errno));
        ok = false;
    }
    if (!ok)
        unlink(fresh);
    return ok;
}

bool haproxy_write_folder(const char *folder, const struct haproxy_plan *plan, char *why, size_t why_size)
{
    if (!haproxy_plan_check(plan, why, why_size))
        return false;
    if (strlen(folder) > 1100) {
        snprintf(why, why_size, "the folder's name is too long");
        return false;
    }
    return write_part(folder, "tollgate.cfg", PART_CONFIG, plan, why, why_size) &&
           write_part(folder, "tollgate-spoe.conf", PART_SPOE, plan, why, why_size) &&
           (!plan->lua || write_part(folder, "tollgate.lua", PART_LUA, plan, why, why_size));
}
