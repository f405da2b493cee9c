"""Groups and environment for a program of another user (--user), never those of root. They are chosen as
runuser(1) chooses them."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
DEFAULT_SHELL = "/bin/sh"
LOGIN_SETTINGS = "/etc/login.defs"
# These variables are kept: they describe the terminal, and whether its user wants colours.
KEPT = ("TERM", "COLORTERM", "NO_COLOR")


def user_keywords(name: str | None, preserved: tuple[str, ...]) -> dict[str, Any]:
    """Popen's keywords for a program of this user, in a session of its own. LookupError if that cannot be.

    The working folder and the umask stay."""
    if name is None:
        return {}
    if sys.platform == "win32":
        raise LookupError("--user is not possible on Windows: use runas")
    if os.geteuid() != 0:
        raise LookupError("--user is possible only as root")
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LookupError(f"there is no user {name!r}") from None
    return {
        "user": entry.pw_uid,
        "group": entry.pw_gid,
        "extra_groups": os.getgrouplist(entry.pw_name, entry.pw_gid),
        "env": environment_of(entry, os.environ, preserved),
        "start_new_session": True,
    }


def environment_of(entry: Any, own: Mapping[str, str], preserved: tuple[str, ...]) -> dict[str, str]:
    """The environment for a user with this entry: nothing of one's own but the preserved variables."""
    environment = {
        "HOME": entry.pw_dir,
        "SHELL": entry.pw_shell or DEFAULT_SHELL,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "PATH": login_path(entry.pw_uid),
    }
    environment.update({name: own[name] for name in (*KEPT, *preserved) if name in own})
    return environment


def login_path(user_id: int) -> str:
    """The PATH with which the system's users begin."""
    import re

    wanted = "ENV_SUPATH" if user_id == 0 else "ENV_PATH"
    try:
        with open(LOGIN_SETTINGS, encoding="utf-8", errors="surrogateescape") as file:
            found = re.findall(rf"^\s*{wanted}\s+(?:PATH=)?(\S+)", file.read(), re.MULTILINE)
    except OSError:
        found = []
    return found[-1] if found else DEFAULT_PATH
