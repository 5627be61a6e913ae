"""Do the 95 % intervals of a fit hold the truth in 95 of 100 samples?

A thousand samples of two_modes, whose components are drawn too (data.counts=multinomial), are fitted as one sweep: one
batch of fits, one program. Components are matched to the truth. Held to the limits are the intervals from the observed
information; beside them stand the ratio of the mean standard error to the spread of the estimates and the mean error
in standard errors, which say what is wrong where coverage is. The percentile intervals of the bootstrap are counted on
fewer and smaller samples with few replicates, which costs a percent or two of coverage of its own, and are held to
nothing.

    python -m benchmarks.coverage
"""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from benchmarks import fit_all, loaded, parser, print_table
from gmm_pipeline.inference.bootstrap import natural, percentile_intervals, replicates
from gmm_pipeline.inference.fitting import FitResult, split
from gmm_pipeline.inference.matching import match
from gmm_pipeline.inference.scaling import to_fit_units, to_user_units
from gmm_pipeline.inference.uncertainty import in_user_units, intervals, uncertainty
from gmm_pipeline.model.mixture import Mixture, constrain
from gmm_pipeline.stages.answers import Job

LEVEL = 0.95
LIMITS = (0.93, 0.97)
DATA_SETS_AT_ONCE = 25
"""Whose bootstrap replicates are one batch of jobs."""


class Estimate(NamedTuple):
    """What a fit says of each component of the truth, in the order of the truth."""

    fitted: Mixture
    errors: Mixture
    lower: Mixture
    upper: Mixture


def standard_errors(job: Job, result: FitResult) -> Mixture:
    """In the user's units."""
    plan, floats = split(job.fit)
    found = uncertainty(
        result.parameters,
        to_fit_units(job.dataset.data, job.scaling),
        job.dataset.counts,
        log_prior=plan.log_prior,
        floats={**floats["prior"], **result.learned},
        equal_scales=job.fit.equal_scales,
        degenerate=result.degenerate,
    )
    return in_user_units(found.standard_errors, job.scaling)


def by_information(job: Job, result: FitResult) -> Estimate:
    """Intervals from the observed information."""
    fitted, errors = constrain(to_user_units(result.parameters, job.scaling)), standard_errors(job, result)
    return _matched(job, fitted, errors, *intervals(fitted, errors, LEVEL))


def by_bootstrap(jobs: Sequence[Job], results: Sequence[FitResult], n_replicates: int) -> list[Estimate]:
    """Percentile intervals, of all jobs at once."""
    every = [
        replicate
        for number, (job, result) in enumerate(zip(jobs, results, strict=True))
        for replicate in replicates(job.fit, result, n_replicates, jax.random.PRNGKey(number))
    ]
    found, estimates = fit_all(every), []
    for number, (job, result) in enumerate(zip(jobs, results, strict=True)):
        own = found[number * n_replicates : (number + 1) * n_replicates]
        fitted = constrain(to_user_units(result.parameters, job.scaling))
        ends = percentile_intervals(fitted, [natural(one, result, job.scaling) for one in own], LEVEL)
        estimates.append(_matched(job, fitted, ends.standard_errors, ends.lower, ends.upper))
    return estimates


def _matched(job: Job, fitted: Mixture, *others: Mixture) -> Estimate:
    assert job.dataset.truth is not None  # noqa: S101 - for the type checker; generated data have a truth
    found = match(fitted, job.dataset.truth)
    order = np.full(len(job.dataset.truth.locs), -1)
    order[found.others] = found.components
    missing = order < 0
    return Estimate(*(Mixture(*(np.where(missing, np.nan, leaf[order]) for leaf in one)) for one in (fitted, *others)))


def rows_of(truth: Mixture, estimates: Sequence[Estimate]) -> tuple[list[tuple[object, ...]], bool]:
    """A row for each parameter, and whether all keep the limits; an interval that is undefined holds nothing."""
    rows, kept = [], True
    for name, truths in truth._asdict().items():
        fitted, errors, lower, upper = (
            np.stack([getattr(getattr(one, part), name) for one in estimates]) for part in Estimate._fields
        )
        held = (lower <= truths) & (truths <= upper)
        shares = held.mean(axis=0)
        kept &= bool(np.all((shares >= LIMITS[0]) & (shares <= LIMITS[1])))
        above, below = (truths < lower).mean(axis=0), (truths > upper).mean(axis=0)
        ratio = np.nanmean(errors, axis=0) / np.nanstd(fitted, axis=0, ddof=1)
        z = np.nanmean((fitted - truths) / errors, axis=0)
        rows += [
            (
                *(f"{name[:-1]} {component}", f"{truths[component]:.4g}", f"{100 * shares[component]:.1f}"),
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


def fitted(n_seeds: int, settings: Sequence[str]) -> tuple[list[Job], list[FitResult], float]:
    """The fits of samples 0 to n_seeds - 1 as one batch, and its seconds."""
    common = ["data=two_modes", "data.counts=multinomial", "restarts=1", *settings]
    jobs = [loaded(*common, f"data.seed={seed}") for seed in range(n_seeds)]
    began = time.perf_counter()
    return jobs, fit_all([job.fit for job in jobs]), time.perf_counter() - began


def main() -> None:
    """Print coverage of each parameter, by the information and by the bootstrap."""
    options = parser(__doc__)
    options.add_argument("--data-sets", type=int, default=1000, help="samples, data.seed=0 to DATA_SETS - 1")
    options.add_argument("--bootstrap-data-sets", type=int, default=200, help="samples that are bootstrapped; 0: none")
    options.add_argument("--bootstrap-draws", type=int, default=1000, help="data of each of these")
    options.add_argument("--replicates", type=int, default=200, help="of each of these")
    arguments = options.parse_intermixed_args()

    jobs, results, seconds = fitted(arguments.data_sets, arguments.overrides)
    began = time.perf_counter()
    estimates = [by_information(job, result) for job, result in zip(jobs, results, strict=True)]
    truth = jobs[0].dataset.truth
    assert truth is not None  # noqa: S101 - as above
    rows, kept = rows_of(truth, estimates)
    n_data = len(jobs[0].dataset.data)
    print(f"observed information: {len(jobs):,} samples of {n_data:,} data, fitted in {seconds:.1f} s as one batch,")
    print(
        f"intervals in {time.perf_counter() - began:.1f} s; "
        f"{sum(result.converged for result in results):,} converged, "
        f"{sum(bool(result.degenerate) for result in results)} degenerate"
    )
    print_table(HEADER, rows)
    print(f"every parameter between {LIMITS[0]:.0%} and {LIMITS[1]:.0%}: {'yes' if kept else 'NO'}")
    if arguments.bootstrap_data_sets:
        settings = [*arguments.overrides, f"data.n_draws={arguments.bootstrap_draws}"]
        jobs, results, _ = fitted(arguments.bootstrap_data_sets, settings)
        began, estimates = time.perf_counter(), []
        for first in range(0, len(jobs), DATA_SETS_AT_ONCE):
            some = slice(first, first + DATA_SETS_AT_ONCE)
            estimates += by_bootstrap(jobs[some], results[some], arguments.replicates)
        seconds = time.perf_counter() - began
        print(
            f"\nbootstrap percentiles: {len(jobs):,} samples of {arguments.bootstrap_draws:,} data, "
            f"{arguments.replicates} replicates each, in {seconds:.1f} s"
        )
        print_table(HEADER, rows_of(truth, estimates)[0])
        print("\nobserved information, the same samples")
        informed = [by_information(job, result) for job, result in zip(jobs, results, strict=True)]
        print_table(HEADER, rows_of(truth, informed)[0])
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
