"""A program as the reference's users write it, with every operation and its settings, under another import:

    reference_program.py PACKAGE

Installs the driver for its product, filters what cmd.exe does and starts, refuses hostname.exe, lets nobody
end these processes, tells of everything until a line comes, and uninstalls."""

import sys

from cbprocess import *  # noqa: F403  was: from cbfsfilter import *

GUID = "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"
# ruff: noqa: F405


def process_created(e):
    print("created", e.process_name, e.creating_process_id, e.parent_process_id, flush=True)
    if e.process_name.lower().endswith("\\hostname.exe"):
        e.result_code = ERROR_ACCESS_DENIED


def process_ended(e):
    print("ended", e.process_name, flush=True)


def thread_created(e):
    print("thread", e.thread_id, e.creating_thread_id, flush=True)


def thread_ended(e):
    print("thread-end", e.thread_id, flush=True)


def handle_opened(e):
    name = process.get_process_name(e.process_id)
    print("handle", name, hex(e.original_desired_access), flush=True)
    if e.desired_access & PROCESS_TERMINATE:
        e.desired_access &= ~PROCESS_TERMINATE


def failed(e):
    print("error", e.error_code, e.description, flush=True)


process = CBProcess()
try:
    reboot = process.install(sys.argv[1], GUID, "", INSTALL_REMOVE_OLD_VERSIONS)
    print(
        "installed",
        reboot,
        process.get_driver_status(GUID),
        hex(process.get_driver_version(GUID)),
        flush=True,
    )
    process.initialize(GUID)
    process.altitude = "360101.5"
    process.serialize_events = 0
    process.on_process_creation = process_created
    process.on_process_termination = process_ended
    process.on_thread_creation = thread_created
    process.on_thread_termination = thread_ended
    process.on_process_handle_operation = handle_opened
    process.on_error = failed
    process.config("EventsToFire=-1")
    process.config("MinWorkerThreadCount=4")
    process.add_filtered_process_by_name("cmd.exe", True)
    process.add_ignored_process_by_name("whoami.exe", False)
    process.start_filter(30000)
    print("active", process.active, flush=True)
    sys.stdin.readline()
    process.stop_filter()
    process.remove_filtered_process_by_name("cmd.exe")
    print("uninstalled", process.uninstall(sys.argv[1], GUID, "", UNINSTALL_VERSION_CURRENT), flush=True)
except CBFSFilterError as e:
    print("failed", e.code, e.message, flush=True)
