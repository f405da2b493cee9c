"""A Debian package is built bare and under `cbprocess run`: with a configure step, a parallel make, strip and
fakeroot. The package is the same to the byte, and so are the lines of the log.

That takes half a minute, so it runs only where it is asked for: pytest -m slow."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import sameness
from live_tools import SYSTEM_PATH, Programs, helper_is_sanitized

pytestmark = [pytest.mark.slow, pytest.mark.limit(420)]

PARTS = 12
CONTROL = """\
Source: parts
Section: misc
Priority: optional
Maintainer: Nobody <nobody@example.org>
Standards-Version: 4.6.2
Rules-Requires-Root: binary-targets

Package: parts
Architecture: any
Depends: ${shlibs:Depends}
Description: adds numbers
 Made to be built.
"""
CHANGELOG = """\
parts (1.0) unstable; urgency=low

  * First version.

 -- Nobody <nobody@example.org>  Tue, 14 Nov 2023 22:13:20 +0000
"""
CONFIGURE = """\
#!/bin/sh
set -e
echo checking whether the compiler works
printf 'int main(void) { return 0; }' >conftest.c
gcc -o conftest conftest.c && ./conftest
if gcc -o conftest conftest.c -lno-library-has-this-name 2>/dev/null; then echo yes; else echo no; fi
rm -f conftest conftest.c
sed "s,@CFLAGS@,$CFLAGS," Makefile.in >Makefile
"""
# Of recipes that run at once make leaves standard input to one, whichever is first.
MAKEFILE = """\
objects = main.o $(patsubst %%,part%%.o,%s)
parts: $(objects) found
\tgcc $(LDFLAGS) -o $@ $(objects) -lm
found:
\t+@%s $@ </dev/null; test $$? = 3
%%.o: %%.c
\tgcc @CFLAGS@ -c -o $@ $<
install: parts
\tinstall -D -m 755 parts $(DESTDIR)/usr/bin/parts
clean:
\trm -f parts Makefile found *.o
"""
PLAIN_RULES = """\
#!/usr/bin/make -f
export CFLAGS := $(shell dpkg-buildflags --get CFLAGS)
build build-arch build-indep:
\t./configure
\t$(MAKE) -j4
clean:
\trm -rf debian/parts debian/files
binary binary-arch: build
\t$(MAKE) install DESTDIR=$(CURDIR)/debian/parts
\tstrip --remove-section=.comment debian/parts/usr/bin/parts
\tinstall -d debian/parts/DEBIAN
\tdpkg-shlibdeps debian/parts/usr/bin/parts
\tdpkg-gencontrol -Pdebian/parts
\tchown -R root:root debian/parts
\tchown 7:8 debian/parts/usr/bin
\tdpkg-deb --build debian/parts ..
binary-indep:
"""
HELPED_RULES = """\
#!/usr/bin/make -f
%:
\tdh $@
override_dh_auto_configure:
\t./configure
"""
RULES = {"plain": PLAIN_RULES, "debhelper": HELPED_RULES}


def write_source(folder: Path, rules: str, state: str) -> None:
    debian = folder / "debian"
    (debian / "source").mkdir(parents=True)
    numbers = " ".join(str(number) for number in range(PARTS))
    total = "".join(f" + part{number}()" for number in range(PARTS))
    files = {
        "debian/control": CONTROL,
        "debian/changelog": CHANGELOG,
        "debian/rules": rules,
        "debian/source/format": "3.0 (native)\n",
        "configure": CONFIGURE,
        "Makefile.in": MAKEFILE % (numbers, state),
        "main.c": "".join(f"int part{number}(void);\n" for number in range(PARTS))
        + f'#include <stdio.h>\nint main(void) {{ return printf("%d\\n", 0{total}) < 0; }}\n',
    }
    if rules == HELPED_RULES:
        files["debian/compat"] = "13\n"
    for number in range(PARTS):
        files[f"part{number}.c"] = f"int part{number}(void) {{ return {number}; }}\n"
    for name, text in files.items():
        (folder / name).write_text(text)
    for name in ("configure", "debian/rules"):
        (folder / name).chmod(0o755)


BUILD = "cd source && exec dpkg-buildpackage -us -uc -b -d -j4"
# fakeroot's number; when it was built, and the sums of the file that says so.
VARYING = r"FAKEROOTKEY=\d+|Build-Date: .*|(?<= )[0-9a-f]{32,64} \d+ (\S+ \S+ )?\S+\.buildinfo"
# What comes before `cbprocess run`, and its options.
WAYS: dict[str, tuple[list[str], list[str]]] = {
    "plain": ([], []),
    "with a rule": ([], list(sameness.RULE)),
    "under fakeroot": (["fakeroot"], []),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rules", RULES)
def test_is_built_alike(rules: str, way: str, programs: Programs, tmp_path: Path) -> None:
    for program in (
        "dpkg-buildpackage",
        "fakeroot",
        "make",
        "gcc",
        *(["dh"] if rules == "debhelper" else []),
    ):
        if shutil.which(program, path=SYSTEM_PATH) is None:
            pytest.skip(f"there is no {program} here")
    front, options = WAYS[way]
    if front and helper_is_sanitized():
        pytest.skip("a sanitizer's library has to be the first that is loaded")
    environment = {
        **{key: value for key, value in os.environ.items() if key.startswith(("CBPROCESS_", "ASAN_"))},
        "PATH": SYSTEM_PATH,
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": "1700000000",
    }
    varying = "|".join([VARYING, sameness.OF_THE_FILTER] if options else [VARYING])
    wrapper = [*sameness.WAYS["program"], "run", "--output", os.devnull, *options, "--"]
    bare, supervised = (
        sameness.deed(
            [*front, *middle, "sh", "-c", BUILD],
            tmp_path,
            lambda folder: write_source(folder / "source", RULES[rules], programs["state"]),
            varying,
            sort_lines=True,
            env=environment,
            timeout=200,
        )
        for middle in ([], wrapper)
    )
    assert bare.result.status == 0, bare.result
    assert "parts_1.0_" in "".join(bare.files) and "source/found" in bare.files
    assert not sameness.differences(bare, supervised)
    packages = list((tmp_path / "work").glob("parts_1.0_*.deb"))
    listing = subprocess.run(["dpkg-deb", "-c", *packages], capture_output=True, text=True, check=True)
    assert "root/root" in listing.stdout and "./usr/bin/parts" in listing.stdout
