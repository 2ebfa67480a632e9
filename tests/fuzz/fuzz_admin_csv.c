/* CSV records: no field reaches outside the text, reading always ends, and a record never has more fields than promised. */
#include "admin/csv.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice f[CSV_FIELDS_MAX];
    struct csv c;
    char *text = malloc(size + 1);
    size_t records = 0;
    int n;

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    csv_start(&c, text, size);
    while ((n = csv_next(&c, f)) > 0) {
        if (n > CSV_FIELDS_MAX || ++records > size)
            abort();
        for (int i = 0; i < n; i++)
            if (f[i].n > 0 && (f[i].p < text || f[i].n > (size_t)(text + size - f[i].p)))
                abort();
    }
    free(text);
    return 0;
}
