# What Debian's policy wants beside the program's own files: compressed manual pages (12.1), copyright (12.5) and changelog (12.7).
if(NOT EXISTS ${CPACK_TEMPORARY_DIRECTORY}/etc/tollgate OR NOT CPACK_BUILD_PREFIX STREQUAL "/usr")
  message(FATAL_ERROR "the programs of this build look for their data below ${CPACK_BUILD_PREFIX}; configure it with -DCMAKE_INSTALL_PREFIX=/usr")
endif()
get_filename_component(SOURCE ${CMAKE_CURRENT_LIST_DIR}/../.. ABSOLUTE)
set(ROOT ${CPACK_TEMPORARY_DIRECTORY}/usr/share)
file(GLOB pages ${ROOT}/man/man*/*.[1-8])
file(READ ${SOURCE}/LICENSE licence)
string(REPLACE "\n\n" "\n.\n" licence "${licence}")
string(REPLACE "\n" "\n " licence " ${licence}")
file(WRITE ${ROOT}/doc/tollgate/copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: tollgate

Files: *
Copyright: tollgate maintainers
License: MIT

License: MIT
${licence}
")
file(WRITE ${ROOT}/doc/tollgate/changelog "tollgate (${CPACK_PACKAGE_VERSION}) bookworm; urgency=medium

  * See the project's history.

 -- ${CPACK_PACKAGE_CONTACT}  Thu, 01 Jan 1970 00:00:00 +0000
")
foreach(page ${pages} ${ROOT}/doc/tollgate/changelog)
  execute_process(COMMAND gzip -9nf ${page} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(GLOB_RECURSE all ${CPACK_TEMPORARY_DIRECTORY}/usr/share/* ${CPACK_TEMPORARY_DIRECTORY}/usr/lib/* ${CPACK_TEMPORARY_DIRECTORY}/etc/*)
file(CHMOD ${all} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
