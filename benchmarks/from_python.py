"""Does a fit from Python give the bits of the command with the same config, for data in memory and in a file?

Each config is fitted by the real command line, in a process of its own, and by `gmm_pipeline.fit` in this one, with the
same columns as a data frame. What is compared are the bytes of every result file of the two records: estimates,
errors, metrics, starts, selection, history, labels and responsibilities.

    python -m benchmarks.from_python

Ends with exit code 1 where a byte differs.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import gmm_pipeline as gmm
from benchmarks import ROOT, parser, print_table
from gmm_pipeline.records import artifacts

FILE = ROOT / "examples" / "data" / "faithful.csv"
QUIET = ("figures=none", "animation=none", "tracking=none", "compilation_cache=null")
ONE, BOTH = ("waiting",), ("eruptions", "waiting")
CONFIGS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "default": (ONE, ()),
    "maximum likelihood": (ONE, ("prior=flat", "n_components=3")),
    "selection": (ONE, ("prior=flat", "n_components=auto", "selection.largest=4")),
    "bootstrap": (ONE, ("prior=flat", "bootstrap=40", "optimizer=em")),
    "float64, squarem": (ONE, ("precision=float64", "optimizer=squarem", "steps=300")),
    "legacy random bits": (ONE, ("threefry_partitionable=false", "seed=5", "search=none")),
    "Dirichlet process": (ONE, ("prior=dirichlet_process", "n_components=8", "steps=500")),
    "two columns": (BOTH, ("prior=flat",)),
    "two columns, tied": (BOTH, ("covariance=tied", "n_components=3", "prior=normal_inverse_wishart")),
    "two columns, selection": (BOTH, ("covariance=auto", "selection.covariances=[EEE,VVV]", "n_components=auto")),
    "two columns, noise": (BOTH, ("noise=box", "optimizer=em", "prior=flat")),
}


def differing(folder: Path, columns: Sequence[str], overrides: Sequence[str]) -> tuple[int, list[str]]:
    """How many result files there are, and which differ between the command and Python.

    Args:
        folder: for both records.
        columns: that are fitted.
        overrides: of the fit.
    """
    of_columns = f"data.column={columns[0]}" if len(columns) == 1 else f"data.columns=[{','.join(columns)}]"
    asked = [*overrides, *QUIET]
    shell = [sys.executable, "-m", "gmm_pipeline", "fit", str(FILE), of_columns, *asked]
    subprocess.run([*shell, "hydra.run.dir=shell"], cwd=folder, check=True, capture_output=True)
    gmm.fit(pd.read_csv(FILE)[list(columns)], overrides=asked, record=folder / "python")
    by_shell, by_python = (artifacts.digests_of(folder / name) for name in ("shell", "python"))
    names = sorted({*by_shell, *by_python})
    return len(names), [name for name in names if by_shell.get(name) != by_python.get(name)]


def main() -> int:
    """Compare all configs; returns the exit code."""
    parser(__doc__).parse_args()
    rows, all_same = [], True
    for name, (columns, overrides) in CONFIGS.items():
        with tempfile.TemporaryDirectory() as folder:
            n_files, different = differing(Path(folder), columns, overrides)
        rows.append((name, str(n_files), ", ".join(different) or "none"))
        all_same = all_same and n_files > 0 and not different
    print_table(("config", "result files", "differing"), rows)
    return 0 if all_same else 1


if __name__ == "__main__":
    sys.exit(main())
