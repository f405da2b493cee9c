"""Values of options that hold secrets are hidden, in argument lists and in command lines; nothing else is."""

from __future__ import annotations

import shlex
import sys
import time
from typing import Any

import pytest
from unit.event_blocks import dispatch_once, make_event
from unit.instances import assert_code

from cbprocess import events, records
from cbprocess.cli import parse
from cbprocess.cli.common_options import redactor_of

SECRET = "hunter2"
HIDDEN = records.REDACTED


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        (f"mysql --password={SECRET} -u root", f"mysql --password={HIDDEN} -u root"),
        (f"mysql --password {SECRET} db", f"mysql --password {HIDDEN} db"),
        (f"gh --github_token={SECRET}", f"gh --github_token={HIDDEN}"),
        (f"x -token {SECRET}", f"x -token {HIDDEN}"),
        (f"x --API-KEY:{SECRET}", f"x --API-KEY:{HIDDEN}"),
        (f"x --api_key={SECRET} --apikey={SECRET}", f"x --api_key={HIDDEN} --apikey={HIDDEN}"),
        (f"x --pa\u017f\u017fword={SECRET}", f"x --pa\u017f\u017fword={HIDDEN}"),
        (f"env AWS_SECRET_ACCESS_KEY={SECRET} aws", f"env AWS_SECRET_ACCESS_KEY={HIDDEN} aws"),
        (f"x DB.PASSWORD={SECRET}", f"x DB.PASSWORD={HIDDEN}"),
        (f"sh -c 'mysql --password={SECRET} db'", f"sh -c 'mysql --password={HIDDEN} db'"),
        (
            f"""sh -c 'X=1 PASSWORD="{SECRET} two" mysql -u x'""",
            f"""sh -c 'X=1 PASSWORD="{HIDDEN}" mysql -u x'""",
        ),
        (f"sh -c 'x --secret\n {SECRET}\ny'", f"sh -c 'x --secret\n {HIDDEN}\ny'"),
        (f"x --token -{SECRET}", f"x --token {HIDDEN}"),
        (f"env 'PASSWORD={SECRET} two'", f"env 'PASSWORD={HIDDEN}'"),
        (f"env PGPASSWORD={SECRET} psql", f"env PGPASSWORD={HIDDEN} psql"),
        (f"env SSHPASS={SECRET} sshpass -e ssh h", f"env SSHPASS={HIDDEN} sshpass -e ssh h"),
        (
            f"java -Djavax.net.ssl.keyStorePassword={SECRET} -jar x",
            f"java -Djavax.net.ssl.keyStorePassword={HIDDEN} -jar x",
        ),
        (f"keytool -storepass {SECRET} -keypass {SECRET}", f"keytool -storepass {HIDDEN} -keypass {HIDDEN}"),
        (f"openssl rsa -passin pass:{SECRET} -out x", f"openssl rsa -passin {HIDDEN} -out x"),
        (f"x --accessToken {SECRET} y", f"x --accessToken {HIDDEN} y"),
        (f"x --IDToken={SECRET} --passWord={SECRET}", f"x --IDToken={HIDDEN} --passWord={HIDDEN}"),
        (f"sh -c 'cd x; PGPASSWORD={SECRET} psql'", f"sh -c 'cd x; PGPASSWORD={HIDDEN} psql'"),
        (f"java -Dpassword={SECRET} -Dtoken={SECRET}", f"java -Dpassword={HIDDEN} -Dtoken={HIDDEN}"),
        (f"docker run -eTOKEN={SECRET} x", f"docker run -eTOKEN={HIDDEN} x"),
        (f"sh -c 'java -Dtoken={SECRET} -jar x'", f"sh -c 'java -Dtoken={HIDDEN} -jar x'"),
        (f"curl -u user:{SECRET} https://x", f"curl -u user:{HIDDEN} https://x"),
        (f"/usr/bin/curl -sSu a:{SECRET} --url x", f"/usr/bin/curl -sSu a:{HIDDEN} --url x"),
        (f"curl -uuser:{SECRET} -U p:{SECRET}", f"curl -uuser:{HIDDEN} -U p:{HIDDEN}"),
        (
            f"curl --user=a:{SECRET} --proxy-user p:{SECRET}",
            f"curl --user=a:{HIDDEN} --proxy-user p:{HIDDEN}",
        ),
        (f"""sh -c 'curl -u "a:{SECRET}" x'""", f"""sh -c 'curl -u "a:{HIDDEN}" x'"""),
        (f"git clone https://me:{SECRET}@host/x", f"git clone https://me:{HIDDEN}@host/x"),
        (f"x --db=postgres://me:{SECRET}@h:5432/db y", f"x --db=postgres://me:{HIDDEN}@h:5432/db y"),
        ("x --password", "x --password"),
        ("x --password=", "x --password="),
    ],
)
def test_values_are_hidden(line: str, hidden: str) -> None:
    arguments = shlex.split(line)
    found = records.Redactor().arguments(arguments)
    assert found == [
        HIDDEN if word == SECRET else word.replace(f"{SECRET}", HIDDEN).replace(f"{HIDDEN} two", HIDDEN)
        for word in shlex.split(hidden)
    ]
    assert SECRET not in " ".join(found) and len(found) == len(arguments)


@pytest.mark.parametrize(
    "line",
    [
        "gcc -O2 --pass-exit-codes -o token.o token.c",
        "cat password.txt /etc/passwd",
        "git log --author=secret",
        "x --password-stdin verbose",
        "x tokenizer=5 --tokens 3 --bypassed=1",
        "grep token: file",
        "python -m secret",
        "x a.b.c --output=x y",
        "sshpass -e ssh host",
        "docker run -u 1000:1000 x",
        "gcc -Dpass -Dtoken -xassembler -opasswords",
        "curl -u user -Hhost:x -o a:b http://host:80/a@b ssh://me@host:22/x",
        "x --maxTokens 5 --tokenCount=3 --passwordFile /x PASSENGER=1 BETOKEN=1",
    ],
)
def test_nothing_else_is_hidden(line: str) -> None:
    arguments = shlex.split(line)
    redactor = records.Redactor()
    assert redactor.arguments(arguments) == arguments
    assert redactor.command_line(line) == line


def test_a_command_line_of_windows() -> None:
    hide = records.Redactor().command_line
    line = f'"C:\\x y\\a.exe" --password="{SECRET} \\" two" --token {SECRET} -n 5'
    assert hide(line) == f'"C:\\x y\\a.exe" --password="{HIDDEN}" --token {HIDDEN} -n 5'
    # The last quote may be missing, and what follows is part of the value then.
    assert hide(f'a --secret "{SECRET} b c') == f'a --secret "{HIDDEN}"'
    assert hide(f"a --secret {SECRET}'x y'z b") == f"a --secret {HIDDEN} b"


def test_a_word_of_ones_own_begins_with_a_capital_letter_but_not_anywhere() -> None:
    redactor = records.Redactor(["pin"])
    for name in ("--pin", "--userPin", "--USER_PIN", "--userPIN", "--db.pin"):
        assert redactor.arguments([name, "1"]) == [name, HIDDEN]
    for name in ("--spin", "--SPIN", "--userpin", "--password", "--pinned", "--Pinned"):
        assert redactor.arguments([name, "1"]) == [name, "1"]


def test_names_of_ones_own_are_added_to_none() -> None:
    redactor = records.Redactor(["--Pin_Code", "x"])
    assert redactor.arguments(["a", "--pin-code", "1", "-x=2", "--password=3"]) == [
        "a",
        "--pin-code",
        HIDDEN,
        f"-x={HIDDEN}",
        "--password=3",
    ]
    for wrong in ([], [""], ["a b"], ["a="], [5], ["-"], ["a" * 65], ["(a+)+"]):
        assert_code(87, records.Redactor, wrong)


def test_the_options_of_the_command_line() -> None:
    assert redactor_of(parse(["snapshot"])) is None
    default = redactor_of(parse(["snapshot", "--redact"]))
    more = redactor_of(parse(["snapshot", "--redact-also", "pin,x"]))
    assert default is not None and more is not None
    line = ["--pin", "1", "--token", "2"]
    assert default.arguments(line) == ["--pin", "1", "--token", HIDDEN]
    assert more.arguments(line) == ["--pin", HIDDEN, "--token", HIDDEN]


@pytest.mark.parametrize(
    "piece",
    [
        "a.",
        "-",
        "password",
        "--a-",
        '"\\',
        " =",
        "'",
        "a ",
        "--token ",
        "aB",
        "ABc",
        "token=",
        'token" : ',
        "x-token:  bearer ",
        "\\",
        "-u",
        "curl -u",
        " -uu:",
        "://a:",
        "://",
        "-Dtoken",
        "authorization:\\ ",
    ],
)
def test_the_time_for_a_hostile_argument_grows_with_its_length_alone(piece: str) -> None:
    """An argument list has megabytes at most; everybody waits while its event is handled."""
    redactor = records.Redactor()
    size = 1 << 18
    text = piece * (size // len(piece))
    for line in (f"token {text}", f"--password {text}", f"{text} token=x {text}"):
        began = time.process_time()
        redactor.command_line(line)
        redactor.arguments([line, text, f"--password={text}"])
        assert time.process_time() - began < 3


def test_unfinished_quotes_and_options_at_the_end() -> None:
    hide = records.Redactor().command_line
    for line, hidden in (
        ("--token", "--token"),
        ("--token=", "--token="),
        ("--token = x", f"--token = {HIDDEN}"),
        ("x=--token=y z", f"x=--token={HIDDEN} z"),
        ("--token 'a b", f"--token '{HIDDEN}'"),
        ('--token "a\\', f'--token "{HIDDEN}"'),
        ("token = x", "token = x"),
        ("TOKEN='a b'c d", f"TOKEN='{HIDDEN}' d"),
        ("--token a --token b", f"--token {HIDDEN} --token {HIDDEN}"),
        ("--token --token b", f"--token {HIDDEN} b"),
        ("-" * 5 + "token x", f"-----token {HIDDEN}"),
        ("", ""),
    ):
        assert hide(line) == hidden
    assert records.Redactor().arguments(["", "--token", ""]) == ["", "--token", HIDDEN]
    assert records.Redactor().arguments([]) == []


@pytest.mark.skipif(sys.platform == "win32", reason="argument lists are Linux's")
def test_events_and_records_with_hidden_values() -> None:
    redactor = records.Redactor()
    kept: list[Any] = []
    made: list[Any] = []

    def handle(event: Any) -> None:
        hidden = redactor.event(event)
        assert isinstance(hidden, events.CBProcessProcessCreationEventParams)
        assert hidden.process_id == event.process_id and hidden.process_name == event.process_name
        kept.append(hidden)
        made.append(records.record_of(event, records.Origin("h", "b", "s"), redact=redactor))
        made.append(records.record_of(hidden, records.Origin("h", "b", "s")))

    memory = make_event(process_id=5, arguments=[b"a", b"--token", b"\xff" + SECRET.encode(), b"b c"])
    dispatch_once(memory, handle)
    memory.raw = b"\0" * len(memory)
    # The copy has memory of its own, and is read-only.
    assert kept[0].arguments == ["a", "--token", HIDDEN, "b c"]
    assert kept[0].command_line == f"a --token '{HIDDEN}' 'b c'" and SECRET not in str(kept[0])
    assert kept[0].process_id == 5
    assert_code(614, setattr, kept[0], "result_code", 5)
    assert made[0] == made[1]
    assert made[0]["arguments"] == kept[0].arguments and made[0]["command_line"] == kept[0].command_line
    assert not [key for key in made[0] if key.endswith("_bytes")]
    assert SECRET not in str(made)


def test_events_without_arguments_stay_what_they_are() -> None:
    end = make_event(events.OPERATIONS[1].type, process_id=5)
    same: list[bool] = []
    dispatch_once(end, lambda event: same.append(records.Redactor().event(event) is event))
    assert same == [True]


@pytest.mark.parametrize(
    ("argument", "hidden"),
    [
        ("Authorization: Bearer geheim", "Authorization: Bearer [redacted]"),
        ("authorization:\tbasic geheim", "authorization:\tbasic [redacted]"),
        ("--header=Authorization: geheim", "--header=Authorization: [redacted]"),
        ('{"secret" : geheim, "token": "a\\"b"}', '{"secret" : [redacted], "token": "[redacted]"}'),
        ("X-Api-Key: geheim", "X-Api-Key: [redacted]"),
        ('{"user": "a", "password": "geh eim", "n": 1}', '{"user": "a", "password": "[redacted]", "n": 1}'),
        ('{"db":{"auth_token":"geheim"}}', '{"db":{"auth_token":"[redacted]"}}'),
        ('{"accessToken": "geheim"}', '{"accessToken": "[redacted]"}'),
        ('{"userPassword":"geheim", "n": 1}', '{"userPassword":"[redacted]", "n": 1}'),
        ("-HAuthorization: Bearer geheim", "-HAuthorization: Bearer [redacted]"),
        ("-Hauthorization:\tbasic geheim", "-Hauthorization:\tbasic [redacted]"),
        ("-HX-Api-Key: geheim", "-HX-Api-Key: [redacted]"),
        ("password:geheim", "password:geheim"),  # neither an option nor a header
        ("the password: is wrong", "the password: is wrong"),
    ],
)
def test_headers_and_json(argument: str, hidden: str) -> None:
    redactor = records.Redactor()
    assert redactor.arguments(["curl", "-H", argument]) == ["curl", "-H", hidden]
    quoted = f"curl -H '{argument}'"
    assert redactor.command_line(quoted) == f"curl -H '{hidden}'"
