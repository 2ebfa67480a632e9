/* The scanner on any bytes: what it accepts, it accepts again value by value, and an unescaped string never grows. */
#include "base/json_scan.h"

#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : abort())

static void strings(struct json_scan *s, struct json_text t)
{
    char *out = malloc(t.raw.n + 1), *again;
    CHECK(out != NULL);
    size_t n = json_unescape(t.raw, out);
    CHECK(n <= t.raw.n);
    CHECK(t.escaped || n == t.raw.n);
    CHECK(json_text_is(t, slice_make(out, n)) || t.raw.n > 256);
    /* Escaped again it is a string that says the same. */
    again = malloc(6 * n + 2);
    CHECK(again != NULL);
    again[0] = '"';
    size_t m = 1 + json_escape_ascii(slice_make(out, n), again + 1);
    again[m++] = '"';
    struct json_scan inner;
    struct json_text u;
    json_scan_begin(&inner, slice_make(again, m));
    CHECK(json_scan_string(&inner, &u) && json_scan_end(&inner) && !u.lone);
    char *twice = malloc(u.raw.n + 1);
    CHECK(twice != NULL);
    CHECK(json_unescape(u.raw, twice) == n && memcmp(twice, out, n) == 0);
    CHECK(s->error == NULL);
    free(twice);
    free(again);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_scan s, whole;
    struct json_text t;
    struct slice text = slice_make((const char *)data, size), raw;
    unsigned kinds[JSON_MAX_DEPTH];

    json_scan_begin(&whole, text);
    bool ok = json_scan_skip(&whole, &raw) && json_scan_end(&whole);
    CHECK(ok == (whole.error == NULL) && (ok || whole.error_at <= size));
    CHECK(json_plain_run(text.p, text.p + size) == json_plain_run_portable(text.p, text.p + size));

    /* The same walk by hand. */
    json_scan_begin(&s, text);
    unsigned depth = 0;
    for (bool at_value = true; s.error == NULL && (at_value || depth > 0);) {
        if (at_value) {
            enum json_kind k = json_scan_kind(&s);
            if (k == JSON_OBJECT || k == JSON_ARRAY) {
                if (json_scan_enter(&s))
                    kinds[depth++] = k;
            } else if (k == JSON_STRING) {
                if (json_scan_string(&s, &t))
                    strings(&s, t);
            } else {
                (void)json_scan_skip(&s, &raw);
            }
            at_value = false;
        } else if (kinds[depth - 1] == JSON_OBJECT) {
            at_value = json_scan_key(&s, &t);
            if (at_value)
                strings(&s, t);
            else
                depth--;
        } else {
            at_value = json_scan_element(&s);
            if (!at_value)
                depth--;
        }
    }
    CHECK((s.error == NULL && json_scan_end(&s)) == ok);
    return 0;
}
