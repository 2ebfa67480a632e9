# tollgatectl: the operators' command. It counts offline with the same code as the agent, and asks the agent over the admin socket.
add_executable(tollgatectl agent/admin/tollgatectl_main.c agent/admin/tollgatectl_count_main.c agent/admin/tollgatectl_show_main.c
               agent/admin/tollgatectl_tokens_main.c)
target_link_libraries(tollgatectl PRIVATE tg_agent)
install(TARGETS tollgatectl DESTINATION bin)
