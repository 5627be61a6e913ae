"""Seconds of an iteration of EM of several columns, beside scikit-learn's and gmmx's in the same process.

Ours is the program of a fit with optimizer=em, whole: the pass over the data, the step, and how far it is from rest. An
iteration is the difference between fits of many steps and of few, over the steps between them: neither compiling nor
starts count. The fastest of some rounds, in which all take turns, since other work on the machine slows everybody:
trust the ratios more than the milliseconds. gmmx takes part if it is installed, and in float32.

    python -m benchmarks.multivariate_speed [--rounds 5] [--only "8 columns,2 columns"]

The bounds are on float32, as shares of scikit-learn's time: 1/30, 1/60 and 1/8.

Seen on 2026-11-30 on 2 quiet cores, with three or four rounds, without gmmx:

| data, model | float32, ms | of scikit-learn's | float64, ms | of scikit-learn's |
| --- | --- | --- | --- | --- |
| 100,000 x 8, K = 8, full | 3.1 | 1/47 | 9.1 | 1/17 |
| 1,000,000 x 2, K = 8, full | 3.5 | 1/90 | 9.0 | 1/47 |
| 10,000 x 32, K = 16, diagonal | 0.92 | 1/3.2: missed | 1.7 | 1/2.3 |

The last one is two products of 16 x 64 and 64 x 10,000, which take XLA most of the time; blocks of other lengths, or
all at once, make no difference.
"""

import importlib.util
import itertools
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import keep, loaded, parser, print_table, ratios_option, some_of
from gmm_pipeline.inference.calls import fit_starts
from gmm_pipeline.inference.jobs import FitJob


class Case(NamedTuple):
    """Data and a model, how many iterations are measured of ours and theirs, and what ours may take of theirs."""

    n_data: int
    n_columns: int
    n_components: int
    covariance: str
    ours: tuple[int, int]
    theirs: tuple[int, int]
    bound: float


CASES = {
    "8 columns": Case(100_000, 8, 8, "full", (2, 42), (1, 4), 1 / 30),
    "2 columns": Case(1_000_000, 2, 8, "full", (2, 202), (1, 3), 1 / 60),
    "32 columns": Case(10_000, 32, 16, "diagonal", (10, 510), (2, 22), 1 / 8),
}
THEIRS = {"full": "full", "diagonal": "diag"}


def draw(case: Case, path: Path) -> None:
    """Save draws of as many overlapping normals as the mixture has components."""
    random = np.random.default_rng(0)
    locs = random.normal(0.0, 2.0, (case.n_components, case.n_columns))
    labels = random.integers(case.n_components, size=case.n_data)
    np.save(path, locs[labels] + random.normal(size=(case.n_data, case.n_columns)))


def job_of(case: Case, path: Path, precision: str, overrides: list[str]) -> FitJob:
    """One start that takes all of its steps."""
    words = [
        *("data=file", f"data.path={json.dumps(str(path))}", f"n_components={case.n_components}"),
        *(f"covariance={case.covariance}", f"precision={precision}", "prior=flat", "optimizer=em", "search=none"),
        *("restarts=1", "tolerance=0", "history_every=100000", "init=kmeans"),
    ]
    job = loaded(*words, *overrides).fit
    return job._replace(data=np.asarray(job.data))  # of many, an array only here


def ours(job: FitJob) -> Callable[[int], Any]:
    """Iterations of the program of a fit."""
    return lambda steps: fit_starts([job._replace(steps=steps)])


def scikit_learns(job: FitJob, case: Case) -> Callable[[int], Any]:
    """Iterations of scikit-learn's, with data and result in the precision of the job."""
    from sklearn.mixture import GaussianMixture

    def run(steps: int) -> None:
        settings = {"max_iter": steps, "tol": 0.0, "init_params": "random_from_data", "random_state": 0}
        model = GaussianMixture(case.n_components, covariance_type=THEIRS[case.covariance], **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            model.fit(job.data)

    return run


def gmmxs(job: FitJob, case: Case) -> Callable[[int], Any] | None:
    """Iterations of gmmx's, if it is installed."""
    if importlib.util.find_spec("gmmx") is None:
        return None
    gmmx: Any = importlib.import_module("gmmx")
    some = np.random.default_rng(0).choice(len(job.data), case.n_components, replace=False)
    spread = np.eye(case.n_columns, dtype=job.data.dtype) if case.covariance == "full" else np.ones(case.n_columns)
    mixture = gmmx.GaussianMixtureModelJax.from_squeezed(
        means=job.data[some],
        covariances=np.broadcast_to(spread.astype(job.data.dtype), (case.n_components, *spread.shape)),
        weights=np.full(case.n_components, 1 / case.n_components, job.data.dtype),
        covariance_type=THEIRS[case.covariance],
    )
    return lambda steps: jax.block_until_ready(gmmx.EMFitter(max_iter=steps, tol=0.0).fit(x=job.data, gmm=mixture))


def iteration_times(runs: dict[str, tuple[Callable[[int], Any], tuple[int, int]]], rounds: int) -> dict[str, float]:
    """Seconds of an iteration of each, the fastest of the rounds."""
    fastest: dict[tuple[str, int], float] = {}
    for number in range(rounds + 1):
        for name, (run, lengths) in runs.items():
            for steps in lengths:
                began = time.perf_counter()
                run(steps)
                if number:  # the first compiles
                    seconds = time.perf_counter() - began
                    fastest[name, steps] = min(seconds, fastest.get((name, steps), seconds))
    return {name: (fastest[name, most] - fastest[name, few]) / (most - few) for name, (_, (few, most)) in runs.items()}


def main() -> None:
    """Print the table."""
    options = ratios_option(parser(__doc__))
    options.add_argument("--rounds", type=int, default=5, help="after one that compiles")
    options.add_argument("--only", type=some_of(CASES), default=list(CASES), help="with commas")
    arguments = options.parse_intermixed_args()
    table, ratios = [], {}
    for name, precision in itertools.product(arguments.only, ("float32", "float64")):
        case = CASES[name]
        with tempfile.TemporaryDirectory() as scratch:
            draw(case, Path(scratch) / "draws.npy")
            job = job_of(case, Path(scratch) / "draws.npy", precision, arguments.overrides)
        runs = {"ours": (ours(job), case.ours), "scikit-learn": (scikit_learns(job, case), case.theirs)}
        other = gmmxs(job, case) if precision == "float32" else None
        runs |= {"gmmx": (other, case.theirs)} if other is not None else {}
        found = iteration_times(runs, arguments.rounds)
        ratio = found["scikit-learn"] / found["ours"]
        ratios[f"iteration, {name}, {precision}, beside scikit-learn"] = 1 / ratio
        bound = f"1/{1 / case.bound:.0f}: {'kept' if ratio >= 1 / case.bound else 'MISSED'}"
        table.append(
            (
                *(f"{case.n_data:,} x {case.n_columns}, K = {case.n_components}, {case.covariance}", precision),
                *(f"{1e3 * found['ours']:.2f}", f"{1e3 * found['scikit-learn']:.1f}"),
                *(f"{1e3 * found['gmmx']:.1f}" if "gmmx" in found else "", f"1/{ratio:.1f}"),
                bound if precision == "float32" else "",
            )
        )
        print(" | ".join(table[-1]), flush=True, file=sys.stderr)
    print_table(("data, model", "precision", "ours, ms", "scikit-learn, ms", "gmmx, ms", "ratio", "bound"), table)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    keep(arguments.json, ratios)


if __name__ == "__main__":
    main()
