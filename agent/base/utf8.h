/* Checking UTF-8 64 bytes at a time. */
#ifndef TOLLGATE_BASE_UTF8_H
#define TOLLGATE_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* How many bytes from p on, where a character starts, are sure to be whole well-formed characters (RFC 3629) other than `stop`, an ASCII
 * byte. May be fewer than there are: none within 64 bytes of `end`, behind which nothing is read, nor where the CPU's vectors are not
 * known. */
size_t utf8_blocks(const uint8_t *p, const uint8_t *end, uint8_t stop);
/* The same up to what may not stand in a JSON string as it is: a quotation mark, a backslash, a control byte. */
size_t utf8_json_blocks(const uint8_t *p, const uint8_t *end);

#endif
