"""The example notebook runs as it stands, and shows what its text says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "notebook" / "events.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook with its outputs."""
    for package in ("pandas", "pyarrow", "duckdb", "ipykernel"):
        pytest.importorskip(package)
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "it is kept without outputs"
    folder = str(tmp_path_factory.mktemp("notebook"))
    resources = {"metadata": {"path": folder}}
    # An error of a cell ends this with its traceback.
    return client.NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources).execute()


def output_of(notebook: Any, source: str) -> str:
    """The text that the cell with this line has shown."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source]
    parts = []
    for output in cell.outputs:
        assert output.get("name") != "stderr", output
        parts.append(output["text"] if "text" in output else output["data"]["text/plain"])
    return "".join(parts)


def test_every_cell_shows_something(executed: Any) -> None:
    for cell in executed.cells:
        assert cell.cell_type != "code" or cell.outputs, cell.source


def test_the_times_of_programs(executed: Any) -> None:
    text = output_of(executed, 'groupby("program")')
    assert {"sh", "sort", "cat", "ls", "sleep", "head"} & {line.split()[0] for line in text.splitlines()}
    (sleep,) = [line for line in text.splitlines() if line.startswith("sleep")]
    assert float(sleep.split()[2]) >= 0.2


def test_what_failed_and_what_was_refused(executed: Any) -> None:
    assert "no-such-file" in output_of(executed, "exit_status_end != 0")
    refused = output_of(executed, "result_code != 0")
    assert "sha256sum" in refused and "unasked" in refused


def test_the_tree_begins_with_the_shell(executed: Any) -> None:
    tree = output_of(executed, "print(").splitlines()
    assert tree[0].startswith("sh -c")
    assert any(line.startswith("    sleep 0.2") for line in tree)


def test_duckdb_counts_executions(executed: Any) -> None:
    assert "('/usr/bin/sort', 3)" in output_of(executed, "import duckdb")
