/* Frames an agent must refuse, the DISCONNECT code each earns, and the rule behind it: for the unit tests and for bench_spoe_probe. */
#ifndef SPOE_HOSTILE_H
#define SPOE_HOSTILE_H

#include "spoe_vectors.h"

#include <stdbool.h>
#include <stddef.h>

#define H(hexlen) "\x00\x00\x00" hexlen "\x01\x00\x00\x00\x01\x00\x00"
#define VERSIONS "\x12supported-versions\x08\x03" "2.0"       /* 24 bytes */
#define SIZE "\x0emax-frame-size\x03\xfc\xf0\x1e"             /* 19 */
#define CAPABILITIES "\x0c" "capabilities\x08\x0apipelining"  /* 25 */

struct hostile {
    const char *rule;
    bool opened; /* after a good HELLO */
    int code;
    const char *bytes;
    size_t n;
};

static const struct hostile hostile_frames[] = {
    /* framing */
    { "F2 length 0", false, 4, BYTES("\x00\x00\x00\x00") },
    { "F2 length 0 when open", true, 4, BYTES("\x00\x00\x00\x00") },
    { "F2 length 1", true, 4, BYTES("\x00\x00\x00\x01\x03") },
    { "F2 length 5", true, 4, BYTES("\x00\x00\x00\x05\x03\x00\x00\x00\x01") },
    { "F2 length 6", true, 4, BYTES("\x00\x00\x00\x06\x03\x00\x00\x00\x01\x01") },
    { "F3 length 2^32-1", false, 3, BYTES("\xff\xff\xff\xff") },
    { "F3 length 2^31", true, 3, BYTES("\x80\x00\x00\x00") },
    { "F3 one over our own maximum before HELLO", false, 3, BYTES("\x00\x41\x00\x01") },
    { "F3 one over the negotiated maximum", true, 3, BYTES("\x00\x00\xff\xfd") },
    { "F3 an HTTP request", false, 3, BYTES("GET / HTTP/1.1\r\n\r\n") },
    { "F6 HELLO with a stream-id", false, 4, BYTES("\x00\x00\x00\x4b\x01\x00\x00\x00\x01\x01\x00" VERSIONS SIZE CAPABILITIES) },
    { "F6 HELLO with a frame-id", false, 4, BYTES("\x00\x00\x00\x4b\x01\x00\x00\x00\x01\x00\x01" VERSIONS SIZE CAPABILITIES) },
    { "F6 DISCONNECT with a stream-id", true, 4, BYTES("\x00\x00\x00\x15\x02\x00\x00\x00\x01\x01\x00\x0bstatus-code\x03\x00") },
    { "F6 NOTIFY without ids", true, 4, BYTES(NOTIFY_AB("\x00", "\x00")) },
    { "F8 AGENT-HELLO from HAProxy", true, 4, BYTES("\x00\x00\x00\x07\x65\x00\x00\x00\x01\x00\x00") },
    { "F8 AGENT-DISCONNECT from HAProxy", true, 4, BYTES("\x00\x00\x00\x07\x66\x00\x00\x00\x01\x00\x00") },
    { "F8 ACK from HAProxy", true, 4, BYTES("\x00\x00\x00\x07\x67\x00\x00\x00\x01\x01\x01") },
    { "F8 unknown type before HELLO", false, 4, BYTES("\x00\x00\x00\x07\x2a\x00\x00\x00\x01\x00\x00") },
    { "F9 truncated stream-id", true, 4, BYTES("\x00\x00\x00\x07\x03\x00\x00\x00\x01\xf0\x80") },
    { "F9 no frame-id", true, 4, BYTES("\x00\x00\x00\x07\x03\x00\x00\x00\x01\xff\x7f") },
    /* varints */
    { "V3 stream-id of 11 bytes", true, 4,
      BYTES("\x00\x00\x00\x11\x03\x00\x00\x00\x01\xf0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00\x01") },
    { "V3 stream-id over 64 bits", true, 4,
      BYTES("\x00\x00\x00\x10\x03\x00\x00\x00\x01\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0f\x01") },
    { "V4 message name of 2^64-1", true, 4,
      BYTES("\x00\x00\x00\x12\x03\x00\x00\x00\x01\x01\x01\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e" "a") },
    { "V4 value of 2^63-1", true, 4,
      BYTES("\x00\x00\x00\x17\x03\x00\x00\x00\x01\x01\x01\x01m\x01\x01" "a\x08\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x06") },
    /* typed data */
    { "T2 type 10", true, 4, BYTES("\x00\x00\x00\x0f\x03\x00\x00\x00\x01\x01\x01\x01m\x01\x01" "a\x0a\x01" "b") },
    { "T2 type 15", true, 4, BYTES("\x00\x00\x00\x0f\x03\x00\x00\x00\x01\x01\x01\x01m\x01\x01" "a\x0f\x01" "b") },
    { "T2 reserved type under an unknown HELLO key", false, 4, BYTES("\x00\x00\x00\x0a\x01\x00\x00\x00\x01\x00\x00\x01k\x0c") },
    { "T2 IPv4 cut", true, 4, BYTES("\x00\x00\x00\x10\x03\x00\x00\x00\x01\x01\x01\x01m\x01\x01" "a\x06\x7f\x00\x00") },
    { "T2 IPv6 cut", true, 4, BYTES("\x00\x00\x00\x10\x03\x00\x00\x00\x01\x01\x01\x01m\x01\x01" "a\x07\x7f\x00\x00") },
    /* HELLO */
    { "H1 NOTIFY first", false, 4, BYTES(NOTIFY_AB("\x01", "\x01")) },
    { "H1 DISCONNECT first", false, 4, BYTES("\x00\x00\x00\x15\x02\x00\x00\x00\x01\x00\x00\x0bstatus-code\x03\x00") },
    { "H1 second HELLO", true, 4, BYTES(HELLO_26) },
    { "H1 a large NOTIFY first, refused by its head", false, 4, BYTES("\x00\x40\x00\x00\x03\x00\x00\x00\x01") },
    { "H2 no supported-versions", false, 5, BYTES(H("\x33") SIZE CAPABILITIES) },
    { "H2 empty HELLO", false, 5, BYTES(H("\x07")) },
    { "H2 version 20.0", false, 8, BYTES(H("\x4c") "\x12supported-versions\x08\x04" "20.0" SIZE CAPABILITIES) },
    { "H2 version 1.0", false, 8, BYTES(H("\x4b") "\x12supported-versions\x08\x03" "1.0" SIZE CAPABILITIES) },
    { "H2 version 12.0, 3.2.0", false, 8, BYTES(H("\x53") "\x12supported-versions\x08\x0b" "12.0, 3.2.0" SIZE CAPABILITIES) },
    { "H2 version 2", false, 8, BYTES(H("\x49") "\x12supported-versions\x08\x01" "2" SIZE CAPABILITIES) },
    { "H2 version 2.", false, 8, BYTES(H("\x4a") "\x12supported-versions\x08\x02" "2." SIZE CAPABILITIES) },
    { "H2 version 2.0x", false, 8, BYTES(H("\x4c") "\x12supported-versions\x08\x04" "2.0x" SIZE CAPABILITIES) },
    { "H2 version 2^32+2 .0", false, 8, BYTES(H("\x54") "\x12supported-versions\x08\x0c" "4294967298.0" SIZE CAPABILITIES) },
    { "H2 empty version", false, 8, BYTES(H("\x48") "\x12supported-versions\x08\x00" SIZE CAPABILITIES) },
    { "H3 no max-frame-size", false, 6, BYTES(H("\x38") VERSIONS CAPABILITIES) },
    { "H3 max-frame-size 255", false, 9, BYTES(H("\x4a") VERSIONS "\x0emax-frame-size\x03\xff\x00" CAPABILITIES) },
    { "H3 max-frame-size 0", false, 9, BYTES(H("\x49") VERSIONS "\x0emax-frame-size\x03\x00" CAPABILITIES) },
    { "H3 max-frame-size -1", false, 9,
      BYTES(H("\x52") VERSIONS "\x0emax-frame-size\x04\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e" CAPABILITIES) },
    { "H4 no capabilities", false, 7, BYTES(H("\x32") VERSIONS SIZE) },
    { "H7 supported-versions as integer", false, 4, BYTES(H("\x48") "\x12supported-versions\x03\x02" SIZE CAPABILITIES) },
    { "H7 max-frame-size as string", false, 4, BYTES(H("\x4c") VERSIONS "\x0emax-frame-size\x08\x03" "999" CAPABILITIES) },
    { "H7 capabilities as boolean", false, 4, BYTES(H("\x40") VERSIONS SIZE "\x0c" "capabilities\x11") },
    { "H7 healthcheck as string", false, 4, BYTES(H("\x5a") VERSIONS SIZE CAPABILITIES "\x0bhealthcheck\x08\x01" "1") },
    { "H7 engine-id as null", false, 4, BYTES(H("\x56") VERSIONS SIZE CAPABILITIES "\x09" "engine-id\x00") },
    { "H7 value missing", false, 4, BYTES(H("\x1a") "\x12supported-versions") },
    { "H7 key cut", false, 4, BYTES(H("\x0a") "\x7fsu") },
    /* NOTIFY */
    { "N4 message name without arguments count", true, 4, BYTES("\x00\x00\x00\x09\x03\x00\x00\x00\x01\x01\x01\x01m") },
    { "N4 255 arguments promised, none there", true, 4, BYTES("\x00\x00\x00\x0a\x03\x00\x00\x00\x01\x01\x01\x01m\xff") },
    { "N4 argument without value", true, 4, BYTES("\x00\x00\x00\x0c\x03\x00\x00\x00\x01\x01\x01\x01m\x01\x01" "a") },
    { "N4 string longer than the frame", true, 4, BYTES("\x00\x00\x00\x0f\x03\x00\x00\x00\x01\x01\x01\x01m\x01\x01" "a\x08\x02" "b") },
    { "N4 second message cut", true, 4, BYTES("\x00\x00\x00\x10\x03\x00\x00\x00\x01\x01\x01\x01m\x01\x01" "a\x08\x01" "b\x05") },
    /* DISCONNECT and fragments */
    { "D2 malformed DISCONNECT", true, 4, BYTES("\x00\x00\x00\x0a\x02\x00\x00\x00\x01\x00\x00\x7fst") },
    { "G1 NOTIFY without FIN", true, 10, BYTES("\x00\x00\x00\x0f\x03\x00\x00\x00\x00\x01\x01\x01m\x01\x01" "a\x08\x01" "b") },
    { "G1 NOTIFY with ABRT alone", true, 10, BYTES("\x00\x00\x00\x07\x03\x00\x00\x00\x02\x01\x01") },
    { "G1 HELLO without FIN", false, 10, BYTES("\x00\x00\x00\x4b\x01\x00\x00\x00\x00\x00\x00" VERSIONS SIZE CAPABILITIES) },
    { "G1 UNSET", true, 11, BYTES("\x00\x00\x00\x08\x00\x00\x00\x00\x01\x01\x01x") },
    { "G1 UNSET with ABRT", true, 11, BYTES("\x00\x00\x00\x07\x00\x00\x00\x00\x03\x01\x01") },
    { "G1 UNSET before HELLO", false, 4, BYTES("\x00\x00\x00\x07\x00\x00\x00\x00\x01\x01\x01") },
};
enum { HOSTILE_FRAMES = sizeof hostile_frames / sizeof *hostile_frames };

#endif
