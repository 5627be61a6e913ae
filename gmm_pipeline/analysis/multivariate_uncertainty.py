"""Standard errors of a mixture of several columns, from the curvature of its log posterior, in float64.

As in one column the covariance of the estimates is the inverse of the observed information (Efron & Hinkley 1978; Louis
1982), here in the free numbers of the covariance model (`multivariate_curvature.py`). The price: models with
orientations of their own have no errors where two axes of a component are equally long.

Sample weights count, or have errors of the sandwich, as in `uncertainty`.
"""

from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import Any

import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from gmm_pipeline.analysis.factor_curvature import Analysis
from gmm_pipeline.analysis.multivariate_curvature import multivariate_curvature
from gmm_pipeline.analysis.uncertainty import LEAST_SHARE, sandwich
from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model.large_data import is_complete
from gmm_pipeline.model.natural import MultivariateErrors, MultivariateMixture

FLAT, LEAKED = 1e-6, 1e-4
"""Share of the complete-data information that is none, where cells are missing; and how much of a number, in standard
errors with that information, may move along such a direction and still be determined: responsibilities are never 0."""


def multivariate_errors(*given: Any, **more: Any) -> MultivariateErrors:
    """Standard errors of all numbers reported of the components, as `errors_with_noise` gives them.

    Args:
        *given: its arguments.
        **more: its arguments.
    """
    return errors_with_noise(*given, **more)[0]


def errors_with_noise(
    mixture: MultivariateMixture,
    model: str,
    data: Float[AnyData, "n d"],
    sample_weights: Float[np.ndarray, " n"],
    *,
    log_prior: Partial | None = None,
    degenerate: Iterable[int] = (),
    log_noise: float | None = None,
    analysis: Analysis | None = None,
    robust: bool = False,
    seen: Callable[[int], None] | None = None,
) -> tuple[MultivariateErrors, float]:
    """Standard errors of all numbers reported, and of the weight of the noise: √diag(J C Jᵀ), by the delta method.

    C is I⁻¹, or the sandwich I⁻¹ (Σ c² s sᵀ) I⁻¹ with the gradients s of the data. I is the observed information of the
    free numbers, J the Jacobian of what is reported. NaN where the curvature is not that of a strict local maximum, for
    the loc and covariance of a degenerate component, which are held fixed, and for what no datum determines since cells
    are missing.

    Args:
        mixture: the fit, in units in which the model holds: those of the user, whichever the fit's are.
        model: one of the names of covariance models.
        data: x.
        sample_weights: c, how often each datum counts.
        log_prior: (weights [K], locs [K, d], covariances [K, d, d]) -> nats; None for maximum likelihood.
        degenerate: components on the boundary.
        log_noise: log density of the noise, whose weight is what those of the mixture lack; None without noise.
        analysis: the factors of the mixture, where the model is one of factors.
        robust: whether errors are those of the sandwich.
        seen: called with the rows seen so far.
    """
    n_components, n_columns = mixture.locs.shape
    sound = np.setdiff1d(np.arange(n_components), list(degenerate))
    found = multivariate_curvature(
        mixture,
        model,
        data,
        sample_weights,
        log_prior=log_prior,
        degenerate=degenerate,
        log_noise=log_noise,
        analysis=analysis,
        robust=robust,
        seen=seen,
    )
    # Where the rows of a component all lack a column, no datum determines some of its numbers.
    is_flat = np.zeros(0, bool) if found is None else (np.abs(found.shares) < FLAT) & (not is_complete(data))
    if found is None or not found.shares[~is_flat].min(initial=1.0) > LEAST_SHARE:
        unknown = (np.full((n_components, *(n_columns,) * rank), np.nan) for rank in (0, 1, 2, 1, 2))
        return MultivariateErrors(*unknown), np.nan
    moved = found.reported @ found.directions
    # In units, powers of two, in which the squares of covariances are in range.
    size = np.maximum(np.abs(moved).max(axis=1, initial=0.0, keepdims=True), np.finfo(np.float64).tiny)
    size = np.exp2(np.floor(np.log2(size)))
    moved, along_flat = moved[:, ~is_flat] / size, moved[:, is_flat] / size
    variances = np.sum(moved**2 / found.shares[~is_flat], axis=1)
    if found.squares is not None:
        variances = sandwich(moved / found.shares[~is_flat], found.squares[np.ix_(~is_flat, ~is_flat)])
    variances[np.abs(along_flat).max(axis=1, initial=0.0) > LEAKED] = np.nan
    of_all = size[:, 0] * np.sqrt(variances)
    counts = float(np.sum(sample_weights)) * (1.0 - float(mixture.weights.sum()))
    of_noise = np.nan if log_noise is None or counts < 1.0 else float(of_all[-1])
    errors = _split(of_all[:-1] if log_noise is not None else of_all, n_components, n_columns)
    # If no weight can vary, no data determine them: their errors are unknown rather than 0.
    alone = len(found.counted) == 1 < n_components and log_noise is None
    of_weights = np.array([], int) if alone else found.counted
    for number, leaf in enumerate(errors):
        leaf[np.setdiff1d(np.arange(n_components), sound if number else of_weights)] = np.nan
    return errors._replace(correlations=errors.correlations * (1.0 - np.eye(n_columns))), of_noise


def multivariate_intervals(
    fitted: MultivariateMixture, errors: MultivariateErrors, level: float
) -> tuple[MultivariateErrors, MultivariateErrors]:
    """Lower and upper ends of intervals that contain each number with probability `level`, one at a time.

    As in one column: symmetric about locs, on the logit scale about weights and on the log scale about variances and
    scales; about correlations on Fisher's scale, artanh ρ, and symmetric about covariances of two columns. A number
    without error, such as a correlation of zero in a diagonal model, is its own interval.

    Args:
        fitted: the estimates.
        errors: theirs, in the same units; NaN gives NaN.
        level: such as 0.95.
    """
    quantile = NormalDist().inv_cdf(0.5 + 0.5 * level)
    variances = np.eye(fitted.locs.shape[-1], dtype=bool)
    ends = []
    for sign in (-quantile, quantile):
        weights, locs, covariances, scales, correlations = (sign * leaf for leaf in errors)
        with np.errstate(all="ignore"):  # a weight of 1 has no logit, and a correlation of 1 no place on Fisher's scale
            odds = fitted.weights / (1.0 - fitted.weights)
            odds = odds * np.exp(weights / (fitted.weights * (1.0 - fitted.weights)))
            positive = fitted.covariances * np.exp(covariances / fitted.covariances)
            on_fishers = np.tanh(np.arctanh(fitted.correlations) + correlations / (1.0 - fitted.correlations**2))
            ends.append(
                MultivariateErrors(
                    np.where(weights == 0.0, fitted.weights, odds / (1.0 + odds)),
                    fitted.locs + locs,
                    np.where(variances, positive, fitted.covariances + covariances),
                    fitted.scales * np.exp(scales / fitted.scales),
                    np.where(correlations == 0.0, fitted.correlations, on_fishers),
                )
            )
    return ends[0], ends[1]


def _split(values: Float[np.ndarray, " numbers"], n_components: int, n_columns: int) -> MultivariateErrors:
    shapes = [(n_components, *(n_columns,) * rank) for rank in (0, 1, 2, 1, 2)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    parts = np.split(values, ends[:-1])
    return MultivariateErrors(*(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)))
