# Says what `cmake --install` copies. There are two layouts: the Python package's one folder, and the usual one of
# a C library with header files, a pkg-config file and a CMake package.
include(cmake/bpf_package.cmake)
set(_programs cbprocess-ptrace cbprocess-launch cbprocess-guard)
if(CBP_PACKAGE_LAYOUT)
  install(TARGETS cbprocess ${_programs} LIBRARY DESTINATION . RUNTIME DESTINATION .)
  install(FILES ${CBP_BPF_FILES} DESTINATION .)
  return()
endif()

include(CMakePackageConfigHelpers)
set(_headers "${CMAKE_INSTALL_INCLUDEDIR}/cbprocess")
set(_package "${CMAKE_INSTALL_LIBDIR}/cmake/cbprocess")
set(_pkgconfig "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

# The number counts incompatible changes of the ABI; tests/abi holds what must stay.
set_target_properties(cbprocess PROPERTIES VERSION "${PROJECT_VERSION}" SOVERSION 0)
target_include_directories(
  cbprocess INTERFACE "$<INSTALL_INTERFACE:${_headers}>"
                      "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/native/include;${PROJECT_SOURCE_DIR}/driver/protocol>")
add_library(cbprocess::cbprocess ALIAS cbprocess)
install(TARGETS cbprocess EXPORT cbprocess LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(TARGETS ${_programs} RUNTIME DESTINATION "${CBP_PROGRAM_FOLDER}")
install(FILES ${CBP_BPF_FILES} DESTINATION "${CBP_PROGRAM_FOLDER}")
install(FILES ${CBP_PUBLIC_HEADERS} DESTINATION "${_headers}")

install(EXPORT cbprocess NAMESPACE cbprocess:: FILE cbprocessTargets.cmake DESTINATION "${_package}")
configure_package_config_file(cmake/cbprocessConfig.cmake.in "${CMAKE_BINARY_DIR}/cbprocessConfig.cmake"
                              INSTALL_DESTINATION "${_package}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/cbprocessConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/cbprocessConfig.cmake" "${CMAKE_BINARY_DIR}/cbprocessConfigVersion.cmake"
        DESTINATION "${_package}")

# These paths are relative to the file itself, so that an installation can be moved.
file(RELATIVE_PATH CBP_PKGCONFIG_PREFIX "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH CBP_PKGCONFIG_LIBDIR "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH CBP_PKGCONFIG_INCLUDEDIR "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
configure_file(cmake/cbprocess.pc.in "${CMAKE_BINARY_DIR}/cbprocess.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/cbprocess.pc" DESTINATION "${_pkgconfig}")
