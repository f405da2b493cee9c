"""A nats-server for each test that asks for one; tests are left out where nats-py or nats-server is not."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

HAS_CLIENT = importlib.util.find_spec("nats") is not None and importlib.util.find_spec("nkeys") is not None
# What needs neither is tested everywhere.
ALONE = ("test_seen.py", "test_names.py", "test_merging.py", "test_following.py", "test_lines.py")

collect_ignore_glob = [] if HAS_CLIENT else ["test_[!snmfl]*.py", "test_server*.py"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[object]:
    """A running server without keys, with the tenant's streams."""
    from fleet.servers import PROGRAM, Server, run, running, set_up

    if PROGRAM is None:
        pytest.skip("nats-server is not installed")
    with running(Server(tmp_path)) as found:
        run(set_up(found.access))
        yield found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[object]:
    """The command line in a folder, with a running server."""
    from fleet.shop import opened

    with opened(tmp_path) as found:
        yield found
