"""`cbprocess fleet rules put | show | diff | status`.

Knows options and what people want to read; documents, signatures and buckets are the fleet's own."""

from __future__ import annotations

import asyncio
import json
import time

from ..fleet.hub import Hub, Reach
from ..fleet.signing import public_key_of
from ..rule_files import RuleSet
from .fleet_access import access_of, read_secret, tenant_of
from .output import complain, print_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ..fleet.hub import StoredRules

REFUSED_SOMEWHERE = 1


def rules(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess fleet rules`."""
    command = {"put": _put, "show": _show, "diff": _diff, "status": _status}[options.rules_command]
    return asyncio.run(command(options))


async def _put(options: argparse.Namespace) -> int:
    ruleset = RuleSet.from_file(options.file)
    seed = read_secret(options.key)
    expires = None if options.expires is None else time.time() + options.expires
    async with Hub(access_of(options), tenant=tenant_of(options)) as hub:
        revision = await hub.put_rules(options.scope, ruleset, seed, expires=expires)
        lines = [f"revision {revision} for {options.scope}: {_counted(len(ruleset))}"]
        lines += [f"note: {text}" for text in ruleset.warnings()]
        status = print_lines(lines, None)
        if not options.wait:
            return status
        reach = Reach([], [], [])
        async for reach in hub.applied(options.scope, revision, options.wait):
            print_lines([_reach_text(reach)], None)
    return REFUSED_SOMEWHERE if reach.refused or reach.waiting else status


async def _show(options: argparse.Namespace) -> int:
    stored = await _stored(options)
    if stored.document is None:
        return _nothing(stored)
    document = stored.document
    print_lines([json.dumps(document.rules.to_dict(), indent=1)], None)
    end = "never" if document.expires is None else _time_text(document.expires)
    # Beside the rules, which standard output has for another program.
    complain(
        f"revision {stored.revision}, signed {_time_text(document.issued)} by {document.signer}, "
        f"expires {end}"
    )
    return 0


async def _diff(options: argparse.Namespace) -> int:
    wanted = RuleSet.from_file(options.file)
    stored = await _stored(options)
    if stored.refused is not None:
        return _nothing(stored)
    before = stored.document.rules if stored.document is not None else RuleSet()
    change = wanted.changes_from(before)
    lines = [str(change)]
    lines += [f"- {json.dumps(rule.to_dict())}" for rule in change.removed]
    for old, new in change.changed:
        lines += [f"- {json.dumps(old.to_dict())}", f"+ {json.dumps(new.to_dict())}"]
    lines += [f"+ {json.dumps(rule.to_dict())}" for rule in change.added]
    return print_lines(lines, None)


async def _status(options: argparse.Namespace) -> int:
    async with Hub(access_of(options), tenant=tenant_of(options)) as hub:
        stored = await hub.rules(options.scope, believed=())
        if not stored.revision:
            return complain(f"there are no rules for {options.scope}")
        reach = await hub.reach(options.scope, stored.revision)
    lines = [f"revision {stored.revision} for {options.scope}: {_reach_text(reach)}"]
    for word, hosts in (("refused by", reach.refused), ("not yet in force on", reach.waiting)):
        for host in hosts:
            is_refusal = word == "refused by"
            why = str(host.scope(options.scope).get("why", "")) if is_refusal else host.why_not(options.scope)
            lines.append(f"{word} {host.name}{f': {why:.200}' if why else ''}")
    from .._checks import printable

    print_lines([printable(line) for line in lines], None)
    return 0 if not reach.refused and not reach.waiting else REFUSED_SOMEWHERE


async def _stored(options: argparse.Namespace) -> StoredRules:
    believed = list(options.trust or ())
    if options.key:
        believed.append(public_key_of(read_secret(options.key)))
    if not believed:
        options.parser.error(
            "--key or --trust is missing: nobody can tell otherwise who has signed the rules"
        )
    async with Hub(access_of(options), tenant=tenant_of(options)) as hub:
        return await hub.rules(options.scope, believed=believed)


def _nothing(stored: StoredRules) -> int:
    if stored.refused is not None:
        return complain(f"revision {stored.revision} for {stored.scope} is not believed: {stored.refused}")
    return complain(f"there are no rules for {stored.scope}")


def _reach_text(reach: Reach) -> str:
    total = len(reach.applied) + len(reach.refused) + len(reach.waiting)
    text = f"in force on {len(reach.applied)} of {total} hosts"
    return f"{text}, refused by {len(reach.refused)}" if reach.refused else text


def _counted(number: int) -> str:
    return "1 rule" if number == 1 else f"{number} rules"


def _time_text(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
