/* The limits in force: those of the configuration, and those that gateway keys bring along. Control thread. */
#ifndef TOLLGATE_LIMITING_H
#define TOLLGATE_LIMITING_H

#include <stdbool.h>
#include <stddef.h>

struct agent;
struct config;

/* A new engine for the agent, to be filled from the ledger (restore.h). False with a reason. */
bool limits_open(struct agent *a, const struct config *c, char *why, size_t why_size) __attribute__((warn_unused_result));
/* The limits of a new configuration; what is new among them is read from the ledger. False with a reason: nothing changed. */
bool limits_reload(struct agent *a, const struct config *c, const char *ledger_file, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* Before there is a key with this budget: its limit is in force, empty, from now on. NULL, or a reason (static). */
const char *limits_admit(struct agent *a, const char *budget);

#endif
