"""Whether files that are each whole are of one record: a digest only says that they are those that were written.

Each function raises a ValueError that says what does not belong together.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gmm_pipeline.model.natural import AnyErrors, AnyMixture, Mixture, definite_or_identity, is_finite
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.artifacts import History

RESULT = ("loss", "log_likelihood", "bic")
"""Metrics that every finished run has."""
ERRORS = ("standard_errors", "lower", "upper")


def check_result(mixture: AnyMixture) -> None:
    """Refuse numbers that no finished run has.

    Args:
        mixture: its estimate.
    """
    if not is_finite(mixture) or (mixture.weights < 0.0).any() or not mixture.weights.any():
        raise ValueError("its mixture has weights that are negative, or numbers that are not finite")
    if isinstance(mixture, Mixture):
        positive = (mixture.scales > 0.0).all()
    else:
        positive = definite_or_identity(mixture.covariances)[1].all()
    if not positive:
        raise ValueError("its mixture has scales or covariances that are not positive")


def check_files(
    status: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, Any],
    data_info: Mapping[str, Any],
    history: History,
) -> None:
    """Refuse files of different records.

    Args:
        status: of the run, which finished or diverged.
        parameters: the content of `parameters.json`.
        metrics: the content of `metrics.json`.
        data_info: the content of `data.json`.
        history: of the fit.
    """
    mixture = artifacts.mixture_from_json(parameters)
    of_errors = [
        artifacts.errors_from_json(source[name])
        for source in (parameters, parameters.get("bootstrap", {}))
        for name in ERRORS
        if name in source
    ]
    if not isinstance(mixture, Mixture):
        of_errors.append(artifacts.errors_from_json(parameters))
    check_alike(mixture, *of_errors, history.mixtures)
    check_columns(mixture, parameters, data_info)
    if any(component >= len(mixture.weights) for component in parameters.get("degenerate", [])):
        raise ValueError("it has more degenerate components than components")
    if status == "finished":
        check_result(mixture)
        if not np.isfinite(history.losses[-1:]).all():
            raise ValueError("it finished with a loss that is not finite")
        missing = [name for name in RESULT if name in metrics and metrics[name] is None]
        if missing:
            raise ValueError(f"it finished without {missing[0]}")


def check_columns(mixture: AnyMixture, *places: Mapping[str, Any]) -> None:
    """Refuse names of more or fewer columns than a mixture has.

    Args:
        mixture: of d columns.
        places: contents of files that may name them.
    """
    n_columns = mixture.locs.shape[1:] or (1,)
    for place in places:
        if "columns" in place and (len(place["columns"]),) != n_columns:
            raise ValueError(f"its mixture has {n_columns[0]} columns, and {len(place['columns'])} have names")


def check_alike(mixture: AnyMixture, *others: AnyMixture | AnyErrors) -> None:
    """Refuse numbers of mixtures with different numbers of components or columns.

    Args:
        mixture: of K components.
        others: the same for each of its numbers, perhaps stacked along a first axis.
    """
    kind, n_axes = isinstance(mixture, Mixture), mixture.locs.ndim
    if any(isinstance(one, Mixture) != kind or one.locs.shape[-n_axes:] != mixture.locs.shape for one in others):
        raise ValueError("its files have different numbers of components or columns")
