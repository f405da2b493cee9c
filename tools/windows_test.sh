#!/usr/bin/env bash
# Runs the Windows suite under Wine with real CPythons for Windows, each beside the others:
#
#     [PYTHON=python3] tools/windows_test.sh WHEEL [VERSION]...
#
# The versions are 3.9 and 3.13 if none is named; PYTHON has pip. Needs wine, wine64 and mingw-w64's gcc for x86_64;
# with wine32:i386 and the gcc for i686, 32-bit programs are tested too (else those tests are skipped and say so).
#
# Everything is made in a temporary folder, Wine's own included, and removed afterwards.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
limit_s=500                     # for each Windows program
work=
prefixes=()

# A sentence for whoever runs this, and the end.
die() {
    printf 'windows_test.sh: %s\n' "$1" >&2
    exit 1
}

wine_server() {
    local program=wineserver
    command -v wineserver >/dev/null || program=/usr/lib/wine/wineserver64
    WINEPREFIX=$1 "$program" "$2"
}

clean_up() {
    local prefix
    for prefix in "${prefixes[@]}"; do
        wine_server "$prefix" -k 2>/dev/null || true
    done
    rm -rf "$work"
}

# Standard input, output and error of a Windows program have to be what Wine can make handles of.
windows() {
    timeout "$limit_s" wine "$@" </dev/null 2>&1 | cat
    return "${PIPESTATUS[0]}"
}

has_32_bit_wine() {
    [[ -x /usr/lib/wine/wine || -e $1/drive_c/windows/syswow64/ntdll.dll ]]
}

# The programs that the tests run: in $work/programs, with the library's own beside them as the C example needs it.
make_programs() {
    local flags=(-std=c11 -O1 -s -Wall -Wextra -Werror -D__USE_MINGW_ANSI_STDIO=1)
    local sources=$checkout/tests/programs compiler=x86_64-w64-mingw32-gcc
    mkdir "$work/programs"
    "$python" -m zipfile -e "$wheel" "$work/wheel"
    cp "$work"/wheel/cbprocess/_native/* "$work/programs"
    "$compiler" "${flags[@]}" "$sources/windows_program.c" -o "$work/programs/program.exe"
    "$compiler" "${flags[@]}" "$sources/windows_debugged.c" -o "$work/programs/debugged.exe" -lntdll
    "$compiler" "${flags[@]}" "$sources/windows_hostile.c" -o "$work/programs/hostile.exe"
    "$compiler" "${flags[@]}" "$sources/windows_sleeper.c" -o "$work/programs/sleeper.exe"
    "$checkout/tests/windows/scripted/build.sh" "$compiler" "$work/programs/scripted.exe"
    "$compiler" "${flags[@]}" -Wconversion -municode -I "$checkout/native/include" -I "$checkout/driver/protocol" \
        "$checkout/examples/c/monitor_windows.c" -o "$work/programs/monitor.exe" "$work/programs/cbprocess.dll"
    compiler=i686-w64-mingw32-gcc
    if command -v "$compiler" >/dev/null && has_32_bit_wine "$1"; then
        "$compiler" "${flags[@]}" "$sources/windows_debugged.c" -o "$work/programs/debugged32.exe" -lntdll
    fi
}

make_prefix() {
    export WINEPREFIX=$1
    windows wineboot -i >/dev/null || true      # it complains of 32-bit programs that are not there
    windows reg add 'HKCU\Software\Wine' /v Version /d win10 /f >/dev/null ||
        die "Wine does not run here: $(windows cmd /c ver | tail -n 1)"
}

# run_suite VERSION: as a job, its output in $work/VERSION.log
run_suite() {
    "$python" "$checkout/tools/windows_python.py" "$1" "$work/$1" \
        -r "$checkout/.ci/requirements-windows.txt" "$wheel"
    export WINEPREFIX=$work/prefix-$1
    cd "$work"
    windows "$work/$1/python.exe" -m pytest -q -p no:cacheprovider tests/windows tests/contract \
        -k 'not ptrace' -o addopts='--import-mode=importlib -ra'
}

main() {
    (($# > 0)) || die 'which wheel? tools/windows_test.sh WHEEL [VERSION]...'
    wheel=$(realpath "$1")
    shift
    local versions=("$@") version jobs=() status=0 i program
    ((${#versions[@]})) || versions=(3.9 3.13)
    python=$(command -v "${PYTHON:-python3}") || die "there is no ${PYTHON:-python3} here"
    python=$(realpath -s "$python")
    for program in wine x86_64-w64-mingw32-gcc; do
        command -v "$program" >/dev/null || die "$program is missing: apt-get install gcc-mingw-w64-x86-64 wine wine64"
    done
    work=$(mktemp -d)
    trap clean_up EXIT
    export WINEDEBUG=-all PYTHONDONTWRITEBYTECODE=1
    prefixes=("$work/prefix")
    make_prefix "$work/prefix"
    make_programs "$work/prefix"
    wine_server "$work/prefix" -w
    export CBPROCESS_TEST_PROGRAM="Z:${work//\//\\}\\programs\\program.exe"
    cp -r "$checkout/tests" "$checkout/pyproject.toml" "$work"
    for version in "${versions[@]}"; do
        cp -a "$work/prefix" "$work/prefix-$version"
        prefixes+=("$work/prefix-$version")
        run_suite "$version" &>"$work/$version.log" &
        jobs+=($!)
    done
    for i in "${!versions[@]}"; do
        wait "${jobs[i]}" || status=1
        printf '\n--- CPython %s under %s\n' "${versions[i]}" "$(wine --version)"
        cat "$work/${versions[i]}.log"
    done
    return "$status"
}

main "$@"
