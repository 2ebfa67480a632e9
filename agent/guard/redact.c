#include "guard/redact.h"

#include <ctype.h>

static const char *const labels[GUARD_KINDS] = { "[email]", "[phone]", "[card]", "[iban]", "[jwt]", "[key]" };

static bool in_word(unsigned char c)
{
    return isalnum(c) || c >= 0x80;
}

size_t guard_redact(struct slice text, char *out)
{
    size_t n = 0, len;
    enum guard_kind kind;

    for (size_t i = 0; i < text.n;) {
        if ((i == 0 || !in_word((unsigned char)text.p[i - 1])) && (len = guard_match(text, i, &kind)) > 0) {
            size_t label = strlen(labels[kind]);
            memcpy(out + n, labels[kind], label);
            n += label;
            i += len;
        } else {
            out[n++] = text.p[i++];
        }
    }
    return n;
}
