"""Where a fit starts, if that is given, as overrides of the config."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.api.composing import overrides_of
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.given_starts import given, relative_to
from gmm_pipeline.model.multivariate_inits import Cloud
from gmm_pipeline.sklearn.parameters import matrices_of, numbers

ROUNDING = 1e-6
"""How far the sum of weights may be from 1, as those of single precision are."""


class Start(NamedTuple):
    """A mixture in the user's units; of one column, rows of one number. None is left to the data."""

    weights: Float[np.ndarray, " K"] | None
    locs: Float[np.ndarray, "K d"]
    covariances: Float[np.ndarray, "K d d"] | None


def start_of(weights: Any, means: Any, precisions: Any, *, covariance_type: str, n_columns: int) -> Start | None:
    """The start that the parameters `weights_init`, `means_init` and `precisions_init` describe; None if all are None.

    Args:
        weights: [K], or None.
        means: [K, d], or None.
        precisions: in scikit-learn's shape, or None.
        covariance_type: as the estimator has it.
        n_columns: d.

    Raises:
        InputError: they do not describe a mixture, or means are missing.
    """
    if weights is None and means is None and precisions is None:
        return None
    if means is None:
        raise InputError(
            "means_init",
            expected="means, where weights_init or precisions_init are given",
            came="None",
            remedy="Without means it is not known which component a weight or precision belongs to.",
        )
    k = max(1, np.size(means) // n_columns)
    locs = numbers("means_init", means, (k, n_columns))
    if weights is not None:
        weights = numbers("weights_init", weights, (k,))
        if (weights <= 0.0).any() or abs(weights.sum() - 1.0) > ROUNDING:
            raise InputError(
                "weights_init",
                expected="positive numbers that sum to 1",
                came=f"{weights.tolist()}, of sum {weights.sum():g}",
                remedy="Divide them by their sum, and leave out components without weight.",
            )
        weights = weights / weights.sum()
    covariances = None
    if precisions is not None:
        covariances = np.linalg.inv(matrices_of(precisions, covariance_type, k, n_columns))
    return Start(weights, locs, covariances)


def overrides_for(
    start: Start, data: Float[np.ndarray, "n d"], sample_weight: Float[np.ndarray, " n"] | None, n_components: Any
) -> list[str]:
    """The overrides with which a fit begins at a start, and nowhere else.

    Args:
        start: in the data's units.
        data: x.
        sample_weight: c, how often each datum counts; None for once each.
        n_components: K, as it was asked for.

    Raises:
        InputError: the start has another number of components or columns.
    """
    if (n_components, data.shape[1]) != start.locs.shape:
        raise InputError(
            "n_components",
            expected="{} components of {} columns, as the given start has".format(*start.locs.shape),
            came=f"{n_components} of {data.shape[1]}",
            remedy="Leave out means_init and warm_start for starts that are drawn.",
        )
    counts = np.ones(len(data)) if sample_weight is None else sample_weight
    locs, covariances = relative_to(Cloud.of(data, counts), start.locs, start.covariances)
    node = {
        "_target_": f"{given.__module__}.{given.__name__}",
        "weights": _listed(start.weights),
        "locs": _listed(locs),
        "covariances": _listed(covariances),
        "smallest_scale": "${scale_floor}",
    }
    return ["search=none", "restarts=1", "~init", *(f"++{line}" for line in overrides_of({"init": node}))]


def _listed(values: np.ndarray | None) -> Sequence[Any] | None:
    return None if values is None else values.tolist()
