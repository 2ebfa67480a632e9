/* tollgatectl audit: reads the audit log, whether an agent runs or not; and what commands record that act without one. */
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "admin/tollgatectl_audit.h"

#include "config/config.h"
#include "observe/audit.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The configuration's, or audit.log beside the ledger. */
static void file_find(const struct ctl_place *p, char *out, size_t size)
{
    const char *slash = strrchr(p->file, '/');

    if (p->config != NULL)
        snprintf(out, size, "%s", p->config->audit.file);
    else
        snprintf(out, size, "%.*saudit.log", slash != NULL ? (int)(slash - p->file) + 1 : 0, p->file);
}

bool ctl_audit_offline(const struct ctl_place *p, const char *action, const char *object, const char *detail)
{
    char file[PATH_MAX], why[512], actor[64];
    struct stat ledger;

    file_find(p, file, sizeof file);
    bool fresh = access(file, F_OK) != 0;
    struct audit *a = audit_open(file, why, sizeof why);
    if (a == NULL) {
        fprintf(stderr, "tollgatectl: %s\n", why);
        return false;
    }
    /* The agent, which goes on with it, need not be the user who is at work here. */
    if (fresh && stat(p->file, &ledger) == 0 && ledger.st_uid != geteuid() && chown(file, ledger.st_uid, ledger.st_gid) != 0)
        fprintf(stderr, "tollgatectl: %s: its owner cannot be made the ledger's\n", file);
    snprintf(actor, sizeof actor, "uid %u pid %d", (unsigned)getuid(), (int)getpid());
    bool ok = audit_append(a, &(struct audit_entry){ .actor = slice_cstr(actor), .action = slice_cstr(action), .object = slice_cstr(object),
                                                     .detail = slice_cstr(detail) });
    audit_close(a);
    return ok;
}

static const struct table_column columns[] = { { "seq", TABLE_COUNT, false }, { "at", TABLE_TEXT, false },     { "actor", TABLE_TEXT, false },
                                               { "action", TABLE_TEXT, false }, { "object", TABLE_TEXT, false }, { "detail", TABLE_TEXT, false } };

static void on_line(void *user, const struct audit_line *l)
{
    struct table *t = user;

    table_int(t, l->seq);
    table_text(t, slice_cstr(l->at));
    table_text(t, slice_cstr(l->actor));
    table_text(t, slice_cstr(l->action));
    table_text(t, slice_cstr(l->object));
    table_text(t, slice_cstr(l->detail));
}

static int list(const char *file, enum table_format format)
{
    struct table *t = table_new(columns, sizeof columns / sizeof *columns);
    struct audit_verified v;
    char why[512] = "out of memory";
    int rc = CTL_FAILED;

    if (t == NULL || !audit_verify(file, NULL, on_line, t, &v, why, sizeof why)) {
        fprintf(stderr, "tollgatectl: %s\n", why);
    } else if (table_write(t, format, "", stdout) == 0) {
        rc = v.bad_line == 0 ? CTL_DONE : CTL_FAILED;
        if (v.bad_line > 0)
            fprintf(stderr, "tollgatectl: %s:%" PRId64 ": %s; nothing is listed from there on\n", file, v.bad_line, v.why);
    }
    table_free(t);
    return rc;
}

static int verify(const char *file, const char *head, bool json)
{
    struct audit_verified v;
    char why[512];

    if (!audit_verify(file, head, NULL, NULL, &v, why, sizeof why)) {
        fprintf(stderr, "tollgatectl: %s\n", why);
        return CTL_FAILED;
    }
    bool missing = head != NULL && !v.sought_found, good = v.bad_line == 0 && !missing;
    if (json)
        printf("{\"good\":%s,\"entries\":%" PRId64 ",\"head\":\"%s\",\"bad_line\":%" PRId64 ",\"head_found\":%s}\n", good ? "true" : "false",
               v.entries, v.head, v.bad_line, head == NULL ? "null" : v.sought_found ? "true" : "false");
    else if (v.bad_line > 0)
        printf("%s:%" PRId64 ": %s; the %" PRId64 " entries before it are as they were written\n", file, v.bad_line, v.why, v.entries);
    else if (missing)
        printf("%s: no entry has the hash %s: the end of the log was cut off, or it is another log\n", file, head);
    else
        printf("%s: %" PRId64 " entries, as they were written; the last one's hash is %s\n", file, v.entries, v.head);
    return good ? CTL_DONE : CTL_FAILED;
}

int ctl_audit(int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *words[1] = { "" }, *given = NULL, *head = NULL, *word = NULL;
    bool json = false, help = false;
    const struct ctl_arg args[] = { { "--config", &p.config_file, NULL }, { "--file", &given, NULL }, { "--head", &head, NULL },
                                    { "--format", &word, NULL },          { "--json", NULL, &json },  { "--help", NULL, &help } };
    enum table_format format;
    char file[PATH_MAX];
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 1, &n) || !ctl_format(word, json, &format))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "audit");
    bool check = strcmp(words[0], "verify") == 0;
    if (!check && strcmp(words[0], "list") != 0)
        return ctl_help(stderr, "audit");
    if (given == NULL && !ctl_place_find(&p))
        return CTL_FAILED;
    if (given == NULL)
        file_find(&p, file, sizeof file);
    else
        snprintf(file, sizeof file, "%s", given);
    config_free(p.config);
    return check ? verify(file, head, json) : list(file, format);
}
