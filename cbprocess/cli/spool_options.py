"""The options of the spool: those of the commands that write to one, of `cbprocess run --publish`, which
ships from one, and of `cbprocess ship`. fleet_options.py takes from here what says which server, and how long
to wait (add_access, seconds). Knows nothing of what they do."""

from __future__ import annotations

import os
import sys

from .words import wrong_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

LIMIT_BYTES = 256 << 20
LIMIT_BYTES_MIN = 1 << 20
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SPOOL_HELP = (
    "write events to the folder DIR, for a shipper or any program that follows log files; no operation waits "
    "for anything then, and nothing is printed without --output, --json or --format"
)
LIMIT_HELP = (
    "what the events of all commands in the folder of --spool may take of the disk: bytes, or with K, M, G; "
    "the oldest go first (default: 256M)"
)
PUBLISH_HELP = (
    "ship the events to this NATS JetStream server (nats://HOST:PORT or tls://HOST:PORT), by a process of "
    "its own and through a spool: the command never waits for the network"
)
SERVER_HELP = (
    "the servers, separated by commas (default: that of the variable CBPROCESS_FLEET_SERVER, or "
    "nats://127.0.0.1:4222)"
)
DEFAULT_PUBLISH_WAIT_S = 5.0


def add_spool(parser: argparse.ArgumentParser) -> None:
    """Adds the options of commands that can write to a spool."""
    parser.add_argument("--spool", metavar="DIR", help=SPOOL_HELP)
    parser.add_argument(
        "--spool-limit", metavar="SIZE", type=byte_count, default=LIMIT_BYTES, help=LIMIT_HELP
    )


def add_access(parser: argparse.ArgumentParser, server: str | None = "--server") -> None:
    """The options that say which server, and as whom. They have no defaults: a file may give them."""
    add = parser.add_argument
    if server:
        add(server, dest="server", metavar="URL", help=SERVER_HELP)
    add("--tenant", metavar="NAME", help="whose fleet (default: default)")
    add("--creds", metavar="FILE", help="the secret key (cbprocess fleet keys), or a .creds file")
    add("--ca", metavar="FILE", help="certificates to believe; nothing goes out unencrypted then")
    add("--cert", metavar="FILE", help="a certificate of our own, for servers that ask for one")
    add("--cert-key", metavar="FILE", help="its key")


def add_publish(parser: argparse.ArgumentParser) -> None:
    """The options of `cbprocess run` for a single command that is to be seen by a fleet."""
    group = parser.add_argument_group("publishing")
    group.add_argument("--publish", metavar="URL", help=PUBLISH_HELP)
    group.add_argument(
        "--publish-wait",
        metavar="S",
        type=seconds,
        default=DEFAULT_PUBLISH_WAIT_S,
        help="how long to wait at the end for what is not shipped yet, and two seconds more at most for the "
        "end of the shipper; the rest stays in the spool, for the next command with the same server, tenant "
        f"and --host (default: {DEFAULT_PUBLISH_WAIT_S:.0f})",
    )
    group.add_argument(
        "--host", metavar="NAME", help="the host's name in the events (default: the machine's)"
    )
    add_access(group, None)  # type: ignore[arg-type]


def add_ship(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Ship the events in the folder of --spool to another place, as they come, until SIGINT or SIGTERM "
        "(status 0). What is safe there is removed from the folder. What could not be shipped stays for the "
        "next time. One shipper has a folder."
    )
    parser.usage = "cbprocess ship DIR URL [options]"
    parser.set_defaults(parser=parser)
    parser.add_argument("spool", metavar="DIR", help="the folder")
    parser.add_argument(
        "url",
        metavar="URL",
        help="file:PATH, otlp+http://HOST[:4318], otlp+https://..., kafka://BROKER[:9092]/TOPIC, "
        "nats://SERVER[:4222]/TENANT, or the scheme of a sink that is installed",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="end when everything that is there is shipped, and its writers ended",
    )
    parser.add_argument(
        "--seconds",
        metavar="N",
        type=seconds_to_run,
        help="end after this time, whatever is left (status 125 then)",
    )


def check_spool(options: argparse.Namespace) -> None:
    """Prints nothing beside a spool, where that was not asked for: a line would have to be waited for."""
    is_asked_for = options.output is not None or options.json or options.tree or options.live
    if options.spool is not None and not is_asked_for:
        options.quiet = True


def byte_count(text: str) -> int:
    unit = text[-1:].upper() if text[-1:].isalpha() else ""
    digits = text[: len(text) - len(unit)]
    if unit not in UNITS or not (digits.isascii() and digits.isdigit()):
        raise wrong_value(f"{text!r} is no size: bytes, or a number with K, M, G")
    value = int(digits) * UNITS[unit]
    if not LIMIT_BYTES_MIN <= value <= 1 << 50:
        raise wrong_value(f"{text} is not from 1M to 1024T")
    return value


def seconds_to_run(text: str) -> float:
    """A number of seconds above 0."""
    return _seconds(text, lambda value: 0 < value < 1e9)


def seconds(text: str) -> float:
    """A number of seconds, 0 or more."""
    return _seconds(text, lambda value: 0 <= value < 1e6)


def _seconds(text: str, is_possible: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not is_possible(value):
        raise wrong_value(f"{text!r} is no number of seconds")
    return value


def default_spool(options: argparse.Namespace) -> str:
    """A folder of this user for what goes to these servers, this tenant and from this host: what one command
    could not ship goes with the next. A shipper ships what is of its own host only, and keeps others off."""
    import hashlib

    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or home
    else:
        base = os.environ.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state")
    target = f"{options.tenant} {options.host or ''} {options.publish}".encode("utf-8", "surrogateescape")
    where = hashlib.sha256(target).hexdigest()[:12]
    return os.path.join(base, "cbprocess", "publish", where)
