# Makes the package that the kernel driver is installed from: cbprocess.cab, with the driver, its .inf and its catalog.
# It has no signature (docs/production-signing.md). Knows nothing of how the driver is built.
if(NOT TARGET cbprocess-kernel)
  return()
endif()
find_package(Python3 REQUIRED COMPONENTS Interpreter)

set(_sys "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/cbprocess.sys")
set(_cab "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/cbprocess.cab")
set(_maker "${PROJECT_SOURCE_DIR}/tools/driver_package.py")
set(_parts "${CMAKE_BINARY_DIR}/driver_package")
add_custom_command(OUTPUT "${_cab}" VERBATIM
  DEPENDS "${_sys}" "${_maker}" "${PROJECT_SOURCE_DIR}/tools/cabinet.py" "${PROJECT_SOURCE_DIR}/tools/catalog.py"
    "${PROJECT_SOURCE_DIR}/driver/windows/kernel/cbprocess.inf.in"
  COMMAND "${Python3_EXECUTABLE}" "${_maker}" make "${_sys}" "${_parts}"
  COMMAND "${Python3_EXECUTABLE}" "${_maker}" pack "${_parts}" "${_cab}")
add_custom_target(cbprocess-package ALL DEPENDS "${_cab}")
add_dependencies(cbprocess-package cbprocess-kernel)

# The command line finds it beside the library.
if(CBP_PACKAGE_LAYOUT)
  install(FILES "${_cab}" DESTINATION .)
else()
  install(FILES "${_cab}" DESTINATION bin)
endif()
