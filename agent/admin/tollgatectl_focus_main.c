#include "admin/tollgatectl_report.h"

#include <inttypes.h>

/* FOCUS 1.2, cost and usage: one charge for each UTC day, account and model; one for each correction to an earlier month.
 *
 * ListCost is what the list prices would have cost, ContractedCost what the contracts make of it. InvoiceId is null: the ledger does not know
 * the provider's invoices. Tags hold what the token said, as far as it did. Charges without tokens (pass-through paths) are priced by request.
 *
 * Unit prices (ListUnitPrice, ContractedUnitPrice, SkuPriceId) are left out: a charge holds tokens of several kinds, each with a price of
 * its own, so there is no one price that multiplied by the quantity gives the cost. Columns beginning with x_ split the quantity. */

enum focus_kind { FOCUS_TEXT, FOCUS_USD, FOCUS_QUANTITY /* a decimal, as the column's type wants it */, FOCUS_INT };

/* In the order of the statement's columns. */
static const struct {
    const char *name;
    enum focus_kind kind;
} columns[] = {
    { "BilledCost", FOCUS_USD }, { "BillingAccountId", FOCUS_TEXT }, { "BillingAccountName", FOCUS_TEXT }, { "BillingAccountType", FOCUS_TEXT },
    { "BillingCurrency", FOCUS_TEXT }, { "BillingPeriodEnd", FOCUS_TEXT }, { "BillingPeriodStart", FOCUS_TEXT },
    { "ChargeCategory", FOCUS_TEXT }, { "ChargeClass", FOCUS_TEXT }, { "ChargeDescription", FOCUS_TEXT }, { "ChargeFrequency", FOCUS_TEXT },
    { "ChargePeriodEnd", FOCUS_TEXT }, { "ChargePeriodStart", FOCUS_TEXT }, { "ConsumedQuantity", FOCUS_QUANTITY }, { "ConsumedUnit", FOCUS_TEXT },
    { "ContractedCost", FOCUS_USD }, { "EffectiveCost", FOCUS_USD }, { "InvoiceId", FOCUS_TEXT }, { "InvoiceIssuerName", FOCUS_TEXT }, { "ListCost", FOCUS_USD },
    { "PricingCategory", FOCUS_TEXT }, { "PricingQuantity", FOCUS_QUANTITY }, { "PricingUnit", FOCUS_TEXT }, { "ProviderName", FOCUS_TEXT },
    { "PublisherName", FOCUS_TEXT }, { "ServiceCategory", FOCUS_TEXT }, { "ServiceName", FOCUS_TEXT }, { "ServiceSubcategory", FOCUS_TEXT },
    { "SkuId", FOCUS_TEXT }, { "SubAccountId", FOCUS_TEXT }, { "SubAccountName", FOCUS_TEXT }, { "SubAccountType", FOCUS_TEXT },
    { "Tags", FOCUS_TEXT }, { "x_CachedInputTokens", FOCUS_INT }, { "x_InputTokens", FOCUS_INT }, { "x_OutputTokens", FOCUS_INT },
    { "x_ProviderKey", FOCUS_TEXT }, { "x_Requests", FOCUS_INT },
};

enum { COLUMNS = sizeof columns / sizeof *columns };

#define INSTANT(seconds, modifiers) "strftime('%Y-%m-%dT%H:%M:%SZ', " seconds ", 'unixepoch'" modifiers ")"
#define TOKENS_IN(t) t ".input + " t ".input_cached + " t ".input_cache_write + " t ".input_cache_write_1h + " t ".input_audio"
#define TOKENS_OUT(t) t ".output + " t ".output_reasoning + " t ".output_audio"

#define QUANTITY "iif(c.requests > 0 AND c.tokens_in + c.tokens_out = 0, c.requests, c.tokens_in + c.tokens_out)"
#define UNIT "iif(c.requests > 0 AND c.tokens_in + c.tokens_out = 0, 'Requests', 'Tokens')"

/* charge: day it is for, day it is booked to, account, target, class, why, figures. A roll-up holds the corrections booked to its day; those
 * that belong to a request of another time are charges of their own and are taken out of it. */
static const char sql[] =
    "WITH moved AS (SELECT c.account_us / 86400000000 * 86400 AS slot, r.started_us / 86400000000 * 86400 AS of, w.account AS who,"
    " coalesce(r.served, r.plan, 0) AS target, c.reason, sum(c.cost_nano) AS cost, sum(c.discount_nano) AS discount,"
    " sum(c.input_cached) AS cached,"
    " sum(" TOKENS_IN("c") ") AS tokens_in, sum(" TOKENS_OUT("c") ") AS tokens_out"
    " FROM correction_row AS c JOIN request_row AS r ON r.id = c.request JOIN who AS w ON w.id = r.who"
    " WHERE c.account_us <> c.started_us AND c.account_us >= ?1 * 1000000 AND c.account_us < ?2 * 1000000 GROUP BY 1, 2, 3, 4, 5),"
    " taken AS (SELECT slot, who, target, sum(cost) AS cost, sum(discount) AS discount, sum(cached) AS cached,"
    " sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out FROM moved GROUP BY 1, 2, 3),"
    " summed AS (SELECT slot, who, target, sum(input) AS input, sum(input_cached) AS input_cached, sum(input_cache_write) AS input_cache_write,"
    " sum(input_cache_write_1h) AS input_cache_write_1h, sum(input_audio) AS input_audio, sum(output) AS output,"
    " sum(output_reasoning) AS output_reasoning, sum(output_audio) AS output_audio, sum(cost_nano) AS cost_nano, sum(discount_nano) AS discount_nano,"
    " sum(settled) AS settled"
    " FROM days WHERE slot >= ?1 AND slot < ?2 GROUP BY slot, who, target),"
    " charge AS (SELECT u.slot AS of, u.slot AS slot, u.who, u.target, NULL AS class, NULL AS reason, u.cost_nano - coalesce(k.cost, 0) AS cost,"
    " u.discount_nano - coalesce(k.discount, 0) AS discount, u.input_cached - coalesce(k.cached, 0) AS cached, " TOKENS_IN("u") " - coalesce(k.tokens_in, 0) AS tokens_in,"
    " " TOKENS_OUT("u") " - coalesce(k.tokens_out, 0) AS tokens_out, u.settled AS requests"
    " FROM summed AS u LEFT JOIN taken AS k ON k.slot = u.slot AND k.who = u.who AND k.target = u.target"
    " UNION ALL SELECT of, slot, who, target, 'Correction', reason, cost, discount, cached, tokens_in, tokens_out, 0 FROM moved)"
    " SELECT c.cost, iif(a.organization = '', 'unspecified', a.organization), iif(a.organization = '', 'unspecified', a.organization),"
    " 'Organization', 'USD', " INSTANT("c.slot", ", 'start of month', '+1 month'") ", " INSTANT("c.slot", ", 'start of month'") ","
    " 'Usage', c.class, iif(c.class IS NULL, " UNIT ", 'Correction (' || c.reason || ')') || ' of ' ||"
    " coalesce(t.model, 'no model') || ' at ' || coalesce(t.provider, 'no provider'), 'Usage-Based',"
    " " INSTANT("c.of", ", '+1 day'") ", " INSTANT("c.of", "") ","
    " " QUANTITY ", " UNIT ", c.cost, c.cost, NULL, coalesce(t.provider, 'unspecified'), c.cost + c.discount, 'Standard',"
    " " QUANTITY ", " UNIT ", coalesce(t.provider, 'unspecified'),"
    " coalesce(t.provider, 'unspecified'), 'AI and Machine Learning', coalesce(t.provider, 'unspecified') || ' API', 'Generative AI',"
    " coalesce(t.provider, 'unspecified') || '/' || coalesce(t.model, 'unspecified'), nullif(a.team, ''), nullif(a.team, ''),"
    " iif(a.team = '', NULL, 'Team'), nullif(json_patch('{}', json_object('application', nullif(a.application, ''), 'cost_center',"
    " nullif(a.cost_center, ''), 'team', nullif(a.team, ''))), '{}'),"
    " c.cached, c.tokens_in, c.tokens_out, nullif(t.key_name, ''), c.requests"
    " FROM charge AS c JOIN account AS a ON a.id = c.who LEFT JOIN target AS t ON t.id = c.target"
    " WHERE c.cost <> 0 OR c.discount <> 0 OR c.tokens_in <> 0 OR c.tokens_out <> 0 ORDER BY c.slot, c.of, c.who, c.target, c.class, c.reason";

static void write_row(sqlite3_stmt *s, FILE *out)
{
    char amount[32];

    for (int i = 0; i < COLUMNS; i++) {
        fputs(i > 0 ? "," : "", out);
        if (sqlite3_column_type(s, i) == SQLITE_NULL)
            continue; /* FOCUS: null is an empty field */
        if (columns[i].kind == FOCUS_USD) {
            table_decimal(amount, sizeof amount, sqlite3_column_int64(s, i), 9, 9);
            fputs(amount, out);
        } else if (columns[i].kind != FOCUS_TEXT) {
            fprintf(out, "%" PRId64 "%s", (int64_t)sqlite3_column_int64(s, i), columns[i].kind == FOCUS_QUANTITY ? ".0" : "");
        } else {
            table_csv_field(out, slice_make((const char *)sqlite3_column_text(s, i), (size_t)sqlite3_column_bytes(s, i)));
        }
    }
    fputs("\r\n", out);
}

int report_focus(const struct report *r)
{
    sqlite3_stmt *s = NULL;

    int rc = sqlite3_prepare_v2(r->db, sql, -1, &s, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_int64(s, 1, r->period.start_s);
        sqlite3_bind_int64(s, 2, r->period.end_s);
        for (int i = 0; i < COLUMNS; i++)
            fprintf(stdout, "%s%s", i > 0 ? "," : "", columns[i].name);
        fputs("\r\n", stdout);
        while ((rc = sqlite3_step(s)) == SQLITE_ROW)
            write_row(s, stdout);
    }
    if (rc != SQLITE_DONE)
        ctl_sql_failed(&r->place, r->db);
    sqlite3_finalize(s);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "tollgatectl: the result could not be written\n");
        return CTL_FAILED;
    }
    return rc == SQLITE_DONE ? CTL_DONE : CTL_FAILED;
}
