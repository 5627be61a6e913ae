"""Whether the data look like draws from the mixture that was fitted to them, where that can be judged.

This needs many data, an optimum, and a mixture in which no component has collapsed.
"""

from typing import NamedTuple

import numpy as np

from gmm_pipeline.analysis import agreement, columns_agreement
from gmm_pipeline.analysis.answers import Answer
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.model.natural import MultivariateMixture

MOST_ELEMENTS = 10**7
"""Data × components: about a second."""


class Goodness(NamedTuple):
    """How probable the deviation would be if the data were drawn from the mixture."""

    p_value: float
    is_rounded: bool
    """Whether ties in the data contribute to the deviation."""
    is_limit: bool = False
    """Whether the probability is an upper limit, as for several columns."""


def can_be_judged(job: Job, answer: Answer) -> bool:
    """Whether the answer is an optimum, and the data are small enough to evaluate quickly.

    Args:
        job: with the data.
        answer: the answer.
    """
    few = len(job.dataset.data) * len(answer.fitted.locs) <= MOST_ELEMENTS
    return bool(answer.is_sound and answer.metrics["converged"] and few)


def goodness_of_fit(job: Job, answer: Answer, *, simulations: int, seed: int) -> Goodness | None:
    """How far the data are from the mixture, of several columns each by itself; None if there are too few.

    Rows with missing cells are left out.

    Args:
        job: with the data.
        answer: for which `can_be_judged` holds.
        simulations: for the p-value.
        seed: of the simulations.
    """
    dataset = job.dataset
    if isinstance(answer.fitted, MultivariateMixture):
        complete = ~np.isnan(dataset.data).any(axis=1)
        counts = dataset.counts[complete]
        if counts.sum() < agreement.FEW_DATA:
            return None
        calibrations = columns_agreement.marginals(dataset.data[complete], counts, answer.fitted)
        return Goodness(columns_agreement.p_value(calibrations), is_rounded=False, is_limit=True)
    seen = agreement.calibration(agreement.sites_of(dataset.data, dataset.sample_weights), answer.fitted)
    if seen.total < agreement.FEW_DATA:
        return None
    null = agreement.null_of(
        seen.largest,
        answer.fitted,
        total=seen.total,
        equal_scales=answer.equal_scales,
        level=job.asked.level,
        simulations=simulations,
        seed=seed,
    )
    return Goodness(null.p_value, seen.is_rounded)
