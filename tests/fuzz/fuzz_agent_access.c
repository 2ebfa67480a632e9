/* What people and clients write: hours of the week, budgets of keys, gateway keys. What is accepted must be fit for use. */
#include "base/hours.h"
#include "identity/gateway_key.h"
#include "access/key_budget.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), kept[KEY_BUDGET_MAX], again[KEY_BUDGET_MAX], why[256];
    struct hours h;

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (hours_parse(text, &h) == NULL && (h.days == 0 || h.from >= 1440 || h.to > 1440 || h.from == h.to))
        abort();
    if (key_budget_parse(text, kept, why, sizeof why)) {
        struct arena *a = arena_new(1024);
        struct budget_limit limit;
        /* What is kept means the same when it is read again, and the engine takes the limit made of it. */
        if (!key_budget_parse(kept, again, why, sizeof why) || strcmp(kept, again) != 0)
            abort();
        if (a != NULL && key_budget_limit(slice_cstr(kept), a, &limit) &&
            budget_options_check(&(struct budget_options){ .limits = &limit, .limits_count = 1 }, why, sizeof why) != NULL)
            abort();
        arena_free(a);
    }
    struct slice key = slice_make(text, size);
    if (gateway_key_check(key) == NULL && size != GATEWAY_KEY_TEXT)
        abort();
    free(text);
    return 0;
}
