#include "admin/tollgatectl_book.h"

#include "base/clock.h"
#include "config/config.h"

#include <inttypes.h>
#include <string.h>

/* Row of three figures: closed already, open requests, cost of the month. */
static bool look(const struct ctl_place *p, const struct period *month, int64_t out[3])
{
    static const char sql[] = "SELECT (SELECT count(*) FROM month_close WHERE before_us >= ?2 * 1000000),"
                              " (SELECT count(*) FROM request_row INDEXED BY request_open WHERE state = 0 AND started_us < ?2 * 1000000),"
                              " (SELECT coalesce(sum(cost_nano), 0) FROM days WHERE slot >= ?1 AND slot < ?2)";
    sqlite3 *db = ctl_ledger_open(p);
    sqlite3_stmt *s = NULL;

    if (db == NULL)
        return false;
    bool ok = sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_bind_int64(s, 1, month->start_s) == SQLITE_OK &&
              sqlite3_bind_int64(s, 2, month->end_s) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    for (int i = 0; ok && i < 3; i++)
        out[i] = sqlite3_column_int64(s, i);
    if (!ok)
        ctl_sql_failed(p, db);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return ok;
}

static int close_month(const struct ctl_place *p, const char *name, const struct period *month, bool json)
{
    int64_t now[3];
    char cost[32];

    if (!look(p, month, now))
        return CTL_FAILED;
    if (now[0] == 0 && now[1] > 0) {
        fprintf(stderr, "tollgatectl: %" PRId64 " request%s from before the end of %s still open (SELECT * FROM open_holds); they are settled or "
                        "charged their bound within the agent's hold_timeout, then try again\n", now[1], now[1] == 1 ? " is" : "s are", name);
        return CTL_FAILED;
    }
    if (now[0] == 0 && (!ctl_book_close(p, month->end_s * 1000000) || !look(p, month, now)))
        return CTL_FAILED;
    table_decimal(cost, sizeof cost, now[2], 9, 9);
    if (json)
        printf("{\"month\":\"%s\",\"closed\":true,\"cost_nano\":%" PRId64 "}\n", name, now[2]);
    else
        printf("%s is closed: %s USD\n", name, cost);
    return CTL_DONE;
}

int ctl_close_month(int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *words[1] = { NULL };
    bool json = false, help = false;
    const struct ctl_arg args[] = { { "--ledger", &p.ledger, NULL }, { "--config", &p.config_file, NULL }, { "--socket", &p.socket, NULL },
                                    { "--json", NULL, &json }, { "--help", NULL, &help } };
    struct period month;
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 1, &n))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "close-month");
    if (n != 1)
        return ctl_help(stderr, "close-month");
    if (strlen(words[0]) != 7 || !period_parse(words[0], &month)) {
        fprintf(stderr, "tollgatectl: %s is no month; allowed: YYYY-MM such as 2026-10\n", words[0]);
        return CTL_USAGE;
    }
    if (month.end_s * 1000000 > clock_wall_us()) {
        fprintf(stderr, "tollgatectl: %s is not over yet (UTC)\n", words[0]);
        return CTL_USAGE;
    }
    int rc = ctl_place_find(&p) ? close_month(&p, words[0], &month, json) : CTL_FAILED;
    config_free(p.config);
    return rc;
}
