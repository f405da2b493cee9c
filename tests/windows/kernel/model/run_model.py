"""Storey 0: checks the model of messages that wait (pending.pml) in every order of its steps, with spin.

    python tests/windows/kernel/model/run_model.py [--long]

The C has the model's states and transitions. Each world is searched whole. Each deliberate fault of the
model is found in some world, which shows that the model can fail. --long searches a larger world, too, in
some minutes and 4 GB. Knows nothing of what the driver does beside."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
DRIVER = HERE.parents[3] / "driver" / "windows" / "kernel"
SOURCES = ("outbox.c", "pending.c", "held.c", "deliveries.c")

WORLDS = {
    "one session": ["RECEIVES=2", "REQUESTS=1"],
    "wrong requests": ["RECEIVES=1", "REQUESTS=2"],
    "two receives at once": ["RECEIVERS=2", "RECEIVES=1", "REQUESTS=0"],
    "two operations at once": ["LEAN", "OPERATIONS=2", "RECEIVES=1", "REQUESTS=0"],
    "two sessions asked": ["LEAN", "SESSIONS=2", "RECEIVES=1", "REQUESTS=1"],
}
LONG_WORLDS = {
    "two controllers": ["LEAN", "SESSIONS=2", "CONTROLLERS=2", "RECEIVES=1", "REQUESTS=0"],
}
# Faults by the world in which they show.
FAULTS = {
    "ANSWERED_TWICE": "wrong requests",
    "CANCEL_LOOKED_FOR_FIRST": "one session",
    "CLOSE_KEEPS_HELD": "one session",
    "CLOSE_KEEPS_RECEIVES": "one session",
    "COMPLETED_WITH_LOCK": "one session",
    "COUNTED_TWICE": "one session",
    "DEADLINE_IGNORED": "one session",
    "DEATH_UNNOTICED": "one session",
    "DISARMED_IN_CALLBACK": "one session",
    "DISARM_FORGOTTEN": "one session",
    "EVENT_BELIEVED": "two sessions asked",
    "FIRST_RECEIVE_ALONE": "two receives at once",
    "FLUSH_FORGOTTEN": "one session",
    "FOREIGN_ANSWERED": "two sessions asked",
    "FREED_AT_CLEANUP": "one session",
    "FREED_WHILE_LISTED": "one session",
    "LATE_ACCEPTED": "one session",
    "NOBODY_WOKEN": "one session",
    "OPENED_AFTER_CLEANUP": "one session",
    "PART_IS_ALL": "one session",
    "PENDED_AFTER_CLOSE": "one session",
    "ROUTINE_IGNORED": "one session",
    "SILENCE_IGNORED": "one session",
    "WAIT_WITHOUT_BOUND": "one session",
    "WAIT_WITH_BOOKS": "one session",
    "WOKEN_WITHOUT_LOCK": "wrong requests",
}

# ---- The C and the model say the same ----


def functions_of(source: str) -> list[tuple[str, str]]:
    """Gives the name and the text of each function of a C file in the repository's format."""
    pattern = re.compile(r"^(?:[\w *]+?[ *])(\w+)\([^;{}]*\)\n\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
    return [(match[1], match[2]) for match in pattern.finditer(source)]


def moves_in_c() -> tuple[set[str], set[tuple[str, str]]]:
    """Gives the states, and which function gives a message which of them."""
    states = set(
        re.findall(
            r"CBPD_(\w+)",
            re.search(r"enum cbpd_message_state \{(.*?)\}", (DRIVER / "outbox.h").read_text(), re.DOTALL)[1],
        )
    )
    moves = set()
    for name in SOURCES:
        for function, text in functions_of((DRIVER / name).read_text()):
            for state in re.findall(r"->state = (\w+);", text) + re.findall(
                r"cbpd_settle\([^;]*?, (\w+)\)", text
            ):
                if function != "cbpd_settle":
                    moves.add((function, state.removeprefix("CBPD_")))
    return states, moves


def moves_in_model() -> tuple[set[str], set[tuple[str, str]]]:
    text = (HERE / "pending.pml").read_text()
    states = set(re.search(r"^mtype = \{ (QUEUED.*?) \};", text, re.MULTILINE)[1].split(", "))
    table = re.search(r"transitions:\n(.*?)\n \* end of transitions", text, re.DOTALL)[1]
    rows = [line.removeprefix(" *").split()[:3] for line in table.splitlines()]
    return states, {(function, to) for _, to, function in rows}


def check_names() -> bool:
    states, moves = moves_in_c()
    model_states, model_moves = moves_in_model()
    for what, c, model in (("state", states, model_states), ("move", moves, model_moves)):
        for name in sorted(map(str, c - model)):
            print(f"{what} {name} is in the C and not in the model")
        for name in sorted(map(str, model - c)):
            print(f"{what} {name} is in the model and not in the C")
    return states == model_states and moves == model_moves


# ---- Searches ----


class Search(NamedTuple):
    world: str
    fault: str  # ""; none
    states: int
    is_whole: bool
    error: str  # "": none found


def build(folder: Path, defines: list[str], optimize: str) -> Path:
    for file in HERE.glob("*.pml"):
        (folder / file.name).write_text(file.read_text())
    options = [f"-D{define}" for define in defines]
    made = subprocess.run(["spin", "-a", *options, "pending.pml"], cwd=folder, capture_output=True, text=True)
    if made.returncode != 0 or not (folder / "pan.c").exists():
        sys.exit(f"spin cannot read the model with {defines}:\n{made.stdout}{made.stderr}")
    subprocess.run(
        ["gcc", "-w", optimize, "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"], cwd=folder, check=True
    )
    return folder / "pan"


def search(world: str, defines: list[str], fault: str = "") -> Search:
    with tempfile.TemporaryDirectory(prefix="cbprocess-model-") as name:
        faults = [f"FAULT_{fault}"] if fault else []
        program = build(Path(name), defines + faults, "-O0" if fault else "-O1")
        done = subprocess.run([str(program), "-m100000"], cwd=name, capture_output=True, text=True)
    stored = re.search(r"([\d.e+]+) states, stored", done.stdout)
    is_whole = "Search not completed" not in done.stdout and "too small" not in done.stdout
    error = re.search(r"^pan:\d+: (.*?)(?: \(at depth \d+\))?$", done.stdout, re.MULTILINE)
    if not stored or done.returncode != 0:
        sys.exit(f"the search of {world} failed:\n{done.stdout}{done.stderr}")
    return Search(world, fault, int(float(stored[1])), is_whole, error[1] if error else "")


def check_world(found: Search) -> bool:
    whole = "" if found.is_whole else ", not whole"
    print(f"{found.world:26} {found.states:>10,} states{whole}  {found.error}", flush=True)
    return found.is_whole and not found.error


def check_fault(found: Search) -> bool:
    print(f"FAULT_{found.fault:26} {found.states:>10,} states  {found.error or 'NOT FOUND'}", flush=True)
    return bool(found.error)


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks the model of messages that wait.")
    parser.add_argument("--long", action="store_true", help="a larger world, too")
    options = parser.parse_args()
    worlds = {**WORLDS, **(LONG_WORLDS if options.long else {})}
    named = set(
        re.findall(r"FAULT_([A-Z_]+[A-Z])\b", "".join(file.read_text() for file in HERE.glob("*.pml")))
    )
    holds = check_names()
    if named != set(FAULTS):
        print(f"the model and this file have other faults: {sorted(named ^ set(FAULTS))}")
        holds = False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = [pool.submit(search, world, defines) for world, defines in worlds.items()]
        faulty = [pool.submit(search, world, WORLDS[world], fault) for fault, world in FAULTS.items()]
        results = [check_world(job.result()) for job in whole] + [check_fault(job.result()) for job in faulty]
    total = sum(job.result().states for job in whole)
    print(
        f"{total:,} states in {len(whole)} worlds; {len(faulty)} faults, {sum(results[len(whole) :])} found"
    )
    return 0 if holds and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
