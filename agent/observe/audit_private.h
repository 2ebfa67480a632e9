/* What writing and verifying the audit log share. */
#ifndef TOLLGATE_OBSERVE_AUDIT_PRIVATE_H
#define TOLLGATE_OBSERVE_AUDIT_PRIVATE_H

#include "observe/audit.h"

#include <cJSON.h>

/* The hash of a line without its newline, and the object it is. NULL with a static reason when it is no entry, or its own hash is
 * wrong; else the caller deletes it. */
cJSON *audit_line_parse(const char *line, size_t n, const char **why);
void audit_hash(const char *p, size_t n, char out[AUDIT_HASH_BYTES]);
const char *audit_member(const cJSON *o, const char *name);

#define AUDIT_GENESIS "0000000000000000000000000000000000000000000000000000000000000000"

#endif
