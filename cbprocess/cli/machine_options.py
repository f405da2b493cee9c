"""The arguments of the commands for the driver of the whole machine."""

from __future__ import annotations

import argparse
import re

from .words import MACHINE_DRIVER, PRODUCT_GUID

GUID = re.compile(r"\{?([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})\}?")


def add_product(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--product",
        metavar="GUID",
        type=product_guid,
        default=PRODUCT_GUID,
        help="the product that the driver is installed for (default: this command line is one)",
    )


def add_install(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"Install the {MACHINE_DRIVER} driver for a product, or update it in its place. Takes root; on "
        "Windows, where it is the kernel driver, an administrator. Ends with status 3010 where a restart of "
        "the machine has to complete that (Windows)."
    )
    add_product(parser)
    add_package(parser, "the folder for the driver (default: the system's, or where the driver is)")
    parser.add_argument(
        "--keep-start-type",
        action="store_true",
        help="leave the start type of its service as it is (Windows)",
    )
    parser.add_argument(
        "--remove-old-versions", action="store_true", help="remove what earlier updates have left behind"
    )


def add_uninstall(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"Remove a product's {MACHINE_DRIVER} driver; it stays while another product has it installed. Takes "
        "root; on Windows, where it is the kernel driver, an administrator. Ends with status 3010 where a "
        "restart of the machine has to complete that (Windows)."
    )
    add_product(parser)
    add_package(parser, "as for install; the driver is found without it")
    parser.add_argument(
        "--versions",
        choices=("all", "current", "previous"),
        default="all",
        help="which ones; previous: only what earlier updates have left behind (default: all)",
    )


def add_status(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"Tell whether a product has installed the {MACHINE_DRIVER} driver, which filters the whole machine "
        "(status 0, else 1)."
    )
    add_product(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-o", "--output", metavar="FILE", help="print to FILE instead of standard output")


def add_package(parser: argparse.ArgumentParser, path_help: str) -> None:
    parser.add_argument(
        "--cab",
        "--package",
        metavar="PACKAGE",
        help="the driver's package: a folder, on Windows a .cab file (default: our own)",
    )
    parser.add_argument("--path", metavar="FOLDER", help=path_help)


def product_guid(text: str) -> str:
    """A GUID in braces, which a shell may have taken away."""
    found = GUID.fullmatch(text)
    if found is None or text.startswith("{") != text.endswith("}"):
        raise argparse.ArgumentTypeError(f"{text!r} is no GUID")
    return f"{{{found[1]}}}"
