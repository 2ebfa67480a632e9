# cmake -DOUT=file.c -P embed.cmake symbol=path [symbol=path ...]
# Writes a C file with `const unsigned char SYMBOL[]` (a NUL behind the content) and `const unsigned long SYMBOL_size` for each file.
set(text "/* Made by embed.cmake. */\n")
set(first 0)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${first} ${last})
  if("${CMAKE_ARGV${i}}" MATCHES "^([A-Za-z_0-9]+)=(/.*)$")
    set(symbol ${CMAKE_MATCH_1})
    file(READ "${CMAKE_MATCH_2}" hex HEX)
    string(LENGTH "${hex}" digits)
    math(EXPR size "${digits} / 2")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(APPEND text "extern const unsigned char ${symbol}[];\nextern const unsigned long ${symbol}_size;\n"
      "const unsigned char ${symbol}[] = { ${bytes}0x00 };\nconst unsigned long ${symbol}_size = ${size};\n")
  endif()
endforeach()
file(WRITE "${OUT}" "${text}")
