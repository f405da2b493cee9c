# An installed library finds its helper programs in CBP_HELPER_FOLDER, which is relative to the library's own
# folder, so that an installation can be moved as a whole. It looks beside itself first (the build folder, a wheel).
set(CBP_PROGRAM_FOLDER "${CMAKE_INSTALL_LIBEXECDIR}/cbprocess")
file(RELATIVE_PATH CBP_HELPER_FOLDER "${CMAKE_INSTALL_FULL_LIBDIR}" "${CMAKE_INSTALL_FULL_LIBEXECDIR}/cbprocess")
