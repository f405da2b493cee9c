"""Writes tests/formats/ecs_fields.json: names and types of the fields of the Elastic Common Schema, which the
tests of `--format ecs` compare with.

    npm install @elastic/ecs@VERSION && python tools/ecs_fields.py node_modules/@elastic/ecs

Reads the schema as it is published for TypeScript. Takes names and types only; knows nothing of events."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

TARGET = Path(__file__).parent.parent / "tests" / "formats" / "ecs_fields.json"
FIELD_SETS = ("base", "container", "ecs", "error", "event", "host", "process", "user")
FIELD = re.compile(r"^ *'?(?P<name>[@\w]+)'?\??: (?P<type>.*?)(?P<more>\{|;)$")


def fields_of(source: str, prefix: str) -> dict[str, str]:
    """The fields of one TypeScript interface by their dotted names. A type ends with [] where a list may be
    given."""
    found: dict[str, str] = {}
    path = [prefix] if prefix else []
    for line in source.splitlines():
        if line.strip() == "};":
            path.pop()
            continue
        match = FIELD.match(line)
        if match is None:
            continue
        name = [*path, match["name"]]
        if match["more"] == "{":
            path.append(match["name"])
        else:
            found[".".join(name)] = type_of(match["type"])
    return found


def type_of(text: str) -> str:
    if text.startswith("Record<"):
        return "object"
    many = "[]" if "Array<" in text else ""
    kind = text.split(" |")[0]
    return ("string" if kind.startswith("'") else kind) + many


def main() -> None:
    folder = Path(sys.argv[1])
    version = json.loads((folder / "package.json").read_text())["version"]
    fields: dict[str, str] = {}
    for name in FIELD_SETS:
        source = (folder / "generated" / f"{name}.ts").read_text()
        fields |= fields_of(source, "" if name == "base" else name)
    TARGET.parent.mkdir(exist_ok=True)
    text = json.dumps({"version": version, "fields": fields}, indent=0, sort_keys=True)
    TARGET.write_text(text + "\n")


if __name__ == "__main__":
    main()
