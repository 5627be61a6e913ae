"""Data from a random mixture whose components overlap as much as asked (Melnykov, Chen & Maitra 2012)."""

from collections.abc import Callable

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.covariances import MODELS, model_of
from gmm_pipeline.model.overlap import Overlap
from gmm_pipeline.model.random_mixtures import random_mixture
from gmm_pipeline.model.vocabulary import LARGEST_SEED
from gmm_pipeline.records import datasets, multivariate
from gmm_pipeline.records.columns import Text
from gmm_pipeline.records.data_checks import whole
from gmm_pipeline.records.datasets import Dataset

MOST_COMPONENTS, MOST_COLUMNS = 200, 200
"""The overlap of every pair is computed some thirty times."""


def generate(
    *,
    name: Text,
    unit: Text | None,
    n_components: int | float,
    n_columns: int | float,
    average_overlap: float | int | None,
    maximum_overlap: float | int | None,
    covariance: Text,
    eccentricity: float | int,
    least_weight: float | int,
    n_draws: int | float,
    counts: str,
    seed: int | float,
) -> Dataset:
    """Draw a mixture of a given overlap, and data from it.

    Args:
        name: of the data.
        unit: of the data.
        n_components: K, at least 2.
        n_columns: d; a single column has a loc and a scale per component.
        average_overlap: mean of the pairs of components, between 0 and 1; None if the largest is given.
        maximum_overlap: largest of the pairs; None if the average is given.
        covariance: which covariances the components share, as in a fit.
        eccentricity: of a covariance at most, √(1 − λ_d/λ_1) with its eigenvalues in descending order.
        least_weight: of a component, at most 1/K.
        n_draws: number of observations in all.
        counts: `exact` gives each component its share of the draws; `multinomial` draws the component of each datum.
        seed: of the mixture and of the draws.

    Raises:
        InputError: a value is out of range, or no mixture overlaps so much.
    """
    n_components = whole("data.n_components", n_components, least=2, most=MOST_COMPONENTS)
    n_columns = whole("data.n_columns", n_columns, least=1, most=MOST_COLUMNS)
    seed = whole("data.seed", seed, least=0, most=LARGEST_SEED)
    measure, asked = _asked(average_overlap, maximum_overlap)
    mixture = random_mixture(
        seed,
        n_components=n_components,
        n_columns=n_columns,
        covariance=model_of(str(covariance), "data.covariance", MODELS),
        eccentricity=_eccentricity(eccentricity),
        least_weight=_share(least_weight, n_components),
        measure=measure,
        asked=asked,
    )
    weights = mixture.weights.tolist()
    if n_columns == 1:
        locs, scales = mixture.locs[:, 0].tolist(), mixture.scales[:, 0].tolist()
        made = datasets.generate(
            name=name, unit=unit, weights=weights, locs=locs, scales=scales, n_draws=n_draws, counts=counts, seed=seed
        )
    else:
        made = multivariate.generate(
            name=name,
            unit=unit,
            columns=(),
            weights=weights,
            locs=mixture.locs.tolist(),
            covariances=mixture.covariances.tolist(),
            n_draws=n_draws,
            counts=counts,
            seed=seed,
        )
    kind = "average" if average_overlap is not None else "largest"
    return made._replace(source=f"{made.source}, from a random mixture of {kind} overlap {asked:g}")


def _asked(average: float | int | None, maximum: float | int | None) -> tuple[Callable[[Overlap], float], float]:
    if (average is None) == (maximum is None):
        raise InputError(
            "data.average_overlap",
            expected="a value for either average_overlap or maximum_overlap, and null for the other",
            came=f"{average} and {maximum}",
            remedy="For example data.average_overlap=null data.maximum_overlap=0.1.",
        )
    key, value, measure = (
        ("average_overlap", average, _average) if average is not None else ("maximum_overlap", maximum, _maximum)
    )
    if value is None or not 0.0 < value < 1.0:
        raise InputError(
            f"data.{key}",
            expected="a number between 0 and 1",
            came=repr(value),
            remedy="0.001 is well separated, 0.05 moderate, 0.2 hard to tell apart.",
        )
    return measure, float(value)


def _average(found: Overlap) -> float:
    return found.average


def _maximum(found: Overlap) -> float:
    return found.maximum


def _eccentricity(value: float | int) -> float:
    if 0.0 < value < 1.0:
        return float(value)
    raise InputError(
        "data.eccentricity",
        expected="a number between 0 and 1",
        came=repr(value),
        remedy="0.9 lets the longest axis of a component be 2.3 times as long as its shortest, 0.99 7 times.",
    )


def _share(value: float | int, n_components: int) -> float:
    if 0.0 < value <= 1.0 / n_components:
        return float(value)
    raise InputError(
        "data.least_weight",
        expected=f"a positive number, at most 1/{n_components} for {n_components} components",
        came=repr(value),
        remedy=f"1/{n_components} gives all components the same weight.",
    )
