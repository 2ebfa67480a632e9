/* Certificate watch: the dates of all certificate files that the configuration names, in metrics, and of those
 * that HAProxy's own files name (haproxy.files). Control thread.
 *
 * A folder (as HAProxy's `crt` may be) stands for the files in it. Files are looked at once a minute, and read when they have changed. */
#ifndef TOLLGATE_CERTIFICATE_WATCH_H
#define TOLLGATE_CERTIFICATE_WATCH_H

#include <stdbool.h>

struct certificate_watch;
struct config;
struct metrics;

/* NULL: out of memory. */
struct certificate_watch *certificate_watch_new(struct metrics *m) __attribute__((warn_unused_result));
/* NULL is allowed. */
void certificate_watch_free(struct certificate_watch *w);
/* Every second. */
void certificate_watch_tick(struct certificate_watch *w, const struct config *c);
/* Looks with the next tick: after a reload. */
void certificate_watch_soon(struct certificate_watch *w);

#endif
