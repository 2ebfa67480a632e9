/* tollgatectl's commands. Each returns the exit code: 0 done, 1 it failed or was refused (the reason is on standard error), 2 usage. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_H
#define TOLLGATE_ADMIN_TOLLGATECTL_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdio.h>

struct ctl_options {
    const char *socket;   /* admin socket */
    const char *config;   /* NULL: none given */
    const char *encoding;
    const char *model;
    const char *endpoint; /* path, e.g. /v1/chat/completions */
    bool json, raw;
    const char *file;     /* the positional argument; NULL or "-": standard input */
};

int ctl_count(const struct ctl_options *o);
int ctl_status(const struct ctl_options *o);
int ctl_budget(const struct ctl_options *o);
int ctl_tokens(const struct ctl_options *o);
int ctl_simple(const struct ctl_options *o, const char *method);
/* A JSON string with its quotes. */
void ctl_print_json_text(FILE *out, const char *p, uint32_t n);
/* msgpack as one line of JSON. */
void ctl_print_json(FILE *out, const msgpack_object *o);

#endif
