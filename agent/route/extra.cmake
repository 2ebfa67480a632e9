# The SPOE and Lua files live in haproxy/, where a user reads them; `tollgate haproxy` writes out these very bytes.
function(tollgate_embed name file)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  set(source ${CMAKE_BINARY_DIR}/generated/${name}.c)
  file(CONFIGURE OUTPUT ${source} CONTENT
"#include \"route/haproxy_files.h\"
const unsigned char ${name}[] = { ${bytes} };
const size_t ${name}_size = sizeof(${name});
" @ONLY)
  target_sources(tg_route PRIVATE ${source})
endfunction()

if(TARGET tg_route)
  tollgate_embed(haproxy_file_spoe ${CMAKE_SOURCE_DIR}/haproxy/tollgate-spoe.conf)
  tollgate_embed(haproxy_file_lua ${CMAKE_SOURCE_DIR}/haproxy/lua/tollgate.lua)
endif()
