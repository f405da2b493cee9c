# Builds for Windows: the DLL and the debug helper that it starts. With mingw-w64, clang (zig) or MSVC.
# The drivers have a row each.
set(CBP_DRIVERS native/src/drivers/kernel native/src/drivers/debug native/src/drivers/simulated)

set(_core_folders base core recording seams platform/windows drivers/helper)
list(TRANSFORM _core_folders PREPEND native/src/)
list(APPEND _core_folders ${CBP_DRIVERS})
list(TRANSFORM _core_folders APPEND /*.c OUTPUT_VARIABLE _core_sources)
file(GLOB _core CONFIGURE_DEPENDS ${_core_sources})
file(GLOB _helper CONFIGURE_DEPENDS driver/windows/debug/*.c)

target_compile_definitions(cbp_flags INTERFACE UNICODE _UNICODE)
if(MSVC)
  target_compile_definitions(cbp_flags INTERFACE _WIN32_WINNT=0x0A00)
else()
  # zig defines it too.
  target_compile_options(cbp_flags INTERFACE -U_WIN32_WINNT -D_WIN32_WINNT=0x0A00)
endif()

# This library asks the system, for the core and for the helper.
cbp_driver_library(facts windows/facts ntdll)

# The core is objects, so that the C tests reach what the library does not export; the header says what it does export.
add_library(core OBJECT ${_core})
target_compile_definitions(core PRIVATE CBP_BUILDING)
target_include_directories(core PUBLIC native/include ${_core_folders})
target_link_libraries(core PRIVATE cbp_flags PUBLIC policy facts)

cbp_driver_list(drivers ${CBP_DRIVERS})

add_library(cbprocess SHARED $<TARGET_OBJECTS:core> $<TARGET_OBJECTS:drivers>)
set_target_properties(cbprocess PROPERTIES PREFIX "")
target_link_libraries(cbprocess PRIVATE cbp_flags policy facts setupapi wintrust)

add_executable(cbprocess-debug ${_helper})
target_include_directories(cbprocess-debug PRIVATE driver/windows/debug)
target_link_libraries(cbprocess-debug PRIVATE cbp_flags helper facts)

# There are two layouts: the Python package's one folder, and that of a C library, with the helper beside the DLL.
if(CBP_PACKAGE_LAYOUT)
  install(TARGETS cbprocess cbprocess-debug RUNTIME DESTINATION .)
else()
  install(TARGETS cbprocess cbprocess-debug RUNTIME DESTINATION bin ARCHIVE DESTINATION lib)
  install(FILES ${CBP_PUBLIC_HEADERS} DESTINATION include/cbprocess)
endif()

include(cmake/kernel.cmake)
include(cmake/kernel_package.cmake)
