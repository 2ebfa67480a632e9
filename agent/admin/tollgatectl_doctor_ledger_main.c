/* The ledger: its file, its disk, and whether SQLite finds it whole. */
#include "admin/tollgatectl_doctor.h"
#include "base/clock.h"
#include "config/config.h"
#include "ledger/schema.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { CHECK_OPS = 100000, PATHS = 4096 };

static const int64_t check_us = 10 * INT64_C(1000000);
static const int64_t free_warn = INT64_C(2) << 30, free_fail = INT64_C(200) << 20;
enum { INODES_WARN = 1000, INODES_FAIL = 16 };

static void disk(struct doctor *d, const char *dir)
{
    struct statvfs v;

    if (statvfs(dir, &v) != 0) {
        doctor_say(d, DOCTOR_FAILURE, "disk", dir, "make the folder, the agent's user as its owner (StateDirectory=tollgate)", "%s", strerror(errno));
        return;
    }
    int64_t bytes = (int64_t)((uint64_t)v.f_bavail * v.f_frsize);
    const char *fix = "make room; tollgatectl archive moves old rows into another file";
    if (bytes < free_fail || (v.f_files > 0 && v.f_favail < INODES_FAIL))
        doctor_say(d, DOCTOR_FAILURE, "disk", dir, fix, "%" PRId64 " MB and %" PRIu64 " files are left: when it is full, requests are refused", bytes >> 20, (uint64_t)v.f_favail);
    else if (bytes < free_warn || (v.f_files > 0 && v.f_favail < INODES_WARN))
        doctor_say(d, DOCTOR_WARNING, "disk", dir, fix, "%" PRId64 " MB and %" PRIu64 " files are left", bytes >> 20, (uint64_t)v.f_favail);
    else
        doctor_say(d, DOCTOR_OK, "disk", dir, NULL, "%" PRId64 " GB free", bytes >> 30);
}

static int on_progress(void *until)
{
    return clock_mono_us() > *(const int64_t *)until;
}

static void integrity(struct doctor *d, const char *file)
{
    char why[400];
    sqlite3 *db = schema_open_other(file, true, why, sizeof why);
    sqlite3_stmt *s = NULL;
    int64_t until = clock_mono_us() + check_us;

    if (db == NULL) {
        doctor_say(d, DOCTOR_FAILURE, "ledger", file, "run it as root or as the agent's user; restore the file from a backup if it is no ledger any more", "%s", why);
        return;
    }
    sqlite3_progress_handler(db, CHECK_OPS, on_progress, &until);
    int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(3)", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    if (text != NULL && strcmp(text, "ok") == 0)
        doctor_say(d, DOCTOR_OK, "ledger", file, NULL, "quick_check finds it whole");
    else if (rc == SQLITE_INTERRUPT)
        doctor_say(d, DOCTOR_OK, "ledger", file, NULL, "too large for a check in 10 s, no damage found so far; sqlite3 FILE 'PRAGMA quick_check' looks at all of it");
    else
        doctor_say(d, DOCTOR_FAILURE, "ledger", file, "stop the agent, keep the file, restore a backup or use sqlite3's .recover", "it is damaged: %s",
                   text != NULL ? text : sqlite3_errmsg(db));
    sqlite3_finalize(s);
    sqlite3_close(db);
}

void doctor_ledger(struct doctor *d)
{
    const char *file = d->place.file;
    char dir[PATHS], fix[PATHS + 64];
    struct stat st;

    snprintf(dir, sizeof dir, "%s", file);
    disk(d, dirname(dir));
    snprintf(dir, sizeof dir, "%s", file);
    if (stat(file, &st) != 0) {
        doctor_say(d, errno == ENOENT && !d->agent ? DOCTOR_WARNING : DOCTOR_FAILURE, "ledger", file, errno == ENOENT ? "the agent makes it when it starts" : "run it as root or as the agent's user", "%s",
                   strerror(errno));
        return;
    }
    snprintf(fix, sizeof fix, "chmod 600 %s", file);
    if ((st.st_mode & 022) != 0)
        doctor_say(d, DOCTOR_FAILURE, "ledger", file, fix, "its mode is %o: others may change what was spent", st.st_mode & 0777);
    if (access(file, W_OK) != 0 || access(dirname(dir), W_OK) != 0)
        doctor_say(d, DOCTOR_WARNING, "ledger", file, "run it as root or as the agent's user; else see to owner and mode of file and folder", "cannot be written by this user: %s", strerror(errno));
    integrity(d, file);
}
