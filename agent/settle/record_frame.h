/* Where a msgpack record ends, seen byte by byte before anything is built of it: msgpack-c makes room for as many elements as a header
 * claims, so claims are checked first. Internal to this folder. */
#ifndef TOLLGATE_SETTLE_RECORD_FRAME_H
#define TOLLGATE_SETTLE_RECORD_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define RECORD_DEPTH 16
#define RECORD_VALUES 4096 /* keys, values and elements of one record together */

struct record_frame {
    uint64_t left[RECORD_DEPTH]; /* values still to come in each open container */
    unsigned depth;
    uint64_t payload;            /* bytes of a string or number still to come */
    unsigned char tag;
    unsigned length_have, length_need; /* bytes of the length field */
    uint64_t length;
    size_t size;                 /* of the record so far */
    unsigned values;
};

/* Reads `n` more bytes. *records grows by the records completed. NULL, or a static phrase when this is no bounded record. */
const char *record_frame_scan(struct record_frame *f, const unsigned char *p, size_t n, size_t max_record, size_t *records);

#endif
