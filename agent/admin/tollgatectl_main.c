#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"

#include <string.h>

enum { EXIT_USAGE = 2 };

static int usage(FILE *out)
{
    fprintf(out, "usage: tollgatectl [--socket PATH] [--json] COMMAND\n"
                 "\n"
                 "  status                            the agent, its ledger, its issuers\n"
                 "  budget                            every account: used, held, left, when it resets\n"
                 "  tokens                            what providers' reported input tokens taught about our counts\n"
                 "  reload                            read the configuration again (as SIGHUP)\n"
                 "  ping                              is it there?\n"
                 "  count [--config FILE] [--endpoint PATH] [BODY]\n"
                 "                                    what the gateway would count and hold for a request body, part by part;\n"
                 "                                    nothing is sent\n"
                 "  count --raw --encoding NAME       token counts of NUL-separated texts from standard input, one a line\n"
                 "\n"
                 "  report                            spending, burn rate, movers, anomalies, savings, FOCUS export; from the ledger's file\n"
                 "  prices list, prices import FILE   the price table in force; what another one would change\n"
                 "  reprice                           books what another price table makes of past requests, as corrections\n"
                 "  close-month YYYY-MM               freezes a month\n"
                 "  invoice check FILE.csv            a provider's usage export against the ledger\n"
                 "  archive --before YYYY-MM --to FILE  moves old rows into another file while traffic runs\n"
                 "  request ID                        finds a request by the id its client got\n"
                 "  revoke, unrevoke KIND VALUE       refuses a subject, token, team or gateway key from the next request on; takes it back\n"
                 "  revocations                       what is revoked, since when, by whom\n"
                 "                                    each of these ten says more with --help after its name\n"
                 "\n"
                 "The socket is listen.admin of the configuration; default /run/tollgate/admin.sock.\n"
                 "Exit status: 0 done, 1 failed, 2 wrong usage.\n");
    return out == stdout ? 0 : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct ctl_options o = { .socket = "/run/tollgate/admin.sock" };
    const struct {
        const char *name, **value;
    } valued[] = { { "--socket", &o.socket }, { "--config", &o.config }, { "--encoding", &o.encoding }, { "--endpoint", &o.endpoint } };
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv); /* reads its own options */
    } commands[] = { { "report", ctl_report }, { "prices", ctl_prices }, { "reprice", ctl_reprice }, { "close-month", ctl_close_month },
                     { "invoice", ctl_invoice }, { "archive", ctl_archive }, { "request", ctl_request },
                     { "revoke", ctl_revoke }, { "unrevoke", ctl_unrevoke }, { "revocations", ctl_revocations } };
    const char *command = NULL;

    for (size_t k = 0; argc > 1 && k < sizeof commands / sizeof *commands; k++)
        if (strcmp(argv[1], commands[k].name) == 0)
            return commands[k].run(argc - 2, argv + 2);
    for (int i = 1; i < argc; i++) {
        bool taken = false;
        for (size_t k = 0; k < sizeof valued / sizeof *valued && !taken; k++)
            if (strcmp(argv[i], valued[k].name) == 0 && i + 1 < argc) {
                *valued[k].value = argv[++i];
                taken = true;
            }
        if (taken)
            continue;
        if (strcmp(argv[i], "--json") == 0)
            o.json = true;
        else if (strcmp(argv[i], "--raw") == 0)
            o.raw = true;
        else if (strcmp(argv[i], "--help") == 0)
            return usage(stdout);
        else if (argv[i][0] == '-' && argv[i][1] != '\0')
            return usage(stderr);
        else if (command == NULL)
            command = argv[i];
        else if (o.file == NULL)
            o.file = argv[i];
        else
            return usage(stderr);
    }
    if (command == NULL)
        return usage(stderr);
    if (strcmp(command, "count") == 0)
        return ctl_count(&o);
    if (o.file != NULL)
        return usage(stderr);
    if (strcmp(command, "status") == 0)
        return ctl_status(&o);
    if (strcmp(command, "budget") == 0)
        return ctl_budget(&o);
    if (strcmp(command, "tokens") == 0)
        return ctl_tokens(&o);
    if (strcmp(command, "reload") == 0 || strcmp(command, "ping") == 0)
        return ctl_simple(&o, command);
    if (strcmp(command, "help") == 0)
        return usage(stdout);
    return usage(stderr);
}
