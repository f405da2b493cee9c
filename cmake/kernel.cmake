# Builds cbprocess.sys, the kernel driver, with mingw-w64 or clang (zig), for x64 and ARM64. The policy and what is
# below it are compiled for it once more, because kernel code has flags of its own. Whoever has MSVC and the WDK uses
# driver/windows/kernel/cbprocess.vcxproj instead.
if(MSVC)
  return()
endif()

set(_kernel "${PROJECT_SOURCE_DIR}/driver/windows/kernel")
set(_machine x64)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|ARM64|arm64)$")
  set(_machine arm64)
endif()
if(_machine STREQUAL "arm64" AND NOT ZIG)
  message(STATUS "cbprocess.sys for ARM64 is built with zig only")
  return()
endif()

# The kernel's own headers lie in a folder beside those for programs.
get_filename_component(_zig_folder "${ZIG}" DIRECTORY)
find_path(CBP_DDK_FOLDER ntifs.h PATH_SUFFIXES ddk REQUIRED NO_CMAKE_FIND_ROOT_PATH PATHS
  "${_zig_folder}/lib/libc/include/any-windows-any" ${CMAKE_C_IMPLICIT_INCLUDE_DIRECTORIES} /usr/share/mingw-w64/include
  NO_DEFAULT_PATH)

file(GLOB _kernel_sources CONFIGURE_DEPENDS driver/protocol/*.c driver/rules/*.c driver/policy/*.c "${_kernel}/*.c")
add_library(kernel_objects OBJECT ${_kernel_sources})
target_include_directories(kernel_objects PRIVATE driver/protocol driver/rules driver/policy "${_kernel}")
target_include_directories(kernel_objects SYSTEM PRIVATE "${CBP_DDK_FOLDER}")
target_link_libraries(kernel_objects PRIVATE cbp_warnings)
set_target_properties(kernel_objects PROPERTIES POSITION_INDEPENDENT_CODE OFF)
target_compile_options(kernel_objects PRIVATE
  # A stack in the kernel is small, and nothing grows it: so there is no call of a probe either.
  -Wframe-larger-than=3072
  -ffreestanding -fno-builtin -fno-strict-aliasing -fno-lto -fno-ident -fno-stack-protector
  # The system unwinds stacks by these tables, which compilers leave out for programs without a C library.
  -fasynchronous-unwind-tables
  -U_WIN32_WINNT -D_WIN32_WINNT=0x0A00 -DNTDDI_VERSION=0x0A000002)
if(_machine STREQUAL "x64")
  # An interrupt writes below the stack pointer.
  target_compile_options(kernel_objects PRIVATE -mno-red-zone)
endif()
# Registers of floating point and vectors are the interrupted program's. zig knows this option by other names.
if(NOT ZIG)
  target_compile_options(kernel_objects PRIVATE -mgeneral-regs-only)
elseif(_machine STREQUAL "x64")
  target_compile_options(kernel_objects PRIVATE -mcpu=x86_64-mmx-sse-sse2-x87+soft_float)
else()
  target_compile_options(kernel_objects PRIVATE -mcpu=generic-neon-fp_armv8)
endif()
if(ZIG)
  # Control Flow Guard, which gcc does not have.
  target_sources(kernel_objects PRIVATE "${_kernel}/clang/guard.c")
  target_compile_options(kernel_objects PRIVATE -mguard=cf)
endif()

# The version resource.
set(_resource "${CMAKE_BINARY_DIR}/kernel_version")
string(REPLACE "." "," CBP_VERSION_NUMBERS "${PROJECT_VERSION},0")
configure_file("${_kernel}/version.rc.in" "${_resource}.rc" @ONLY)

# The linker knows no library but the list of what may be imported.
set(_imports "${CMAKE_BINARY_DIR}/kernel_imports")
set(_sys "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/cbprocess.sys")
if(ZIG)
  string(REPLACE x64 i386:x86-64 _dll_machine ${_machine})
  set(_imports "${_imports}.lib")
  set(_dlltool "${ZIG}" dlltool -m ${_dll_machine})
  set(_rc "${ZIG}" rc /:no-preprocess /:target ${_machine} -- "${_resource}.rc" "${_resource}.res")
  set(_resource "${_resource}.res")
  set(_link "${ZIG}" lld-link /lldmingw /machine:${_machine} /subsystem:native,10.0 /driver /entry:DriverEntry
    /base:0x140000000 /dynamicbase /highentropyva /nxcompat /integritycheck /guard:cf /release /brepro /nodefaultlib
    "/out:${_sys}" $<TARGET_OBJECTS:kernel_objects> "${_resource}" "${_imports}")
else()
  set(_imports "${_imports}.a")
  set(_dlltool "${CMAKE_DLLTOOL}" -m i386:x86-64)
  set(_rc "${CMAKE_RC_COMPILER}" -O coff "${_resource}.rc" "${_resource}.o")
  set(_resource "${_resource}.o")
  set(_link "${CMAKE_C_COMPILER}" -nostdlib -s -Wl,--subsystem,native:10.0 -Wl,--major-os-version,10
    -Wl,--minor-os-version,0 -Wl,--entry,DriverEntry -Wl,--image-base,0x140000000 -Wl,--file-alignment,0x200
    -Wl,--section-alignment,0x1000 -Wl,--dynamicbase -Wl,--nxcompat -Wl,--high-entropy-va -Wl,--forceinteg
    -Wl,--no-insert-timestamp -o "${_sys}" $<TARGET_OBJECTS:kernel_objects> "${_resource}" "${_imports}")
endif()
add_custom_command(OUTPUT "${_imports}" DEPENDS "${_kernel}/imports.def" VERBATIM
  COMMAND ${_dlltool} -d "${_kernel}/imports.def" -l "${_imports}")
add_custom_command(OUTPUT "${_resource}" DEPENDS "${CMAKE_BINARY_DIR}/kernel_version.rc" COMMAND ${_rc} VERBATIM)
add_custom_command(OUTPUT "${_sys}" COMMAND_EXPAND_LISTS VERBATIM
  DEPENDS kernel_objects $<TARGET_OBJECTS:kernel_objects> "${_imports}" "${_resource}"
  COMMAND "${CMAKE_COMMAND}" -E make_directory "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
  COMMAND ${_link})
add_custom_target(cbprocess-kernel ALL DEPENDS "${_sys}")
