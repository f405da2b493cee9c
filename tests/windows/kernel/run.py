"""Runs the storeys in which the kernel driver is proved without Windows.

    python tests/windows/kernel/run.py --list
    python tests/windows/kernel/run.py [STOREY]...     all of them, or these

Each storey is a program of its own, FOLDER/run_FOLDER.py, which ends with status 0 if everything in it holds.
Knows nothing of what a storey does."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

# A storey's folder, and what holds if it ends with status 0.
STOREYS = {
    "model": "the model of messages that wait has no lost or double answer, endless wait or use after free",
    "units": "the driver's source does what is written of it, on a shim of NT, under sanitizers",
    "static": "the file that ships is what the system asks of a driver, by every compiler",
    "package": "what installs the driver does all of it or nothing; others read what our writers make",
    "loader": "the file that ships keeps the kernel's rules on Linux, with real threads and races",
    "wine": "the file that ships works with the library and real programs under Wine",
    "mutants": "each deliberate bug is caught by two storeys at least",
    "contract": "shim, loader and Wine agree about the functions of NT that the driver uses",
}


def program_of(storey: str) -> Path:
    return HERE / storey / f"run_{storey}.py"


def run(storey: str) -> bool:
    print(f"== {storey}: {STOREYS[storey]}", flush=True)
    began = time.monotonic()
    status = subprocess.run([sys.executable, str(program_of(storey))]).returncode
    verdict = "holds" if status == 0 else "FAILS"
    print(f"== {storey}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
    return status == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Proves the kernel driver without Windows.")
    parser.add_argument("--list", action="store_true", help="list the storeys")
    parser.add_argument("storeys", nargs="*", metavar="STOREY", help=", ".join(STOREYS))
    options = parser.parse_args()
    unknown = set(options.storeys) - set(STOREYS)
    if unknown:
        parser.error(f"there is no storey {', '.join(sorted(unknown))}")
    if options.list:
        for storey, promise in STOREYS.items():
            print(f"{storey:9} {promise}")
        return 0
    failed = [storey for storey in options.storeys or STOREYS if not run(storey)]
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
