/* The files of HAProxy's configuration from disk: what stands behind one -f of its command line. */
#ifndef TOLLGATE_ROUTE_HAPROXY_LOAD_H
#define TOLLGATE_ROUTE_HAPROXY_LOAD_H

#include "route/haproxy_text.h"

typedef void haproxy_loaded_fn(void *user, const char *file, struct slice content);

/* Adds a file, or those of a folder whose names end in .cfg, in the order of their names; each is then shown to `loaded` (may be NULL), which
 * keeps nothing of `content`. False with a reason that names the file. Blocks. */
bool haproxy_load(struct haproxy_text *t, const char *path, haproxy_loaded_fn *loaded, void *user, char *why, size_t why_size)
    __attribute__((warn_unused_result));

#endif
