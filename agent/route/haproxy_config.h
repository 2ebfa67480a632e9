/* The HAProxy side of a tollgate configuration: what the user adds to HAProxy, written from one plan.
 *
 * haproxy_plan_* are plain structs of NUL-terminated strings that belong to the caller and are only read. Nothing here opens a
 * socket or starts HAProxy. Every value that ends up in the file is checked first (haproxy_plan_check), so no configuration
 * value can add a directive: names are [A-Za-z0-9_-], everything else is printable ASCII without what HAProxy's parser gives a
 * meaning to. What fails: a value that is refused (told in `why`), or writing (told in `why` with errno's text).
 *
 * Works with HAProxy 2.6 to 3.2; the reasons for each line stand in haproxy/README.md. */
#ifndef TOLLGATE_ROUTE_HAPROXY_CONFIG_H
#define TOLLGATE_ROUTE_HAPROXY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A provider group named G is reached through the backend HAPROXY_GROUP_PREFIX G (and G HAPROXY_STREAM_SUFFIX where streams have
 * a first-byte limit of their own). The agent sends only G (variables `pri` and `fb`). */
#define HAPROXY_GROUP_PREFIX "tg_p_"
#define HAPROXY_STREAM_SUFFIX ".stream"

/* Where clients connect. */
struct haproxy_bind {
    const char *address;  /* "127.0.0.1:8080", ":443", "[::1]:8080", "unix@/path" */
    const char *cert;     /* PEM file or folder: TLS with HTTP/2 and HTTP/1.1; NULL: clear text */
    const char *client_ca; /* PEM file of the authorities client certificates may come from; NULL: none is asked for */
    const char *crl;      /* PEM file of their revocation lists; may be NULL */
    bool client_cert_optional; /* with client_ca: let in who shows none */
    bool http2_only;      /* clear text HTTP/2 with prior knowledge */
    bool accept_proxy;    /* behind another HAProxy frontend that sends the PROXY protocol */
};

/* How a provider wants its key. The variable `pkey` (`fkey`) is the header's whole value: prefix and key. */
enum haproxy_auth { HAPROXY_AUTH_BEARER, HAPROXY_AUTH_API_KEY, HAPROXY_AUTH_X_API_KEY, HAPROXY_AUTH_NONE, HAPROXY_AUTH_AWS_SIGV4 };
/* With AWS signatures the variable holds four headers at once, between bars: authorization | x-amz-date | x-amz-content-sha256 |
 * x-amz-security-token (empty with long-term keys). */
#define HAPROXY_AWS_SEPARATOR "|"

struct haproxy_auth_style {
    const char *word;   /* as written in the configuration: "bearer", "api-key", "x-api-key", "none" */
    const char *header; /* "authorization", "api-key", "x-api-key", NULL */
    const char *prefix; /* "Bearer ", "" */
};
const struct haproxy_auth_style *haproxy_auth_style(enum haproxy_auth auth);
/* By the configuration's word; false when unknown. */
bool haproxy_auth_from_word(const char *word, enum haproxy_auth *out);

struct haproxy_header {
    const char *name, *value;
};

/* One provider group: one upstream URL, one account. Primary and fallback refer to it by name. */
struct haproxy_group {
    const char *name;
    /* "https://api.openai.com/v1", "http://127.0.0.1:9001/v1", "https://x.openai.azure.com/openai/deployments/<model>".
     * Its path takes the place of "/v1" in the client's path; <model> becomes the target's model, percent-encoded. */
    const char *url;
    const char *path;       /* NULL, or the whole upstream path whatever the client's was; may hold <model> */
    const char *query;      /* NULL: the client's query is kept; else takes its place ("api-version=2024-06-01") */
    const char *ca_file;    /* https: NULL = the system's certificates ("/etc/ssl/certs/ca-certificates.crt") */
    const char *server_name; /* https: name sent (SNI) and expected in the certificate; NULL: the url's host. Required where that is an
                              * address, as HAProxy checks names only */
    bool insecure;          /* https: do not verify the certificate (stand-ins in tests only; check warns) */
    enum haproxy_auth auth;
    const struct haproxy_header *headers; /* sent with every request (anthropic-version, openai-organization, ...) */
    size_t header_count;
    int first_byte_stream_ms, first_byte_plain_ms; /* 0: the plan's */
    int max_connections;    /* 0: no limit of its own */
};

struct haproxy_plan {
    const struct haproxy_bind *binds;
    size_t bind_count;
    const struct haproxy_group *groups;
    size_t group_count;
    const char *conf_dir;     /* folder the generated files will live in, e.g. "/etc/haproxy/tollgate" */
    /* Folder for the sockets between the two tiers, as HAProxy sees it once it runs (below its chroot), e.g. "/run/haproxy" without
     * and "/run" with one. The socket paths of spop_address, ring_address and settle_socket are seen from there as well. */
    const char *run_dir;
    const char *chroot;       /* `chroot` of the user's haproxy.cfg (Debian: "/var/lib/haproxy"); NULL: none */
    const char *user;         /* `user` of the user's haproxy.cfg (Debian: "haproxy"), owner of the sockets; NULL: who starts it */
    const char *log;          /* where else the lines of requests and attempts go, HAProxy's words behind `log`: "global", "10.1.1.9:514 local0"; NULL:
                               * to the agent alone */
    bool lua;                 /* false: variables only: no body rewriting, settlement from the log ring */
    const char *lua_dir;      /* NULL: conf_dir */
    const char *spop_address; /* the agent's SPOP listener: "127.0.0.1:9000" or "unix@/path" */
    const char *ring_address; /* the agent's log receiver: "127.0.0.1:9001" or "unix@/path" */
    const char *console_address; /* the agent's console: "127.0.0.1:9180" or "unix@/path"; NULL: none */
    const char *console_path;    /* where it is below the gateway: "/tollgate/console" */
    const char *settle_socket; /* the agent's settlement listener: path of a unix socket (lua only) */
    const char *relay;        /* streams pass the agent's relay, which listens on RELAY-primary.sock and RELAY-fallback.sock; NULL: they do not */
    const char *socket_group; /* with a relay: the group that the agent and HAProxy share; NULL: they are the same user, or root */
    int64_t max_body_bytes;   /* 0: 262144. 1024 to 8388608 */
    int first_byte_stream_ms; /* 0: 15000. No response headers within this: the fallback is tried. 100 to 600000 */
    int first_byte_plain_ms;  /* 0: 60000 */
    int stall_ms;             /* 0: 120000. Longest silence inside a response */
    int decision_ms;          /* 0: 500. How long the agent may take to decide. 100 to 30000 */
    int retry_after_ms;       /* the longest Retry-After that a second try at the same provider waits for; 0: none. At most 30000 */
};

/* False with the reason in `why` (what to change, no secret). */
bool haproxy_plan_check(const struct haproxy_plan *plan, char *why, size_t why_size) __attribute__((warn_unused_result));
/* tune.bufsize the plan needs: max_body_bytes plus room for headers and rewriting. */
int64_t haproxy_plan_bufsize(const struct haproxy_plan *plan);

/* tollgate.cfg: global settings, log ring, frontends, routing, provider groups. Checks the plan first. */
bool haproxy_write_config(FILE *out, const struct haproxy_plan *plan, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* tollgate-spoe.conf: the text of haproxy/tollgate-spoe.conf, with the plan's decision_ms; nothing else of the plan enters it. */
bool haproxy_write_spoe(FILE *out, const struct haproxy_plan *plan, char *why, size_t why_size) __attribute__((warn_unused_result));
/* tollgate.lua (the text of haproxy/lua/tollgate.lua; its settings are lua-load arguments in tollgate.cfg). */
bool haproxy_write_lua(FILE *out, char *why, size_t why_size) __attribute__((warn_unused_result));
/* The whole set into an existing folder (tollgate.cfg, tollgate-spoe.conf and, with lua, tollgate.lua), each written beside and
 * renamed into place. To be used with plan->conf_dir naming the same folder. */
bool haproxy_write_folder(const char *folder, const struct haproxy_plan *plan, char *why, size_t why_size)
    __attribute__((warn_unused_result));

#endif
