"""Makes realistic name patterns, and names that they meet or miss, the same ones each time.

Of the patterns 70% are exact (half of them whole paths), 20% begin or end with a wildcard, 10% are paths with
wildcards inside: what application lists, package managers' layouts and version folders look like."""

from __future__ import annotations

import random

NAME_SIZE = 512  # of a name's record, as in programs/crowd.c

WORD_LIST = """
apt auth backup bench cache cargo cert check clean cloud conf cron data debug deploy desk disk
docker edit event fetch file find font git graph grep helm host image index init java kernel kube
lib link load log mail make map media mount net node open pack patch perl pip plug power print proc
proxy py query queue raid read render repo rest ruby run scan script sec server service sign sort
spool sql ssh stat store stream sync system table task term test text time tool trace tree unit
update user util view volume watch web wire work zip zone
"""
WORDS = WORD_LIST.split()
FOLDERS = (
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/lib/systemd",
    "/usr/libexec",
    "/usr/lib/git-core",
    "/usr/lib/x86_64-linux-gnu/libexec",
    "/opt/google/chrome",
    "/usr/share/code",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/jvm/java-17-openjdk-amd64/bin",
    "/home/anna/.local/bin",
    "/home/build/project/target/release",
    "/var/lib/docker/overlay2/3f2a9c/merged/usr/bin",
)
SUFFIXES = ("", "", "", "", "d", "ctl", ".sh", ".py", ".bin", "-helper", "-daemon", "3", "-12", "2.0")


class Maker:
    """A stream of patterns, or of names."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def program(self) -> str:
        words = self._random.sample(WORDS, self._random.choice((1, 2, 2, 2, 3)))
        return self._random.choice(("-", "", "_", "-")).join(words) + self._random.choice(SUFFIXES)

    def folder(self) -> str:
        folder = self._random.choice(FOLDERS)
        if self._random.random() < 0.4:
            folder = f"/opt/{self.program()}/{self._random.choice(('bin', 'lib', 'libexec'))}"
        return folder

    def path(self) -> str:
        return f"{self.folder()}/{self.program()}"

    def _path_with_wildcards(self) -> str:
        program, vendor = self.program(), self.program()
        return self._random.choice(
            (
                f"/opt/{vendor}/*",
                f"/opt/{vendor}/*/bin/{program}",
                f"/home/*/.local/bin/{program}",
                f"/home/*/{vendor}/bin/*",
                f"/usr/lib/{vendor}-*/{program}",
                f"/usr/lib/python3.?*/site-packages/{vendor}/*",
                f"*/node_modules/.bin/{program}",
                f"*/{vendor}/tools/*",
                f"/var/lib/docker/overlay2/*/merged/usr/bin/{program}",
                f"/tmp/{vendor}-??????/*",
            )
        )

    def pattern(self) -> str:
        share = self._random.random()
        if share < 0.7:
            return self._random.choice((self.program, self.path))()
        if share < 0.9:
            return self._random.choice(
                (
                    lambda: self.program() + "*",
                    lambda: "*" + self.program(),
                    lambda: self.folder() + "/*",
                    lambda: "*/" + self.program(),
                )
            )()
        return self._path_with_wildcards()

    def patterns(self, count: int) -> list[str]:
        """Different ones."""
        found: dict[str, None] = {}
        while len(found) < count:
            found[self.pattern()] = None
        return list(found)

    def name_for(self, pattern: str) -> str:
        """A path that the pattern matches."""
        parts = []
        for unit in pattern:
            parts.append({"*": self.program(), "?": self._random.choice("abc123")}.get(unit, unit))
        name = "".join(parts)
        return name if "/" in name else f"{self.folder()}/{name}"

    def names(self, patterns: list[str], count: int) -> list[str]:
        """Different paths; each second one was made to be met by some pattern."""
        found: dict[str, None] = {}
        while len(found) < count:
            chosen = self._random.choice(patterns) if patterns and len(found) % 2 else None
            found[self.name_for(chosen) if chosen else self.path()] = None
        return list(found)
