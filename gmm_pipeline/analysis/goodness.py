"""Whether the data look like draws from the mixture that was fitted to them, where that can be judged.

This needs many data, an optimum, and a mixture in which no component has collapsed.
"""

from typing import NamedTuple, cast

import numpy as np

from gmm_pipeline.analysis import agreement, columns_agreement, deviations
from gmm_pipeline.model.natural import Mixture, MultivariateMixture
from gmm_pipeline.records.reading import Record

MOST_ELEMENTS = 10**7
"""Data × components: about a second."""


class Goodness(NamedTuple):
    """How probable the deviation would be if the data were drawn from the mixture."""

    p_value: float
    is_rounded: bool
    """Whether ties in the data contribute to the deviation."""
    is_limit: bool = False
    """Whether the probability is an upper limit, as for several columns."""


def can_be_judged(run: Record) -> bool:
    """Whether the fit is a sound optimum, of several columns without noise, with few enough data to evaluate quickly.

    Args:
        run: the record.
    """
    few = len(run.data) * len(run.fitted.locs) <= MOST_ELEMENTS
    known = run.noise is None or run.data.ndim == 1
    return bool(run.finished and known and run.metrics.get("barred") is None and run.metrics["converged"] and few)


def noise_of(run: Record) -> agreement.Uniform | None:
    """The noise of one column, over the range of the data that count; None without noise.

    Args:
        run: the record.
    """
    if run.noise is None:
        return None
    counted = run.data if run.sample_weights is None else run.data[run.sample_weights > 0.0]
    return agreement.Uniform(run.noise.weight, float(counted.min()), float(counted.max()))


def goodness_of_fit(run: Record, *, simulations: int, seed: int) -> Goodness | None:
    """How far the data are from the mixture, of several columns each by itself; None if there are too few.

    Columns with missing cells are left out.

    Args:
        run: for which `can_be_judged` holds.
        simulations: for the p-value.
        seed: of the simulations.
    """
    if isinstance(run.fitted, MultivariateMixture):
        run = run.of_complete_columns
        counts = np.ones(len(run.data)) if run.sample_weights is None else run.sample_weights
        if counts.sum() < agreement.FEW_DATA or not run.data.shape[1]:
            return None
        calibrations = columns_agreement.marginals(run.data, counts, cast(MultivariateMixture, run.fitted))
        return Goodness(columns_agreement.p_value(calibrations), is_rounded=False, is_limit=True)
    fitted, noise = cast(Mixture, run.fitted), noise_of(run)
    seen = agreement.calibration(agreement.sites_of(run.data, run.sample_weights), fitted, noise)
    if seen.total < agreement.FEW_DATA:
        return None
    null = deviations.null_of(
        seen.largest,
        fitted,
        noise=noise,
        total=seen.total,
        equal_scales=run.equal_scales,
        level=float(run.config["level"]),
        simulations=simulations,
        seed=seed,
    )
    return Goodness(null.p_value, seen.is_rounded)
