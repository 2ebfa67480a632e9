/* Amounts, rates, durations and zone files from anybody. The first byte chooses the reader. What an amount says in digits must come out
 * when it is shown and read again. */
#include "budget/options.h"
#include "budget/zone.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void amount(struct slice text, enum budget_unit unit)
{
    char why[160], shown[32];
    int64_t v, again;
    if (budget_parse_amount(text, unit, &v, why, sizeof why) != 0)
        return;
    if (v < 0 || budget_parse_amount(slice_cstr(budget_format_amount(v, unit, shown, sizeof shown)), unit, &again, why, sizeof why) != 0 ||
        again != v)
        abort();
}

static void zone(const uint8_t *data, size_t size)
{
    static const int64_t at[] = { 0, INT64_C(1774746000), INT64_C(1792890000), INT64_C(4102444800), INT64_C(13000000000), -2000000000 };
    struct budget_zone *z = budget_zone_parse(data, size);
    for (size_t i = 0; z && i < sizeof at / sizeof *at; i++) {
        for (int kind = BUDGET_MINUTE; kind <= BUDGET_YEAR; kind++) {
            int64_t start, end;
            budget_calendar_window(z, (enum budget_calendar)kind, at[i] * 1000000, &start, &end);
            if (start > at[i] * 1000000 || end <= at[i] * 1000000)
                abort();
        }
    }
    budget_zone_free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[160];
    int64_t a, period;
    if (size < 1)
        return 0;
    struct slice text = slice_make((const char *)data + 1, size - 1);
    switch (data[0] % 8) {
    case 0: case 1: case 2: case 3:
        amount(text, (enum budget_unit)(data[0] % 8));
        break;
    case 4: case 5:
        if (budget_parse_rate(text, data[0] % 8 == 4 ? BUDGET_USD : BUDGET_TOKENS, &a, &period, why, sizeof why) == 0 && (a < 0 || period <= 0))
            abort();
        break;
    case 6:
        if (budget_parse_duration(text, &a, why, sizeof why) == 0 && a <= 0)
            abort();
        break;
    default:
        zone(data + 1, size - 1);
    }
    return 0;
}
