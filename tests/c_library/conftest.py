"""The C library as `cmake --install` leaves it, for the tests that use it from outside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from c_library.programs import need, run_tool


@pytest.fixture(scope="session")
def installation(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of an installation that has been moved since: nothing in it can rely on its place."""
    need("cmake", "cc")
    folder = tmp_path_factory.mktemp("c-library")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    run_tool("cmake", *generator, "-S", checkout, "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release")
    run_tool("cmake", "--build", folder / "build", "--parallel", "2")
    run_tool("cmake", "--install", folder / "build", "--prefix", folder / "first")
    shutil.rmtree(folder / "build")
    return (folder / "first").rename(folder / "moved")


@pytest.fixture(scope="session")
def installed_environment(installation: Path) -> dict[str, str]:
    """What a build or a program needs in its environment to find that library."""
    return {
        "PKG_CONFIG_PATH": str(installation / "lib" / "pkgconfig"),
        "CMAKE_PREFIX_PATH": str(installation),
        "LD_LIBRARY_PATH": str(installation / "lib"),
    }
