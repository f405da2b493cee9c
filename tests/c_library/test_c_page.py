"""The programs in docs/c-api.md compile as they stand there, in C99 and without a warning, and do what the
page says. A block belongs to the file that its first line names."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from c_library.programs import need, run_tool

Run = Callable[[str], "subprocess.CompletedProcess[str]"]

STRICT = [
    "-std=c99",
    "-D_GNU_SOURCE=",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-pedantic",
    "-Werror",
    "-pthread",
]


@pytest.fixture(scope="module")
def folder(
    checkout: Path, installed_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The page's files, its programs compiled beside them."""
    need("cc", "pkg-config")
    folder = tmp_path_factory.mktemp("c-page")
    page = (checkout / "docs" / "c-api.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```c\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        named = re.match(r"/\* ([\w.-]+) \*/\n", block)
        assert named is not None, block[:60]
        (folder / named[1]).write_text(block, encoding="utf-8")
    flags = run_tool("pkg-config", "--cflags", "--libs", "cbprocess", **installed_environment).split()
    sources = sorted(folder.glob("*.c"))
    assert len(sources) == 4
    for source in sources:
        run_tool("cc", *STRICT, source, "-o", source.with_suffix(""), *flags)
    return folder


@pytest.fixture
def run(folder: Path, installed_environment: dict[str, str]) -> Run:
    def run_program(name: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **installed_environment}
        return subprocess.run(
            [folder / name], env=environment, cwd=folder, capture_output=True, text=True, timeout=60
        )

    return run_program


def test_it_installs_as_an_ordinary_user(checkout: Path, folder: Path, tmp_path: Path) -> None:
    """The page's own lines, in a home that is this user's: nothing outside of it is written to."""
    page = (checkout / "docs" / "c-api.md").read_text(encoding="utf-8")
    lines = page.split("```sh\n")[1].split("```")[0]
    for name in ("CMakeLists.txt", "cmake", "driver", "native", "tests"):
        (tmp_path / name).symlink_to(checkout / name)
    (tmp_path / "program.c").write_bytes((folder / "watch.c").read_bytes())
    (tmp_path / "launch.h").write_bytes((folder / "launch.h").read_bytes())
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "DESTDIR": "", "CMAKE_BUILD_PARALLEL_LEVEL": "2"}
    script = f"set -e\n{lines}./program"
    done = subprocess.run(
        ["sh", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 3, done.stderr
    assert "created sh" in done.stdout.replace("/usr/bin/", "").replace("dash", "sh"), done.stdout
    assert (home / ".local" / "libexec" / "cbprocess" / "cbprocess-ptrace").is_file()


def test_watch(run: Run) -> None:
    done = run("watch")
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    assert next(line for line in lines if line != "hello").startswith("created /")
    assert any(re.fullmatch(r"refused /\S*/touch", line) for line in lines)
    assert "hello" in lines and lines[-1].startswith("ended /")
    assert "ermission denied" in done.stderr  # the shell's word about touch


def test_config(run: Run) -> None:
    done = run("config")
    assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout)


def test_deferral(run: Run) -> None:
    done = run("deferral")
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["1 operation held", "went on"])


def test_processes(run: Run) -> None:
    done = run("processes")
    assert done.returncode == 0
    listed = {int(line.split()[0]) for line in done.stdout.splitlines()}
    assert {1, os.getpid()} <= listed
