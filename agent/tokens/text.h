/* From input bytes to the text that is counted: UTF-8 check, JSON escapes, minifying. Internal to tokens/.
 *
 * Input that already is what will be counted (most of it) is used where it stands; the rest is decoded into a buffer. Both go
 * forward in steps, so that a long input can be read in slices. */
#ifndef TOLLGATE_TOKENS_TEXT_H
#define TOLLGATE_TOKENS_TEXT_H

#include "tokens/count.h"

struct text_buffer {
    uint8_t *p;
    size_t n, capacity;
};

void text_buffer_free(struct text_buffer *b);

struct text_source {
    const uint8_t *p;
    size_t n;
    size_t at;             /* read so far */
    enum token_input how;
    bool copying;          /* something has to be changed: the text is in the buffer */
    bool in_string;        /* TOKENS_OF_JSON_VALUE: inside quotes */
    bool replaced;         /* U+FFFD was put in */
};

void text_source_start(struct text_source *s, enum token_input how, struct slice input);
/* Reads about `work` bytes more; from the beginning again, once, when it turns out that something has to be changed. 1: all is read (the text is the input itself, or the buffer when `copying`); 0: more is left;
 * -1: memory is out. */
int text_source_step(struct text_source *s, struct text_buffer *b, size_t work) __attribute__((warn_unused_result));

/* Length of the UTF-8 sequence at p, or of the maximal subpart to replace, with *valid false (Unicode 3.9, table 3-7). */
size_t text_sequence(const uint8_t *p, const uint8_t *end, bool *valid);

#endif
