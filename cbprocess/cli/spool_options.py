"""The options of the spool, and those of `cbprocess ship`. Knows nothing of what they do."""

from __future__ import annotations

from .values import wrong_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

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


def add_spool(parser: argparse.ArgumentParser) -> None:
    """Adds the options of commands that can write to a spool."""
    parser.add_argument("--spool", metavar="DIR", help=SPOOL_HELP)
    parser.add_argument(
        "--spool-limit", metavar="SIZE", type=byte_count, default=LIMIT_BYTES, help=LIMIT_HELP
    )


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
        "--seconds", metavar="N", type=seconds, help="end after this time, whatever is left (status 125 then)"
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


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value < 1e9:
        raise wrong_value(f"{text!r} is no number of seconds")
    return value
