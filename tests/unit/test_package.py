"""The package's public names, what importing it costs, and its generated modules."""

from __future__ import annotations

import json
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest

import cbprocess
from cbprocess import constants, enums, reference

STAR_PROGRAM = """
import json
from cbprocess import *
print(json.dumps([PROC_EVT_ALL, ERROR_NOT_READY, CBProcessError is CBFSFilterError, CBProcess.__name__,
                  EventType.PROCESS_CREATION, CBProcessErrorEventParams.__name__]))
"""

IMPORT_PROGRAM = """
import json, sys
before = set(sys.modules)
import cbprocess
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def python(program: str) -> object:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_star_import_gives_everything_by_its_bare_name() -> None:
    assert python(STAR_PROGRAM) == [-1, 21, True, "CBProcess", 1, "CBProcessErrorEventParams"]


def test_every_public_name_is_there_once() -> None:
    names: list[str] = vars(cbprocess)["__all__"]
    assert len(names) == len(set(names)) > 100
    for name in names:
        assert getattr(cbprocess, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        cbprocess.no_such_name  # noqa: B018


# The command line and pytest's plugin are for programs.
MODULES = {
    path.stem
    for path in Path(cbprocess.__file__).parent.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").is_file()
} - {"cli", "pytest_plugin"}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith("_")))
def test_a_public_module_needs_no_import_of_its_own(name: str) -> None:
    """Programs have used those that were loaded with the package."""
    assert (
        python(f"import cbprocess, json; print(json.dumps(cbprocess.{name}.__name__))") == f"cbprocess.{name}"
    )
    assert name in dir(cbprocess)


def test_the_flat_names_of_the_reference_are_those_of_the_front() -> None:
    program = "import json\nfrom cbprocess.reference import *\nprint(json.dumps(sorted(globals())))"
    names = python(program)
    assert isinstance(names, list)
    flat = {name for name in names if not name.startswith("__")} - {"json"}
    assert flat == set(reference.__all__) and len(reference.__all__) == len(flat)
    for name in flat:
        assert getattr(reference, name) is getattr(cbprocess, name)
    assert flat <= set(vars(cbprocess)["__all__"])
    assert set(constants.__all__) < flat and {"CBProcess", "CBFSFilterError"} <= flat
    assert not {"monitor", "Rule", "Action", "HeldEvent"} & flat


def test_dir_lists_what_is_imported_later() -> None:
    program = "import json, cbprocess; print(json.dumps(dir(cbprocess)))"
    listed = python(program)
    assert isinstance(listed, list)
    assert {*vars(cbprocess)["__all__"], "__version__"} <= set(listed)


def test_the_reference_has_every_class_and_function(checkout: Path) -> None:
    page = (checkout / "docs" / "api.md").read_text(encoding="utf-8")
    headings = {line[4:] for line in page.splitlines() if line.startswith("### ")}
    lazy = {name for name, module in vars(cbprocess)["_LAZY"].items() if module != "reference"}
    names = {"CBProcess", "CBProcessError", "CBProcessWarning", *lazy} - {"AnyHeldEvent"}
    assert names - headings == set()


def test_importing_loads_nothing_expensive() -> None:
    loaded = python(IMPORT_PROGRAM)
    assert isinstance(loaded, list)
    own = {
        f"cbprocess.{name}"
        for name in (
            "_api",
            "_api.installation",
            "_api.process",
            "_api.properties",
            "_api.rule_methods",
            "_checks",
            "constants",
            "errors",
        )
    }
    assert set(loaded) - {"__future__"} == {"cbprocess", *own}


INITIALIZED = """
import json, sys, ctypes
before = set(sys.modules)
import cbprocess
cbprocess.CBProcess().initialize("{6F0C2B1E-93A5-4D5B-8A77-1F2E3D4C5B6A}")
print(json.dumps(sorted(set(sys.modules) - before)))
"""
# What a filter that starts, a handler or a rule needs is loaded then.
READY = ("_binding", "_binding.abi", "_binding.hooks", "_binding.library", "_binding.session")


def test_an_instance_that_is_ready_has_loaded_nothing_of_filters() -> None:
    loaded = python(INITIALIZED)
    imported = python(IMPORT_PROGRAM)
    assert isinstance(loaded, list) and isinstance(imported, list)
    assert set(loaded) == {*imported, *(f"cbprocess.{name}" for name in READY)}


def test_asyncio_is_loaded_by_its_front_end_only() -> None:
    program = (
        "import json, sys\nfrom cbprocess import *\nmonitor(['true'])\nbefore = 'asyncio' in sys.modules\n"
    )
    program += "import cbprocess.aio\nprint(json.dumps([before, 'asyncio' in sys.modules]))"
    assert python(program) == [False, True]


@pytest.mark.parametrize("name", ["generate_constants", "generate_layouts"])
def test_generated_modules_are_up_to_date(checkout: Path, name: str) -> None:
    tool = checkout / "tools" / f"{name}.py"
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_constant_is_a_plain_int() -> None:
    for name in constants.__all__:
        assert type(getattr(constants, name)) is int, name


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("EventType", "PROC_EVT_"),
        ("ErrorCode", "ERROR_"),
        ("ProcessAccess", "PROCESS_"),
        ("ThreadAccess", "THREAD_"),
        ("Action", "ACTION_"),
        ("TimeoutAction", "TIMEOUT_ACTION_"),
        ("RefuseWith", "REFUSE_WITH_"),
        ("EventFlag", "EVENT_FLAG_"),
        ("Capability", "CAP_"),
        ("ModuleStatus", "MODULE_STATUS_"),
        ("Serialize", "SERIALIZE_"),
    ],
)
def test_enumerations_have_the_constants_values(name: str, prefix: str) -> None:
    enum_class: type[Enum] = getattr(cbprocess, name)
    expected = {
        key[len(prefix) :]: getattr(constants, key) for key in constants.__all__ if key.startswith(prefix)
    }
    if name == "EventType":
        # As a flag, "all" is the sum of the bits; as a setting it is -1.
        expected["ALL"] = 0x3F
    assert {key: member.value for key, member in enum_class.__members__.items()} == expected
    assert name in enums.__all__


def test_error_text_has_sentence_and_code() -> None:
    error = cbprocess.CBProcessError(87, "wrong")
    assert (error.code, error.message, str(error)) == (87, "wrong", "wrong (error 87)")
    assert str(cbprocess.CBProcessError(5)) == "error 5"
    assert cbprocess.CBFSFilterError is cbprocess.CBProcessError
    assert issubclass(cbprocess.CBProcessWarning, RuntimeWarning)
