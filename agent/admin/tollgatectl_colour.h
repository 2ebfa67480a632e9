/* Colours on a terminal that has them; nothing when NO_COLOR is set (no-color.org), on a dumb terminal, or into a pipe. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_COLOUR_H
#define TOLLGATE_ADMIN_TOLLGATECTL_COLOUR_H

#include <stdbool.h>

enum ctl_colour { CTL_PLAIN, CTL_BOLD, CTL_DIM, CTL_RED, CTL_GREEN, CTL_YELLOW, CTL_REVERSE };

/* For standard output. */
bool ctl_colour_wanted(void);
/* The sequence, or "" when not `on`. */
const char *ctl_colour(bool on, enum ctl_colour c);

#endif
