# The page: every file of web/ as it stands, built into the program. web/vendor/ holds what web/package.json names, bundled once by
# web/bundle.sh; building tollgate needs no npm.
set(CONSOLE_WEB ${CMAKE_SOURCE_DIR}/agent/console/web)
file(GLOB CONSOLE_FILES CONFIGURE_DEPENDS ${CONSOLE_WEB}/*.html ${CONSOLE_WEB}/*.css ${CONSOLE_WEB}/*.js ${CONSOLE_WEB}/*.svg
     ${CONSOLE_WEB}/vendor/*.js ${CONSOLE_WEB}/vendor/*.css)
set(type_html "text/html; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_svg "image/svg+xml")
set(console_embed "")
set(console_declarations "")
set(console_entries "")
foreach(file ${CONSOLE_FILES})
  file(RELATIVE_PATH name ${CONSOLE_WEB} ${file})
  string(MAKE_C_IDENTIFIER "console_file_${name}" symbol)
  get_filename_component(extension ${file} LAST_EXT)
  string(SUBSTRING ${extension} 1 -1 extension)
  list(APPEND console_embed ${symbol}=${file})
  string(APPEND console_declarations "extern const unsigned char ${symbol}[];\nextern const unsigned long ${symbol}_size;\n")
  string(APPEND console_entries "    { \"${name}\", \"${type_${extension}}\", ${symbol}, &${symbol}_size },\n")
endforeach()
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/console_files.c CONTENT
"#include \"console/private.h\"\n${console_declarations}const struct console_file console_files[] = {\n${console_entries}    { 0 },\n};\n")
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/console_bytes.c
  COMMAND ${CMAKE_COMMAND} -DOUT=${CMAKE_BINARY_DIR}/console_bytes.c -P ${CMAKE_SOURCE_DIR}/agent/base/embed.cmake ${console_embed}
  DEPENDS ${CONSOLE_FILES} ${CMAKE_SOURCE_DIR}/agent/base/embed.cmake VERBATIM)
target_sources(tg_console PRIVATE ${CMAKE_BINARY_DIR}/console_bytes.c ${CMAKE_BINARY_DIR}/console_files.c)
