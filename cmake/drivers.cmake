# Makes the list of drivers. A driver is a folder whose name is the driver's, with a `const struct cbpi_driver
# cbpi_<name>_driver` in it (native/src/seams/transport.h); its row in a list is all that a build has to know of it.

# The Driver setting accepts these names everywhere, though a build may lack the driver.
set(CBP_DRIVER_NAMES auto ptrace bpf simulated debug kernel)

# cbp_driver_list(TARGET FOLDER...) makes an object library with the list of these drivers, the default one first.
function(cbp_driver_list _target)
  set(_names ${CBP_DRIVER_NAMES})
  set(_declarations "")
  set(_rows "")
  foreach(_folder IN LISTS ARGN)
    get_filename_component(_name "${_folder}" NAME)
    list(APPEND _names ${_name})
    string(APPEND _declarations "extern const struct cbpi_driver cbpi_${_name}_driver;\n")
    string(APPEND _rows "    &cbpi_${_name}_driver,\n")
  endforeach()
  list(REMOVE_DUPLICATES _names)
  list(JOIN _names "\", \"" _names)
  set(_source "${CMAKE_BINARY_DIR}/${_target}.c")
  file(CONFIGURE OUTPUT "${_source}" @ONLY CONTENT [[
/* Made by cmake/drivers.cmake. */
#include "transport.h"

@_declarations@
const struct cbpi_driver *const cbpi_drivers[] = {
@_rows@    NULL,
};

const char *const cbpi_driver_names[] = {"@_names@", NULL};
]])
  add_library(${_target} OBJECT "${_source}")
  target_include_directories(${_target} PRIVATE $<TARGET_PROPERTY:core,INCLUDE_DIRECTORIES>)
  target_link_libraries(${_target} PRIVATE cbp_flags)
endfunction()
