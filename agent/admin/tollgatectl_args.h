/* What tollgatectl's ledger commands share: their options, finding the ledger's file, opening it for reading, running one statement
 * into a table. Reasons for failure go to standard error here, once. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_ARGS_H
#define TOLLGATE_ADMIN_TOLLGATECTL_ARGS_H

#include "admin/period.h"
#include "admin/table.h"
#include "admin/tollgatectl_commands.h"

#include <sqlite3.h>

struct config;

enum { CTL_DONE = 0, CTL_FAILED = 1, CTL_USAGE = 2 };

struct ctl_arg {
    const char *name;
    const char **value; /* takes one argument; or NULL */
    bool *flag;
};

/* Reads what follows the command's name; at most `max` words that are no options go to `words`. False after saying what is wrong. */
bool ctl_args(int argc, char **argv, const struct ctl_arg *args, size_t count, const char **words, size_t max, size_t *found);
/* "--json" or "--format WORD" (NULL: none given). False after saying what is allowed. */
bool ctl_format(const char *word, bool json, enum table_format *out);
/* --from and --to, each a day or a month, both included; this month when neither is given. False after saying what is allowed. */
bool ctl_period(const char *from, const char *to, struct period *out);

/* A whole number of 0 or more; NULL: `otherwise`. False after saying what is allowed. */
bool ctl_count_of(const char *name, const char *text, int64_t otherwise, int64_t *out);

struct ctl_place {
    const char *ledger, *config_file, *socket; /* as given, or NULL */
    struct config *config;                     /* loaded when config_file was given; the caller's to free */
    const char *file;                          /* the ledger: as given, the configuration's, or the default */
    const char *admin;                         /* likewise the agent's socket */
};
bool ctl_place_find(struct ctl_place *p);
/* Read-only, also while an agent runs. NULL after saying why. */
sqlite3 *ctl_ledger_open(const struct ctl_place *p);
/* The connection's error, said; CTL_FAILED. */
int ctl_sql_failed(const struct ctl_place *p, sqlite3 *db);
/* Adds the statement's rows to the table: its columns are the table's, in order; NULL becomes a null cell. Integer parameters ?1.. are
 * `values`. False after saying why. */
bool ctl_fill(const struct ctl_place *p, sqlite3 *db, const char *sql, const int64_t *values, int count, struct table *t);

/* Calls a method that answers with an array of maps, and writes it as a table: the members `names` under `columns`. Integers are instants
 * (microseconds UTC; 0: none). CTL_DONE, or CTL_FAILED after saying why. */
int ctl_list(const struct ctl_place *p, const char *method, const struct table_column *columns, const char *const *names, size_t count,
             enum table_format format);

int ctl_report(int argc, char **argv);
int ctl_prices(int argc, char **argv);
int ctl_reprice(int argc, char **argv);
int ctl_close_month(int argc, char **argv);
int ctl_invoice(int argc, char **argv);
int ctl_archive(int argc, char **argv);
int ctl_route(int argc, char **argv);
int ctl_request(int argc, char **argv);
int ctl_audit(int argc, char **argv);
int ctl_revoke(int argc, char **argv);
int ctl_unrevoke(int argc, char **argv);
int ctl_revocations(int argc, char **argv);
int ctl_explain(int argc, char **argv);
int ctl_key(int argc, char **argv);
int ctl_tail(int argc, char **argv);
int ctl_top(int argc, char **argv);
int ctl_doctor(int argc, char **argv);

#endif
