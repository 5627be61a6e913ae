"""What does one more run, datum, component or column cost?

Runs: fits of 500 data, two components and 100 steps of adam, all at once, in CPU milliseconds of a run. Data,
components and columns: CPU seconds of one iteration of EM, divided by data × components. Fits: CPU nanoseconds of a
datum of a whole `gmm_pipeline.fit`, warm.

    python -m benchmarks.scaling [--most-runs 10000] [--most-data 10000000] [--rounds 3]

Ratios: the last of a row beside the least before it, which is to be at most 1.5 for runs and data. That of columns is
for twice as many, of which each iteration takes up to eight times as long.

Seen on 2026-11-29 on 2 cores that other work kept busy, with a load of 10 to 14, one or two rounds:

| one more of | 1, 10, … | costs | last / least |
| --- | --- | --- | --- |
| runs | 1 to 10,000 | 3.19, 1.92, 1.70, 1.90, 2.10 ms | 1.24 |
| data, an iteration | 10,000 to 10,000,000 | 1.68, 0.73, 0.69, 0.63 ns a component | 0.92 |
| data, a fit | 10,000 to 10,000,000 | 28,800, 12,200, 586, 161 ns | 0.27 |
| components | 2, 4, 8, 16, 32 | 0.95, 0.75, 0.59, 0.57, 0.71 ns a datum | 1.24 |
| columns | 1, 2, 4, 8, 16 | 0.73, 1.98, 3.04, 5.96, 27.9 ns a datum and component | 4.7, of twice as many |
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

import gmm_pipeline as gmm
from benchmarks import fit_all, keep, loaded, parser, print_table, ratios_option, with_seeds
from benchmarks.multivariate_speed import Case, draw, job_of, ours
from benchmarks.works import WORKS, drawn

LIMIT = 1.5
FLAT = ("runs", "data, an iteration", "data, a fit")
"""Rows that are to be flat."""
WORK = 2e8
"""Data × components × columns² that are gone over for one measurement, about."""
FEWEST, MOST = 40, 1_000
"""Steps of one."""
COMPONENTS, COLUMNS = (2, 4, 8, 16, 32), (1, 2, 4, 8, 16)


def powers_of_ten(least: int, most: int) -> list[int]:
    """From `least` to `most`."""
    return [10**power for power in range(len(str(least)) - 1, len(str(most)))]


def runs(most: int, rounds: int) -> dict[int, float]:
    """CPU milliseconds of a run, by how many there are at once; the least of the rounds."""
    words = [
        "data=two_modes",
        "data.n_draws=500",
        "prior=flat",
        "search=none",
        "restarts=1",
        "steps=100",
        "tolerance=0",
    ]
    job, found = loaded(*words).fit, {}
    for count in powers_of_ten(1, most):
        jobs = with_seeds(job, range(count))
        fit_all(jobs)
        # Few runs take too little time to be measured once.
        found[count] = least(partial(fit_all, jobs), max(rounds, min(300 // count, 30))) / count * 1e3
        print(f"{count} runs: {found[count]:.2f} ms of CPU each", file=sys.stderr, flush=True)
    return found


def least(work: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the fastest of the rounds."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def iterations(cases: Iterable[tuple[int, int, int]], rounds: int) -> list[float]:
    """CPU nanoseconds of an iteration by data × components, for each number of data, components and columns."""
    found = []
    for n, components, columns in cases:
        steps = int(np.clip(WORK / (n * components * columns**2), FEWEST, MOST))
        case = Case(n, columns, components, "full", (2, 2 + steps), (1, 2), 1.0)
        with tempfile.TemporaryDirectory() as scratch:
            draw(case, Path(scratch) / "draws.npy")
            job = job_of(case, Path(scratch) / "draws.npy", "float32", [])
            run = ours(job)
            for number in case.ours:
                run(number)  # compiles
            few, many = (least(partial(run, number), rounds) for number in case.ours)
            seconds = (many - few) / steps
        found.append(seconds / (n * components) * 1e9)
        print(f"n={n} K={components} d={columns}: {found[-1]:.3f} ns", file=sys.stderr, flush=True)
    return found


def fits(sizes: list[int], rounds: int) -> dict[int, float]:
    """CPU nanoseconds of a datum of a whole fit, by how many there are."""
    found = {}
    for n in sizes:
        data = drawn(WORKS["D"], n / WORKS["D"].n)
        fit = partial(gmm.fit, data, n_components=4, prior="flat")
        fit()
        found[n] = least(fit, rounds if n < 10**6 else 1) / n * 1e9
        print(f"fit of {n}: {found[n]:.1f} ns of CPU a datum", file=sys.stderr, flush=True)
    return found


def curves(arguments: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Cost of one more, by how many there are."""
    sizes, rounds = powers_of_ten(10_000, arguments.most_data), arguments.rounds
    n = min(100_000, arguments.most_data)
    return {
        "runs": runs(arguments.most_runs, rounds),
        "data, an iteration": dict(zip(sizes, iterations([(n, 4, 1) for n in sizes], rounds), strict=True)),
        "data, a fit": fits(sizes, rounds),
        "components": dict(zip(COMPONENTS, iterations([(n, k, 1) for k in COMPONENTS], rounds), strict=True)),
        "columns": dict(zip(COLUMNS, iterations([(n, 4, d) for d in COLUMNS], rounds), strict=True)),
    }


UNITS = {
    "runs": "ms of CPU a run",
    "data, an iteration": "ns of CPU a datum and component",
    "data, a fit": "ns of CPU a datum",
    "components": "ns of CPU a datum and component",
    "columns": "ns of CPU a datum and component",
}


def main() -> int:
    """Print the rows, and whether they are flat."""
    options = ratios_option(parser(__doc__))
    options.add_argument("--most-runs", type=int, default=10_000, help="a power of ten, at least 10")
    options.add_argument("--most-data", type=int, default=10_000_000, help="a power of ten")
    options.add_argument("--rounds", type=int, default=3, help="of which the fastest counts")
    arguments = options.parse_args()
    found, table, ratios = curves(arguments), [], {}
    for name, curve in found.items():
        *before, last = curve.values()
        # A component model of several columns is another program than that of one.
        ratios[f"one more of {name}"] = last / (before[-1] if name == "columns" else min(before))
        judged = ("flat" if ratios[f"one more of {name}"] <= LIMIT else "NOT FLAT") if name in FLAT else ""
        row = ", ".join(f"{count:,}: {cost:.3g}" for count, cost in curve.items())
        table.append((name, UNITS[name], row, f"{ratios[f'one more of {name}']:.2f}", judged))
    print_table(("one more of", "costs", "of how many", "last / least", f"at most {LIMIT:g}"), table)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    keep(arguments.json, ratios, curves={f"{name}, {UNITS[name]}": curve for name, curve in found.items()})
    return int(any(row[-1] == "NOT FLAT" for row in table))


if __name__ == "__main__":
    sys.exit(main())
