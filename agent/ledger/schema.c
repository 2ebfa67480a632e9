#include "ledger/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_BUSY_MS = 5000, WAL_KEEP_BYTES = 64 << 20, CACHE_KIB = 32 << 10 };

extern const char *const ledger_migrations[]; /* ends with NULL; made at build from sql/migrations */
extern const unsigned char ledger_views[];

static int newest_schema(void)
{
    int n = 0;
    while (ledger_migrations[n])
        n++;
    return n;
}

int64_t schema_integer(sqlite3 *db, const char *sql, int64_t otherwise)
{
    sqlite3_stmt *s = NULL;
    int64_t v = otherwise;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        v = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return v;
}

/* Nobody asks SQLite how much memory it uses, and counting takes a process-wide lock at each allocation. Only possible before SQLite's
 * first use in the process; later it is refused and nothing is lost but time. */
static void spare_counting(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int schema_lock_file(const char *file, char *why, size_t why_size)
{
    struct stat st;
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        const char *hint = errno == ENOENT ? ": the directory does not exist; create it, owned by the user tollgate runs as"
                           : errno == EACCES || errno == EPERM || errno == EROFS
                               ? ": file and directory must be writable for the user tollgate runs as" : "";
        snprintf(why, why_size, "ledger %s: %s%s", file, strerror(errno), hint);
        return -1;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(why, why_size, "ledger %s: not a regular file", file);
    } else if (st.st_mode & S_IWOTH) {
        snprintf(why, why_size, "ledger %s: writable for everyone; chmod o-w it", file);
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        snprintf(why, why_size, "ledger %s: in use by another tollgate process; two cannot keep one ledger", file);
    } else {
        return fd;
    }
    close(fd);
    return -1;
}

/* Whose file is it? True when it is a ledger this program can keep, or an empty file. */
static bool recognise(sqlite3 *db, const char *file, bool may_be_older, char *why, size_t why_size)
{
    int newest = newest_schema();
    int64_t tables = schema_integer(db, "SELECT count(*) FROM sqlite_schema", -1);
    int rc = sqlite3_errcode(db);
    if (tables < 0) {
        if (rc == SQLITE_NOTADB)
            snprintf(why, why_size, "ledger %s: not an SQLite database; name another file, or move this one away", file);
        else if ((rc & 0xff) == SQLITE_CORRUPT)
            snprintf(why, why_size, "ledger %s: damaged (%s); restore a backup, or save what sqlite3's .recover finds", file, sqlite3_errmsg(db));
        else
            snprintf(why, why_size, "ledger %s: cannot be read: %s", file, sqlite3_errmsg(db));
        return false;
    }
    int64_t id = schema_integer(db, "PRAGMA application_id", -1), version = schema_integer(db, "PRAGMA user_version", -1);
    if (id != SCHEMA_APPLICATION_ID && (id != 0 || tables > 0 || version != 0)) {
        snprintf(why, why_size, "ledger %s: the SQLite database of another program; name another file", file);
        return false;
    }
    if (version > newest) {
        snprintf(why, why_size, "ledger %s: has schema %lld, this tollgate knows up to %d; run the newer tollgate", file,
                 (long long)version, newest);
        return false;
    }
    if (version < newest && !may_be_older) {
        snprintf(why, why_size, "ledger %s: has schema %lld, %d is needed; start the agent once, it brings the file up to date (an "
                 "archive: tollgatectl archive --upgrade FILE)", file, (long long)version, newest);
        return false;
    }
    return true;
}

static bool exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

/* All migrations that are missing, and the views, in one transaction: the file has the old schema or the new one. */
static bool migrate(sqlite3 *db, const char *file, char *why, size_t why_size)
{
    char pragma[80];
    bool begun = exec(db, "BEGIN IMMEDIATE");
    int64_t version = schema_integer(db, "PRAGMA user_version", 0);
    bool ok = begun;
    for (int i = (int)version; ok && ledger_migrations[i]; i++)
        ok = exec(db, ledger_migrations[i]);
    snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d; PRAGMA application_id = %d", newest_schema(), SCHEMA_APPLICATION_ID);
    ok = ok && exec(db, (const char *)ledger_views) && (version == newest_schema() || exec(db, pragma)) && exec(db, "COMMIT");
    if (!ok) /* before the rollback, which forgets it */
        snprintf(why, why_size, "ledger %s: cannot be brought up to date: %s", file, sqlite3_errmsg(db));
    if (!ok && !sqlite3_get_autocommit(db))
        exec(db, "ROLLBACK");
    return ok;
}

static sqlite3 *open_connection(const char *file, int flags, char *why, size_t why_size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sqlite3 *db = NULL;
    pthread_once(&once, spare_counting);
    int rc = sqlite3_open_v2(file, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db, OPEN_BUSY_MS);
        return db;
    }
    snprintf(why, why_size, "ledger %s: %s", file, db ? sqlite3_errmsg(db) : "out of memory");
    sqlite3_close(db);
    return NULL;
}

static bool use_wal(sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    bool wal = sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW &&
               strcmp((const char *)sqlite3_column_text(s, 0), "wal") == 0;
    sqlite3_finalize(s);
    return wal;
}

sqlite3 *schema_open_writer(const char *file, int64_t max_bytes, char *why, size_t why_size)
{
    char pragmas[320];
    sqlite3 *db = open_connection(file, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, why, why_size);
    if (!db)
        return NULL;
    snprintf(pragmas, sizeof pragmas,
             "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = %d; PRAGMA cache_size = -%d;"
             "PRAGMA temp_store = MEMORY", WAL_KEEP_BYTES, CACHE_KIB);
    if (!recognise(db, file, true, why, why_size))
        goto refused;
    if (!use_wal(db)) {
        snprintf(why, why_size, "ledger %s: WAL mode is not possible here (%s); it needs a local file system", file, sqlite3_errmsg(db));
        goto refused;
    }
    if (!exec(db, pragmas)) {
        snprintf(why, why_size, "ledger %s: %s", file, sqlite3_errmsg(db));
        goto refused;
    }
    if (!migrate(db, file, why, why_size))
        goto refused;
    if (max_bytes > 0) {
        int64_t page = schema_integer(db, "PRAGMA page_size", 4096);
        snprintf(pragmas, sizeof pragmas, "PRAGMA max_page_count = %lld", (long long)(max_bytes / page > 0 ? max_bytes / page : 1));
        if (!exec(db, pragmas)) {
            snprintf(why, why_size, "ledger %s: %s", file, sqlite3_errmsg(db));
            goto refused;
        }
    }
    return db;
refused:
    sqlite3_close(db);
    return NULL;
}

sqlite3 *schema_open_other(const char *file, bool read_only, char *why, size_t why_size)
{
    struct stat st;
    if (stat(file, &st) != 0) {
        snprintf(why, why_size, "ledger %s: %s", file, strerror(errno));
        return NULL;
    }
    sqlite3 *db = open_connection(file, read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE, why, why_size);
    if (db && !recognise(db, file, false, why, why_size)) {
        sqlite3_close(db);
        db = NULL;
    }
    return db;
}
