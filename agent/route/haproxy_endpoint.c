#include "route/haproxy_review_state.h"

#include <stdlib.h>
#include <string.h>

static bool number_take(struct slice s, int *out)
{
    int n = 0;

    if (s.n == 0 || s.n > 5)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        n = n * 10 + (s.p[i] - '0');
    }
    *out = n;
    return n > 0 && n < 65536;
}

static bool ports_take(struct slice s, struct haproxy_endpoint *out)
{
    const char *dash = memchr(s.p, '-', s.n);
    size_t n = dash != NULL ? (size_t)(dash - s.p) : s.n;

    if (!number_take(slice_make(s.p, n), &out->port))
        return false;
    out->port_last = out->port;
    return dash == NULL || number_take(slice_make(dash + 1, s.n - n - 1), &out->port_last);
}

/* Families of addresses that connections are made to; the others (quic4@, udp@, fd@, abns@, rhttp@, ...) have ports and names of their own. */
static const struct {
    const char *prefix;
    bool path;
} families[] = {
    { "unix@", true }, { "uxst@", true }, { "stream+unix@", true },
    { "ipv4@", false }, { "ipv6@", false }, { "tcp@", false }, { "tcp4@", false }, { "tcp6@", false }, { "mptcp@", false },
    { "mptcp4@", false }, { "mptcp6@", false }, { "stream+ipv4@", false }, { "stream+ipv6@", false },
};

bool endpoint_family(struct slice *address, bool *path)
{
    *path = address->n > 0 && address->p[0] == '/';
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        size_t n = strlen(families[i].prefix);
        if (!slice_starts(*address, slice_make(families[i].prefix, n)))
            continue;
        *address = slice_make(address->p + n, address->n - n);
        *path = families[i].path;
        return true;
    }
    return *path || address->n == 0 || memchr(address->p, '@', address->n) == NULL;
}

bool endpoint_parse(struct slice address, struct haproxy_endpoint *out)
{
    bool path;

    *out = (struct haproxy_endpoint){ 0 };
    if (!endpoint_family(&address, &path))
        return false;
    if (path) {
        out->host = address;
        return true;
    }
    size_t colon = address.n;
    while (colon > 0 && address.p[colon - 1] != ':')
        colon--;
    if (colon == 0 || !ports_take(slice_make(address.p + colon, address.n - colon), out))
        return false;
    out->host = slice_make(address.p, colon - 1);
    if (out->host.n > 2 && out->host.p[0] == '[' && out->host.p[out->host.n - 1] == ']')
        out->host = slice_make(out->host.p + 1, out->host.n - 2);
    return true;
}

static bool is_any(struct slice host)
{
    return host.n == 0 || slice_eq_cstr(host, "*") || slice_eq_cstr(host, "0.0.0.0") || slice_eq_cstr(host, "::");
}

bool endpoint_is_any(const struct haproxy_endpoint *e)
{
    return e->port != 0 && is_any(e->host);
}

static bool is_loopback(struct slice host)
{
    return slice_starts(host, SLICE_LIT("127.")) || slice_eq_cstr(host, "localhost") || slice_eq_cstr(host, "::1");
}

bool endpoint_clash(const struct haproxy_endpoint *a, const struct haproxy_endpoint *b)
{
    if (a->port == 0 || b->port == 0)
        return a->port == b->port && slice_eq(a->host, b->host);
    return a->port <= b->port_last && b->port <= a->port_last && (is_any(a->host) || is_any(b->host) || slice_eq(a->host, b->host));
}

bool endpoint_reaches(const struct haproxy_endpoint *server, const struct haproxy_endpoint *bind)
{
    if (server->port == 0 || bind->port == 0)
        return server->port == bind->port && slice_eq(server->host, bind->host);
    if (server->port < bind->port || server->port > bind->port_last)
        return false;
    return slice_eq(server->host, bind->host) || (is_loopback(server->host) && (is_any(bind->host) || is_loopback(bind->host)));
}
