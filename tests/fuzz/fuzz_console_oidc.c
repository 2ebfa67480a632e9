/* What an OpenID provider, or whoever took its place, might answer: a discovery document, a token answer, an ID token's payload. */
#include "console/oidc.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make((const char *)data, size);
    struct oidc_provider p;
    struct arena *a = arena_new(1024);
    char why[200] = "";

    if (a == NULL)
        abort();
    if (oidc_discovery_parse(in, "https://i", false, &p, why, sizeof why)) {
        if (strncmp(p.authorization_endpoint, "https://", 8) != 0 || strncmp(p.token_endpoint, "https://", 8) != 0 ||
            strpbrk(p.authorization_endpoint, " \r\n\t") != NULL)
            abort();
    } else if (why[0] == '\0') {
        abort();
    }
    why[0] = '\0';
    struct slice token = oidc_token_reply(200, in, a, why, sizeof why);
    if (token.n == 0 && why[0] == '\0')
        abort();
    if (token.n > 0)
        (void)!oidc_token_belongs(token, "me", "n1", why, sizeof why);
    (void)!oidc_token_belongs(in, "me", "n1", why, sizeof why);
    arena_free(a);
    return 0;
}
