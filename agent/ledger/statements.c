#include "ledger/statements.h"

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
