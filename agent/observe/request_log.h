/* Request log: a line for each decision and each settlement, written by a thread of its own from the recent events, so that no decision ever
 * waits for whoever reads the log. When it cannot keep up, what it missed is counted in a line ("events_not_logged"). */
#ifndef TOLLGATE_OBSERVE_REQUEST_LOG_H
#define TOLLGATE_OBSERVE_REQUEST_LOG_H

#include <stdbool.h>

struct recent;
struct request_log;

/* `recent` outlives it. NULL: no thread or memory. */
struct request_log *request_log_start(struct recent *recent, bool on) __attribute__((warn_unused_result));
/* Any thread: lines are written from now on, or no more. */
void request_log_switch(struct request_log *l, bool on);
bool request_log_on(const struct request_log *l);
/* Writes what is still there and ends the thread. NULL is allowed. */
void request_log_stop(struct request_log *l);

#endif
