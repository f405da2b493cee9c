# Completes the package of the bpf driver, which an installation copies: beside the guard and its BPF programs there
# is its version, and what CBP_CARRY_LIBBPF names. CBP_BPF_FILES lists all but the guard. Knows nothing of programs.
set(CBP_CARRY_LIBBPF "" CACHE PATH
  "A folder with libbpf.so.1, the libraries that it needs and their licences, which go beside the guard; empty: the machine's are used")
set(CBP_BPF_FILES ${CBP_BPF_OBJECTS})

file(STRINGS "${PROJECT_SOURCE_DIR}/native/include/cbprocess.h" _version REGEX "^#define CBP_VERSION \"")
string(REGEX REPLACE ".*\"([^\"]*)\".*" "\\1" _version "${_version}")
set(_version_file "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/cbprocess-driver.version")
file(CONFIGURE OUTPUT "${_version_file}" CONTENT "@_version@\n" @ONLY)
list(APPEND CBP_BPF_FILES "${_version_file}")

if(CBP_CARRY_LIBBPF)
  if(NOT EXISTS "${CBP_CARRY_LIBBPF}/libbpf.so.1")
    message(FATAL_ERROR "CBP_CARRY_LIBBPF is ${CBP_CARRY_LIBBPF}, and no libbpf.so.1 is there (tools/carry_libbpf.sh)")
  endif()
  file(GLOB _carried "${CBP_CARRY_LIBBPF}/lib*.so.*" "${CBP_CARRY_LIBBPF}/LICENSE.*")
  file(COPY ${_carried} DESTINATION "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  list(APPEND CBP_BPF_FILES ${_carried})
endif()
