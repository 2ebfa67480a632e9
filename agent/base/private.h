/* Private memory: for what must neither appear in a core dump nor outlive its use. Requests in flight (tokens, prompts), frames that carry
 * provider keys, and all that libcurl, OpenSSL and cJSON allocate stand in it.
 *
 * A general allocator: any thread may free what another allocated. Its pages are marked MADV_DONTDUMP; blocks are wiped when they
 * are freed, so what is not in use is zero. Not locked against swapping: that is for struct secret (base/secret.h). Small blocks are kept by
 * each thread for its next ones and cost no lock; large ones, up to 32 MiB together, are kept with their pages. Under AddressSanitizer it is
 * malloc, so that mistakes are found. */
#ifndef TOLLGATE_BASE_PRIVATE_H
#define TOLLGATE_BASE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

/* Aligned as malloc's. NULL when memory is out. n may be 0. */
void *private_alloc(size_t n) __attribute__((malloc, warn_unused_result));
void *private_calloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));
/* What p held stands at the new place, and nowhere else. */
void *private_realloc(void *p, size_t n) __attribute__((warn_unused_result));
char *private_strdup(const char *s) __attribute__((malloc, warn_unused_result));
/* Wipes all of it. NULL is allowed. */
void private_free(void *p);
/* The same, where only the first `used` bytes were ever written to. */
void private_free_used(void *p, size_t used);

/* Bytes taken from the system since the process began, whatever was given back: it stands still as long as what is asked for is at hand. 0
 * under AddressSanitizer. */
size_t private_mapped(void);

/* From now on OpenSSL and cJSON take their memory here (libcurl does with its first use in base/http_client.h). First thing in a process: false
 * when OpenSSL has memory of its own already and keeps to it. */
bool private_libraries(void);

#endif
