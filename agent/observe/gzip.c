#include "observe/gzip.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

enum { GZIP_WINDOW = 15 + 16 /* the largest window, in gzip's frame */, MEMORY_LEVEL = 8 };

char *gzip_pack(struct slice text, size_t *n)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)text.p };

    if (text.n > UINT_MAX / 2 || deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    uLong room = deflateBound(&z, text.n);
    char *out = malloc(room);
    z.avail_in = (uInt)text.n;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)room;
    if (out != NULL && deflate(&z, Z_FINISH) != Z_STREAM_END) {
        free(out);
        out = NULL;
    }
    *n = z.total_out;
    deflateEnd(&z);
    return out;
}
