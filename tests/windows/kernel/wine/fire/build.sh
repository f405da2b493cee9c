#!/bin/bash
# build.sh FILE: makes cbpfire.sys with mingw-w64. The options are those of a driver, but that it may use Win32, too.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
x86_64-w64-mingw32-gcc -std=c11 -O1 -Wall -Wextra -Werror -Wno-multichar -ffreestanding -mno-red-zone -fno-ident \
    -isystem /usr/share/mingw-w64/include/ddk -D_AMD64_ -DNTDDI_VERSION=0x0A000000 -D_WIN32_WINNT=0x0A00 \
    "$here"/*.c -nostdlib -shared -s -Wl,--subsystem,native:10.0 -Wl,--entry,DriverEntry -Wl,--dynamicbase \
    -Wl,--exclude-all-symbols -o "$1" -lntoskrnl -lkernel32 -lntdll
