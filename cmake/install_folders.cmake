# Where an installed library finds its helper programs: CBP_HELPER_FOLDER, relative to the library's own folder,
# so that an installation can be moved as a whole. Beside the library comes first (the build folder, a wheel).
set(CBP_PROGRAM_FOLDER "${CMAKE_INSTALL_LIBEXECDIR}/cbprocess")
file(RELATIVE_PATH CBP_HELPER_FOLDER "${CMAKE_INSTALL_FULL_LIBDIR}" "${CMAKE_INSTALL_FULL_LIBEXECDIR}/cbprocess")
