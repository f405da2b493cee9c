"""Makes the first file system of a guest: busybox, the modules its kernel needs, and what it is to run.

Knows the format of cpio archives (newc) and of kernel modules; nothing of packages or tests.
"""

from __future__ import annotations

import lzma
import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

# What tests need of a kernel and Debian's may have as modules.
MODULES = ("virtio_pci", "virtio_blk", "ext4", "fuse", "overlay", "loop")

INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do
    /bin/busybox insmod "$module" || echo "cannot load $module"
done
if ! /bin/busybox mount -t ext4 /dev/vda /root; then
    echo "the guest has no root file system"
    /bin/busybox poweroff -f
fi
/bin/busybox mount --move /dev /root/dev
/bin/busybox mount -t tmpfs -o mode=755 tmpfs /root/run
/bin/busybox cp /order /root/run/order
exec /bin/busybox switch_root /root /guest/init
"""


class _Archive:
    """A cpio archive in the format newc."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._count = 0

    def add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._count += 1
        path = name.encode() + b"\0"
        fields = (self._count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self._parts += [header, b"\0" * (-len(header) % 4), data, b"\0" * (-len(data) % 4)]

    def data(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return b"".join(self._parts)


def _name_of(path: Path) -> str:
    return path.name.split(".")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _needed(data: bytes) -> list[str]:
    found = re.search(rb"\0depends=([^\0]*)\0", data)
    return [name.replace("-", "_") for name in found.group(1).decode().split(",") if name] if found else []


def in_order(folder: Path, wanted: Iterable[str]) -> list[tuple[str, bytes]]:
    """These modules and what they need, each after what it needs. What is built in has no file."""
    paths = {_name_of(path): path for path in folder.glob("**/*.ko*")}
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in ordered or name not in paths:
            return
        data = _content(paths[name])
        for other in _needed(data):
            add(other)
        ordered[name] = data

    for name in wanted:
        add(name)
    return list(ordered.items())


def make(target: Path, modules: Path, order: str) -> None:
    """order is a shell's text with the variables that /guest/init reads."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise RuntimeError("a guest needs busybox (Debian: busybox-static)")
    archive = _Archive()
    for folder in ("bin", "dev", "modules", "root"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, Path(busybox).read_bytes())
    for number, (name, data) in enumerate(in_order(modules, MODULES)):
        archive.add(f"modules/{number:02}-{name}.ko", stat.S_IFREG | 0o644, data)
    archive.add("order", stat.S_IFREG | 0o644, order.encode())
    archive.add("init", stat.S_IFREG | 0o755, INIT.encode())
    target.write_bytes(archive.data())
