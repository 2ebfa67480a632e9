/* The dates of a PEM file of X.509 certificates or revocation lists: from when to when what is in it can be used.
 *
 * Only blocks of the kind that is asked for are looked at; a private key beside them is not decoded, and what was read is wiped. */
#ifndef TOLLGATE_OBSERVE_CERTIFICATE_FILE_H
#define TOLLGATE_OBSERVE_CERTIFICATE_FILE_H

#include <stdbool.h>
#include <stdint.h>

enum certificate_role {
    CERTIFICATE_OWN, /* shown to others, with its chain: ends with the first of them */
    CERTIFICATE_CA,  /* others are verified by it: ends with the last, for old ones may stand beside new ones */
    CERTIFICATE_CRL  /* who is refused: ends with the first that is due again; HAProxy then lets nobody in */
};

struct certificate_dates {
    int64_t from_s, until_s; /* seconds since 1970. until_s -1: it never ends */
};

/* "certificate", "ca", "crl". */
const char *certificate_role_name(enum certificate_role role);
/* False: it cannot be read, is too large (4 MiB), or has no such block, or one that is broken. */
bool certificate_file_read(const char *path, enum certificate_role role, struct certificate_dates *out) __attribute__((warn_unused_result));

#endif
