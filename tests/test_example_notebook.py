"""The example notebook runs from top to bottom; its own asserts say whether it is right."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = ROOT / "examples" / "first_fit.ipynb"


class ThisInterpreter(KernelManager):
    """Starts a kernel of the interpreter that runs the tests, whichever are installed for the user."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="tests", language="python")


def executed(notebook: nbformat.NotebookNode, folder: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in an empty folder; nothing is written into the user's home."""
    (folder / ".settings").mkdir()
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(folder / ".settings" / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel has its own
    work = folder / "work"
    work.mkdir()
    client = NotebookClient(
        notebook, km=ThisInterpreter(), timeout=300, resources={"metadata": {"path": str(work)}}, allow_errors=False
    )
    return client.execute(env=dict(os.environ), cwd=str(work))


def test_the_notebook_runs(tmp_path, monkeypatch, compilation_cache):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(compilation_cache))
    notebook = executed(nbformat.read(NOTEBOOK, as_version=4), tmp_path, monkeypatch)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    printed = "".join(output["text"] for output in outputs if output.output_type == "stream")
    pictures = [output for output in outputs if {"image/png", "image/gif"} & set(output.get("data", {}))]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert "independent searches found this optimum" in printed
    assert len(pictures) == 5  # histogram, history, density, and two of the record


def test_a_cell_that_is_wrong_fails(tmp_path, monkeypatch):
    wrong = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import gmm_pipeline\nassert 1 > 2")])
    with pytest.raises(CellExecutionError, match="AssertionError"):
        executed(wrong, tmp_path, monkeypatch)


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)
    assert set(notebook.metadata.kernelspec) == {"display_name", "language", "name"}
