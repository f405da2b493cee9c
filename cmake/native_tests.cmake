# The C tests: each tests/native/test_*.c is a program that links the core's objects and ends with status 0.
# Other sources there are helper programs, which lie in the same folder as the tests that start them.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/native_tests")
file(GLOB _sources CONFIGURE_DEPENDS tests/native/*.c)
foreach(_source IN LISTS _sources)
  get_filename_component(_name "${_source}" NAME_WE)
  add_executable(${_name} "${_source}" $<TARGET_OBJECTS:core> $<TARGET_OBJECTS:protocol>)
  target_include_directories(${_name} PRIVATE native/include native/src driver/protocol)
  target_link_libraries(${_name} PRIVATE cbp_flags Threads::Threads ${CMAKE_DL_LIBS})
  if(_name MATCHES "^test_")
    add_test(NAME ${_name} COMMAND ${_name})
    set_tests_properties(${_name} PROPERTIES TIMEOUT 120)
  endif()
endforeach()
