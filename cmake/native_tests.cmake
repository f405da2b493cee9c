# The C tests: each tests/native/test_*.c is a program that links the core's objects and ends with status 0.
# The core in it starts the driver's program from its own folder; the tests put the fake helper there.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/native_tests")

add_executable(fake_helper tests/native/fake_helper.c tests/native/fake_rules.c)
target_link_libraries(fake_helper PRIVATE cbp_flags rules)

file(GLOB _sources CONFIGURE_DEPENDS tests/native/test_*.c)
foreach(_source IN LISTS _sources)
  get_filename_component(_name "${_source}" NAME_WE)
  add_executable(${_name} "${_source}" $<TARGET_OBJECTS:core> $<TARGET_OBJECTS:drivers>)
  target_include_directories(${_name} PRIVATE native/include ${_core_folders})
  target_link_libraries(${_name} PRIVATE cbp_flags policy facts Threads::Threads ${CMAKE_DL_LIBS})
  add_dependencies(${_name} fake_helper)
  add_test(NAME ${_name} COMMAND ${_name})
  set_tests_properties(${_name} PROPERTIES TIMEOUT 120)
endforeach()
