#!/usr/bin/env bash
# Runs the Windows suite under Wine with a real CPython for Windows:
#
#     [PYTHON=python3] tools/windows_test.sh WHEEL [VERSION]...
#
# The versions are 3.9 and 3.13, or those whose standard library is here; PYTHON has pip.
#
# Everything is made in a temporary folder, Wine's own included, and removed afterwards.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wheel=$(realpath "$1")
shift
python=${PYTHON:-python3}
versions=("$@")
((${#versions[@]})) || versions=(3.9 3.13 "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')")
work=$(mktemp -d)
export WINEPREFIX=$work/prefix WINEDEBUG=-all PYTHONDONTWRITEBYTECODE=1
tested=()

clean_up() {
    wineserver -k 2>/dev/null || /usr/lib/wine/wineserver64 -k 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

# Standard input, output and error of a Windows program have to be what Wine can make handles of.
windows() {
    timeout 280 wine "$@" </dev/null 2>&1 | cat
    return "${PIPESTATUS[0]}"
}

windows wineboot -i >/dev/null
windows reg add 'HKCU\Software\Wine' /v Version /d win10 /f >/dev/null
x86_64-w64-mingw32-gcc -O1 -s "$checkout/tests/programs/windows_program.c" -o "$work/program.exe"
export CBPROCESS_TEST_PROGRAM="Z:${work//\//\\}\\program.exe"
cp -r "$checkout/tests" "$checkout/pyproject.toml" "$work"
cd "$work"
for version in "${versions[@]:0:3}"; do
    ((${#tested[@]} < 2)) || break
    "$python" "$checkout/tools/windows_python.py" "$version" "$work/$version" \
        -r "$checkout/.ci/requirements-windows.txt" "$wheel" || continue
    windows "$work/$version/python.exe" -m pytest -q -p no:cacheprovider tests/windows tests/contract \
        -k 'not ptrace' -o addopts=--import-mode=importlib
    tested+=("$version")
done
((${#tested[@]})) || { echo 'no standard library of a Python 3.9 or later is on this machine' >&2; exit 1; }
printf 'tested with CPython %s\n' "${tested[*]}"
