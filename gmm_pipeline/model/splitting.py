"""Mixtures with one component more or fewer: a component in two halves, and two components as one.

Splitting a component in place gives a mixture of K + 1 components with the same likelihood, so the best optimum with K
components is a lower bound for K + 1.
"""

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model.covariances import FACTOR, IDENTITY, VARIABLE
from gmm_pipeline.model.mixture import Parameters, exact
from gmm_pipeline.model.natural import MultivariateMixture, taken


def split_component(
    parameters: Parameters, component: int, *, apart: float = 0.0, keep_scale: bool = False
) -> Parameters:
    """Split one of K components into two halves.

    Half the weight each, at μ ± a σ and with scale σ √(1 − a²), which keep mean and variance of the component
    (Richardson & Green 1997). Where a = 0, density and likelihood are the same as before.

    Args:
        parameters: of K components.
        component: which, from 0; its halves are this one and the last.
        apart: a, from 0 to below 1.
        keep_scale: whether the halves keep the scale σ, as equal scales require.
    """
    log_weights, mus, log_scales = (np.asarray(leaf) for leaf in parameters)
    step = apart * np.exp(log_scales[component])
    narrower = 0.0 if keep_scale else 0.5 * np.log1p(-(apart**2))
    halves = (-np.log(2.0), -np.log(2.0)), (-step, step), (narrower, narrower)
    return Parameters(
        *(
            _in_two(leaf, component, leaf[component] + np.asarray(moved, leaf.dtype))
            for leaf, moved in zip((log_weights, mus, log_scales), halves, strict=True)
        )
    )


def _in_two(leaf: Float[np.ndarray, " K"], component: int, halves: Float[np.ndarray, "2"]) -> Float[np.ndarray, " L"]:
    found = np.append(leaf, halves[1])
    found[component] = halves[0]
    return found


def merged(parameters: Parameters, one: int, other: int, *, keep_scale: bool = False) -> Parameters:
    """Merge two of K components into one that has their total weight, mean and variance.

    Args:
        parameters: of K components.
        one: the first; the merged component takes its place.
        other: the second, which is removed.
        keep_scale: whether the merged one keeps the scale of the first, as equal scales require.
    """
    log_weights, locs, log_scales = (leaf.copy() for leaf in exact(parameters))
    pair = [one, other]
    log_weight = np.logaddexp.reduce(log_weights[pair])
    shares = np.exp(log_weights[pair] - log_weight)
    loc = shares @ locs[pair]
    variance = shares @ (np.exp(2.0 * log_scales[pair]) + (locs[pair] - loc) ** 2)
    log_weights[one], locs[one] = log_weight, loc
    log_scales[one] = log_scales[one] if keep_scale else 0.5 * np.log(variance)
    return Parameters(*(np.delete(leaf, other) for leaf in (log_weights, locs, log_scales)))


def merged_columns(mixture: MultivariateMixture, one: int, other: int, model: str = "VVV") -> MultivariateMixture:
    """Merge two of K components of several columns into one that has their total weight, mean and covariance.

    A model in which components share something allows only some covariances: there it has that of the heavier one. One
    whose axes are those of the columns keeps the variances alone; a spherical one their mean. One of
    factors keeps all here, and comes near to it in `factor_analysis.factored`.

    Args:
        mixture: of K components.
        one: the first; the merged component takes its place.
        other: the second, which is removed.
        model: covariance model of the mixture.
    """
    pair = [one, other]
    weight = mixture.weights[pair].sum()
    shares = mixture.weights[pair] / weight
    loc = shares @ mixture.locs[pair]
    away = mixture.locs[pair] - loc
    covariance = np.einsum("k,kij->ij", shares, mixture.covariances[pair] + away[:, :, None] * away[:, None, :])
    _, shape, orientation = model = "VVV" if model == FACTOR else model
    if not set(model) <= {VARIABLE, IDENTITY}:
        covariance = mixture.covariances[pair[int(np.argmax(shares))]]
    elif shape == IDENTITY:
        covariance = np.eye(len(loc)) * np.trace(covariance) / len(loc)
    elif orientation == IDENTITY:
        covariance = np.diag(np.diagonal(covariance))
    rest = taken(mixture, np.delete(np.arange(len(mixture.weights)), other))
    place = one - (other < one)
    rest.weights[place], rest.locs[place], rest.covariances[place] = weight, loc, covariance
    return rest
