# The vocabulary images: built from data/ by vocab_build, mapped by the agent at start.
add_executable(vocab_build ${CMAKE_SOURCE_DIR}/agent/tokens/vocab_build_main.c)
target_include_directories(vocab_build PRIVATE agent)

set(TOKENS_DATA ${CMAKE_SOURCE_DIR}/agent/tokens/data)
set(TOKENS_IMAGES ${CMAKE_BINARY_DIR}/share/tollgate)
file(MAKE_DIRECTORY ${TOKENS_IMAGES})

function(tollgate_vocabulary name pattern)
  set(ranks)
  foreach(file ${ARGN})
    list(APPEND ranks ${TOKENS_DATA}/${file}.tkv)
  endforeach()
  add_custom_command(OUTPUT ${TOKENS_IMAGES}/${name}.tgv
    COMMAND vocab_build ${name} ${pattern} ${TOKENS_DATA}/unicode16.tsv ${TOKENS_IMAGES}/${name}.tgv ${ranks}
    DEPENDS vocab_build ${TOKENS_DATA}/unicode16.tsv ${ranks}
    COMMENT "Vocabulary ${name}" VERBATIM)
endfunction()

tollgate_vocabulary(o200k_base o200k o200k_base)
tollgate_vocabulary(cl100k_base cl100k cl100k_base)
tollgate_vocabulary(p50k_base gpt2 r50k_base p50k_base)
tollgate_vocabulary(r50k_base gpt2 r50k_base)
set(images)
foreach(name o200k_base cl100k_base p50k_base r50k_base)
  list(APPEND images ${TOKENS_IMAGES}/${name}.tgv)
endforeach()
add_custom_target(vocabularies ALL DEPENDS ${images})
add_dependencies(tg_tokens vocabularies)
install(FILES ${images} ${TOKENS_DATA}/LICENSE.tiktoken DESTINATION share/tollgate)
target_compile_definitions(tg_tokens PRIVATE TOKENIZERS_INSTALLED="${CMAKE_INSTALL_PREFIX}/share/tollgate")
