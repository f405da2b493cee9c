"""What ScopeProcFiles costs: programs that open files, in a tree with it and in one without. Prints the ratio
of the best times of each, measured in turn. Run by hand: python bench/proc_files.py [repetitions].

Knows the public Python surface only."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cbprocess

GUID = "{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D15}"
LOOP = "import os\nfor _ in range({count}):\n os.close(os.open({path!r}, {flags}))"
READ, WRITE = 0, 1


def commands(folder: str) -> dict[str, list[str]]:
    source, written = Path(folder, "small.c"), Path(folder, "written")
    source.write_text('#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n')
    written.touch()
    loops = {
        f"`open` and `close` in a loop, {name}": LOOP.format(count=100_000, path=str(written), flags=flags)
        for name, flags in (("to read", READ), ("to write", WRITE))
    }
    return {
        "`python3` importing 6 large modules": [
            *(sys.executable, "-I", "-c"),
            "import asyncio, email, http.client, json, unittest, xml.dom.minidom",
        ],
        "`gcc -c` of a small file": ["gcc", "-c", str(source), "-o", f"{folder}/small.o"],
        "`grep -r` over `/usr/include`, warm": ["grep", "-r", "-c", "no such text", "/usr/include"],
        **{name: [sys.executable, "-I", "-c", text] for name, text in loops.items()},
    }


def spent(instance: cbprocess.CBProcess, command: list[str]) -> float:
    begin = time.perf_counter()
    with instance.popen(command, stdout=subprocess.DEVNULL) as program:
        program.wait()
    return time.perf_counter() - begin


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    with instance, tempfile.TemporaryDirectory() as folder:
        instance.start_filter(0)
        for name, command in commands(folder).items():
            best = {"False": float("inf"), "True": float("inf")}
            for _ in range(repetitions):
                for value in best:
                    instance.config(f"ScopeProcFiles={value}")
                    best[value] = min(best[value], spent(instance, command))
            print(f"| {name} | {best['True'] / best['False']:.2f} |", flush=True)


main()
