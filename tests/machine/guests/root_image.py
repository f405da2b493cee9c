"""Makes the root file system of all guests: a small Debian of what this machine has installed, and the tests.

Knows dpkg's lists of files, mke2fs, and where an installed cbprocess keeps its files. Nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent

# With all that they depend on. gcc is for the programs that tests compile.
PACKAGES = (
    "bash",
    "busybox-static",
    "coreutils",
    "dash",
    "findutils",
    "gcc",
    "grep",
    "libbpf1",
    "libc-bin",
    "libc6-dev",
    "mount",
)
PACKAGES += ("procps", "python3", "sed", "strace", "util-linux")
# What those packages depend on for their installation alone, or for what no test does.
LEFT_OUT = {
    "base-files",
    "debconf",
    "debianutils",
    "dpkg",
    "init-system-helpers",
    "media-types",
    "perl-base",
    "tar",
}
LEFT_OUT_PATHS = re.compile(
    r"/usr/share/(doc|man|locale|lintian|bug|info|zoneinfo)/|lto1$|lto-wrapper$|-dump$|gcc-a[rn]"
)

MERGED = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")  # links into /usr, as on the machine itself
EMPTY = (
    "dev",
    "etc",
    "guest",
    "mnt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr/local/bin",
    "var/lib",
    "var/tmp",
    "home",
)
LINKS = {"usr/bin/cc": "gcc", "usr/bin/awk": "busybox", "usr/bin/vi": "busybox", "etc/mtab": "/proc/mounts"}
TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
    "tester:x:1000:1000::/home:/bin/sh\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\ntester:x:1000:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/os-release": 'ID=debian\nPRETTY_NAME="a guest of the tests"\n',
}
# Of the checkout: what tests read of it. They find it beside them.
OF_CHECKOUT = ("pyproject.toml", "build_backend", "driver", "native/include", "native/src", "tools", "tests")
NOT_OF_TESTS = ("windows", "pictures", "fuzz", "__pycache__", "*.pyc")

MIB = 1 << 20


def _output(*line: str) -> str:
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=120).stdout


def _dependencies() -> dict[str, list[list[str]]]:
    """Of each installed package: its dependencies, each as a list of alternatives."""
    found: dict[str, list[list[str]]] = {}
    shown = "${Package}\t${Architecture}\t${Pre-Depends}, ${Depends}\n"
    own = _output("dpkg", "--print-architecture").strip()
    for line in _output("dpkg-query", "-W", "-f", shown).splitlines():
        name, architecture, rest = line.split("\t")
        if architecture not in (own, "all"):
            continue
        wanted = [part.split("|") for part in rest.split(",") if part.strip()]
        names = [[re.split(r"[\s:(]", one.strip())[0] for one in group] for group in wanted]
        found.setdefault(name, []).extend(names)
    return found


def packages() -> list[str]:
    """PACKAGES and what they depend on, as far as this machine has it."""
    dependencies, found = _dependencies(), set[str]()
    missing = [name for name in PACKAGES if name not in dependencies]
    if missing:
        raise RuntimeError(
            f"guests are made of these packages, which are not installed: {', '.join(missing)}"
        )
    waiting = list(PACKAGES)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for group in dependencies[name]:
            waiting += [other for other in group if other in dependencies and other not in LEFT_OUT][:1]
    return sorted(found)


def _copy_one(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        if not target.is_symlink():
            target.symlink_to(os.readlink(source))
    elif source.is_file():
        shutil.copy2(source, target)


def _copy_packages(root: Path) -> None:
    own = _output("dpkg", "--print-architecture").strip()
    names = _output("dpkg-query", "-W", "-f", "${binary:Package}\n", *packages()).split()
    listed = _output("dpkg", "-L", *(name for name in names if name.partition(":")[2] in ("", own)))
    for line in sorted(set(listed.splitlines())):
        source = Path(line)
        if (
            not line.startswith("/")
            or LEFT_OUT_PATHS.search(line)
            or (source.is_dir() and not source.is_symlink())
        ):
            continue
        _copy_one(source, root / line[1:])
        if source.suffix == ".py":  # compiled by the installation, so in no package's list
            for compiled in (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*[0-9].pyc"):
                _copy_one(compiled, root / str(compiled)[1:])


# Run by the Python whose cbprocess is tested: where that is, and the distributions that its tests need.
LOCATE = """
import importlib.metadata as metadata, json, re, pathlib
import cbprocess, cbprocess._binding.library as library
waiting, seen, files = ["pytest", "pytest-rerunfailures", "hypothesis"], set(), []
while waiting:
    name = waiting.pop()
    if name in seen:
        continue
    seen.add(name)
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        continue
    files += [(str(found.locate_file(file)), str(file)) for file in found.files or ()]
    waiting += [re.split(r"[^\\w.-]", need)[0] for need in found.requires or () if "extra" not in need]
own = metadata.distribution("cbprocess")
files += [(str(own.locate_file(file)), str(file)) for file in own.files or () if ".dist-info/" in str(file)]
print(json.dumps({
    "package": str(pathlib.Path(cbprocess.__file__).parent), "native": str(library.native_folder()),
    "files": files, "version": cbprocess.__version__}))
"""


def _copy_python(root: Path, python: str) -> str:
    """The tested package and pytest, where Debian's Python looks for what was installed by hand."""
    located = json.loads(
        subprocess.run([python, "-c", LOCATE], check=True, capture_output=True, text=True, cwd="/").stdout
    )
    (library,) = (root / "usr" / "lib").glob("python3.[0-9]*")
    target = root / "usr" / "local" / "lib" / library.name / "dist-packages"
    for source, name in located["files"]:
        if not name.startswith("..") and not name.endswith(".pyc") and Path(source).exists():
            _copy_one(Path(source), target / name)
    ignored = shutil.ignore_patterns("__pycache__", "_native")
    shutil.copytree(located["package"], target / "cbprocess", ignore=ignored)
    shutil.copytree(located["native"], target / "cbprocess" / "_native", symlinks=True)
    compiled = ["/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run(
        [*compiled, "-s", str(root), "-p", "/", str(target)], check=False, stdout=subprocess.DEVNULL
    )
    script = root / "usr/local/bin/cbprocess"
    script.write_text("#!/usr/bin/python3\nimport sys\nfrom cbprocess.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return str(located["version"])


def _copy_checkout(root: Path) -> None:
    for name in OF_CHECKOUT:
        source, target = ROOT / name, root / "guest" / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*NOT_OF_TESTS))
        else:
            shutil.copy2(source, target)


# Compiled here, because that takes a guest long.
COMPILE = "import live_tools, pathlib, sys; live_tools.Programs(pathlib.Path(sys.argv[1]))"


def _compile_programs(root: Path, python: str) -> None:
    target = root / "guest" / "programs"
    target.mkdir()
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "live")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([python, "-c", COMPILE, str(target)], check=True, env=environment, cwd="/")


def make_folder(root: Path, python: str) -> str:
    """Fills the folder; returns the version of cbprocess in it."""
    for name in EMPTY:
        (root / name).mkdir(parents=True)
    for name in MERGED:
        (root / "usr" / name).mkdir(exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    _copy_packages(root)
    for name, target in LINKS.items():
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    for name, text in TEXTS.items():
        (root / name).write_text(text, encoding="utf-8")
    version = _copy_python(root, python)
    _copy_checkout(root)
    _compile_programs(root, python)
    shutil.copy2(HERE / "inside" / "init", root / "guest" / "init")
    (root / "guest" / "init").chmod(0o755)
    return version


def make_image(root: Path, image: Path, room_mib: int = 256) -> None:
    """An ext4 file system of that folder, with some room."""
    size = sum(path.lstat().st_size for path in root.glob("**/*") if not path.is_dir()) // MIB
    count = sum(1 for _ in root.glob("**/*"))
    mke2fs = shutil.which("mke2fs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if mke2fs is None:
        raise RuntimeError("a guest's root file system needs mke2fs (Debian: e2fsprogs)")
    options = [
        "-q",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        "^has_journal",
        "-E",
        "root_owner=0:0,lazy_itable_init=1",
        "-m",
        "0",
    ]
    options += ["-N", str(count + 20000), "-d", str(root)]
    subprocess.run(
        [mke2fs, *options, str(image), f"{size * 5 // 4 + room_mib}M"],
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )
