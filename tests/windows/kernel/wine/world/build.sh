#!/bin/bash
# build.sh FOLDER: makes world.dll and enter.exe with mingw-w64.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
flags=(-std=c11 -O1 -s -Wall -Wextra -Werror -D_WIN32_WINNT=0x0A00 -I "$here/../fire" -I "$here")
x86_64-w64-mingw32-gcc "${flags[@]}" -shared "$here"/{main,calls,ask,handles,inject}.c -o "$1/world.dll" -lntdll
x86_64-w64-mingw32-gcc "${flags[@]}" "$here/enter.c" -o "$1/enter.exe"
