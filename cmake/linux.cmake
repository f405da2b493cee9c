# Builds for Linux: the library, the helper and the launcher that it starts.
# The drivers have a row each.
set(CBP_DRIVERS native/src/drivers/bpf native/src/drivers/ptrace native/src/drivers/simulated)

set(_core_folders base core recording seams platform/linux drivers/helper)
list(TRANSFORM _core_folders PREPEND native/src/)
list(APPEND _core_folders ${CBP_DRIVERS})
list(TRANSFORM _core_folders APPEND /*.c OUTPUT_VARIABLE _core_sources)
file(GLOB _core CONFIGURE_DEPENDS ${_core_sources})
file(GLOB _helper CONFIGURE_DEPENDS driver/linux/ptrace/*.c)
file(GLOB _launcher CONFIGURE_DEPENDS driver/linux/launch/*.c)

# This library asks the system, for the core and for the drivers.
cbp_driver_library(facts linux/facts protocol)
# This one finds out what an execve would execute, for the helper and for the core's bpf driver.
cbp_driver_library(execution linux/execution facts text)

# The core is objects, so that the C tests reach what the library does not export.
add_library(core OBJECT ${_core})
target_compile_definitions(core PRIVATE CBP_BUILDING)
target_compile_definitions(core PRIVATE "CBPI_HELPER_FOLDER=\"${CBP_HELPER_FOLDER}\"")
target_include_directories(core PUBLIC native/include ${_core_folders})
target_link_libraries(core PRIVATE cbp_flags Threads::Threads PUBLIC policy facts execution)

cbp_driver_list(drivers ${CBP_DRIVERS})

set(_exports "${CMAKE_CURRENT_SOURCE_DIR}/native/src/platform/linux/exports.map")
add_library(cbprocess SHARED $<TARGET_OBJECTS:core> $<TARGET_OBJECTS:drivers>)
target_link_libraries(cbprocess PRIVATE cbp_flags policy facts execution Threads::Threads ${CMAKE_DL_LIBS})
target_link_options(cbprocess PRIVATE "LINKER:--version-script=${_exports}")
set_target_properties(cbprocess PROPERTIES LINK_DEPENDS "${_exports}")

add_executable(cbprocess-ptrace ${_helper})
target_include_directories(cbprocess-ptrace PRIVATE driver/linux/ptrace)
target_link_libraries(cbprocess-ptrace PRIVATE cbp_flags helper execution facts Threads::Threads)

# The guard of the bpf driver opens libbpf by itself when it is started.
file(GLOB _guard CONFIGURE_DEPENDS driver/linux/bpf/guard/*.c)
add_executable(cbprocess-guard ${_guard})
target_include_directories(cbprocess-guard PRIVATE driver/linux/bpf/guard)
target_link_libraries(cbprocess-guard PRIVATE cbp_flags protocol facts Threads::Threads ${CMAKE_DL_LIBS})

# A static program without a C library loads nothing that the environment names. Compilers add calls by themselves
# (sanitizers, stack protectors, fortified calls) that would need one, so such programs have a protocol library of
# their own.
add_library(freestanding INTERFACE)
target_compile_options(freestanding INTERFACE -ffreestanding -fno-stack-protector -fno-sanitize=all -fno-lto
  -fno-asynchronous-unwind-tables -U_FORTIFY_SOURCE)
target_link_options(freestanding INTERFACE -nostdlib -static)
target_link_libraries(freestanding INTERFACE cbp_warnings)

add_library(bare STATIC driver/linux/bare/bare_start.c driver/protocol/cbp_message_check.c)
target_include_directories(bare PUBLIC driver/linux/bare driver/protocol)
target_link_libraries(bare PRIVATE freestanding)

function(add_bare_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE freestanding bare)
  target_link_options(${name} PRIVATE LINKER:--entry=_start)
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
endfunction()
set_target_properties(bare PROPERTIES POSITION_INDEPENDENT_CODE OFF)

# Of the facts such a program uses headers alone: system calls, and what one of them gives.
add_library(bare_facts INTERFACE)
target_include_directories(bare_facts INTERFACE driver/linux/facts)
target_link_libraries(bare_facts INTERFACE bare)

add_bare_program(cbprocess-launch ${_launcher})
target_include_directories(cbprocess-launch PRIVATE driver/linux/launch)
target_link_libraries(cbprocess-launch PRIVATE bare_facts)

# This is the command of the Python package; setup.py puts it among the scripts.
add_bare_program(cbprocess-front native/front/front.c)
set_target_properties(cbprocess-front PROPERTIES OUTPUT_NAME cbprocess
  RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/_front")

include(cmake/bpf.cmake)
include(cmake/install.cmake)
