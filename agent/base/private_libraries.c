#include "base/private.h"

#include <cjson/cJSON.h>
#include <openssl/crypto.h>

static void *openssl_alloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return n > 0 ? private_alloc(n) : NULL;
}

static void *openssl_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    if (n > 0)
        return private_realloc(p, n);
    private_free(p);
    return NULL;
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    private_free(p);
}

bool private_libraries(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){ .malloc_fn = private_alloc, .free_fn = private_free });
    return CRYPTO_set_mem_functions(openssl_alloc, openssl_realloc, openssl_free) == 1;
}
