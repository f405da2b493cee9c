"""What a host tells of itself, and what a list of hosts makes of it.

A host is alive if the server got word of it lately, by the server's clock: no host's clock has a say. Knows
dictionaries; nothing of connections."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EVERY_S = 10.0
# A host that is silent for so many of its own intervals is not alive.
SILENT_INTERVALS = 3.0
EVERY_MAX_S = 600.0


@dataclass(frozen=True)
class Host:
    """One host as its server knows it. age: seconds since it told of itself; told: what it told, as a
    dictionary (`version`, `rules`, `sessions`, `shipping`, `lost`, `trouble` and others)."""

    name: str
    age: float
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Whether it told of itself within three of its own intervals, and did not say that it ends."""
        if self.told.get("is_ending"):
            return False
        every = self.told.get("every")
        # A host may have written anything, and would be alive for ever by a large number.
        if not isinstance(every, (int, float)) or not 0 < every <= EVERY_MAX_S:
            every = EVERY_S
        return self.age < SILENT_INTERVALS * every

    def takes(self, scope: str) -> bool:
        """Whether it takes rules of this scope."""
        rules = self.told.get("rules")
        return isinstance(rules, dict) and scope in rules

    def scope(self, scope: str) -> dict[str, Any]:
        """What it told of the rules of one scope; empty where it told nothing."""
        rules = self.told.get("rules")
        found = rules.get(scope) if isinstance(rules, dict) else None
        return found if isinstance(found, dict) else {}

    def has_applied(self, scope: str, revision: int) -> bool:
        """Whether this revision, or a later one, is in force there."""
        found = self.scope(scope).get("revision")
        return isinstance(found, int) and found >= revision

    def has_refused(self, scope: str, revision: int) -> bool:
        """Whether it has refused this revision, and said why."""
        return self.scope(scope).get("refused_revision") == revision
