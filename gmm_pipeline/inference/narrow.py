"""Mixtures that are left out as degenerate although they may be right: where different data lie close together.

A component at the floor of the scales is degenerate, since the likelihood of a few data is unbounded as it narrows. A
component with many data, which differ, is no such artefact: the data are more concentrated than the floor allows. Nor
is one of fewer data, if the mixture is better by more than the number of ways in which a normal could choose data: a
small group far from the others, or one within them. The search keeps to sound mixtures, but remembers the best of this
kind. Whether its data differ is asked later, in the user's units (`analysis/left_out.py`).
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gmm_pipeline.model.noise import counts_of

ENOUGH, PER_NUMBER = 50.0, 10.0
"""Least data of a narrow component, and for each of its free numbers, that are no accident."""
FEWEST = 5.0
"""Least data of a narrow component in any case; of d columns at least 2 (d + 1)."""
GAIN = 20.0
"""Nats that a mixture with narrow components must be better to be told of: beyond what chance gathers in some place."""


def fewest(job: Any, *, few: bool) -> float:
    """Least data of a narrow component.

    Args:
        job: the fit.
        few: whether few are enough, since chance is accounted for otherwise.
    """
    n_columns = max(job.plan.family.n_columns, 1)
    if few:
        return max(FEWEST, 2.0 * (n_columns + 1))
    return max(ENOUGH, PER_NUMBER * (1 + n_columns * (n_columns + 3) / 2))


def may_be_narrow(job: Any, log_weights: Float[np.ndarray, "*S K"]) -> Bool[np.ndarray, "*S K"]:
    """Which components have enough data of their own to be narrower than `floor_of_few`.

    Args:
        job: the fit.
        log_weights: of mixtures, any leading axes.
    """
    return np.asarray(_counts(job, log_weights) >= fewest(job, few=job.few_are_narrow))


def by_chance(job: Any, mixtures: Any, degenerate: Bool[np.ndarray, "*S K"]) -> Float[np.ndarray, "*S"]:
    """Nats that mixtures with degenerate components may gain by the choice of their data; ∞ where it may be any number.

    That is where none is degenerate, or one has too few data. Otherwise it is a sum over degenerate components: nothing
    for one with many data, and for another the number of ways to choose its m of all n data, at most n H(m/n) ≥ log (n
    over m) for any and about D log n for those within a contour of a normal with D = d (d + 3) / 2 numbers, by Sauer's
    lemma (Vapnik & Chervonenkis 1971).

    Args:
        job: the fit.
        mixtures: any leading axes.
        degenerate: their degenerate components.
    """
    counts = _counts(job, mixtures.log_component_weights)
    total, n_columns = float(np.sum(job.sample_weights)), max(job.plan.family.n_columns, 1)
    share = np.clip(counts / total, 1e-12, 1.0 - 1e-12)
    ways = -counts * np.log(share) - counts * (1.0 - share) / share * np.log1p(-share)
    ways = np.minimum(ways, 0.5 * n_columns * (n_columns + 3) * np.log(total))
    of_each = np.where(counts >= fewest(job, few=False), 0.0, ways)
    of_each = np.where(counts >= fewest(job, few=True), of_each, np.inf)
    found = np.where(degenerate, of_each, 0.0).sum(axis=-1)
    return np.where(degenerate.any(axis=-1), found, np.inf)


def _counts(job: Any, log_weights: Float[np.ndarray, "*S K"]) -> Float[np.ndarray, "*S K"]:
    total = float(np.sum(job.sample_weights))
    return counts_of(np.asarray(log_weights, np.float64), total, noise=job.noise is not None)
