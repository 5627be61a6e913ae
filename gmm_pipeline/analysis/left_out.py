"""Whether the data of components at the floor of the scales differ, so that leaving these out is worth a word.

A component collapses onto copies, or onto a value to which data were rounded, and such a mixture is rightly left out
(`inference/narrow.py`). The price: of a narrow component among rounded data nothing is said.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gmm_pipeline.analysis.doubts import Reason
from gmm_pipeline.analysis.resolution import on_grid_lines
from gmm_pipeline.inference.diagnostics import log_joint_of_noise
from gmm_pipeline.inference.jobs import FitJob, FitResult, Narrow
from gmm_pipeline.inference.narrow import GAIN, by_chance, fewest
from gmm_pipeline.inference.scaling import Units, total_log_volume
from gmm_pipeline.model import portable
from gmm_pipeline.model.large_data import MANY
from gmm_pipeline.records.sample_weights import effective_number

ENOUGH = 1000
"""Data that show whether a component's are different."""
CLOSE = 0.1
"""Share of the data's standard deviation in a column within which a component's data are close together."""
ALIKE = 1e-6
"""Standard deviation in some direction, relative to that of all data, below which data are alike in it."""


def lowered(jobs: Sequence[FitJob], results: Sequence[FitResult], units: Sequence[Units]) -> list[FitJob] | None:
    """The fits of a selection with the lower floor, where what was left out is better than every sound fit.

    That is by `GAIN` and what parameters cost; None where it is not.

    Args:
        jobs: of the same data; one, if there is nothing to choose.
        results: of these, without ties.
        units: the data in the units of each.
    """
    sound, narrow, few = -math.inf, -math.inf, False
    for job, result, of_one in zip(jobs, results, units, strict=True):
        if result.searched is None or not result.searched.log_posteriors:
            continue
        volume = total_log_volume(of_one.scaling, of_one.of_user, job.sample_weights)
        score = result.searched.log_posteriors[0] - volume - job.penalty * job.n_parameters
        own = result.searched.narrow
        if own is not None and not own.is_tied and score + result.searched.left_out > narrow:
            narrow, few = score + result.searched.left_out, _has_few(job, own)
        if not result.degenerate and not result.diverged:
            sound = max(sound, score)
    return [job.lowered(few=few) for job in jobs] if narrow > sound + GAIN else None


def _has_few(job: FitJob, narrow: Narrow) -> bool:
    """Whether one of its degenerate components has so few data that their choice counts."""
    degenerate = np.isin(np.arange(job.plan.n_components), narrow.components)
    return bool(by_chance(job, narrow.parameters, degenerate) > 0.0)


def reason_of_left_out(result: FitResult) -> Reason:
    """Which doubt a mixture that was left out raises.

    Args:
        result: with one.
    """
    narrow = None if result.searched is None else result.searched.narrow
    return Reason.ONE_VALUE if narrow is not None and narrow.is_tied else Reason.NARROW


def without_ties(job: FitJob, result: FitResult, units: Units) -> FitResult:
    """A result without a mixture that was left out rightly: where the data of a narrow component are few values.

    Of several columns it is kept, and marked as tied, unless rounding made these values, or they are a few of great
    weight: else they may be a group.

    Args:
        job: the fit.
        result: of the fit.
        units: the data in its units.
    """
    searched = result.searched
    if searched is None or searched.narrow is None:
        return result
    parameters, components = searched.narrow[:2]
    data = np.asarray(units.standardised[:MANY], np.float64)
    is_whole = np.isfinite(data.reshape(len(data), -1)).all(axis=1)
    data, counts = data[is_whole], job.sample_weights[: len(data)][is_whole]
    mixture: Any = job.plan.family.natural(parameters)
    weights, locs, scales = mixture
    _, shares = portable.evaluate(weights, locs, scales, data, log_joint_of_noise(parameters, job.noise))
    of_user: Any = data * units.scaling.spread if data.ndim == 1 else data @ units.scaling.spread.T
    columns = of_user.reshape(len(of_user), -1)
    least = 0.5 * fewest(job, few=True)
    if all(_are_different(columns, shares[one] > 0.5, counts, least) for one in components):
        return result
    few = list(components)
    are_heavy = any(_effective_number(counts[shares[one] > 0.5]) <= least for one in components)
    are_rounded = job.rounding is not None and on_grid_lines(
        locs[few], scales[few], job.rounding, units.standardised, job.sample_weights
    )
    if data.ndim == 1 or are_heavy or are_rounded:
        return result._replace(searched=searched._replace(narrow=None))
    return result._replace(searched=searched._replace(narrow=searched.narrow._replace(is_tied=True)))


def _effective_number(counts: Float[np.ndarray, " n"]) -> float:
    return effective_number(np.asarray(counts, np.float64)) if counts.any() else 0.0


def _are_different(
    columns: Float[np.ndarray, "n d"], own: np.ndarray, counts: Float[np.ndarray, " n"], least: float
) -> bool:
    """Whether a component's own data are many values in each column in which they are close together.

    In several columns they also differ in every direction: rounded data lie on slanted lines too, such as x₁ = x₂. A
    datum of great weight is one: their effective number (Kish 1965) counts.

    Args:
        columns: data, in units of any kind.
        own: which of them are the component's.
        counts: sample weights.
        least: effective number that a component needs.
    """
    here, spread = columns[own], columns.std(axis=0)
    if _effective_number(counts[own]) <= least:
        return False
    if not spread.all():  # rows with all cells may be one value in a column
        return False
    least_singular = np.linalg.svd((here - here.mean(axis=0)) / spread, compute_uv=False).min()
    if columns.shape[1] > 1 and least_singular < ALIKE * math.sqrt(len(here)):
        return False
    step = 1e-9 * np.abs(columns).max(axis=0)
    for column, whole, least in zip(here.T, spread, step, strict=True):
        values = len(np.unique(np.round(column / least))) if least > 0.0 else 1
        if column.std() < CLOSE * whole and 2 * values < min(len(here), ENOUGH):
            return False
    return True
