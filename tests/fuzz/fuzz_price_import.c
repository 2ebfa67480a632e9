/* Any bytes as a price catalogue: no crash, and what is accepted can be billed without overflow. */
#include "price/price.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct price_builder *b = price_builder_new();
    struct price_import_report report;
    char why[200];
    int rc = price_import_json(b, slice_make((const char *)data, size), &report, why, sizeof why);
    struct price_table *t = price_builder_finish(b);
    if ((rc == PRICE_DONE) != (price_table_count(t) > 0))
        abort();
    for (size_t i = 0; i < price_table_count(t); i++) {
        const struct model_price *m = price_table_at(t, i);
        struct token_usage u = { 300000, 1, 1, 1, 1000, 1, 1, 1, 1, 1, i % 3 * 500, 1 };
        int64_t held, paid;
        if (price_lookup(t, m->provider, m->model, NULL) != m)
            abort();
        if (m->status == PRICE_OK && price_hold(m, &(struct price_ask){ 300004, 1002, 1, 0, 0, 1, 1 }, &held) == PRICE_DONE &&
            (price_cost(m, &u, 0, &paid) != PRICE_DONE || paid > held))
            abort();
    }
    price_table_unref(t);
    price_builder_free(b);
    return 0;
}
