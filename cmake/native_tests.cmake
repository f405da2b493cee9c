# Builds the C tests: each tests/native/test_*.c is a program that links the core's objects and ends with status 0.
# The core in it starts the helper from its own folder; the tests put the fake helper there.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/native_tests")

add_executable(fake_helper tests/native/fake_helper.c tests/native/fake_rules.c)
target_link_libraries(fake_helper PRIVATE cbp_flags rules)

# add_native_test(SOURCE DRIVERS [SOURCE]...) makes a test; DRIVERS is the object library with the list of the
# core's drivers.
function(add_native_test _source _drivers)
  get_filename_component(_name "${_source}" NAME_WE)
  add_executable(${_name} "${_source}" ${ARGN} $<TARGET_OBJECTS:core> $<TARGET_OBJECTS:${_drivers}>)
  target_include_directories(${_name} PRIVATE native/include ${_core_folders} tests/native)
  target_link_libraries(${_name} PRIVATE cbp_flags policy facts execution Threads::Threads ${CMAKE_DL_LIBS})
  add_dependencies(${_name} fake_helper)
  add_test(NAME ${_name} COMMAND ${_name})
  set_tests_properties(${_name} PROPERTIES TIMEOUT 120)
endfunction()

file(GLOB _sources CONFIGURE_DEPENDS tests/native/test_*.c)
foreach(_source IN LISTS _sources)
  add_native_test("${_source}" drivers)
endforeach()

# Drivers of tests have a row each; tests/native/drivers/test_*.c have them besides those of the library.
set(_more_drivers tests/native/drivers/list)
cbp_driver_list(more_drivers ${CBP_DRIVERS} ${_more_drivers})
list(TRANSFORM _more_drivers APPEND /*.c)
file(GLOB _more_drivers CONFIGURE_DEPENDS ${_more_drivers})
file(GLOB _sources CONFIGURE_DEPENDS tests/native/drivers/test_*.c)
foreach(_source IN LISTS _sources)
  add_native_test("${_source}" more_drivers ${_more_drivers})
endforeach()

# The core's side of the kernel driver runs everywhere with a device that is a part of the test. Its folder is the
# driver's row; what calls Windows stays out.
set(_kernel_driver tests/native/kernel)
cbp_driver_list(kernel_drivers ${CBP_DRIVERS} ${_kernel_driver})
file(GLOB _kernel CONFIGURE_DEPENDS native/src/drivers/kernel/kernel_*.c)
file(GLOB _fakes CONFIGURE_DEPENDS tests/native/kernel/fake_*.c)
file(GLOB _sources CONFIGURE_DEPENDS tests/native/kernel/test_*.c)
foreach(_source IN LISTS _sources)
  add_native_test("${_source}" kernel_drivers ${_kernel} ${_fakes} tests/native/kernel/row.c)
  get_filename_component(_name "${_source}" NAME_WE)
  target_include_directories(${_name} PRIVATE native/src/drivers/kernel tests/native/kernel)
endforeach()

# The core's side of the bpf driver reads executions on a file system of the test's own, which takes root.
file(GLOB _sources CONFIGURE_DEPENDS tests/native/bpf/test_*.c)
foreach(_source IN LISTS _sources)
  add_native_test("${_source}" drivers)
  get_filename_component(_name "${_source}" NAME_WE)
  target_link_libraries(${_name} PRIVATE execution)
  set_tests_properties(${_name} PROPERTIES SKIP_RETURN_CODE 77)
endforeach()
