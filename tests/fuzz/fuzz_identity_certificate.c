/* A client certificate as a peer might present it: whatever is read of it is printable and bounded, and mapping it ends. */
#include "identity/certificate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_text(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct identity_certificate rules[] = { { .name = "n", .common_name = "a*", .team = "*" },
                                                   { .name = "u", .alternative_name = "URI:*", .team = "*", .user = "x-*" } };
    struct identity_options o = { .certificates = rules, .certificates_count = 2 };
    struct arena *a = arena_new(4096);
    struct certificate c;
    struct identity id;
    struct fault f;

    if (a == NULL)
        return 0;
    if (certificate_parse(slice_make((const char *)data, size), a, &c, &f)) {
        must_be_text(c.issuer);
        must_be_text(c.subject);
        must_be_text(c.common_name);
        if (c.fingerprint.n != 64 || c.alternative_count > CERTIFICATE_NAMES_MAX)
            abort();
        for (size_t i = 0; i < c.alternative_count; i++)
            must_be_text(c.alternative_names[i]);
        if (certificate_map(&o, &c, a, &id, &f) && (id.team.n == 0 || id.user.n == 0))
            abort();
    }
    arena_free(a);
    return 0;
}
