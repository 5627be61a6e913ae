"""Standard errors and intervals of a fit, from the curvature of its log posterior, in float64.

The covariance of the estimates is the inverse of the observed information, minus the Hessian of log-likelihood plus log
prior (Efron & Hinkley 1978). The likelihood's part is in closed form (`likelihood_sums.py`). The prior's part, for any
plug-in, is autodiff of K numbers.

Counts are frequencies: a datum that counts twice is worth two data, and errors shrink accordingly. Where sample weights
say how much a datum is to be trusted, the variance of the weighted gradient is not the information, and the covariance
is the sandwich I⁻¹ (Σ c² s sᵀ) I⁻¹ with the gradients s of the data (Huber 1967; White 1982; for weights Binder 1983).
"""

from collections.abc import Iterable, Mapping
from functools import partial
from statistics import NormalDist
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from gmm_pipeline.analysis.likelihood_sums import (
    LikelihoodSums,
    information_of,
    likelihood_sums,
    squared_gradients,
    weighed,
)
from gmm_pipeline.inference.jobs import FitJob, FitResult, split
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.scaling import AnyData, Scaling
from gmm_pipeline.inference.tracing import prior_density, width_for
from gmm_pipeline.model.mixture import AnyArray, Mixture, Parameters, constrain, exact
from gmm_pipeline.model.prior_traits import traits

LEAST_SHARE = 1e-11
"""Share of the complete-data information below which information is only rounding of sums over the data."""


class Peak(NamedTuple):
    """The point at which the curvature of a log posterior is taken."""

    parameters: Parameters
    """A fit, in the units of the data."""
    data: Float[AnyArray, " n"] | AnyData
    sample_weights: Float[AnyArray, " n"]
    """c, how often each datum counts."""
    log_prior: Plugin
    """Without the floats that differ between runs; invariant to a constant added to all log weights."""
    floats: Mapping[str, float]
    """Those floats, with the hyperparameters that the prior learned; held fixed."""
    equal_scales: bool
    """Whether the components share one scale."""
    degenerate: Iterable[int]
    """Components at the scale floor or with too few data, whose loc and scale are held fixed."""
    noise: float | None = None
    """Log density of the noise; None without noise."""
    robust: bool = False
    """Whether errors are those of the sandwich."""
    sums: LikelihoodSums | None = None
    """Over the data, if they are known."""


def peak_of(job: FitJob, result: FitResult, data: Float[AnyData, " n"]) -> Peak:
    """Where a fit ended.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit, float64.
    """
    plan, floats = split(job)
    floats = {**floats["prior"], **result.learned}
    return Peak(
        result.parameters,
        data,
        job.sample_weights,
        plan.log_prior,
        floats,
        job.equal_scales,
        result.degenerate,
        job.noise,
    )


class Uncertainty(NamedTuple):
    """The uncertainty of a fit."""

    standard_errors: Mixture
    """Of weights, locs and scales; NaN where they are undefined."""
    positive_definite: bool
    """Whether the curvature is that of a strict local maximum of the log posterior."""
    of_noise: float = np.nan
    """Standard error of the weight of the noise."""


class Curvature(NamedTuple):
    """Minus the Hessian of the log posterior, by its principal directions."""

    shares: Float[np.ndarray, " free"]
    """Its eigenvalues, ascending, as shares of the complete-data information."""
    directions: Float[np.ndarray, "P free"]
    """One direction per column, in the order of `Parameters`, of the length of a standard error with that
    information."""


@np.errstate(all="ignore")
def uncertainty(peak: Peak) -> Uncertainty:
    """Standard errors of weights, locs and scales: √diag(J C Jᵀ), by the delta method, with C = I⁻¹ or the sandwich.

    I is the observed information of the free parameters, J the Jacobian of weights, locs and scales. At a stationary
    point the result does not depend on the parameterisation. Nothing is raised for a failed fit: for a diverged one, a
    saddle or a mixture with two equal components the errors are NaN.

    A degenerate component is on the boundary, where curvature gives no errors of its loc and scale: they are held fixed
    and have no errors, and the other components' errors are computed with them held fixed. Its weight is estimated like
    any other, since its number of data is as uncertain as that of the others.
    """
    parameters = exact(peak.parameters)
    sound = np.setdiff1d(np.arange(len(parameters.component_mus)), list(peak.degenerate))
    undefined = Uncertainty(Mixture(*[np.full(len(parameters.component_mus), np.nan)] * 3), False)
    if len(sound) == 0:
        return undefined
    found = curvature(peak)
    if found is None or not found.shares.min() > LEAST_SHARE:
        return undefined
    fitted = weighed(parameters, peak.noise)
    # Along the free directions Σ_j w_j δ_j = 0, where the derivative of softmax is w itself.
    jacobian = np.concatenate([fitted.weights, np.ones_like(fitted.locs), fitted.scales])
    moved = jacobian[:, None] * found.directions
    variances = np.sum(moved**2 / found.shares, axis=1)
    if peak.robust:
        counts = np.asarray(peak.sample_weights, np.float64)
        squares = squared_gradients(parameters, peak.data, counts, peak.noise)
        variances = sandwich(moved / found.shares, found.directions.T @ squares @ found.directions)
    weights, locs, scales = np.sqrt(variances).reshape(3, -1)
    counted = _with_weight(fitted.weights, peak.sample_weights, sound)
    # If no weight can vary, no data determine them: their errors are unknown rather than 0.
    counted = np.array([], int) if len(counted) == 1 < len(fitted.weights) else counted
    errors = zip((weights, locs, scales), (counted, sound, sound), strict=True)
    everything, own = np.arange(len(fitted.locs)), slice(0, len(parameters.component_mus))
    of_numbers = Mixture(*(np.where(np.isin(everything, defined), of, np.nan)[own] for of, defined in errors))
    has_error = peak.noise is not None and everything[-1] in counted
    return Uncertainty(of_numbers, True, float(weights[-1]) if has_error else np.nan)


@np.errstate(all="ignore")
def curvature(peak: Peak) -> Curvature | None:
    """Curvature of the log posterior at a fit, in every direction in which it may move; None if not finite."""
    parameters, sample_weights = exact(peak.parameters), np.asarray(peak.sample_weights)
    if not np.isfinite(parameters).all():
        return None
    sound = np.setdiff1d(np.arange(len(parameters.component_mus)), list(peak.degenerate))
    sums = peak.sums or likelihood_sums(parameters, peak.data, sample_weights, peak.noise)
    complete, missing = information_of(sums, parameters, sample_weights, peak.noise)
    of_prior = prior_information(parameters, peak.log_prior, peak.floats)
    if peak.noise is not None:
        by_number = of_prior.reshape((3, len(parameters.component_mus)) * 2)
        of_prior = np.pad(by_number, ((0, 0), (0, 1)) * 2).reshape(complete.shape)
    weights = weighed(parameters, peak.noise).weights
    counted = _with_weight(weights, peak.sample_weights, sound)
    free = free_directions(weights, sound, counted, equal_scales=peak.equal_scales, noise=peak.noise is not None)
    if not all(np.isfinite(part).all() for part in (complete, missing, of_prior)):
        return None
    # Relative to the complete information, units do not matter and rounding errors have one size.
    most = np.diag(free.T @ complete @ free) + np.abs(np.diag(free.T @ of_prior @ free))
    if not most.size or not most.min() > 0:
        return None
    free = free / np.sqrt(most)
    shares, eigenvectors = np.linalg.eigh(free.T @ (complete - missing + of_prior) @ free)
    return Curvature(shares, free @ eigenvectors)


def stepped(step: Float[np.ndarray, " P"], n_components: int) -> Float[np.ndarray, "3 K"]:
    """A direction of a curvature as a change of log weights, or of log odds against the noise, of locs and log scales.

    Args:
        step: with the noise as a last component, if there is noise.
        n_components: K.
    """
    moved = step.reshape(3, -1).copy()
    moved[0] -= moved[0, -1] if moved.shape[1] > n_components else 0.0
    return moved[:, :n_components]


def _with_weight(
    weights: Float[np.ndarray, " K"], sample_weights: Float[AnyArray, " n"], sound: np.ndarray
) -> np.ndarray:
    """The components whose weight is estimated: the sound ones, and others with the weight of at least one datum."""
    counts = float(np.sum(sample_weights, dtype=np.float64)) * weights
    return np.union1d(sound, np.flatnonzero(counts >= 1.0)).astype(int)


def sandwich(moved: Float[np.ndarray, "numbers free"], squares: Float[np.ndarray, "free free"]) -> np.ndarray:
    """Variances diag(A B Aᵀ) of numbers with the robust covariance, in the principal directions of a curvature.

    Args:
        moved: A, how the numbers move along each direction, over its eigenvalue.
        squares: B, the squared gradients Σ c² s sᵀ in these directions.
    """
    return np.maximum(np.einsum("pi,ij,pj->p", moved, squares, moved), 0.0)


def prior_information(
    parameters: Parameters, log_prior: Plugin, floats: Mapping[str, float]
) -> Float[np.ndarray, "P P"]:
    """Minus the Hessian of a log prior density, in the order of `Parameters`.

    Args:
        parameters: K components, float64.
        log_prior: without those of its floats that differ between runs.
        floats: these.
    """
    n_components = len(parameters.component_mus)
    pseudo_count = traits(log_prior.function).pseudo_count
    if pseudo_count is not None:  # a Σ_j log w_j has the Hessian −a K (diag w − w wᵀ), so nothing is compiled
        added = float(pseudo_count(**dict(log_prior.given(floats).hyperparameters)))
        weights, found = constrain(parameters).weights, np.zeros((3 * n_components,) * 2)
        found[:n_components, :n_components] = added * n_components * (np.diag(weights) - np.outer(weights, weights))
        return found
    width = width_for(log_prior, n_components)
    active = np.arange(width) < n_components
    padded = np.zeros((3, width))
    padded[:, active] = np.stack(parameters)
    with jax.enable_x64(True):
        given = {name: np.float64(value) for name, value in floats.items()}
        hessian = np.asarray(_prior_hessian(padded, active, given, log_prior=log_prior), np.float64)
    return -hessian[:, active][:, :, :, active].reshape(3 * n_components, 3 * n_components)


@partial(jax.jit, static_argnames="log_prior")
def _prior_hessian(values: Array, active: Array, floats: dict[str, AnyArray], *, log_prior: Plugin) -> Array:
    return jax.hessian(lambda values: prior_density(log_prior.given(floats), Parameters(*values), active, None))(values)


def free_directions(
    weights: Float[np.ndarray, " K"], sound: np.ndarray, counted: np.ndarray, *, equal_scales: bool, noise: bool = False
) -> Float[np.ndarray, "P free"]:
    """A basis of the directions in which a fit may move, as columns in the order of `Parameters`.

    Those of the log weights keep Σ_j w_j δ_j = 0, and so leave the weights of all other components as they are.

    Args:
        weights: of K components, one of which may be the noise; of sum one.
        sound: the components whose locs and scales move.
        counted: the components whose weights move.
        equal_scales: whether log scales move together.
        noise: whether the last component is the noise, which has none.
    """
    every = np.eye(len(weights))
    heaviest = int(np.argmax(weights[counted]))
    against = every[:, counted[[heaviest]]] * (weights[counted] / weights[counted][heaviest])
    of_weights = np.delete(every[:, counted] - against, heaviest, axis=1)
    of_scales = np.ones((len(weights), 1)) if equal_scales else every[:, sound]
    of_scales[len(weights) - noise :] = 0.0
    parts = [of_weights, every[:, sound], of_scales]
    columns = np.cumsum([0, *(part.shape[1] for part in parts)])
    free = np.zeros((3 * len(weights), columns[-1]))
    for number, part in enumerate(parts):
        free[number * len(weights) : (number + 1) * len(weights), columns[number] : columns[number + 1]] = part
    return free


def in_user_units(standard_errors: Mixture, scaling: Scaling) -> Mixture:
    """Standard errors for data in the user's units: those of locs and scales times the spread, weights' as they are.

    Args:
        standard_errors: [K] each, in the units of the fit.
        scaling: with which the data were standardised.
    """
    weights, locs, scales = standard_errors
    return Mixture(weights, scaling.spread * locs, scaling.spread * scales)


def intervals(fitted: Mixture, standard_errors: Mixture, level: float) -> tuple[Mixture, Mixture]:
    """Lower and upper ends of intervals that contain each parameter with probability `level`, one at a time.

    Symmetric about a loc. About a weight on the logit scale and a scale on the log scale, with errors by the delta
    method: so the ends stay between 0 and 1, or above 0, and the normal approximation is better, since the likelihood
    of a scale or of a small weight is skewed upward. A parameter without error, such as the weight of a single
    component, is its own interval.

    Args:
        fitted: the estimates.
        standard_errors: theirs, in the same units; NaN gives NaN.
        level: such as 0.95.
    """
    quantile = NormalDist().inv_cdf(0.5 + 0.5 * level)
    ends = [_ends(fitted, Mixture(*(sign * quantile * errors for errors in standard_errors))) for sign in (-1, 1)]
    return ends[0], ends[1]


def _ends(fitted: Mixture, distance: Mixture) -> Mixture:
    with np.errstate(all="ignore"):  # a weight of 1 has no logit
        odds = fitted.weights / (1.0 - fitted.weights)
        odds = odds * np.exp(distance.weights / (fitted.weights * (1.0 - fitted.weights)))
        weights = np.where(distance.weights == 0.0, fitted.weights, odds / (1.0 + odds))
        scales = fitted.scales * np.exp(distance.scales / fitted.scales)
    return Mixture(weights, fitted.locs + distance.locs, scales)
