"""Data of several columns, drawn from a generating spec: in float32 whatever the precision of the fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import order_of
from gmm_pipeline.model.vocabulary import LARGEST_SEED
from gmm_pipeline.records.columns import Text
from gmm_pipeline.records.data_checks import as_multivariate, check_draws, whole
from gmm_pipeline.records.datasets import MOST_DRAWS, Dataset, apportion, by_counts
from gmm_pipeline.records.truth import ordered


def generate(
    *,
    name: Text,
    unit: Text | None,
    columns: Sequence[Text],
    weights: Sequence[float | int],
    locs: Sequence[Any],
    covariances: Sequence[Any],
    n_draws: int | float,
    counts: str,
    seed: int | float,
) -> Dataset:
    """Draw data of several columns from a mixture.

    Args:
        name: of the data.
        unit: of the data.
        columns: their names; empty for x1, x2 and so on.
        weights: relative weights of the components, positive.
        locs: means, a row per component with a number per column.
        covariances: of each component: a symmetric positive definite matrix; a list of variances, for columns that are
            independent in it; or one variance for all columns.
        n_draws: number of observations in all.
        counts: `exact` gives each component its share of the draws, rounded to the largest remainder, in component
            order; `multinomial` draws the component of each datum.
        seed: of the random key.

    Raises:
        InputError: the spec is not a mixture, or its draws cannot be fitted.
    """
    from gmm_pipeline.model.mixture import key_of
    from gmm_pipeline.model.multivariate_draws import draw_exact_counts, draw_multinomial

    mixture = as_multivariate("data", weights, locs, covariances)
    names = _names(columns, mixture.locs.shape[1])
    n_draws = whole("data.n_draws", n_draws, least=2, most=MOST_DRAWS)
    seed = whole("data.seed", seed, least=0, most=LARGEST_SEED)
    key = key_of(seed)
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float32 leads to draws that are not finite
        draws, components = by_counts(
            counts,
            exact=lambda: draw_exact_counts(key, mixture, apportion(n_draws, list(weights))),
            multinomial=lambda: draw_multinomial(key, mixture, n_draws),
        )
    data = np.asarray(draws, np.float64)
    check_draws("data.locs and data.covariances", data)
    return Dataset(
        name=str(name),
        unit=None if unit is None else str(unit),
        source=f"{n_draws} draws of {len(names)} columns, {counts} counts, seed {seed}",
        source_type="generated",
        data=data,
        sample_weights=None,
        truth=ordered(mixture),
        components=np.argsort(order_of(mixture))[components],
        columns=names,
    )


def _names(columns: Sequence[Text], n_columns: int) -> tuple[str, ...]:
    names = tuple(map(str, columns)) or tuple(f"x{number}" for number in range(1, n_columns + 1))
    if len(names) == len(set(names)) == n_columns and all(names):
        return names
    raise InputError(
        "data.columns",
        expected=f"{n_columns} different names, as many as data.locs has columns",
        came=", ".join(names),
        remedy="Leave data.columns empty for x1, x2 and so on.",
    )
