"""Compares two installed builds of cbprocess by figures of bench/run.py, taken in turn in one run.

    python bench/compare.py A B [--only LIST] [--rounds NUMBER] [--unpinned]

A and B are each an environment (its folder, or its Python), or a wheel, which is installed into an
environment made for it. In each round both builds are measured, B first in every second one. Prints the
medians of both, and of B's ratio to A within a round, with the smallest and the largest: below 1 B is faster.
The row `bare` has nothing of cbprocess in it: its ratios differ from 1 by noise, and the others have as much.

Knows builds by their Python alone; figures.py runs in each."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import snapshot
from figures import FIGURES
from harness import BenchmarkError, pin_to_one_cpu, progress, run
from table import format_columns

SCRIPT = Path(__file__).resolve().parent / "figures.py"
CPUS = os.sched_getaffinity(0)
SHOW = "import cbprocess; print(cbprocess.__version__, cbprocess.__path__[0])"
# These would give both sides one and the same build.
VARIABLES = ("PYTHONPATH", "CBPROCESS_NATIVE_DIR")


class Build(NamedTuple):
    python: Path
    folder: Path  # of its own, for the programs that are linked against it

    def measure(self, name: str) -> float:
        return float(run([str(self.python), str(SCRIPT), name, str(self.folder)]))


def parse_names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    return names


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares two installed builds of cbprocess.")
    parser.add_argument("builds", nargs=2, type=Path, metavar="BUILD", help="an environment, or a wheel")
    parser.add_argument("--only", type=parse_names, default=list(FIGURES), metavar="LIST", help="which rows")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--unpinned", action="store_true", help="all on all CPUs; else most on one")
    return parser.parse_args()


def install(wheel: Path, folder: Path) -> Path:
    """The Python of an environment that has this wheel."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index"]
    run([*pip, "--no-deps", str(wheel)])
    return python


def find_python(build: Path, folder: Path) -> Path:
    if build.suffix == ".whl" and build.is_file():
        return install(build, folder / "environment")
    python = build / "bin" / "python" if build.is_dir() else build
    if not os.access(python, os.X_OK):
        raise BenchmarkError(f"{build} is neither a wheel nor an environment with a Python")
    return python


def make_build(letter: str, place: Path, folder: Path) -> Build:
    own = folder / letter
    own.mkdir()
    build = Build(find_python(place, own), own)
    progress(f"{letter}: {run([str(build.python), '-c', SHOW]).strip()}")
    return build


@contextlib.contextmanager
def crowd(is_needed: bool) -> Iterator[None]:
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(snapshot.PROCESS_COUNT if is_needed else 0)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()


def compare(name: str, builds: tuple[Build, Build], rounds: int) -> tuple[str, ...]:
    """A row: what, A, B, ratio."""
    figure = FIGURES[name]
    values: list[tuple[float, float]] = []
    with crowd(figure.needs_crowd):
        for number in range(-1, rounds):  # what the first one takes, which warms up, does not count
            progress(f"{name}: round {number + 1} of {rounds}")
            taken = [build.measure(name) for build in (builds[::-1] if number % 2 else builds)]
            if number >= 0:
                values.append((taken[1], taken[0]) if number % 2 else (taken[0], taken[1]))
    ratios = [second / first for first, second in values]
    medians = [f"{statistics.median(each):.1f} {figure.unit}" for each in zip(*values)]
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
    return (name, figure.what, *medians, spread)


def main() -> int:
    options = parse_arguments()
    places = [place.absolute() for place in options.builds]  # no link is followed: it is an environment's
    for variable in VARIABLES:
        os.environ.pop(variable, None)
    cpu = pin_to_one_cpu()
    rows: list[tuple[str, ...]] = []
    try:
        with tempfile.TemporaryDirectory(prefix="cbprocess-compare-") as folder:
            os.chdir(folder)  # a checkout here would be found first
            builds = make_build("A", places[0], Path(folder)), make_build("B", places[1], Path(folder))
            for name in options.only:
                is_pinned = FIGURES[name].is_pinned and not options.unpinned
                os.sched_setaffinity(0, {cpu} if is_pinned else CPUS)
                rows.append(compare(name, builds, options.rounds))
    except BenchmarkError as error:
        progress(f"compare: {error}")
        return 1
    print(format_columns(("", "what", "A", "B", "B / A"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
