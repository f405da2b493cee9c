"""Checks the directions in which the C sources look. No file may include or call one of a folder above its
own, and no files may call each other in a circle.

    python3 tools/house_arrows.py BUILD_FOLDER [NM]

Reads the compiler's own notes on each object (`ninja -t deps`), and the objects' symbols with NM, or `nm`.
Prints each arrow that points up and each circle, and ends with status 1. The order is that of
docs/architecture.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The order is from the ground up. Folders in one line do not look at each other.
HOUSE = (
    ("driver/protocol", "driver/linux/bare", "driver/text"),
    ("driver/rules", "driver/linux/facts", "driver/windows/facts"),
    ("driver/policy", "driver/linux/execution"),
    ("driver/helper", "driver/linux/launch"),
    ("driver/linux/ptrace", "driver/linux/bpf", "driver/windows/debug", "driver/windows/kernel"),
    ("native/include",),
    ("native/src/base",),
    # A contract includes what its side on each system defines, and that side includes the contract.
    ("native/src/seams", "native/src/platform", "native/front"),
    ("native/src/recording",),
    ("native/src/core",),
    ("native/src/drivers/helper", "native/src/drivers/simulated"),
    ("native/src/drivers",),
    ("tests",),
)
TOGETHER = ({"native/src/seams", "native/src/platform"},)
# These names say nothing of a file: the beginning of every program calls a main function, and programs
# without a C library have these of their own.
NO_FILES_OWN = ("main", "cbpd_bare_main", "memcpy", "memset")
# Folders must not include or call these, although they stand below: the library knows no part of a helper,
# and the core asks an operating system through the seams alone.
NOT_FOR = {
    "native/": (
        "driver/helper",
        "driver/linux/launch",
        "driver/linux/ptrace",
        "driver/linux/bpf",
        "driver/windows/debug",
        "driver/windows/kernel",
    ),
    "driver/windows/kernel": ("driver/helper",),
    "native/src/core": ("driver/linux/", "driver/windows/"),
}


def place_of(path: Path) -> tuple[str, int] | None:
    """The folder of the house, and its storey."""
    try:
        name = path.resolve().relative_to(ROOT).as_posix()
    except ValueError:
        return None
    for storey, folders in enumerate(HOUSE):
        for folder in folders:
            if name.startswith(f"{folder}/"):
                return folder, storey
    return None


def arrows(build: Path) -> set[tuple[str, str]]:
    """(file that includes, file that is included) of every object of the build."""
    text = subprocess.run(
        ["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True, check=True
    ).stdout
    found = set()
    for block in text.split("\n\n"):
        files = [build / line.strip() for line in block.splitlines() if line.startswith(" ")]
        found |= {(str(files[0]), str(other)) for other in files[1:]}
    return found


def points_up(source: Path, used: Path) -> bool:
    above, below = place_of(source), place_of(used)
    if above is None or below is None or above[0] == below[0] or {above[0], below[0]} in TOGETHER:
        return False
    return below[1] >= above[1] or any(
        above[0].startswith(folder) and below[0].startswith(others) for folder, others in NOT_FOR.items()
    )


# The kernel driver is linked by itself, and has some functions under the names that a helper has them under.
KERNEL = "driver/windows/kernel/"


def owner_of(symbol: str, user: str, owners: dict[tuple[str, bool], str]) -> str:
    """The file whose symbol a file uses, or that file itself if it is nobody's."""
    name = owners.get((symbol, True)) if user.startswith(KERNEL) else None
    return name or owners.get((symbol, False), user)


def calls(build: Path, nm: str) -> dict[str, set[str]]:
    """Each file of the product with the files whose functions or data it uses."""
    text = subprocess.run(
        ["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True, check=True
    ).stdout
    owners: dict[tuple[str, bool], str] = {}  # by symbol, and whether it is the kernel driver's
    used: dict[str, set[str]] = {}
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if len(lines) < 2:
            continue
        source = (build / lines[1].strip()).resolve()
        if not any(source.is_relative_to(ROOT / folder) for folder in ("driver", "native")):
            continue
        name = source.relative_to(ROOT).as_posix()
        symbols = subprocess.run(
            [nm, "-P", build / lines[0].split(":")[0]], capture_output=True, text=True, check=True
        ).stdout
        for symbol, kind, *_ in (line.split() for line in symbols.splitlines()):
            if kind == "U" and symbol not in NO_FILES_OWN:
                used.setdefault(name, set()).add(symbol)
            elif kind.isupper():
                owners[symbol, name.startswith(KERNEL)] = name
    return {
        name: {owner_of(symbol, name, owners) for symbol in symbols} - {name}
        for name, symbols in used.items()
    }


def calls_up(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    return sorted(
        (name, other) for name in graph for other in graph[name] if points_up(ROOT / name, ROOT / other)
    )


def in_circles(graph: dict[str, set[str]]) -> set[str]:
    """The files of circles: those that stay when files that use no other, or that no other uses, are taken
    out again and again."""
    left = set(graph)
    while True:
        users = {other for name in left for other in graph[name] & left}
        kept = {name for name in left if graph[name] & left and name in users}
        if kept == left:
            return left
        left = kept


def main() -> int:
    build = Path(sys.argv[1]).resolve()
    found = arrows(build)
    if not found:
        print("the build has noted nothing", file=sys.stderr)
        return 2
    wrong = sorted((source, other) for source, other in found if points_up(Path(source), Path(other)))
    for source, other in wrong:
        print(
            f"{Path(source).resolve().relative_to(ROOT)} includes {Path(other).resolve().relative_to(ROOT)}"
        )
    graph = calls(build, sys.argv[2] if len(sys.argv) > 2 else "nm")
    upward = calls_up(graph)
    for source, other in upward:
        print(f"{source} calls {other}")
    circle = in_circles(graph)
    for name in sorted(circle):
        print(f"{name} is in a circle of calls, with {', '.join(sorted(graph[name] & circle))}")
    return 1 if wrong or upward or circle else 0


if __name__ == "__main__":
    sys.exit(main())
