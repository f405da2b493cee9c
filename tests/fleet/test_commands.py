"""The command line of a fleet, as people type it, against a real server and real trees of processes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fleet.servers import (
    free_port,
)
from fleet.shop import COMMAND, Shop


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
    # docs/fleet.md promises these fields.
    living = told[1]
    assert living["schema"] == 1 and living["age"] < 60 and living["started"] < time.time()
    assert living["version"] and not living["is_ending"] and told[0]["is_ending"]
    assert (living["sessions"]["live"], living["sessions"]["waiting"]) == (0, 0)
    assert living["sessions"]["bytes"] == 0 and living["shipping"]["events"] > 0
    rules = living["rules"]["all"]
    assert (rules["state"], rules["count"], rules["expires"]) == ("in force", 1, None) and rules["serial"] > 0
    assert rules["refused"] == "unknown signer" and rules["why"] and not living["rules_failed"]


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
