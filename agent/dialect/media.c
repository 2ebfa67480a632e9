#include "dialect/media.h"

/* A JPEG may carry metadata before its frame header; what is passed over is bounded. */
#define HEADER_MAX ((size_t)1 << 20)

/* Decodes base64 out of a JSON string byte by byte. */
struct b64 {
    const char *p, *end;
    uint32_t bits;
    int have;
    bool escaped;
    size_t taken;
};

static int b64_digit(struct b64 *b)
{
    if (b->p == b->end)
        return -1;
    char c = *b->p++;
    if (c == '\\') { /* "\/" is the one escape that can stand for a letter of the alphabet without \u */
        if (b->p == b->end || *b->p != '/')
            return -1;
        c = *b->p++;
    }
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

static int b64_byte(struct b64 *b)
{
    while (b->have < 8) {
        int d = b64_digit(b);
        if (d < 0)
            return -1;
        b->bits = (b->bits << 6 | (uint32_t)d) & 0xffffff;
        b->have += 6;
    }
    b->have -= 8;
    b->taken++;
    return (int)(b->bits >> b->have & 0xff);
}

static bool b64_skip(struct b64 *b, size_t n)
{
    if (n > HEADER_MAX || b->taken > HEADER_MAX)
        return false;
    while (n > 0 && b->have != 0) {
        if (b64_byte(b) < 0)
            return false;
        n--;
    }
    /* Without escapes every 3 bytes are 4 characters. */
    if (!b->escaped && n >= 3) {
        size_t quads = n / 3;
        if ((size_t)(b->end - b->p) / 4 < quads)
            return false;
        b->p += quads * 4;
        b->taken += quads * 3;
        n -= quads * 3;
    }
    for (; n > 0; n--)
        if (b64_byte(b) < 0)
            return false;
    return true;
}

static bool b64_read(struct b64 *b, unsigned char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int c = b64_byte(b);
        if (c < 0)
            return false;
        out[i] = (unsigned char)c;
    }
    return true;
}

static uint32_t be16(const unsigned char *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t le16(const unsigned char *p)
{
    return (uint32_t)p[1] << 8 | p[0];
}

static uint32_t le24(const unsigned char *p)
{
    return le16(p) | (uint32_t)p[2] << 16;
}

/* Behind FF D8: segments up to the first frame header. */
static void jpeg_size(struct b64 *b, struct media *m)
{
    unsigned char s[7];
    int c;

    for (;;) {
        if (b64_byte(b) != 0xff)
            return;
        do
            c = b64_byte(b);
        while (c == 0xff); /* fill bytes; ends at the end of the data at the latest */
        if (c == 0x01 || (c >= 0xd0 && c <= 0xd7))
            continue;
        if (c <= 0 || c == 0xd9 || c == 0xda || !b64_read(b, s, 2) || be16(s) < 2)
            return;
        if (c >= 0xc0 && c <= 0xcf && c != 0xc4 && c != 0xc8 && c != 0xcc) {
            if (!b64_read(b, s, 5))
                return;
            m->height = be16(s + 1);
            m->width = be16(s + 3);
            return;
        }
        if (!b64_skip(b, be16(s) - 2))
            return;
    }
}

/* Behind the 12 bytes of "RIFF....WEBP". */
static void webp_size(struct b64 *b, struct media *m)
{
    unsigned char h[8], d[10];

    if (!b64_read(b, h, 8) || !b64_read(b, d, 10))
        return;
    if (memcmp(h, "VP8X", 4) == 0) {
        m->width = le24(d + 4) + 1;
        m->height = le24(d + 7) + 1;
    } else if (memcmp(h, "VP8L", 4) == 0 && d[0] == 0x2f) {
        uint32_t v = le24(d + 1) | (uint32_t)d[4] << 24;
        m->width = (v & 0x3fff) + 1;
        m->height = (v >> 14 & 0x3fff) + 1;
    } else if (memcmp(h, "VP8 ", 4) == 0 && d[3] == 0x9d && d[4] == 0x01 && d[5] == 0x2a) {
        m->width = le16(d + 6) & 0x3fff;
        m->height = le16(d + 8) & 0x3fff;
    }
}

static void png_size(struct b64 *b, struct media *m)
{
    unsigned char d[16];
    if (!b64_read(b, d, 16) || memcmp(d + 4, "IHDR", 4) != 0 || (d[8] & 0x80) || (d[12] & 0x80))
        return;
    m->width = be16(d + 8) << 16 | be16(d + 10);
    m->height = be16(d + 12) << 16 | be16(d + 14);
}

static void image_size(struct b64 *b, struct media *m)
{
    unsigned char h[12];

    if (!b64_read(b, h, 2))
        return;
    if (h[0] == 0xff && h[1] == 0xd8) {
        jpeg_size(b, m);
    } else if (b64_read(b, h + 2, 6)) {
        if (memcmp(h, "\x89PNG\r\n\x1a\n", 8) == 0) {
            png_size(b, m);
        } else if (memcmp(h, "RIFF", 4) == 0) {
            if (b64_read(b, h + 8, 4) && memcmp(h + 8, "WEBP", 4) == 0)
                webp_size(b, m);
        } else if ((memcmp(h, "GIF87a", 6) == 0 || memcmp(h, "GIF89a", 6) == 0) && b64_read(b, h + 8, 2)) {
            m->width = le16(h + 6);
            m->height = le16(h + 8);
        }
    }
    if (m->width == 0 || m->height == 0)
        m->width = m->height = 0;
}

struct media media_from_base64(struct json_text data)
{
    struct media m = { .inline_data = true };
    size_t n = data.raw.n;

    for (int i = 0; i < 2 && n > 0 && data.raw.p[n - 1] == '='; i++)
        n--;
    m.bytes = (uint64_t)n / 4 * 3 + (n % 4 * 3 + 3) / 4;
    if (n == 0)
        return m;
    struct b64 b = { .p = data.raw.p, .end = data.raw.p + n, .escaped = data.escaped };
    image_size(&b, &m);
    return m;
}

static bool same_letters(const char *p, const char *lower, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] | 32) : p[i];
        if (c != lower[i])
            return false;
    }
    return true;
}

struct media media_from_url(struct json_text url)
{
    const char *p = url.raw.p;

    if (url.raw.n < 5 || !same_letters(p, "data:", 5))
        return (struct media){ .inline_data = false };
    /* A media type with its parameters is short. Without a comma nearby this is no data: URL anybody could read. */
    size_t look = url.raw.n < 512 ? url.raw.n : 512;
    const char *comma = memchr(p, ',', look);
    if (comma == NULL || comma - p < 7 || !same_letters(comma - 7, ";base64", 7))
        return (struct media){ .inline_data = true, .bytes = url.raw.n };
    size_t head = (size_t)(comma + 1 - p);
    return media_from_base64(
        (struct json_text){ .raw = slice_make(comma + 1, url.raw.n - head), .escaped = url.escaped, .lone = url.lone });
}
