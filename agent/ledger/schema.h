/* Opening the file: whose it is, which schema it has, bringing it up to date. */
#ifndef TOLLGATE_LEDGER_SCHEMA_H
#define TOLLGATE_LEDGER_SCHEMA_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* PRAGMA application_id of every ledger: "toll". */
#define SCHEMA_APPLICATION_ID 0x746f6c6c

/* A connection for writing: WAL, synchronous=FULL, no automatic checkpoints; created and migrated. NULL with a reason in `why`.
 * max_bytes 0: no limit. */
sqlite3 *schema_open_writer(const char *file, int64_t max_bytes, char *why, size_t why_size);
/* One more connection to a file that is open for writing already (checkpoints), or a reader of a running agent's file. */
sqlite3 *schema_open_other(const char *file, bool read_only, char *why, size_t why_size);
/* Creates the file with mode 0600 if it is not there and takes the lock that says "in use". A descriptor to be closed only after
 * every connection of this process, or -1 with a reason. */
int schema_lock_file(const char *file, char *why, size_t why_size);
/* One integer from a statement without parameters; `otherwise` when there is none or it fails. */
int64_t schema_integer(sqlite3 *db, const char *sql, int64_t otherwise);

#endif
