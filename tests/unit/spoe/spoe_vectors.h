/* Frames as bytes, for tests and tools. */
#ifndef SPOE_VECTORS_H
#define SPOE_VECTORS_H

#define BYTES(literal) literal, sizeof(literal) - 1

/* Captured from HAProxy 2.6.12: max-frame-size 65532, capabilities "pipelining,async", an engine-id. */
#define HELLO_26                                                                                                       \
    "\x00\x00\x00\x81\x01\x00\x00\x00\x01\x00\x00\x12supported-versions\x08\x03"                                       \
    "2.0\x0emax-frame-size\x03\xfc\xf0\x1e\x0c"                                                                        \
    "capabilities\x08\x10pipelining,async\x09"                                                                         \
    "engine-id\x08\x24"                                                                                                \
    "1b63e112-4854-4a1f-87d5-b63cd4728b82"
/* Captured from the same: `option spop-check`. */
#define HEALTHCHECK_26                                                                                                 \
    "\x00\x00\x00\x4e\x01\x00\x00\x00\x01\x00\x00\x12supported-versions\x08\x03"                                       \
    "2.0\x0emax-frame-size\x03\xfc\xf0\x1e\x0c"                                                                        \
    "capabilities\x08\x00\x0b"                                                                                         \
    "healthcheck\x11"
/* NOTIFY sid, fid as one byte each, message "m" with one argument "a" = string "b". */
#define NOTIFY_AB(sid, fid) "\x00\x00\x00\x0f\x03\x00\x00\x00\x01" sid fid "\x01m\x01\x01" "a\x08\x01" "b"
/* The harness's answer to it. */
#define ACK_OK(sid, fid) "\x00\x00\x00\x0e\x67\x00\x00\x00\x01" sid fid "\x01\x03\x02\x02ok\x11"
/* AGENT-HELLO for max-frame-size 65532. */
#define AGENT_HELLO                                                                                                    \
    "\x00\x00\x00\x40\x65\x00\x00\x00\x01\x00\x00\x07version\x08\x03"                                                  \
    "2.0\x0emax-frame-size\x03\xfc\xf0\x1e\x0c"                                                                        \
    "capabilities\x08\x0apipelining"

#endif
