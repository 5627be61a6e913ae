"""Do the 95 % intervals of a fit hold the truth in 95 of 100 samples? Does a test at level α reject a share α?

A thousand samples of two_modes, whose components are drawn too (data.counts=multinomial), are fitted by one sweep of
the real command, and everything is read from its records. Components are matched to the truth. The intervals from the
observed information are held to limits; beside them stand the ratio of the mean standard error to the spread of the
estimates and the mean error in standard errors, which say what is wrong where coverage is. A second sweep bootstraps
fewer and smaller samples with few replicates, which costs a percent or so of coverage of its own; the intervals from
the information stand beside them, and neither is held to anything.

With --test-data-sets, that many samples of one normal are tested for a second component by the likelihood-ratio test,
and the share of rejections at each level is held to the 99.9 % interval of so many samples: 500 tell a level of 0.05
from one of 0.10.

    python -m benchmarks.coverage
    python -m benchmarks.coverage --data-sets 0 --bootstrap-data-sets 0 --test-data-sets 500

Seen on 2026-11-23 on 2 cores of an Intel Xeon that others kept busy too (load average above 10), 1,000 samples in one
sweep of 386 s, all converged; one standard error of a coverage is 0.7:

| parameter | truth | coverage of 95 % | mean s.e. / spread | mean z |
| --- | --- | --- | --- | --- |
| weight 0 | 0.1667 | 95.8 | 1.010 | +0.040 |
| weight 1 | 0.8333 | 95.8 | 1.010 | -0.040 |
| loc 0 | -2 | 94.7 | 0.994 | +0.019 |
| loc 1 | 5 | 94.9 | 0.984 | -0.043 |
| scale 0 | 1.1 | 95.3 | 1.028 | -0.053 |
| scale 1 | 2 | 95.9 | 1.033 | +0.007 |

The 100 bootstrapped samples, of 1,000 data and 200 replicates each, in a sweep of 440 s: the bootstrap's percentile
intervals hold weights 95, loc 0 89, loc 1 93, scale 0 94 and scale 1 95 of 100 truths; those from the information, on
the same samples, 96, 93, 94, 93 and 96. One standard error is 2 to 3: too few samples to tell the two apart.

Several columns (`data=three_clusters n_components=3 covariance=full prior=flat`), seen on 2026-11-30, 250 samples each,
all of whose fits converged; one standard error of a coverage is 1.4:

| what | 300 rows, coverage of 95 % | mean s.e. / spread | 1,500 rows, coverage | mean s.e. / spread |
| --- | --- | --- | --- | --- |
| weights | 94.8 to 96.4 | 0.98 to 1.00 | 92.8 to 96.4 | 0.94 to 0.98 |
| locs | 91.2 to 96.0 | 0.89 to 1.01 | 94.0 to 96.8 | 0.96 to 1.06 |
| standard deviations | 93.6 to 96.8 | 0.96 to 1.04 | 91.6 to 96.0 | 0.96 to 1.05 |
| correlations | 93.6 to 94.4 | 0.92 to 1.00 | 95.6 to 98.4 | 1.04 to 1.07 |

Seen on 2026-11-28, of the first 352 of 500 samples of one normal, 60 observations and 19 replicates each: tests at the
levels 0.05, 0.25 and 0.5 reject 0.043, 0.261 and 0.506 of them.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks import parser, print_table
from gmm_pipeline.analysis.matching import match
from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateMixture, reported

LEVEL = 0.95
LIMITS = (0.93, 0.97)
QUIET = ["tracking=none", "figures=none", "animation=none"]
SETTINGS = ["data=two_modes", "data.counts=multinomial", "restarts=1", f"level={LEVEL}"]
UNDER_THE_NULL = ["data.weights=[1]", "data.locs=[0.0]", "data.scales=[1.0]", "data.n_draws=60", "prior=flat"]
UNDER_THE_NULL += ["n_components=auto", "selection.largest=2", "selection.scales=[free]", "restarts=2"]
UNDER_THE_NULL += ["criterion=likelihood_ratio", "likelihood_ratio=19"]
# With one seed for all, standardised samples of one normal would all be compared with the same 19 replicates.
UNDER_THE_NULL += ["seed=${data.seed}"]
REJECTED_AT = (0.05, 0.25, 0.5)


Numbers = dict[str, np.ndarray]
"""Of each component of the truth, in its order, by name; NaN for one that is missed."""


class Estimate(NamedTuple):
    """What a record says of each component."""

    fitted: Numbers
    errors: Numbers
    lower: Numbers
    upper: Numbers


class Estimated(NamedTuple):
    """What the records of a sweep say of its parameters."""

    truth: Numbers
    informed: list[Estimate]
    bootstrapped: list[Estimate]
    converged: int
    seconds: float


def swept(folder: Path, n_seeds: int, settings: Sequence[str]) -> tuple[list[Path], float]:
    """The records of samples 0 to n_seeds - 1, fitted as one sweep in `folder`, and its seconds."""
    words = ["fit", "--multirun", *QUIET, *settings, f"data.seed=range(0,{n_seeds})", "sweep=coverage"]
    began = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-m", "gmm_pipeline", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if finished.returncode != 0:
        sys.exit(f"{' '.join(words)} ended with exit code {finished.returncode}:\n{finished.stderr}")
    return [folder / "outputs" / "sweeps" / "coverage" / str(number) for number in range(n_seeds)], seconds


def estimated(n_seeds: int, settings: Sequence[str]) -> Estimated:
    """Estimates of samples 0 to n_seeds - 1."""
    with tempfile.TemporaryDirectory() as folder:
        records, seconds = swept(Path(folder), n_seeds, [*SETTINGS, *settings])
        parameters, data, metrics = (
            [json.loads((record / name).read_text(encoding="utf-8")) for record in records]
            for name in ("parameters.json", "data.json", "metrics.json")
        )
    truth = data[0]["truth"]
    return Estimated(
        _numbers(reported(_mixture(truth))._asdict()),
        [_estimate(truth, one, one) for one in parameters],
        [_estimate(truth, one, one["bootstrap"]) for one in parameters if "bootstrap" in one],
        sum(one["converged"] for one in metrics),
        seconds,
    )


def tested(n_seeds: int, settings: Sequence[str]) -> tuple[list[float], float]:
    """p-values of one component against two, of samples of one normal, and the seconds of their sweep."""
    with tempfile.TemporaryDirectory() as folder:
        records, seconds = swept(Path(folder), n_seeds, [*UNDER_THE_NULL, *settings])
        rows = [row for record in records for row in csv.DictReader((record / "selection.csv").open())]
    return [float(row["p_value"]) for row in rows if row["n_components"] == "1"], seconds


def _mixture(content: dict[str, Any]) -> AnyMixture:
    kind = MultivariateMixture if "covariances" in content else Mixture
    return kind(*(np.array(content[name], np.float64) for name in kind._fields))


def _numbers(content: dict[str, Any]) -> Numbers:
    found: Numbers = {}
    for name in ("weights", "locs", "scales", "covariances", "correlations"):
        # What is undefined is null.
        values = np.array(content.get(name, ()), np.float64)
        if values.ndim == 1 and values.size:
            found[name[:-1]] = values
        elif values.ndim == 2:
            found |= {f"{name[:-1]} of {column}": values[:, column] for column in range(values.shape[1])}
        elif values.ndim == 3:
            pairs = zip(*np.triu_indices(values.shape[1], int(name == "correlations")), strict=True)
            found |= {f"{name[:-1]} {one}, {other}": values[:, one, other] for one, other in pairs}
    return found


def _estimate(truth: dict[str, Any], fitted: dict[str, Any], interval: dict[str, Any]) -> Estimate:
    found, n_components = match(_mixture(fitted), _mixture(truth)), len(truth["weights"])
    order = np.full(n_components, -1)
    order[found.others] = found.components
    parts = (fitted, *(interval[name] for name in ("standard_errors", "lower", "upper")))
    return Estimate(
        *({name: np.where(order < 0, np.nan, leaf[order]) for name, leaf in _numbers(one).items()} for one in parts)
    )


def rows_of(truth: Numbers, estimates: Sequence[Estimate]) -> tuple[list[tuple[object, ...]], bool]:
    """A row for each parameter, and whether all keep the limits; an interval that is undefined holds nothing."""
    rows, kept = [], True
    for name, truths in truth.items():
        fitted, errors, lower, upper = (
            np.stack([getattr(one, part)[name] for one in estimates]) for part in Estimate._fields
        )
        held = (lower <= truths) & (truths <= upper)
        shares = held.mean(axis=0)
        kept &= bool(np.all((shares >= LIMITS[0]) & (shares <= LIMITS[1])))
        above, below = (truths < lower).mean(axis=0), (truths > upper).mean(axis=0)
        ratio = np.nanmean(errors, axis=0) / np.nanstd(fitted, axis=0, ddof=1)
        z = np.nanmean((fitted - truths) / errors, axis=0)
        rows += [
            (
                *(f"{name}, component {component}", f"{truths[component]:.4g}", f"{100 * shares[component]:.1f}"),
                f"{100 * np.sqrt(shares[component] * (1 - shares[component]) / len(estimates)):.1f}",
                *(f"{100 * below[component]:.1f}", f"{100 * above[component]:.1f}"),
                *(f"{ratio[component]:.3f}", f"{z[component]:+.3f}", int(np.isnan(errors[:, component]).sum())),
            )
            for component in range(len(truths))
        ]
    return rows, kept


HEADER = (
    *("parameter", "truth", f"coverage of {LEVEL:.0%}", "± (1 s.e.)", "too low", "too high"),
    *("mean s.e. / spread", "mean z", "undefined"),
)


def main() -> None:
    """Print coverage of each parameter, by the information and by the bootstrap."""
    options = parser(__doc__)
    options.add_argument("--data-sets", type=int, default=1000, help="samples, data.seed=0 to DATA_SETS - 1")
    options.add_argument("--bootstrap-data-sets", type=int, default=100, help="samples that are bootstrapped; 0: none")
    options.add_argument("--bootstrap-draws", type=int, default=1000, help="data of each of these")
    options.add_argument("--replicates", type=int, default=200, help="of each of these")
    options.add_argument("--test-data-sets", type=int, default=0, help="samples of one normal that are tested; 0: none")
    arguments = options.parse_intermixed_args()

    if arguments.data_sets:
        seen = estimated(arguments.data_sets, arguments.overrides)
        rows, kept = rows_of(seen.truth, seen.informed)
        total, seconds = len(seen.informed), seen.seconds
        print(f"observed information, {total:,} samples in one sweep of {seconds:.0f} s, {seen.converged:,} converged")
        print_table(HEADER, rows)
        print(f"every parameter between {LIMITS[0]:.0%} and {LIMITS[1]:.0%}: {'yes' if kept else 'NO'}\n")
    if arguments.bootstrap_data_sets:
        settings = [f"data.n_draws={arguments.bootstrap_draws}", f"bootstrap={arguments.replicates}"]
        seen = estimated(arguments.bootstrap_data_sets, [*arguments.overrides, *settings])
        of_each = f"{arguments.bootstrap_draws:,} data and {arguments.replicates} replicates each"
        print(f"bootstrap, {len(seen.bootstrapped):,} samples of {of_each}, one sweep of {seen.seconds:.0f} s")
        print_table(HEADER, rows_of(seen.truth, seen.bootstrapped)[0])
        print("\nobserved information, the same samples")
        print_table(HEADER, rows_of(seen.truth, seen.informed)[0])
        print()
    if arguments.test_data_sets:
        p_values, seconds = tested(arguments.test_data_sets, arguments.overrides)
        print(f"likelihood-ratio tests of {len(p_values):,} samples of one normal in one sweep of {seconds:.0f} s")
        rows = []
        for level in REJECTED_AT:
            share = np.mean(np.array(p_values) <= level)
            low, high = stats.binom.interval(0.999, len(p_values), level)
            within = low <= share * len(p_values) <= high
            rows.append((level, f"{share:.3f}", f"{low / len(p_values):.3f}", f"{high / len(p_values):.3f}", within))
        print_table(("level", "share rejected", "from", "to", "within"), rows)
        print()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
