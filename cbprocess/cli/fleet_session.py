"""A spooled session as a part of a fleet: it follows the rules of its spool, and with --publish it has a
shipper of its own.

Knows the two parts and the command's printer; nothing of what goes through either."""

from __future__ import annotations

from .output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ..fleet.following import RuleFollower
    from .printer import Printer
    from .publishing import Publication
    from .spooling import Spooling


def publication_of(options: argparse.Namespace) -> Publication | None:
    """The shipping that --publish asks for, or None. To be made before anything runs: CBProcessError and
    OSError for options that cannot work."""
    if options.publish is None:
        return None
    from .publishing import Publication

    return Publication(options)


class FleetSession:
    """To be made behind the Spooling, whose end comes before this one's."""

    def __init__(self, printer: Printer, spool: Spooling, publication: Publication | None) -> None:
        self._printer = printer
        self._writer = spool.writer
        self._publication = publication
        self._follower: RuleFollower | None = None
        printer.at_end(self._finish)

    @property
    def has_rules(self) -> bool:
        """Whether the spool has rules of a fleet, which may refuse executions."""
        from ..fleet.following import RULES

        return (self._writer.folder.parent / RULES).exists()

    def begin(self) -> None:
        """Puts the fleet's rules in force and starts the shipper. To be called behind configure(), before
        the filter starts, so that the first program finds the rules. OSError if there can be no shipper."""
        from ..fleet.following import RuleFollower

        rules = self._printer.rules
        self._follower = RuleFollower(rules.applied, self._writer.folder, check=rules.check)
        self._follower.load()
        self._follower.start()
        if self._publication is not None:
            self._publication.start(self._writer.folder, str(self._writer.origin.host))

    def _finish(self) -> None:
        if self._follower is not None:
            self._follower.close()
        trouble = self._publication.finish() if self._publication is not None else None
        if trouble:
            complain(trouble)
