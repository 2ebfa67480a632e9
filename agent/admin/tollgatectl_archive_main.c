/* tollgatectl archive: through the agent that keeps the ledger, or, when none does, by opening it as the agent would. */
#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "admin/tollgatectl_audit.h"
#include "base/clock.h"
#include "config/config.h"
#include "ledger/ledger.h"
#include "ledger/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { RPC_TIMEOUT_S = 10 };

/* 1: an agent keeps the file; 0: nobody does; -1 after saying why it cannot be told. Not while SQLite has the file open in this process. */
static int kept(const char *file)
{
    int fd = open(file, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        fprintf(stderr, "tollgatectl: ledger %s: %s\n", file, strerror(errno));
        return -1;
    }
    int rc = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : 1;
    close(fd);
    return rc;
}

/* The archive's path for another process. realpath(3) wants the file to exist; an archive mostly does not. */
static bool absolute(const char *file, char *out, size_t size)
{
    char here[PATH_MAX];
    int n;

    if (file[0] == '/')
        n = snprintf(out, size, "%s", file);
    else
        n = getcwd(here, sizeof here) != NULL ? snprintf(out, size, "%s/%s", here, file) : -1;
    if (n > 0 && (size_t)n < size)
        return true;
    fprintf(stderr, "tollgatectl: %s: the path is too long\n", file);
    return false;
}

static int call(const struct ctl_place *p, const char *method, const char *const *params, size_t count, bool json)
{
    msgpack_unpacked held;
    msgpack_object result;
    char why[512];

    bool ok = rpc_call(p->admin, method, params, count, RPC_TIMEOUT_S, &held, &result, why, sizeof why);
    if (!ok)
        fprintf(stderr, "tollgatectl: %s\n", why);
    else if (json || result.type == MSGPACK_OBJECT_MAP) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else
        printf("started; tollgatectl archive --status says how far it is\n");
    msgpack_unpacked_destroy(&held);
    return ok ? CTL_DONE : CTL_FAILED;
}

static int offline(const struct ctl_place *p, const char *to, int64_t before_us, bool json)
{
    int64_t moved = 0;
    char why[400];

    if (!ctl_audit_offline(p, "archive", NULL, to))
        return CTL_FAILED;
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = p->file }, why, sizeof why);

    int rc = l != NULL ? ledger_archive(l, to, before_us, &moved, why, sizeof why) : -1;
    ledger_close(l);
    if (rc != 0) {
        fprintf(stderr, "tollgatectl: %s\n", why);
        return CTL_FAILED;
    }
    if (json)
        printf("{\"state\":\"done\",\"moved\":%" PRId64 "}\n", moved);
    else
        printf("%" PRId64 " requests moved to %s\n", moved, to);
    return CTL_DONE;
}

static int archive(const struct ctl_place *p, const char *to, int64_t before_us, bool json)
{
    char path[PATH_MAX], before[32];
    int by = kept(p->file);

    if (by < 0 || !absolute(to, path, sizeof path))
        return CTL_FAILED;
    if (by == 0)
        return offline(p, path, before_us, json);
    char *ledger = realpath(p->file, NULL);
    if (ledger == NULL)
        return CTL_FAILED;
    snprintf(before, sizeof before, "%" PRId64, before_us);
    const char *const params[] = { ledger, path, before };
    int rc = call(p, "archive", params, 3, json);
    free(ledger);
    return rc;
}

/* Gives an archive that an older tollgate made the schema of this one. */
static int upgrade(const char *file)
{
    char why[400];
    int rc = CTL_FAILED;

    if (access(file, R_OK) != 0) {
        fprintf(stderr, "tollgatectl: archive %s: %s\n", file, strerror(errno));
        return CTL_FAILED;
    }
    int fd = schema_lock_file(file, why, sizeof why);
    sqlite3 *db = fd >= 0 ? schema_open_writer(file, 0, why, sizeof why) : NULL;
    if (db == NULL) {
        fprintf(stderr, "tollgatectl: %s\n", why);
    } else {
        printf("%s is up to date\n", file);
        rc = CTL_DONE;
    }
    sqlite3_close(db);
    if (fd >= 0)
        close(fd);
    return rc;
}

int ctl_archive(int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *words[1] = { NULL }, *before = NULL, *to = NULL, *old = NULL;
    bool json = false, help = false, status = false;
    const struct ctl_arg args[] = { { "--ledger", &p.ledger, NULL }, { "--config", &p.config_file, NULL }, { "--socket", &p.socket, NULL },
                                    { "--before", &before, NULL }, { "--to", &to, NULL }, { "--upgrade", &old, NULL }, { "--status", NULL, &status },
                                    { "--json", NULL, &json }, { "--help", NULL, &help } };
    struct period month = { 0, 0 };
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 1, &n))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "archive");
    if (n == 0 && old != NULL && before == NULL && to == NULL && !status)
        return upgrade(old);
    if (n != 0 || old != NULL || (!status && (before == NULL || to == NULL)))
        return ctl_help(stderr, "archive");
    if (!status && (strlen(before) != 7 || !period_parse(before, &month) || month.start_s * 1000000 > clock_wall_us())) {
        fprintf(stderr, "tollgatectl: --before %s: allowed is a month that has begun, YYYY-MM such as 2026-10\n", before);
        return CTL_USAGE;
    }
    int rc = CTL_FAILED;
    if (ctl_place_find(&p))
        rc = status ? call(&p, "archive_status", NULL, 0, json) : archive(&p, to, month.start_s * 1000000, json);
    config_free(p.config);
    return rc;
}
