"""Messages to the helper that carry more than they should: any number of descriptors, any ancillary data,
cut off or empty, on the control socket and on a launcher's. None may end the helper, be obeyed, or leave
a descriptor behind in it. Source: unix(7), cmsg(3); 253 is SCM_MAX_FD of the kernel.

A descriptor is known to be closed there when it was the last writing end of a pipe."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import raw_controller as raw

from cbprocess._binding.library import find_folder

INVALID_DATA, BROKEN_PIPE = 13, 109
DESCRIPTORS_MAX = 253
LAUNCH_READY = 8
SCM_RIGHTS, SCM_CREDENTIALS = 1, 2
Ancillary = list[tuple[int, int, bytes]]


@pytest.fixture
def controller() -> Iterator[raw.RawController]:
    made = raw.RawController(Path(find_folder()))
    assert made.hello() == 0 and made.open_session() == 0
    yield made
    assert made.close() == 0, "the helper did not leave by itself"


def descriptors(fds: list[int]) -> tuple[int, int, bytes]:
    return socket.SOL_SOCKET, SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds)


@contextlib.contextmanager
def writing_end() -> Iterator[int]:
    """A pipe's; in the end nobody else may have a copy of it."""
    reader, writer = os.pipe()
    try:
        yield writer
        os.close(writer)
        watch = select.poll()
        watch.register(reader, 0)
        assert watch.poll(5000), "the helper keeps a descriptor"
    finally:
        os.close(reader)


def status_of(answer: bytes) -> int:
    return int(struct.unpack_from("=IIQQI", answer)[4])


def exchange(controller: raw.RawController, data: bytes, ancillary: Ancillary) -> int:
    controller.control.sendmsg([data], ancillary)
    return status_of(controller.control.recv(4096))


SOUND = {
    "session": raw.message(raw.SESSION, struct.pack("=6IQ", 0, 0x1B, 0, 0, 1, 0, 0)),
    "launch": raw.message(raw.LAUNCH, struct.pack("=4I", 0, 1, 0, 0)),
    "rules": raw.RawController.rules_message(bytes(8)),
    "query": raw.message(raw.PROCESS_QUERY, struct.pack("=2I", 1, 0)),
}


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("count", [3, 4, 8, 10, 16, 64, DESCRIPTORS_MAX])
def test_too_many_descriptors_are_malformed_and_closed(
    controller: raw.RawController, kind: str, count: int
) -> None:
    with writing_end() as fd:
        assert exchange(controller, SOUND[kind], [descriptors([fd] * count)]) == INVALID_DATA
    assert controller.open_session() == 0


def test_descriptors_that_a_request_has_no_use_for_are_closed(controller: raw.RawController) -> None:
    for count in (1, 2):
        with writing_end() as fd:
            assert exchange(controller, SOUND["session"], [descriptors([fd] * count)]) == 0


def test_descriptors_of_a_launch_that_is_refused_are_closed(controller: raw.RawController) -> None:
    with writing_end() as fd:
        assert exchange(controller, SOUND["launch"], [descriptors([fd])]) == 1450
    with writing_end() as fd:  # a pipe is no socket
        assert exchange(controller, SOUND["launch"], [descriptors([fd, fd])]) == 1450


def test_a_message_longer_than_any_is_malformed(controller: raw.RawController) -> None:
    controller.control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 19)
    with writing_end() as fd:
        data = raw.header(65536, raw.SESSION) + bytes(80_000)
        assert exchange(controller, data, [descriptors([fd])]) == INVALID_DATA


def test_an_empty_message_is_not_the_end(controller: raw.RawController) -> None:
    controller.control.send(b"")
    with writing_end() as fd:
        controller.control.sendmsg([b""], [descriptors([fd] * 5)])
    controller.control.sendmsg([b""], [credentials()])
    assert controller.open_session() == 0


def credentials() -> tuple[int, int, bytes]:
    return socket.SOL_SOCKET, SCM_CREDENTIALS, struct.pack("=3I", os.getpid(), os.getuid(), os.getgid())


@st.composite
def any_ancillary(draw: st.DrawFn, fd: int) -> Ancillary:
    """What a sender may try: the kernel refuses some of it."""
    made: Ancillary = []
    for kind in draw(st.lists(st.sampled_from(["rights", "credentials", "other"]), max_size=4)):
        if kind == "rights":
            made.append(descriptors([fd] * draw(st.integers(0, DESCRIPTORS_MAX))))
        elif kind == "credentials":
            made.append(credentials())
        else:
            level = draw(st.sampled_from([socket.SOL_SOCKET, 0, socket.IPPROTO_TCP, 255]))
            made.append((level, draw(st.integers(3, 70)), draw(st.binary(max_size=300))))
    return made


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), body=st.binary(min_size=16, max_size=200), kind=st.integers(0, 15))
def test_any_ancillary_data_on_the_control_socket(
    controller: raw.RawController, data: st.DataObject, body: bytes, kind: int
) -> None:
    with writing_end() as fd:
        ancillary = data.draw(any_ancillary(fd))
        request = data.draw(st.sampled_from([raw.header(8 + len(body), kind)[:8] + body, *SOUND.values()]))
        try:
            status = exchange(controller, request, ancillary)
        except OSError:  # the kernel would not have it sent
            status = INVALID_DATA
    assert status in (0, 8, INVALID_DATA, 340, 575, 1168, 1450)


@contextlib.contextmanager
def launcher(controller: raw.RawController) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The ends of a launch whose launcher is the test: the launcher's, and where the result arrives."""
    ends = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    (ours, theirs), (result, their_result) = ends
    status = exchange(controller, SOUND["launch"], [descriptors([theirs.fileno(), their_result.fileno()])])
    assert status == 0
    theirs.close()
    their_result.close()
    result.settimeout(10)
    with ours, result:
        yield ours, result


@pytest.mark.parametrize("count", [3, 10, DESCRIPTORS_MAX])
def test_a_launcher_with_too_many_descriptors_is_none(controller: raw.RawController, count: int) -> None:
    with writing_end() as fd, launcher(controller) as (ours, result):
        ours.sendmsg([raw.header(24, LAUNCH_READY)], [descriptors([fd] * count)])
        assert status_of(result.recv(4096)) == BROKEN_PIPE


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), body=st.binary(max_size=100))
def test_any_ancillary_data_on_a_launcher_socket(
    controller: raw.RawController, data: st.DataObject, body: bytes
) -> None:
    with writing_end() as fd, launcher(controller) as (ours, result):
        with contextlib.suppress(OSError):
            ours.sendmsg([body], data.draw(any_ancillary(fd)))
        ours.shutdown(socket.SHUT_RDWR)
        assert status_of(result.recv(4096)) in (0, BROKEN_PIPE)
    assert controller.open_session() == 0


def test_a_copy_of_a_finished_launch_does_not_keep_the_helper_busy(
    controller: raw.RawController,
) -> None:
    """The sender keeps its copy of the launcher's socket, which stays readable."""

    def cpu_ticks() -> int:
        fields = Path(f"/proc/{controller.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    result, their_result = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    result.settimeout(10)
    with ours, theirs, result, their_result:
        fds = [descriptors([theirs.fileno(), their_result.fileno()])]
        assert exchange(controller, SOUND["launch"], fds) == 0
        ours.send(b"no launcher's message")
        ours.send(b"another that nobody reads")
        assert status_of(result.recv(4096)) == BROKEN_PIPE
        before = cpu_ticks()
        select.select([], [], [], 0.5)
        assert cpu_ticks() - before < 15
