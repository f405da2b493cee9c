"""Where a spool may be: a folder that its user alone can change, and no link in the place of its files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Optional

import pytest
from spool.spool_tools import event, everything

from cbprocess.cli import main
from cbprocess.spool import SpoolWriter, lock_shipper, seal, sessions

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other owners and links")
needs_root = pytest.mark.skipif(
    sys.platform != "win32" and os.geteuid() != 0, reason="only root can give a folder to another user"
)
OTHER = 12345
SECRET = "another file of the user\n"


def enter_shipper(root: Path) -> None:
    with lock_shipper(root):
        pass


def dead_session(root: Path, name: str = "boot1-session1") -> Path:
    """A session whose writer has gone, as anybody can make one."""
    folder = root / name
    folder.mkdir(parents=True)
    boot, session = name.split("-")
    head = {"schema": 1, "host": "h", "boot": boot, "session": session}
    (folder / "head.json").write_text(json.dumps(head))
    (folder / "lock").touch()
    return folder


def is_given_away(root: Path) -> None:
    root.mkdir()
    os.chown(root, OTHER, OTHER)


def is_for_all(root: Path) -> None:
    root.mkdir()
    root.chmod(0o1777)


def is_for_a_group(root: Path) -> None:
    root.mkdir()
    root.chmod(0o770)


def is_a_link_of_another(root: Path) -> None:
    (root.parent / "behind").mkdir(mode=0o700)
    root.symlink_to("behind")
    os.lchown(root, OTHER, OTHER)


@pytest.mark.parametrize("take", [SpoolWriter, enter_shipper])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(is_given_away, "belongs to another user", marks=needs_root),
        pytest.param(is_a_link_of_another, "belongs to another user", marks=needs_root),
        (is_for_all, "others can write"),
        (is_for_a_group, "others can write"),
    ],
)
def test_a_folder_that_others_can_change_is_refused(
    root: Path, take: Callable[[Path], object], make: Callable[[Path], None], words: str
) -> None:
    make(root)
    with pytest.raises(PermissionError, match=words):
        take(root)
    assert list(root.iterdir()) == []


def test_commands_say_why(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    is_for_all(root)
    assert main(["run", "--spool", str(root), "--", "true"]) == 125
    assert main(["ship", str(root), f"file:{root.parent}/out", "--once"]) == 125
    first, second = capfd.readouterr().err.splitlines()
    assert "others can write to the spool" in first
    assert "others can write to the spool" in second


def test_folders_of_ones_own_are_taken(root: Path) -> None:
    """Others may read the names in it, and a link of one's own is no trap."""
    (root.parent / "behind").mkdir(mode=0o755)
    root.symlink_to("behind")
    with SpoolWriter(root) as writer:
        writer.add(event(writer))
    assert len(everything(root)) == 2


@pytest.mark.parametrize("name", ["end", "000000000001.tmp", "lock"])
def test_no_link_is_followed_by_a_writer(root: Path, tmp_path: Path, name: str) -> None:
    """The session is another's, or was unpacked from an archive. Ending it writes nowhere else."""
    victim = tmp_path / "victim"
    victim.write_text(SECRET)
    folder = dead_session(root)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim)
    with pytest.raises(OSError):
        seal(folder)
    root.chmod(0o700)
    with SpoolWriter(root, limit_bytes=1 << 20) as writer:
        writer.add(event(writer))
    assert victim.read_text() == SECRET and len(everything(root)) >= 2


def test_a_linked_folder_is_no_session(root: Path, tmp_path: Path) -> None:
    elsewhere = dead_session(tmp_path / "elsewhere")
    (elsewhere / "000000000001.jsonl").write_text(SECRET)
    root.mkdir(mode=0o700)
    (root / elsewhere.name).symlink_to(elsewhere)
    assert sessions(root) == []
    with SpoolWriter(root) as writer:
        writer.add(event(writer))
    assert (elsewhere / "000000000001.jsonl").read_text() == SECRET
    assert not (elsewhere / "end").exists()


@pytest.mark.parametrize("left", [None, "head.json.tmp", "000000000004.tmp"])
def test_what_a_killed_writer_began_goes_whole(root: Path, left: Optional[str]) -> None:
    """It was killed while it made its session, long ago."""
    folder = dead_session(root)
    (folder / "head.json").unlink()
    if left is not None:
        (folder / left).touch()
    os.utime(folder, (1, 1))
    root.chmod(0o700)
    with SpoolWriter(root) as writer:
        writer.add(event(writer))
    assert not folder.exists() and writer.folder.exists()
