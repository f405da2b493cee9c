"""The sources of small Debian packages that are built with a configure step, a parallel make, strip and
fakeroot: one whose rules call the tools, and one of debhelper.

Knows nothing of cbprocess."""

from __future__ import annotations

from pathlib import Path

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
