# The Linux build: the library, the supervisor and the launcher that it starts.
file(GLOB _core CONFIGURE_DEPENDS native/src/*.c native/src/linux/*.c
     native/src/simulated/*.c driver/linux/shared/*.c)
file(GLOB _supervisor CONFIGURE_DEPENDS driver/common/*.c driver/linux/ptrace/*.c
     driver/linux/shared/*.c)
file(GLOB _launcher CONFIGURE_DEPENDS driver/linux/ptrace/launch*.c)
list(REMOVE_ITEM _supervisor ${_launcher})

# Objects, so that the C tests reach what the library does not export.
add_library(core OBJECT ${_core})
target_compile_definitions(core PRIVATE CBP_BUILDING)
target_compile_definitions(core PRIVATE "CBPI_HELPER_FOLDER=\"${CBP_HELPER_FOLDER}\"")
target_include_directories(core PUBLIC native/include driver/protocol native/src driver/linux/shared)
target_link_libraries(core PRIVATE cbp_flags Threads::Threads)

set(_exports "${CMAKE_CURRENT_SOURCE_DIR}/native/src/linux/exports.map")
add_library(cbprocess SHARED $<TARGET_OBJECTS:core> $<TARGET_OBJECTS:protocol>)
target_link_libraries(cbprocess PRIVATE cbp_flags Threads::Threads ${CMAKE_DL_LIBS})
target_link_options(cbprocess PRIVATE "LINKER:--version-script=${_exports}")
set_target_properties(cbprocess PROPERTIES LINK_DEPENDS "${_exports}")

add_executable(cbprocess-supervisor ${_supervisor} $<TARGET_OBJECTS:protocol>)
target_include_directories(cbprocess-supervisor PRIVATE driver/protocol driver/common driver/linux/ptrace
  driver/linux/shared)
target_link_libraries(cbprocess-supervisor PRIVATE cbp_flags Threads::Threads)

# A static program without a C library: nothing that the environment names is loaded into it. What compilers
# add by themselves (sanitizers, stack protectors, fortified calls) would need one.
function(add_bare_program name)
  add_executable(${name} ${ARGN} driver/linux/bare/bare_start.c)
  target_include_directories(${name} PRIVATE driver/linux/bare driver/protocol)
  target_compile_options(${name} PRIVATE -ffreestanding -fno-stack-protector -fno-sanitize=all -fno-lto
    -fno-asynchronous-unwind-tables -U_FORTIFY_SOURCE)
  target_link_options(${name} PRIVATE -nostdlib -static)
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_link_libraries(${name} PRIVATE cbp_warnings)
endfunction()

add_bare_program(cbprocess-launch ${_launcher} driver/protocol/cbp_message_check.c)

# The command of the Python package; setup.py puts it among the scripts.
add_bare_program(cbprocess-front native/front/front.c)
set_target_properties(cbprocess-front PROPERTIES OUTPUT_NAME cbprocess
  RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/_front")

include(cmake/install.cmake)
