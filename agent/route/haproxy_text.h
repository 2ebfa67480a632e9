/* A haproxy.cfg as HAProxy's own reader sees it: sections, and lines in words.
 *
 * Quotes, backslashes, comments and continued lines are taken as HAProxy's manual says (2.2 "Quoting and escaping"). Conditions (.if and
 * so on) are not evaluated: the lines of every branch count. Variables are not replaced: a word that holds one is marked. Nothing
 * is judged here but what no HAProxy could read.
 *
 * Everything is allocated in the caller's arena and valid as long as it is. */
#ifndef TOLLGATE_ROUTE_HAPROXY_TEXT_H
#define TOLLGATE_ROUTE_HAPROXY_TEXT_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdint.h>

struct haproxy_line {
    int number;               /* in its file, from 1; of its first part when it is continued */
    bool varies;              /* holds an environment variable: its words are not what HAProxy will see */
    size_t count;             /* words, 1 or more */
    const char *const *words; /* NUL-terminated */
    struct haproxy_line *next;
};

struct haproxy_section {
    const char *file;
    int number;               /* of its first line */
    const char *kind;         /* "global", "defaults", "frontend", ... */
    const char *name;         /* "" when it has none */
    const struct haproxy_section *defaults; /* what it takes its settings from; NULL: none */
    struct haproxy_line *first, *last;
    struct haproxy_section *next;
};

struct haproxy_text {
    struct arena *arena;
    struct haproxy_section *first, *last;
};

/* Reads one more file behind what was read before, as HAProxy does with several -f. False with `why` (file, line, what) on an open quote, a
 * line outside of every section, or memory. */
bool haproxy_text_add(struct haproxy_text *t, const char *file, struct slice content, char *why, size_t why_size)
    __attribute__((warn_unused_result));

/* frontend, backend or listen: what requests pass through. */
bool haproxy_section_is_proxy(const struct haproxy_section *s);
/* Does the line begin with these words? `second` may be NULL. */
bool haproxy_line_is(const struct haproxy_line *l, const char *first, const char *second);
/* The word behind the first one that equals `word`; NULL: none. */
const char *haproxy_line_after(const struct haproxy_line *l, const char *word);
/* The line that decides on a setting ("timeout", "server") in this section: its own last one, else that of its defaults. NULL: none. *where (may
 * be NULL): the section it stands in. */
const struct haproxy_line *haproxy_setting(const struct haproxy_section *s, const char *first, const char *second,
                                           const struct haproxy_section **where);
/* Is `option NAME` on, with `no option NAME` and the defaults counted? */
bool haproxy_option_on(const struct haproxy_section *s, const char *name);

/* Milliseconds of a HAProxy time ("30s", "500"; 2.5 "Time format"); -1: not one. */
int64_t haproxy_time_ms(const char *word);
/* Bytes of a size ("16384", "16k", "1m"); -1: not one. */
int64_t haproxy_size(const char *word);

#endif
