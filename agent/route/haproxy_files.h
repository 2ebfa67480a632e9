/* Files of haproxy/ built into the program (agent/route/extra.cmake): the bytes as they stand there, not NUL-terminated. */
#ifndef TOLLGATE_ROUTE_HAPROXY_FILES_H
#define TOLLGATE_ROUTE_HAPROXY_FILES_H

#include <stddef.h>

extern const unsigned char haproxy_file_spoe[];
extern const size_t haproxy_file_spoe_size;
extern const unsigned char haproxy_file_lua[];
extern const size_t haproxy_file_lua_size;

#endif
