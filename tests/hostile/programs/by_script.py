"""Tries to run a script whose name is denied, in one particular way: by_script.py WAY SCRIPT FOLDER. Prints
"errno N" for an execution that fails. FOLDER is for whatever the way needs."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

AT_EMPTY_PATH, AT_FDCWD, EXECVEAT = 0x1000, -100, {"x86_64": 322, "aarch64": 281}[os.uname().machine]


def execveat(folder: int, path: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_char_p * 2)(b"harmless", None)
    environment = (ctypes.c_char_p * 1)(None)
    libc.syscall(EXECVEAT, folder, path.encode(), arguments, environment, flags)
    raise OSError(ctypes.get_errno(), "execveat")


def as_given(script: Path, folder: Path) -> None:
    os.execv(script, ["harmless"])


def by_link(script: Path, folder: Path) -> None:
    (folder / "harmless").symlink_to(script)
    os.execv(folder / "harmless", ["harmless"])


def by_link_of_a_folder(script: Path, folder: Path) -> None:
    (folder / "links").mkdir()
    (folder / "links" / "first").symlink_to(script)
    (folder / "harmless").symlink_to("./links/../links/first")
    os.chdir(folder)
    os.execv("harmless", ["harmless"])


def by_descriptor(script: Path, folder: Path) -> None:
    descriptor = os.open(script, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    os.execve(descriptor, ["harmless"], {})


def by_proc(script: Path, folder: Path) -> None:
    descriptor = os.open(script, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    os.execv(f"/proc/self/fd/{descriptor}", ["harmless"])


def by_link_to_proc(script: Path, folder: Path) -> None:
    descriptor = os.open(script, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    (folder / "harmless").symlink_to(f"/proc/self/../thread-self/fd/{descriptor}")
    os.execv(folder / "harmless", ["harmless"])


def by_dev_fd(script: Path, folder: Path) -> None:
    descriptor = os.open(script, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    os.execv(f"/dev/fd/{descriptor}", ["harmless"])


def by_its_folder(script: Path, folder: Path) -> None:
    descriptor = os.open(script.parent, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    execveat(descriptor, script.name, 0)


def by_another_script(script: Path, folder: Path) -> None:
    outer = folder / "harmless"
    outer.write_text(f"#!{script} and an argument\n")
    outer.chmod(0o755)
    os.execv(outer, ["harmless"])


def by_a_script_that_names_a_link(script: Path, folder: Path) -> None:
    (folder / "link").symlink_to(script)
    by_another_script(folder / "link", folder)


def without_a_slash(script: Path, folder: Path) -> None:
    os.chdir(script.parent)
    os.execv(script.name, ["harmless"])


def by_a_thread(script: Path, folder: Path) -> None:
    """Not the process's first thread, in a folder that the first one is not in."""
    code = "import os,sys,threading; os.chdir(sys.argv[1]);"
    code += "threading.Thread(target=os.execv, args=(sys.argv[2], ['harmless'])).start()"
    os.execv(sys.executable, [sys.executable, "-c", code, str(script.parent), script.name])


def renamed_over(script: Path, folder: Path) -> None:
    """Asks to execute a link to a harmless script; while that is decided about, the link changes."""
    harmless, link, other = folder / "harmless", folder / "link", folder / "other"
    harmless.write_text("#!/bin/sh\nexit 0\n")
    harmless.chmod(0o755)
    link.symlink_to(harmless)
    other.symlink_to(script)
    subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os, time\nwhile not os.path.exists({str(folder / 'deciding')!r}):\n"
            f"    time.sleep(0.001)\nos.rename({str(other)!r}, {str(link)!r})\n"
            f"open({str(folder / 'changed')!r}, 'w')",
        ]
    )
    os.execv(link, ["harmless"])


if __name__ == "__main__":
    try:
        globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    except OSError as error:
        print("errno", error.errno, flush=True)
    time.sleep(0)
