# `cmake --install` and `cpack -G DEB`. What belongs to the system goes where Debian looks for it; the default configuration goes to /etc
# below /usr and /usr/local, else below the prefix.
include(GNUInstallDirs)
set(PACKAGE ${CMAKE_SOURCE_DIR}/agent/package)
if(CMAKE_INSTALL_PREFIX MATCHES "^/usr(/local)?/?$")
  set(TOLLGATE_ETC /etc CACHE PATH "where the default configuration goes")
else()
  set(TOLLGATE_ETC etc CACHE PATH "where the default configuration goes")
endif()

install(FILES ${PACKAGE}/tollgate.yaml ${PACKAGE}/jwks.json DESTINATION ${TOLLGATE_ETC}/tollgate)
install(FILES ${PACKAGE}/logrotate DESTINATION ${TOLLGATE_ETC}/logrotate.d RENAME tollgate)
# Names the program by its path, which is known when it is installed.
install(CODE "set(BINDIR \"\${CMAKE_INSTALL_PREFIX}/bin\")
configure_file(\"${PACKAGE}/tollgate.service.in\" \"${CMAKE_BINARY_DIR}/tollgate.service\" @ONLY)")
install(FILES ${CMAKE_BINARY_DIR}/tollgate.service DESTINATION lib/systemd/system)
configure_file(${PACKAGE}/tollgate.8.in ${CMAKE_BINARY_DIR}/tollgate.8 @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/tollgate.8 DESTINATION share/man/man8)
install(FILES ${PACKAGE}/completion.bash DESTINATION share/bash-completion/completions RENAME tollgate)
install(FILES ${CMAKE_SOURCE_DIR}/haproxy/examples/tollgate.yaml ${CMAKE_SOURCE_DIR}/haproxy/observe/alerts.yml
  ${CMAKE_SOURCE_DIR}/haproxy/observe/dashboard.json DESTINATION share/doc/tollgate/examples)
install(FILES ${CMAKE_SOURCE_DIR}/README.md DESTINATION share/doc/tollgate)
install(FILES ${CMAKE_SOURCE_DIR}/haproxy/README.md DESTINATION share/doc/tollgate RENAME haproxy.md)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tollgate)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION} CACHE STRING "version of the package")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "AI gateway inside HAProxy: identity, tokens, budgets, ledger")
set(CPACK_PACKAGE_CONTACT "tollgate maintainers <maintainers@localhost.localdomain>" CACHE STRING "who builds the package")
set(CPACK_PACKAGE_DESCRIPTION "HAProxy asks this agent about every LLM request before a provider sees
it. The agent verifies who is asking, counts tokens, holds the most the
request can cost against every budget that applies, chooses provider and
key, and keeps an SQLite ledger of what was really used.")
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_BUILD_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.54~), haproxy (>= 2.6), ca-certificates, tzdata")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "logrotate, sqlite3, prometheus")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${PACKAGE}/conffiles ${PACKAGE}/postinst ${PACKAGE}/prerm ${PACKAGE}/postrm)
set(CPACK_PRE_BUILD_SCRIPTS ${PACKAGE}/debian-files.cmake)
include(CPack)
