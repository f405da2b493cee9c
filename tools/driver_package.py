"""Makes the package of the kernel driver:

    python tools/driver_package.py make DRIVER FOLDER     cbprocess.sys, .inf and .cat in FOLDER
    python tools/driver_package.py pack FOLDER CABINET    these three in a cabinet
    python tools/driver_package.py submit FOLDER CABINET  for Microsoft: these in a folder, and symbols

The first two are two steps because a signature of the driver or of the catalog comes between them
(tools/sign_driver.sh). The build does both, without signatures. SOURCE_DATE_EPOCH is the time that is written
into files; without it, now. Needs nothing beside Python."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cabinet import cabinet
from catalog import catalog, read_image

TEMPLATE = Path(__file__).resolve().parent.parent / "driver" / "windows" / "kernel" / "cbprocess.inf.in"
DRIVER, INF, CATALOG = FILES = "cbprocess.sys", "cbprocess.inf", "cbprocess.cat"


def now() -> int:
    return int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


def make_inf(driver: bytes, seconds: int) -> bytes:
    """The .inf for that driver. Its lines end as Windows has them."""
    image = read_image(driver)
    text = TEMPLATE.read_text(encoding="ascii")
    values = {
        "DATE": time.strftime("%m/%d/%Y", time.gmtime(seconds)),
        "VERSION": ".".join(map(str, image.version)),
        "ARCHITECTURE": image.machine,
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text.replace("\n", "\r\n").encode("ascii")


def make(driver: Path, folder: Path) -> None:
    content, seconds = driver.read_bytes(), now()
    inf = make_inf(content, seconds)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DRIVER).write_bytes(content)
    (folder / INF).write_bytes(inf)
    (folder / CATALOG).write_bytes(catalog([(DRIVER, content), (INF, inf)], seconds))


def pack(folder: Path, path: Path) -> None:
    path.write_bytes(cabinet([(name, (folder / name).read_bytes()) for name in FILES], now()))


def submit(folder: Path, path: Path) -> None:
    names = [*FILES, *sorted(file.name for file in folder.glob("*.pdb"))]
    path.write_bytes(cabinet([(f"cbprocess\\{name}", (folder / name).read_bytes()) for name in names], now()))


def main() -> int:
    commands = {"make": make, "pack": pack, "submit": submit}
    if len(sys.argv) != 4 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        commands[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    except (OSError, ValueError) as error:
        print(f"driver_package.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
