#include "admin/tollgatectl_commands.h"

#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

/* Options that stand before the command's name are handed to it in front of its own. */
int main(int argc, char **argv)
{
    int at = 1;

    while (at < argc && argv[at][0] == '-' && strcmp(argv[at], "--help") != 0)
        at += (strcmp(argv[at], "--json") == 0 || strcmp(argv[at], "--raw") == 0) ? 1 : 2;
    const char *name = at < argc ? argv[at] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        const struct ctl_command *about = at + 1 < argc ? ctl_command_find(argv[at + 1]) : NULL;
        return about != NULL ? ctl_help(stdout, about->name) : ctl_help_all(stdout);
    }
    const struct ctl_command *command = ctl_command_find(name);
    if (command == NULL) {
        if (name[0] == '\0')
            return ctl_help_all(stderr);
        fprintf(stderr, "tollgatectl: there is no command %s; tollgatectl help lists them\n", name);
        return EXIT_USAGE;
    }
    memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv);
    return command->run(argc - 2, argv + 2);
}
