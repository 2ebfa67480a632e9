/* --help, bash completion and the man page, all from the table of commands. */
#include "admin/tollgatectl_commands.h"

#include <string.h>

enum { DONE = 0, USAGE = 2, COLUMNS = 120, OPTION_COLUMN = 24 };

/* Words of `text` up to a line break, wrapped; lines after the first begin with `indent` blanks. `at` is the column it starts in. */
static void put_wrapped(FILE *out, const char *text, int at, int indent)
{
    bool first = true;

    for (const char *p = text; *p != '\0';) {
        size_t n = strcspn(p, " \n");
        if (*p == '\n') {
            fprintf(out, "\n%*s", p[1] == '\n' ? 0 : indent, "");
            at = indent;
            first = true;
            p++;
            continue;
        }
        if (!first && at + 1 + (int)n > COLUMNS) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
            first = true;
        }
        at += fprintf(out, "%s%.*s", first ? "" : " ", (int)n, p);
        first = false;
        p += n;
        if (*p == ' ')
            p++;
    }
    fputc('\n', out);
}

static void put_options(FILE *out, const struct ctl_command *c)
{
    char name[120];

    for (const struct ctl_option *o = c->options; o->name != NULL; o++) {
        snprintf(name, sizeof name, "%s%s%s", o->name, o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
        bool fits = fprintf(out, "  %s", name) <= OPTION_COLUMN - 2;
        fprintf(out, "%s%*s", fits ? "" : "\n", fits ? OPTION_COLUMN - 2 - (int)strlen(name) : OPTION_COLUMN, "");
        put_wrapped(out, o->help, OPTION_COLUMN, OPTION_COLUMN);
    }
}

int ctl_help(FILE *out, const char *name)
{
    const struct ctl_command *c = ctl_command_find(name);

    for (int i = 0; i < CTL_FORMS_MAX && c->forms[i] != NULL; i++) {
        int at = fprintf(out, "%s tollgatectl %s%s", i == 0 ? "usage:" : "      ", c->name, c->forms[i][0] != '\0' ? " " : "");
        put_wrapped(out, c->forms[i], at, 7 + (int)sizeof "tollgatectl" + (int)strlen(c->name) + 1);
    }
    fputc('\n', out);
    if (c->about != NULL) {
        put_wrapped(out, c->about, 0, 0);
        fputc('\n', out);
    }
    put_options(out, c);
    if (c->options[0].name != NULL)
        fputc('\n', out);
    fprintf(out, "Exit status: %s.\n", c->status);
    if (out == stderr)
        fprintf(out, "\ntollgatectl: %s: an argument is missing, or is none of those above\n", name);
    return out == stdout ? DONE : USAGE;
}

int ctl_help_all(FILE *out)
{
    fprintf(out, "usage: tollgatectl [--socket FILE] [--json] COMMAND\n\n");
    for (const struct ctl_command *c = ctl_commands; c->name != NULL; c++)
        fprintf(out, "  %-14s %s\n", c->name, c->summary);
    fprintf(out, "\nEach says more with --help after its name. The socket is listen.admin of the configuration; default\n"
                 "/run/tollgate/admin.sock. Exit status: 0 done, 1 failed, 2 wrong usage; where a command means more by it, its help says so.\n");
    return out == stdout ? DONE : USAGE;
}

/* "a|b|c" as "a b c". */
static void put_choices(FILE *out, const char *choices)
{
    for (; *choices != '\0'; choices++)
        putc(*choices == '|' ? ' ' : *choices, out);
}

static bool is_choice(const char *value)
{
    return value != NULL && strchr(value, '|') != NULL;
}

static void completion_command(FILE *out, const struct ctl_command *c)
{
    fprintf(out, "    %s)\n        options=\"", c->name);
    for (const struct ctl_option *o = c->options; o->name != NULL; o++)
        fprintf(out, "%s ", o->name);
    fprintf(out, "--help\"\n");
    if (c->words != NULL) {
        fprintf(out, "        words=\"");
        put_choices(out, c->words);
        fprintf(out, "\"\n");
    }
    fprintf(out, "        case $previous in\n");
    for (const struct ctl_option *o = c->options; o->name != NULL; o++) {
        if (o->value == NULL)
            continue;
        fprintf(out, "        %s) ", o->name);
        if (is_choice(o->value)) {
            fprintf(out, "choices=\"");
            put_choices(out, o->value);
            fprintf(out, "\" ;;\n");
        } else {
            fprintf(out, "%s ;;\n", strcmp(o->value, "FILE") == 0 ? "files=yes" : "free=yes");
        }
    }
    fprintf(out, "        esac ;;\n");
}

static void completion_print(FILE *out)
{
    fprintf(out, "# bash completion for tollgatectl; printed by `tollgatectl completion bash`.\n"
                 "_tollgatectl() {\n"
                 "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
                 "    local command= at=0 i options= words= choices= files= free=\n"
                 "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                 "        case ${COMP_WORDS[i]} in\n"
                 "        --socket) ((i++)) ;;\n"
                 "        -*) ;;\n"
                 "        *) command=${COMP_WORDS[i]} at=$i; break ;;\n"
                 "        esac\n"
                 "    done\n"
                 "    case $command in\n"
                 "    '')\n"
                 "        options=\"--socket --json --help\"\n"
                 "        words=\"help");
    for (const struct ctl_command *c = ctl_commands; c->name != NULL; c++)
        fprintf(out, " %s", c->name);
    fprintf(out, "\"\n        case $previous in --socket) files=yes ;; esac ;;\n");
    for (const struct ctl_command *c = ctl_commands; c->name != NULL; c++)
        completion_command(out, c);
    fprintf(out, "    esac\n"
                 "    COMPREPLY=()\n"
                 "    if [[ $free ]]; then return\n"
                 "    elif [[ $choices ]]; then mapfile -t COMPREPLY < <(compgen -W \"$choices\" -- \"$current\")\n"
                 "    elif [[ $files ]]; then mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
                 "    elif [[ $current == -* ]]; then mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
                 "    elif [[ $words && ( -z $command || $COMP_CWORD -eq $((at + 1)) ) ]]; then\n"
                 "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
                 "    else mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
                 "    fi\n"
                 "}\n"
                 "complete -o filenames -F _tollgatectl tollgatectl\n");
}

int ctl_completion(int argc, char **argv)
{
    if (argc == 1 && strcmp(argv[0], "--help") == 0)
        return ctl_help(stdout, "completion");
    if (argc != 1 || strcmp(argv[0], "bash") != 0)
        return ctl_help(stderr, "completion");
    completion_print(stdout);
    return DONE;
}

/* Text for troff: its own characters escaped, hyphens kept as typed, a blank line becomes a paragraph. */
static void put_troff(FILE *out, const char *text)
{
    bool start = true;

    for (; *text != '\0'; text++) {
        if (text[0] == '\n' && text[1] == '\n') {
            fputs("\n.PP\n", out);
            text++;
            start = true;
            continue;
        }
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        start = *text == '\n';
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\'')
            fputs("\\(aq", out);
        else
            putc(*text, out);
    }
}

static void man_command(FILE *out, const struct ctl_command *c)
{
    fprintf(out, ".SS ");
    put_troff(out, c->name);
    fprintf(out, "\n");
    for (int i = 0; i < CTL_FORMS_MAX && c->forms[i] != NULL; i++) {
        fprintf(out, "%s.B tollgatectl ", i > 0 ? ".br\n" : "");
        put_troff(out, c->name);
        fprintf(out, "\n");
        if (c->forms[i][0] != '\0') {
            put_troff(out, c->forms[i]);
            fprintf(out, "\n");
        }
    }
    fprintf(out, ".PP\n%c", c->summary[0] >= 'a' && c->summary[0] <= 'z' ? c->summary[0] - 'a' + 'A' : c->summary[0]);
    put_troff(out, c->summary + 1);
    fprintf(out, "%s\n", c->summary[strlen(c->summary) - 1] == '?' ? "" : ".");
    if (c->about != NULL) {
        fprintf(out, ".PP\n");
        put_troff(out, c->about);
        fprintf(out, "\n");
    }
    for (const struct ctl_option *o = c->options; o->name != NULL; o++) {
        fprintf(out, ".TP\n\\fB");
        put_troff(out, o->name);
        fprintf(out, "\\fR");
        if (o->value != NULL) {
            fprintf(out, " \\fI");
            put_troff(out, o->value);
            fprintf(out, "\\fR");
        }
        fprintf(out, "\n");
        put_troff(out, o->help);
        fprintf(out, "\n");
    }
    fprintf(out, ".PP\nExit status: ");
    put_troff(out, c->status);
    fprintf(out, ".\n");
}

int ctl_man(int argc, char **argv)
{
    if (argc == 1 && strcmp(argv[0], "--help") == 0)
        return ctl_help(stdout, "man");
    if (argc != 0)
        return ctl_help(stderr, "man");
    printf(".TH TOLLGATECTL 1 \"\" \"tollgate " TOLLGATE_VERSION "\" \"tollgate\"\n.nh\n.ad l\n"
           ".SH NAME\ntollgatectl \\- look into, and operate, a tollgate agent\n"
           ".SH SYNOPSIS\n.B tollgatectl\n[\\fB\\-\\-socket\\fR \\fIFILE\\fR] [\\fB\\-\\-json\\fR] \\fICOMMAND\\fR\n"
           ".SH DESCRIPTION\n"
           "Commands that ask the agent use its admin socket, which answers only root and the agent\\(aqs own user. Commands that read the\n"
           "ledger use its file, whether the agent runs or not.\n"
           ".SH COMMANDS\n");
    for (const struct ctl_command *c = ctl_commands; c->name != NULL; c++)
        man_command(stdout, c);
    printf(".SH FILES\n.TP\n.I /run/tollgate/admin.sock\nThe admin socket, unless the configuration\\(aqs listen.admin says otherwise.\n"
           ".TP\n.I /var/lib/tollgate/ledger.db\nThe ledger, unless the configuration\\(aqs ledger.file says otherwise.\n"
           ".SH EXIT STATUS\n0 done, 1 failed or refused, 2 wrong usage. Where a command means more by it, it is said there.\n");
    return DONE;
}
