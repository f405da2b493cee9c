"""Runs a program and lets each process creation pass, in one of four ways: a measured controller.

    iterating.py --way handler|coroutine|iterator|async_for -- PROGRAM [ARGUMENT...]

Each reads the process id, the name and the command line. Prints one line of JSON, as controller.py does."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from typing import Any

from cbprocess import PROC_EVT_PROCESS_CREATION, CBProcess, monitor
from cbprocess.aio import AsyncCBProcess

PRODUCT_GUID = "{6F0C2B1E-93A5-4D5B-8A77-1F2E3D4C5B6A}"
DEADLINE_MS = 30000
SETTINGS = ("Driver=ptrace", "RefuseWith=kill", f"EventsToFire={PROC_EVT_PROCESS_CREATION}")
WAYS = ("handler", "coroutine", "iterator", "async_for")

command_lines: list[str] = []


def read(event: Any) -> None:
    _ = event.process_id
    _ = event.process_name
    command_lines.append(event.command_line)


async def read_awaited(event: Any) -> None:
    read(event)


def configured(process: CBProcess) -> None:
    process.initialize(PRODUCT_GUID)
    for setting in SETTINGS:
        process.config(setting)


def run_handler(command: list[str]) -> tuple[int, int]:
    with CBProcess() as process:
        configured(process)
        process.on_process_creation = read
        process.start_filter(DEADLINE_MS)
        return process.popen(command).wait(), process.statistics().lost


async def run_coroutine(command: list[str]) -> tuple[int, int]:
    async with AsyncCBProcess() as process:
        configured(process)
        process.on_process_creation = read_awaited
        process.start_filter(DEADLINE_MS)
        return await process.await_exit(await process.apopen(command)), process.statistics().lost


def status_of(child: subprocess.Popen[Any] | None) -> int:
    return child.wait() if child is not None else 1


def run_iterator(command: list[str]) -> tuple[int, int]:
    process = CBProcess()
    configured(process)
    with monitor(command, process=process, events=PROC_EVT_PROCESS_CREATION) as source:
        for event in source:
            read(event)
            event.allow()
    return status_of(source.process), process.statistics().lost


async def run_async_for(command: list[str]) -> tuple[int, int]:
    process = CBProcess()
    configured(process)
    async with monitor(command, process=process, events=PROC_EVT_PROCESS_CREATION) as source:
        async for event in source:
            read(event)
            event.allow()
    return status_of(source.process), process.statistics().lost


def main() -> int:
    parser = argparse.ArgumentParser(description="A controller that answers process creations in one way.")
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("command", nargs="+", metavar="PROGRAM")
    options = parser.parse_args()
    if options.way == "handler":
        status, lost = run_handler(options.command)
    elif options.way == "coroutine":
        status, lost = asyncio.run(run_coroutine(options.command))
    elif options.way == "iterator":
        status, lost = run_iterator(options.command)
    else:
        status, lost = asyncio.run(run_async_for(options.command))
    print(json.dumps({"process_creation": len(command_lines), "lost": lost}))
    return status


if __name__ == "__main__":
    sys.exit(main())
