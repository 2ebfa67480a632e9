/* `tollgate check --haproxy`: a company's HAProxy files, read beside tollgate's configuration. */
#ifndef TOLLGATE_AGENT_HAPROXY_CHECK_H
#define TOLLGATE_AGENT_HAPROXY_CHECK_H

#include <stddef.h>
#include <stdio.h>

struct config;

/* Files in the order HAProxy loads them; a folder stands for its *.cfg files by name, as with HAProxy's -f. Prints what
 * route/haproxy_review.h finds, and whether generated files among them are out of date. 0: nothing unsafe and no conflict; 1: some;
 * 2: a file cannot be read (told on `err`). */
int haproxy_check(const struct config *c, const char *config_file, const char *const *files, size_t count, FILE *out, FILE *err);

#endif
