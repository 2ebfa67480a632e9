/* AWS Signature Version 4, in the Authorization header ("Authenticating Requests", AWS General Reference; the rules of every service but
 * S3: the path is normalised and encoded once more).
 *
 * Nothing secret is put together in ordinary memory: the canonical request is hashed piece by piece. */
#ifndef TOLLGATE_CREDENTIAL_SIGV4_H
#define TOLLGATE_CREDENTIAL_SIGV4_H

#include "base/slice.h"
#include "credential/aws_keys.h"

#include <stdint.h>

enum {
    SIGV4_HEX = 64,
    SIGV4_DATE = 16,
    SIGV4_AUTHORIZATION_MAX = 1024,
    SIGV4_PARAMETERS_MAX = 64, /* of the query */
    SIGV4_SEGMENTS_MAX = 64    /* of the path */
};

struct sigv4_header {
    const char *name;    /* lower case */
    struct slice value;  /* blanks at its ends are ignored, runs of them inside count as one */
};

struct sigv4_request {
    const char *region, *service;
    struct slice method;
    struct slice path;   /* as on the wire, with its percent-encoding; empty: "/" */
    struct slice query;  /* as on the wire, without the '?' */
    const struct sigv4_header *headers; /* those to be signed, sorted by name; "host" and "x-amz-date" among them */
    size_t header_count;
    const char *payload_hex; /* SIGV4_HEX digits: SHA-256 of the body */
    const char *date;    /* SIGV4_DATE characters, the value of x-amz-date: sigv4_date */
};

/* "20150830T123600Z"; `out` has SIGV4_DATE + 1 bytes. */
void sigv4_date(int64_t utc_s, char *out);
/* Lower-case hex of a SHA-256, NUL-terminated: `out` has SIGV4_HEX + 1 bytes. */
void sigv4_hex(const unsigned char digest[32], char *out);
/* The Authorization header's value, NUL-terminated, into `out`. Its length, or 0 when it does not fit, memory is out, or path or query
 * have more parts than the limits above. */
size_t sigv4_sign(const struct aws_keys *keys, const struct sigv4_request *rq, char *out, size_t cap) __attribute__((warn_unused_result));

#endif
