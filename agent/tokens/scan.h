/* Cutting text into the pieces that are encoded one by one. Internal to tokens/.
 *
 * Equal to the encodings' regular expressions (tiktoken_ext/openai_public.py) over Unicode 16.0, in time linear in the text:
 * no byte is looked at more than a few times, whatever stands around it. Text must be valid UTF-8. */
#ifndef TOLLGATE_TOKENS_SCAN_H
#define TOLLGATE_TOKENS_SCAN_H

#include "tokens/vocab.h"

/* The end of the piece that starts at p; p < end. No byte at `end` or behind is read. */
const uint8_t *scan_piece(const struct vocab *v, const uint8_t *p, const uint8_t *end);

#endif
