/* Options: checked and copied, with every default filled in. */
#ifndef TOLLGATE_IDENTITY_OPTIONS_H
#define TOLLGATE_IDENTITY_OPTIONS_H

#include "identity/identity.h"

/* A deep copy in `a`; the strings of the result never move. NULL when memory is out. `o` passed identity_options_check. */
struct identity_options *options_copy(const struct identity_options *o, struct arena *a) __attribute__((warn_unused_result));
/* Bit i: enum jws_alg i is accepted. */
unsigned options_algorithms(const struct identity_issuer *o);

#endif
