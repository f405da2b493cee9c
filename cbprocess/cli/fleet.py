"""`cbprocess fleet`: the commands for many hosts. What takes a loop of its own has a module beside this one.

Knows the fleet's parts and how their results are printed."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from .._checks import wrong
from .fleet_access import access_of, tenant_of
from .output import complain, print_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from ..fleet.presence import Host

INTERRUPTED = 130
UNIT = """\
[Unit]
Description=cbprocess fleet agent
Wants=network-online.target
After=network-online.target

[Service]
# Without the folder nothing below could start. The + is for this one command, outside of the rest.
ExecStartPre=+/bin/mkdir -p -m 700 {spool}
ExecStart={command} fleet agent --quiet --config {config}
Restart=always
RestartSec=2
# The agent reads and writes its spool, and nothing else. It is no part of any operation. A `state` elsewhere
# in its file takes a line ReadWritePaths= of its own.
UMask=0077
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallFilter=@system-service
ReadWritePaths={spool}
CapabilityBoundingSet=
MemoryMax=512M
CPUWeight=20

[Install]
WantedBy=multi-user.target
"""


def fleet(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess fleet`."""
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "agent": _agent,
        "watch": _watch,
        "rules": _rules,
        "hosts": _hosts,
        "setup": _setup,
        "keys": _keys,
        "server": _server,
        "unit": _unit,
    }
    try:
        return commands[options.fleet_command](options)
    except FileNotFoundError as error:
        return complain(f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        return INTERRUPTED


def _agent(options: argparse.Namespace) -> int:
    from .fleet_agent import agent

    return agent(options)


def _watch(options: argparse.Namespace) -> int:
    from .fleet_watch import watch

    return watch(options)


def _rules(options: argparse.Namespace) -> int:
    from .fleet_rules import rules

    return rules(options)


def _hosts(options: argparse.Namespace) -> int:
    from ..fleet.hub import Hub

    async def found() -> list[Host]:
        async with Hub(access_of(options), tenant=tenant_of(options)) as hub:
            return await hub.hosts()

    hosts = asyncio.run(found())
    if options.json:
        return print_lines([_line(host) for host in hosts], None)
    return print_lines(_table([HEAD, *(_row(host) for host in hosts)]), None)


def _line(host: Host) -> str:
    """What a host told as a line of JSON, and what is known of it by others."""
    known = {"name": host.name, "age": host.age, "alive": host.is_alive}
    try:
        return json.dumps({**host.told, **known}, allow_nan=False)
    except (ValueError, RecursionError):
        # A host may have written anything, such as NaN, which is no JSON.
        return json.dumps({**known, "trouble": {"text": "what it tells cannot be written as JSON"}})


CELL_MAX = 200
HEAD = ("host", "state", "heard", "sessions", "waiting", "shipped", "rules", "trouble")


def _row(host: Host) -> tuple[str, ...]:
    from .._checks import printable

    told = host.told
    sessions, shipping = _dict(told.get("sessions")), _dict(told.get("shipping"))
    rules = []
    for scope, report in _dict(told.get("rules")).items():
        report = _dict(report)
        if report.get("refused"):
            rules.append(f"{scope}: refused ({report['refused']})")
        elif report.get("state", "none") != "none":
            rules.append(f"{scope}: {report.get('count')} {report.get('state')}")
    if told.get("rules_failed"):
        rules.append("sessions do not have them")
    trouble = str(_dict(told.get("trouble")).get("text", ""))
    state = "alive" if host.is_alive else "ended" if told.get("is_ending") else "silent"
    state = "strange" if host.is_strange else state
    # Everything here was written by a host, and a terminal believes what it is shown.
    return tuple(
        printable(text[:CELL_MAX])
        for text in (
            host.name,
            state,
            f"{host.age:.0f} s ago",
            str(sessions.get("live", "-")),
            str(sessions.get("waiting", "-")),
            str(shipping.get("events", "-")),
            "; ".join(rules) or "none",
            trouble[:60],
        )
    )


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as they have to be; the last one is not filled up."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]


def _setup(options: argparse.Namespace) -> int:
    from ..fleet.hub import Hub
    from ..fleet.setup import Plan

    async def made() -> list[str]:
        plan = Plan(tenant_of(options), options.replicas, options.max_bytes, options.max_age)
        async with Hub(access_of(options), tenant=tenant_of(options)) as hub:
            return await hub.setup(plan)

    return print_lines(asyncio.run(made()), None)


def _keys(options: argparse.Namespace) -> int:
    from ..fleet.keys import new_user, write_secret
    from ..fleet.signing import new_signer

    seed, public = new_signer() if options.kind == "signer" else new_user()
    try:
        write_secret(options.file, seed)
    except FileExistsError:
        return complain(f"{options.file}: it exists, and a key is never overwritten")
    except OSError as error:
        return complain(f"{options.file}: {error.strerror}")
    return print_lines([public], None)


def _server(options: argparse.Namespace) -> int:
    from ..fleet.keys import server_configuration

    hosts, groups = {}, {}
    for text in options.host:
        name, _, rest = text.partition("=")
        key, *members = rest.split(",")
        if not name or not key:
            raise wrong(f"--host {text}: it is NAME=KEY, or NAME=KEY,GROUP")
        if name in hosts:
            raise wrong(f"--host {name} is there twice")
        hosts[name], groups[name] = key, members
    text = server_configuration(
        options.tenant,
        options.operator,
        hosts,
        groups=groups,
        listen=options.listen,
        store=options.store,
        cert=options.cert,
        key=options.cert_key,
    )
    return print_lines(text.splitlines(), None)


def _unit(options: argparse.Namespace) -> int:
    for path in (options.config, options.spool):
        if not os.path.isabs(path) or any(char in path for char in " %\"'\\\n"):
            raise wrong(f"{path!r} cannot stand in a unit: give a whole path without spaces")
    program = os.path.join(os.path.dirname(sys.executable), "cbprocess")
    command = program if os.path.exists(program) else f"{sys.executable} -m cbprocess"
    return print_lines(
        UNIT.format(command=command, config=options.config, spool=options.spool).splitlines(), None
    )
