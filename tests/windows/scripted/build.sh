#!/bin/bash
# build.sh COMPILER PROGRAM: the scripted debugger, from the helper's own sources but for those that system.c stands for.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../../..
sources=()
for source in "$root"/driver/windows/debug/*.c; do
    case "${source##*/}" in
    main.c | debugging.c | system.c) ;;
    *) sources+=("$source") ;;
    esac
done
"$1" -std=c11 -O1 -g0 -s -Wall -Wextra -Wconversion -Werror -DUNICODE -D_UNICODE -U_WIN32_WINNT -D_WIN32_WINNT=0x0A00 \
    -D__USE_MINGW_ANSI_STDIO=1 -I "$here" -I "$root/driver/windows/debug" -I "$root/driver/windows/facts" -I "$root/driver/helper" -I "$root/driver/text" -I "$root/driver/policy" \
    -I "$root/driver/protocol" -I "$root/driver/rules" -I "$root/native/src/base" -I "$root/native/src/core" -I "$root/native/src/seams" -I "$root/native/src/platform/windows" -I "$root/native/include" \
    "$here"/*.c "${sources[@]}" "$root"/driver/helper/*.c "$root"/driver/policy/*.c "$root"/driver/protocol/*.c "$root"/driver/rules/*.c "$root/native/src/core/ruleset_build.c" \
    -Wl,--wrap=calloc -o "$2" -lntdll
