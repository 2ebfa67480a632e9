/* What the rules of haproxy_review*.c share. Private to them. */
#ifndef TOLLGATE_ROUTE_HAPROXY_REVIEW_STATE_H
#define TOLLGATE_ROUTE_HAPROXY_REVIEW_STATE_H

#include "route/haproxy_review.h"

struct addition {
    const struct haproxy_section *to; /* NULL: a section of its own */
    int before;                       /* line number it must precede; 0: anywhere */
    const char *line;
    struct addition *next;
};

/* What has been said: two ways to one line say it once. */
struct said {
    const struct haproxy_section *section;
    int line;
    const char *fmt;
    struct said *next;
};

struct review {
    struct haproxy_text *text;
    const struct haproxy_plan *plan;
    FILE *out;
    struct haproxy_review_result result;
    struct addition *first, *last;
    struct said *said;
    bool out_of_memory;
};

enum weight { WEIGHT_UNSAFE, WEIGHT_CONFLICT, WEIGHT_NOTE };

/* `line` 0: the section's own. */
void finding(struct review *r, enum weight weight, const struct haproxy_section *s, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void add_line(struct review *r, const struct haproxy_section *to, int before, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Was the section written by `tollgate haproxy`? */
bool is_generated(const struct review *r, const struct haproxy_section *s);

void review_global(struct review *r, const struct haproxy_section *s);
void review_proxy(struct review *r, const struct haproxy_section *s);
/* How requests reach the gateway through the company's own sections. */
void review_way(struct review *r);

/* One end of a connection as `bind`, `server` and plans write it. */
struct haproxy_endpoint {
    struct slice host; /* "" and "*": every address */
    int port, port_last; /* 0: a unix socket, whose path is `host` */
};
/* Takes the family ("ipv4@", "unix@") off the front. False: of a kind that no TCP connection and no path leads to. *path: a unix socket. */
bool endpoint_family(struct slice *address, bool *path);
/* False: no address, or of such a kind. */
bool endpoint_parse(struct slice address, struct haproxy_endpoint *out);
/* Does it listen on every address? */
bool endpoint_is_any(const struct haproxy_endpoint *e);
/* Would listening on both clash? */
bool endpoint_clash(const struct haproxy_endpoint *a, const struct haproxy_endpoint *b);
/* Does a connection to `server` arrive at `bind`? */
bool endpoint_reaches(const struct haproxy_endpoint *server, const struct haproxy_endpoint *bind);

#endif
