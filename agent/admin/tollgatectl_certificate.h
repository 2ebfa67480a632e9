/* Certificates that tollgatectl is given as files. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_CERTIFICATE_H
#define TOLLGATE_ADMIN_TOLLGATECTL_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>

enum { CTL_CERTIFICATE_HEX = 3 * 16384, CTL_FINGERPRINT = 65 };

/* The first certificate of a PEM file ("-": standard input), as hexadecimal text of its DER, and its SHA-256 in lower case. Either may be NULL.
 * False: it was said why. */
bool ctl_certificate_read(const char *path, char der[CTL_CERTIFICATE_HEX], char fingerprint[CTL_FINGERPRINT]);

#endif
