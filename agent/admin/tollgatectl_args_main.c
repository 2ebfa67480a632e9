#include "admin/tollgatectl_args.h"

#include "base/clock.h"
#include "config/config.h"
#include "ledger/schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool ctl_args(int argc, char **argv, const struct ctl_arg *args, size_t count, const char **words, size_t max, size_t *found)
{
    *found = 0;
    for (int i = 0; i < argc; i++) {
        const struct ctl_arg *a = NULL;
        for (size_t k = 0; k < count && a == NULL; k++)
            if (strcmp(argv[i], args[k].name) == 0)
                a = &args[k];
        if (a != NULL && a->flag != NULL) {
            *a->flag = true;
        } else if (a != NULL && i + 1 < argc) {
            *a->value = argv[++i];
        } else if (a != NULL) {
            fprintf(stderr, "tollgatectl: %s needs a value\n", argv[i]);
            return false;
        } else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            fprintf(stderr, "tollgatectl: unknown option %s; known here:", argv[i]);
            for (size_t k = 0; k < count; k++)
                fprintf(stderr, " %s", args[k].name);
            fputc('\n', stderr);
            return false;
        } else if (*found < max) {
            words[(*found)++] = argv[i];
        } else {
            fprintf(stderr, "tollgatectl: unexpected argument %s\n", argv[i]);
            return false;
        }
    }
    return true;
}

bool ctl_format(const char *word, bool json, enum table_format *out)
{
    *out = json ? FORMAT_JSON : FORMAT_TABLE;
    if (word == NULL || table_format_from_word(word, out))
        return true;
    fprintf(stderr, "tollgatectl: there is no format %s; allowed: table, csv, json\n", word);
    return false;
}

bool ctl_count_of(const char *name, const char *text, int64_t otherwise, int64_t *out)
{
    char *end;

    *out = otherwise;
    if (text == NULL)
        return true;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && *out >= 0)
        return true;
    fprintf(stderr, "tollgatectl: %s %s: allowed is a whole number\n", name, text);
    return false;
}

static bool period_of(const char *name, const char *text, struct period *out)
{
    if (period_parse(text, out))
        return true;
    fprintf(stderr, "tollgatectl: %s %s is no date; allowed: a day such as 2026-11-23, or a month such as 2026-11 (UTC)\n", name, text);
    return false;
}

bool ctl_period(const char *from, const char *to, struct period *out)
{
    struct period last;
    int64_t now = clock_wall_us() / 1000000;

    *out = period_month(now);
    if (from != NULL) {
        if (!period_of("--from", from, out))
            return false;
        out->end_s = now - now % PERIOD_DAY_S + PERIOD_DAY_S;
    }
    if (to != NULL) {
        if (!period_of("--to", to, &last))
            return false;
        if (from == NULL)
            *out = period_month(last.start_s);
        out->end_s = last.end_s;
    }
    if (out->end_s > out->start_s)
        return true;
    if (to == NULL)
        fprintf(stderr, "tollgatectl: --from %s is in the future\n", from);
    else
        fprintf(stderr, "tollgatectl: --to %s is before --from %s\n", to, from);
    return false;
}

bool ctl_place_find(struct ctl_place *p)
{
    struct config_errors errors;

    p->file = "/var/lib/tollgate/ledger.db";
    p->admin = "/run/tollgate/admin.sock";
    if (p->config_file != NULL) {
        p->config = config_load(p->config_file, &errors);
        if (p->config == NULL) {
            fputs(errors.text, stderr);
            return false;
        }
        p->file = p->config->ledger.file;
        p->admin = p->config->listen.admin;
    }
    if (p->ledger != NULL)
        p->file = p->ledger;
    if (p->socket != NULL)
        p->admin = p->socket;
    return true;
}

sqlite3 *ctl_ledger_open(const struct ctl_place *p)
{
    char why[400];
    sqlite3 *db = schema_open_other(p->file, true, why, sizeof why);

    if (db == NULL)
        fprintf(stderr, "tollgatectl: %s%s\n", why, access(p->file, R_OK) == 0 ? ""
                : errno == ENOENT ? " (name it with --ledger, or the agent's configuration with --config)"
                                  : " (it is for the agent's user alone: sudo, or sudo -u tollgate)");
    return db;
}

int ctl_sql_failed(const struct ctl_place *p, sqlite3 *db)
{
    fprintf(stderr, "tollgatectl: ledger %s: %s\n", p->file, sqlite3_errmsg(db));
    return CTL_FAILED;
}

bool ctl_fill(const struct ctl_place *p, sqlite3 *db, const char *sql, const int64_t *values, int count, struct table *t)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

    for (int i = 0; rc == SQLITE_OK && i < count; i++)
        rc = sqlite3_bind_int64(s, i + 1, values[i]);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        for (int k = 0; k < sqlite3_column_count(s); k++)
            switch (sqlite3_column_type(s, k)) {
            case SQLITE_INTEGER:
                table_int(t, sqlite3_column_int64(s, k));
                break;
            case SQLITE_NULL:
                table_null(t);
                break;
            default:
                table_text(t, slice_make((const char *)sqlite3_column_text(s, k), (size_t)sqlite3_column_bytes(s, k)));
            }
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_DONE)
        ctl_sql_failed(p, db);
    sqlite3_finalize(s);
    return rc == SQLITE_DONE;
}
