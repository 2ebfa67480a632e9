#include "admin/tollgatectl_colour.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool ctl_colour_wanted(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && (no == NULL || no[0] == '\0') && term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

const char *ctl_colour(bool on, enum ctl_colour c)
{
    static const char *const sequences[] = { "\033[0m", "\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[33m", "\033[7m" };
    return on ? sequences[c] : "";
}
