"""Checks which way the folders of the C sources look: no file may include one of a folder above its own.

    python3 tools/house_arrows.py BUILD_FOLDER

Reads what the compiler itself has noted of each object (`ninja -t deps`); prints each arrow that points up
and ends with status 1. The order is docs/architecture.md's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# From the ground up; what stands in one line does not look at each other.
HOUSE = (
    ("driver/protocol", "driver/linux/bare"),
    ("driver/rules", "driver/linux/facts"),
    ("driver/policy",),
    ("driver/helper", "driver/linux/launch"),
    ("driver/linux/ptrace", "driver/windows/debug"),
    ("native/include",),
    # A contract and its side on each system look at each other.
    ("native/src/seams", "native/src/platform", "native/front"),
    ("native/src/recording",),
    ("native/src/core",),
    ("native/src/drivers/helper", "native/src/drivers/simulated"),
    ("native/src/drivers",),
    ("tests",),
)
TOGETHER = ({"native/src/seams", "native/src/platform"},)
# The core stands on what decides, not on what a helper or a driver is made of.
HELPERS_OWN = ("driver/helper", "driver/linux/ptrace", "driver/windows/debug")


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


def points_up(source: Path, included: Path) -> bool:
    above, below = place_of(source), place_of(included)
    if above is None or below is None or above[0] == below[0] or {above[0], below[0]} in TOGETHER:
        return False
    return below[1] >= above[1] or (above[0].startswith("native/") and below[0] in HELPERS_OWN)


def main() -> int:
    found = arrows(Path(sys.argv[1]).resolve())
    if not found:
        print("the build has noted nothing", file=sys.stderr)
        return 2
    wrong = sorted((source, other) for source, other in found if points_up(Path(source), Path(other)))
    for source, other in wrong:
        print(
            f"{Path(source).resolve().relative_to(ROOT)} includes {Path(other).resolve().relative_to(ROOT)}"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
