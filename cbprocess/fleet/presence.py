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
    dictionary (`version`, `rules`, `sessions`, `shipping`, `lost`, `trouble` and others). is_strange: whether
    this is no word of an agent of that name, so that nothing is known of it."""

    name: str
    age: float
    told: dict[str, Any] = field(default_factory=dict)
    is_strange: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it told of itself within three of its own intervals, and did not say that it ends."""
        if self.is_strange or self.told.get("is_ending"):
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

    def has_applied(self, scope: str, revision: int, serial: int | None = None) -> bool:
        """Whether this revision, or a later one, is in force there: taken, not expired, and refused by no
        session of the host. serial: that of the revision's document, where it is known. In a bucket that was
        made anew revisions begin anew, and serials do not."""
        told = self.scope(scope)
        wanted = {"revision": revision} if serial is None else {"revision": revision, "serial": serial}
        found = [(told.get(name), least) for name, least in wanted.items()]
        is_taken = all(isinstance(value, int) and value >= least for value, least in found)
        return is_taken and told.get("state") == "in force" and not self.told.get("rules_failed")

    def why_not(self, scope: str) -> str:
        """Why a revision that was taken is not in force; "" where nothing was told."""
        if self.scope(scope).get("state") == "expired":
            return "expired"
        return "sessions do not have the rules" if self.told.get("rules_failed") else ""

    def has_refused(self, scope: str, revision: int) -> bool:
        """Whether it has refused this revision, and said why."""
        return self.scope(scope).get("refused_revision") == revision
