"""What was decided about a list of arguments holds for the list that is executed, to the last bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from live_tools import recording, run_checked, wait_until

import cbprocess

FIRST, SECOND = "8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"


def fnv_1a(text: str) -> int:
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def test_the_names_collide() -> None:
    assert FIRST != SECOND and fnv_1a(FIRST) == fnv_1a(SECOND)


def test_a_collision_of_a_public_hash(attack: Callable[[str], str], tmp_path: Path) -> None:
    """With equal FNV-1a hashes the changed list ran as the one that was decided about."""
    deciding, swapped = tmp_path / "deciding", tmp_path / "swapped"
    seen: list[tuple[str, bool]] = []

    def decide(kind: str, event: Any) -> None:
        if kind != "process_creation" or event.arguments[0] not in (FIRST, SECOND):
            return
        seen.append((event.arguments[0], bool(event.flags & cbprocess.EVENT_FLAG_CHANGED)))
        if event.arguments[0] == SECOND:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED
            return
        deciding.touch()
        wait_until(swapped.exists, 10, "the name is changed")

    command = [attack("collide"), "/bin/true", str(deciding), str(swapped)]
    with recording(decide=decide) as recorder:
        status, output, errors = run_checked(recorder, command)
        assert recorder.filter.statistics().refused == 1
    assert seen == [(FIRST, False), (SECOND, True)]
    assert (status, output, errors) == (-9, "", "")


# Sizes below, at and above what the helper first reads of each string, and where in a page each begins.
SIZES = (0, 1, 126, 127, 128, 129, 300, 4095, 4096, 9000, 70000)
STARTS = (0, 1, 3968, 3969, 4095)
SCATTERING = """
import ctypes, mmap, sys
texts = sys.argv[1:]
places = []
pointers = (ctypes.c_void_p * (len(texts) + 1))()
for number, text in enumerate(texts):
    start = {starts}[number % {count}]
    memory = mmap.mmap(-1, start + len(text) + 4096)
    memory[start : start + len(text)] = text.encode()
    places.append(memory)
    pointers[number] = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + start
ctypes.CDLL(None).execv(b"/bin/true", pointers)
"""


def test_strings_on_pages_of_their_own() -> None:
    """What is read at the entry, string by string, is what the program gets: nobody is asked again."""
    texts = ["true"] + [chr(ord("a") + at % 26) * size for at, size in enumerate(SIZES + SIZES)]
    seen: list[tuple[list[str], bool]] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and event.arguments[:1] == ["true"]:
            seen.append((list(event.arguments), bool(event.flags & cbprocess.EVENT_FLAG_CHANGED)))

    program = SCATTERING.format(starts=STARTS, count=len(STARTS))
    with recording(decide=decide) as recorder:
        status, _, errors = run_checked(recorder, [sys.executable, "-c", program, *texts])
    assert (status, errors) == (0, "")
    assert seen == [(texts, False)]


# Source: vectors.h of the reference implementation of SipHash, key 00 01 .. 0f, text 00 01 .. of the length.
VECTORS = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
    2: "8177228da4a45dc7fca38bdef60affe4",
    63: "5150d1772f50834a503e069a973fbd7c",
}
PROBE = """
#include <stdio.h>
#include <stdlib.h>
#include "{source}"
int main(int count, char **arguments)
{{
    unsigned char text[64];
    for (int i = 0; i < 64; i++)
        text[i] = (unsigned char) i;
    for (int i = 0; i < 16; i++)
        ((unsigned char *) key)[i] = (unsigned char) i;
    struct digest digest = cbpd_digest_of(text, (size_t) atoi(arguments[count - 1]));
    for (int i = 0; i < 16; i++)
        printf("%02x", ((unsigned char *) &digest)[i]);
}}
"""


@pytest.fixture(scope="module")
def digest(compile_c: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    driver = Path(__file__).resolve().parents[2] / "driver" / "linux" / "execution"
    source = tmp_path_factory.mktemp("digest") / "digest_probe.c"
    source.write_text(PROBE.format(source=driver / "digest.c"))
    return str(compile_c(source, "-D_GNU_SOURCE"))


@pytest.mark.parametrize("size", VECTORS)
def test_digests_are_those_of_siphash(size: int, digest: str) -> None:
    done = subprocess.run([digest, str(size)], capture_output=True, text=True, timeout=10)
    assert done.stdout == VECTORS[size]
