/* tollgatectl top: what its two halves share. One makes a screen of the agent's answer, the other puts screens on the terminal. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_TOP_H
#define TOLLGATE_ADMIN_TOLLGATECTL_TOP_H

#include "admin/tollgatectl_colour.h"

#include <msgpack.h>
#include <stddef.h>
#include <stdio.h>

enum { SCREEN_LINES = 400, SCREEN_LINE = 1024 };

/* Lines without escape sequences; each has one colour. */
struct screen {
    size_t count;
    struct {
        enum ctl_colour colour;
        char text[SCREEN_LINE];
    } lines[SCREEN_LINES];
};

enum top_sort { TOP_COST, TOP_REQUESTS, TOP_DENIED, TOP_TTFT };

/* `result` is the agent's answer to "top", `by` the word it was asked with. */
void top_draw(struct screen *s, const msgpack_object *result, const char *by, enum top_sort sort);
void screen_line(struct screen *s, enum ctl_colour colour, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- the terminal ---------------------------------------------------------------------------------------------------- */

/* Takes standard input and output over: no echo, keys at once, the other screen buffer. False: they are no terminal that can. It is given
 * back by terminal_leave, and also when the process is ended by a signal that can be caught. */
bool terminal_enter(void) __attribute__((warn_unused_result));
void terminal_leave(void);
/* Shows as much as fits. */
void terminal_show(const struct screen *s, bool colour);
/* A key, or 0: time is over, or the window's size has changed. -1: to end (signal, end of input). */
int terminal_key(long timeout_ms);

#endif
