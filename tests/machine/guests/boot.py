"""Boots a guest under qemu without any help of the processor, and gets what it has left.

Knows qemu; nothing of what the guest does. A guest that does not end in its time is ended.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import NamedTuple

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 2048
# The first is for a guest that gets no processor for a while when it boots.
WORDS = "no_timer_check console=ttyS0 quiet panic=-1 oops=panic random.trust_cpu=on cbprocess.guest=1"
POLL_S = 0.2


class Ended(NamedTuple):
    """What is left of a guest."""

    seconds: float
    console: str
    files: dict[str, bytes]  # what it sent; empty if it came to no end
    trouble: str  # why it came to none


def _files_of(sent: bytes) -> dict[str, bytes]:
    """The files of the archive that a guest has sent, by name."""
    try:
        with tarfile.open(fileobj=io.BytesIO(sent), mode="r:") as archive:
            members = [member for member in archive.getmembers() if member.isfile()]
            opened = {member.name.removeprefix("./"): archive.extractfile(member) for member in members}
            return {name: file.read() for name, file in opened.items() if file}
    except (tarfile.TarError, EOFError, OSError):
        return {}


class Guest:
    """A machine from boot to its end. Its files are made in a folder of its own."""

    def __init__(
        self, folder: Path, image: Path, initramfs: Path, disk: Path, *, processors: int, words: str = ""
    ) -> None:
        self._console, self._results = folder / "console", folder / "results"
        self._results.touch()
        qemu = shutil.which(QEMU)
        if qemu is None:
            raise RuntimeError(f"guests need {QEMU} (Debian: qemu-system-x86)")
        # A reboot is an end, and so is a panic; nothing is written to the disk that others have, too.
        line = [
            qemu,
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            str(processors),
            "-m",
            str(MEMORY_MIB),
        ]
        line += [
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-kernel",
            str(image),
            "-initrd",
            str(initramfs),
        ]
        line += ["-drive", f"file={disk},format=raw,if=virtio,snapshot=on"]
        line += ["-serial", f"file:{self._console}", "-serial", f"file:{self._results}"]
        line += [
            "-append",
            f"{WORDS} {words}",
        ]
        self._error = folder / "qemu"
        with self._error.open("wb") as error:
            self._began = time.monotonic()
            self._process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=error, stderr=error, cwd=folder
            )

    def wait(self, seconds: float) -> Ended:
        """Its end; after so many seconds since it began, it is ended."""
        trouble = ""
        try:
            self._process.wait(max(self._began + seconds - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            trouble = f"not at its end after {seconds:.0f} s"
        finally:
            self.end()
        taken = time.monotonic() - self._began
        files = _files_of(self._results.read_bytes())
        console = (
            self._console.read_text(encoding="utf-8", errors="replace") if self._console.exists() else ""
        )
        if not files:
            trouble = trouble or "it ended without results"
            console += self._error.read_text(encoding="utf-8", errors="replace")
        return Ended(taken, console.replace("\r", ""), files, trouble)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
