#include "ledger/statements.h"

enum { TEXT_MAX = 512 };

bool statements_prepare(sqlite3 *db, const char *const *sql, size_t count, sqlite3_stmt **out)
{
    for (size_t i = 0; i < count; i++)
        if (sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &out[i], NULL) != SQLITE_OK)
            return false;
    return true;
}

void statements_end(sqlite3_stmt **s, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sqlite3_finalize(s[i]);
}

void statement_bind_whole(sqlite3_stmt *s, int at, struct slice v)
{
    sqlite3_bind_text(s, at, v.n ? v.p : "", (int)v.n, SQLITE_STATIC);
}

void statement_bind_text(sqlite3_stmt *s, int at, struct slice v)
{
    size_t n = v.n;
    if (n > TEXT_MAX)
        for (n = TEXT_MAX; n > 0 && ((unsigned char)v.p[n] & 0xC0) == 0x80; n--) {
        }
    statement_bind_whole(s, at, slice_make(v.p, n));
}
