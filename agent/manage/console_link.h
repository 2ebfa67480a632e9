/* The console's place in the agent: opened with the configuration, fed by sign-in and budgets. Control thread. */
#ifndef TOLLGATE_CONSOLE_LINK_H
#define TOLLGATE_CONSOLE_LINK_H

#include <stdbool.h>
#include <stddef.h>

struct agent;
struct config;
struct console_link;
struct runtime;

/* `c` (what the agent started with) outlives the link; `r` is the runtime in force. NULL with `why` empty: the configuration has no
 * console. */
struct console_link *console_link_start(struct agent *a, const struct config *c, struct runtime *r, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* A reload in two steps: what may fail, then what may not. Everybody signs in again. A NULL link is fine. */
bool console_link_prepare(struct console_link *l, struct runtime *r, char *why, size_t why_size) __attribute__((warn_unused_result));
void console_link_commit(struct console_link *l);
/* True: something differs that only a restart changes. */
bool console_link_differs(const struct config *a, const struct config *b);
/* Ends its threads and its socket. NULL is allowed. */
void console_link_stop(struct console_link *l);
/* Afterwards, and after the agent's tasks were run: what the threads had posted refers to it. NULL is allowed. */
void console_link_free(struct console_link *l);

#endif
