"""What the commands of a fleet have in common: the server, the tenant, and files of keys.

Knows options and files; nothing of what is done with them."""

from __future__ import annotations

import os

from ..errors import CBProcessError
from ..fleet.link import DEFAULT_SERVER, SERVER_VARIABLE, Access, check_secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def access_of(options: argparse.Namespace) -> Access:
    """The access that the options say, the file that filled them in, or the environment."""
    server = options.server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    return Access(server, options.creds, options.ca, options.cert, options.cert_key)


def tenant_of(options: argparse.Namespace) -> str:
    tenant: str = options.tenant or "default"
    return tenant


def read_secret(path: str) -> str:
    """The seed of a file. OSError, and error 87 where others can read it."""
    check_secret(path)
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except UnicodeDecodeError:
        raise CBProcessError(13, f"{path} is no file of a key") from None
