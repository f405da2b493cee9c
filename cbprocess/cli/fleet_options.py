"""The options of `cbprocess fleet`. Knows nothing of what they do."""

from __future__ import annotations

from .spool_options import add_access, seconds
from .words import wrong_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

FORMATS = ("text", "cbprocess", "ecs", "ocsf", "otel")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def add_fleet(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Many hosts on NATS JetStream: their events in one stream, signed rules for all of them, and which "
        "are alive. Takes the extra cbprocess[fleet]."
    )
    commands = parser.add_subparsers(
        dest="fleet_command",
        required=True,
        metavar="agent | watch | rules | hosts | setup | keys | server | unit",
    )

    def add(name: str, text: str, function: Callable[[argparse.ArgumentParser], None]) -> None:
        made = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        made.set_defaults(parser=made)
        function(made)

    add("agent", "ship this host's spool, keep its rules, tell of itself", _add_agent)
    add("watch", "print or store the events of all hosts, each once", _add_watch)
    add("rules", "hand out signed rules, and see how far they have come", _add_rules)
    add("hosts", "list the hosts, with what they tell of themselves", _add_hosts)
    add("setup", "make the streams of a tenant, or bring them up to date", _add_setup)
    add("keys", "make a key of a host, an operator or a signer of rules", _add_keys)
    add("server", "print a configuration for nats-server, with what each key may do", _add_server)
    add("unit", "print a systemd unit for the agent", _add_unit)


def _add_agent(parser: argparse.ArgumentParser) -> None:
    add_access(parser)
    add = parser.add_argument
    add("--config", metavar="FILE", help="TOML or JSON with these options: server, tenant, host, spool, ...")
    add("--host", metavar="NAME", help="this host's name (default: the machine's)")
    add("--spool", metavar="DIR", help="what cbprocess run --spool DIR writes to")
    add("--state", metavar="DIR", help="where rules are kept for a restart (default: .agent in the spool)")
    add("--trust", metavar="KEY", action="append", help="the public key of a signer of rules; again for more")
    add(
        "--group",
        metavar="NAME",
        action="append",
        help="a group whose rules are for this host; again for more",
    )
    add("-q", "--quiet", action="store_true", help="say nothing but what is wrong")


def _add_watch(parser: argparse.ArgumentParser) -> None:
    add_access(parser)
    add = parser.add_argument
    add("--host", metavar="NAME", help="only this host")
    add(
        "--since",
        metavar="TIME",
        type=moment,
        help="only events since then: 10m, 2h, 1d, or 2026-01-31T12:00:00Z",
    )
    add("--once", action="store_true", help="end behind what is there now, instead of going on")
    add("--format", choices=FORMATS, help="text for people, or JSON Lines (default: text)")
    add(
        "--sqlite",
        metavar="FILE",
        help="put the events into a table of this SQLite file; goes on where it ended",
    )
    add(
        "--merge",
        metavar="S",
        type=seconds,
        help="hold each event so long for earlier ones (default: 0.2)",
    )
    add("-o", "--output", metavar="FILE", help="print to FILE; a new one only its owner can read")


def _add_rules(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(
        dest="rules_command", required=True, metavar="put | show | diff | status"
    )
    for name, text in (
        ("put", "sign the rules of a file and hand them out in the place of those before"),
        ("show", "print the rules that are handed out, as a rule file"),
        ("diff", "tell what putting a file would change"),
        ("status", "tell which hosts have the rules in force"),
    ):
        made = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        made.set_defaults(parser=made)
        add_access(made)
        made.add_argument("--scope", default="all", help="all, group.NAME or host.NAME (default: all)")
        if name in ("put", "diff"):
            made.add_argument("file", metavar="FILE", help="the rule file, TOML or JSON")
        if name in ("put", "diff", "show"):
            made.add_argument("--key", metavar="FILE", help="the signer's secret key", required=name == "put")
        if name in ("diff", "show"):
            made.add_argument(
                "--trust", metavar="KEY", action="append", help="a public key to believe, in place of --key"
            )
        if name == "put":
            made.add_argument(
                "--expires", metavar="TIME", type=duration, help="out of force after so long: 8h, 30d"
            )
            made.add_argument(
                "--wait",
                metavar="S",
                type=seconds,
                default=0.0,
                help="wait so long until all hosts have answered",
            )


def _add_hosts(parser: argparse.ArgumentParser) -> None:
    add_access(parser)
    parser.add_argument("--json", action="store_true", help="print JSON Lines")


def _add_setup(parser: argparse.ArgumentParser) -> None:
    add_access(parser)
    add = parser.add_argument
    add(
        "--replicas",
        type=int,
        choices=(1, 3, 5),
        default=1,
        help="servers that keep each message (default: 1)",
    )
    add(
        "--max-bytes",
        metavar="SIZE",
        type=size,
        default=1 << 30,
        help="of events; the oldest go first (default: 1g)",
    )
    add(
        "--max-age",
        metavar="TIME",
        type=duration,
        default=7 * 86400.0,
        help="how long events are kept (default: 7d)",
    )


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("host", "operator", "signer"), help="what the key is for")
    parser.add_argument("file", metavar="FILE", help="a new file for the secret; the public key is printed")


def _add_server(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--tenant", metavar="NAME", default="default", help="whose fleet (default: default)")
    add("--operator", metavar="KEY", action="append", required=True, help="the public key of an operator")
    add(
        "--host",
        metavar="NAME=KEY[,GROUP...]",
        action="append",
        default=[],
        help="a host, its public key, its groups",
    )
    add("--listen", metavar="ADDRESS", default="0.0.0.0:4222", help="(default: 0.0.0.0:4222)")
    add(
        "--store",
        metavar="DIR",
        default="/var/lib/cbprocess-fleet",
        help="(default: /var/lib/cbprocess-fleet)",
    )
    add("--cert", metavar="FILE", help="the server's certificate")
    add("--cert-key", metavar="FILE", help="its key")


def _add_unit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", default="/etc/cbprocess/fleet.toml", help="the agent's --config"
    )
    parser.add_argument("--spool", metavar="DIR", default="/var/spool/cbprocess", help="the agent's spool")


def duration(text: str) -> float:
    """A time such as 90s, 10m, 2h or 7d, in seconds."""
    import re

    found = re.match(r"(\d+(?:\.\d+)?)([smhd])\Z", text)
    if not found:
        raise wrong_value(f"{text!r} is no time such as 90s, 10m, 2h or 7d")
    return float(found[1]) * UNITS[found[2]]


def size(text: str) -> int:
    """A number of bytes, with k, m, g or t."""
    import re

    found = re.match(r"(\d+)([kmgt]?)\Z", text.lower())
    if not found:
        raise wrong_value(f"{text!r} is no size such as 500m or 10g")
    return int(found[1]) * SIZES[found[2]]


def moment(text: str) -> object:
    """A time in the past: so long ago, or an RFC 3339 time."""
    import datetime
    import re

    if re.match(r"[\d.]+[smhd]\Z", text):
        return datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=duration(text))
    try:
        found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise wrong_value(f"{text!r} is no time such as 10m or 2026-01-31T12:00:00Z") from None
    return found if found.tzinfo is not None else found.astimezone()
