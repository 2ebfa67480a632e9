/* Private memory: what is freed is wiped, what is handed out is zero where it must be, pages stay out of core dumps, and threads may free each
 * other's blocks. */
#include "base/private.h"

#include <setjmp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_MALLOC 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define IS_MALLOC 1
#endif

static const size_t sizes[] = { 0, 1, 31, 32, 33, 100, 512, 4096, 5000, 65536, 300000, 1 << 20, (1 << 20) + 1, 3 << 20 };
enum { SIZES = sizeof sizes / sizeof *sizes };

static bool all_are(const unsigned char *p, size_t n, unsigned char c)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != c)
            return false;
    return true;
}

static void test_aligned_and_apart(void **state)
{
    unsigned char *p[SIZES];

    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        p[i] = private_alloc(sizes[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % _Alignof(max_align_t), 0);
        memset(p[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < SIZES; i++)
        assert_true(all_are(p[i], sizes[i], (unsigned char)(i + 1)));
    for (size_t i = 0; i < SIZES; i++)
        private_free(p[i]);
    private_free(NULL);
#ifndef IS_MALLOC
    assert_null(private_alloc(SIZE_MAX));
    assert_null(private_calloc(SIZE_MAX / 2, 3));
#endif
}

static void test_calloc_is_zero_whatever_was_there(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < SIZES; i++) {
            unsigned char *p = private_calloc(1, sizes[i]);
            assert_non_null(p);
            assert_true(all_are(p, sizes[i], 0));
            memset(p, 0xff, sizes[i]);
            private_free(p);
        }
}

static void test_growing(void **state)
{
    unsigned char *p = NULL;
    size_t before = 0;

    (void)state;
    for (size_t n = 1; n < 3 << 20; before = n, n = n * 3 / 2 + 1) {
        p = private_realloc(p, n);
        assert_non_null(p);
        for (size_t i = 0; i < before; i++)
            if (p[i] != (unsigned char)(i * 7))
                fail_msg("byte %zu of %zu", i, n);
        for (size_t i = before; i < n; i++)
            p[i] = (unsigned char)(i * 7);
    }
    p = private_realloc(p, 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(p[i], (unsigned char)(i * 7));
    private_free(p);
    char *s = private_strdup("text");
    assert_string_equal(s, "text");
    private_free(s);
}

#ifndef IS_MALLOC
/* Freed blocks stay mapped, so what is left in them can be looked at. */
static void test_freed_is_wiped(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        volatile unsigned char *p = private_alloc(sizes[i]);
        uintptr_t at = (uintptr_t)p;
        memset((void *)(uintptr_t)at, 0xa5, sizes[i]);
        private_free((void *)(uintptr_t)at);
        assert_true(all_are((const unsigned char *)at, sizes[i], 0));
    }
    unsigned char *p = private_alloc(200);
    uintptr_t at = (uintptr_t)p;
    memset(p, 0xa5, 200);
    p = private_realloc(p, 100); /* in place: the tail goes */
    assert_true(all_are((const unsigned char *)at + 100, 100, 0));
    p = private_realloc(p, 100000); /* moved: the old place goes */
    assert_true(all_are((const unsigned char *)at, 200, 0));
    private_free(p);
}

/* Large blocks too are kept for the next ones, as long as they are not too many; nothing of a size near theirs needs another. */
static void test_large_blocks_are_kept(void **state)
{
    enum { MANY = 40 };
    unsigned char *p[MANY];
    size_t before;

    (void)state;
    for (int round = 0; round < 3; round++) {
        before = private_mapped();
        for (size_t i = 0; i < 4; i++) {
            p[i] = private_alloc((2 << 20) + i * 100000);
            assert_non_null(p[i]);
            assert_true(all_are(p[i], (2 << 20) + i * 100000, 0));
            memset(p[i], 0xa5, (2 << 20) + i * 100000);
        }
        for (size_t i = 4; i-- > 0;)
            private_free(p[i]);
    }
    assert_int_equal(private_mapped(), before);
    for (int i = 0; i < MANY; i++) {
        p[i] = private_alloc(3 << 20);
        assert_non_null(p[i]);
    }
    for (int i = 0; i < MANY; i++)
        private_free(p[i]);
    before = private_mapped();
    for (int i = 0; i < MANY; i++) {
        p[i] = private_alloc(3 << 20);
        assert_non_null(p[i]);
    }
    /* At most 32 MiB of them had been kept: 10, the rest is new. */
    assert_true(private_mapped() - before >= (MANY - 10) * (size_t)(3 << 20));
    for (int i = 0; i < MANY; i++)
        private_free(p[i]);
}

static bool kept_out_of_cores(const void *p)
{
    char line[512];
    unsigned long from, to;
    bool inside = false, kept_out = false;
    FILE *f = fopen("/proc/self/smaps", "re");

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (unsigned long)(uintptr_t)p >= from && (unsigned long)(uintptr_t)p < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            kept_out = strstr(line, " dd") != NULL;
    }
    fclose(f);
    return kept_out;
}

static void test_kept_out_of_cores(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        void *p = private_alloc(sizes[i]);
        assert_true(kept_out_of_cores(p));
        private_free(p);
    }
    void *usual = malloc(100);
    assert_false(kept_out_of_cores(usual));
    free(usual);
}
#endif

/* ---- threads ------------------------------------------------------------------------------------------------------------ */

enum { SLOTS = 64, THREADS = 4, ROUNDS = 20000 };

static _Atomic(unsigned char *) slots[SLOTS];

/* Takes what somebody put into a slot, checks and frees it, and puts something of its own there. */
static void *churn(void *arg)
{
    uint32_t dice = (uint32_t)(uintptr_t)arg * 2654435761u + 1;

    for (int i = 0; i < ROUNDS; i++) {
        dice = dice * 1664525u + 1013904223u;
        size_t n = 8 + (dice >> 8) % (dice % 50 == 0 ? 200000 : 2000);
        unsigned char *p = private_alloc(n), *q;
        if (p == NULL)
            return "memory is out";
        memset(p, (int)(n & 0xff), n);
        memcpy(p, &n, sizeof n);
        q = atomic_exchange(&slots[dice % SLOTS], p);
        if (q == NULL)
            continue;
        memcpy(&n, q, sizeof n);
        if (!all_are(q + sizeof n, n - sizeof n, (unsigned char)(n & 0xff)))
            return "a block was written to by another";
        private_free(q);
    }
    return NULL;
}

static void test_threads_free_each_others_blocks(void **state)
{
    pthread_t t[THREADS];
    void *wrong;

    (void)state;
    for (int round = 0; round < 2; round++) { /* again: with what ended threads have left */
        for (uintptr_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(t[i], &wrong), 0);
            if (wrong != NULL)
                fail_msg("%s", (const char *)wrong);
        }
    }
    for (int i = 0; i < SLOTS; i++)
        private_free(atomic_exchange(&slots[i], NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aligned_and_apart), cmocka_unit_test(test_calloc_is_zero_whatever_was_there), cmocka_unit_test(test_growing),
#ifndef IS_MALLOC
        cmocka_unit_test(test_freed_is_wiped), cmocka_unit_test(test_large_blocks_are_kept), cmocka_unit_test(test_kept_out_of_cores),
#endif
        cmocka_unit_test(test_threads_free_each_others_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
