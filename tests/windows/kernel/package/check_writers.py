"""Compares what our writers of cabinets, catalogs and .inf files make with what independent programs read of
it, and asks that these programs notice damage."""

from __future__ import annotations

import configparser
import hashlib
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from variants import DRIVER, FILES, INF, ROOT, TOOLS, Packages, cabinet, catalog, read_image

TIME = 1700000000  # 2023-11-14, a Tuesday, 22:13:20 in Greenwich


def output(*command: object) -> tuple[int, str]:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def contents() -> Iterator[list[tuple[str, bytes]]]:
    """Files whose sizes lie at the bounds of blocks, and whose bytes deflate well, badly or not at all."""
    chance = random.Random(1)
    for size in (0, 1, 2, 3, 5, 32767, 32768, 32769, 65536, 100001):
        yield [("even", bytes(size))]
        yield [("noise", chance.randbytes(size))]
        text = b"".join(b"%d times %d\r\n" % (i, i * i) for i in range(size // 8))
        yield [("a", text), ("b", chance.randbytes(size // 2)), ("c", text)]
    yield [(f"file{number}", b"x" * number) for number in range(300)]


def check_cabinets(folder: Path) -> Iterator[str]:
    """Each cabinet is read by cabextract and by gcab."""
    path = folder / "x.cab"
    for number, files in enumerate(contents()):
        path.write_bytes(cabinet(files, TIME))
        for reader in (("cabextract", "-q", "-d"), ("gcab", "-x", "-C")):
            target = folder / f"{reader[0]}{number}"
            target.mkdir()
            status, text = output(*reader, target, path)
            found = {file.name: file.read_bytes() for file in target.iterdir()}
            if status != 0 or found != dict(files):
                yield f"{reader[0]} reads cabinet {number} otherwise: {text}"
            stamps = (
                {file.stat().st_mtime for file in target.iterdir()} if reader[0] == "cabextract" else set()
            )
            if any(abs(stamp - TIME) > 14 * 3600 for stamp in stamps):
                yield f"cabextract reads other times: {stamps}"


def check_damage(packages: Packages) -> Iterator[str]:
    """cabextract checks the sums of blocks. Each damage in compressed data is one that it notices."""
    whole = packages.cabinet("first").read_bytes()
    path = packages.folder / "damaged.cab"
    start = struct.unpack_from("<I", whole, 36)[0]
    for at in range(start + 4, len(whole), max(1, (len(whole) - start) // 200)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        status, _ = output("cabextract", "-t", path)
        if status == 0:
            yield f"cabextract takes a cabinet that is damaged at {at}"


def check_catalogs(packages: Packages) -> Iterator[str]:
    folder = packages.folder / "first"
    driver, inf = (folder / DRIVER).read_bytes(), (folder / INF).read_bytes()
    made = packages.folder / "x.cat"
    made.write_bytes(catalog([(DRIVER, driver), (INF, inf)], TIME))
    status, text = output("openssl", "asn1parse", "-inform", "DER", "-i", "-in", made)
    if status != 0:
        yield f"openssl cannot read the catalog: {text}"
    for digest in (read_image(driver).digest, hashlib.sha256(inf).digest()):
        if f"OCTET STRING      [HEX DUMP]:{digest.hex().upper()}" not in text:
            yield f"openssl does not see the file {digest.hex()} in the catalog"
    for wanted in ("pkcs7-signedData", "1.3.6.1.4.1.311.12.1.1", "UTCTIME           :231114221320Z"):
        if wanted not in text:
            yield f"openssl does not see {wanted}"
    yield from check_order(text)
    verify = (
        "osslsigncode",
        "verify",
        "-CAfile",
        folder / "test.pem",
        "-catalog",
        folder / "cbprocess.cat",
        "-in",
    )
    status, text = output(*verify, folder / DRIVER)
    if status != 0:
        yield f"osslsigncode does not find the driver in the catalog: {text}"
    for name, content in (("newer.sys", packages.drivers["newer"].read_bytes()), ("cut.sys", driver[:-1000])):
        (packages.folder / name).write_bytes(content)
        if output(*verify, packages.folder / name)[0] == 0:
            yield f"osslsigncode finds {name} in a catalog that does not list it"


def check_order(text: str) -> Iterator[str]:
    """Rows of a catalog are in the order of their hashes, as a reader that searches expects."""
    hashes = [line[-64:] for line in text.splitlines() if "d=8 " in line and "OCTET STRING" in line]
    if len(hashes) != 2 or hashes != sorted(hashes):
        yield f"the rows of the catalog are not in order: {hashes}"


def check_digest(packages: Packages) -> Iterator[str]:
    """osslsigncode computes the hash of a driver itself, with and without a signature."""
    signed = packages.folder / "first" / DRIVER
    _, text = output("osslsigncode", "verify", "-in", signed)
    for path in (signed, packages.drivers["first"]):
        if read_image(path.read_bytes()).digest.hex().upper() not in text.upper():
            yield f"osslsigncode computes another hash of {path.name}"


def check_inf(packages: Packages) -> Iterator[str]:
    """Its values are those that installing uses, which stand in the library's source."""
    text = (packages.folder / "newer" / INF).read_bytes().decode("ascii")
    filled_in = [line for line in text.splitlines() if not line.startswith(";")]
    if text.replace("\r\n", "").count("\n") or "@" in "".join(filled_in):
        yield "the lines of the .inf end otherwise, or a place in it was not filled in"
    parser = configparser.ConfigParser(
        allow_no_value=True, strict=False, interpolation=None, comment_prefixes=";"
    )
    parser.read_string(text.replace("\r\n", "\n"))
    source = (ROOT / "native/src/drivers/kernel/driver_service.h").read_text()
    source += (ROOT / "native/src/drivers/kernel/driver_service.c").read_text()
    service, strings = parser["ServiceEntry"], parser["Strings"]
    for name, define in (("LoadOrderGroup", "CBPI_DRIVER_GROUP"), ("ServiceName", "DISPLAY_NAME")):
        value = service.get(name) or strings[name]
        if f"#define {define} L{value}" not in source:
            yield f"{name} is {value}, and installing has another"
    if parser["Version"]["DriverVer"].split(",")[1] != "1.1.0.0":
        yield "the .inf has another version than the driver"
    expected = {
        "ServiceType": "1",
        "StartType": "3",
        "ErrorControl": "1",
        "ServiceBinary": "%12%\\cbprocess.sys",
    }
    if any(service[name] != value for name, value in expected.items()):
        yield f"the service of the .inf is {dict(service)}"
    if "DefaultInstall.NTamd64" not in parser or "arm64" in text:
        yield "the .inf is for another machine"


def check_submission(packages: Packages) -> Iterator[str]:
    """The cabinet for Microsoft has a folder, and the symbols where there are some."""
    folder, path = packages.folder / "unsigned", packages.folder / "submission.cab"
    (folder / "cbprocess.pdb").write_bytes(b"symbols")
    status, text = output(sys.executable, TOOLS / "driver_package.py", "submit", folder, path)
    listed = [
        line.split(" | ")[-1] for line in output("cabextract", "-l", path)[1].splitlines() if "|" in line
    ]
    expected = [f"cbprocess/{name}" for name in (*FILES, "cbprocess.pdb")]
    if status != 0 or listed[1:] != expected:
        yield f"the cabinet for Microsoft has {listed}: {text}"


def check_repeatable(packages: Packages) -> Iterator[str]:
    """Two builds at one time are equal to the byte."""
    folder = packages.folder / "unsigned"
    files = [(name, (folder / name).read_bytes()) for name in FILES]
    if cabinet(files, TIME) != cabinet(files, TIME) or catalog(files[:2], TIME) != catalog(files[:2], TIME):
        yield "two cabinets or catalogs of the same files differ"


def complaints(packages: Packages) -> Iterator[str]:
    cabinets = packages.folder / "cabinets"
    cabinets.mkdir()
    yield from check_cabinets(cabinets)
    yield from check_damage(packages)
    yield from check_catalogs(packages)
    yield from check_digest(packages)
    yield from check_inf(packages)
    yield from check_submission(packages)
    yield from check_repeatable(packages)
