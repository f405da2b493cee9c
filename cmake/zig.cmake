# Is a toolchain for CMake: the C compiler, linker and libc of the ziglang package. -DZIG=<path of the program>.
# It is for machines without a compiler of their own, and knows nothing of what is built.
set(ZIG "" CACHE FILEPATH "The zig program")
set(ZIG_TARGET "" CACHE STRING
  "Another system than this: aarch64-linux-gnu, aarch64-linux-musl, x86_64-windows-gnu or aarch64-windows-gnu")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG ZIG_TARGET)

set(CMAKE_C_COMPILER "${ZIG}" cc)
if(ZIG_TARGET)
  if(ZIG_TARGET MATCHES "-linux-")
    set(CMAKE_SYSTEM_NAME Linux)
  else()
    set(CMAKE_SYSTEM_NAME Windows)
  endif()
  string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR "${ZIG_TARGET}")
  list(APPEND CMAKE_C_COMPILER -target ${ZIG_TARGET})
  if(ZIG_TARGET MATCHES "-musl")
    # zig links static programs with it otherwise, and these can open no library: the guard opens libbpf.
    list(APPEND CMAKE_C_COMPILER -dynamic)
  endif()
endif()

# CMake calls the archiver by one path without arguments, so each gets a script.
foreach(_tool ar ranlib)
  set(_script "${CMAKE_BINARY_DIR}/zig-${_tool}")
  file(WRITE "${_script}" "#!/bin/sh\nexec '${ZIG}' ${_tool} \"$@\"\n")
  execute_process(COMMAND chmod +x "${_script}")
  string(TOUPPER "${_tool}" _variable)
  set(CMAKE_${_variable} "${_script}" CACHE FILEPATH "" FORCE)
endforeach()

# Without -O zig switches UBSan on and builds its run-time library first, which costs more than all the rest.
set(CMAKE_C_FLAGS_INIT "-O2 -fno-sanitize=undefined")
