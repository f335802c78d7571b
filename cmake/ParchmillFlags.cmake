# One interface target that every target of ours links: warnings, hardening, sanitizers.
add_library(pm_flags INTERFACE)
target_compile_definitions(pm_flags INTERFACE _GNU_SOURCE)
target_include_directories(pm_flags INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>)
target_compile_options(pm_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> -fno-common -fno-math-errno -ffp-contract=off -g)
if(PARCHMILL_WERROR)
  target_compile_options(pm_flags INTERFACE -Werror)
endif()
# Asserts are for our own bugs and stay on in every build.
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELWITHDEBINFO "${CMAKE_C_FLAGS_RELWITHDEBINFO}")
if(PARCHMILL_SANITIZE)
  target_compile_options(pm_flags INTERFACE -fsanitize=${PARCHMILL_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(pm_flags INTERFACE -fsanitize=${PARCHMILL_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(pm_flags INTERFACE -fstack-protector-strong -D_FORTIFY_SOURCE=2
    -fstack-clash-protection)
  target_link_options(pm_flags INTERFACE -Wl,-z,relro,-z,now)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
endif()
