#include "route/haproxy_plan.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static const struct haproxy_auth_style auth_styles[] = {
    [HAPROXY_AUTH_BEARER] = { "bearer", "authorization", "Bearer " },
    [HAPROXY_AUTH_API_KEY] = { "api-key", "api-key", "" },
    [HAPROXY_AUTH_X_API_KEY] = { "x-api-key", "x-api-key", "" },
    [HAPROXY_AUTH_NONE] = { "none", NULL, "" },
    [HAPROXY_AUTH_AWS_SIGV4] = { "aws-sigv4", NULL, "" },
};

const struct haproxy_auth_style *haproxy_auth_style(enum haproxy_auth auth)
{
    return &auth_styles[auth];
}

bool haproxy_auth_from_word(const char *word, enum haproxy_auth *out)
{
    for (size_t i = 0; i < sizeof(auth_styles) / sizeof(auth_styles[0]); i++) {
        if (strcmp(word, auth_styles[i].word) == 0) {
            *out = (enum haproxy_auth)i;
            return true;
        }
    }
    return false;
}

__attribute__((format(printf, 3, 4))) static bool refuse(char *why, size_t why_size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, why_size, fmt, args);
    va_end(args);
    return false;
}

/* Every byte of `s` is a letter, a digit or one of `more`. */
static bool made_of(struct slice s, const char *more)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\0' || (!strchr(alnum, s.p[i]) && !strchr(more, s.p[i])))
            return false;
    return true;
}

static bool is_name(const char *s)
{
    return s && *s && strlen(s) <= 48 && made_of(slice_cstr(s), "_-");
}

/* A file or folder: absolute, no characters HAProxy's parser or a shell would read anything into, no step upwards. */
static bool is_path(const char *s)
{
    return s && s[0] == '/' && strlen(s) < 1024 && made_of(slice_cstr(s), "/._-+") && !strstr(s, "/../");
}

/* sockaddr_un holds 108 bytes; HAProxy binds under a temporary name that is longer by about 20. */
static bool is_socket_path(const char *s)
{
    return is_path(s) && strlen(s) <= 80;
}

static bool parse_port(struct slice s, int *out)
{
    if (s.n == 0 || s.n > 5)
        return false;
    int port = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!isdigit((unsigned char)s.p[i]))
            return false;
        port = port * 10 + (s.p[i] - '0');
    }
    *out = port;
    return port >= 1 && port <= 65535;
}

static bool parses_as(int family, struct slice s)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char address[sizeof(struct in6_addr)];
    if (s.n == 0 || s.n >= sizeof(text))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(family, text, address) == 1;
}

/* "host:port", "[v6]:port", with `listening` also ":port" and "*:port"; or "unix@/path". */
static bool is_address(const char *s, bool listening)
{
    int port;
    if (!s)
        return false;
    if (strncmp(s, "unix@", 5) == 0)
        return is_socket_path(s + 5);
    const char *colon = strrchr(s, ':');
    if (!colon || !parse_port(slice_cstr(colon + 1), &port))
        return false;
    struct slice host = slice_make(s, (size_t)(colon - s));
    if (listening && (host.n == 0 || (host.n == 1 && host.p[0] == '*')))
        return true;
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        return parses_as(AF_INET6, slice_make(host.p + 1, host.n - 2));
    return host.n > 0 && host.n <= 253 && made_of(host, ".-") && host.p[0] != '-';
}

/* A path of a URL or a query; <model> where `marks`. */
static bool url_text(struct slice s, const char *more, bool marks)
{
    const size_t mark = sizeof(HAPROXY_MODEL_MARK) - 1;
    for (size_t i = 0; i < s.n; i++) {
        if (marks && s.n - i >= mark && memcmp(s.p + i, HAPROXY_MODEL_MARK, mark) == 0)
            i += mark - 1;
        else if (!made_of(slice_make(s.p + i, 1), more))
            return false;
    }
    return true;
}

#define PATH_CHARACTERS "/._~@:+-"
#define QUERY_CHARACTERS "/._~@:+-=&%,"

static bool url_host(struct slice *rest, struct haproxy_url *u)
{
    if (rest->n && rest->p[0] == '[') {
        const char *end = memchr(rest->p, ']', rest->n);
        if (!end)
            return false;
        u->host = slice_make(rest->p + 1, (size_t)(end - rest->p) - 1);
        u->host_is_ipv6 = u->host_is_address = true;
        *rest = slice_make(end + 1, rest->n - u->host.n - 2);
        return parses_as(AF_INET6, u->host);
    }
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ':' && rest->p[n] != '/')
        n++;
    u->host = slice_make(rest->p, n);
    u->host_is_address = parses_as(AF_INET, u->host);
    *rest = slice_make(rest->p + n, rest->n - n);
    return n > 0 && n <= 253 && made_of(u->host, ".-") && u->host.p[0] != '-' && u->host.p[0] != '.';
}

bool haproxy_url_parse(const char *url, struct haproxy_url *out, char *why, size_t why_size)
{
    struct haproxy_url u = { .port = 0 };
    struct slice rest = slice_cstr(url);
    if (rest.n > 1024)
        return refuse(why, why_size, "is longer than 1024 bytes");
    if (slice_starts(rest, SLICE_LIT("https://")))
        u.tls = true;
    else if (!slice_starts(rest, SLICE_LIT("http://")))
        return refuse(why, why_size, "must begin with https:// or http://");
    size_t skip = u.tls ? 8 : 7;
    rest = slice_make(rest.p + skip, rest.n - skip);
    if (memchr(rest.p, '@', rest.n) && (!memchr(rest.p, '/', rest.n) || memchr(rest.p, '@', rest.n) < memchr(rest.p, '/', rest.n)))
        return refuse(why, why_size, "must not hold a user or password; keys belong under the credential");
    if (!url_host(&rest, &u))
        return refuse(why, why_size, "has no usable host: a name, an IPv4 address or an [IPv6] address is expected");
    u.port = u.tls ? 443 : 80;
    if (rest.n && rest.p[0] == ':') {
        size_t n = 1;
        while (n < rest.n && rest.p[n] != '/')
            n++;
        if (!parse_port(slice_make(rest.p + 1, n - 1), &u.port))
            return refuse(why, why_size, "has a port that is not 1 to 65535");
        u.port_given = true;
        rest = slice_make(rest.p + n, rest.n - n);
    }
    if (rest.n && (rest.p[0] != '/' || !url_text(rest, PATH_CHARACTERS, true)))
        return refuse(why, why_size, "has a path with characters other than letters, digits, %s and <model>", PATH_CHARACTERS);
    while (rest.n && rest.p[rest.n - 1] == '/')
        rest.n--;
    u.path = rest;
    *out = u;
    return true;
}

int64_t haproxy_max_body(const struct haproxy_plan *plan)
{
    return plan->max_body_bytes ? plan->max_body_bytes : 262144;
}

int64_t haproxy_plan_bufsize(const struct haproxy_plan *plan)
{
    int64_t need = haproxy_max_body(plan) + HAPROXY_MAX_HEADERS + HAPROXY_MAX_REWRITE + 16384;
    return (need + 16383) / 16384 * 16384;
}

int haproxy_first_byte(const struct haproxy_plan *plan, const struct haproxy_group *group, bool stream)
{
    int own = stream ? group->first_byte_stream_ms : group->first_byte_plain_ms;
    int all = stream ? plan->first_byte_stream_ms : plan->first_byte_plain_ms;
    return own ? own : all ? all : stream ? 15000 : 60000;
}

int haproxy_stall(const struct haproxy_plan *plan)
{
    return plan->stall_ms ? plan->stall_ms : 120000;
}

int haproxy_decision(const struct haproxy_plan *plan)
{
    return plan->decision_ms ? plan->decision_ms : 500;
}

int haproxy_greeting(const struct haproxy_plan *plan)
{
    return haproxy_decision(plan) * 3 / 5;
}

static bool is_header_name(const char *s)
{
    return s && *s && strlen(s) <= 128 && made_of(slice_cstr(s), "-_");
}

/* Printable ASCII without quotes and backslash, so that it can stand between single quotes in the file. */
static bool is_header_value(const char *s)
{
    if (!s || !*s || strlen(s) > 1024)
        return false;
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e || strchr("'\"\\", *s))
            return false;
    return true;
}

/* Headers the gateway sets or removes itself: a fixed value would break or leak something. */
static bool is_own_header(const char *name)
{
    static const char *const own[] = { "authorization", "api-key",           "x-api-key",  "host",       "content-length",
                                       "connection",    "transfer-encoding", "keep-alive", "te",         "trailer",
                                       "upgrade",       "expect",            "cookie",     "accept-encoding" };
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (strcasecmp(name, own[i]) == 0)
            return true;
    return strncasecmp(name, "x-tg-", 5) == 0;
}

static bool limit_ok(int value, int low, int high)
{
    return value == 0 || (value >= low && value <= high);
}

static bool check_group(const struct haproxy_group *g, char *why, size_t why_size)
{
    struct haproxy_url url;
    char reason[160];
    if (!is_name(g->name))
        return refuse(why, why_size, "provider group name \"%.64s\": use 1 to 48 letters, digits, '-' or '_'", g->name ? g->name : "");
    if (!g->url || !haproxy_url_parse(g->url, &url, reason, sizeof(reason)))
        return refuse(why, why_size, "provider group %s: url %s", g->name, g->url ? reason : "is missing");
    if (g->path && (g->path[0] != '/' || !url_text(slice_cstr(g->path), PATH_CHARACTERS, true)))
        return refuse(why, why_size, "provider group %s: path must begin with / and hold only letters, digits, %s and <model>", g->name,
                      PATH_CHARACTERS);
    if (g->query && (!*g->query || !url_text(slice_cstr(g->query), QUERY_CHARACTERS, false)))
        return refuse(why, why_size, "provider group %s: query may hold only letters, digits and %s (without the ?)", g->name,
                      QUERY_CHARACTERS);
    if (g->ca_file && !is_path(g->ca_file))
        return refuse(why, why_size, "provider group %s: ca_file must be an absolute path of letters, digits and /._-+", g->name);
    if (!url.tls && (g->ca_file || g->insecure || g->server_name))
        return refuse(why, why_size, "provider group %s: ca_file, server_name and insecure need an https url", g->name);
    if (g->server_name && (!*g->server_name || strlen(g->server_name) > 253 || !made_of(slice_cstr(g->server_name), ".-")))
        return refuse(why, why_size, "provider group %s: server_name must be a host name", g->name);
    if (url.tls && url.host_is_address && !g->server_name && !g->insecure)
        return refuse(why, why_size, "provider group %s: an https url with an address needs server_name, the name in the certificate",
                      g->name);
    if ((unsigned)g->auth > HAPROXY_AUTH_AWS_SIGV4)
        return refuse(why, why_size, "provider group %s: unknown auth style", g->name);
    if (g->auth == HAPROXY_AUTH_AWS_SIGV4 && (strstr(g->url, HAPROXY_MODEL_MARK) || (g->path && strstr(g->path, HAPROXY_MODEL_MARK)) ||
                                              (g->query && strstr(g->query, HAPROXY_MODEL_MARK))))
        return refuse(why, why_size, "provider group %s: the address of signed requests cannot hold <model>; use the endpoint that takes "
                      "the model in the body", g->name);
    for (size_t i = 0; i < g->header_count; i++) {
        const struct haproxy_header *h = &g->headers[i];
        if (!is_header_name(h->name))
            return refuse(why, why_size, "provider group %s: header name \"%.64s\" must be letters, digits and '-'", g->name,
                          h->name ? h->name : "");
        if (is_own_header(h->name))
            return refuse(why, why_size, "provider group %s: header %s is set by the gateway itself", g->name, h->name);
        if (!is_header_value(h->value))
            return refuse(why, why_size, "provider group %s: header %s: the value must be 1 to 1024 printable ASCII characters without "
                          "quotes or backslash", g->name, h->name);
    }
    if (!limit_ok(g->first_byte_stream_ms, 100, 600000) || !limit_ok(g->first_byte_plain_ms, 100, 600000))
        return refuse(why, why_size, "provider group %s: first-byte limits must be 100 to 600000 ms", g->name);
    if (!limit_ok(g->max_connections, 1, 100000))
        return refuse(why, why_size, "provider group %s: max_connections must be 1 to 100000", g->name);
    return true;
}

static bool check_addresses(const struct haproxy_plan *p, char *why, size_t why_size)
{
    if (p->bind_count == 0)
        return refuse(why, why_size, "no address to listen on for clients is given");
    for (size_t i = 0; i < p->bind_count; i++) {
        const struct haproxy_bind *b = &p->binds[i];
        if (!is_address(b->address, true))
            return refuse(why, why_size, "client address \"%.80s\": expected HOST:PORT, [IPv6]:PORT, :PORT or unix@/path",
                          b->address ? b->address : "");
        if (b->cert && !is_path(b->cert))
            return refuse(why, why_size, "client address %s: the certificate must be an absolute path of letters, digits and /._-+", b->address);
        if ((b->client_ca && !is_path(b->client_ca)) || (b->crl && !is_path(b->crl)))
            return refuse(why, why_size, "client address %s: client_ca and client_crl must be absolute paths of letters, digits and /._-+", b->address);
        if (b->client_ca && !b->cert)
            return refuse(why, why_size, "client address %s: client_ca needs cert: client certificates are shown over TLS only", b->address);
        if (b->crl && !b->client_ca)
            return refuse(why, why_size, "client address %s: client_crl needs client_ca", b->address);
        if (b->cert && b->http2_only)
            return refuse(why, why_size, "client address %s: http2_only is for clear text; with a certificate both versions are offered",
                          b->address);
    }
    if (!is_address(p->spop_address, false))
        return refuse(why, why_size, "SPOP address \"%.80s\": expected HOST:PORT or unix@/path", p->spop_address ? p->spop_address : "");
    if (!is_address(p->ring_address, false))
        return refuse(why, why_size, "log ring address \"%.80s\": expected HOST:PORT or unix@/path", p->ring_address ? p->ring_address : "");
    if (p->relay && (!is_socket_path(p->relay) || strlen(p->relay) > 80))
        return refuse(why, why_size, "relay \"%.80s\": expected an absolute path of at most 80 letters, digits and /._-+", p->relay);
    if (p->socket_group && (!is_name(p->socket_group) || strlen(p->socket_group) > 32))
        return refuse(why, why_size, "socket_group must be a system group's name");
    if (p->lua && !is_socket_path(p->settle_socket))
        return refuse(why, why_size, "settlement socket \"%.80s\": expected an absolute path of at most 80 letters, digits and /._-+",
                      p->settle_socket ? p->settle_socket : "");
    return true;
}

/* Words with one blank between them. */
static bool is_log_target(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > 128 || s[0] == ' ' || s[n - 1] == ' ' || strstr(s, "  ") != NULL)
        return false;
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._:@-+ ") == n;
}

static bool check_folders(const struct haproxy_plan *p, char *why, size_t why_size)
{
    if (!is_path(p->conf_dir) || (p->lua_dir && !is_path(p->lua_dir)))
        return refuse(why, why_size, "the folder of the HAProxy files must be an absolute path of letters, digits and /._-+");
    if (!is_socket_path(p->run_dir) || strlen(p->run_dir) > 70)
        return refuse(why, why_size, "the folder of the sockets must be an absolute path of at most 70 letters, digits and /._-+");
    if (p->chroot && (!is_path(p->chroot) || strlen(p->chroot) + strlen(p->run_dir) > 70))
        return refuse(why, why_size, "chroot must be an absolute path, with the folder of the sockets at most 70 bytes long");
    if (p->user && (!is_name(p->user) || strlen(p->user) > 32))
        return refuse(why, why_size, "user must be a system user's name");
    if (p->log && !is_log_target(p->log))
        return refuse(why, why_size, "log must be global, or an address and what may follow it: 127.0.0.1:514 local0");
    return true;
}

bool haproxy_plan_check(const struct haproxy_plan *p, char *why, size_t why_size)
{
    if (!check_addresses(p, why, why_size) || !check_folders(p, why, why_size))
        return false;
    if (p->max_body_bytes != 0 && (p->max_body_bytes < 1024 || p->max_body_bytes > 8388608))
        return refuse(why, why_size, "haproxy.max_body: must be 1024 to 8388608 bytes");
    if (!limit_ok(p->first_byte_stream_ms, 100, 600000) || !limit_ok(p->first_byte_plain_ms, 100, 600000) ||
        !limit_ok(p->stall_ms, 1000, 3600000))
        return refuse(why, why_size, "first-byte limits must be 100 to 600000 ms, the stall limit 1000 to 3600000 ms");
    if (!limit_ok(p->decision_ms, 100, 30000))
        return refuse(why, why_size, "the decision's limit must be 100 to 30000 ms");
    if (p->retry_after_ms < 0 || p->retry_after_ms > HAPROXY_RETRY_AFTER_MAX_MS)
        return refuse(why, why_size, "the longest Retry-After to wait for must be 0 to 30000 ms");
    if (p->group_count == 0)
        return refuse(why, why_size, "no provider group is given");
    for (size_t i = 0; i < p->group_count; i++) {
        if (!check_group(&p->groups[i], why, why_size))
            return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(p->groups[i].name, p->groups[j].name) == 0)
                return refuse(why, why_size, "provider group %s is given twice", p->groups[i].name);
    }
    return true;
}

int haproxy_server_timeout(const struct haproxy_plan *p)
{
    int longest = haproxy_stall(p);
    for (size_t i = 0; i < p->group_count; i++) {
        for (int stream = 0; stream < 2; stream++) {
            int limit = haproxy_first_byte(p, &p->groups[i], stream);
            longest = limit > longest ? limit : longest;
        }
    }
    return longest;
}
