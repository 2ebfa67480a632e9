/* Images, audio and documents carried in a request as base64: their sizes, from the first bytes. Nothing is decoded beyond the header.
 *
 * Base64 may stand in a JSON string with escapes ("\/"). What cannot be read gives size 0: unknown, which costs the dearest. Sources: PNG
 * (W3C, 5.6 and 11.2.2), JPEG (ITU-T T.81, B.2.2), GIF89a (section 18), WebP container and VP8/VP8L bitstreams (RFC 6386 9.1, RFC 9649). */
#ifndef TOLLGATE_DIALECT_MEDIA_H
#define TOLLGATE_DIALECT_MEDIA_H

#include "base/json_scan.h"

struct media {
    bool inline_data;       /* false: a URL or something else that is not here */
    uint64_t bytes;         /* decoded size, never less than the true one */
    uint32_t width, height; /* pixels; 0: not known */
};

/* `url` as an image or file URL: a data: URL with base64 (RFC 2397) or anything else. */
struct media media_from_url(struct json_text url);
/* `data` is base64 itself. */
struct media media_from_base64(struct json_text data);

#endif
