"""Execute the notebooks of `examples/` and store their outputs in them: `python tests/notebooks.py`.

Run it after a change of a notebook, or of what one shows; the tests compare the stored outputs with new ones. They are
kept without times and versions, so that only what a reader sees can change.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SECONDS = 300


class ThisInterpreter(KernelManager):
    """Starts a kernel of the interpreter that runs this, whichever are installed for the user."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """Of that kernel."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="this interpreter", language="python")


def executed(notebook: nbformat.NotebookNode, folder: Path, environment: Mapping[str, str]) -> nbformat.NotebookNode:
    """The notebook with its outputs, run beside a copy of the data; nothing is written into the user's home.

    Args:
        notebook: is changed.
        folder: an empty one.
        environment: of the kernel.

    Raises:
        CellExecutionError: a cell failed.
    """
    names = ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "MPLCONFIGDIR")
    settings = {name: str(folder / ".settings" / name.lower()) for name in names}
    for path in settings.values():
        Path(path).mkdir(parents=True)
    shutil.copytree(EXAMPLES / "data", folder / "data")
    # The kernel has its own backend of Matplotlib. Data this small are slower to fit in several threads.
    inherited = {name: value for name, value in environment.items() if name != "MPLBACKEND"}
    own = {**inherited, **settings, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    where: Any = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=SECONDS, resources=where, record_timing=False)
    client.kernel_manager_class = ThisInterpreter
    return client.execute(env=own, cwd=str(folder))


def main() -> None:
    """Execute each notebook and write it back."""
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        about = dict(notebook.metadata)
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(notebook, Path(folder), os.environ)
        notebook.metadata = about
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
