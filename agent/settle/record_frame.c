#include "settle/record_frame.h"

#include <stdbool.h>

/* https://github.com/msgpack/msgpack/blob/master/spec.md, "Formats" */

enum shape { SHAPE_BAD, SHAPE_FIXED, SHAPE_BYTES, SHAPE_ARRAY, SHAPE_MAP };

/* What a tag announces: how many bytes its length field has, and for those without one the length itself. */
static enum shape shape_of(unsigned char tag, unsigned *field, uint64_t *length)
{
    static const unsigned char fixed[] = { /* 0xca */ 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17 /* 0xd8 */ };

    *field = 0;
    *length = 0;
    if (tag < 0x80 || tag >= 0xe0)
        return SHAPE_FIXED;
    if (tag < 0xa0) {
        *length = tag & 0x0f;
        return tag < 0x90 ? SHAPE_MAP : SHAPE_ARRAY;
    }
    if (tag < 0xc0) {
        *length = tag & 0x1f;
        return SHAPE_BYTES;
    }
    if (tag >= 0xca && tag <= 0xd8) {
        *length = fixed[tag - 0xca];
        return SHAPE_BYTES;
    }
    switch (tag) {
    case 0xc0: case 0xc2: case 0xc3: return SHAPE_FIXED;
    case 0xc4: case 0xc5: case 0xc6: *field = 1u << (tag - 0xc4); return SHAPE_BYTES;
    case 0xc7: case 0xc8: case 0xc9: *field = 1u << (tag - 0xc7); return SHAPE_BYTES;
    case 0xd9: case 0xda: case 0xdb: *field = 1u << (tag - 0xd9); return SHAPE_BYTES;
    case 0xdc: case 0xdd: *field = 2u << (tag - 0xdc); return SHAPE_ARRAY;
    case 0xde: case 0xdf: *field = 2u << (tag - 0xde); return SHAPE_MAP;
    default: return SHAPE_BAD;
    }
}

/* A value has ended: so may the containers around it. True when the record has. */
static bool value_done(struct record_frame *f)
{
    while (f->depth > 0) {
        if (--f->left[f->depth - 1] > 0)
            return false;
        f->depth--;
    }
    return true;
}

/* The tag and its length are known. *done tells that the value has ended with them. */
static const char *value_begin(struct record_frame *f, enum shape shape, bool *done)
{
    *done = false;
    if (f->depth == 0 && shape != SHAPE_MAP)
        return "a record is no map";
    if (++f->values > RECORD_VALUES)
        return "a record holds too many values";
    if (shape == SHAPE_MAP || shape == SHAPE_ARRAY) {
        uint64_t n = shape == SHAPE_MAP ? f->length * 2 : f->length;
        if (n > RECORD_VALUES)
            return "a record holds too many values";
        if (f->depth == RECORD_DEPTH)
            return "a record nests too deeply";
        if (n == 0)
            *done = true;
        else
            f->left[f->depth++] = n;
        return NULL;
    }
    f->payload = f->length;
    /* Extension types carry one byte of type besides their length. */
    if (f->tag >= 0xc7 && f->tag <= 0xc9)
        f->payload++;
    *done = f->payload == 0;
    return NULL;
}

static const char *take_byte(struct record_frame *f, unsigned char c, bool *done)
{
    unsigned field;
    uint64_t length;

    *done = false;
    if (f->length_need == 0) {
        enum shape shape = shape_of(c, &field, &length);
        if (shape == SHAPE_BAD)
            return "not msgpack";
        f->tag = c;
        f->length = length;
        f->length_have = 0;
        f->length_need = field;
        return field > 0 ? NULL : value_begin(f, shape, done);
    }
    f->length = f->length << 8 | c;
    if (++f->length_have < f->length_need)
        return NULL;
    f->length_need = 0;
    return value_begin(f, shape_of(f->tag, &field, &length), done);
}

const char *record_frame_scan(struct record_frame *f, const unsigned char *p, size_t n, size_t max_record, size_t *records)
{
    const unsigned char *end = p + n;

    while (p < end) {
        size_t took = 1;
        bool done = false;
        if (f->payload > 0) {
            took = f->payload < (uint64_t)(end - p) ? (size_t)f->payload : (size_t)(end - p);
            f->payload -= took;
            done = f->payload == 0;
        } else {
            const char *why = take_byte(f, *p, &done);
            if (why != NULL)
                return why;
        }
        p += took;
        f->size += took;
        if (f->size > max_record || f->payload > max_record - f->size)
            return "a record is larger than the limit";
        if (done && value_done(f)) {
            ++*records;
            *f = (struct record_frame){ 0 };
        }
    }
    return NULL;
}
