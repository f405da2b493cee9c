"""The command line of a fleet, as people type it, against a real server and real trees of processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet.servers import (
    Server,
    add_events,
    free_port,
    running,
    session,
    ship_all,
    wait_for,
    write_events,
)

from cbprocess import spool
from cbprocess.fleet.link import Access, Link
from cbprocess.fleet.shipping import StreamPublisher, StreamShipper

COMMAND = [sys.executable, "-m", "cbprocess"]


class Shop:
    """A folder, a server, and commands in it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        self.agents: list[subprocess.Popen[bytes]] = []

    def run(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert status is None or done.returncode == status, (words, done.stdout, done.stderr)
        return done

    def fleet(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.run("fleet", *words, "--server", self.server.url, status=status)

    def agent(self, host: str, *words: str) -> subprocess.Popen[bytes]:
        line = [
            *COMMAND,
            "fleet",
            "agent",
            "--server",
            self.server.url,
            "--host",
            host,
            "--spool",
            host,
            *words,
        ]
        self.agents.append(subprocess.Popen(line, cwd=self.folder, env=self.environment))
        return self.agents[-1]

    def until(self, text: str, *words: str) -> str:
        """Runs this again until it says that."""
        end = time.monotonic() + 30
        while True:
            said = self.fleet(*words, status=None).stdout
            if text in said:
                return said
            assert time.monotonic() < end, said
            time.sleep(0.2)


@pytest.fixture
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    from fleet.servers import PROGRAM

    if PROGRAM is None:
        pytest.skip("nats-server is not installed")
    with running(Server(tmp_path)) as server:
        made = Shop(tmp_path, server)
        made.fleet("setup")
        try:
            yield made
        finally:
            for each in made.agents:
                if each.poll() is None:
                    each.send_signal(signal.SIGCONT)
                    each.terminate()
                    each.wait(20)


def test_one_server_two_hosts_one_rule(shop: Shop) -> None:
    key = shop.run("fleet", "keys", "signer", "signer.nk").stdout.strip()
    assert stat.S_IMODE((shop.folder / "signer.nk").stat().st_mode) == 0o600
    for host in ("web1", "web2"):
        shop.agent(host, "--trust", key)
    shop.until("web2  alive", "hosts")
    (shop.folder / "rules.toml").write_text('[[rules]]\nname = "*/cat"\naction = "deny"\n')
    if sys.version_info < (3, 11):
        (shop.folder / "rules.toml").write_text('{"rules": [{"name": "*/cat", "action": "deny"}]}')
        (shop.folder / "rules.toml").rename(shop.folder / "rules.json")
    rules = "rules.toml" if sys.version_info >= (3, 11) else "rules.json"

    # A tree that runs already gets the rule, and one that begins later has it from its first program on.
    script = "cat /etc/hostname; while [ ! -e stop ]; do sleep 0.1; done; cat /etc/hostname"
    living = subprocess.Popen(
        [*COMMAND, "run", "--spool", "web1", "--", "sh", "-c", script],
        cwd=shop.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert living.stdout is not None and living.stdout.readline()
    assert (
        "in force on 2 of 2 hosts"
        in shop.fleet("rules", "put", rules, "--key", "signer.nk", "--wait", "20").stdout
    )
    report = next((shop.folder / "web1" / ".rules").glob("*.json"))
    end = time.monotonic() + 10
    while json.loads(report.read_bytes())["count"] != 1:
        assert time.monotonic() < end
        time.sleep(0.05)
    (shop.folder / "stop").touch()
    _, said = living.communicate(timeout=30)
    assert living.returncode == 126 and b"ermission denied" in said
    later = shop.run("run", "--spool", "web2", "--", "sh", "-c", "cat /etc/hostname", status=126)
    assert "ermission denied" in later.stderr and later.stdout == ""

    # What happened on both hosts is in one stream.
    shop.until("web2  alive", "hosts")
    end = time.monotonic() + 20
    while list(shop.folder.glob("web?/*/head.json")):
        assert time.monotonic() < end
        time.sleep(0.1)
    watched = shop.fleet("watch", "--once", "--format", "cbprocess")
    found = [json.loads(line) for line in watched.stdout.splitlines()]
    assert "0 missing" in watched.stderr and {record["host"] for record in found} == {"web1", "web2"}
    refused = {record["host"] for record in found if record.get("result_code") == 5}
    assert refused == {"web1", "web2"}
    assert [record["time_ns"] for record in found] == sorted(record["time_ns"] for record in found)

    assert "in force on 2 of 2" in shop.fleet("rules", "status").stdout
    shown = shop.fleet("rules", "show", "--trust", key)
    assert json.loads(shown.stdout)["rules"][0]["name"] == "*/cat" and key in shown.stderr
    assert "nothing has changed" in shop.fleet("rules", "diff", rules, "--key", "signer.nk").stdout
    stranger = shop.run("fleet", "keys", "signer", "stranger.nk").stdout.strip()
    assert "not believed" in shop.fleet("rules", "show", "--trust", stranger, status=125).stderr
    shop.fleet("rules", "put", rules, "--key", "stranger.nk")
    said = shop.until("refused by 2", "rules", "status")
    assert "not yet" not in said

    # An agent that is asked to end says so, and is not alive then.
    shop.agents[0].terminate()
    assert shop.agents[0].wait(20) == 0
    assert "web1  ended" in shop.fleet("hosts").stdout
    told = [json.loads(line) for line in shop.fleet("hosts", "--json").stdout.splitlines()]
    assert [(host["name"], host["alive"]) for host in told] == [("web1", False), ("web2", True)]


def test_publishing_a_single_command(shop: Shop) -> None:
    url = shop.server.url
    done = shop.run(
        "run", "--publish", url, "--host", "ci-1", "--", "sh", "-c", "true; ls / >/dev/null; exit 3", status=3
    )
    assert done.stderr == ""
    watched = shop.fleet("watch", "--once", "--format", "cbprocess")
    found = [json.loads(line) for line in watched.stdout.splitlines()]
    assert {record["host"] for record in found} == {"ci-1"} and found[-1]["event"] == "session_end"
    assert any(str(record.get("process_name")).endswith("/ls") for record in found)

    # Without a server it ends in its time, says so, and the next command ships the rest.
    shop.server.kill()
    began = time.monotonic()
    done = shop.run("run", "--publish", url, "--publish-wait", "0.5", "--", "true")
    assert "not everything is shipped" in done.stderr and time.monotonic() - began < 20
    left = list((shop.folder / "state").rglob("head.json"))
    assert len(left) == 1
    shop.server.start()
    assert shop.run("run", "--publish", url, "--publish-wait", "10", "--", "true").stderr == ""
    end = time.monotonic() + 10
    while list((shop.folder / "state").rglob("head.json")) and time.monotonic() < end:
        shop.run("run", "--publish", url, "--publish-wait", "10", "--", "true")
    assert not list((shop.folder / "state").rglob("head.json"))
    assert "0 missing" in shop.fleet("watch", "--once").stderr


def test_a_killed_command_leaves_no_shipper(shop: Shop) -> None:
    shop.server.stand_still()
    url = shop.server.url.replace("//", "//user:secret@")
    line = [*COMMAND, "run", "--publish", url, "--publish-wait", "0.5", "--", "sleep", "60"]
    running_command = subprocess.Popen(line, cwd=shop.folder, env=shop.environment)

    folder = os.fsencode(shop.folder)

    def shippers() -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"cbprocess.fleet.ship" in words and any(folder in word for word in words):
                # Everybody can read a command line.
                assert not any(b"secret" in word for word in words)
                found.append(path.parent.name)
        return found

    end = time.monotonic() + 20
    while not shippers():
        assert time.monotonic() < end
        time.sleep(0.05)
    running_command.kill()
    running_command.wait()
    while shippers():
        assert time.monotonic() < end + 20
        time.sleep(0.05)
    shop.server.go_on()


def test_watching_into_a_table_goes_on_where_it_ended(shop: Shop) -> None:
    for _ in range(2):
        shop.run(
            "run", "--publish", shop.server.url, "--publish-wait", "10", "--", "sh", "-c", "true; ls /; true"
        )
        shop.fleet("watch", "--once", "--sqlite", "events.db")
    again = shop.fleet("watch", "--once", "--sqlite", "events.db")
    assert "0 events" in again.stderr
    database = sqlite3.connect(shop.folder / "events.db")
    total, sessions = database.execute("SELECT count(*), count(DISTINCT session) FROM event").fetchone()
    highest = database.execute(
        "SELECT sum(m) FROM (SELECT max(number) m FROM event GROUP BY session)"
    ).fetchone()[0]
    assert sessions == 2 and total == highest
    assert database.execute("SELECT count(*) FROM event WHERE process_name LIKE '%/ls'").fetchone()[0] >= 2
    assert stat.S_IMODE((shop.folder / "events.db").stat().st_mode) == 0o600
    database.close()


@pytest.mark.parametrize("form", ["ecs", "ocsf", "otel"])
def test_watching_in_a_format(shop: Shop, form: str) -> None:
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "true")
    shop.fleet("watch", "--once", "--format", form, "-o", "events.jsonl")
    lines = (shop.folder / "events.jsonl").read_text().splitlines()
    assert len(lines) >= 3 and all(isinstance(json.loads(line), dict) for line in lines)
    assert stat.S_IMODE((shop.folder / "events.jsonl").stat().st_mode) == 0o600


def test_since_leaves_out_what_was_before(shop: Shop) -> None:
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--host", "a", "--", "true")
    time.sleep(1.1)
    middle = time.time()
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--host", "b", "--", "true")
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(middle))
    found = shop.fleet("watch", "--once", "--format", "cbprocess", "--since", since).stdout.splitlines()
    assert {json.loads(line)["host"] for line in found} == {"b"}
    found = shop.fleet(
        "watch", "--once", "--format", "cbprocess", "--since", "10m", "--host", "a"
    ).stdout.splitlines()
    assert {json.loads(line)["host"] for line in found} == {"a"}


def test_a_table_of_one_host_and_then_of_all(shop: Shop) -> None:
    """The place up to which one host was read says nothing of the others, whose events are in between."""

    def hosts() -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(shop.folder / "events.db")) as database:
            return dict(database.execute("SELECT host, count(*) FROM event GROUP BY host").fetchall())

    def publish(host: str) -> None:
        shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--host", host, "--", "true")

    for host in ("a", "b"):
        publish(host)
    shop.fleet("watch", "--once", "--sqlite", "events.db", "--host", "b")
    assert set(hosts()) == {"b"}
    shop.fleet("watch", "--once", "--sqlite", "events.db")
    first = hosts()
    assert set(first) == {"a", "b"}
    publish("a")
    shop.fleet("watch", "--once", "--sqlite", "events.db", "--host", "b")
    assert hosts() == first
    shop.fleet("watch", "--once", "--sqlite", "events.db", "--host", "a")
    second = hosts()
    assert second["a"] > first["a"] and second["b"] == first["b"]
    # All is there already: each event once.
    shop.fleet("watch", "--once", "--sqlite", "events.db")
    assert hosts() == second


def test_a_hole_between_two_runs_is_counted(shop: Shop) -> None:
    """What was lost while nobody read is missing, and a table that goes on says so."""
    root = shop.folder / "spool"
    writer = write_events(root, 300)
    asyncio.run(shipped(root, shop.server.access, 300))
    shop.fleet("watch", "--once", "--sqlite", "events.db")
    # The shipper believes that the stream has these, and it has not.
    add_events(writer, 100)
    spool.SessionReader(writer.folder).ack(400)
    add_events(writer, 50)
    writer.close()
    asyncio.run(ship_all(root, shop.server.access, tenant="default"))
    done = shop.fleet("watch", "--once", "--sqlite", "events.db", status=1)
    assert "100 missing" in done.stderr


async def shipped(root: Path, access: Access, count: int) -> None:
    async with Link(access, "test") as link:
        shipper = StreamShipper(StreamPublisher(link, "default"), "default", "web1", root)
        task = asyncio.ensure_future(shipper.run())
        await wait_for(lambda: shipper.counts.events >= count)
        shipper.stop()
        await task


def test_a_reader_that_has_seen_enough_ends_a_watch(shop: Shop) -> None:
    """As `fleet watch | head -1`: no error, and nothing about the server."""
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "sh", "-c", "true; ls /")
    line = [*COMMAND, "fleet", "watch", "--server", shop.server.url, "--format", "cbprocess"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        assert json.loads(watching.stdout.readline())
        watching.stdout.close()
        # It hears of that when it has something to say.
        shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "true")
        said = watching.stderr.read()
        assert watching.wait(20) == 0
    assert said == b""


def test_an_output_that_is_full_is_told_as_such(shop: Shop) -> None:
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "true")
    done = shop.fleet("watch", "--once", "-o", "/dev/full", status=125)
    assert "/dev/full: No space left on device" in done.stderr and shop.server.url not in done.stderr


def test_a_reader_that_stands_still_does_not_keep_a_watch_from_ending(shop: Shop) -> None:
    root = shop.folder / "much"
    session(root, 3000, size=200)
    asyncio.run(ship_all(root, shop.server.access, tenant="default"))
    line = [*COMMAND, "fleet", "watch", "--server", shop.server.url, "--format", "cbprocess"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None and watching.stdout.readline()
        time.sleep(1)
        watching.terminate()
        assert watching.wait(20) == 0


def test_a_signal_before_there_is_a_server_is_no_error(tmp_path: Path) -> None:
    mute = socket.create_server(("127.0.0.1", 0))
    mute.settimeout(30)
    line = [*COMMAND, "fleet", "watch", "--server", f"nats://127.0.0.1:{mute.getsockname()[1]}"]
    with mute, subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        # It has begun when it connects.
        connection, _ = mute.accept()
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=20)
        connection.close()
    assert watching.returncode == 130 and b"Traceback" not in said


def test_sessions_of_each_host_name_are_published_by_themselves(shop: Shop) -> None:
    """What one name left must not wait for a command with the same name, nor keep another from shipping."""
    url = shop.server.url
    shop.server.kill()
    for host in ("ci-1", "ci-2"):
        done = shop.run("run", "--publish", url, "--publish-wait", "0.2", "--host", host, "--", "true")
        assert "not everything is shipped" in done.stderr
    assert len(list((shop.folder / "state" / "cbprocess" / "publish").iterdir())) == 2
    shop.server.start()
    again = shop.run("run", "--publish", url, "--publish-wait", "10", "--host", "ci-1", "--", "true")
    assert again.stderr == ""


def test_an_interrupted_watch_ends_with_its_counts(shop: Shop) -> None:
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "sh", "-c", "true; ls /")
    line = [*COMMAND, "fleet", "watch", "--server", shop.server.url, "--format", "cbprocess"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None and json.loads(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=20)
    assert watching.returncode == 0 and b"0 missing" in said


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["fleet"], 2, "required: agent"),
        (["fleet", "agent"], 2, "--spool is missing"),
        (["fleet", "agent", "--spool", "s", "--config", "none.toml"], 125, "none.toml"),
        (["fleet", "agent", "--spool", "s", "--trust", "x"], 125, "key"),
        (["fleet", "agent", "--spool", "s", "--creds", "none"], 125, "none"),
        (["fleet", "agent", "--spool", "s", "--server", "http://x"], 125, "nats://"),
        (["fleet", "watch", "--since", "yesterday"], 2, "no time"),
        (["fleet", "watch", "--sqlite", "f.db", "-o", "f"], 2, "not with --output"),
        (["fleet", "watch", "--sqlite", "f.db", "--format", "ecs"], 2, "not with --format or --merge"),
        (["fleet", "watch", "--sqlite", "f.db", "--merge", "0.2"], 2, "not with --format or --merge"),
        (["fleet", "setup", "--replicas", "2"], 2, "invalid choice"),
        (["fleet", "setup", "--tenant", "a b"], 125, "tenant"),
        (["fleet", "keys", "host", "/nowhere/key"], 125, "/nowhere/key"),
        (["fleet", "server", "--operator", "x"], 125, "public key"),
        (["fleet", "unit", "--config", "relative"], 125, "whole path"),
        (["fleet", "rules", "put", "none.json", "--key", "k"], 125, "none.json"),
        (["run", "--publish", "http://x", "--", "true"], 125, "nats://"),
        (["run", "--publish", "nats://x", "--creds", "none", "--", "true"], 125, "none"),
        (["run", "--publish", "nats://x", "--publish-wait", "-1", "--", "true"], 2, "seconds"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, words: list[str], status: int, said: str) -> None:
    done = subprocess.run([*COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == status, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_tenant_that_is_not_there_is_told(shop: Shop) -> None:
    (shop.folder / "rules.json").write_text('{"rules": []}')
    shop.run("fleet", "keys", "signer", "signer.nk")
    for words in (
        ["watch"],
        ["watch", "--once"],
        ["watch", "--sqlite", "x.db"],
        ["hosts"],
        ["rules", "status"],
        ["rules", "put", "rules.json", "--key", "signer.nk"],
    ):
        said = shop.fleet(*words, "--tenant", "nobody", status=125).stderr
        assert "no tenant nobody" in said and "Traceback" not in said, (words, said)


def test_no_server_is_told_in_time(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    began = time.monotonic()
    line = [*COMMAND, "fleet", "hosts", "--server", url.replace("//", "//user:secret@")]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (
        done.returncode == 125
        and url in done.stderr
        and "secret" not in done.stderr
        and time.monotonic() - began < 30
    )


def test_the_unit_is_one_for_systemd(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "fleet", "unit"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "fleet agent --quiet --config /etc/cbprocess/fleet.toml" in done.stdout
    # Without its folder the name space cannot be made, and the agent, which would make it, never runs.
    assert "\nExecStartPre=+/bin/mkdir -p -m 700 /var/spool/cbprocess\n" in done.stdout
    assert "\nReadWritePaths=/var/spool/cbprocess\n" in done.stdout
    assert "\nCapabilityBoundingSet=\n" in done.stdout
    (tmp_path / "cbprocess-fleet.service").write_text(done.stdout)
    try:
        line = ["systemd-analyze", "verify", str(tmp_path / "cbprocess-fleet.service")]
        verified = subprocess.run(line, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        return
    assert "cbprocess-fleet.service" not in verified.stderr, verified.stderr


def test_an_agent_of_a_file(tmp_path: Path) -> None:
    """What a file says is taken where the command line says nothing, and nonsense is refused."""
    from cbprocess import CBProcessError
    from cbprocess.cli.fleet_agent import fill_in
    from cbprocess.cli.parser import make_parser

    path = tmp_path / "fleet.json"
    path.write_text(
        json.dumps({"server": ["nats://a", "nats://b"], "host": "h", "trust": "K", "group": ["ci"]})
    )
    options = make_parser().parse_args(["fleet", "agent", "--host", "mine", "--spool", "s"])
    fill_in(options, str(path))
    assert (options.server, options.host, options.trust, options.group) == (
        "nats://a,nats://b",
        "mine",
        ["K"],
        ["ci"],
    )
    for text, code in (
        ('{"sever": "x"}', 87),
        ('{"host": 7}', 87),
        ("[]", 13),
        ("{", 13),
        ('{"group": [7]}', 87),
    ):
        path.write_text(text)
        with pytest.raises(CBProcessError) as caught:
            fill_in(options, str(path))
        assert caught.value.code == code
