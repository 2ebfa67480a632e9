/* tollgatectl's commands as one table: dispatch, --help, bash completion and the man page are all made from it.
 *
 * A command is added by one entry in tollgatectl_commands_main.c and its function; nothing else needs to know of it. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_COMMANDS_H
#define TOLLGATE_ADMIN_TOLLGATECTL_COMMANDS_H

#include <stdbool.h>
#include <stdio.h>

enum { CTL_OPTIONS_MAX = 20, CTL_FORMS_MAX = 4 };

struct ctl_option {
    const char *name;    /* "--before"; NULL ends the list */
    const char *value;   /* NULL: a flag; "FILE" and "DIR" are completed as such, "a|b|c" to one of these, else a word that says what it is */
    const char *help;    /* one sentence without a full stop */
};

struct ctl_command {
    const char *name, *summary;                    /* the summary is one line, lower case, without a full stop */
    const char *forms[CTL_FORMS_MAX];              /* what may follow the name, one form each; the first may be "" */
    const char *words;                             /* what the first word may be, "list|import"; NULL: none, or anything */
    const char *about;                             /* paragraphs, parted by "\n\n"; no line breaks else */
    struct ctl_option options[CTL_OPTIONS_MAX];    /* without --help, which every command has */
    const char *status;                            /* what the exit status means, "0 done, 1 failed, 2 wrong usage" */
    int (*run)(int argc, char **argv);             /* what follows the command's name; the result is the exit status */
};

/* Ended by a NULL name. */
extern const struct ctl_command ctl_commands[];
const struct ctl_command *ctl_command_find(const char *name);

/* Prints the command's help. 0 for stdout, else 2: what a command returns that was asked for help, or used wrongly. */
int ctl_help(FILE *out, const char *name);
/* The list of commands, likewise. */
int ctl_help_all(FILE *out);
/* `tollgatectl completion bash`, `tollgatectl man`. */
int ctl_completion(int argc, char **argv);
int ctl_man(int argc, char **argv);

#endif
