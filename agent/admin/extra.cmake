# tollgatectl: the operators' command. It counts offline with the same code as the agent, reads the ledger's file, and asks the agent over
# the admin socket.
file(GLOB CTL_SOURCES CONFIGURE_DEPENDS agent/admin/tollgatectl_*main.c)
add_executable(tollgatectl ${CTL_SOURCES})
target_link_libraries(tollgatectl PRIVATE tg_agent)
install(TARGETS tollgatectl DESTINATION bin)
