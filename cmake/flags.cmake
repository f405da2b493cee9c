# Everything of this project is compiled and linked with cbp_flags; cbp_warnings is the part of them that does not
# need a C library. Warnings stand here, so that no target forgets one.
add_library(cbp_warnings INTERFACE)
add_library(cbp_flags INTERFACE)
target_link_libraries(cbp_flags INTERFACE cbp_warnings)
if(MSVC)
  # C4324 says that a structure was padded because of its alignment, as it was told to be.
  target_compile_options(cbp_warnings INTERFACE /W4 /wd4324 /utf-8 $<$<BOOL:${CBP_WERROR}>:/WX>)
  target_compile_definitions(cbp_warnings INTERFACE _CRT_SECURE_NO_WARNINGS)
  return()
endif()
target_compile_options(cbp_warnings INTERFACE -Wall -Wextra -Wconversion $<$<BOOL:${CBP_WERROR}>:-Werror>)
if(ZIG_TARGET MATCHES "-musl")
  # Its CMSG_NXTHDR compares numbers of different signs, which clang says of every file that uses it.
  target_compile_options(cbp_warnings INTERFACE -Wno-sign-compare)
endif()
# The value is empty, so that a file may say `#define _GNU_SOURCE` itself.
target_compile_options(cbp_warnings INTERFACE -D_GNU_SOURCE=)
# The linker strips, because a machine without binutils has no strip for `cmake --install --strip`. Static
# libraries bring whole files, and what a program does not use of them goes.
target_compile_options(cbp_warnings INTERFACE
  $<$<CONFIG:Release>:-ffunction-sections> $<$<CONFIG:Release>:-fdata-sections>)
target_link_options(cbp_warnings INTERFACE $<$<CONFIG:Release>:-s> $<$<CONFIG:Release>:LINKER:--gc-sections>)

if(WIN32)
  # printf is as C11 has it with every C library, and nothing of the compiler lies beside the DLL.
  target_compile_definitions(cbp_flags INTERFACE __USE_MINGW_ANSI_STDIO=1)
  target_link_options(cbp_flags INTERFACE -static-libgcc)
endif()
if(CBP_SANITIZE)
  set(_sanitize -fsanitize=${CBP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(cbp_flags INTERFACE ${_sanitize})
  target_link_options(cbp_flags INTERFACE ${_sanitize})
  if(CBP_SANITIZE STREQUAL "thread")
    # Its run-time library takes a clone() for a fork, which the nested ones that start the helper are not;
    # under this name glibc's own is called.
    target_compile_definitions(cbp_flags INTERFACE clone=__clone)
  endif()
elseif(NOT CBP_FUZZ AND NOT WIN32)
  target_link_options(cbp_flags INTERFACE LINKER:--no-undefined)
endif()
if(CBP_FUZZ)
  target_compile_options(cbp_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
