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
from package_source import RULES, write_source

pytestmark = [pytest.mark.slow, pytest.mark.limit(420)]

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
