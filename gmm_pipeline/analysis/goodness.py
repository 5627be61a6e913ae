"""Whether the data look like draws of the mixture that was fitted to them, where that can be told.

It can for many data, an optimum, and a mixture in which nothing has collapsed.
"""

from typing import NamedTuple

from gmm_pipeline.analysis import agreement
from gmm_pipeline.analysis.answers import Answer
from gmm_pipeline.analysis.estimates import Job

MOST_ELEMENTS = 10**7
"""Data × components: about a second."""


class Goodness(NamedTuple):
    """How probable a deviation as large is, were the data of the mixture."""

    p_value: float
    is_rounded: bool
    """Whether data that are equal have a part in the deviation."""


def can_be_told(job: Job, found: Answer) -> bool:
    """Whether the answer is an optimum, and looking at the data does not take long.

    Args:
        job: with the data.
        found: the answer.
    """
    few = len(job.dataset.data) * len(found.fitted.locs) <= MOST_ELEMENTS
    return bool(found.is_sound and found.metrics["converged"] and few)


def goodness_of_fit(job: Job, found: Answer, *, simulations: int, seed: int) -> Goodness | None:
    """How far the data are from the mixture; None where they are too few.

    Args:
        job: with the data.
        found: the answer, of which it can be told.
        simulations: for the p-value.
        seed: of the simulations.
    """
    dataset = job.dataset
    seen = agreement.calibration(agreement.sites_of(dataset.data, dataset.sample_weights), found.fitted)
    if seen.total < agreement.FEW_DATA:
        return None
    null = agreement.null_of(
        seen.largest,
        found.fitted,
        total=seen.total,
        equal_scales=found.equal_scales,
        level=job.asked.level,
        simulations=simulations,
        seed=seed,
    )
    return Goodness(null.p_value, seen.is_rounded)
