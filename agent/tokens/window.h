/* Where the characters of each kind stand, as bitmaps: what the scanner reads instead of the bytes. Internal to tokens/.
 *
 * A window covers up to WINDOW_BYTES bytes of text; bit i of a map speaks of byte i. Only ASCII is told apart: bytes of longer
 * characters are in no map but the two `_end` ones, and the scanner takes the slow way when a piece touches one. Behind the end
 * of the text the maps go on as if NUL bytes followed. */
#ifndef TOLLGATE_TOKENS_WINDOW_H
#define TOLLGATE_TOKENS_WINDOW_H

#include "tokens/image.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#define WINDOW_BYTES 1024
#define WINDOW_BLOCKS (WINDOW_BYTES / 64)
#define WINDOW_SEEN 57 /* bits that window_bits is sure to give */

struct window {
    const uint8_t *from; /* NULL: nothing is covered yet */
    size_t covered;      /* a piece may start at the first so many bytes */
    /* Little endian; one block behind the last for reading past it. */
    uint64_t letter[WINDOW_BLOCKS + 2];
    uint64_t word_end[WINDOW_BLOCKS + 2];   /* no letter, or (o200k) upper case behind lower case */
    uint64_t symbol_end[WINDOW_BLOCKS + 2]; /* all but symbols */
    uint64_t digit[WINDOW_BLOCKS + 2];
    uint64_t space[WINDOW_BLOCKS + 2];      /* line breaks too */
    uint64_t newline[WINDOW_BLOCKS + 2];
    /* o200k and cl100k, as numbers: where pieces start, and where that is not sure: see window_starts.c. */
    size_t blocks;
    uint64_t start[WINDOW_BLOCKS + 2];
    uint64_t unsure[WINDOW_BLOCKS + 2];
};

/* What one block of 64 bytes holds. */
struct block_masks {
    uint64_t letter, upper, digit;
    uint64_t space, newline, blank; /* space: all white space; newline: CR and LF; blank: 0x20 */
    uint64_t quote, slash;          /* ' and / */
    uint64_t high;                  /* 0x80 and above */
};

/* The masks of `count` blocks from p on. */
typedef void window_blocks(struct block_masks *m, const uint8_t *p, size_t count);

void window_blocks_portable(struct block_masks *m, const uint8_t *p, size_t count);
#if defined __x86_64__ || defined __i386__
#define WINDOW_X86 1
void window_blocks_sse2(struct block_masks *m, const uint8_t *p, size_t count);
void window_blocks_avx2(struct block_masks *m, const uint8_t *p, size_t count);
void window_blocks_avx512(struct block_masks *m, const uint8_t *p, size_t count);
#elif defined __aarch64__
#define WINDOW_NEON 1 /* every CPU of this architecture has it */
void window_blocks_neon(struct block_masks *m, const uint8_t *p, size_t count);
#endif

/* The code for `path` ("portable", "sse2", "avx2", "avx512", "neon"; NULL: the fastest), or NULL when this CPU does not run it; *name is what it
 * is. */
window_blocks *window_choose(const char *path, const char **name);

/* Moves the window to p, where a piece starts. */
void window_move(struct window *w, window_blocks *blocks, const uint8_t *p, const uint8_t *end, enum vocab_pattern pattern);

/* Fills in `start` and `unsure`. `m` has one more block than `count`. */
void window_starts(struct window *w, const struct block_masks *m, size_t count, bool o200k);

/* WINDOW_SEEN bits of a map or more, from bit i on; the bits above are 0. */
static inline uint64_t window_bits(const uint64_t *map, size_t i)
{
    uint64_t x;
    memcpy(&x, (const uint8_t *)map + i / 8, 8);
    return le64toh(x) >> (i % 8);
}

#endif
