/* Terms of a contract as the ledger gives them back: what is taken is written again the same way by the next reading. */
#include "price/price.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct price_builder *b = price_builder_new();
    bool taken = b != NULL && price_builder_contract_terms(b, SLICE_LIT("c"), slice_make((const char *)data, size)) == PRICE_DONE;
    struct price_table *t = taken ? price_builder_finish(b) : NULL;

    if (t != NULL) {
        struct slice terms = price_contract_at(t, 0)->terms;
        if (price_builder_contract_terms(b, SLICE_LIT("c"), terms) != PRICE_DONE)
            abort();
        struct price_table *again = price_builder_finish(b);
        if (again == NULL || !slice_eq(price_contract_at(again, 0)->terms, terms))
            abort();
        price_table_unref(again);
    }
    price_table_unref(t);
    price_builder_free(b);
    return 0;
}
