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


def can_be_judged(job: Job, answer: Answer) -> bool:
    """Whether the answer is an optimum, and looking at the data does not take long.

    Args:
        job: with the data.
        answer: the answer.
    """
    few = len(job.dataset.data) * len(answer.fitted.locs) <= MOST_ELEMENTS
    return bool(answer.is_sound and answer.metrics["converged"] and few)


def goodness_of_fit(job: Job, answer: Answer, *, simulations: int, seed: int) -> Goodness | None:
    """How far the data are from the mixture; None where they are too few.

    Args:
        job: with the data.
        answer: the answer, of which it can be told.
        simulations: for the p-value.
        seed: of the simulations.
    """
    dataset = job.dataset
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
