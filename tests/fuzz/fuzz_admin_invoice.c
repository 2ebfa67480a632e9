/* Exports of providers: whatever the text, figures stay within their bounds and texts within the file. */
#include "admin/invoice.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool inside(struct slice s, const char *text, size_t size)
{
    return s.n == 0 || (s.p >= text && s.n <= size - (size_t)(s.p - text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice f[CSV_FIELDS_MAX];
    struct invoice_heading h;
    struct invoice_line line;
    struct csv c;
    char why[64], model[32], *text = malloc(size + 1);
    int n;

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    csv_start(&c, text, size);
    if ((n = csv_next(&c, f)) > 0 && invoice_heading_read(f, n, &h, why, sizeof why)) {
        must(h.tokens || h.cost);
        while ((n = csv_next(&c, f)) > 0) {
            if (!invoice_line_read(&h, f, n, &line, why, sizeof why)) {
                must(why[0] != '\0');
                continue;
            }
            must(line.input >= 0 && line.cached >= 0 && line.cached <= line.input && line.output >= 0 && line.requests >= 0);
            must(line.cost_nano >= -INT64_C(100000000000000000) && line.cost_nano <= INT64_C(100000000000000000));
            must(line.unit_nano >= 1 && line.unit_nano <= 1000000000 && strlen(line.day) == 10);
            must(inside(line.model, text, size) && inside(line.key, text, size) && inside(line.key_id, text, size));
            must(invoice_model(line.model, model, sizeof model) < sizeof model && strlen(model) < sizeof model);
        }
    }
    free(text);
    return 0;
}
