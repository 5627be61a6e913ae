"""Does every experiment of `conf/experiment/` end as its own first lines say?

Each is run whole, by the command that its YAML opens with, and what it left is held to what the YAML promises. An
experiment without an expectation here is an error.

    python -m benchmarks.experiments [--only optimizers,galaxies_like]

Seen on 2026-11-23 on 2 cores of an Intel Xeon: everything kept; notebook 17 s, four_modes_dp 52 s (largest error 1.92
standard errors), galaxies_like 25 s (2.06), optimizers 75 s, recovery 117 s, with other work beside them.
"""

import json
import re
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from benchmarks import ROOT, parser, print_table, some_of
from benchmarks.comparison import Check
from benchmarks.processes import Command
from gmm_pipeline.records.json_files import read_json

EXPERIMENTS = {path.stem: path for path in sorted((ROOT / "conf" / "experiment").glob("*.yaml"))}
COMMAND = re.compile(r"^#\s+python -m gmm_pipeline (.*)$", re.MULTILINE)
REACHED = 1e-3
"""Nats from the best loss."""


def opening(experiment: Path) -> list[str]:
    """The words of the command that an experiment opens with, after the program's name."""
    found = COMMAND.search(experiment.read_text(encoding="utf-8"))
    if found is None:
        sys.exit(f"{experiment} does not open with its command")
    return shlex.split(found[1])


def near(promise: str, seen: float, expected: float, within: float) -> Check:
    """A number that lies where it should."""
    return Check(f"{promise} {expected:g} ± {within:g}", f"{seen:.6g}", abs(seen - expected) <= within)


def recovered(parameters: dict[str, Any], truth: dict[str, Any], within: float) -> Check:
    """Every component of the truth, by its loc, within so many standard errors of a fitted one."""
    fitted, errors = parameters, parameters["standard_errors"]
    largest = 0.0
    for index, loc in enumerate(truth["locs"]):
        nearest = int(np.argmin(np.abs(np.asarray(fitted["locs"]) - loc)))
        for name in ("weights", "locs", "scales"):
            z = abs(fitted[name][nearest] - truth[name][index]) / errors[name][nearest]
            largest = max(largest, z)
    return Check(f"the truth within {within:g} s.e.", f"largest {largest:.2f}", largest <= within)


def check_notebook(record: Path) -> Iterator[Check]:
    """The figures that the notebook printed."""
    parameters = read_json(record / "parameters.json")
    yield near("loss", read_json(record / "metrics.json")["loss"], 14590.415, 0.2)
    for name, expected in (("weights", [0.166, 0.834]), ("locs", [-2.02, 5.0]), ("scales", [1.09, 2.0])):
        for value, wanted in zip(parameters[name], expected, strict=True):
            yield near(name, value, wanted, 0.01)


def check_four_modes_dp(record: Path) -> Iterator[Check]:
    """Four components of fifty are left, and they are the true ones."""
    parameters = read_json(record / "parameters.json")
    yield near("loss", read_json(record / "metrics.json")["loss"], 53994.9, 5)
    weights = np.asarray(parameters["weights"])
    yield Check("four components above 1 %", str(int((weights > 0.01).sum())), int((weights > 0.01).sum()) == 4)
    yield recovered(parameters, read_json(record / "data.json")["truth"], 2)


def check_galaxies_like(record: Path) -> Iterator[Check]:
    """The number of components that the data were drawn with."""
    parameters, metrics = (read_json(record / name) for name in ("parameters.json", "metrics.json"))
    rows = (record / "selection.csv").read_text().splitlines()
    yield Check("eleven candidates", str(len(rows) - 1), len(rows) - 1 == 11)
    chosen = f"{len(parameters['locs'])} {parameters['scales_are']}"
    yield Check("three components with free scales", chosen, chosen == "3 free")
    yield near("BIC", metrics["bic"], 451.126, 0.01)
    yield recovered(parameters, read_json(record / "data.json")["truth"], 2.5)


def check_optimizers(sweep: Path) -> Iterator[Check]:
    """How many starts each optimizer takes to the best optimum, and in how many steps."""
    table = pyarrow.parquet.read_table(sweep / "sweep.parquet").to_pylist()
    best = min(row["loss"] for row in table)
    yield near("best loss", best, 53770.299, 0.01)
    promised = {"lbfgs": (19, 90), "em": (18, 1360), "squarem": (18, 310), "adam": (14, 365), "sgd": (5, 2000)}
    for name, (starts, steps) in promised.items():
        rows = [row for row in table if row["optimizer"] == name]
        yield near(f"{name}: starts that reach it", sum(row["loss"] < best + REACHED for row in rows), starts, 2)
        yield near(f"{name}: median steps", statistics.median(row["n_steps"] for row in rows), steps, 0.3 * steps)


def check_recovery(sweep: Path) -> Iterator[Check]:
    """How many data each distance takes, where nine of ten data sets give the mixture back."""
    table = pyarrow.parquet.read_table(sweep / "sweep.parquet").to_pylist()
    yield Check("1,050 fits", str(len(table)), len(table) == 1050)
    yield Check("the picture", "recovery.png", (sweep / "figures" / "recovery.png").is_file())
    shares = recovery_shares(sweep, table)
    for locs, enough in (("[-2, 2]", 100), ("[-1.5, 1.5]", 200), ("[-1, 1]", 1600)):
        seen = min((n for (found, n), share in shares.items() if found == locs and share >= 0.9), default=0)
        yield Check(f"locs {locs}: nine in ten from", f"{seen} data", enough / 2 <= seen <= 2 * enough)


def recovery_shares(sweep: Path, table: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """Share of the data sets from which everything is found within half of a true scale or weight."""
    found: dict[tuple[str, int], list[bool]] = {}
    for row in table:
        truth = read_json(sweep / row["record"] / "data.json")["truth"]
        key = (json.dumps([float(loc) if loc % 1 else int(loc) for loc in truth["locs"]]), row["n_data"])
        wrong = [
            abs(row[f"{name}_{index}"] - truth[f"{name}s"][index])
            / truth["weights" if name == "weight" else "scales"][index]
            for name in ("weight", "loc", "scale")
            for index in (0, 1)
        ]
        found.setdefault(key, []).append(max(wrong) <= 0.5 and row["n_degenerate"] == 0)
    return {key: statistics.fmean(hits) for key, hits in found.items()}


CHECKS: dict[str, Callable[[Path], Iterator[Check]]] = {
    "notebook": check_notebook,
    "four_modes_dp": check_four_modes_dp,
    "galaxies_like": check_galaxies_like,
    "optimizers": check_optimizers,
    "recovery": check_recovery,
}


def main() -> None:
    """Run the experiments and print what was promised and what was seen."""
    options = parser(__doc__)
    options.add_argument("--only", type=some_of(EXPERIMENTS), default=list(EXPERIMENTS), help="some of them")
    arguments = options.parse_args()
    rows, kept = [], True
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as scratch:
            words = [*opening(EXPERIMENTS[name]), "tracking=none", "animation=none", *arguments.overrides]
            ended = Command(Path(scratch), words).succeeded()
            (answer,) = (Path(scratch) / "outputs" / ("sweeps" if "--multirun" in words else "fit")).iterdir()
            for check in CHECKS[name](answer):
                rows.append([name, check.promise, check.seen, "yes" if check.kept else "NO"])
                kept &= check.kept
            rows.append([name, "seconds", f"{ended.seconds:.0f}", ""])
    print_table(["experiment", "promise", "seen", "kept"], rows)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
