# Compiles the BPF programs of driver/linux/bpf/programs with clang, or with the clang in the ziglang package.
# Without either the build goes on, and `Driver=bpf` says that its files are missing. CBP_BPF_OBJECTS lists what
# is made. Knows nothing of what the programs do.
set(CBP_BPF_CLANG "" CACHE STRING "The compiler of BPF programs, with its arguments; empty: looks for one")
set(CBP_BPF_OBJECTS "")

# Objects with 7 in their names are for kernels from 7.0 on, where the functions that the gate calls have other
# arguments. Those with 58 are for kernels from 5.8 to 5.16, which have no bpf_loop(). lsmgate is lsm with the gate.
file(GLOB _programs CONFIGURE_DEPENDS driver/linux/bpf/programs/*.bpf.c)
file(GLOB _program_headers CONFIGURE_DEPENDS driver/linux/bpf/programs/*.h driver/protocol/*.h
  driver/linux/facts/syscall_list.h driver/rules/cbp_right_pairs.h)
# Registers are not the same everywhere, so an object is for the processor that it is built on.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(_bpf_processor -DCBP_AARCH64)
else()
  set(_bpf_processor -DCBP_X86_64)
endif()
set(_bpf_includes -I "${PROJECT_SOURCE_DIR}/driver/protocol" -I "${PROJECT_SOURCE_DIR}/driver/rules" -I
  "${PROJECT_SOURCE_DIR}/driver/linux/facts")
set(_bpf_flags ${_bpf_processor} -mcpu=v3 -O2 -g -std=gnu11 -ffreestanding -Wall -Wextra
  -fno-asynchronous-unwind-tables -fno-stack-protector)
if(CBP_WERROR)
  list(APPEND _bpf_flags -Werror)
endif()

# cbp_bpf_compiles(VARIABLE COMMAND...) says whether the command makes a BPF object.
function(cbp_bpf_compiles _variable)
  set(_probe "${CMAKE_BINARY_DIR}/bpf_probe")
  file(WRITE "${_probe}.c" "#include <stdint.h>\nint probe(uint64_t *context) { return context != (void *) 0; }\n")
  execute_process(COMMAND ${ARGN} ${_bpf_flags} -c "${_probe}.c" -o "${_probe}.o" RESULT_VARIABLE _result
    OUTPUT_QUIET ERROR_QUIET)
  if(_result EQUAL 0)
    set(${_variable} ON PARENT_SCOPE)
  else()
    set(${_variable} OFF PARENT_SCOPE)
  endif()
endfunction()

# cbp_bpf_find(VARIABLE) gives the command of a compiler that has been seen to work, or an empty list.
function(cbp_bpf_find _variable)
  set(_candidates "")
  foreach(_name clang clang-21 clang-20 clang-19 clang-18 clang-17 clang-16 clang-15 clang-14)
    list(APPEND _candidates "${_name} -target bpf")
  endforeach()
  # -fno-sanitize: zig checks for undefined behaviour otherwise, which needs a library.
  set(_zig_arguments "cc -target bpfel-freestanding -fno-sanitize=undefined")
  if(ZIG)
    list(APPEND _candidates "${ZIG} ${_zig_arguments}")
  endif()
  find_package(Python3 COMPONENTS Interpreter QUIET)
  if(Python3_EXECUTABLE)
    list(APPEND _candidates "${Python3_EXECUTABLE} -m ziglang ${_zig_arguments}")
  endif()
  set(${_variable} "" PARENT_SCOPE)
  foreach(_candidate ${CBP_BPF_CLANG} ${_candidates})
    separate_arguments(_command UNIX_COMMAND "${_candidate}")
    cbp_bpf_compiles(_works ${_command})
    if(_works)
      set(${_variable} ${_command} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# cbp_bpf_object(NAME SOURCE [FLAG]...) makes _native/NAME.bpf.o.
function(cbp_bpf_object _name _source)
  set(_object "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${_name}.bpf.o")
  set(_strip "")
  if(CBP_BPF_STRIP)
    set(_strip COMMAND "${CBP_BPF_STRIP}" --strip-debug "${_object}")
  endif()
  add_custom_command(OUTPUT "${_object}" DEPENDS "${_source}" ${_program_headers} VERBATIM
    COMMAND ${_bpf_compiler} ${_bpf_flags} ${ARGN} ${_bpf_includes} -c "${_source}" -o "${_object}"
    ${_strip}
    COMMENT "Building BPF object ${_name}.bpf.o")
  set(CBP_BPF_OBJECTS ${CBP_BPF_OBJECTS} "${_object}" PARENT_SCOPE)
endfunction()

# Of what -g writes, the kernel needs the types alone; the rest is half of each object.
find_program(CBP_BPF_STRIP NAMES llvm-strip llvm-strip-21 llvm-strip-20 llvm-strip-19 llvm-strip-18 llvm-strip-17
  llvm-strip-16 llvm-strip-15 llvm-strip-14)

cbp_bpf_find(_bpf_compiler)
if(_bpf_compiler)
  file(MAKE_DIRECTORY "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  foreach(_source IN LISTS _programs)
    get_filename_component(_name "${_source}" NAME_WE)
    cbp_bpf_object(${_name} "${_source}" -DCBP_KERNEL_5_17=1)
    if(_name STREQUAL "gate" OR _name STREQUAL "processes")
      cbp_bpf_object(${_name}7 "${_source}" -DCBP_KERNEL_5_17=1 -DCBP_KERNEL_7=1)
    elseif(_name STREQUAL "lsm")
      cbp_bpf_object(lsmgate "${_source}" -DCBP_KERNEL_5_17=1 -DCBP_GATE=1)
      cbp_bpf_object(lsmgate7 "${_source}" -DCBP_KERNEL_5_17=1 -DCBP_GATE=1 -DCBP_KERNEL_7=1)
    endif()
    if(_name MATCHES "^(processes|handles|tasks)$")
      cbp_bpf_object(${_name}58 "${_source}")
    endif()
  endforeach()
  add_custom_target(bpf_programs ALL DEPENDS ${CBP_BPF_OBJECTS})
else()
  message(STATUS "No compiler makes BPF programs here (clang, or pip install ziglang): Driver=bpf will be missing")
endif()
