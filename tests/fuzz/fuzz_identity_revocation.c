/* Any bytes as a revocation file: each line is an entry that the list finds again, or is refused with a reason. */
#include "identity/revocation.h"

#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : abort())

static struct identity holder(const struct revocation *r)
{
    struct identity id = { .issuer = SLICE_LIT("i") };
    struct slice *const field[REVOKED_KINDS] = { &id.subject, &id.token_id, &id.team, &id.key_id, &id.session };
    *field[r->kind] = r->value;
    return id;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data, *end = p + size, *why = NULL;

    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = stop != NULL ? (size_t)(stop - p) : (size_t)(end - p);
        struct revocation r;
        int rc = revocation_line_parse(slice_make(p, n), &r, &why);
        CHECK(rc >= 0 || why != NULL);
        if (rc == 1) {
            struct revocation_list *l = revocation_list_new(&r, 1);
            CHECK(l != NULL);
            struct identity id = holder(&r), nobody = { .issuer = SLICE_LIT("i") };
            bool digest = r.kind == REVOKED_TOKEN && slice_starts(r.value, SLICE_LIT("sha256:"));
            CHECK((revocation_find(l, &id, NULL, 1) != NULL) == !digest);
            CHECK(revocation_find(l, &nobody, NULL, 1) == NULL);
            snapshot_unref(revocation_list_snapshot(l));
        }
        p += n + 1;
    }
    return 0;
}
