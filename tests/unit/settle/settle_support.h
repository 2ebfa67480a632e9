#ifndef SETTLE_SUPPORT_H
#define SETTLE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/slice.h"

static inline int arena_setup(void **state)
{
    *state = arena_new(4096);
    return *state == NULL;
}

static inline int arena_teardown(void **state)
{
    arena_free(*state);
    return 0;
}

#define T(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)

static inline void assert_slice(struct slice got, const char *want)
{
    if (!slice_eq_cstr(got, want))
        fail_msg("got \"%.*s\", want \"%s\"", SLICE_FMT(got), want);
}

#endif
