"""The installed package is whole, is the one that is tested, and says the version that the header says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

import cbprocess
import cbprocess._binding.library

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = {"cbprocess-ptrace", "cbprocess-launch", "cbprocess-guard"}
# One source can be compiled for several kernels.
OF_KERNELS = {"gate7", "lsmgate", "lsmgate7", "processes7", "processes58", "handles58", "tasks58"}
SOURCES = (ROOT / "driver" / "linux" / "bpf" / "programs").glob("*.bpf.c")
OBJECTS = {f"{name}.bpf.o" for name in OF_KERNELS | {path.name.partition(".")[0] for path in SOURCES}}
NATIVE_FILES = {"libcbprocess.so", "cbprocess-driver.version", *PROGRAMS, *OBJECTS}
# A wheel may carry libraries for the bpf driver.
CARRIED = re.compile(r"lib(bpf|elf|z|zstd)\.so\.1|LICENSE\.(libbpf|libelf|zlib|libzstd)")
EM_BPF = 247


@pytest.fixture(scope="module")
def distribution() -> metadata.Distribution:
    return metadata.distribution("cbprocess")


def is_editable(distribution: metadata.Distribution) -> bool:
    text = distribution.read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def test_the_tested_package_is_the_installed_one(distribution: metadata.Distribution, checkout: Path) -> None:
    package = Path(cbprocess.__file__).resolve().parent
    if is_editable(distribution):
        expected = checkout / "cbprocess"
    else:
        expected = Path(sysconfig.get_path("platlib")).resolve() / "cbprocess"
        assert checkout / "cbprocess" != expected
    assert package == expected


def test_the_library_in_use_is_the_packages_own() -> None:
    if cbprocess._binding.library.FOLDER_VARIABLE in os.environ:
        pytest.skip(f"{cbprocess._binding.library.FOLDER_VARIABLE} chooses another library for this run")
    folder = Path(cbprocess._binding.library.native_folder())
    assert folder == Path(cbprocess.__file__).resolve().parent / "_native"
    # In an interpreter of its own: other tests load other libraries into this one.
    load = "from cbprocess._binding import library; library.load()"
    code = f"{load}; print(open('/proc/self/maps').read())"
    maps = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    loaded = {line.split(maxsplit=5)[5] for line in maps.splitlines() if line.endswith("/libcbprocess.so")}
    assert loaded == {str((folder / "libcbprocess.so").resolve())}


def test_every_native_file_is_there_and_the_programs_are_executable() -> None:
    folder = Path(cbprocess._binding.library.native_folder())
    assert {path.name for path in folder.iterdir() if not CARRIED.fullmatch(path.name)} == NATIVE_FILES
    for name in NATIVE_FILES - {"cbprocess-driver.version"}:
        assert (folder / name).read_bytes()[:4] == b"\x7fELF", name
    assert all(os.access(folder / name, os.X_OK) for name in PROGRAMS)


def test_the_bpf_programs_are_for_the_kernel_and_have_their_types() -> None:
    folder = Path(cbprocess._binding.library.native_folder())
    for name in OBJECTS:
        content = (folder / name).read_bytes()
        assert int.from_bytes(content[18:20], "little") == EM_BPF, name
        # These sections let one object fit all kernels.
        assert b".BTF\0" in content and b".BTF.ext\0" in content, name


def test_the_driver_of_the_package_has_the_packages_version() -> None:
    folder = Path(cbprocess._binding.library.native_folder())
    assert (folder / "cbprocess-driver.version").read_text() == f"{cbprocess.__version__}\n"


def test_one_version(distribution: metadata.Distribution, checkout: Path) -> None:
    header = (checkout / "native" / "include" / "cbprocess.h").read_text(encoding="utf-8")
    found = re.search(r'^#define CBP_VERSION "([^"]+)"$', header, re.MULTILINE)
    assert found is not None
    assert cbprocess.__version__ == found[1]
    assert distribution.version == found[1]
    library = cbprocess._binding.library.load()
    assert library.cbp_version() == found[1].encode()


def test_the_wheel_is_tagged_for_any_python_3_of_this_platform(distribution: metadata.Distribution) -> None:
    wheel = distribution.read_text("WHEEL")
    assert wheel is not None
    lines = wheel.splitlines()
    tags = [line.split()[1] for line in lines if line.startswith("Tag:")]
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert tags == [f"py3-none-{platform}"]
    assert "Root-Is-Purelib: false" in lines


def test_the_wheel_has_the_package_and_nothing_else(
    distribution: metadata.Distribution, checkout: Path
) -> None:
    if is_editable(distribution):
        pytest.skip("an editable installation records no files of the package")
    installed = {str(path) for path in distribution.files or [] if path.suffix != ".pyc"}
    package = checkout / "cbprocess"
    wanted = {
        str(path.relative_to(checkout))
        for path in package.rglob("*")
        if path.suffix in {".py", ".typed", ".html", ".json"} and "_native" not in path.parts
    }
    wanted |= {f"cbprocess/_native/{name}" for name in NATIVE_FILES}
    found = {name for name in installed if name.startswith("cbprocess/")}
    assert {name for name in found if not CARRIED.fullmatch(Path(name).name)} == wanted
    others = {name for name in installed if not re.match(r"cbprocess(-[^/]*\.dist-info)?/", name)}
    assert {Path(name).name for name in others} == {"cbprocess", "cbprocess-python"}


def test_no_runtime_dependency(distribution: metadata.Distribution) -> None:
    assert [line for line in distribution.requires or [] if "extra ==" not in line] == []


@pytest.mark.parametrize("folder", ["checkout", "elsewhere"])
def test_the_command_runs_from_any_folder(folder: str, checkout: Path, tmp_path: Path) -> None:
    """In the checkout its own cbprocess/ comes first on sys.path; the native part is found all the same."""
    line = [sys.executable, "-m", "cbprocess", "--version"]
    done = subprocess.run(
        line, cwd=checkout if folder == "checkout" else tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert cbprocess.__version__ in done.stdout


@pytest.mark.parametrize("name", ["cbprocess", "cbprocess-python"])
def test_the_command_is_installed(name: str, tmp_path: Path) -> None:
    script = Path(sysconfig.get_path("scripts")) / name
    done = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert cbprocess.__version__ in done.stdout


def test_the_command_is_a_program_that_needs_nothing(distribution: metadata.Distribution) -> None:
    """It is executed by itself: no interpreter, no loader of libraries, no library. And no installer takes
    it for a console script of its own making."""
    image = (Path(sysconfig.get_path("scripts")) / "cbprocess").read_bytes()
    assert image[:4] == b"\x7fELF"
    offset, count = int.from_bytes(image[0x20:0x28], "little"), int.from_bytes(image[0x38:0x3A], "little")
    kinds = {int.from_bytes(image[offset + 56 * i :][:4], "little") for i in range(count)}
    assert 1 in kinds and not kinds & {2, 3}  # PT_LOAD; PT_DYNAMIC, PT_INTERP
    assert not [point.name for point in distribution.entry_points if point.group == "console_scripts"]


def test_exported_symbols_are_the_public_headers_functions(checkout: Path) -> None:
    """Nothing internal leaks out of the library, and nothing that the headers declare is missing."""
    headers = [path.read_text(encoding="utf-8") for path in (checkout / "native" / "include").glob("*.h")]
    declarations = re.compile(r"^CBP_API [^;(]*?\bCBP_CALL\s+(cbp_\w+)\(", re.MULTILINE)
    declared = {name for header in headers for name in declarations.findall(header)}
    library = Path(cbprocess._binding.library.native_folder()) / "libcbprocess.so"
    assert len(declared) > 20
    assert dynamic_symbols(library.read_bytes()) == declared


def dynamic_symbols(image: bytes) -> set[str]:
    """The functions and objects that a 64-bit little-endian ELF library exports."""
    sections_offset = int.from_bytes(image[0x28:0x30], "little")
    section_count = int.from_bytes(image[0x3C:0x3E], "little")
    sections = [image[sections_offset + 64 * i :][:64] for i in range(section_count)]

    def number(data: bytes, offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], "little")

    (table,) = [section for section in sections if number(section, 4, 4) == 11]  # SHT_DYNSYM
    names = number(sections[number(table, 0x28, 4)], 0x18, 8)
    start, size = number(table, 0x18, 8), number(table, 0x20, 8)
    found = set()
    for offset in range(start, start + size, 24):
        kind, section = image[offset + 4] & 0xF, number(image, offset + 6, 2)
        if section not in (0, 0xFFF1) and kind in (1, 2):  # defined, not a version's own symbol
            begin = names + number(image, offset, 4)
            found.add(image[begin : image.index(b"\0", begin)].decode())
    return found
