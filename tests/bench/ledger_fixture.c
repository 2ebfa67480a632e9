/* Writes a ledger from a list of operations on standard input, for tests of what reads ledgers.
 *
 *   bench_ledger_fixture FILE [LAG] < operations
 *
 * LAG: how many of the newest requests roll-ups leave out; the ledger's own default when it is not given.
 *
 * One operation a line, fields separated by tabs (they may be empty):
 *   decide   ID STARTED_US open|settled|denied ORGANIZATION TEAM USER APP COST_CENTER GROUP PROVIDER MODEL HOLD_NANO SAVED_NANO VERSION
 *   settle   ID KNOWN_BY GROUP PROVIDER MODEL INPUT CACHED OUTPUT REASONING COST_NANO FALLBACK VERSION PROMPT_SAVED_NANO DISCOUNT_NANO KEY
 *   correct  ID BOOKED_US REASON KNOWN_BY INPUT OUTPUT COST_NANO
 *   close    BEFORE_US CLOSED_US
 *   price    VERSION HASH PROVIDER MODEL INPUT CACHED OUTPUT  (pico-dollars per token)
 * Ends with 1 and the line's number at the first that the ledger does not accept. */
#include "ledger/ledger.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELDS = 16, LINE_MAX_BYTES = 4096 };

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    bool missing;
    enum ledger_result result;
};

static void on_done(struct ledger_op *op, enum ledger_result result)
{
    struct answer *a = op->user;
    pthread_mutex_lock(&a->lock);
    a->result = result;
    a->missing = false;
    pthread_cond_signal(&a->come);
    pthread_mutex_unlock(&a->lock);
}

static bool submit(struct ledger *l, struct ledger_op *op)
{
    struct answer a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, true, LEDGER_FAILED };
    op->done = on_done;
    op->user = &a;
    ledger_submit(l, op);
    pthread_mutex_lock(&a.lock);
    while (a.missing)
        pthread_cond_wait(&a.come, &a.lock);
    pthread_mutex_unlock(&a.lock);
    return a.result == LEDGER_OK;
}

static int64_t number(const char *text)
{
    return strtoll(text, NULL, 10);
}

static void fill_decision(struct ledger_op *op, char **f)
{
    op->kind = LEDGER_DECISION;
    op->decision = (struct ledger_decision){
        .id = number(f[1]), .request_id = slice_cstr(f[1]), .started_us = number(f[2]),
        .state = f[3][0] == 'o' ? LEDGER_OPEN : f[3][0] == 's' ? LEDGER_SETTLED : LEDGER_DENIED,
        .who = { slice_cstr(f[4]), slice_cstr(f[5]), slice_cstr(f[6]), slice_cstr(f[7]), slice_cstr(f[8]), slice_cstr(f[6]), SLICE_LIT("https://issuer") },
        .alias = slice_cstr(f[11]), .primary = { slice_cstr(f[9]), slice_cstr(f[10]), slice_cstr(f[11]), SLICE_NONE }, .input_tokens = 1, .input_bound = 1,
        .output_ceiling = 1, .choices = 1, .hold_nano = number(f[12]), .saved_nano = number(f[13]), .price_version = number(f[14]),
        .http_status = f[3][0] == 'd' ? 429 : 0, .deny_reason = SLICE_LIT("budget")
    };
}

static void fill_settlement(struct ledger_op *op, char **f)
{
    op->kind = LEDGER_SETTLEMENT;
    op->settlement = (struct ledger_settlement){
        .id = number(f[1]), .settled_us = 1, .known_by = (enum known_by)number(f[2]), .http_status = 200, .outcome = SLICE_LIT("ok"),
        .served = { slice_cstr(f[3]), slice_cstr(f[4]), slice_cstr(f[5]), slice_cstr(f[15]) },
        .usage = { .input = number(f[6]), .input_cached = number(f[7]), .output = number(f[8]), .output_reasoning = number(f[9]) },
        .cost_nano = number(f[10]), .provider_cost_nano = -1, .fallback = number(f[11]) != 0, .price_version = number(f[12]),
        .prompt_saved_nano = number(f[13]), .discount_nano = number(f[14]), .attempts = 1
    };
}

static struct model_price model;

static const struct model_price *model_at(const void *table, size_t i)
{
    (void)table, (void)i;
    return &model;
}

static void fill_price(struct ledger_op *op, char **f)
{
    const int64_t in = number(f[5]), cached = number(f[6]), out = number(f[7]);
    model = (struct model_price){ .provider = slice_cstr(f[3]), .model = slice_cstr(f[4]), .status = PRICE_OK,
                                  .base = { .pico = { in, cached, in, in, out, out, in, out } }, .published = 1u << PRICE_INPUT | 1u << PRICE_OUTPUT };
    op->kind = LEDGER_PRICES;
    op->prices = (struct ledger_prices){ .id = number(f[1]), .hash = slice_cstr(f[2]), .source = SLICE_LIT("fixture"), .valid_from_us = 1,
                                         .imported_us = 1, .count = 1, .at = model_at };
}

static bool run_line(struct ledger *l, char **f, int n)
{
    struct ledger_op op = { .kind = LEDGER_DECISION };

    if (strcmp(f[0], "decide") == 0 && n == 15) {
        fill_decision(&op, f);
    } else if (strcmp(f[0], "settle") == 0 && n == 16) {
        fill_settlement(&op, f);
    } else if (strcmp(f[0], "correct") == 0 && n == 8) {
        op.kind = LEDGER_CORRECTION;
        op.correction = (struct ledger_correction){ .id = number(f[1]), .booked_us = number(f[2]), .reason = slice_cstr(f[3]),
                                                    .known_by = (enum known_by)number(f[4]), .cost_nano = number(f[7]),
                                                    .usage = { .input = number(f[5]), .output = number(f[6]) } };
    } else if (strcmp(f[0], "close") == 0 && n == 3) {
        op.kind = LEDGER_CLOSE_MONTH;
        op.close = (struct ledger_month_close){ number(f[1]), number(f[2]) };
    } else if (strcmp(f[0], "price") == 0 && n == 8) {
        fill_price(&op, f);
    } else {
        return false;
    }
    return submit(l, &op);
}

int main(int argc, char **argv)
{
    char line[LINE_MAX_BYTES], why[300], *fields[FIELDS];
    int rc = 0;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: bench_ledger_fixture FILE [LAG] < operations\n");
        return 2;
    }
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = argv[1], .rollup_lag = argc > 2 ? number(argv[2]) : 0, .rollup_chunk = argc > 2 ? 7 : 0 }, why, sizeof why);
    if (l == NULL) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    for (int at = 1; rc == 0 && fgets(line, sizeof line, stdin) != NULL; at++) {
        int n = 0;
        char *rest = line;
        line[strcspn(line, "\n")] = '\0';
        while (rest != NULL && n < FIELDS)
            fields[n++] = strsep(&rest, "\t");
        if (!run_line(l, fields, n)) {
            fprintf(stderr, "line %d is not accepted\n", at);
            rc = 1;
        }
    }
    ledger_close(l);
    return rc;
}
