/* Guardrails: what is personal or secret by its shape, taken out of a text before it is kept.
 *
 * Found are e-mail addresses, telephone numbers (international, national with their leading 0, North American), payment cards (ISO/IEC 7812:
 * 13 to 19 digits and a right Luhn digit), IBANs (ISO 13616: a right checksum), JSON web tokens, and secrets: well-known prefixes of API keys,
 * `Bearer` and `password=` values, private keys in PEM, and long tokens that look random. Shapes only: names and addresses of people are not
 * found. Rather too much than too little. Linear in the length of the text. */
#ifndef TOLLGATE_GUARD_REDACT_H
#define TOLLGATE_GUARD_REDACT_H

#include "base/slice.h"

enum guard_kind { GUARD_EMAIL, GUARD_PHONE, GUARD_CARD, GUARD_IBAN, GUARD_JWT, GUARD_KEY, GUARD_KINDS };

/* Bytes that are always room enough for what becomes of n bytes. */
#define GUARD_ROOM(n) ((n) + (n) / 4 + 16)

/* Writes the text to `out` with "[email]", "[phone]", "[card]", "[iban]", "[jwt]", "[key]" in place of what was found. Returns its length. Text is UTF-8;
 * other bytes pass as they are. */
size_t guard_redact(struct slice text, char *out);

/* guard/shapes.c: how many bytes at text.p + at are one of that kind; 0: none. What comes before is no part of a word. */
size_t guard_match(struct slice text, size_t at, enum guard_kind *kind);

#endif
