# tollgatectl: the operators' command. It counts offline with the same code as the agent, reads the ledger's file, and asks the agent over
# the admin socket.
file(GLOB CTL_SOURCES CONFIGURE_DEPENDS agent/admin/tollgatectl_*main.c)
add_executable(tollgatectl ${CTL_SOURCES})
target_link_libraries(tollgatectl PRIVATE tg_agent)
install(TARGETS tollgatectl DESTINATION bin)

# The manual page and the completion script are what the program prints of its own table of commands.
include(GNUInstallDirs)
add_custom_command(TARGET tollgatectl POST_BUILD
  COMMAND tollgatectl man > ${CMAKE_BINARY_DIR}/tollgatectl.1
  COMMAND tollgatectl completion bash > ${CMAKE_BINARY_DIR}/tollgatectl.bash)
install(FILES ${CMAKE_BINARY_DIR}/tollgatectl.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${CMAKE_BINARY_DIR}/tollgatectl.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME tollgatectl)
