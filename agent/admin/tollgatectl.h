/* What tollgatectl's commands that ask the agent share: their options, the question, reading the answer. Reasons for failure go to
 * standard error here, once. Exit statuses as in tollgatectl_args.h. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_H
#define TOLLGATE_ADMIN_TOLLGATECTL_H

#include "base/slice.h"
#include "budget/options.h"

#include <msgpack.h>
#include <stdbool.h>
#include <stdio.h>

struct ctl_options {
    const char *socket;   /* admin socket; NULL: none given */
    const char *config;   /* NULL: none given */
    const char *encoding;
    const char *endpoint; /* path, e.g. /v1/chat/completions */
    const char *path;     /* code path of counting */
    const char *team, *organization; /* who asks */
    bool json, raw, no_cache;
    const char *file;     /* the positional argument; NULL or "-": standard input */
};

/* Reads the options that the command has in the table. False when the command is over: *status is then its exit status. With `words`,
 * one positional argument is allowed. */
bool ctl_options_read(const char *command, int argc, char **argv, bool words, struct ctl_options *o, int *status)
    __attribute__((warn_unused_result));

/* One question. False after saying why; then nothing is to be destroyed, else `held` is (msgpack_unpacked_destroy). */
bool ctl_ask(const struct ctl_options *o, const char *method, const char *const *params, size_t count, msgpack_unpacked *held,
             msgpack_object *result) __attribute__((warn_unused_result));
/* Members of a map: NULL, 0, the empty slice when there is none of that type. */
const msgpack_object *ctl_member(const msgpack_object *o, const char *name);
int64_t ctl_number(const msgpack_object *o, const char *name);
struct slice ctl_text(const msgpack_object *o, const char *name);
/* "2026-11-23 14:30:00Z", "-" for 0. */
void ctl_instant(int64_t us, char *buf, size_t size);
enum { CTL_AMOUNT_SIZE = 40 };
/* The unit of a limit by its name in answers. */
enum budget_unit ctl_unit(struct slice name);
/* "$50.00", "1 request", "4000 tokens", "5 at once". */
const char *ctl_amount(int64_t v, enum budget_unit unit, char buf[static CTL_AMOUNT_SIZE]);
/* Text at least `width` wide; what could steer a terminal, and invalid UTF-8, is shown as \xNN. */
void ctl_put_text(FILE *out, struct slice text, int width);
/* A JSON string with its quotes. */
void ctl_print_json_text(FILE *out, const char *p, uint32_t n);
/* msgpack as JSON. */
void ctl_print_json(FILE *out, const msgpack_object *o);

int ctl_count(int argc, char **argv);
int ctl_status(int argc, char **argv);
int ctl_budget(int argc, char **argv);
int ctl_tokens(int argc, char **argv);
int ctl_reload(int argc, char **argv);
int ctl_ping(int argc, char **argv);

#endif
