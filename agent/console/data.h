/* Questions to the ledger's file: read-only connections of our own, each question bounded in time and in what it may see.
 *
 * A few connections are shared by the console's threads; a question waits for one. Named parameters of a statement are bound by their
 * names from struct question (:from, :to, ...), so no text of a browser ever becomes SQL. Answers are JSON, written to a stream. */
#ifndef TOLLGATE_CONSOLE_DATA_H
#define TOLLGATE_CONSOLE_DATA_H

#include "console/console.h"

#include <sqlite3.h>

struct data;

/* What a browser asks and, from its session, what it may see. Times are seconds UTC since 1970, `to` excluded. */
struct question {
    int64_t from_s, to_s, step_s, limit, id;
    const char *by;                    /* team, model, user, provider */
    const char *team, *model, *user, *request_id; /* NULL: any */
    bool recent;                       /* newest first instead of dearest first */
    bool all;                          /* an admin; else only this team of this organization: */
    const char *scope_team, *scope_organization;
    int64_t now_us;
};

enum answer {
    ANSWER_GIVEN,
    ANSWER_BAD,      /* the question makes no sense; `why` says what would */
    ANSWER_UNKNOWN,  /* there is no such thing, or none this person may see */
    ANSWER_TOO_LONG, /* the time limit */
    ANSWER_FAILED    /* `why` is for the log */
};

struct data *data_new(const char *file) __attribute__((warn_unused_result));
void data_free(struct data *d);
/* A connection with `budget_ms` from now on for its statements; NULL: cannot be opened. Give it back on the same thread. */
sqlite3 *data_take(struct data *d, int64_t budget_ms) __attribute__((warn_unused_result));
void data_give(struct data *d, sqlite3 *db);
/* A statement with the question bound; NULL: failed, see sqlite3_errmsg. */
sqlite3_stmt *data_ask(sqlite3 *db, const char *sql, const struct question *q) __attribute__((warn_unused_result));
/* By name, for what is not in the question; absent names are ignored. */
void data_bind(sqlite3_stmt *s, const char *name, int64_t value);
void data_bind_text(sqlite3_stmt *s, const char *name, const char *value);
/* What a statement's end means. `s` may be NULL (data_ask failed); it is finalized. */
enum answer data_end(sqlite3 *db, sqlite3_stmt *s, int rc, char *why, size_t why_size);

/* Who may be seen, for statements that name `who` (or `account`) w and `target` t. */
#define DATA_SCOPE "(:all OR (w.team = :scope_team AND w.organization = :scope_organization))"
#define DATA_FILTER                                                                                                    \
    DATA_SCOPE " AND (:team IS NULL OR w.team = :team) AND (:model IS NULL OR coalesce(t.model, '') = :model)"

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

void json_text(FILE *out, const char *utf8); /* with its quotes; NULL: null */
void json_column(FILE *out, sqlite3_stmt *s, int column); /* text, integer or null, as it is stored */
/* The row as an object with the statement's column names. */
void json_row(FILE *out, sqlite3_stmt *s);

#endif
