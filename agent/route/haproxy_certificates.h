/* Which certificate files a haproxy.cfg names: those it shows to clients and servers, and those it verifies them by. */
#ifndef TOLLGATE_ROUTE_HAPROXY_CERTIFICATES_H
#define TOLLGATE_ROUTE_HAPROXY_CERTIFICATES_H

#include "route/haproxy_text.h"

enum haproxy_certificate { HAPROXY_CERTIFICATE /* crt: a file or a folder of them */, HAPROXY_CA /* ca-file */, HAPROXY_CRL /* crl-file */ };

typedef void haproxy_certificate_fn(void *user, const char *path, enum haproxy_certificate what);

/* Calls `fn` for each place that names one (a file may be named often): on bind and server lines, in crt-store sections, and in the lists
 * that crt-list names, which are read. Names below crt-base and ca-base are completed; left out are those that are relative to where HAProxy
 * is started, hold a variable, or stand for something else than a file ("@system-ca"). */
void haproxy_certificates(const struct haproxy_text *t, haproxy_certificate_fn *fn, void *user);

#endif
