# pm_room(NAME sources... LINK libs...): a static library of one room.
function(pm_room name)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  add_library(${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC pm_flags ${arg_LINK})
endfunction()

# pm_embed(OUT FILES f... HEADER h TYPE t LIST l COUNT c [NUMBERED]): the texts of files as C, made
# when they change: `const t l[]` of {name, text} in order of their names, and how many there are as
# `const c`; header h declares all three. A name is the file's without its end; NUMBERED: all of it,
# which begins with 0001, 0002, ... without a gap.
function(pm_embed out)
  cmake_parse_arguments(arg "NUMBERED" "HEADER;TYPE;LIST;COUNT" "FILES" ${ARGN})
  set(script ${CMAKE_SOURCE_DIR}/cmake/embed.cmake)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} "-DFILES=${arg_FILES}" -DHEADER=${arg_HEADER} -DTYPE=${arg_TYPE}
            -DLIST=${arg_LIST} "-DCOUNT=${arg_COUNT}" -DNUMBERED=${arg_NUMBERED} -P ${script}
    DEPENDS ${arg_FILES} ${script} VERBATIM)
endfunction()

# What ThreadSanitizer runs, and so all that its build has to make.
add_custom_target(pure_tests)

# pm_test(NAME sources... LINK libs... [LABELS l...] [TIMEOUT s]): a cmocka program, run by ctest.
# PARCHMILL_SOURCE_DIR and PARCHMILL_BIN_DIR tell it where the tree and the programs are.
function(pm_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "LINK;LABELS" ${ARGN})
  add_executable(test_${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(test_${name} PRIVATE pm_flags ${arg_LINK} PkgConfig::cmocka)
  set_target_properties(test_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND test_${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
    ENVIRONMENT "PARCHMILL_SOURCE_DIR=${CMAKE_SOURCE_DIR};PARCHMILL_BIN_DIR=${CMAKE_BINARY_DIR}/bin")
  if("pure" IN_LIST arg_LABELS)
    add_dependencies(pure_tests test_${name})
  endif()
endfunction()
