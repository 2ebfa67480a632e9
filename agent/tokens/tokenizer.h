/* Vocabularies: prebuilt images of OpenAI's encodings, memory-mapped read-only.
 *
 * An image holds everything one encoding needs (merge pairs, tries, classes) in its final form, so opening it costs a mmap and
 * a header check, and all threads and processes share one copy. A tokenizer never changes after it was opened: any number of
 * threads may use it at once. Images are made at build time by vocab_build from agent/tokens/data and are named
 * <encoding>.tgv; an image that is cut short, of another version or of another byte order is refused with a reason. */
#ifndef TOLLGATE_TOKENS_TOKENIZER_H
#define TOLLGATE_TOKENS_TOKENIZER_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* Opens one image file. NULL on failure, with a sentence in `why` that names the file and says what is wrong. */
struct tokenizer *tokenizer_open(const char *image_path, char *why, size_t why_size) __attribute__((warn_unused_result));
/* No count may be running. NULL is allowed. */
void tokenizer_close(struct tokenizer *t);
/* "o200k_base", ...; lives as long as the tokenizer. */
const char *tokenizer_name(const struct tokenizer *t);
/* Tokens with a rank (special tokens not counted). */
uint32_t tokenizer_size(const struct tokenizer *t);
/* The id of a special token written as in the vendor's list ("<|endoftext|>"), or -1. Counting never uses it: the text of a
 * special token inside a request is ordinary text. */
int64_t tokenizer_special(const struct tokenizer *t, struct slice text);

/* All encodings the agent knows: o200k_base, cl100k_base, p50k_base, r50k_base, and o200k_harmony (the ranks of o200k_base with
 * other special tokens). */
struct tokenizer_set;

/* Opens every image. `dir` NULL: the directory in the environment variable TOLLGATE_TOKENIZERS, else where this program was
 * built, else where it was installed. NULL when one is missing or broken, with the reason in `why`. */
struct tokenizer_set *tokenizer_set_open(const char *dir, char *why, size_t why_size) __attribute__((warn_unused_result));
void tokenizer_set_close(struct tokenizer_set *set);
/* NULL when the name is not one of the five above (aliases: gpt2 = r50k_base). */
const struct tokenizer *tokenizer_set_find(const struct tokenizer_set *set, struct slice name);

/* The encoding of a model by its name, as OpenAI's tiktoken maps it (tiktoken/model.py), and for newer names of the same
 * families. "o200k_base" with *known = false for every other name: a count is then an estimate. */
const char *tokenizer_name_for_model(struct slice model, bool *known);

#endif
