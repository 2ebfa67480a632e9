# The catalogue that is built into the program.
set(PRICE_CATALOGUE ${CMAKE_SOURCE_DIR}/agent/price/data/model-prices.json)
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/price_catalogue.c
  COMMAND ${CMAKE_COMMAND} -DOUT=${CMAKE_BINARY_DIR}/price_catalogue.c -P ${CMAKE_SOURCE_DIR}/agent/base/embed.cmake
          price_catalogue=${PRICE_CATALOGUE}
  DEPENDS ${PRICE_CATALOGUE} ${CMAKE_SOURCE_DIR}/agent/base/embed.cmake VERBATIM)
target_sources(tg_price PRIVATE ${CMAKE_BINARY_DIR}/price_catalogue.c)
install(FILES ${PRICE_CATALOGUE} DESTINATION share/tollgate)
