/* tollgatectl count: what its two forms, a request's body and plain texts, share. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_COUNT_H
#define TOLLGATE_ADMIN_TOLLGATECTL_COUNT_H

#include "admin/tollgatectl.h"
#include "tokens/count.h"

/* NULL after saying that there is none of that name. */
const struct tokenizer *ctl_encoding_find(const struct tokenizer_set *set, const char *name);
/* --raw: NUL-separated texts, one count a line as they come. Returns the exit status. */
int ctl_count_raw(const struct ctl_options *o, const struct tokenizer_set *set);

#endif
