# Builds cbprocess.sys, the kernel driver, with mingw-w64 or clang (zig), for x64 and ARM64. The policy and what is
# below it are compiled for it once more, because kernel code has flags of its own. Whoever has MSVC and the WDK uses
# driver/windows/kernel/cbprocess.vcxproj instead.
if(MSVC)
  return()
endif()

set(_kernel "${PROJECT_SOURCE_DIR}/driver/windows/kernel")
set(_arm64 FALSE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|ARM64|arm64)$")
  set(_arm64 TRUE)
endif()

# The kernel's own headers lie beside those of the C library, which a freestanding program has none of.
find_path(CBP_DDK_FOLDER ntifs.h PATH_SUFFIXES ddk REQUIRED NO_CMAKE_FIND_ROOT_PATH
  PATHS ${CMAKE_C_IMPLICIT_INCLUDE_DIRECTORIES} /usr/share/mingw-w64/include /usr/x86_64-w64-mingw32/include)

file(GLOB _kernel_sources CONFIGURE_DEPENDS driver/protocol/*.c driver/rules/*.c driver/policy/*.c
  "${_kernel}/*.c")
add_library(kernel_objects OBJECT ${_kernel_sources})
target_include_directories(kernel_objects PRIVATE driver/protocol driver/rules driver/policy "${_kernel}")
target_include_directories(kernel_objects SYSTEM PRIVATE "${CBP_DDK_FOLDER}")
target_link_libraries(kernel_objects PRIVATE cbp_warnings)
set_target_properties(kernel_objects PROPERTIES POSITION_INDEPENDENT_CODE OFF)
target_compile_options(kernel_objects PRIVATE
  # A stack in the kernel is small, and nothing grows it: so there is no call of a probe either.
  -Wframe-larger-than=3072
  -ffreestanding -fno-builtin -fno-strict-aliasing -fno-lto -fno-ident -fno-stack-protector
  # Registers of floating point are the interrupted program's.
  -mgeneral-regs-only
  -U_WIN32_WINNT -D_WIN32_WINNT=0x0A00 -DNTDDI_VERSION=0x0A000002)
if(NOT _arm64)
  # An interrupt writes below the stack pointer.
  target_compile_options(kernel_objects PRIVATE -mno-red-zone)
endif()

# The version resource.
set(_resource "${CMAKE_BINARY_DIR}/kernel_version")
string(REPLACE "." "," CBP_VERSION_NUMBERS "${PROJECT_VERSION},0")
configure_file("${_kernel}/version.rc.in" "${_resource}.rc" @ONLY)

# The linker knows no library but the list of what may be imported.
set(_imports "${CMAKE_BINARY_DIR}/kernel_imports")
set(_sys "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/cbprocess.sys")
if(ZIG)
  set(_machine $<IF:${_arm64},arm64,i386:x86-64>)
  set(_dlltool "${ZIG}" dlltool)
  set(_rc "${ZIG}" rc /:no-preprocess /:target $<IF:${_arm64},arm64,x64> "${_resource}.rc" "${_resource}.res")
  set(_resource "${_resource}.res")
  set(_link "${ZIG}" lld-link /machine:$<IF:${_arm64},arm64,x64> /subsystem:native,10.0 /driver /entry:DriverEntry
    /base:0x140000000 /dynamicbase /highentropyva /nxcompat /integritycheck /release /brepro /nodefaultlib
    /out:${_sys} $<TARGET_OBJECTS:kernel_objects> "${_resource}" "${_imports}.lib")
  set(_imports "${_imports}.lib")
else()
  set(_machine i386:x86-64)
  set(_dlltool "${CMAKE_DLLTOOL}")
  set(_rc "${CMAKE_RC_COMPILER}" -O coff "${_resource}.rc" "${_resource}.o")
  set(_resource "${_resource}.o")
  set(_link "${CMAKE_C_COMPILER}" -nostdlib -shared -s -Wl,--subsystem,native:10.0 -Wl,--entry,DriverEntry
    -Wl,--image-base,0x140000000 -Wl,--file-alignment,0x200 -Wl,--section-alignment,0x1000 -Wl,--dynamicbase
    -Wl,--nxcompat -Wl,--high-entropy-va -Wl,--forceinteg -Wl,--exclude-all-symbols -Wl,--no-insert-timestamp
    -o ${_sys} $<TARGET_OBJECTS:kernel_objects> "${_resource}" "${_imports}.a")
  set(_imports "${_imports}.a")
endif()
add_custom_command(OUTPUT "${_imports}" DEPENDS "${_kernel}/imports.def" VERBATIM
  COMMAND ${_dlltool} -m ${_machine} -d "${_kernel}/imports.def" -l "${_imports}")
add_custom_command(OUTPUT "${_resource}" DEPENDS "${CMAKE_BINARY_DIR}/kernel_version.rc" COMMAND ${_rc} VERBATIM)
add_custom_command(OUTPUT "${_sys}" DEPENDS kernel_objects $<TARGET_OBJECTS:kernel_objects> "${_imports}" "${_resource}"
  COMMAND ${_link} COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(cbprocess-kernel DEPENDS "${_sys}")
