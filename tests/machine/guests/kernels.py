"""Gets Debian's own kernels by the names of their packages, unpacked and not installed.

Knows apt and dpkg of this machine; nothing of what a guest does. No host is named here: what the machine's
own sources do not have comes from the same place under another suite's name, with package lists of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

OTHER_USER = "_apt"  # as whom root downloads
APT_LIMIT_S = 300


class Kernel(NamedTuple):
    """A kernel that guests run: its packages, and the suite to look in if this machine's have none."""

    pattern: str
    suite: str


KERNELS = {
    "5.10": Kernel(r"linux-image-5\.10\.0-([0-9]+)-cloud-amd64", "bullseye"),
    "6.1": Kernel(r"linux-image-6\.1\.[0-9.]+-([0-9]+)-cloud-amd64", "bookworm"),
    "6.12": Kernel(r"linux-image-6\.12\.([0-9.]+)\+deb1[23]-cloud-amd64", "trixie"),
    "7": Kernel(r"linux-image-(7\.[0-9.]+)\+deb1[34]-cloud-amd64", "trixie-backports"),
}


class Unpacked(NamedTuple):
    """A kernel's files: its image and the folder of its modules."""

    package: str
    image: Path
    modules: Path


def _run(*line: str, folder: Path | None = None) -> str:
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=APT_LIMIT_S)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(line)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _own_suite() -> str:
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r"^VERSION_CODENAME=(\S+)", text, re.MULTILINE)
    if not found:
        raise RuntimeError("/etc/os-release names no release of Debian")
    return found.group(1)


def _stanza_of(text: str, own: str, suite: str) -> str | None:
    """The paragraph of a .sources file that serves the machine's own suite, for another suite."""
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line for line in paragraph.splitlines() if line and not line.startswith("#")]
        suites = next((line for line in lines if line.startswith("Suites:")), "").split()[1:]
        if own in suites and not any(line.startswith("Enabled: no") for line in lines):
            return (
                "\n".join(f"Suites: {suite}" if line.startswith("Suites:") else line for line in lines) + "\n"
            )
    return None


def _line_of(text: str, own: str, suite: str) -> str | None:
    """The line of a .list file that serves the machine's own suite, for another suite."""
    for line in text.splitlines():
        found = re.fullmatch(rf"(deb\s+(?:\[[^]]*\]\s+)?\S+\s+){re.escape(own)}(\s+.*)", line.strip())
        if found:
            return f"{found.group(1)}{suite}{found.group(2)}\n"
    return None


def _sources_for(suite: str) -> tuple[str, str]:
    """The name and the text of a sources file for that suite, made from this machine's own."""
    own, folder = _own_suite(), Path("/etc/apt")
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        text = _stanza_of(path.read_text(encoding="utf-8"), own, suite)
        if text:
            return "other.sources", text
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]:
        text = _line_of(path.read_text(encoding="utf-8"), own, suite) if path.exists() else None
        if text:
            return "other.list", text
    raise RuntimeError(f"no source of this machine's apt serves {own}")


def _options_for(suite: str, folder: Path) -> list[str]:
    """apt's options for package lists of another suite; reads them if they are not there yet."""
    folder = folder / "apt" / suite
    parts, lists = folder / "parts", folder / "lists"
    options = [
        *("-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={parts}"),
        *("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={folder / 'cache'}"),
    ]
    if not parts.exists():
        for made in (lists / "partial", folder / "cache" / "archives" / "partial", folder / "new"):
            made.mkdir(parents=True, exist_ok=True)
        name, text = _sources_for(suite)
        (folder / "new" / name).write_text(text, encoding="utf-8")
        _give_away(folder)
        (folder / "new").rename(parts)
        try:
            _run("apt-get", "-qq", *options, "update")
        except RuntimeError:
            parts.rename(folder / "new")
            raise
    return options


def _give_away(folder: Path) -> None:
    """apt gives up root for a user of its own, who has to write here."""
    if os.geteuid() == 0:
        _run("chown", "-R", OTHER_USER, str(folder))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.strip(".").split("."))


def _newest(kernel: Kernel, options: list[str]) -> str | None:
    """The name of the newest package of that kernel in these lists."""
    names = _run("apt-cache", *options, "pkgnames", "linux-image-").split()
    found = {name: match for name in names if (match := re.fullmatch(kernel.pattern, name))}
    return max(found, key=lambda name: _number(found[name].group(1)), default=None)


def _parts(package: str, options: list[str]) -> list[str]:
    """The packages that a kernel's files are in: newer ones have them in packages that it needs."""
    needed = re.findall(r"^Depends: (.*)", _run("apt-cache", *options, "show", package), re.MULTILINE)
    return [package, *re.findall(r"\blinux-(?:binary|modules)-[^ ,]+", needed[0] if needed else "")]


def _download(package: str, options: list[str], folder: Path) -> None:
    """Unpacks a kernel into a folder named after its package."""
    work = folder / f"{package}.new"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _give_away(work)
    as_other = ["runuser", "-u", OTHER_USER, "--"] if os.geteuid() == 0 else []
    _run(*as_other, "apt-get", "-qq", *options, "download", *_parts(package, options), folder=work)
    for archive in list(work.glob("*.deb")):
        _run("dpkg-deb", "-x", str(archive), str(work))
        archive.unlink()
    work.rename(folder / package)


def get(name: str, folder: Path) -> Unpacked:
    """The newest kernel of that name; a folder that has it already is not filled again."""
    kernel = KERNELS[name]
    options: list[str] = []
    package = _newest(kernel, options)
    if package is None:
        options = _options_for(kernel.suite, folder)
        package = _newest(kernel, options)
    if package is None:
        raise RuntimeError(f"neither this machine's sources nor {kernel.suite} have a kernel {name}")
    if not (folder / package).exists():
        _download(package, options, folder)
    (modules,) = (folder / package).glob("**/lib/modules/*")
    (image,) = [*(folder / package).glob("boot/vmlinuz-*"), *modules.glob("vmlinuz")]
    return Unpacked(package, image, modules)
