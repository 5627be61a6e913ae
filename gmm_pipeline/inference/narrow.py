"""Mixtures that are left out as degenerate although they may be right: where many different data lie close together.

A component at the floor of the scales is degenerate, since the likelihood of a few data is unbounded as it narrows. A
component with many data, which differ, is no such artefact: the data are more concentrated than the floor allows. The
search keeps to sound mixtures, but remembers the best of this kind. Whether its data differ is asked later, in the
user's units (`analysis/left_out.py`).
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gmm_pipeline.model.noise import counts_of

MANY, PER_NUMBER = 50.0, 10.0
"""Least data of a narrow component, and for each of its free numbers, that are no accident."""
GAIN = 20.0
"""Nats that a mixture with narrow components must be better to be told of: beyond what chance gathers in some place."""


def has_many(job: Any, log_weights: Float[np.ndarray, "*S K"]) -> Bool[np.ndarray, "*S K"]:
    """Which components have many data of their own.

    Args:
        job: the fit.
        log_weights: of mixtures, any leading axes.
    """
    n_columns, total = max(job.plan.family.n_columns, 1), float(np.sum(job.sample_weights))
    counts = counts_of(np.asarray(log_weights, np.float64), total, noise=job.noise is not None)
    return np.asarray(counts >= max(MANY, PER_NUMBER * (1 + n_columns * (n_columns + 3) / 2)))


def holds_many(job: Any, mixtures: Any, degenerate: Bool[np.ndarray, "*S K"]) -> Bool[np.ndarray, "*S"]:
    """Which mixtures have degenerate components, each of them with many data.

    Args:
        job: the fit.
        mixtures: any leading axes.
        degenerate: their degenerate components.
    """
    many = has_many(job, mixtures.log_component_weights)
    return np.asarray(degenerate.any(axis=-1) & (~degenerate | many).all(axis=-1))
