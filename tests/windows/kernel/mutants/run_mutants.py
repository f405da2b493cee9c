"""Storey 5: deliberate bugs of the driver, each of which two storeys at least have to catch.

    python tests/windows/kernel/mutants/run_mutants.py [MUTANT]...

A mutant is a patch in this folder. It is applied to a copy of the sources, of which the file that ships and
the units are built. Then it meets the cheapest tests that are to catch it: a unit test, a mode of the loader,
the static checks, or the model, in which the same bug is a fault. First it is checked that all of these are
silent without a mutant. Knows where each bug shows, and not how.

Needs what the storeys need, and patch."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path[:0] = [str(HERE.parent / storey) for storey in ("model", "units", "static", "loader")]

import checks  # noqa: E402
import run_loader  # noqa: E402
import run_model  # noqa: E402
import run_static  # noqa: E402
import run_units  # noqa: E402
from image import Image  # noqa: E402

COPIED = ("CMakeLists.txt", "CMakePresets.json", "cmake", "driver", "native")
COPIES = 2
LIMIT_S = 8  # of the loader: longer is a hang
UNITS_LIMIT_S = 60


class Mutant(NamedTuple):
    """Where a mutant is caught. At least two are named."""

    units: str = ""  # this test fails
    loader: tuple[str, str] = ("", "")  # this mode ends, and says this
    model: str = ""  # the model has it as this fault
    static: str = ""  # this check complains


class Saying(NamedTuple):
    """What a storey says of a mutant, and whether that is about it."""

    storey: str
    is_right: bool
    words: str


MUTANTS = {
    "answered_twice": Mutant("an_answer_counts_once", ("races", "a second answer is accepted")),
    "callback_stays": Mutant("a_session_arms_the_callbacks", ("races", "callback_left")),
    "cancel_forgotten": Mutant("a_receive_is_cancelled", ("races", "a request that was cancelled")),
    "cancel_missed": Mutant("cancelled_before_it_waits", ("races", "a request that was cancelled")),
    "close_keeps_held": Mutant("a_session_that_closes_lets", ("death", "freed_pool|hang")),
    "close_keeps_receives": Mutant("a_receive_is_cancelled", ("races", "freed_pool|hang")),
    "completed_twice": Mutant("receive_that_is_being_cancelled", model="ROUTINE_IGNORED"),
    "completed_with_lock": Mutant("a_receive_is_cancelled", ("races", "completion")),
    "controller_freed_at_cleanup": Mutant("requests_after_the_last_handle", model="FREED_AT_CLEANUP"),
    "counted_twice": Mutant("a_deadline_lets_a_creation", ("deadline", "timed out")),
    "death_unnoticed": Mutant("a_controller_that_dies", ("death", "hang")),
    "disarmed_in_callback": Mutant("a_controller_that_dies", ("death", "removal_in_callback")),
    "foreign_answer": Mutant("nobody_answers_the_messages", ("races", "an answer of another controller")),
    "freed_too_early": Mutant("an_answer_counts_once", ("races", "freed_pool")),
    "kernel_handle_asked": Mutant("the_system_and_kernel_handles", ("races", "the access is")),
    "late_answer": Mutant("a_deadline_lets_a_creation", ("deadline", "after the deadline")),
    "leak_on_death": Mutant("the_books_keep_no_process", ("races", "pool_leak")),
    "length_off_by_one": Mutant("a_message_that_is_too_large", ("races", "information_too_large")),
    "rules_not_validated": Mutant("a_block_that_lies", ("races", "a rule block")),
    "silence_ignored": Mutant("a_silent_controller", ("deadline", "hang")),
    "success_for_refusal": Mutant("a_refused_creation", ("races", "the name is ''")),
    "wait_with_books": Mutant("a_deadline_lets_a_creation", ("races", "wait_with_lock")),
    "wait_without_bound": Mutant("a_deadline_lets_a_creation", ("races", "bound")),
    "worker_asked": Mutant("workers_and_all_that_they_start", ("exempt", "told of what a worker does")),
    "writable_code": Mutant(static="sections", loader=("races", "section")),
}
ROUNDS = {"races": 30, "death": 10, "unload": 10}


class Copy:
    """A copy of the sources, with a build of the units and one of the file that ships."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tree = folder / "tree"
        self._tree.mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self._tree / name)
            else:
                shutil.copy(source, self._tree / name)
        toolchain = self._tree / "cmake" / "mingw-x86_64.cmake"
        command = [
            "cmake",
            "-G",
            "Ninja",
            "-S",
            str(self._tree),
            "-B",
            str(folder / "ships"),
            "-DCBP_WERROR=ON",
        ]
        command += ["-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_TOOLCHAIN_FILE={toolchain}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def patch(self, name: str, *options: str) -> None:
        with (HERE / f"{name}.patch").open() as file:
            command = ["patch", "-s", "-p1", "--no-backup-if-mismatch", "-F", "0", *options]
            done = subprocess.run(command, cwd=self._tree, stdin=file, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{name}.patch no longer applies:\n{done.stdout}{done.stderr}")

    def build_units(self) -> None:
        self._units = run_units.build("asan", self._folder, self._tree / "driver") / "units"

    def build_driver(self) -> None:
        command = ["cmake", "--build", str(self._folder / "ships"), "--target", "cbprocess-kernel"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"the driver does not build:\n{done.stdout}{done.stderr}")
        self._driver = self._folder / "ships" / "_native" / "cbprocess.sys"

    # Each of these gives what a storey says against the driver, or an empty text.

    def ask_units(self, tests: list[str]) -> str:
        environment = {**os.environ, **run_units.ENVIRONMENT}
        try:
            done = subprocess.run(
                [str(self._units), "--first", *tests],
                env=environment,
                capture_output=True,
                errors="replace",
                timeout=UNITS_LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            return "it does not end"
        failed = re.search(r"^FAILED (\w+)", done.stdout + done.stderr, re.MULTILINE)
        return failed[1] if failed else "" if done.returncode == 0 else "it fails"

    def ask_loader(self, loader: Path, mode: str) -> str:
        command = [str(loader), mode, str(self._driver), "--limit", str(LIMIT_S)]
        if mode in ROUNDS:
            command += ["--rounds", str(ROUNDS[mode])]
        done = subprocess.run(command, capture_output=True, errors="replace")
        if done.returncode == 0:
            return ""
        lines = [line for line in done.stderr.splitlines() if line]
        return f"{mode}: {lines[0] if lines else done.returncode}"

    def ask_static(self) -> str:
        expected = checks.Expected("x64", False, run_static.project_version())
        return "; ".join(run_static.file_faults(Image.of(self._driver), expected))


def caught_by(copy: Copy, loader: Path, name: str) -> list[Saying]:
    """Asks the storeys that are to catch the mutant."""
    mutant = MUTANTS[name]
    mode, text = mutant.loader
    said = []
    if mutant.units:
        copy.build_units()
        failed = copy.ask_units([mutant.units])
        said.append(Saying("units", mutant.units in failed, failed))
    if mode or mutant.static:
        copy.build_driver()
    if mode:
        words = copy.ask_loader(loader, mode)
        said.append(Saying("loader", bool(re.search(text, words)), words))
    if mutant.static:
        words = copy.ask_static()
        said.append(Saying("static", words.startswith(f"{mutant.static}:"), words))
    if mutant.model:
        world = run_model.FAULTS[mutant.model]
        words = run_model.search(world, run_model.WORLDS[world], mutant.model).error
        said.append(Saying("model", bool(words), words))
    return said


def try_mutant(copies: SimpleQueue[Copy], loader: Path, name: str) -> tuple[str, list[Saying]]:
    copy = copies.get()
    try:
        copy.patch(name)
        try:
            return name, caught_by(copy, loader, name)
        finally:
            copy.patch(name, "-R")
    finally:
        copies.put(copy)


def report(name: str, said: list[Saying]) -> bool:
    caught = [saying.storey for saying in said if saying.is_right]
    print(f"{name:28} {', '.join(caught) or 'NOBODY'}", flush=True)
    for saying in said:
        about = "" if saying.is_right else "DOES NOT CATCH IT: "
        print(f"{'':28}   {saying.storey}: {about}{saying.words[:90]}", flush=True)
    return len(caught) >= 2 and len(caught) == len(said)


def is_clean(copy: Copy, loader: Path, names: list[str]) -> bool:
    """Says whether all that is to catch these mutants is silent without one."""
    copy.build_units()
    copy.build_driver()
    mutants = [MUTANTS[name] for name in names]
    said = {"units": copy.ask_units([mutant.units for mutant in mutants if mutant.units])}
    for mode in sorted({mutant.loader[0] for mutant in mutants} - {""}):
        said[f"loader, {mode}"] = copy.ask_loader(loader, mode)
    said["static"] = copy.ask_static()
    for storey, words in said.items():
        if words:
            print(f"without any mutant: {storey}: {words}")
    return not any(said.values())


def check_names() -> bool:
    patches = {patch.stem for patch in HERE.glob("*.patch")}
    for name in sorted(patches ^ set(MUTANTS)):
        print(f"{name} is {'a patch that is' if name in patches else 'no patch and'} not named in MUTANTS")
    poor = [
        name for name, mutant in MUTANTS.items() if sum(map(bool, mutant)) - (mutant.loader == ("", "")) < 2
    ]
    for name in poor:
        print(f"{name} is to be caught by one storey only")
    return patches == set(MUTANTS) and not poor


def main() -> int:
    parser = argparse.ArgumentParser(description="Lets deliberate bugs of the kernel driver be caught.")
    parser.add_argument("mutants", nargs="*", metavar="MUTANT", help="a patch's name (all)")
    names = parser.parse_args().mutants or list(MUTANTS)
    holds = check_names()
    with tempfile.TemporaryDirectory(prefix="cbprocess-mutants-") as name, ThreadPoolExecutor(COPIES) as pool:
        folder = Path(name)
        loader = run_loader.build_loader(folder)
        made = list(pool.map(Copy, [folder / str(number) for number in range(COPIES)]))
        clean = list(pool.map(lambda copy: is_clean(copy, loader, names), made))
        copies: SimpleQueue[Copy] = SimpleQueue()
        for copy in made:
            copies.put(copy)
        found = pool.map(lambda mutant: try_mutant(copies, loader, mutant), names)
        caught = [report(*row) for row in found]
    print(f"{sum(caught)} of {len(caught)} mutants are caught by two storeys at least")
    return 0 if holds and all(clean) and all(caught) else 1


if __name__ == "__main__":
    sys.exit(main())
