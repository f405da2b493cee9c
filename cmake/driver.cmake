# Makes a static library of each folder that drivers are made of. A folder may include only what it links. The
# order is the house's (docs/architecture.md): a folder looks down this list, never up.

# cbp_driver_library(NAME FOLDER [LIBRARY]...) makes it of the sources of driver/FOLDER, which use those libraries.
function(cbp_driver_library _name _folder)
  file(GLOB _sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/driver/${_folder}/*.c")
  add_library(${_name} STATIC ${_sources})
  target_include_directories(${_name} PUBLIC "${PROJECT_SOURCE_DIR}/driver/${_folder}")
  target_link_libraries(${_name} PRIVATE cbp_flags PUBLIC ${ARGN})
endfunction()

# This folder has only a header.
add_library(text INTERFACE)
target_include_directories(text INTERFACE "${PROJECT_SOURCE_DIR}/driver/text")

cbp_driver_library(protocol protocol)
cbp_driver_library(rules rules protocol)
cbp_driver_library(policy policy rules)
cbp_driver_library(helper helper policy text)
